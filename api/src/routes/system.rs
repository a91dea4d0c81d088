//! The supervisor itself.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use muster_supervisor::{CheckLine, SystemView, access};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::Routes;
use crate::body::OptionalJson;
use crate::principal::{Asker, Leader};
use crate::problem::Problem;
use crate::state::ApiState;

pub(super) fn routes() -> Routes {
    Routes::new()
        .routes(routes!(stop))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(status))
        .routes(routes!(check))
}

/// How to stop.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
struct StopBody {
    /// Leave the workers and their agents to the next supervisor. Default false: all that was started is stopped.
    keep_workers: bool,
}

/// The supervisor is stopping.
#[derive(Debug, Serialize, ToSchema)]
struct StoppingJson {
    #[schema(value_type = String)]
    message: &'static str,
    keep_workers: bool,
}

/// Stops the supervisor and all that it started, or leaves the workers to the next one
///
/// A standby stops too, and nothing else with it: the one that leads goes on.
#[utoipa::path(post, path = "/api/v1/system/stop", tag = "system", request_body = Option<StopBody>, responses(
    (status = 202, description = "It is stopping", body = StoppingJson),
))]
async fn stop(
    State(state): State<Arc<ApiState>>,
    Asker(principal): Asker,
    OptionalJson(body): OptionalJson<StopBody>,
) -> Result<impl IntoResponse, Problem> {
    let StopBody { keep_workers } = body;
    access::to_installation(&principal)?;
    let message = if state.stop_standby() {
        "the standby is stopping"
    } else {
        state.leader()?.by(principal).system()?.stop(keep_workers);
        "the supervisor is stopping"
    };
    Ok((StatusCode::ACCEPTED, Json(StoppingJson { message, keep_workers })))
}

/// Shows how the supervisor runs
#[utoipa::path(get, path = "/api/v1/system/status", tag = "system", responses(
    (status = 200, description = "Everything about it", body = SystemView),
))]
async fn status(Leader(caller): Leader) -> Result<Json<SystemView>, Problem> {
    Ok(Json(caller.system()?.view().await))
}

/// A check of the whole installation.
#[derive(Debug, Serialize, ToSchema)]
struct CheckJson {
    /// Whether every line is.
    ok: bool,
    checks: Vec<CheckLine>,
}

impl From<Vec<CheckLine>> for CheckJson {
    fn from(checks: Vec<CheckLine>) -> Self {
        Self { ok: checks.iter().all(|line| line.ok), checks }
    }
}

/// Checks the whole installation, with a remedy for what is wrong
#[utoipa::path(get, path = "/api/v1/system/check", tag = "system", responses(
    (status = 200, description = "What was found; `ok` says whether all is well", body = CheckJson),
))]
async fn check(Leader(caller): Leader) -> Result<Json<CheckJson>, Problem> {
    Ok(Json(caller.system()?.check().await.into()))
}

/// How work is held up: of the whole system, or of a pool that is drained.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct HoldBody {
    /// Stop the tasks that run and hand them back to the queue. Default false: they go on to their end.
    pub(super) hand_back: bool,
}

/// Gives no task of any pool to an agent until it is resumed; tasks are taken in all the same
#[utoipa::path(post, path = "/api/v1/system/pause", tag = "system", request_body = Option<HoldBody>, responses(
    (status = 200, description = "The supervisor as it is now", body = SystemView),
))]
async fn pause(
    Leader(caller): Leader,
    OptionalJson(body): OptionalJson<HoldBody>,
) -> Result<Json<SystemView>, Problem> {
    caller.pools()?.pause_all(body.hand_back).await?;
    Ok(Json(caller.system()?.view().await))
}

/// Gives tasks to agents again; a pool that was paused by itself stays so
#[utoipa::path(post, path = "/api/v1/system/resume", tag = "system", responses(
    (status = 200, description = "The supervisor as it is now", body = SystemView),
))]
async fn resume(Leader(caller): Leader) -> Result<Json<SystemView>, Problem> {
    caller.pools()?.resume_all().await?;
    Ok(Json(caller.system()?.view().await))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::routes::tests::system;

    #[test]
    fn a_status_says_all() {
        let json = serde_json::to_value(system()).expect("an object");
        assert_eq!((&json["mode"], &json["fence"]), (&json!("multi-process"), &json!(3)));
        assert_eq!((&json["uptime_seconds"], &json["paused"]), (&json!(1.5), &json!(false)));
        assert_eq!(json["store"], json!({"name": "store", "ok": true, "took_ms": 0.25, "error": null}));
        assert_eq!(json["registry"]["error"], "connection refused");
        assert_eq!((&json["alerts_firing"], &json["alerts"][1]["message"]), (&json!(3), &json!("another")));
        let held = json!([{"pool_name": "p", "draining": false, "being_removed": false, "paused": true, "all_paused": false, "intake_closed": false,
            "breaker": {"state": "closed", "reason": null, "since": null, "next_probe_at": null}, "lacks": null}]);
        assert_eq!(json["held_pools"], held);
    }

    #[test]
    fn one_failed_line_fails_the_check() {
        let line = |ok| CheckLine {
            name: "redis".to_owned(),
            ok,
            took: Duration::from_millis(2),
            detail: String::new(),
            remedy: (!ok).then(|| "start it".to_owned()),
        };
        assert!(CheckJson::from(vec![line(true)]).ok);
        let json = serde_json::to_value(CheckJson::from(vec![line(true), line(false)])).expect("an object");
        assert_eq!((&json["ok"], &json["checks"][1]["remedy"]), (&json!(false), &json!("start it")));
        assert_eq!(json["checks"][0]["took_ms"], 2.0);
    }
}
