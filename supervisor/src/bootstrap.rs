//! What a new leader does once: makes the pools that there are to be, and clears the registry of strangers.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Instant;

use muster_domain::{
    EventDraft, EventKind, Heartbeat, PoolConfig, PoolName, PoolOrigin, PoolSpec, ProcessId, Timestamp, WorkerCause,
    counted, runtime,
};
use muster_registry::{Peer, RegistryError};
use muster_store::{PoolRow, Write};

use crate::clock;
use crate::context::Context;
use crate::error::SupervisorError;
use crate::pools::pool_event;

/// The pools of a new store without a configuration file: name and role.
const DEFAULTS: [(&str, &str); 4] = [
    ("team_leader_pool", "team_leader"),
    ("business_analyst_pool", "business_analyst"),
    ("developer_pool", "developer"),
    ("tester_pool", "tester"),
];

/// Makes the pools of the configuration as it says; marks those that were taken out of it as going. A store without any
/// pool gets the default ones where the configuration has none.
pub(crate) async fn bootstrap_pools(context: &Context, file: &[PoolSpec]) -> Result<(), SupervisorError> {
    let rows = context.store.pools().await.map_err(|error| context.store_failed(&error))?;
    let at = context.settings.wall.now();
    let writes = match (rows.as_slice(), file) {
        ([], []) => default_pools().iter().flat_map(|spec| add(spec, at)).collect(),
        (rows, specs) => follow_file(rows, specs, at),
    };
    if !writes.is_empty() {
        context.apply(&writes).await?;
    }
    Ok(())
}

fn follow_file(rows: &[PoolRow], specs: &[PoolSpec], at: Timestamp) -> Vec<Write> {
    let known: HashMap<&PoolName, &PoolRow> = rows.iter().map(|row| (&row.spec.pool_name, row)).collect();
    let named: HashSet<&PoolName> = specs.iter().map(|spec| &spec.pool_name).collect();
    let mut writes = Vec::new();
    for spec in specs {
        match known.get(&spec.pool_name) {
            None => writes.extend(add(spec, at)),
            Some(row) if row.spec != *spec => writes.extend(change(spec, at)),
            Some(_) => {}
        }
    }
    let orphaned = |row: &&PoolRow| row.spec.origin == PoolOrigin::File && !named.contains(&row.spec.pool_name);
    for row in rows.iter().filter(orphaned).filter(|row| !row.draining) {
        writes.push(Write::DrainPool { pool: row.spec.pool_name.clone() });
        writes.push(Write::Event(pool_event(EventKind::PoolDraining, &row.spec.pool_name, at)));
    }
    writes
}

fn add(spec: &PoolSpec, at: Timestamp) -> [Write; 2] {
    let event = pool_event(EventKind::PoolCreated, &spec.pool_name, at);
    [Write::AddPool { spec: spec.clone(), at }, Write::Event(event)]
}

fn change(spec: &PoolSpec, at: Timestamp) -> [Write; 2] {
    let event = pool_event(EventKind::PoolChanged, &spec.pool_name, at);
    [Write::ChangePool { spec: spec.clone() }, Write::Event(event)]
}

fn default_pools() -> Vec<PoolSpec> {
    let spec = |(name, role): &(&str, &str)| {
        Some(PoolSpec {
            pool_name: name.parse().ok()?,
            role_type: (*role).to_owned(),
            runtime: runtime::ECHO.to_owned(),
            config: PoolConfig::default(),
            origin: PoolOrigin::Default,
        })
    };
    DEFAULTS.iter().filter_map(spec).collect()
}

/// Removes from the registry what no open worker has written: it was left by workers whose supervisor died with them,
/// or by a removal that was lost in an outage. A worker that a supervisor started after it had lost the lead is found by
/// its beat, and told to end.
pub(crate) async fn clear_registry(context: Arc<Context>) {
    let leads_since = clock::now();
    loop {
        let wait = match clear(&context, leads_since).await {
            Ok(Cleared::Whole) => context.settings.clocks.lease,
            // Soon: one that lives runs agents beside those that were placed anew.
            Ok(Cleared::InPart) => context.settings.clocks.pass,
            Err(error) => {
                tracing::debug!(%error, "the registry can't be cleared now");
                context.settings.clocks.pass
            }
        };
        tokio::time::sleep(wait).await;
    }
}

/// How much of the registry was cleared.
enum Cleared {
    /// Whatever no open worker has written.
    Whole,
    /// Of some workers it is not known yet whether they beat still.
    InPart,
}

