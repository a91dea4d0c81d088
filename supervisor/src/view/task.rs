//! Tasks.

use std::time::Duration;

use muster_domain::time::optional_seconds;
use muster_domain::{
    AgentId, AttemptRecord, Halt, Payload, PoolName, Priority, ProcessId, Progress, TaskError, TaskId, TaskState,
    TaskStatus, Timestamp, Usage, Words,
};
use muster_store::TaskRow;
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::account::{UsageFigures, usage};
use super::attempt::{AttemptView, attempts};
use super::number;
use crate::waiting::{WaitingFor, WaitingWords};

/// A task that was taken in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = SubmittedJson)]
pub struct Submitted {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    pub task_id: TaskId,
    /// `queued`; a repeated request is answered with the state now.
    #[schema(value_type = String, example = "queued", extensions(("x-enum" = json!(TaskState::words()))))]
    pub state: TaskState,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// A task that was called off.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = CalledOffJson)]
pub struct CalledOff {
    /// As it is now.
    #[serde(flatten)]
    pub task: TaskView,
    /// Whether it was over before it was called off: then nothing was changed.
    pub was_over: bool,
}

/// A task.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = TaskJson)]
pub struct TaskView {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    pub task_id: TaskId,
    /// Its pool.
    #[schema(value_type = String)]
    pub pool_name: PoolName,
    /// On whose account it runs.
    pub tenant: String,
    /// The project that it belongs to.
    pub project_id: Option<String>,
    /// Where it stands; one that is `dead` was given up, and is kept for a person.
    #[schema(value_type = String, example = "running", extensions(("x-enum" = json!(TaskState::words()))))]
    pub state: TaskState,
    /// What it waits for; null where it is not queued, unless the server can't go on with it.
    #[serde(serialize_with = "in_words")]
    #[schema(value_type = Option<WaitingWords>)]
    pub waiting_for: Option<WaitingFor>,
    /// Why it is being stopped, while it is. Its state is `running` until its work has stopped.
    #[schema(value_type = Option<String>, extensions(("x-enum" = json!(Halt::words()))))]
    pub halting: Option<Halt>,
    /// The number of its latest attempt; 0 before the first. Every start counts, whatever its end and over every retry by a
    /// person.
    pub attempt: u32,
    /// Attempts that may be spent.
    pub max_attempts: u32,
    /// Attempts that were spent: what the agent did spends one (an error, a program that did not start or ended, a timeout, a
    /// lost lease), what Muster or the machine did to it spends none. It counts from the latest of `redrives`.
    pub attempts_spent: u32,
    /// How often a person has sent it to the queue again, each time with all its attempts before it.
    pub redrives: u32,
    /// The agent that it is for, that has it, or that had it last; null while it waits for any.
    #[schema(value_type = Option<String>, format = Uuid)]
    pub agent_id: Option<AgentId>,
    /// The worker of its latest attempt; null while it waits, as `started_at` and `run_seconds` are.
    #[schema(value_type = Option<String>, format = Uuid)]
    pub process_id: Option<ProcessId>,
    /// Whether it only tests the way to an agent: its output is what its worker reaches.
    pub check: bool,
    /// 0 to 9, the higher the sooner.
    #[schema(value_type = u8)]
    pub priority: Priority,
    /// The work, as it was written. Lists leave it out unless they are asked for it.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_written")]
    #[schema(value_type = Option<Value>)]
    pub input: Option<Payload>,
    /// The result, as the agent wrote it; null where there is none. Lists leave it out unless they are asked for it.
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_written_or_null")]
    #[schema(value_type = Option<Value>)]
    pub output: Option<Option<Payload>>,
    /// Why it ended without success. While it waits for another attempt, `attempts` say why the last one ended.
    pub error: Option<TaskError>,
    /// How far it is, by its agent's word, while it runs.
    #[serde(serialize_with = "progress")]
    #[schema(value_type = Option<ProgressFigures>)]
    pub progress: Option<Progress>,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
    /// When its latest attempt was started.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub finished_at: Option<Timestamp>,
    /// It is not started before: by request, or because an attempt failed and the next one waits.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub not_before: Option<Timestamp>,
    /// While it waits for its time: when that is.
    #[serde(skip)]
    pub due_at: Option<Timestamp>,
    /// Not started by then, it fails.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub expires_at: Option<Timestamp>,
    /// How long one attempt may take, in seconds.
    #[serde(with = "optional_seconds")]
    #[schema(value_type = Option<f64>)]
    pub timeout: Option<Duration>,
    /// How long it waited for its first agent. While it waits: for how long by now, since it was asked for or its last attempt
    /// ended.
    #[serde(rename = "wait_seconds", serialize_with = "number::seconds")]
    #[schema(value_type = f64)]
    pub waited: Duration,
    /// How long its latest attempt took, or takes by now.
    #[serde(rename = "run_seconds", serialize_with = "number::optional_seconds")]
    #[schema(value_type = Option<f64>)]
    pub ran: Option<Duration>,
    /// What all of its attempts have used, by its agents' word.
    #[serde(serialize_with = "usage")]
    #[schema(value_type = UsageFigures)]
    pub usage: Usage,
    /// Its attempts that are over.
    #[serde(serialize_with = "attempts")]
    #[schema(value_type = Vec<AttemptView>)]
    pub attempts: Vec<AttemptRecord>,
    /// Rises with every change but that of progress.
    pub version: u64,
}

impl TaskView {
    /// The whole task. The row keeps when its latest attempt began; a task that waits for another one shows nothing of it but in
    /// `attempts`, since nobody has it, and nothing of it runs.
    pub(crate) fn new(row: TaskRow, now: Timestamp) -> Self {
        let waits = row.status.state() == TaskState::Queued;
        let (waited, ran) = (waited(&row, now), ran(&row, now));
        let last = row.history.last().filter(|_| !waits);
        let (halting, due_at, error) = match &row.status {
            TaskStatus::Halting(_, halt) => (Some(*halt), None, None),
            TaskStatus::Queued { not_before } => (None, *not_before, None),
            TaskStatus::Failed(error) | TaskStatus::Dead(error) => (None, None, Some(error.clone())),
            TaskStatus::Running(_) | TaskStatus::Succeeded | TaskStatus::Cancelled => (None, None, None),
        };
        let open = row.status.attempt();
        Self {
            task_id: row.spec.task_id,
            pool_name: row.spec.pool_name,
            tenant: row.spec.tenant,
            project_id: row.spec.project_id,
            state: row.status.state(),
            waiting_for: None,
            halting,
            attempt: row.totals.attempt,
            max_attempts: row.spec.max_attempts,
            attempts_spent: row.totals.tally.spent,
            redrives: row.redrives,
            // One that is named has had all attempts, and gets the next one.
            agent_id: row.spec.agent_id.or(open.map(|at| at.agent_id)).or(last.map(|last| last.agent_id)),
            process_id: open.map(|at| at.process_id).or(last.map(|last| last.process_id)),
            check: row.spec.check,
            priority: row.spec.priority,
            input: Some(row.input),
            output: Some(row.output),
            error,
            progress: None,
            created_at: row.created_at,
            started_at: row.started_at.filter(|_| !waits),
            finished_at: row.finished_at,
            not_before: due_at.or(row.spec.not_before),
            due_at,
            expires_at: row.spec.expires_at,
            timeout: row.spec.timeout,
            waited,
            ran,
            usage: row.totals.usage,
            attempts: row.history,
            version: row.version,
        }
    }

