//! Tasks.

use std::time::Duration;

use muster_domain::{
    AgentId, AttemptRecord, Halt, Payload, ProcessId, Progress, Tally, TaskError, TaskId, TaskSpec, TaskState,
    TaskStatus, Timestamp, Usage,
};
use muster_store::TaskRow;

use crate::waiting::WaitingFor;

/// A task that was taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Submitted {
    /// Its id.
    pub task_id: TaskId,
    /// Its state when it was stored; a repeated request is answered with the state now.
    pub state: TaskState,
    /// When it was asked for.
    pub created_at: Timestamp,
}

/// A task that was called off.
#[derive(Clone, Debug)]
pub struct CalledOff {
    /// As it is now.
    pub task: TaskView,
    /// Whether it was over before it was called off: then nothing was changed.
    pub was_over: bool,
}

/// A task.
#[derive(Clone, Debug)]
pub struct TaskView {
    /// As it was asked for.
    pub spec: TaskSpec,
    /// The work.
    pub input: Payload,
    /// Its state.
    pub state: TaskState,
    /// Why it is being stopped, while it is.
    pub halting: Option<Halt>,
    /// Rises with every change; the same number is the same picture, but for the progress.
    pub version: u64,
    /// The number of its latest attempt; 0 before the first. Every start counts.
    pub attempt: u32,
    /// What its attempts have cost since it was sent to the queue: a redrive begins anew.
    pub tally: Tally,
    /// How often a person has sent it to the queue again.
    pub redrives: u32,
    /// Who has it, or had it last; nobody while it waits.
    pub agent_id: Option<AgentId>,
    /// The worker of that agent.
    pub process_id: Option<ProcessId>,
    /// The result.
    pub output: Option<Payload>,
    /// What went wrong, where it ended without success.
    pub error: Option<TaskError>,
    /// How far it is, while it runs.
    pub progress: Option<Progress>,
    /// What it has used.
    pub usage: Usage,
    /// Its attempts that are over.
    pub attempts: Vec<AttemptRecord>,
    /// When it was asked for.
    pub created_at: Timestamp,
    /// When its latest attempt was started; not told while it waits for the next one.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// While it waits for its time: when that is.
    pub due_at: Option<Timestamp>,
    /// What it waits for, while it is queued, or the server can't go on with it.
    pub waiting_for: Option<WaitingFor>,
}

impl TaskView {
    /// How long it waited for its first agent. While it waits: for how long by now, since it was asked for or its last attempt
    /// ended.
    pub fn waited(&self, now: Timestamp) -> Duration {
        if self.state == TaskState::Queued {
            let since = self.attempts.last().map_or(self.created_at, |last| last.ended_at);
            return now.since(since);
        }
        let first = self.attempts.first().map(|attempt| attempt.started_at).or(self.started_at);
        first.or(self.finished_at).unwrap_or(now).since(self.created_at)
    }

    /// How long its latest attempt took, or takes by now.
    pub fn ran(&self, now: Timestamp) -> Option<Duration> {
        let latest = self.attempts.last().filter(|attempt| attempt.number == self.attempt).map(|last| last.ended_at);
        Some(latest.unwrap_or(now).since(self.started_at?))
    }
}

impl From<TaskRow> for TaskView {
    /// The row keeps when its latest attempt began; a task that waits for another one shows nothing of it but in `attempts`,
    /// since nobody has it, and nothing of it runs.
    fn from(row: TaskRow) -> Self {
        let waits = row.status.state() == TaskState::Queued;
        let last = row.history.last().filter(|_| !waits);
        let (halting, due_at, error) = match &row.status {
            TaskStatus::Halting(_, halt) => (Some(*halt), None, None),
            TaskStatus::Queued { not_before } => (None, *not_before, None),
            TaskStatus::Failed(error) | TaskStatus::Dead(error) => (None, None, Some(error.clone())),
            TaskStatus::Running(_) | TaskStatus::Succeeded | TaskStatus::Cancelled => (None, None, None),
        };
        let open = row.status.attempt();
        Self {
            state: row.status.state(),
            halting,
            version: row.version,
            attempt: row.attempt,
            tally: row.tally,
            redrives: row.redrives,
            agent_id: open.map(|at| at.agent_id).or(last.map(|last| last.agent_id)),
            process_id: open.map(|at| at.process_id).or(last.map(|last| last.process_id)),
            output: row.output,
            error,
            progress: None,
            usage: row.usage,
            attempts: row.history,
            created_at: row.created_at,
            started_at: row.started_at.filter(|_| !waits),
            finished_at: row.finished_at,
            due_at,
            waiting_for: None,
            spec: row.spec,
            input: row.input,
        }
    }
}

