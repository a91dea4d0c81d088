//! Many tasks in one request, one a line; each answers for itself.

use serde::Serialize;
use utoipa::ToSchema;

use super::SubmittedJson;
use crate::problem::Problem;

/// What became of each line, in their order.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TaskLinesJson {
    /// Tasks that were taken in.
    accepted: usize,
    /// The other lines.
    refused: usize,
    #[schema(value_type = Vec<TaskLine>)]
    items: Vec<TaskLineJson>,
}

/// What became of a line: the task, or the problem.
#[derive(Debug, Serialize)]
pub(crate) struct TaskLineJson {
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
    Accepted(SubmittedJson),
    Refused(Box<Problem>),
}

impl TaskLineJson {
    /// What became of line `line`.
    pub(crate) fn new(line: usize, outcome: Result<SubmittedJson, Problem>) -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;
    use muster_domain::{TaskId, TaskState, Timestamp};
    use muster_supervisor::Submitted;
    use serde_json::json;

    #[test]
    fn lines_are_counted_and_keep_their_numbers() {
        let task_id = TaskId::generate();
        let task = Submitted { task_id, state: TaskState::Queued, created_at: Timestamp::from_millis(0) };
        let lines = vec![
            TaskLineJson::new(1, Ok(task.into())),
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
