//! Copies of commands for people who watch a pool. They show who is told to do what, and nothing of the work itself: no input, no
//! specification of an agent. They have neither version nor body of a command, so no worker can take one for a command.

use muster_domain::{AgentId, Command, CommandId, Envelope, Epoch, Fence, ProcessId, TaskId, Timestamp};
use serde::Serialize;

/// What is shown of a command.
#[derive(Debug, Serialize)]
pub(crate) struct CommandCopy {
    at: String,
    command: &'static str,
    command_id: CommandId,
    fence: Fence,
    process_id: ProcessId,
    #[serde(skip_serializing_if = "Option::is_none")]
    agent_id: Option<AgentId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<Epoch>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    tasks: Vec<TaskCopy>,
}

/// What is shown of an attempt at a task.
#[derive(Debug, Serialize)]
struct TaskCopy {
    task_id: TaskId,
    attempt: u32,
    agent_id: AgentId,
    epoch: Epoch,
}

impl CommandCopy {
    pub(crate) fn of(process_id: ProcessId, envelope: &Envelope, at: Timestamp) -> Self {
        let Envelope { v: _, id, fence, command } = envelope;
        let (command, agent, tasks) = match command {
            Command::Spawn(order) => ("spawn", Some((order.agent.agent_id, order.epoch)), Vec::new()),
            Command::Terminate { agent_id, epoch, graceful: _ } => ("terminate", Some((*agent_id, *epoch)), Vec::new()),
            Command::Drain => ("drain", None, Vec::new()),
            Command::Shutdown { graceful: _ } => ("shutdown", None, Vec::new()),
            Command::Probe => ("probe", None, Vec::new()),
            Command::RunTasks { tasks } => {
                let copy = tasks.iter().map(|task| TaskCopy {
                    task_id: task.task_id,
                    attempt: task.attempt,
                    agent_id: task.agent_id,
                    epoch: task.epoch,
                });
                ("run_tasks", None, copy.collect())
            }
            Command::HaltTasks { tasks } => {
                let copy = tasks.iter().map(|task| TaskCopy {
                    task_id: task.task_id,
                    attempt: task.attempt,
                    agent_id: task.agent_id,
                    epoch: task.epoch,
                });
                ("halt_tasks", None, copy.collect())
            }
        };
        let (agent_id, epoch) = agent.unzip();
        Self { at: at.to_string(), command, command_id: *id, fence: *fence, process_id, agent_id, epoch, tasks }
    }
}

#[cfg(test)]
mod tests {
    use muster_domain::{Payload, TaskOrder};

    use super::*;
    use crate::{CommandDelivery, wire};

    #[test]
    fn a_copy_names_the_command_and_shows_nothing_of_the_work() {
        let worker = ProcessId::generate();
        let order = TaskOrder {
            task_id: TaskId::generate(),
            attempt: 1,
            agent_id: AgentId::generate(),
            epoch: Epoch(1),
            input: Payload::quoted("s3cret"),
            sole_tenant: Some("acme".to_owned()),
            timeout: None,
            check: None,
        };
        let task = order.task_id.to_string();
        let envelope = Envelope::new(Fence(3), Command::RunTasks { tasks: vec![order] });
        let text = wire::write(&CommandCopy::of(worker, &envelope, Timestamp::from_millis(0))).expect("JSON");
        assert!(text.contains(r#""command":"run_tasks""#) && text.contains(&task), "{text}");
        assert!(text.contains(&envelope.id.to_string()) && text.contains(&worker.to_string()), "{text}");
        assert!(!text.contains("s3cret"), "{text}");
        assert!(matches!(wire::read_command(text.as_bytes()), CommandDelivery::Unreadable(_)), "it is no command");
    }
}
