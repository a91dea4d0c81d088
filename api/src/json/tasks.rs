//! Tasks as they are shown.

use std::time::Duration;

use muster_domain::time::optional_seconds;
use muster_domain::{
    AgentId, Halt, Payload, PoolName, Priority, ProcessId, Progress, TaskError, TaskId, TaskState, Timestamp,
};
use muster_supervisor::{Page, Submitted, TaskView, UsageFigures, WaitingFor};
use serde::{Serialize, Serializer};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::attempts::AttemptJson;

/// A task that was taken in.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct SubmittedJson {
    #[schema(value_type = String, format = Uuid)]
    pub(crate) task_id: TaskId,
    /// `queued`; a repeated request is answered with the state now.
    #[schema(value_type = String, example = "queued")]
    state: TaskState,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<Submitted> for SubmittedJson {
    fn from(task: Submitted) -> Self {
        Self { task_id: task.task_id, state: task.state, created_at: task.created_at }
    }
}

/// JSON that goes out as it came in.
#[derive(Debug)]
struct Raw(Payload);

impl Serialize for Raw {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        // Looked through once more: a text that is no JSON after all would spoil the answer around it.
        serde_json::from_str::<&RawValue>(self.0.as_str()).map_err(serde::ser::Error::custom)?.serialize(serializer)
    }
}

/// A task.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskJson {
    #[schema(value_type = String, format = Uuid)]
    task_id: TaskId,
    #[schema(value_type = String)]
    pool_name: PoolName,
    /// On whose account it runs.
    tenant: String,
    project_id: Option<String>,
    /// `queued`, `running`, `succeeded`, `failed`, `cancelled` or `dead` (given up, and kept for a person).
    #[schema(value_type = String, example = "running")]
    state: TaskState,
    /// What it waits for; null where it is not queued, unless the server can't go on with it.
    waiting_for: Option<WaitingForJson>,
    /// Why it is being stopped, while it is: `cancelled`, `timed_out`, `lease_lost`, `budget_exceeded` or `handed_back`. Its
    /// state is `running` until its work has stopped.
    #[schema(value_type = Option<String>)]
    halting: Option<Halt>,
    /// The number of its latest attempt; 0 before the first. Every start counts, whatever its end and over every retry by a
    /// person.
    attempt: u32,
    /// Attempts that may be spent.
    max_attempts: u32,
    /// Attempts that were spent: what the agent did spends one (an error, a program that did not start or ended, a timeout, a
    /// lost lease), what Muster or the machine did to it spends none. It counts from the latest of `redrives`.
    attempts_spent: u32,
    /// How often a person has sent it to the queue again, each time with all its attempts before it.
    redrives: u32,
    /// The agent that it is for, that has it, or that had it last; null while it waits for any.
    #[schema(value_type = Option<String>, format = Uuid)]
    agent_id: Option<AgentId>,
    /// The worker of its latest attempt; null while it waits, as `started_at` and `run_seconds` are.
    #[schema(value_type = Option<String>, format = Uuid)]
    process_id: Option<ProcessId>,
    /// Whether it only tests the way to an agent: its output is what its worker reaches.
    check: bool,
    /// 0 to 9, the higher the sooner.
    #[schema(value_type = u8)]
    priority: Priority,
    /// The work, as it was written. Lists leave it out unless they are asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    input: Option<Raw>,
    /// The result, as the agent wrote it; null where there is none. Lists leave it out unless they are asked for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Value>)]
    output: Option<Option<Raw>>,
    /// Why it ended without success. While it waits for another attempt, `attempts` say why the last one ended.
    error: Option<TaskErrorJson>,
    /// How far it is, by its agent's word, while it runs.
    progress: Option<ProgressJson>,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    /// When its latest attempt was started.
    #[schema(value_type = Option<String>, format = DateTime)]
    started_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    finished_at: Option<Timestamp>,
    /// It is not started before: by request, or because an attempt failed and the next one waits.
    #[schema(value_type = Option<String>, format = DateTime)]
    not_before: Option<Timestamp>,
    /// Not started by then, it fails.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// How long one attempt may take, in seconds.
    #[serde(with = "optional_seconds")]
    #[schema(value_type = Option<f64>)]
    timeout: Option<Duration>,
    /// How long it waited for its first agent. While it waits: for how long by now, since it was asked for or its last attempt
    /// ended.
    wait_seconds: f64,
    /// How long its latest attempt took, or takes by now.
    run_seconds: Option<f64>,
    /// What all of its attempts have used, by its agents' word.
    usage: UsageFigures,
    /// Its attempts that are over.
    attempts: Vec<AttemptJson>,
    /// Rises with every change but that of progress.
    version: u64,
}

/// A task that was called off.
#[derive(Serialize, ToSchema)]
pub(crate) struct CalledOffJson {
    #[serde(flatten)]
    pub(crate) task: TaskJson,
    /// Whether it was over before it was called off: then nothing was changed.
    pub(crate) was_over: bool,
}

