//! How the server is, for load balancers, containers and people.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use muster_supervisor::{Handle, HealthView, Reach, SystemView};
use tokio::time::timeout;

use crate::door::{Door, Leader, Stage};
use crate::json::{AlertTopicJson, DeepHealthJson, HealthJson, ReachJson, ReadyJson};
use crate::problem::Problem;

/// A supervisor that has not said how it is by then is called degraded for that.
const PATIENCE: Duration = Duration::from_secs(3);
/// The same for the canaries, each of which goes to a worker and back.
const DEEP_PATIENCE: Duration = Duration::from_secs(10);

/// Says that the server lives, and how it is
#[utoipa::path(get, path = "/health", tag = "watching", responses(
    (status = 200, description = "It lives; `status` and `degraded` say how", body = HealthJson),
))]
pub(super) async fn health(State(door): State<Arc<Door>>) -> Json<HealthJson> {
    let stage = door.stage();
    let mut health = HealthJson {
        status: "ok",
        mode: None,
        mode_reason: None,
        version: door.config().version.clone(),
        state: stage.as_str(),
        leader: None,
        degraded: Vec::new(),
        alerts_firing: None,
        alerts: Vec::new(),
    };
    match stage {
        Stage::Standby { leader } => health.leader = Some(leader).filter(|leader| !leader.is_empty()),
        Stage::Waiting { reason, .. } => health.degraded.push(reason),
        Stage::Leading(handle) => {
            let HealthView { mode, mode_reason, degraded, alerts } = look(&handle).await;
            health.mode = Some(mode.as_str());
            health.mode_reason = Some(mode_reason);
            health.degraded = degraded;
            health.alerts_firing = Some(alerts.len());
            health.alerts = AlertTopicJson::of(alerts);
        }
    }
    if door.seats().is_crowded() {
        health.degraded.push(format!(
            "connections were refused: all {} answered requests (raise the limit of open files)",
            door.seats().most()
        ));
    }
    if !health.degraded.is_empty() {
        health.status = "degraded";
    }
    Json(health)
}

/// What is known to be wrong is said at once. Where nothing is, it is seen whether the pools answer.
async fn look(handle: &Handle) -> HealthView {
    let known = handle.health();
    if !known.degraded.is_empty() || timeout(PATIENCE, handle.pools()).await.is_ok() {
        return known;
    }
    let mut health = handle.health();
    if health.degraded.is_empty() {
        health.degraded.push(silence(PATIENCE));
    }
    health
}

fn silence(patience: Duration) -> String {
    format!("the supervisor did not answer within {} s", patience.as_secs())
}

/// The same as /health, and behind the API keys like every other path
#[utoipa::path(get, path = "/api/health", tag = "watching", responses(
    (status = 200, description = "It lives; `status` and `degraded` say how", body = HealthJson),
))]
pub(super) async fn api_health(state: State<Arc<Door>>) -> Json<HealthJson> {
    health(state).await
}

/// Says whether requests can be served: it leads, and its registry and store answer
#[utoipa::path(get, path = "/ready", tag = "watching", responses(
    (status = 200, description = "Requests can be served", body = ReadyJson),
))]
pub(super) async fn ready(Leader(handle): Leader) -> Result<Json<ReadyJson>, Problem> {
    match timeout(PATIENCE, handle.system()).await {
        Ok(system) => readiness(&system).map(Json),
        Err(_) => Err(not_ready(silence(PATIENCE))),
    }
}

fn readiness(system: &SystemView) -> Result<ReadyJson, Problem> {
    match (&system.registry, &system.store) {
        (Reach::Away(why), _) => Err(not_ready(format!("the registry does not answer: {why}"))),
        (_, Reach::Away(why)) => Err(not_ready(format!("the store can't be used: {why}"))),
        (Reach::Ok(_), Reach::Ok(_)) => Ok(ReadyJson { ready: true }),
    }
}

fn not_ready(why: String) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", why).retry_after(Duration::from_secs(1))
}

/// Asks the registry, the store, and a worker of each pool
#[utoipa::path(get, path = "/api/health-docker", tag = "watching", responses(
    (status = 200, description = "All of them answer", body = DeepHealthJson),
    (status = 503, description = "One does not, or nobody leads here", body = DeepHealthJson),
))]
pub(super) async fn deep_health(State(door): State<Arc<Door>>) -> Response {
    let checks = match door.stage().leader() {
        Ok(handle) => timeout(DEEP_PATIENCE, look_deep(&handle))
            .await
            .unwrap_or_else(|_| vec![ReachJson::new("supervisor", Err(silence(DEEP_PATIENCE)))]),
        Err(problem) => vec![ReachJson::new("supervisor", Err(problem.detail().to_owned()))],
    };
    let answer = DeepHealthJson::new(checks);
    let status = if answer.is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(answer)).into_response()
}

async fn look_deep(handle: &Handle) -> Vec<ReachJson> {
    let (system, canaries) = tokio::join!(handle.system(), handle.canaries());
    let mut checks = vec![ReachJson::of("registry", system.registry), ReachJson::of("store", system.store)];
    checks.extend(canaries.into_iter().map(|(pool, result)| ReachJson::new(format!("canary:{pool}"), result)));
    checks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::tests_views::system;

    #[test]
    fn ready_means_that_registry_and_store_answer() {
        let ok = || Reach::Ok(Duration::ZERO);
        let away = || Reach::Away("refused".to_owned());
        for (registry, store, words) in
            [(ok(), ok(), None), (away(), ok(), Some("registry")), (ok(), away(), Some("store"))]
        {
            let found = readiness(&SystemView { registry, store, ..system() });
            match words {
                None => assert!(found.expect("ready").ready),
                Some(words) => {
                    let problem = found.expect_err(words);
                    assert_eq!((problem.status().as_u16(), problem.code()), (503, "not_ready"));
                    assert!(problem.detail().contains(words), "{}", problem.detail());
                }
            }
        }
    }
}
