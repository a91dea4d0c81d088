//! What follows from a step of the tasks, beside what is committed: for the controller to carry out.

use muster_domain::{AgentId, Envelope, ProcessId};
use muster_store::StoreError;
use tokio::sync::oneshot;

use super::TaskAnswer;
use crate::error::SupervisorError;
use crate::keeper::mailbox::SpawnAsk;

/// In the order in which they came up.
#[derive(Default)]
pub(in crate::keeper) struct Effects {
    /// Commands to workers.
    pub(in crate::keeper) commands: Vec<(ProcessId, Envelope)>,
    /// Agents that the pool wants for its tasks.
    pub(in crate::keeper) spawns: Vec<SpawnAsk>,
    /// Agents that have done the one task that they were for.
    pub(in crate::keeper) spent: Vec<AgentId>,
    /// Reads of the store that failed.
    pub(in crate::keeper) failures: Vec<StoreError>,
    /// Answers to those who asked.
    pub(in crate::keeper) answers: Vec<TaskReply>,
}

/// An answer, with whom it is for.
pub(in crate::keeper) enum TaskReply {
    Submit(oneshot::Sender<Vec<Result<TaskAnswer, SupervisorError>>>, Vec<Result<TaskAnswer, SupervisorError>>),
    Cancel(oneshot::Sender<Result<(), SupervisorError>>, Result<(), SupervisorError>),
    Redrive(oneshot::Sender<Result<u64, SupervisorError>>, Result<u64, SupervisorError>),
}

impl TaskReply {
    /// Where the asker has gone, it goes nowhere.
    pub(in crate::keeper) fn send(self) {
        match self {
            Self::Submit(reply, answers) => drop(reply.send(answers)),
            Self::Cancel(reply, answer) => drop(reply.send(answer)),
            Self::Redrive(reply, answer) => drop(reply.send(answer)),
        }
    }
}
