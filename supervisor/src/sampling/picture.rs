//! What a keeper knows of its pool at one moment.

use std::time::Instant;

use muster_domain::pool_metrics::{AgentFigures, QueueFigures, SlotFigures, WorkFigures, health_score};
use muster_domain::{
    Activity, AgentId, AgentState, AgentStatus, Clocks, LocalIdentity, PoolName, ProcessId, WorkerStatus,
};

use crate::keeper::agents::agent::PoolAgent;
use crate::keeper::model::Model;
use crate::keeper::workers::count;
use crate::keeper::workers::worker::PoolWorker;

/// A pool at one moment. Its figures are of one look; its work is all since the keeper began.
#[derive(Clone, Debug)]
pub(crate) struct PoolPicture {
    pub(crate) pool_name: PoolName,
    pub(crate) kept_since: Instant,
    pub(crate) slots: SlotFigures,
    pub(crate) agents: AgentFigures,
    pub(crate) queue: QueueFigures,
    pub(crate) work: WorkFigures,
    pub(crate) workers: Vec<WorkerPicture>,
}

/// A worker that may have a process, and who it holds.
#[derive(Clone, Debug)]
pub(crate) struct WorkerPicture {
    pub(crate) process_id: ProcessId,
    /// Whether it has a process for certain.
    pub(crate) is_ready: bool,
    /// None of one that no host can see, or that is not known yet.
    pub(crate) identity: Option<LocalIdentity>,
    /// Each with the pid of its program, where it has one that lasts.
    pub(crate) agents: Vec<(AgentId, Option<u32>)>,
}

/// What the tasks of a pool say of it: its queue, and its work so far.
pub(crate) type TaskFigures = (QueueFigures, WorkFigures);

/// Takes it. `wanted` are the workers that are to be there.
pub(crate) fn take(
    model: &Model,
    wanted: u32,
    (queue, work): TaskFigures,
    clocks: &Clocks,
    now: Instant,
) -> PoolPicture {
    let open = || model.workers.values().filter(|worker| worker.is_open());
    let those = |is: &dyn Fn(&PoolAgent) -> bool| model.agents.iter().filter(|agent| is(agent)).count();
    let doing = |activity| those(&|agent| agent.status.state() == AgentState::Running(activity)) as u64;
    let (idle, busy) = (doing(Activity::Idle), doing(Activity::Busy));
    let quarantined = those(&|agent| agent.status.needs_person());
    let health = health(model, wanted, clocks, now);
    let view = model.slot_counts();
    PoolPicture {
        pool_name: model.pool.spec.pool_name.clone(),
        kept_since: model.pool.since(),
        slots: SlotFigures {
            workers: open().count() as u64,
            slots: view.total.into(),
            taken: view.used.into(),
            busy,
            health: (health * 1e6).round() as u64,
        },
        agents: AgentFigures { active: idle + busy, idle, busy, waiting: 0, failed: quarantined as u64 },
        queue,
        work,
        workers: open().map(|worker| of_worker(model, worker)).collect(),
    }
}

/// How well the pool is. `wanted` are the workers that are to be there.
pub(crate) fn health(model: &Model, wanted: u32, clocks: &Clocks, now: Instant) -> f64 {
    let agents = |is: fn(&AgentStatus) -> bool| count(model.agents.iter().filter(|agent| is(&agent.status)));
    let (all, quarantined) = (agents(|status| !status.is_gone()), agents(AgentStatus::needs_person));
    let well = count(model.workers.values().filter(|worker| worker.is_open() && is_well(worker, clocks, now)));
    health_score(wanted, well, all, quarantined)
}

/// Whether a worker is ready, and was heard as lately as it is to be.
fn is_well(worker: &PoolWorker, clocks: &Clocks, now: Instant) -> bool {
    let heard = worker.contact.pulse.map(|pulse| now.saturating_duration_since(pulse.heard));
    let is_heard = heard.is_some_and(|age| age <= worker.clocks(clocks).stale);
    worker.status == WorkerStatus::Ready && worker.takes_agents() && !worker.contact.unheard && is_heard
}

fn of_worker(model: &Model, worker: &PoolWorker) -> WorkerPicture {
    let pid = |id: &AgentId| model.agent(*id).and_then(|agent| agent.run.pid);
    WorkerPicture {
        process_id: worker.process_id,
        is_ready: worker.status == WorkerStatus::Ready,
        identity: worker.process.identity.as_ref().and_then(|identity| identity.as_local()).cloned(),
        agents: worker.held.iter().map(|id| (*id, pid(id))).collect(),
    }
}
