//! Workers, those that there are and those that ended.

use std::time::Duration;

use axum::Json;
use muster_domain::ProcessId;
use muster_domain::interruption::{DEFAULT_NOTICE, LONGEST_NOTICE};
use muster_domain::time::seconds;
use muster_supervisor::{EndedQuery, EndedWorkerView, SupervisorError, WorkerView};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::Routes;
use crate::body::OptionalJson;
use crate::json::page;
use crate::principal::Leader;
use crate::problem::Problem;
use crate::query::{MAX_PAGE, StrictQuery, WorkerPath, page_limit, page_start, pool_name};

pub(super) fn routes() -> Routes {
    Routes::new()
        .routes(routes!(processes))
        .routes(routes!(ended_processes))
        .routes(routes!(declare_dead))
        .routes(routes!(interrupt))
}

/// The workers and what they hold.
#[derive(Debug, Serialize, ToSchema)]
struct ProcessesJson {
    summary: ProcessSummary,
    processes: Vec<WorkerView>,
}

/// The workers together.
#[derive(Debug, Default, Serialize, ToSchema)]
struct ProcessSummary {
    total_processes: usize,
    /// Slots of the workers that take agents, and taken slots of those that do not any more.
    total_capacity: u32,
    /// Taken slots.
    used_capacity: u32,
    /// Free slots.
    available_capacity: u32,
    /// The mean of the workers' `utilization`; 0 where there are none.
    avg_utilization: f64,
}

impl From<Vec<WorkerView>> for ProcessesJson {
    fn from(processes: Vec<WorkerView>) -> Self {
        let mut summary = ProcessSummary { total_processes: processes.len(), ..ProcessSummary::default() };
        for process in &processes {
            let stays = !process.outdated && process.interruption.is_none();
            let takes_agents = process.status.takes_agents() && stays && process.unreachable.is_none();
            summary.total_capacity += if takes_agents { process.max_agents } else { process.agent_count };
            summary.used_capacity += process.agent_count;
            summary.avg_utilization += process.utilization / processes.len() as f64;
        }
        summary.available_capacity = summary.total_capacity.saturating_sub(summary.used_capacity);
        Self { summary, processes }
    }
}

/// Shows the workers and what they hold and use
#[utoipa::path(get, path = "/api/v1/agents/metrics/processes", tag = "watching", responses(
    (status = 200, description = "The workers", body = ProcessesJson),
))]
async fn processes(Leader(caller): Leader) -> Result<Json<ProcessesJson>, Problem> {
    Ok(Json(caller.workers()?.list(None).await?.into()))
}

/// Which of the workers that ended to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct EndedListQuery {
    /// Only this pool's.
    pool_name: Option<String>,
    /// At most this many, 1 to 1000. Default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[param(format = Uuid)]
    cursor: Option<String>,
}

page! {
    /// One page of workers that ended.
    EndedProcessPage of EndedWorkerView, from ProcessId
}

/// Lists workers that ended and how, the latest started first, for as long as ended agents are kept
#[utoipa::path(get, path = "/api/v1/agents/metrics/processes/ended", tag = "watching", params(EndedListQuery),
    responses(
        (status = 200, description = "One page", body = EndedProcessPage),
        (status = 404, description = "There is no such pool (`unknown_pool`), and no worker of it is kept"),
        (status = 422, description = "A parameter is wrong (`invalid_parameter`)"),
    ))]
async fn ended_processes(
    Leader(caller): Leader,
    StrictQuery(query): StrictQuery<EndedListQuery>,
) -> Result<Json<EndedProcessPage>, Problem> {
    let pool = query.pool_name.as_deref().map(pool_name).transpose()?;
    let (before, limit) = (page_start(query.cursor.as_deref())?, page_limit(query.limit, MAX_PAGE)?);
    Ok(Json(caller.workers()?.ended(EndedQuery { pool, before, limit }).await?.into()))
}