    /// The same without its input and output, which may be long.
    #[must_use]
    pub fn brief(self) -> Self {
        Self { input: None, output: None, ..self }
    }
}

fn waited(row: &TaskRow, now: Timestamp) -> Duration {
    if row.status.state() == TaskState::Queued {
        let since = row.history.last().map_or(row.created_at, |last| last.ended_at);
        return now.since(since);
    }
    let first = row.history.first().map(|attempt| attempt.started_at).or(row.started_at);
    first.or(row.finished_at).unwrap_or(now).since(row.created_at)
}

fn ran(row: &TaskRow, now: Timestamp) -> Option<Duration> {
    let started_at = row.started_at.filter(|_| row.status.state() != TaskState::Queued)?;
    let latest = row.history.last().filter(|attempt| attempt.number == row.totals.attempt).map(|last| last.ended_at);
    Some(latest.unwrap_or(now).since(started_at))
}

/// JSON goes out as it came in.
fn as_written<S: Serializer>(payload: &Option<Payload>, serializer: S) -> Result<S::Ok, S::Error> {
    // Looked through once more: a text that is no JSON after all would spoil the answer around it.
    let raw = payload.as_ref().map(|payload| serde_json::from_str::<&RawValue>(payload.as_str())).transpose();
    raw.map_err(serde::ser::Error::custom)?.serialize(serializer)
}

fn as_written_or_null<S: Serializer>(payload: &Option<Option<Payload>>, serializer: S) -> Result<S::Ok, S::Error> {
    as_written(payload.as_ref().unwrap_or(&None), serializer)
}

fn in_words<S: Serializer>(waiting: &Option<WaitingFor>, serializer: S) -> Result<S::Ok, S::Error> {
    waiting.as_ref().map(WaitingWords::from).serialize(serializer)
}

fn progress<S: Serializer>(progress: &Option<Progress>, serializer: S) -> Result<S::Ok, S::Error> {
    progress.clone().map(ProgressFigures::from).serialize(serializer)
}

/// How far a task is.
// Not the domain's own type, which leaves out what was not said: an answer has every field.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ProgressJson)]
pub struct ProgressFigures {
    /// What it is doing.
    pub message: String,
    /// 0 to 100.
    pub percent: Option<f32>,
}

impl From<Progress> for ProgressFigures {
    fn from(progress: Progress) -> Self {
        Self { message: progress.message, percent: progress.percent }
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
    use muster_domain::{Attempt, AttemptEnd, Epoch, Tally, TaskSpec};
    use muster_store::AttemptTotals;
    use serde_json::json;

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
            totals: AttemptTotals { attempt: 1, tally: Tally { spent: 1, spoiled: 0 }, usage: Usage::default() },
            redrives: 0,
            output: None,
            history: vec![record(1, 100, 300)],
            created_at: at(0),
            started_at: Some(at(100)),
            finished_at: None,
        }
    }

