//! Figures of the whole system.

use muster_domain::{Executions, PoolName, ProcessId, Timestamp, WorkerState};
use muster_supervisor::{Alert, SystemView, WorkerView};
use serde::Serialize;
use utoipa::ToSchema;

use super::alerts::{AlertJson, recent};

/// The system in figures.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct MonitorJson {
    uptime_seconds: f64,
    /// `multi-process` or `single-process`.
    #[schema(value_type = String)]
    mode: &'static str,
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
    recent_alerts: Vec<AlertJson>,
}

impl MonitorJson {
    /// Of a supervisor with these alerts, the newest first.
    pub(crate) fn new(view: SystemView, executions: Executions, alerts: Vec<Alert>, now: Timestamp) -> Self {
        Self {
            uptime_seconds: view.uptime.as_secs_f64(),
            mode: view.mode.as_str(),
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

/// The workers and what they hold.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProcessesJson {
    summary: ProcessSummary,
    processes: Vec<ProcessJson>,
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

/// A worker.
#[derive(Debug, Serialize, ToSchema)]
struct ProcessJson {
    #[schema(value_type = String, format = Uuid)]
    process_id: ProcessId,
    #[schema(value_type = String)]
    pool_name: PoolName,
    pid: Option<u32>,
    host: Option<String>,
    /// Slots taken of it.
    agent_count: u32,
    /// Agents that it may hold.
    max_agents: u32,
    /// `agent_count` as a share of `max_agents`, 0 to 1.
    utilization: f64,
    /// CPU of it and its agents, in percent of one core, from its last heartbeat.
    cpu: Option<f32>,
    /// Resident memory of it and its agents, in bytes, from its last heartbeat.
    rss_bytes: Option<u64>,
    /// `starting`, `ready`, `draining`, `stopped` or `lost`.
    #[schema(value_type = String)]
    status: WorkerState,
    /// Whether it starts programs by an older definition of the runtime than the configuration's: it gets no more agents, and is
    /// replaced when it has none.
    outdated: bool,
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_heartbeat: Option<Timestamp>,
}

impl From<WorkerView> for ProcessJson {
    fn from(view: WorkerView) -> Self {
        Self {
            process_id: view.process_id,
            pool_name: view.pool_name,
            pid: view.pid,
            host: view.host,
            agent_count: view.agent_count,
            max_agents: view.max_agents,
            utilization: f64::from(view.agent_count) / f64::from(view.max_agents.max(1)),
            cpu: view.cpu_percent,
            rss_bytes: view.rss_bytes,
            status: view.status,
            outdated: view.outdated,
            started_at: view.started_at,
            last_heartbeat: view.last_heartbeat,
        }
    }
}

impl From<Vec<WorkerView>> for ProcessesJson {
    fn from(views: Vec<WorkerView>) -> Self {
        let mut summary = ProcessSummary { total_processes: views.len(), ..ProcessSummary::default() };
        let processes: Vec<ProcessJson> = views.into_iter().map(ProcessJson::from).collect();
        for process in &processes {
            let takes_agents = process.status.takes_agents() && !process.outdated;
            summary.total_capacity += if takes_agents { process.max_agents } else { process.agent_count };
            summary.used_capacity += process.agent_count;
            summary.avg_utilization += process.utilization / processes.len() as f64;
        }
        summary.available_capacity = summary.total_capacity.saturating_sub(summary.used_capacity);
        Self { summary, processes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::alerts::tests::alert;
    use crate::json::system::tests::system;
    use serde_json::json;

    fn worker(status: WorkerState, agents: u32) -> WorkerView {
        WorkerView {
            process_id: ProcessId::generate(),
            pool_name: "developer_pool".parse().expect("a name"),
            pid: Some(7),
            host: None,
            status,
            outdated: false,
            agent_count: agents,
            max_agents: 10,
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
}
