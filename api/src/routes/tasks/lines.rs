//! Many tasks in one request, one a line. They go to the supervisor together, so that they share its commits.

use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use muster_domain::{TaskState, Words};
use muster_supervisor::{RequestKey, Submitted, SupervisorError, TaskRequest};
use serde::Serialize;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::SUBMIT;
use super::body::TaskBody;
use crate::blocking::{self, Undone};
use crate::body::{BodyLimit, ReadBody, parse_line, read};
use crate::budget::BodyClass;
use crate::principal::Leader;
use crate::problem::Problem;
use crate::query::KeyHeader;
use crate::routes::Routes;
use crate::state::ApiState;

pub(super) fn routes() -> Routes {
    Routes::new().routes(routes!(submit_many))
}

/// Tasks in one request.
const LINES: RangeInclusive<usize> = 1..=10_000;
/// How long a body waits for its turn to be read.
const PATIENCE: Duration = Duration::from_secs(10);
/// The largest request.
const MANY: BodyLimit =
    BodyLimit { bytes: 64 * 1024 * 1024, remedy: "send the tasks in several requests", share: BodyClass::Lines };

/// What became of each line, in their order.
#[derive(Debug, Serialize, ToSchema)]
struct TaskLinesJson {
    /// Tasks that were taken in.
    accepted: usize,
    /// The other lines.
    refused: usize,
    #[schema(value_type = Vec<TaskLine>)]
    items: Vec<TaskLineJson>,
}

/// What became of a line: the task, or the problem.
#[derive(Debug, Serialize)]
struct TaskLineJson {
    /// Its number in the request, from 1, empty lines counted.
    line: usize,
    #[serde(flatten)]
    outcome: LineOutcome,
}

/// What became of a line, as it is described: a task, which has a `task_id` and no `code`, or a problem, which has a `code`.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it stands for what is written in the document, where generators know no sums of objects")]
struct TaskLine {
    /// Its number in the request, from 1, empty lines counted.
    line: usize,
    /// The task.
    #[schema(format = Uuid)]
    task_id: Option<String>,
    /// Its state, as of one task that is taken in.
    #[schema(extensions(("x-enum" = json!(TaskState::words()))))]
    state: Option<String>,
    /// When it was asked for.
    #[schema(format = DateTime)]
    created_at: Option<String>,
    /// Of a problem: its kind, as a URI.
    r#type: Option<String>,
    /// The HTTP status in words.
    title: Option<String>,
    /// The HTTP status.
    status: Option<u16>,
    /// A word that programs may rely on.
    code: Option<String>,
    /// What happened, and what to do.
    detail: Option<String>,
    /// The field that is wrong.
    field: Option<String>,
    /// Seconds after which it may succeed.
    retry_after_seconds: Option<u64>,
}

/// The task that a line became, or why it did not.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum LineOutcome {
    Accepted(Submitted),
    Refused(Box<Problem>),
}

impl TaskLineJson {
    /// What became of line `line`.
    fn new(line: usize, outcome: Result<Submitted, Problem>) -> Self {
        let outcome = match outcome {
            Ok(task) => LineOutcome::Accepted(task),
            Err(problem) => LineOutcome::Refused(Box::new(problem)),
        };
        Self { line, outcome }
    }
}

impl From<Vec<TaskLineJson>> for TaskLinesJson {
    fn from(items: Vec<TaskLineJson>) -> Self {
        let accepted = items.iter().filter(|item| matches!(item.outcome, LineOutcome::Accepted(_))).count();
        Self { accepted, refused: items.len() - accepted, items }
    }
}

/// Takes in many tasks: one JSON object a line, each as for a single task
///
/// Each line answers for itself, and empty lines are skipped. A line may carry an `idempotency_key` of its own; with an
/// `Idempotency-Key` a repeated request answers for each of the other lines as the first did.
#[utoipa::path(post, path = "/api/v1/tasks/bulk", tag = "tasks",
    request_body(content = TaskBody, content_type = "application/x-ndjson",
        description = "1 to 10,000 lines, 64 MiB at the most"),
    params(("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters",
        min_length = 1, max_length = 255, pattern = "^[!-~]+$")),
    responses(
        (status = 200, description = "What became of each line", body = TaskLinesJson),
        (status = 413, description = "The body is too large (`body_too_large`); nothing was taken in"),
        (status = 415, description = "The body is not declared as application/x-ndjson (`not_ndjson`)"),
        (status = 422, description = "There are no lines, or too many (`wrong_line_count`); nothing was taken in"),
    ))]
