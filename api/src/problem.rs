//! Errors as problem details (RFC 9457), and the one map from the supervisor's refusals to HTTP.

use std::time::Duration;

use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use muster_domain::{AgentId, TaskId};
use muster_supervisor::{EndingView, SupervisorError};
use serde::Serialize;
use utoipa::ToSchema;

/// The media type of every error.
pub(crate) const PROBLEM_JSON: &str = "application/problem+json";

/// A problem: what went wrong, for programs (`code`) and for people (`detail`).
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct Problem {
    /// A URI that names the kind of problem: `urn:muster:problem:` and the code.
    #[serde(rename = "type")]
    #[schema(example = "urn:muster:problem:unknown_pool")]
    kind: String,
    /// The HTTP status in words.
    #[schema(value_type = String, example = "Not Found")]
    title: &'static str,
    /// The HTTP status.
    #[serde(serialize_with = "as_number")]
    #[schema(value_type = u16, example = 404)]
    status: StatusCode,
    /// A word that programs may rely on.
    #[schema(value_type = String, example = "unknown_pool")]
    code: &'static str,
    /// What happened, and what to do.
    detail: String,
    #[serde(flatten)]
    more: Box<ProblemExtras>,
}

/// What some problems say beyond that.
#[derive(Clone, Debug, Default, Serialize, ToSchema)]
struct ProblemExtras {
    /// The field or parameter that is wrong.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// Seconds after which the request may succeed; as in the header `Retry-After`.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_seconds: Option<u64>,
    /// The address of the supervisor that leads.
    #[serde(skip_serializing_if = "Option::is_none")]
    leader: Option<String>,
    /// The agent that this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Uuid)]
    agent_id: Option<AgentId>,
    /// The task that this is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = Uuid)]
    task_id: Option<TaskId>,
    /// How its program ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    ending: Option<EndingView>,
}

fn as_number<S: serde::Serializer>(status: &StatusCode, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u16(status.as_u16())
}

impl Problem {
    /// A problem without extras.
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:muster:problem:{code}"),
            title: status.canonical_reason().unwrap_or("Error"),
            status,
            code,
            detail: detail.into(),
            more: Box::default(),
        }
    }

    /// 422: a field of the body is wrong.
    pub(crate) fn invalid_field(field: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_field", detail).field(field)
    }

    /// 422: a parameter of the query is wrong.
    pub(crate) fn invalid_parameter(name: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_parameter", detail).field(name)
    }

    /// Names the field that is wrong.
    #[must_use]
    pub(crate) fn field(mut self, field: &str) -> Self {
        self.more.field = Some(field.to_owned());
        self
    }

    /// The same problem in other words.
    #[must_use]
    pub(crate) fn reworded(mut self, words: impl FnOnce(&str) -> String) -> Self {
        self.detail = words(&self.detail);
        self
    }

    /// Says when to try again. Rounded up to whole seconds, at least 1.
    #[must_use]
    pub(crate) fn retry_after(mut self, after: Duration) -> Self {
        let whole = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        self.more.retry_after_seconds = Some(whole.max(1));
        self
    }

    /// Says who leads.
    #[must_use]
    pub(crate) fn leader(mut self, address: String) -> Self {
        self.more.leader = Some(address);
        self
    }

    /// The HTTP status.
    pub(crate) const fn status(&self) -> StatusCode {
        self.status
    }

    /// The stable word.
    #[cfg(test)]
    pub(crate) const fn code(&self) -> &'static str {
        self.code
    }

    /// The words for people.
    pub(crate) fn detail(&self) -> &str {
        &self.detail
    }
}

/// How long to wait where a bound is reached: a slot is free when an agent ends, which nobody can foretell.
const FULL_RETRY: Duration = Duration::from_secs(5);
/// How long to wait where a queue is full: tasks end all the time.
const QUEUE_RETRY: Duration = Duration::from_secs(1);
/// How long to wait where a pool is drained: until a person resumes it.
const INTAKE_RETRY: Duration = Duration::from_secs(30);
/// How long to wait where the supervisor stops: another one may follow.
const STOPPING_RETRY: Duration = Duration::from_secs(5);