/// What somebody who follows a task hears.
#[derive(Clone, Debug)]
pub enum TaskNews {
    /// It has changed; this is its picture now. Several changes may be told as one.
    Changed(Box<TaskView>),
    /// It makes progress.
    Progress(Progress),
}

#[cfg(test)]
mod tests {
    use muster_domain::{Attempt, AttemptEnd, Epoch, Priority};

    use super::*;

    const fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    fn record(number: u32, started_at: i64, ended_at: i64) -> AttemptRecord {
        AttemptRecord {
            number,
            agent_id: AgentId::generate(),
            process_id: ProcessId::generate(),
            started_at: at(started_at),
            ended_at: at(ended_at),
            end: AttemptEnd::Failed { message: "no".to_owned(), retryable: true },
            last_output: String::new(),
            usage: Usage::default(),
        }
    }

    /// A task that was asked for at 0, with an attempt from 100 to 300.
    fn row(status: TaskStatus) -> TaskRow {
        TaskRow {
            spec: TaskSpec {
                task_id: TaskId::generate(),
                pool_name: "dev".parse().expect("a name"),
                tenant: "acme".to_owned(),
                project_id: None,
                agent_id: None,
                check: false,
                priority: Priority::NORMAL,
                max_attempts: 3,
                timeout: None,
                not_before: None,
                expires_at: None,
            },
            input: Payload::trusted("1"),
            status,
            version: 3,
            attempt: 1,
            tally: Tally { spent: 1, spoiled: 0 },
            redrives: 0,
            output: None,
            usage: Usage::default(),
            history: vec![record(1, 100, 300)],
            created_at: at(0),
            started_at: Some(at(100)),
            finished_at: None,
        }
    }

    #[test]
    fn a_task_that_waits_again_shows_nothing_of_its_last_attempt() {
        let view = TaskView::from(row(TaskStatus::Queued { not_before: None }));
        assert_eq!((view.agent_id, view.process_id), (None, None));
        assert_eq!((view.started_at, view.finished_at, view.ran(at(1_000))), (None, None, None));
        assert_eq!(view.waited(at(1_000)), Duration::from_millis(700), "since that attempt ended");
        assert_eq!((view.attempt, view.tally.spent, view.attempts.len()), (1, 1, 1));
        let fresh = TaskRow { history: Vec::new(), ..row(TaskStatus::Queued { not_before: None }) };
        assert_eq!(TaskView::from(fresh).waited(at(1_000)), Duration::from_secs(1), "since it was asked for");
    }

    #[test]
    fn a_task_that_runs_or_is_over_shows_its_latest_attempt() {
        let attempt =
            Attempt { number: 2, agent_id: AgentId::generate(), epoch: Epoch(1), process_id: ProcessId::generate() };
        let running = TaskRow { attempt: 2, started_at: Some(at(400)), ..row(TaskStatus::Running(attempt)) };
        let view = TaskView::from(running);
        assert_eq!((view.agent_id, view.process_id), (Some(attempt.agent_id), Some(attempt.process_id)));
        assert_eq!(view.ran(at(1_000)), Some(Duration::from_millis(600)));
        assert_eq!(view.waited(at(1_000)), Duration::from_millis(100), "for the first agent");
        let over = row(TaskStatus::Cancelled);
        let last = over.history[0].agent_id;
        let view = TaskView::from(over);
        assert_eq!((view.agent_id, view.started_at), (Some(last), Some(at(100))));
        assert_eq!(view.ran(at(1_000)), Some(Duration::from_millis(200)));
    }
}