    #[test]
    fn a_task_that_waits_again_shows_nothing_of_its_last_attempt() {
        let view = TaskView::new(row(TaskStatus::Queued { not_before: None }), at(1_000));
        assert_eq!((view.agent_id, view.process_id), (None, None));
        assert_eq!((view.started_at, view.finished_at, view.ran), (None, None, None));
        assert_eq!(view.waited, Duration::from_millis(700), "since that attempt ended");
        assert_eq!((view.attempt, view.attempts_spent, view.attempts.len()), (1, 1, 1));
        let fresh = TaskRow { history: Vec::new(), ..row(TaskStatus::Queued { not_before: None }) };
        assert_eq!(TaskView::new(fresh, at(1_000)).waited, Duration::from_secs(1), "since it was asked for");
    }

    #[test]
    fn a_task_that_runs_or_is_over_shows_its_latest_attempt() {
        let attempt =
            Attempt { number: 2, agent_id: AgentId::generate(), epoch: Epoch(1), process_id: ProcessId::generate() };
        let totals = AttemptTotals { attempt: 2, ..AttemptTotals::default() };
        let running = TaskRow { totals, started_at: Some(at(400)), ..row(TaskStatus::Running(attempt)) };
        let view = TaskView::new(running, at(1_000));
        assert_eq!((view.agent_id, view.process_id), (Some(attempt.agent_id), Some(attempt.process_id)));
        assert_eq!(view.ran, Some(Duration::from_millis(600)));
        assert_eq!(view.waited, Duration::from_millis(100), "for the first agent");
        let over = row(TaskStatus::Cancelled);
        let last = over.history[0].agent_id;
        let view = TaskView::new(over, at(1_000));
        assert_eq!((view.agent_id, view.started_at), (Some(last), Some(at(100))));
        assert_eq!(view.ran, Some(Duration::from_millis(200)));
    }

    fn json(view: TaskView) -> serde_json::Value {
        serde_json::to_value(view).expect("an object")
    }

    fn queued() -> TaskView {
        TaskView::new(row(TaskStatus::Queued { not_before: None }), at(2_500))
    }