async fn clear(context: &Context, leads_since: Instant) -> Result<Cleared, RegistryError> {
    let present = context.registry.present().await?;
    let rows = context.store.open_workers().await.map_err(|error| context.store_failed(&error));
    let Ok(rows) = rows else { return Ok(Cleared::Whole) };
    let mut cleared = Cleared::Whole;
    let open: HashSet<ProcessId> = rows.into_iter().map(|row| row.process_id).collect();
    let strangers: Vec<(ProcessId, u64)> =
        present.into_iter().filter(|id| !open.contains(id)).map(|id| (id, 0)).collect();
    for heard in context.registry.read_heartbeats(&strangers).await?.seen {
        let Some(beat) = heard.beat else { continue };
        // What was heard before this lead may be of before the worker's end: one that lives is heard again by the next look. Times of
        // two clocks are not compared.
        let is_of_this_lead = heard.age < clock::now().saturating_duration_since(leads_since);
        if !is_of_this_lead && heard.age < context.settings.clocks.stale {
            cleared = Cleared::InPart;
            continue;
        }
        tracing::info!(process.id = %heard.process_id, "the registry holds a worker that the store does not; it is forgotten");
        if introduce(context, heard.process_id, &beat.pool_name).await && is_of_this_lead {
            tell_returned(context, &beat).await;
        }
        // In this order: forgetting removes the mark too, which is there for one that lives and beats again.
        context.registry.forget(&beat.pool_name, heard.process_id).await?;
        context.registry.condemn(heard.process_id).await?;
    }
    Ok(cleared)
}

/// One that a former leader gave up has a row that says by which key it knows us. Says whether it was declared dead.
async fn introduce(context: &Context, worker: ProcessId, pool: &PoolName) -> bool {
    let Ok(Some(row)) = context.store.worker(worker).await else { return false };
    context.bus.introduce(worker, Peer { pool: pool.clone(), key: row.key });
    row.ending.is_some_and(|ending| matches!(ending.cause, WorkerCause::DeclaredDead { .. }))
}

/// A worker lives that a person has declared dead: its agents may have run twice.
async fn tell_returned(context: &Context, beat: &Heartbeat) {
    let id = beat.process_id;
    let agents = counted(beat.agents.len() as u64, "agent");
    let words = format!("it was declared dead and lives ({}), with {agents}; it is told to end", beat.identity);
    tracing::error!(process.id = %id, pool.name = %beat.pool_name, "{words}: agents that were placed anew may have run twice");
    let at = context.settings.wall.now();
    let event = EventDraft {
        process_id: Some(id),
        reason: words,
        ..pool_event(EventKind::WorkerReturned, &beat.pool_name, at)
    };
    // A failure is on the health board already, and the log has it.
    drop(context.apply(&[Write::Event(event)]).await);
}

#[cfg(test)]
mod tests {
    use muster_domain::scaling::WorkerTarget;

    use super::*;

    fn row(spec: PoolSpec) -> PoolRow {
        PoolRow {
            spec,
            draining: false,
            created_at: Timestamp::from_millis(0),
            workers_spawned: 0,
            workers_terminated: 0,
            gate: muster_domain::Gate::default(),
            target: WorkerTarget::default(),
        }
    }

    fn of_file(name: &str, max_agents: u32) -> PoolSpec {
        PoolSpec {
            pool_name: name.parse().expect("a name"),
            role_type: "developer".to_owned(),
            runtime: runtime::ECHO.to_owned(),
            config: PoolConfig { max_agents, ..PoolConfig::default() },
            origin: PoolOrigin::File,
        }
    }

    #[test]
    fn four_pools_are_the_default() {
        let names: Vec<String> = default_pools().iter().map(|spec| spec.pool_name.to_string()).collect();
        assert_eq!(names, ["team_leader_pool", "business_analyst_pool", "developer_pool", "tester_pool"]);
    }

    #[test]
    fn the_file_adds_changes_and_drains_only_its_own() {
        let mut by_api = of_file("by_api", 10);
        by_api.origin = PoolOrigin::Api;
        let rows = [row(of_file("same", 10)), row(of_file("changed", 10)), row(of_file("gone", 10)), row(by_api)];
        let at = Timestamp::from_millis(0);
        let writes = follow_file(&rows, &[of_file("same", 10), of_file("changed", 2), of_file("new", 1)], at);
        let kinds: Vec<String> = writes
            .iter()
            .filter_map(|write| match write {
                Write::AddPool { spec, .. } => Some(format!("add {}", spec.pool_name)),
                Write::ChangePool { spec } => Some(format!("change {}", spec.pool_name)),
                Write::DrainPool { pool } => Some(format!("drain {pool}")),
                _ => None,
            })
            .collect();
        assert_eq!(kinds, ["change changed", "add new", "drain gone"]);
        let all_gone = follow_file(&rows, &[], at).into_iter().filter(|write| matches!(write, Write::DrainPool { .. }));
        assert_eq!(all_gone.count(), 3, "a file without pools has no pools");
    }
}
