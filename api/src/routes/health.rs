//! How the server is, for load balancers, containers and people.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use muster_domain::{PoolName, Words};
use muster_supervisor::{Alert, AlertKind, Handle, HealthView, Mode, ReachView, System, SystemView, Workers};
use serde::Serialize;
use tokio::time::timeout;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::Routes;
use crate::principal::Leader;
use crate::problem::Problem;
use crate::state::{ApiStage, ApiState, StageName};

pub(super) fn routes() -> Routes {
    Routes::new()
        .routes(routes!(health))
        .routes(routes!(api_health))
        .routes(routes!(ready))
        .routes(routes!(deep_health))
}

/// A supervisor that has not said how it is by then is called degraded for that.
const PATIENCE: Duration = Duration::from_secs(3);
/// The same for the canaries, each of which goes to a worker and back.
const DEEP_PATIENCE: Duration = Duration::from_secs(10);

muster_domain::words! {
    /// How the server is, in one word.
    enum HealthStatus {
        /// As it should be.
        Ok = "ok",
        /// Less than it should be.
        Degraded = "degraded",
    }
}

/// How the server is.
#[derive(Debug, Serialize, ToSchema)]
struct HealthJson {
    /// Whether `degraded` says anything.
    #[schema(value_type = String, extensions(("x-enum" = json!(HealthStatus::words()))))]
    status: HealthStatus,
    /// How it runs; null where this server does not lead.
    #[schema(value_type = Option<String>, extensions(("x-enum" = json!(Mode::words()))))]
    mode: Option<Mode>,
    /// Why it runs so.
    mode_reason: Option<String>,
    /// The program's version.
    version: String,
    /// Whether it leads.
    #[schema(value_type = String, extensions(("x-enum" = json!(StageName::words()))))]
    state: StageName,
    /// The HTTP address of the supervisor that leads, where this one stands by and knows it.
    leader: Option<String>,
    /// Every way in which it is less than it should be. Empty is healthy.
    degraded: Vec<String>,
    /// Alerts that last, also about single pools; null where this server does not lead.
    alerts_firing: Option<usize>,
    /// What they are about, each once. `GET /api/v1/alerts` and `muster alerts` say the rest.
    alerts: Vec<AlertTopicJson>,
    /// Whether pools, workers and agents are measured; null where this server does not lead.
    metrics_collector: Option<bool>,
    /// Whether the policies of pools decide anything; null where this server does not lead.
    autoscaler: Option<bool>,
}

/// What an alert is about. Not its message: that may have a program's words, and `/health` needs no key.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
struct AlertTopicJson {
    /// As in `GET /api/v1/alerts`.
    #[schema(value_type = String, example = "quarantine", extensions(("x-enum" = json!(AlertKind::words()))))]
    kind: AlertKind,
    #[schema(value_type = Option<String>)]
    pool_name: Option<PoolName>,
}

impl AlertTopicJson {
    /// Each once.
    fn of(alerts: Vec<Alert>) -> Vec<Self> {
        let mut topics: Vec<Self> = Vec::new();
        for Alert { kind, pool, .. } in alerts {
            let topic = Self { kind, pool_name: pool };
            if !topics.contains(&topic) {
                topics.push(topic);
            }
        }
        topics
    }
}

/// Says that the server lives, and how it is
#[utoipa::path(get, path = "/health", tag = "watching", responses(
    (status = 200, description = "It lives; `status` and `degraded` say how", body = HealthJson),
))]
async fn health(State(state): State<Arc<ApiState>>) -> Json<HealthJson> {
    let stage = state.stage();
    let mut health = HealthJson {
        status: HealthStatus::Ok,
        mode: None,
        mode_reason: None,
        version: state.config().version.clone(),
        state: stage.name(),
        leader: None,
        degraded: Vec::new(),
        alerts_firing: None,
        alerts: Vec::new(),
        metrics_collector: None,
        autoscaler: None,
    };
    match stage {
        ApiStage::Standby { leader } => health.leader = Some(leader).filter(|leader| !leader.is_empty()),
        ApiStage::Waiting { reason, .. } => health.degraded.push(reason),
        ApiStage::Leading(handle) => {
            let HealthView { mode, mode_reason, degraded, alerts, runs } = look(&handle).await;
            health.mode = Some(mode);
            health.mode_reason = Some(mode_reason);
            health.degraded = degraded;
            health.alerts_firing = Some(alerts.len());
            health.alerts = AlertTopicJson::of(alerts);
            (health.metrics_collector, health.autoscaler) = (Some(runs.metrics_collector), Some(runs.autoscaler));
        }
    }
    if state.connections().is_crowded() {
        health.degraded.push(format!(
            "connections were refused: all {} answered requests (raise the limit of open files)",
            state.connections().most()
        ));
    }
    if !health.degraded.is_empty() {
        health.status = HealthStatus::Degraded;
    }
    Json(health)
}