impl From<SupervisorError> for Problem {
    fn from(error: SupervisorError) -> Self {
        use SupervisorError as E;
        let (status, code) = match &error {
            E::UnknownPool(_) => (StatusCode::NOT_FOUND, "unknown_pool"),
            E::UnknownAgent(_) => (StatusCode::NOT_FOUND, "unknown_agent"),
            E::UnknownTask(_) => (StatusCode::NOT_FOUND, "unknown_task"),
            E::UnknownTenant(_) => (StatusCode::NOT_FOUND, "unknown_tenant"),
            E::OfAllTenants(_) => (StatusCode::FORBIDDEN, "forbidden"),
            E::UnknownWorker(_) => (StatusCode::NOT_FOUND, "unknown_worker"),
            E::WorkerReachable { .. } => (StatusCode::CONFLICT, "worker_reachable"),
            E::WorkerEnds(_) => (StatusCode::CONFLICT, "worker_ends"),
            E::UnknownLauncher { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "unknown_launcher"),
            E::UnknownRuntime { .. } => (StatusCode::UNPROCESSABLE_ENTITY, "unknown_runtime"),
            E::WrongRole { .. } => (StatusCode::CONFLICT, "wrong_role"),
            E::Invalid(_) => (StatusCode::UNPROCESSABLE_ENTITY, "invalid_field"),
            E::PoolExists(_) => (StatusCode::CONFLICT, "pool_exists"),
            E::PoolOfFile(_) => (StatusCode::CONFLICT, "pool_of_file"),
            E::PoolDraining(_) => (StatusCode::CONFLICT, "pool_draining"),
            E::KeyReused => (StatusCode::UNPROCESSABLE_ENTITY, "key_reused"),
            E::WrongState { .. } => (StatusCode::CONFLICT, "wrong_state"),
            E::WrongTaskState { .. } => (StatusCode::CONFLICT, "wrong_state"),
            E::QueueFull { .. } => (StatusCode::TOO_MANY_REQUESTS, "queue_full"),
            E::QuotaExceeded { .. } => (StatusCode::TOO_MANY_REQUESTS, "quota_exceeded"),
            E::BudgetExceeded(_) => (StatusCode::TOO_MANY_REQUESTS, "budget_exceeded"),
            E::IntakeClosed(_) => (StatusCode::SERVICE_UNAVAILABLE, "intake_closed"),
            E::PoolFull { .. } | E::TiersFull { .. } => (StatusCode::TOO_MANY_REQUESTS, "pool_full"),
            E::StartFailed { .. } => (StatusCode::BAD_GATEWAY, "start_failed"),
            E::Unavailable { .. } => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            E::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
        };
        let mut problem = Self::new(status, code, error.to_string());
        match error {
            E::PoolFull { .. } | E::TiersFull { .. } => problem = problem.retry_after(FULL_RETRY),
            E::QueueFull { .. } => problem = problem.retry_after(QUEUE_RETRY),
            E::QuotaExceeded { retry_after: Some(wait), .. } => problem = problem.retry_after(wait),
            E::IntakeClosed(_) => problem = problem.retry_after(INTAKE_RETRY),
            E::Stopping => problem = problem.retry_after(STOPPING_RETRY),
            E::Unavailable { retry_after, .. } => problem = problem.retry_after(retry_after),
            E::WrongState { agent_id, .. } => problem.more.agent_id = Some(agent_id),
            E::WrongTaskState { task_id, .. } | E::UnknownTask(task_id) => problem.more.task_id = Some(task_id),
            E::StartFailed { agent_id, ending } => {
                problem.more.agent_id = Some(agent_id);
                problem.more.ending = Some(ending.into());
            }
            _ => {}
        }
        problem
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        // A problem is made of texts and numbers only, so that it always becomes JSON.
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (self.status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        if let Some(seconds) = self.more.retry_after_seconds {
            headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"muster\""));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_domain::{Cause, Ending, ProcessId, TaskState, Timestamp};

    fn pool() -> muster_domain::PoolName {
        "developer_pool".parse().expect("a name")
    }

    fn failed() -> SupervisorError {
        let mut ending = Ending::new(Cause::Exited { code: 3 }, Timestamp::from_millis(0));
        ending.last_output = "no module named agent\n".to_owned();
        SupervisorError::StartFailed { agent_id: AgentId::generate(), ending }
    }

    #[test]
    fn the_table_of_problems() {
        use SupervisorError as E;
        let unavailable = |ms| E::Unavailable {
            what: "redis is away".into(),
            retry_after: Duration::from_millis(ms),
            by_hand: false,
        };
        let rows: Vec<(E, u16, &str, Option<u64>)> = vec![
            (E::UnknownPool("x".into()), 404, "unknown_pool", None),
            (E::UnknownAgent("x".into()), 404, "unknown_agent", None),
            (E::UnknownWorker(ProcessId::generate()), 404, "unknown_worker", None),
            (
                E::WorkerReachable { worker: ProcessId::generate(), why: "it was heard".into() },
                409,
                "worker_reachable",
                None,
            ),
            (E::WorkerEnds(ProcessId::generate()), 409, "worker_ends", None),
            (E::UnknownLauncher { name: "x".into(), known: vec!["local".into()] }, 422, "unknown_launcher", None),
            (E::UnknownRuntime { name: "x".into(), known: vec!["echo".into()] }, 422, "unknown_runtime", None),
            (E::WrongRole { pool: pool(), expected: "a".into(), asked: "b".into() }, 409, "wrong_role", None),
            (E::Invalid("max_agents must be 1 to 1000".into()), 422, "invalid_field", None),
            (E::PoolExists(pool()), 409, "pool_exists", None),
            (E::PoolOfFile(pool()), 409, "pool_of_file", None),
            (E::PoolDraining(pool()), 409, "pool_draining", None),
            (E::KeyReused, 422, "key_reused", None),
            (
                E::WrongState { agent_id: AgentId::generate(), state: "terminated", why: "spawn anew".into() },
                409,
                "wrong_state",
                None,
            ),
            (E::TiersFull { pool: pool(), why: "burst is shut".into() }, 429, "pool_full", Some(5)),
            (E::PoolFull { pool: pool(), workers: 20, capacity: 10, outdated: 0 }, 429, "pool_full", Some(5)),
            (E::UnknownTask(TaskId::generate()), 404, "unknown_task", None),
            (
                E::WrongTaskState { task_id: TaskId::generate(), state: TaskState::Running, why: "wait".into() },
                409,
                "wrong_state",
                None,
            ),
            (E::QueueFull { pool: pool(), waiting: 10, max: 10 }, 429, "queue_full", Some(1)),
            (
                E::QuotaExceeded { tenant: "t".into(), limit: "rate", retry_after: Some(Duration::from_millis(1500)) },
                429,
                "quota_exceeded",
                Some(2),
            ),
            (E::BudgetExceeded("the pool p has used 5 of 5 tokens".into()), 429, "budget_exceeded", None),
            (E::IntakeClosed(pool()), 503, "intake_closed", Some(30)),
            (failed(), 502, "start_failed", None),
            (unavailable(1500), 503, "unavailable", Some(2)),
            (unavailable(0), 503, "unavailable", Some(1)),
            (E::Stopping, 503, "stopping", Some(5)),
        ];
        for (error, status, code, retry_after) in rows {
            let words = error.to_string();
            let problem = Problem::from(error);
            assert_eq!((problem.status.as_u16(), problem.code), (status, code), "{words}");
            assert_eq!(problem.detail, words);
            let response = problem.into_response();
            let header = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            assert_eq!(header, retry_after, "{words}");
            assert_eq!(response.headers()[CONTENT_TYPE], PROBLEM_JSON);
        }
    }

    #[test]
    fn a_failed_start_shows_the_exit_and_the_last_output() {
        let json = serde_json::to_value(Problem::from(failed())).expect("an object");
        assert_eq!(json["status"], 502);
        assert_eq!(json["type"], "urn:muster:problem:start_failed");
        assert_eq!(json["title"], "Bad Gateway");
        assert_eq!(json["ending"]["cause"]["code"], 3);
        assert_eq!(json["ending"]["last_output"], "no module named agent\n");
        assert!(json["detail"].as_str().expect("text").contains("exited with code 3"));
        assert!(json["agent_id"].is_string() && json.get("leader").is_none());
    }

    #[test]
    fn a_task_in_the_wrong_state_is_named() {
        let task_id = TaskId::generate();
        let error = SupervisorError::WrongTaskState { task_id, state: TaskState::Queued, why: "it waits".to_owned() };
        let json = serde_json::to_value(Problem::from(error)).expect("an object");
        assert_eq!((&json["code"], &json["task_id"]), (&"wrong_state".into(), &task_id.to_string().into()));
    }

    #[test]
    fn a_standby_names_the_leader() {
        let stage = crate::ApiStage::Standby { leader: "10.0.0.7:8000".to_owned() };
        let json = serde_json::to_value(stage.leader().err().expect("a standby does not lead")).expect("an object");
        assert_eq!((json["code"].as_str(), json["leader"].as_str()), (Some("not_leader"), Some("10.0.0.7:8000")));
        assert!(json["detail"].as_str().expect("text").contains("http://10.0.0.7:8000"));
    }
}
