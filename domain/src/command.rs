//! What the master tells a worker.
//!
//! A command is idempotent, carries the leader's fence and, where it is about an agent, the agent's epoch. It is
//! acknowledged by a [`Report`](crate::Report), and sent again until it is: the channel may forget it.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::attempt::Halt;
use crate::check::CheckOrder;
use crate::payload::Payload;
use crate::time::optional_seconds;
use crate::{AgentId, AgentSpec, CommandId, Epoch, Fence, TaskId};

/// The version of the messages between master and workers. A master speaks with workers of this and the previous version.
pub const WIRE_VERSION: u16 = 1;

/// A command with what every command carries.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// The message's version: [`WIRE_VERSION`] of the sender.
    pub v: u16,
    /// The same for every re-send.
    pub id: CommandId,
    /// The sender's fence.
    pub fence: Fence,
    /// The command itself.
    pub command: Command,
}

impl Envelope {
    /// A new command of the leader with this fence.
    pub fn new(fence: Fence, command: Command) -> Self {
        Self { v: WIRE_VERSION, id: CommandId::generate(), fence, command }
    }
}

/// What a worker is told to do.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Command {
    /// Run an agent. Acknowledged by `Started`, `Ended` or `Refused` of the same epoch.
    Spawn(Box<SpawnOrder>),
    /// Stop an agent and prove its tree dead. Acknowledged by `Ended`, also where it is not held (any more).
    Terminate {
        /// The agent.
        agent_id: AgentId,
        /// The assignment that is to end; a later one is not touched.
        epoch: Epoch,
        /// Whether the program is asked (SIGTERM, with a deadline) before it is killed.
        graceful: bool,
    },
    /// Take no more agents; end when none is left.
    Drain,
    /// Stop every agent, and end.
    Shutdown {
        /// Whether the programs are asked before they are killed.
        graceful: bool,
    },
    /// Answer with `Probed`: a test of the way there and back.
    Probe,
    /// Have these tasks done. Each is acknowledged by being named in a `Tasks` report.
    RunTasks {
        /// In the order in which they are to begin.
        tasks: Vec<TaskOrder>,
    },
    /// Stop these tasks: each is over when its work is proven to have stopped. Acknowledged by `Tasks` reports that name
    /// them as over, also where they are not held (any more).
    HaltTasks {
        /// Each with its reason.
        tasks: Vec<TaskHalt>,
    },
}

/// The order to have one task done by one agent. A worker begins each attempt once, and answers a repeated order with
/// what became of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskOrder {
    /// The task.
    pub task_id: TaskId,
    /// The number of this attempt.
    pub attempt: u32,
    /// Who is to do it.
    pub agent_id: AgentId,
    /// In which of its runs.
    pub epoch: Epoch,
    /// The work.
    pub input: Payload,
    /// The task's tenant, where its agent has no other task meanwhile, so that what it prints is about this one. Where nobody
    /// says so, it is not known what that is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sole_tenant: Option<String>,
    /// How long it may take from its beginning, in seconds; past it the worker halts it as timed out.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_seconds")]
    pub timeout: Option<Duration>,
    /// Set where the worker is to answer itself with what it reaches; the agent does not hear of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<Box<CheckOrder>>,
}

/// The order to stop one attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskHalt {
    /// The task.
    pub task_id: TaskId,
    /// The attempt that is to stop.
    pub attempt: u32,
    /// Whose it is.
    pub agent_id: AgentId,
    /// In which of its runs.
    pub epoch: Epoch,
    /// Why.
    pub halt: Halt,
}

/// The order to run one agent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SpawnOrder {
    /// The agent.
    pub agent: AgentSpec,
    /// Its epoch. A worker starts each epoch once, and remembers the highest of each agent for its life.
    pub epoch: Epoch,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_envelope_names_its_version_and_kind() {
        let envelope = Envelope::new(Fence(3), Command::Shutdown { graceful: true });
        let json = serde_json::to_value(&envelope).expect("an object");
        assert_eq!(json["v"], WIRE_VERSION);
        assert_eq!(json["fence"], 3);
        assert_eq!(json["command"]["type"], "shutdown");
        assert_eq!(serde_json::from_value::<Envelope>(json).expect("its own output"), envelope);
    }
}