async fn submit_many(
    State(state): State<Arc<ApiState>>,
    Leader(caller): Leader,
    header: KeyHeader,
    request: Request,
) -> Result<Json<TaskLinesJson>, Problem> {
    // Its room in memory is kept until the tasks are stored: until then they are in memory too.
    let ReadBody { bytes, room: _room } = read(request, &MANY, state.budget()).await?;
    // 64 MiB take long enough to keep others waiting.
    let read = blocking::run_within(PATIENCE, &blocking::BODIES, move || LinesRead::of(&bytes, &header));
    let reading = read.await.map_err(|undone| match undone {
        Undone::Full => SupervisorError::Unavailable {
            what: "too many large bodies are being read".to_owned(),
            retry_after: Duration::from_secs(1),
            by_hand: false,
        },
        Undone::Broken(_) => SupervisorError::Stopping,
    })??;
    let answers = caller.tasks().submit_all(reading.requests).await;
    Ok(Json(answer(reading.lines, answers)))
}

/// What a body says.
struct LinesRead {
    /// Every line that is not empty by its number, from 1, with what is wrong with it.
    lines: Vec<(usize, Option<Problem>)>,
    /// What the good ones ask for, in their order.
    requests: Vec<TaskRequest>,
}

impl LinesRead {
    fn of(body: &[u8], header: &KeyHeader) -> Result<Self, Problem> {
        let filled = || body.split(|byte| *byte == b'\n').enumerate().filter(|(_, line)| !line.trim_ascii().is_empty());
        let count = filled().count();
        if !LINES.contains(&count) {
            let detail = format!("a request has {} to {} lines, not {count}", LINES.start(), LINES.end());
            return Err(Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "wrong_line_count", detail));
        }
        let keys = LineKeys { header, body_hash: header.0.as_ref().map(|_| Sha256::digest(body).into()) };
        let mut reading = Self { lines: Vec::with_capacity(count), requests: Vec::with_capacity(count) };
        for (index, line) in filled() {
            let number = index + 1;
            match keys.request(number, line) {
                Ok(request) => {
                    reading.requests.push(request);
                    reading.lines.push((number, None));
                }
                Err(problem) => reading.lines.push((number, Some(problem))),
            }
        }
        Ok(reading)
    }
}

/// The keys of the lines: each line is a request of its own to the store.
struct LineKeys<'a> {
    header: &'a KeyHeader,
    /// Of the whole body, where the header has a key.
    body_hash: Option<[u8; 32]>,
}

impl LineKeys<'_> {
    fn request(&self, number: usize, line: &[u8]) -> Result<TaskRequest, Problem> {
        let mut body: TaskBody = parse_line(line)?;
        let key = match (body.take_key()?, &self.header.0, self.body_hash) {
            (Some(own), ..) => Some((SUBMIT, own, Sha256::digest(line).into())),
            // Told apart by their places.
            (None, Some(key), Some(hash)) => Some(("POST /api/v1/tasks/bulk", format!("{key}/{number}"), hash)),
            _ => None,
        };
        let key = key.map(|(route, key, body_hash)| RequestKey { route: route.to_owned(), key, body_hash });
        body.request(key)
    }
}

