//! What runs an agent: nothing ([`echo`]) or a program ([`exec`]). The loop starts and stops agents here, and hears of
//! them as [`RunNews`].

mod echo;
mod exec;

use muster_domain::{AgentId, Ending, Epoch, Halt, RuntimeProfile, SpawnOrder, WorkerOrders};
use tokio::sync::mpsc::UnboundedSender;
use tokio::time::Instant;

use crate::checks::Probing;
use crate::slots::StopMode;
use crate::tasks::{AttemptId, AttemptStart, Finish};

/// News of an agent: a handful in its life, and one of each of its tasks.
#[derive(Debug)]
pub(crate) struct RunNews {
    pub(crate) agent_id: AgentId,
    pub(crate) epoch: Epoch,
    pub(crate) what: RunChange,
}

/// What is new.
#[derive(Debug)]
pub(crate) enum RunChange {
    /// It runs, with this pid.
    Started { pid: Option<u32> },
    /// Its tree was killed and is not gone yet, for this reason; `None`: nothing holds it any more.
    Stuck(Option<String>),
    /// It is done with a task.
    Finished(Finish),
    /// Its tree is proven dead. Always the last.
    Ended(Ending),
}

/// The runtime of a worker: the same for all of its agents.
pub(crate) enum Runtime {
    Echo(echo::Echo),
    Exec(exec::Exec),
}

impl Runtime {
    /// The runtime that these orders name. News that do not come at once go to `news`.
    pub(crate) fn new(orders: &WorkerOrders, news: UnboundedSender<RunNews>) -> Self {
        match &orders.profile {
            RuntimeProfile::Echo => Self::Echo(echo::Echo::new(orders.data_dir.clone())),
            RuntimeProfile::Exec(profile) => Self::Exec(exec::Exec::new(orders, profile.clone(), news)),
        }
    }

    /// Starts an agent. Answers with what is known at once.
    pub(crate) fn start(&mut self, order: SpawnOrder) -> Option<RunNews> {
        match self {
            Self::Echo(_) => Some(echo::start(&order)),
            Self::Exec(exec) => {
                exec.start(order);
                None
            }
        }
    }

    /// Stops an agent that was started. Answers with what is known at once. May be called again, more urgently.
    pub(crate) fn stop(&mut self, agent_id: AgentId, epoch: Epoch, how: StopMode) -> Option<RunNews> {
        match self {
            Self::Echo(echo) => Some(echo.stop(agent_id, epoch)),
            Self::Exec(exec) => {
                exec.stop(&agent_id, how);
                None
            }
        }
    }

    /// Has a task begun by an agent that runs. Answers with its end, where that is known at once.
    pub(crate) fn begin(&mut self, start: AttemptStart) -> Option<Finish> {
        match self {
            Self::Echo(_) => Some(echo::answer(start)),
            Self::Exec(exec) => exec.begin(start),
        }
    }

    /// Has an agent stop a task that it was given. Its end is news of the agent.
    pub(crate) fn halt(&mut self, agent_id: &AgentId, id: AttemptId, halt: Halt) {
        match self {
            // Whatever it was given is done.
            Self::Echo(_) => {}
            Self::Exec(exec) => exec.halt(agent_id, id, halt),
        }
    }

    /// A look at the program of an agent, or of its tasks; none where it has none.
    pub(crate) fn look(&self, agent_id: &AgentId) -> Option<Probing> {
        match self {
            Self::Echo(_) => None,
            Self::Exec(exec) => exec.look(agent_id),
        }
    }

    /// Forgets an agent whose end was heard.
    pub(crate) fn forget(&mut self, agent_id: &AgentId) {
        match self {
            Self::Echo(_) => {}
            Self::Exec(exec) => exec.forget(agent_id),
        }
    }

    /// When an agent was last active, where that is known here.
    pub(crate) fn last_active(&self, agent_id: &AgentId) -> Option<Instant> {
        match self {
            Self::Echo(_) => None,
            Self::Exec(exec) => exec.last_active(agent_id),
        }
    }
}
