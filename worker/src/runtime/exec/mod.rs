//! Agents with programs: one for each agent, speaking JSON lines, or one for each of its tasks.
//!
//! Each agent is a task (`agent`) that owns the program's tree, its pipes and its log; dropping its handle kills the
//! tree. The loop holds one end of a channel to each: orders go in, news come out. An agent of the other kind (`oneshot`)
//! owns its log and a task for each of its programs (`job`).

mod agent;
pub(super) mod blocking;
mod contract;
mod desk;
mod excerpt;
mod job;
mod journal;
mod ladder;
mod oneshot;
mod output;
mod program;
mod stdin;
mod tail;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use muster_domain::{AgentId, AgentSpec, ExecMode, ExecProfile, Halt, PoolName, ProcessId, SpawnOrder, WorkerOrders};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::News;
use crate::checks::Look;
use crate::slots::How;
use crate::tasks::{AttemptId, Errand, Finish, Finished};

/// The agents of a worker that have programs.
pub(crate) struct Exec {
    common: Arc<Common>,
    agents: HashMap<AgentId, Handle>,
}

/// What all agents of a worker have in common.
struct Common {
    profile: ExecProfile,
    process_id: ProcessId,
    pool_name: PoolName,
    data_dir: std::path::PathBuf,
    news: UnboundedSender<News>,
    /// After which time the worker kills all agents when it stops as a whole.
    worker_deadline: Duration,
    /// The zero of [`LastActive`].
    since: Instant,
}

/// The loop's end of an agent's task.
struct Handle {
    agent: AgentSpec,
    orders: UnboundedSender<Order>,
    activity: Arc<LastActive>,
}

/// What the loop tells an agent's task.
enum Order {
    /// Stop, and end.
    Stop(How),
    /// Have this done.
    Begin(Box<Errand>),
    /// Stop this, for this reason.
    Halt(AttemptId, Halt),
}

/// When an agent was last active, in milliseconds since the worker's start. Written for each piece of output and read
/// when idleness is judged, so that output costs the loop nothing.
#[derive(Debug, Default)]
struct LastActive(AtomicU64);

impl LastActive {
    fn note(&self, since: Instant, now: Instant) {
        let millis = u64::try_from((now - since).as_millis()).unwrap_or(u64::MAX);
        self.0.store(millis, Ordering::Relaxed);
    }

    fn last(&self, since: Instant) -> Instant {
        since + Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

impl Common {
    /// How long a task that is to stop for this reason may take for it.
    const fn patience(&self, halt: Halt) -> Duration {
        match halt {
            Halt::BudgetExceeded => self.profile.budget_grace,
            Halt::Cancelled | Halt::TimedOut | Halt::LeaseLost | Halt::HandedBack => self.profile.stop_deadline,
        }
    }
}

impl Exec {
    pub(super) fn new(orders: &WorkerOrders, profile: ExecProfile, news: UnboundedSender<News>) -> Self {
        let common = Common {
            profile,
            process_id: orders.process_id,
            pool_name: orders.pool_name.clone(),
            data_dir: orders.data_dir.clone(),
            news,
            worker_deadline: orders.clocks.stop_deadline,
            since: Instant::now(),
        };
        Self { common: Arc::new(common), agents: HashMap::new() }
    }

    pub(super) fn start(&mut self, order: SpawnOrder) {
        let (orders, ordered) = unbounded_channel();
        let activity = Arc::new(LastActive::default());
        let agent = order.agent.clone();
        let (common, active) = (Arc::clone(&self.common), Arc::clone(&activity));
        match common.profile.mode {
            ExecMode::Agent => drop(tokio::spawn(agent::run(common, order, ordered, active))),
            ExecMode::Oneshot => drop(tokio::spawn(oneshot::run(common, order, ordered, active))),
        }
        self.agents.insert(agent.agent_id, Handle { agent, orders, activity });
    }

    pub(super) fn stop(&mut self, agent_id: &AgentId, how: How) {
        if let Some(handle) = self.agents.get(agent_id) {
            // Where the task has ended, its last news is on the way.
            let _ = handle.orders.send(Order::Stop(how));
        }
    }

    /// Hands on a task. Answers where there is nobody to take it.
    pub(super) fn begin(&mut self, errand: Errand) -> Option<Finish> {
        let (id, handle) = (errand.id(), self.agents.get(&errand.order.agent_id));
        let taken = handle.is_some_and(|handle| handle.orders.send(Order::Begin(Box::new(errand))).is_ok());
        (!taken).then(|| not_begun(id))
    }

    pub(super) fn halt(&mut self, agent_id: &AgentId, id: AttemptId, halt: Halt) {
        if let Some(handle) = self.agents.get(agent_id) {
            let _ = handle.orders.send(Order::Halt(id, halt));
        }
    }

    pub(super) fn look(&self, agent_id: &AgentId) -> Option<Look> {
        let agent = self.agents.get(agent_id)?.agent.clone();
        Some(Box::pin(program::look(Arc::clone(&self.common), agent)))
    }

    pub(super) fn forget(&mut self, agent_id: &AgentId) {
        self.agents.remove(agent_id);
    }

    pub(super) fn last_active(&self, agent_id: &AgentId) -> Option<Instant> {
        self.agents.get(agent_id).map(|handle| handle.activity.last(self.common.since))
    }
}

/// The answer for a task that comes when its agent takes none any more.
fn not_begun(id: AttemptId) -> Finish {
    let end = Finished::NotBegun("its agent is ending".to_owned());
    Finish { id, end, last_output: String::new() }
}
