//! What a request says beside its body: the query, the path and the headers.

use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use muster_domain::lengths::{MAX_PROJECT_ID, has_length};
use muster_domain::{AgentId, PoolName, ProcessId, TaskId, plain};
use muster_supervisor::SupervisorError;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use utoipa::IntoParams;

use crate::problem::Problem;
use crate::state::ApiState;

/// A query as a value of `T`; unknown parameters are refused where `T` says so.
pub(crate) struct StrictQuery<T>(pub(crate) T);

impl<T: DeserializeOwned> FromRequestParts<Arc<ApiState>> for StrictQuery<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<ApiState>) -> Result<Self, Problem> {
        read(parts)
    }
}

fn read<T: DeserializeOwned>(parts: &Parts) -> Result<StrictQuery<T>, Problem> {
    match Query::<T>::try_from_uri(&parts.uri) {
        Ok(Query(value)) => Ok(StrictQuery(value)),
        Err(error) => {
            let text = error.body_text();
            let words = text.strip_prefix("Failed to deserialize query string: ").unwrap_or(&text);
            // One that is known and wrong is named before the words about its value.
            let words = match words.split_once(": ") {
                Some((name, about)) if name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_') => {
                    format!("{name}: {}", plain(about))
                }
                _ => plain(words),
            };
            Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid_parameter", format!("in the query: {words}")))
        }
    }
}

/// The one parameter of a path, as text.
pub(crate) struct PathText(pub(crate) String);

impl FromRequestParts<Arc<ApiState>> for PathText {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &Arc<ApiState>) -> Result<Self, Problem> {
        match Path::<String>::from_request_parts(parts, state).await {
            Ok(Path(text)) => Ok(Self(text)),
            Err(error) => {
                let detail = format!("the path can't be read: {}", error.body_text());
                Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_path", detail))
            }
        }
    }
}

/// Makes what names one thing in a path: described here, and read by its handler.
macro_rules! path_of {
    ($(#[$doc:meta])* $name:ident of $(#[$of_field:meta])* $field:ident: $id:ty, read by $read:path) => {
        $(#[$doc])*
        #[derive(IntoParams)]
        #[into_params(parameter_in = Path)]
        pub(crate) struct $name {
            $(#[$of_field])*
            $field: String,
        }

        impl $name {
            pub(crate) fn id(&self) -> Result<$id, Problem> {
                $read(&self.$field)
            }
        }

        impl FromRequestParts<Arc<ApiState>> for $name {
            type Rejection = Problem;

            async fn from_request_parts(parts: &mut Parts, state: &Arc<ApiState>) -> Result<Self, Problem> {
                PathText::from_request_parts(parts, state).await.map(|PathText($field)| Self { $field })
            }
        }
    };
}

path_of! {
    /// The path of a pool.
    PoolPath of
        /// The pool
        pool_name: PoolName, read by pool_name
}
path_of! {
    /// The path of an agent.
    AgentPath of
        /// The agent
        #[param(format = Uuid)]
        agent_id: AgentId, read by agent_id
}
path_of! {
    /// The path of a worker.
    WorkerPath of
        /// The worker
        #[param(format = Uuid)]
        process_id: ProcessId, read by process_id
}
path_of! {
    /// The path of a task.
    TaskPath of
        /// The task
        #[param(format = Uuid)]
        task_id: TaskId, read by task_id
}

/// The longest that a request may wait, in seconds.
const MAX_WAIT: f64 = 300.0;

/// How long the caller waits for the effect.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct WaitQuery {
    /// Seconds to wait for the effect, 0 to 300, fractions allowed. Default 10. With 0 the answer comes as soon as the
    /// wish is stored.
    #[param(minimum = 0, maximum = 300)]
    wait: Option<f64>,
}

impl WaitQuery {
    pub(crate) fn duration(&self) -> Result<Duration, Problem> {
        patience(self.wait.unwrap_or(10.0))
    }
}

/// How long the caller waits for the end of a task.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct EndQuery {
    /// Seconds to wait for the end of the task, 0 to 300, fractions allowed. Default 0: the answer comes at once.
    #[param(minimum = 0, maximum = 300)]
    wait: Option<f64>,
}

impl EndQuery {
    pub(crate) fn duration(&self) -> Result<Duration, Problem> {
        patience(self.wait.unwrap_or_default())
    }
}

fn patience(seconds: f64) -> Result<Duration, Problem> {
    // NaN is in no range.
    if (0.0..=MAX_WAIT).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err(Problem::invalid_parameter("wait", format!("wait is 0 to {MAX_WAIT} seconds, not {seconds}")))
    }
}

