//! The supervisor itself.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;

use crate::body::OptionalJson;
use crate::door::{Door, Leader};
use crate::json::{CheckJson, HoldBody, StatusJson, StopBody, StoppingJson};
use crate::problem::Problem;

/// Stops the supervisor and all that it started, or leaves the workers to the next one
///
/// A standby stops too, and nothing else with it: the one that leads goes on.
#[utoipa::path(post, path = "/api/v1/system/stop", tag = "system", request_body = Option<StopBody>, responses(
    (status = 202, description = "It is stopping", body = StoppingJson),
))]
pub(super) async fn stop(
    State(door): State<Arc<Door>>,
    OptionalJson(body): OptionalJson<StopBody>,
) -> Result<impl IntoResponse, Problem> {
    let StopBody { keep_workers } = body;
    let message = if door.stop_standby() {
        "the standby is stopping"
    } else {
        door.stage().leader()?.stop(keep_workers);
        "the supervisor is stopping"
    };
    Ok((StatusCode::ACCEPTED, Json(StoppingJson { message, keep_workers })))
}

/// Shows how the supervisor runs
#[utoipa::path(get, path = "/api/v1/system/status", tag = "system", responses(
    (status = 200, description = "Everything about it", body = StatusJson),
))]
pub(super) async fn status(State(door): State<Arc<Door>>, Leader(handle): Leader) -> Result<Json<StatusJson>, Problem> {
    Ok(Json(StatusJson::new(&door.config().version, handle.system().await)))
}

/// Checks the whole installation, with a remedy for what is wrong
#[utoipa::path(get, path = "/api/v1/system/check", tag = "system", responses(
    (status = 200, description = "What was found; `ok` says whether all is well", body = CheckJson),
))]
pub(super) async fn check(Leader(handle): Leader) -> Result<Json<CheckJson>, Problem> {
    Ok(Json(handle.check().await.into()))
}

/// Gives no task of any pool to an agent until it is resumed; tasks are taken in all the same
#[utoipa::path(post, path = "/api/v1/system/pause", tag = "system", request_body = Option<HoldBody>, responses(
    (status = 200, description = "The supervisor as it is now", body = StatusJson),
))]
pub(super) async fn pause(
    State(door): State<Arc<Door>>,
    Leader(handle): Leader,
    OptionalJson(body): OptionalJson<HoldBody>,
) -> Result<Json<StatusJson>, Problem> {
    handle.pause_system(body.hand_back).await?;
    Ok(Json(StatusJson::new(&door.config().version, handle.system().await)))
}

/// Gives tasks to agents again; a pool that was paused by itself stays so
#[utoipa::path(post, path = "/api/v1/system/resume", tag = "system", responses(
    (status = 200, description = "The supervisor as it is now", body = StatusJson),
))]
pub(super) async fn resume(State(door): State<Arc<Door>>, Leader(handle): Leader) -> Result<Json<StatusJson>, Problem> {
    handle.resume_system().await?;
    Ok(Json(StatusJson::new(&door.config().version, handle.system().await)))
}
