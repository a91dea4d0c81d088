//! The built-in agent: it has no program, runs at once, answers each task with its input, and ends when it is told to.

use muster_domain::{AgentId, Cause, Ending, Epoch, SpawnOrder, Timestamp};

use super::{News, What};
use crate::tasks::{Errand, Finish, Finished};

/// It runs.
pub(super) fn start(order: &SpawnOrder) -> News {
    News { agent_id: order.agent.agent_id, epoch: order.epoch, what: What::Started { pid: None } }
}

/// It is gone.
pub(super) fn stop(agent_id: AgentId, epoch: Epoch) -> News {
    News { agent_id, epoch, what: What::Ended(Ending::new(Cause::Stopped, Timestamp::now())) }
}

/// It has done a task.
pub(super) fn answer(errand: Errand) -> Finish {
    Finish { id: errand.id(), end: Finished::Done(errand.order.input), last_output: String::new() }
}
