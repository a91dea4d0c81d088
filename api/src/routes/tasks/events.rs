//! The stream of one task.

use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use muster_supervisor::TaskView;
use utoipa_axum::routes;

use super::feed::TaskFeed;
use crate::principal::Leader;
use crate::problem::Problem;
use crate::query::TaskPath;
use crate::routes::Routes;
use crate::routes::events::{last_event_id, streamed};

pub(super) fn routes() -> Routes {
    Routes::new().routes(routes!(events))
}

/// Streams a task (Server-Sent Events): its picture now, each change, its progress, until it is over
///
/// A message's `event` is the state, its `id` the version, its data the task. `progress` has no `id`, and `message` and
/// `percent` as its data. With `Last-Event-ID` pictures up to that version are left out.
#[utoipa::path(get, path = "/api/v1/tasks/{task_id}/events", tag = "tasks",
    params(TaskPath,
        ("Last-Event-ID" = Option<u64>, Header, description = "The id of the last message that was received")),
    responses(
        (status = 200, description = "The stream", body = TaskView, content_type = "text/event-stream"),
        (status = 204, description = "The task is over, and `Last-Event-ID` is its last version"),
        (status = 400, description = "`Last-Event-ID` is no number (`invalid_header`)"),
        (status = 404, description = "There is no such task (`unknown_task`)"),
    ))]
async fn events(Leader(caller): Leader, task: TaskPath, headers: HeaderMap) -> Result<Response, Problem> {
    let seen = last_event_id(&headers)?;
    let end = caller.shutdown_token();
    let follower = caller.tasks().follow(task.id()?).await?;
    Ok(match TaskFeed::begin(follower, end, seen).await? {
        Some(feed) => streamed(feed.stream()),
        // By this a browser knows that it need not come back.
        None => StatusCode::NO_CONTENT.into_response(),
    })
}