/// Every line with what became of it. The supervisor's answers are those of the good lines, in their order.
fn answer(lines: Vec<(usize, Option<Problem>)>, answers: Vec<Result<Submitted, SupervisorError>>) -> TaskLinesJson {
    let mut answers = answers.into_iter();
    let line = |(number, problem): (usize, Option<Problem>)| {
        let outcome = match problem {
            Some(problem) => Err(problem),
            None => match answers.next().unwrap_or(Err(SupervisorError::Stopping)) {
                Ok(task) => Ok(task),
                Err(error) => Err(error.into()),
            },
        };
        TaskLineJson::new(number, outcome)
    };
    lines.into_iter().map(line).collect::<Vec<_>>().into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_domain::{TaskId, TaskState, Timestamp};
    use serde_json::json;

    const NOW: Timestamp = Timestamp::from_millis(0);

    fn header(key: Option<&str>) -> KeyHeader {
        KeyHeader(key.map(str::to_owned))
    }

    fn reading(body: &str) -> Result<LinesRead, Problem> {
        LinesRead::of(body.as_bytes(), &header(None))
    }

    #[test]
    fn each_line_is_read_for_itself() {
        let body = "{\"pool_name\": \"p\", \"input\": {\"a\":  1}}\r\n\n  \n{\"pool_name\": \"p\"}\n7\n{\n\
                    {\"pool_name\": \"p\", \"input\": null}";
        let reading = reading(body).expect("lines");
        let inputs: Vec<&str> = reading.requests.iter().map(|request| request.input.as_str()).collect();
        assert_eq!(inputs, ["{\"a\":  1}", "null"]);
        let problems: Vec<(usize, Option<&str>)> =
            reading.lines.iter().map(|(line, problem)| (*line, problem.as_ref().map(Problem::code))).collect();
        let expected =
            [(1, None), (4, Some("invalid_field")), (5, Some("invalid_field")), (6, Some("invalid_json")), (7, None)];
        assert_eq!(problems, expected);
        let detail = |place: usize| reading.lines[place].1.as_ref().map(Problem::detail);
        assert_eq!(detail(3), Some("the body is no JSON: EOF while parsing an object at column 1"));
    }

    #[test]
    fn a_line_that_names_no_pool_names_the_field_that_is_missing() {
        let reading = reading("{\"input\": 1}\n").expect("a line");
        let problem = serde_json::to_value(reading.lines[0].1.as_ref().expect("a problem")).expect("an object");
        assert_eq!(
            (&problem["field"], &problem["detail"]),
            (&json!("pool_name"), &json!("pool_name is missing at column 12"))
        );
    }

    #[test]
    fn lines_are_bounded() {
        let line = "{\"pool_name\": \"p\", \"input\": 1}\n";
        assert_eq!(reading(&line.repeat(10_000)).expect("as many as may").requests.len(), 10_000);
        for body in [String::new(), "\n \r\n".to_owned(), line.repeat(10_001)] {
            let problem = reading(&body).map(|_| ()).expect_err("none, or too many");
            assert_eq!((problem.status().as_u16(), problem.code()), (422, "wrong_line_count"));
        }
    }

    #[test]
    fn each_line_has_its_key() {
        let own = "{\"pool_name\": \"p\", \"input\": 1, \"idempotency_key\": \"mine\"}";
        let body = format!("{{\"pool_name\": \"p\", \"input\": 1}}\n{own}");
        let keys = |key, body: &str| -> Vec<_> {
            let reading = LinesRead::of(body.as_bytes(), &header(key)).expect("lines");
            reading.requests.into_iter().map(|request| request.key).collect()
        };
        let (none, with) = (keys(None, &body), keys(Some("k"), &body));
        assert_eq!(none[0], None);
        let mine = none[1].as_ref().expect("its own");
        assert_eq!((mine.route.as_str(), mine.key.as_str()), (SUBMIT, "mine"));
        assert_eq!(with[1].as_ref(), Some(mine), "its own goes first");
        let first = with[0].as_ref().expect("the header's");
        assert_eq!((first.route.as_str(), first.key.as_str()), ("POST /api/v1/tasks/bulk", "k/1"));
        let other = keys(Some("k"), &format!("{body}\n{own}"));
        assert_ne!(other[0].as_ref().expect("the header's").body_hash, first.body_hash, "another body");
        assert_eq!(other[1].as_ref().expect("its own").body_hash, mine.body_hash, "the same line");
    }

    #[test]
    fn answers_find_their_lines() {
        let task = |task_id| Submitted { task_id, state: TaskState::Queued, created_at: NOW };
        let (first, second) = (TaskId::generate(), TaskId::generate());
        let lines = vec![(1, None), (2, Some(Problem::invalid_field("input", "none"))), (4, None), (5, None)];
        let full = SupervisorError::QueueFull { pool: "p".parse().expect("a name"), waiting: 2, max: 2 };
        let json = serde_json::to_value(answer(lines, vec![Ok(task(first)), Err(full), Ok(task(second))]));
        let json = json.expect("an object");
        assert_eq!((&json["accepted"], &json["refused"]), (&json!(2), &json!(2)));
        let items = json["items"].as_array().expect("a list");
        let brief: Vec<_> = items.iter().map(|item| (&item["line"], &item["task_id"], &item["code"])).collect();
        let none = json!(null);
        let expected = [
            (&json!(1), &json!(first), &none),
            (&json!(2), &none, &json!("invalid_field")),
            (&json!(4), &none, &json!("queue_full")),
            (&json!(5), &json!(second), &none),
        ];
        assert_eq!(brief, expected);
    }

    #[test]
    fn lines_are_counted_and_keep_their_numbers() {
        let task_id = TaskId::generate();
        let task = Submitted { task_id, state: TaskState::Queued, created_at: NOW };
        let lines = vec![
            TaskLineJson::new(1, Ok(task)),
            TaskLineJson::new(3, Err(Problem::invalid_field("input", "input is missing"))),
        ];
        let json = serde_json::to_value(TaskLinesJson::from(lines)).expect("an object");
        assert_eq!((&json["accepted"], &json["refused"]), (&json!(1), &json!(1)));
        let taken = json!({"line": 1, "task_id": task_id, "state": "queued", "created_at": "1970-01-01T00:00:00.000Z"});
        assert_eq!(json["items"][0], taken);
        let refused = &json["items"][1];
        assert_eq!(
            (&refused["line"], &refused["code"], &refused["detail"]),
            (&json!(3), &json!("invalid_field"), &json!("input is missing"))
        );
        assert_eq!((&refused["status"], &refused["field"]), (&json!(422), &json!("input")));
    }
}
