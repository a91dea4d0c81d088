//! What an engine must do.

pub(crate) mod accounts;
pub(crate) mod agents;
pub(crate) mod batches;
pub(crate) mod events;
pub(crate) mod keys;
pub(crate) mod leadership;
pub(crate) mod metrics;
pub(crate) mod pools;
pub(crate) mod refusals;
pub(crate) mod task_batches;
pub(crate) mod task_lists;
pub(crate) mod task_moves;
pub(crate) mod tasks;
pub(crate) mod workers;

use std::time::Duration;

use muster_domain::tiers::WorkerSource;
use muster_domain::{
    AgentId, AgentSpec, Assignment, Cause, Ending, Epoch, EventDraft, EventKind, Fence, FinalState, LocalIdentity,
    PoolConfig, PoolName, PoolOrigin, PoolSpec, ProcessId, StopReason, TierName, Timestamp, WorkerCause, WorkerEnding,
    WorkerIdentity, WorkerKey,
};
use muster_store::{IdempotencyKey, Leadership, NewAgent, Store, WorkerSpec, Write, WriteOutcome};

pub(crate) use crate::places::Place;

/// The newest migration.
pub(crate) const NEWEST: i64 = 18;

/// The numbers of the migrations after this one: a number may be left out.
pub(crate) fn migrations_after(before: i64) -> Vec<i64> {
    let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../migrations/sqlite");
    let names = std::fs::read_dir(folder).expect("the migrations").map(|entry| entry.expect("a file").file_name());
    let number = |name: std::ffi::OsString| name.to_string_lossy().split('_').next()?.parse().ok();
    let mut numbers: Vec<i64> = names.filter_map(number).filter(|number| *number > before).collect();
    numbers.sort_unstable();
    numbers
}

/// What an agent comes to that crashed too often.
pub(crate) const QUARANTINED: Option<FinalState> = Some(FinalState::Quarantined);

/// Long enough for any test.
pub(crate) const LEASE: Duration = Duration::from_secs(600);

pub(crate) fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(1_800_000_000_000 + millis)
}

pub(crate) fn name(text: &str) -> PoolName {
    text.parse().expect("a pool's name")
}

impl Place {
    /// Becomes the leader of a store that has none.
    pub(crate) async fn lead(&self) -> Fence {
        match self.store.lead("the test", "127.0.0.1:1", LEASE).await.expect("a store that answers") {
            Leadership::Leads(fence) => fence,
            held @ Leadership::Held { .. } => panic!("somebody else leads: {held:?}"),
        }
    }

    /// Leads, with a pool `dev`.
    pub(crate) async fn lead_with_pool(&self) -> Fence {
        let fence = self.lead().await;
        assert_eq!(self.one(fence, add_pool("dev")).await, WriteOutcome::Applied);
        fence
    }

    /// Applies one write.
    pub(crate) async fn one(&self, fence: Fence, write: Write) -> WriteOutcome {
        let mut outcomes = self.store.apply(fence, &[write]).await.expect("a store that answers");
        assert_eq!(outcomes.len(), 1, "one outcome per write");
        outcomes.remove(0)
    }

    /// Applies one write after the other, and compares the outcomes.
    pub(crate) async fn all(&self, fence: Fence, writes: Vec<(Write, WriteOutcome)>) {
        for (write, expected) in writes {
            let text = format!("{write:?}");
            assert_eq!(self.one(fence, write).await, expected, "{text}");
        }
    }

    /// A worker of `dev` with that many slots.
    pub(crate) async fn worker(&self, fence: Fence, capacity: u32) -> ProcessId {
        let process_id = ProcessId::generate();
        assert_eq!(self.one(fence, add_worker(process_id, "dev", capacity)).await, WriteOutcome::Applied);
        process_id
    }

    /// An agent of `dev`, on the worker if one is given.
    pub(crate) async fn agent(&self, fence: Fence, worker: Option<ProcessId>) -> AgentId {
        let agent = new_agent("dev", worker);
        let id = agent.spec.agent_id;
        let expected = if worker.is_some() { WriteOutcome::Applied } else { WriteOutcome::Unplaced };
        assert_eq!(self.one(fence, Write::AddAgent(Box::new(agent))).await, expected);
        id
    }

    pub(crate) async fn read(&self, id: AgentId) -> muster_store::AgentRow {
        self.store.agent(id).await.expect("a store that answers").expect("an agent")
    }
}