/// The most that is asked of the supervisor at once.
pub(crate) const MAX_PAGE: u32 = 1_000;

/// The length of a page, at most `most`.
pub(crate) fn page_limit(asked: Option<u32>, most: u32) -> Result<u32, Problem> {
    match asked.unwrap_or(100) {
        limit if (1..=most).contains(&limit) => Ok(limit),
        limit => Err(Problem::invalid_parameter("limit", format!("limit is 1 to {most}, not {limit}"))),
    }
}

/// Where a page begins: after the last item of the page before.
pub(crate) fn page_start<Id: FromStr>(cursor: Option<&str>) -> Result<Option<Id>, Problem> {
    cursor
        .map(str::parse)
        .transpose()
        .map_err(|_| Problem::invalid_parameter("cursor", "the cursor is not one that a list gave as next_cursor"))
}

/// The pool that a path or a body names. A text that is no name is the name of no pool.
pub(crate) fn pool_name(text: &str) -> Result<PoolName, Problem> {
    text.parse().map_err(|_| SupervisorError::UnknownPool(short(text)).into())
}

/// The agent that a path or a body names. A text that is no id is the id of no agent.
pub(crate) fn agent_id(text: &str) -> Result<AgentId, Problem> {
    text.parse().map_err(|_| SupervisorError::UnknownAgent(short(text)).into())
}

/// The project that a path names. Where nobody knows it, it has no agents; a text that no project can have is none.
pub(crate) fn project_id(text: String) -> Result<String, Problem> {
    let is_name = has_length(&text, MAX_PROJECT_ID) && !text.contains(char::is_control);
    if is_name && !matches!(text.as_str(), "." | "..") {
        return Ok(text);
    }
    let detail = format!("there is no project {:?}", short(&text));
    Err(Problem::new(StatusCode::NOT_FOUND, "unknown_project", detail))
}

/// The task that a path names. A text that is no id is the id of no task.
fn task_id(text: &str) -> Result<TaskId, Problem> {
    text.parse()
        .map_err(|_| Problem::new(StatusCode::NOT_FOUND, "unknown_task", format!("there is no task {}", short(text))))
}

/// The worker that a path names. A text that is no id is the id of no worker.
fn process_id(text: &str) -> Result<ProcessId, Problem> {
    let words = || format!("there is no worker {}", short(text));
    text.parse().map_err(|_| Problem::new(StatusCode::NOT_FOUND, "unknown_worker", words()))
}

fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

/// The caller's `Idempotency-Key`, if there is one.
pub(crate) struct KeyHeader(pub(crate) Option<String>);

impl FromRequestParts<Arc<ApiState>> for KeyHeader {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<ApiState>) -> Result<Self, Problem> {
        parts.headers.get("idempotency-key").map(|value| key_of(value.as_bytes())).transpose().map(Self)
    }
}

impl KeyHeader {
    /// The key of a request whose body may have one too. Two that differ are refused: a client that repeats its request would
    /// find out too late which one counts.
    pub(crate) fn or_in_body(&self, in_body: Option<String>) -> Result<Option<String>, Problem> {
        match (&self.0, in_body) {
            (Some(header), Some(body)) if *header != body => {
                let detail = format!(
                    "idempotency_key in the body is {body:?}, and the header Idempotency-Key is {header:?}: give one of them, or \
                     the same in both"
                );
                Err(Problem::invalid_field("idempotency_key", detail))
            }
            (header, in_body) => Ok(in_body.or_else(|| header.clone())),
        }
    }
}

/// What an idempotency key may be.
const KEY_RULE: &str = "is 1 to 255 visible ASCII characters without spaces";

fn key_of(value: &[u8]) -> Result<String, Problem> {
    match std::str::from_utf8(value) {
        Ok(text) if is_key(value) => Ok(text.to_owned()),
        _ => {
            let detail = format!("an Idempotency-Key {KEY_RULE}");
            Err(Problem::new(StatusCode::BAD_REQUEST, "invalid_header", detail).field("Idempotency-Key"))
        }
    }
}

fn is_key(value: &[u8]) -> bool {
    (1..=255).contains(&value.len()) && value.iter().all(u8::is_ascii_graphic)
}