    #[test]
    fn a_task_reads_as_promised() {
        let mut row = row(TaskStatus::Queued { not_before: None });
        row.spec.timeout = Some(Duration::from_millis(1500));
        row.totals.usage = Usage { input_tokens: 10, output_tokens: 5, cost_micros: 1_500 };
        row.redrives = 1;
        let mut view = TaskView::new(row, at(2_500));
        view.ran = Some(Duration::from_millis(1500));
        view.progress = Some(Progress { message: "half".to_owned(), percent: Some(50.0) });
        let json = json(view.clone());
        assert_eq!((&json["task_id"], &json["version"]), (&json!(view.task_id), &json!(3)));
        assert_eq!(
            (&json["state"], &json["pool_name"], &json["tenant"]),
            (&json!("queued"), &json!("dev"), &json!("acme"))
        );
        assert_eq!((&json["attempt"], &json["max_attempts"], &json["timeout"]), (&json!(1), &json!(3), &json!(1.5)));
        assert_eq!((&json["attempts_spent"], &json["redrives"]), (&json!(1), &json!(1)));
        assert_eq!((&json["wait_seconds"], &json["run_seconds"]), (&json!(2.2), &json!(1.5)));
        assert_eq!(json["usage"], json!({"input_tokens": 10, "output_tokens": 5, "cost_usd": 0.0015}));
        assert_eq!(json["progress"], json!({"message": "half", "percent": 50.0}));
        assert_eq!((&json["priority"], &json["created_at"]), (&json!(5), &json!("1970-01-01T00:00:00.000Z")));
        for field in ["project_id", "output", "error", "finished_at", "not_before", "expires_at", "halting"] {
            assert_eq!(json.get(field), Some(&json!(null)), "{field}");
        }
        assert!(json.get("due_at").is_none());
    }

    #[test]
    fn a_queued_task_says_what_it_waits_for() {
        let view = TaskView { waiting_for: Some(WaitingFor::Turn), ..queued() };
        assert_eq!(json(view)["waiting_for"], json!({"code": "its_turn", "message": "its turn"}));
        assert_eq!(json(queued()).get("waiting_for"), Some(&json!(null)));
    }

    #[test]
    fn input_and_output_go_out_as_they_came_in() {
        let input = Payload::trusted("{\"b\": 1.50,\r\n \"a\": 12345678901234567890}");
        let output = Payload::trusted("{\"z\": 1.0,  \"a\": -0}");
        let view = TaskView { input: Some(input.clone()), output: Some(Some(output)), ..queued() };
        let text = serde_json::to_string(&view).expect("an object");
        assert!(text.contains(&format!("\"input\":{input},")), "{text}");
        assert!(text.contains("\"output\":{\"z\": 1.0,  \"a\": -0},"), "{text}");
        let broken = TaskView { input: Some(Payload::trusted("{")), ..queued() };
        assert!(serde_json::to_string(&broken).is_err());
    }

    #[test]
    fn a_brief_one_leaves_out_what_may_be_long() {
        let brief = json(queued().brief());
        assert!(brief.get("input").is_none() && brief.get("output").is_none());
        assert_eq!((&brief["state"], brief.get("waiting_for")), (&json!("queued"), Some(&json!(null))));
        let whole = json(queued());
        assert_eq!((&whole["input"], whole.get("output")), (&json!(1), Some(&json!(null))));
    }

    #[test]
    fn a_task_for_a_named_agent_shows_it() {
        let (mut row, named) = (row(TaskStatus::Queued { not_before: None }), AgentId::generate());
        row.spec.agent_id = Some(named);
        assert_eq!(json(TaskView::new(row, at(0)))["agent_id"], json!(named));
    }

    #[test]
    fn the_next_attempt_has_its_moment() {
        let moment = |due| {
            let mut row = row(TaskStatus::Queued { not_before: due });
            row.spec.not_before = Some(at(1_000));
            json(TaskView::new(row, at(0)))["not_before"].clone()
        };
        assert_eq!(moment(None), "1970-01-01T00:00:01.000Z");
        assert_eq!(moment(Some(at(9_000))), "1970-01-01T00:00:09.000Z");
    }

    #[test]
    fn an_error_has_a_word_and_says_more() {
        let error = TaskError { code: "poison".to_owned(), message: "5 workers died of it".to_owned() };
        let view = TaskView::new(row(TaskStatus::Dead(error)), at(0));
        let json = json(TaskView { halting: Some(Halt::LeaseLost), ..view });
        assert_eq!(json["error"], json!({"code": "poison", "message": "5 workers died of it"}));
        assert_eq!(json["halting"], "lease_lost");
    }
}