/// What is known to be wrong is said at once. Where nothing is, it is seen whether the pools answer.
async fn look(handle: &Handle) -> HealthView {
    let known = handle.health();
    if !known.degraded.is_empty() || timeout(PATIENCE, handle.answered()).await.is_ok() {
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
async fn api_health(state: State<Arc<ApiState>>) -> Json<HealthJson> {
    health(state).await
}

/// The server leads, and its registry and store answer.
#[derive(Debug, Serialize, ToSchema)]
struct ReadyJson {
    ready: bool,
}

/// Says whether requests can be served: it leads, and its registry and store answer
#[utoipa::path(get, path = "/ready", tag = "watching", responses(
    (status = 200, description = "Requests can be served", body = ReadyJson),
))]
async fn ready(Leader(caller): Leader) -> Result<Json<ReadyJson>, Problem> {
    let system = caller.system()?;
    match timeout(PATIENCE, system.view()).await {
        Ok(view) => readiness(&view, system.refusal()).map(Json),
        Err(_) => Err(not_ready(silence(PATIENCE))),
    }
}

fn readiness(system: &SystemView, refusal: Option<String>) -> Result<ReadyJson, Problem> {
    match (&system.registry.error, &system.store.error, refusal) {
        (Some(why), ..) => Err(not_ready(format!("the registry does not answer: {why}"))),
        (None, Some(why), _) => Err(not_ready(format!("the store can't be used: {why}"))),
        // They answer again, and the supervisor has not noticed yet: it would refuse what is asked of it.
        (None, None, Some(why)) => Err(not_ready(format!("nothing new is begun yet: {why}"))),
        (None, None, None) => Ok(ReadyJson { ready: true }),
    }
}

fn not_ready(why: String) -> Problem {
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "not_ready", why).retry_after(Duration::from_secs(1))
}

muster_domain::words! {
    /// What came of a deep check.
    enum DeepHealthStatus {
        /// Everything answered.
        Ok = "ok",
        /// Something did not.
        Failed = "failed",
    }
}

/// A deep check: what was asked, and whether it answered.
#[derive(Debug, Serialize, ToSchema)]
struct DeepHealthJson {
    /// Whether all of them answered.
    #[schema(value_type = String, extensions(("x-enum" = json!(DeepHealthStatus::words()))))]
    status: DeepHealthStatus,
    checks: Vec<ReachView>,
}

impl DeepHealthJson {
    fn new(checks: Vec<ReachView>) -> Self {
        let ok = checks.iter().all(|check| check.ok);
        Self { status: if ok { DeepHealthStatus::Ok } else { DeepHealthStatus::Failed }, checks }
    }

    fn is_ok(&self) -> bool {
        self.status == DeepHealthStatus::Ok
    }
}

/// Asks the registry, the store, and a worker of each pool
#[utoipa::path(get, path = "/api/health-docker", tag = "watching", responses(
    (status = 200, description = "All of them answer", body = DeepHealthJson),
    (status = 503, description = "One does not, or nobody leads here", body = DeepHealthJson),
))]
async fn deep_health(leader: Result<Leader, Problem>) -> Result<Response, Problem> {
    let checks = match leader {
        Ok(Leader(caller)) => {
            let (system, workers) = (caller.system()?, caller.workers()?);
            let looked = timeout(DEEP_PATIENCE, look_deep(&system, &workers)).await;
            looked.unwrap_or_else(|_| vec![ReachView::new("supervisor", Err(silence(DEEP_PATIENCE)))])
        }
        Err(problem) => vec![ReachView::new("supervisor", Err(problem.detail().to_owned()))],
    };
    let answer = DeepHealthJson::new(checks);
    let status = if answer.is_ok() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, Json(answer)).into_response())
}

async fn look_deep(system: &System, workers: &Workers) -> Vec<ReachView> {
    let (system, canaries) = tokio::join!(system.view(), workers.canaries());
    let mut checks = vec![system.registry, system.store];
    checks.extend(canaries.into_iter().map(|(pool, result)| ReachView::new(format!("canary:{pool}"), result)));
    checks
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::tests::system;
    use serde_json::json;

    #[test]
    fn ready_means_that_registry_and_store_answer_and_nothing_is_refused() {
        let ok = || ReachView::new("", Ok(Duration::ZERO));
        let away = || ReachView::new("", Err("refused".to_owned()));
        for (registry, store, refusal, words) in [
            (ok(), ok(), None, None),
            (away(), ok(), None, Some("registry")),
            (ok(), away(), None, Some("store")),
            (ok(), ok(), Some("a pass was late"), Some("nothing new is begun yet: a pass was late")),
        ] {
            let refusal = refusal.map(str::to_owned);
            let found = readiness(&SystemView { registry, store, ..system() }, refusal);
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

    #[test]
    fn health_says_what_alerts_are_about_once_and_no_word_of_a_program() {
        let json = serde_json::to_value(AlertTopicJson::of(system().alerts)).expect("a list");
        assert_eq!(json, json!([{"kind": "quarantine", "pool_name": "q"}, {"kind": "quarantine", "pool_name": "p"}]));
    }

    #[test]
    fn one_failed_check_fails_the_whole() {
        let good = || ReachView::new("store", Ok(Duration::from_millis(1)));
        assert!(DeepHealthJson::new(vec![good()]).is_ok());
        let bad = DeepHealthJson::new(vec![good(), ReachView::new("registry", Err("gone".to_owned()))]);
        assert!(!bad.is_ok());
    }
}
