//! What a worker tells the master. A report is numbered per worker, kept by it until it is settled, and sent again
//! after a reconnection or a flush of the registry; settling is idempotent by agent and epoch.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::attempt::{AttemptEnd, Usage};
use crate::ending::Ending;
use crate::payload::Payload;
use crate::{AgentId, CommandId, Epoch, Fence, PoolName, ProcessId, TaskId, Timestamp};

/// One numbered report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// The message's version: [`WIRE_VERSION`](crate::WIRE_VERSION) of the sender.
    pub v: u16,
    /// The worker that speaks.
    pub process_id: ProcessId,
    /// Its pool.
    pub pool_name: PoolName,
    /// 1, 2, 3, ... per worker.
    pub seq: u64,
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub body: ReportBody,
}

/// What happened in a worker.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ReportBody {
    /// The worker is subscribed, its first heartbeat is written, and it takes commands. Always number 1.
    Ready,
    /// The agent runs.
    Started {
        /// The agent.
        agent_id: AgentId,
        /// Its epoch.
        epoch: Epoch,
        /// The pid of its program, as the host counts; none for a built-in runtime.
        pid: Option<u32>,
    },
    /// The agent's tree is proven dead; `ready` says whether it ever ran.
    Ended {
        /// The agent.
        agent_id: AgentId,
        /// Its epoch.
        epoch: Epoch,
        /// Whether it had started before it ended.
        ready: bool,
        /// Why and with what last words.
        ending: Ending,
    },
    /// A command was not carried out. The agent does not run here in this epoch.
    Refused {
        /// The agent.
        agent_id: AgentId,
        /// The epoch of the command.
        epoch: Epoch,
        /// Why not.
        refusal: CommandRefusal,
    },
    /// The agent has been idle for longer than its `max_idle_time`; whether it ends is the keeper's to decide.
    IdleTooLong {
        /// The agent.
        agent_id: AgentId,
        /// Its epoch.
        epoch: Epoch,
    },
    /// The answer to a probe.
    Probed {
        /// The probe's id.
        command_id: CommandId,
    },
    /// News of tasks. What happened between two calls travels as one report, so that a thousand short tasks a second do not
    /// make a thousand entries.
    Tasks {
        /// Those that were begun and are not over yet.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        begun: Vec<TaskBegun>,
        /// Those that are over.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        over: Vec<TaskOver>,
    },
}

/// An attempt was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TaskBegun {
    /// The task.
    pub task_id: TaskId,
    /// The number of the attempt.
    pub attempt: u32,
}

/// An attempt is over: nothing of its work goes on.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskOver {
    /// The task.
    pub task_id: TaskId,
    /// The number of the attempt.
    pub attempt: u32,
    /// How it ended.
    pub end: AttemptEnd,
    /// The result, where it succeeded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<Payload>,
    /// What the program printed last, where it did not succeed; at most
    /// [`MAX_LAST_OUTPUT`](crate::ending::MAX_LAST_OUTPUT) bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub last_output: String,
    /// What it used.
    #[serde(default, skip_serializing_if = "Usage::is_zero")]
    pub usage: Usage,
}

/// Why a worker did not carry out a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "why", rename_all = "snake_case")]
pub enum CommandRefusal {
    /// Every slot is taken.
    Full {
        /// The worker's capacity.
        capacity: u32,
    },
    /// The worker is ending.
    Draining,
    /// The worker has seen a later epoch of this agent.
    StaleEpoch {
        /// The highest one seen.
        seen: Epoch,
    },
    /// The worker has seen a later leader.
    StaleFence {
        /// The highest one seen.
        seen: Fence,
    },
}

impl fmt::Display for CommandRefusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full { capacity } => write!(f, "all of its {capacity} slots are taken"),
            Self::Draining => f.write_str("it is draining"),
            Self::StaleEpoch { seen } => write!(f, "it has seen epoch {seen} of this agent"),
            Self::StaleFence { seen } => write!(f, "it has seen the leader with fence {seen}"),
        }
    }
}