pub(crate) fn pool_spec(pool: &str) -> PoolSpec {
    PoolSpec {
        pool_name: name(pool),
        role_type: "developer".into(),
        runtime: "echo".into(),
        config: PoolConfig::default(),
        origin: PoolOrigin::Api,
    }
}

pub(crate) fn add_pool(pool: &str) -> Write {
    Write::AddPool { spec: pool_spec(pool), at: at(0) }
}

/// Each worker has its own.
pub(crate) fn key_of(worker: ProcessId) -> WorkerKey {
    format!("{0:032x}{0:032x}", worker.as_uuid().as_u128()).parse().expect("a key")
}

pub(crate) fn add_worker(process_id: ProcessId, pool: &str, capacity: u32) -> Write {
    let source = WorkerSource { launcher: "east".to_owned(), instance_type: Some("c6g.xlarge".to_owned()) };
    let spec = WorkerSpec { runtime_version: Some("1f".to_owned()), source, tier: Some(TierName::Spot) };
    Write::AddWorker { process_id, pool: name(pool), capacity, key: key_of(process_id), spec, at: at(1) }
}

pub(crate) fn new_agent(pool: &str, worker: Option<ProcessId>) -> NewAgent {
    let spec = AgentSpec {
        agent_id: AgentId::generate(),
        pool_name: name(pool),
        role_type: "developer".into(),
        project_id: "über 'project'; --".into(),
        human_name: "Ada $1 Lovelace".into(),
        heartbeat_interval: Duration::from_millis(1_500),
        max_idle_time: Duration::from_secs(300),
        on_demand: worker.is_some(),
    };
    NewAgent { spec, worker, key: None, at: at(2) }
}

pub(crate) fn key(text: &str, body: u8) -> IdempotencyKey {
    IdempotencyKey { caller: String::new(), route: "POST /spawn".into(), key: text.into(), body_hash: [body; 32] }
}

pub(crate) fn keyed(text: &str, body: u8) -> NewAgent {
    NewAgent { key: Some(key(text, body)), ..new_agent("dev", None) }
}

pub(crate) fn add(agent: &NewAgent) -> Write {
    Write::AddAgent(Box::new(agent.clone()))
}

pub(crate) fn assign(agent_id: AgentId, process_id: ProcessId, epoch: u64) -> Write {
    Write::Assign { agent_id, to: Assignment { process_id, epoch: Epoch(epoch) }, at: at(3) }
}

pub(crate) fn stop(agent_id: AgentId) -> Write {
    Write::StopAgent { agent_id, reason: StopReason::Requested, at: at(4) }
}

pub(crate) fn ending() -> Ending {
    Ending { cause: Cause::Exited { code: 7 }, last_output: "oh no\n".into(), at: at(5) }
}

pub(crate) fn release(agent_id: AgentId, epoch: u64, then: Option<FinalState>) -> Write {
    Write::Release { agent_id, epoch: Epoch(epoch), ending: ending(), then, at: at(6) }
}

pub(crate) fn restart(agent_id: AgentId, epoch: u64) -> Write {
    Write::RestartAgent { agent_id, epoch: Epoch(epoch), at: at(8) }
}

pub(crate) fn revive(agent_id: AgentId) -> Write {
    Write::ReviveAgent { agent_id, at: at(7) }
}

pub(crate) fn end_worker(process_id: ProcessId) -> Write {
    Write::EndWorker { process_id, lost: true, ending: worker_ending(), at: at(8) }
}

pub(crate) fn worker_ending() -> WorkerEnding {
    let cause = WorkerCause::Signaled { signal: 9, name: "SIGKILL".into() };
    WorkerEnding::new(cause, "it's \u{0} over".into(), "its agent is started again".into())
}

pub(crate) fn event(millis: i64) -> EventDraft {
    EventDraft {
        at: at(millis),
        kind: EventKind::AgentSpawned,
        pool_name: Some(name("dev")),
        agent_id: Some(AgentId::generate()),
        process_id: None,
        reason: format!("event {millis}"),
    }
}

pub(crate) fn identity(pid: u32) -> WorkerIdentity {
    let (host, machine_id, boot_id) = ("h".into(), Some("m".into()), "b".into());
    LocalIdentity { host, machine_id, boot_id, pid_namespace: u64::from(u32::MAX) + 1, pid, start_time: 5 }.into()
}