/// Declares a worker dead that nobody can reach, so that its agents run elsewhere
///
/// One that has ended already is answered as it ended, so doing it twice is no error. If it lives all the same, it is told to end as
/// soon as it is heard; until then its agents may run twice.
#[utoipa::path(post, path = "/api/v1/workers/{process_id}/declare-dead", tag = "watching",
    params(WorkerPath),
    responses(
        (status = 200, description = "The worker, and what follows for its agents", body = EndedWorkerView),
        (status = 404, description = "There is no such worker (`unknown_worker`)"),
        (status = 409, description = "It was heard lately, or its end would be seen (`worker_reachable`)"),
    ))]
async fn declare_dead(Leader(caller): Leader, worker: WorkerPath) -> Result<Json<EndedWorkerView>, Problem> {
    Ok(Json(caller.workers()?.declare_dead(worker.id()?).await?))
}

/// When the capacity under a worker goes.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
struct InterruptBody {
    /// Seconds until then, 0 to 86400, fractions allowed.
    #[serde(with = "seconds")]
    #[schema(value_type = f64, format = "seconds", minimum = 0, maximum = 86400, default = 120)]
    notice: Duration,
}

impl Default for InterruptBody {
    fn default() -> Self {
        Self { notice: DEFAULT_NOTICE }
    }
}

/// Says that the capacity under a worker will be taken away, e.g. that its spot instance ends
///
/// Another worker is started in its place at once, past `max_workers` where need be; this one gets no more agents, and these get no more
/// tasks. What it has begun has the whole notice. At its end the tasks that still run go back to the queue, at no cost of an attempt, and
/// the agents move. A second notice can only bring the moment forward.
#[utoipa::path(post, path = "/api/v1/workers/{process_id}/interrupt", tag = "watching",
    request_body = Option<InterruptBody>, params(WorkerPath),
    responses(
        (status = 200, description = "The worker as it is now", body = WorkerView),
        (status = 404, description = "There is no such worker (`unknown_worker`)"),
        (status = 409, description = "It was told to end, or has ended (`worker_ends`)"),
        (status = 422, description = "The notice is too long (`invalid_field`)"),
    ))]
async fn interrupt(
    Leader(caller): Leader,
    worker: WorkerPath,
    OptionalJson(body): OptionalJson<InterruptBody>,
) -> Result<Json<WorkerView>, Problem> {
    if body.notice > LONGEST_NOTICE {
        let most = LONGEST_NOTICE.as_secs();
        return Err(SupervisorError::Invalid(format!("notice must be at most {most} (a day), in seconds")).into());
    }
    Ok(Json(caller.workers()?.interrupt(worker.id()?, body.notice).await?))
}

#[cfg(test)]
mod tests {
    use muster_domain::{Timestamp, WorkerState};
    use serde_json::json;

    use super::*;

    fn worker(status: WorkerState, agents: u32) -> WorkerView {
        WorkerView {
            process_id: ProcessId::generate(),
            pool_name: "developer_pool".parse().expect("a name"),
            pid: Some(7),
            host: None,
            status,
            tier: None,
            outdated: false,
            interruption: None,
            unreachable: None,
            agent_count: agents,
            max_agents: 10,
            utilization: f64::from(agents) / 10.0,
            cpu_percent: Some(1.5),
            rss_bytes: Some(4096),
            started_at: Timestamp::from_millis(0),
            last_heartbeat: None,
        }
    }

    #[test]
    fn workers_are_summed_up() {
        let workers =
            vec![worker(WorkerState::Ready, 10), worker(WorkerState::Ready, 4), worker(WorkerState::Draining, 1)];
        let json = serde_json::to_value(ProcessesJson::from(workers)).expect("an object");
        let summary = &json["summary"];
        assert_eq!(summary["total_processes"], 3);
        assert_eq!((&summary["total_capacity"], &summary["used_capacity"]), (&json!(21), &json!(15)));
        assert_eq!(summary["available_capacity"], 6);
        assert!((summary["avg_utilization"].as_f64().expect("a number") - 0.5).abs() < 1e-9);
        assert_eq!((&json["processes"][1]["utilization"], &json["processes"][1]["cpu"]), (&json!(0.4), &json!(1.5)));
        let none = serde_json::to_value(ProcessesJson::from(Vec::new())).expect("an object");
        assert_eq!(none["summary"]["avg_utilization"], 0.0);
    }
}