/// A key that stands in the body instead.
pub(crate) fn key_in_body(text: String) -> Result<String, Problem> {
    if is_key(text.as_bytes()) {
        return Ok(text);
    }
    Err(Problem::invalid_field("idempotency_key", format!("idempotency_key {KEY_RULE}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::Request;

    fn wait(query: &str) -> Result<Duration, Problem> {
        let (parts, ()) = Request::get(format!("/x?{query}")).body(()).expect("a request").into_parts();
        read::<WaitQuery>(&parts)?.0.duration()
    }

    #[test]
    fn a_wait_is_seconds_within_its_bounds() {
        for (query, millis) in [("", 10_000), ("wait=0", 0), ("wait=0.25", 250), ("wait=300", 300_000)] {
            assert_eq!(wait(query).expect(query), Duration::from_millis(millis), "{query}");
        }
        for query in ["wait=-1", "wait=300.1", "wait=NaN", "wait=inf", "wait=ten", "wait=", "wait=1&wait=2", "wate=1"] {
            let problem = wait(query).expect_err(query);
            assert_eq!((problem.status().as_u16(), problem.code()), (422, "invalid_parameter"), "{query}");
        }
        assert_eq!(EndQuery::default().duration().expect("none"), Duration::ZERO);
        assert!(EndQuery { wait: Some(301.0) }.duration().is_err());
        assert!(wait("wate=1").expect_err("unknown").detail().contains("wate"));
        assert_eq!(wait("wait=ten").expect_err("no number").detail(), "in the query: wait: a number is expected");
        assert_eq!(
            wait("wate=1").expect_err("unknown").detail(),
            "in the query: wate: there is no field wate; there are: wait"
        );
    }

    #[test]
    fn what_names_nothing_is_404() {
        assert_eq!(agent_id("17").expect_err("no id").code(), "unknown_agent");
        assert_eq!(pool_name("No Pool").expect_err("no name").code(), "unknown_pool");
        assert_eq!(task_id("17").expect_err("no id").code(), "unknown_task");
        for name in ["..", ".", "", "a\nb", &"x".repeat(129)] {
            assert_eq!(project_id(name.to_owned()).expect_err("no project").code(), "unknown_project", "{name:?}");
        }
        assert_eq!(project_id("shop / 7".to_owned()).ok().as_deref(), Some("shop / 7"));
        assert!(agent_id(&"x".repeat(500)).expect_err("no id").detail().len() < 200);
        let id = AgentId::generate();
        assert_eq!(agent_id(&id.to_string().to_uppercase()).ok(), Some(id));
    }

    #[tokio::test]
    async fn a_key_is_read_from_its_header() {
        let config = crate::config::ApiConfig::new(([127, 0, 0, 1], 0).into(), "0");
        let state = ApiState::new(config, None);
        let read = async |key: Option<&str>| {
            let request =
                key.into_iter().fold(Request::get("/x"), |request, key| request.header("Idempotency-Key", key));
            let (mut parts, ()) = request.body(()).expect("a request").into_parts();
            KeyHeader::from_request_parts(&mut parts, &state).await.map(|header| header.0)
        };
        assert_eq!(read(None).await.expect("nothing"), None);
        assert_eq!(read(Some("k")).await.expect("a key"), Some("k".to_owned()));
        assert!(read(Some("")).await.is_err(), "an empty key is none");
    }

    #[test]
    fn a_key_in_the_body_that_differs_from_the_headers_is_refused_by_both() {
        let key = |header: Option<&str>, body: Option<&str>| {
            let header = KeyHeader(header.map(str::to_owned));
            header.or_in_body(body.map(str::to_owned))
        };
        for (header, body, expected) in [
            (None, None, None),
            (Some("a"), None, Some("a")),
            (None, Some("b"), Some("b")),
            (Some("a"), Some("a"), Some("a")),
        ] {
            assert_eq!(key(header, body).expect("one key at the most").as_deref(), expected);
        }
        let problem = key(Some("a"), Some("b")).expect_err("two keys");
        assert_eq!((problem.status().as_u16(), problem.code()), (422, "invalid_field"));
        for word in ["idempotency_key", "\"b\"", "Idempotency-Key", "\"a\""] {
            assert!(problem.detail().contains(word), "{word}: {}", problem.detail());
        }
    }

    #[test]
    fn an_idempotency_key_is_visible_ascii() {
        assert_eq!(key_of(b"order-17/a").expect("a key"), "order-17/a");
        for bad in [&b""[..], b"a b", b"a\tb", "schl\u{fc}ssel".as_bytes(), b"\xff", &[b'k'; 256]] {
            assert_eq!(key_of(bad).expect_err("no key").code(), "invalid_header", "{bad:?}");
        }
        assert_eq!(key_in_body("order-17/a".to_owned()).expect("a key"), "order-17/a");
        assert_eq!(key_in_body("a b".to_owned()).expect_err("no key").code(), "invalid_field");
    }
}
