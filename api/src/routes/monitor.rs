//! Figures of the whole system.

use std::time::Duration;

use axum::Json;
use muster_domain::{Executions, Timestamp, Words};
use muster_supervisor::{Alert, Mode, SystemView};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::Routes;
use crate::principal::Leader;
use crate::problem::Problem;

pub(super) fn routes() -> Routes {
    Routes::new().routes(routes!(system))
}

/// The system in figures.
// Not the view of the supervisor: its fields have other names here, by promise.
#[derive(Debug, Serialize, ToSchema)]
struct MonitorJson {
    uptime_seconds: f64,
    /// How it runs.
    #[schema(value_type = String, extensions(("x-enum" = json!(Mode::words()))))]
    mode: Mode,
    total_pools: u32,
    total_workers: u32,
    total_agents: u32,
    /// Attempts at tasks that began and are over, since the store was made.
    total_executions: u64,
    /// Of these, those that gave a result.
    successful_executions: u64,
    /// Of these, those that failed, took too long or lost their agent. One that was cancelled, handed back or interrupted is
    /// neither.
    failed_executions: u64,
    /// `successful_executions` as a share of those that succeeded or failed, 0 to 1; null before the first.
    success_rate: Option<f64>,
    /// Agents asked for since this supervisor leads.
    total_spawns: u64,
    /// Of these, those that ran.
    successful_spawns: u64,
    /// Of these, those whose program failed at its first start.
    failed_spawns: u64,
    /// What is wrong, or was within the last hour: the newest 100 alerts.
    recent_alerts: Vec<Alert>,
}

impl MonitorJson {
    /// Of a supervisor with these alerts, the newest first.
    fn new(view: SystemView, executions: Executions, alerts: Vec<Alert>, now: Timestamp) -> Self {
        Self {
            uptime_seconds: view.uptime.as_secs_f64(),
            mode: view.mode,
            total_pools: view.pools,
            total_workers: view.workers,
            total_agents: view.agents,
            total_executions: executions.total,
            successful_executions: executions.succeeded,
            failed_executions: executions.failed,
            success_rate: executions.success_rate(),
            total_spawns: view.spawns,
            successful_spawns: view.spawns_succeeded,
            failed_spawns: view.spawns_failed,
            recent_alerts: recent(alerts, now),
        }
    }
}

/// How long one that is over counts as recent.
const RECENT: Duration = Duration::from_secs(60 * 60);

/// Recent alerts at the most.
const MOST_RECENT: usize = 100;

/// The newest of those that last, or ended within the hour before `now`.
fn recent(alerts: Vec<Alert>, now: Timestamp) -> Vec<Alert> {
    let is_recent = |alert: &Alert| alert.until.is_none_or(|until| until >= now.before(RECENT));
    alerts.into_iter().filter(is_recent).take(MOST_RECENT).collect()
}

/// Shows the system in figures
#[utoipa::path(get, path = "/api/v1/agents/monitor/system", tag = "watching", responses(
    (status = 200, description = "The figures", body = MonitorJson),
))]
async fn system(Leader(caller): Leader) -> Result<Json<MonitorJson>, Problem> {
    let system = caller.system()?;
    let (view, executions) = (system.view().await, system.executions().await);
    Ok(Json(MonitorJson::new(view, executions, system.alerts(), Timestamp::now())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::routes::tests::{alert, system};

    #[test]
    fn a_rate_needs_something_to_be_a_share_of() {
        let rate = |succeeded, failed| {
            let view = SystemView { spawns: 3, spawns_succeeded: 2, spawns_failed: 1, ..system() };
            let (executions, alerts) = (Executions { total: 9, succeeded, failed }, vec![alert("ownership", None)]);
            serde_json::to_value(MonitorJson::new(view, executions, alerts, Timestamp::now())).expect("an object")
        };
        assert_eq!(rate(0, 0)["success_rate"], json!(null));
        assert_eq!(rate(6, 2)["success_rate"], 0.75);
        assert_eq!(rate(6, 2)["total_executions"], 9);
        let spawns = ["total_spawns", "successful_spawns", "failed_spawns"].map(|name| rate(0, 0)[name].clone());
        assert_eq!(spawns, [json!(3), json!(2), json!(1)]);
        assert_eq!(rate(1, 0)["recent_alerts"][0]["message"], "best effort");
    }

    #[test]
    fn what_ended_long_ago_is_not_recent() {
        let now = Timestamp::from_millis(10_000_000);
        let ended = |before: u64| Some(now.before(Duration::from_secs(before)));
        let alerts = vec![alert("lasts", None), alert("just", ended(3_600)), alert("long", ended(3_601))];
        let subjects: Vec<String> = recent(alerts, now).into_iter().map(|alert| alert.subject).collect();
        assert_eq!(subjects, ["lasts", "just"]);
        assert_eq!(recent(vec![alert("x", None); 200], now).len(), MOST_RECENT);
    }
}