impl TaskJson {
    /// The whole task.
    pub(crate) fn new(view: TaskView, now: Timestamp) -> Self {
        Self {
            wait_seconds: view.waited(now).as_secs_f64(),
            run_seconds: view.ran(now).map(|ran| ran.as_secs_f64()),
            task_id: view.spec.task_id,
            pool_name: view.spec.pool_name,
            tenant: view.spec.tenant,
            project_id: view.spec.project_id,
            state: view.state,
            waiting_for: view.waiting_for.as_ref().map(WaitingForJson::from),
            halting: view.halting,
            attempt: view.attempt,
            max_attempts: view.spec.max_attempts,
            attempts_spent: view.tally.spent,
            redrives: view.redrives,
            // One that is named has had all attempts, and gets the next one.
            agent_id: view.spec.agent_id.or(view.agent_id),
            process_id: view.process_id,
            check: view.spec.check,
            priority: view.spec.priority,
            input: Some(Raw(view.input)),
            output: Some(view.output.map(Raw)),
            error: view.error.map(|TaskError { code, message }| TaskErrorJson { code, message }),
            progress: view.progress.map(ProgressJson::from),
            created_at: view.created_at,
            started_at: view.started_at,
            finished_at: view.finished_at,
            not_before: view.due_at.or(view.spec.not_before),
            expires_at: view.spec.expires_at,
            timeout: view.spec.timeout,
            usage: view.usage.into(),
            attempts: view.attempts.into_iter().map(AttemptJson::from).collect(),
            version: view.version,
        }
    }

    /// The same without its input and output, which may be long.
    fn brief(self) -> Self {
        Self { input: None, output: None, ..self }
    }
}

/// What a task waits for.
#[derive(Debug, Serialize, ToSchema)]
struct WaitingForJson {
    /// A word that programs may rely on: `all_paused`, `paused` or `drained` (until it is resumed), `not_before`,
    /// `breaker_open` or `breaker_half_open` (other tasks are tried first), `agent_busy` or `agent_not_ready` (the one that
    /// it is for), `tenant_limit`, `agents_busy`, `agent_starting`, `agents_failing` (at their start), `no_agent`, `old_runtime`,
    /// `its_turn`, `pool_removed`, `stopping`, `server_degraded` (Redis or the store can't be used; a task that runs waits too).
    #[schema(value_type = String, example = "breaker_open")]
    code: &'static str,
    /// The same in words, which go behind "it waits for".
    message: String,
}

impl From<&WaitingFor> for WaitingForJson {
    fn from(waiting: &WaitingFor) -> Self {
        Self { code: waiting.code(), message: waiting.to_string() }
    }
}

/// What went wrong.
#[derive(Debug, Serialize, ToSchema)]
struct TaskErrorJson {
    /// A word that programs may rely on.
    #[schema(example = "agent_error")]
    code: String,
    message: String,
}

/// How far a task is.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProgressJson {
    message: String,
    /// 0 to 100.
    percent: Option<f32>,
}

impl From<Progress> for ProgressJson {
    fn from(progress: Progress) -> Self {
        Self { message: progress.message, percent: progress.percent }
    }
}

/// One page of tasks.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskPage {
    items: Vec<TaskJson>,
    /// Give it as `cursor` to get the next page; null after the last.
    #[schema(value_type = Option<String>)]
    next_cursor: Option<TaskId>,
}

impl TaskPage {
    /// A page of whole tasks, or of tasks without their inputs and outputs.
    pub(crate) fn new(page: Page<TaskView, TaskId>, full: bool, now: Timestamp) -> Self {
        let item = |view| match TaskJson::new(view, now) {
            task if full => task,
            task => task.brief(),
        };
        Self { items: page.items.into_iter().map(item).collect(), next_cursor: page.next }
    }
}

/// Dead tasks that were sent to the queue again.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RedrivenJson {
    /// How many.
    pub(crate) redriven: u64,
}

#[cfg(test)]
pub(crate) mod tests {
    use muster_domain::{Tally, TaskSpec, Usage};

    use super::*;
    use serde_json::json;

    pub(crate) fn task(state: TaskState, version: u64) -> TaskView {
        TaskView {
            spec: TaskSpec {
                task_id: TaskId::generate(),
                pool_name: "developer_pool".parse().expect("a name"),
                tenant: "default".to_owned(),
                project_id: None,
                agent_id: None,
                check: false,
                priority: Priority::NORMAL,
                max_attempts: 3,
                timeout: Some(Duration::from_millis(1500)),
                not_before: None,
                expires_at: None,
            },
            input: Payload::trusted("{\"b\": 1.50,\r\n \"a\": 12345678901234567890}"),
            state,
            halting: None,
            version,
            attempt: 2,
            tally: Tally { spent: 1, spoiled: 0 },
            redrives: 1,
            agent_id: Some(AgentId::generate()),
            process_id: Some(ProcessId::generate()),
            output: None,
            error: None,
            progress: None,
            usage: Usage { input_tokens: 10, output_tokens: 5, cost_micros: 1_500 },
            attempts: Vec::new(),
            created_at: Timestamp::from_millis(0),
            started_at: None,
            finished_at: None,
            due_at: None,
            waiting_for: None,
        }
    }

