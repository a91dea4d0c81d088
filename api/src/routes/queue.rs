//! The queues in figures.

use axum::Json;
use muster_domain::Timestamp;

use crate::door::Leader;
use crate::json::QueuesJson;
use crate::problem::Problem;

/// Shows what waits, what runs and how fast it goes, by pool
#[utoipa::path(get, path = "/api/metrics/queue", tag = "watching", responses(
    (status = 200, description = "The figures", body = QueuesJson),
))]
pub(super) async fn queue(Leader(handle): Leader) -> Result<Json<QueuesJson>, Problem> {
    Ok(Json(QueuesJson::new(handle.queues().await?, Timestamp::now())))
}
