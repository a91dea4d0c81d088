//! Workers of an earlier supervisor are taken over.

use std::sync::Arc;
use std::time::Instant;

use muster_domain::worker::{WorkerEnd, WorkerEvent};
use muster_domain::{ExecMode, ProcessId, RuntimeProfile, WorkerState, WorkerStatus};
use muster_registry::Peer;
use muster_store::WorkerRow;

use super::super::mailbox::WorkerNews;
use super::interrupting::Interrupted;
use super::launching::await_death;
use super::way::Way;
use super::worker::{PoolWorker, Process, WorkerOrigin};
use super::{Pool, PoolWorkers, PoolWorkersDeps, Turn};
use crate::directory::Mailbox;
use crate::launch::{Adoption, LookError, RunningWorker};

/// A worker of an earlier supervisor, and what became of it.
pub(crate) struct FoundWorker {
    pub(crate) row: WorkerRow,
    /// An error where it could not be looked for; then it is looked for again.
    pub(crate) adoption: Result<Adoption, LookError>,
}

impl PoolWorkers {
    /// Takes a worker in. What became of it comes with the first turn, before anybody is placed. Commands go to it at once: one that
    /// is not connected again yet misses them, and gets them again.
    pub(in crate::keeper) fn adopt(&mut self, found: FoundWorker, pool: &Pool, now: Instant) {
        let FoundWorker { row, adoption } = found;
        let id = row.process_id;
        let status = match row.state {
            // It was told to end; it is told again, and has its time for it.
            WorkerState::Draining => WorkerStatus::Ending { since: now, how: WorkerEnd::Stopped },
            _ => WorkerStatus::Ready,
        };
        let identity = row.identity.clone();
        let way = match &adoption {
            Ok(_) => Way::Starting,
            Err(error) => Way::None(error.to_string()),
        };
        let outdated = self.is_outdated(&row, adoption.as_ref().ok(), pool);
        let at = self.deps.settings.wall.now();
        self.put(PoolWorker {
            status,
            origin: WorkerOrigin {
                started_at: row.created_at,
                begun: None,
                outdated,
                source: row.spec.source.clone(),
                tier: row.spec.tier,
                has_key: row.key.is_some(),
            },
            process: Process { identity, confirmed: true, way, ..Process::default() },
            interrupted: row.interruption.map(|notice| Interrupted::of(notice, now, at)),
            ..PoolWorker::new(id, row.capacity, &row.spec, row.created_at, now)
        });
        if let Some(notice) = row.interruption {
            self.pause_interrupted(id, now.checked_sub(at.since(notice.noticed_at)).unwrap_or(now), pool);
        }
        self.deps.bus.introduce(id, Peer { pool: row.pool_name.clone(), key: row.key });
        self.deps.listener.watch(id, self.deps.keeper.clone());
        match adoption {
            Ok(adoption) => tell(&self.deps.keeper, id, adoption),
            Err(_) => drop(tokio::spawn(look_again(Arc::clone(&self.deps), row))),
        }
    }

    /// Whether it starts programs by an older definition of the runtime. Without a version an older Muster started it, and nobody
    /// knows by which definition. One that is dead starts nothing more.
    fn is_outdated(&self, row: &WorkerRow, adoption: Option<&Adoption>, pool: &Pool) -> bool {
        let wanted = self.runtime_version(pool);
        let is_dead = matches!(adoption, Some(Adoption::Ended(_)));
        let outdated = !is_dead && wanted.is_some() && row.spec.runtime_version != wanted;
        if outdated {
            tracing::warn!(
                process.id = %row.process_id,
                pool.name = %pool.spec.pool_name,
                "a worker starts programs by an older definition of the runtime {}: it gets no more agents, and is replaced when \
                 it has none; `muster restart` moves an agent to a new one",
                pool.spec.runtime
            );
        }
        outdated
    }

    /// Nobody is placed on it any more, and its agents keep their places until all that it owned is proven dead too.
    pub(in crate::keeper) fn found_dead(
        &mut self,
        id: ProcessId,
        process: Arc<dyn RunningWorker>,
        pool: &Pool,
        turn: &Turn,
    ) {
        self.deps.listener.mute(id);
        self.apply(id, WorkerEvent::EndOrdered(turn.now, WorkerEnd::Lost));
        if let Some(worker) = self.get_mut(id) {
            worker.process.way = Way::To(process.clone());
        }
        self.forget_unreachable(id, pool);
        await_death(id, process, self.deps.keeper.clone());
    }

    /// There is no way to it from here. One that was told to end hears that by a command, since it may live.
    pub(in crate::keeper) fn found_elsewhere(&mut self, id: ProcessId, turn: &mut Turn) {
        let Some(worker) = self.get_mut(id) else { return };
        worker.process.way = Way::elsewhere(worker.process.identity.as_ref());
        if worker.status.is_ending() {
            turn.commands.push(self.shutdown(id, true));
        }
    }

    /// A worker whose row was committed though the commit seemed to fail: a worker is started after its commit, so it never was. It
    /// ends before anybody is placed on it.
    pub(in crate::keeper) fn take_never_started(&mut self, row: &WorkerRow, now: Instant) {
        let mut worker = PoolWorker::new(row.process_id, row.capacity, &row.spec, row.created_at, now);
        worker.status = WorkerStatus::Ending { since: now, how: WorkerEnd::Lost };
        (worker.process.confirmed, worker.origin.begun) = (true, None);
        self.put(worker);
    }

    /// Whether the pool's runtime starts a program for each task.
    pub(in crate::keeper) fn is_oneshot(&self, pool: &Pool) -> bool {
        let runtime = self.deps.settings.profiles.get(&pool.spec.runtime);
        matches!(runtime, Some(RuntimeProfile::Exec(exec)) if exec.mode == ExecMode::Oneshot)
    }
}

/// Tells the keeper what became of a worker.
fn tell(keeper: &Mailbox, worker: ProcessId, adoption: Adoption) {
    let news = match adoption {
        Adoption::Alive(launched) => WorkerNews::Launched(worker, Ok(launched)),
        Adoption::Ended(process) => WorkerNews::FoundDead(worker, process),
        Adoption::Elsewhere => WorkerNews::FoundElsewhere(worker),
    };
    drop(keeper.send(news.into()));
}

/// Looks for a worker that could not be looked for, until that works or the keeper has ended. Till then its agents stay where
/// they are: a worker that was not looked for is not dead.
async fn look_again(deps: Arc<PoolWorkersDeps>, row: WorkerRow) {
    loop {
        let look = async {
            tokio::time::sleep(deps.settings.clocks.pass).await;
            deps.launchers.find(&row).await
        };
        let adoption = tokio::select! {
            biased;
            () = deps.keeper.closed() => return,
            () = deps.fenced.cancelled() => return,
            adoption = look => adoption,
        };
        match adoption {
            Ok(adoption) => return tell(&deps.keeper, row.process_id, adoption),
            Err(error) => tracing::debug!(process.id = %row.process_id, %error, "a worker still can't be looked for"),
        }
    }
}