    fn json(view: TaskView) -> serde_json::Value {
        serde_json::to_value(TaskJson::new(view, Timestamp::from_millis(2_500))).expect("an object")
    }

    #[test]
    fn a_task_reads_as_promised() {
        let mut view = task(TaskState::Running, 7);
        view.started_at = Some(Timestamp::from_millis(1_000));
        view.progress = Some(Progress { message: "half".to_owned(), percent: Some(50.0) });
        let json = json(view.clone());
        assert_eq!((&json["task_id"], &json["version"]), (&json!(view.spec.task_id), &json!(7)));
        assert_eq!(
            (&json["state"], &json["pool_name"], &json["tenant"]),
            (&json!("running"), &json!("developer_pool"), &json!("default"))
        );
        assert_eq!((&json["attempt"], &json["max_attempts"], &json["timeout"]), (&json!(2), &json!(3), &json!(1.5)));
        assert_eq!((&json["attempts_spent"], &json["redrives"]), (&json!(1), &json!(1)));
        assert_eq!((&json["wait_seconds"], &json["run_seconds"]), (&json!(1.0), &json!(1.5)));
        assert_eq!(json["usage"], json!({"input_tokens": 10, "output_tokens": 5, "cost_usd": 0.0015}));
        assert_eq!(json["progress"], json!({"message": "half", "percent": 50.0}));
        assert_eq!((&json["priority"], &json["created_at"]), (&json!(5), &json!("1970-01-01T00:00:00.000Z")));
        for field in ["project_id", "output", "error", "finished_at", "not_before", "expires_at", "halting"] {
            assert_eq!(json.get(field), Some(&json!(null)), "{field}");
        }
    }

    #[test]
    fn a_queued_task_says_what_it_waits_for() {
        let view = TaskView { waiting_for: Some(WaitingFor::Turn), ..task(TaskState::Queued, 1) };
        assert_eq!(json(view)["waiting_for"], json!({"code": "its_turn", "message": "its turn"}));
        assert_eq!(json(task(TaskState::Running, 2)).get("waiting_for"), Some(&json!(null)));
    }

    #[test]
    fn input_and_output_go_out_as_they_came_in() {
        let mut view = task(TaskState::Succeeded, 3);
        view.output = Some(Payload::trusted("{\"z\": 1.0,  \"a\": -0}"));
        let input = view.input.clone();
        let text = serde_json::to_string(&TaskJson::new(view, Timestamp::from_millis(0))).expect("an object");
        assert!(text.contains(&format!("\"input\":{input},")), "{text}");
        assert!(text.contains("\"output\":{\"z\": 1.0,  \"a\": -0},"), "{text}");
        let mut view = task(TaskState::Queued, 1);
        view.input = Payload::trusted("{");
        assert!(serde_json::to_string(&TaskJson::new(view, Timestamp::from_millis(0))).is_err());
    }

    #[test]
    fn a_page_leaves_out_what_may_be_long() {
        let page = |full| {
            let page = Page { items: vec![task(TaskState::Queued, 1)], next: None };
            serde_json::to_value(TaskPage::new(page, full, Timestamp::from_millis(0))).expect("an object")
        };
        let brief = page(false);
        assert!(brief["items"][0].get("input").is_none() && brief["items"][0].get("output").is_none());
        assert_eq!(brief["items"][0]["state"], "queued");
        assert!([&brief, &page(true)].iter().all(|page| page["items"][0].get("waiting_for") == Some(&json!(null))));
        assert_eq!(page(true)["items"][0]["input"]["b"], 1.5);
        assert_eq!(page(true)["items"][0].get("output"), Some(&json!(null)));
    }

    #[test]
    fn a_task_for_a_named_agent_shows_it() {
        let mut view = task(TaskState::Queued, 1);
        let named = AgentId::generate();
        view.spec.agent_id = Some(named);
        view.agent_id = None;
        assert_eq!(json(view)["agent_id"], json!(named));
    }

    #[test]
    fn the_next_attempt_has_its_moment() {
        let mut view = task(TaskState::Queued, 4);
        view.spec.not_before = Some(Timestamp::from_millis(1_000));
        assert_eq!(json(view.clone())["not_before"], "1970-01-01T00:00:01.000Z");
        view.due_at = Some(Timestamp::from_millis(9_000));
        assert_eq!(json(view)["not_before"], "1970-01-01T00:00:09.000Z");
    }

    #[test]
    fn an_error_has_a_word_and_says_more() {
        let mut view = task(TaskState::Dead, 9);
        view.error = Some(TaskError { code: "poison".to_owned(), message: "5 workers died of it".to_owned() });
        view.halting = Some(Halt::LeaseLost);
        let json = json(view);
        assert_eq!(json["error"], json!({"code": "poison", "message": "5 workers died of it"}));
        assert_eq!(json["halting"], "lease_lost");
    }
}
