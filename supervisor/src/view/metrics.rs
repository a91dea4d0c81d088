//! Metrics as they are shown.

use muster_domain::{DurationHistogram, PoolMetrics, PoolName, Timestamp, Words};
use serde::Serialize;
use utoipa::ToSchema;

use crate::sampling::recent::UsedAt;
use crate::sampling::series::{CurvePoint, Interval, MetricKind, TimeRange};

/// A pool over the time of one measurement. A figure that could not be measured is null.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = PoolMetricsJson)]
pub struct PoolMetricsView {
    /// The end of the time.
    #[schema(value_type = String, format = DateTime)]
    pub timestamp: Timestamp,
    /// How long it is.
    pub covers_seconds: f64,
    /// Workers and slots.
    #[serde(flatten)]
    pub capacity: CapacityView,
    /// Agents.
    #[serde(flatten)]
    pub agents: AgentMetricsView,
    /// The queue.
    #[serde(flatten)]
    pub queue: QueueMetricsView,
    /// What was done.
    #[serde(flatten)]
    pub work: WorkView,
    /// What was used.
    #[serde(flatten)]
    pub resources: ResourcesView,
}

/// Workers and slots.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = CapacityJson)]
pub struct CapacityView {
    /// Workers that may have a process.
    pub workers: f64,
    /// Slots.
    pub total_capacity: f64,
    /// Taken slots.
    pub used_capacity: f64,
    /// Taken slots as a share of all, 0 to 1; 0 without slots.
    pub utilization: f64,
    /// 100 x busy slots / slots; 0 without slots.
    pub load_percentage: f64,
    /// Share of wanted workers that are ready and heard x share of agents that are not in quarantine, 0 to 1; 1 of an empty pool.
    pub health_score: Option<f64>,
}

/// Agents by what they do.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = AgentMetricsJson)]
pub struct AgentMetricsView {
    /// Agents that run.
    pub active_agents: f64,
    /// Of these, those without work.
    pub idle_agents: f64,
    /// Of these, those with work.
    pub busy_agents: f64,
    /// Of these, those that wait for a person.
    pub waiting_agents: f64,
    /// Agents in quarantine.
    pub failed_agents: f64,
}

/// The queue over a time.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = QueueMetricsJson)]
pub struct QueueMetricsView {
    /// Tasks that wait and may start.
    pub queue_depth: f64,
    /// Tasks that run.
    pub running_tasks: f64,
    /// How long the oldest task that might start has been waiting.
    pub oldest_wait_seconds: f64,
}

/// What was done within a time.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = WorkJson)]
pub struct WorkView {
    /// How long tasks waited for their first agent: half of them less; within 7%.
    pub wait_p50_seconds: Option<f64>,
    /// The same: 99 of 100 less.
    pub wait_p99_seconds: Option<f64>,
    /// How long attempts took: half of them less; within 7%.
    pub run_p50_seconds: Option<f64>,
    /// The same: 99 of 100 less.
    pub run_p99_seconds: Option<f64>,
    /// Tasks that are over after an attempt, a minute.
    pub tasks_per_minute: Option<f64>,
    /// From the making of these tasks to their end, the mean.
    pub mean_response_seconds: Option<f64>,
    /// Attempts that ended.
    pub executions: u64,
    /// Attempts that failed, as a share of those that succeeded or failed, 0 to 1.
    pub error_rate: Option<f64>,
    /// Tokens that these attempts have read.
    pub input_tokens: u64,
    /// Tokens that they have written.
    pub output_tokens: u64,
    /// What they cost, in US dollars.
    pub cost_usd: f64,
}

/// What was used of the machine.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ResourcesJson)]
pub struct ResourcesView {
    /// Processor time of the workers with all that they have started, in percent of one core.
    pub cpu_percent: Option<f64>,
    /// The same in percent of what the host or its control group grants.
    pub cpu_usage: Option<f64>,
    /// Memory of the same processes in bytes: a page that several share counts for each by its share (PSS).
    pub memory_bytes: Option<f64>,
    /// The same in percent of what the host or its control group grants.
    pub memory_usage: Option<f64>,
    /// How hard the host is pressed; null where the kernel does not tell.
    pub pressure: Option<PressureView>,
}

/// The share of the last ten seconds in which something on the host waited, in percent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = PressureJson)]
pub struct PressureView {
    /// For a processor.
    pub cpu: f64,
    /// For memory.
    pub memory: f64,
    /// For a disk.
    pub io: f64,
}

impl From<&PoolMetrics> for PoolMetricsView {
    fn from(row: &PoolMetrics) -> Self {
        let mean = |sum| row.mean(sum).unwrap_or_default();
        Self {
            timestamp: row.at,
            covers_seconds: row.covers.as_secs_f64(),
            capacity: CapacityView {
                workers: mean(row.slots.workers),
                total_capacity: mean(row.slots.slots),
                used_capacity: mean(row.slots.taken),
                utilization: row.utilization(),
                load_percentage: row.load_percentage(),
                health_score: row.health_score(),
            },
            agents: AgentMetricsView {
                active_agents: mean(row.agents.active),
                idle_agents: mean(row.agents.idle),
                busy_agents: mean(row.agents.busy),
                waiting_agents: mean(row.agents.waiting),
                failed_agents: mean(row.agents.failed),
            },
            queue: QueueMetricsView {
                queue_depth: mean(row.queue.depth),
                running_tasks: mean(row.queue.running),
                oldest_wait_seconds: row.queue.oldest_wait.as_secs_f64(),
            },
            work: row.into(),
            resources: row.into(),
        }
    }
}

impl From<&PoolMetrics> for WorkView {
    fn from(row: &PoolMetrics) -> Self {
        let work = &row.work;
        let quantile = |times: &DurationHistogram, share| times.quantile(share).map(|time| time.as_secs_f64());
        Self {
            wait_p50_seconds: quantile(&work.waits, 0.5),
            wait_p99_seconds: quantile(&work.waits, 0.99),
            run_p50_seconds: quantile(&work.runs, 0.5),
            run_p99_seconds: quantile(&work.runs, 0.99),
            tasks_per_minute: row.tasks_per_minute(),
            mean_response_seconds: row.mean_response().map(|mean| mean.as_secs_f64()),
            executions: work.attempts.total,
            error_rate: row.error_rate(),
            input_tokens: work.usage.input_tokens,
            output_tokens: work.usage.output_tokens,
            cost_usd: work.usage.cost_micros as f64 / 1e6,
        }
    }
}

impl From<&PoolMetrics> for ResourcesView {
    fn from(row: &PoolMetrics) -> Self {
        let (resources, pressure) = (&row.resources, &row.resources.pressure);
        let percent = |sum| pressure.percent(sum).unwrap_or_default();
        Self {
            cpu_percent: resources.mean(resources.cpu).map(|millionths| millionths / 1e4),
            cpu_usage: row.cpu_usage(),
            memory_bytes: resources.mean(resources.memory),
            memory_usage: row.memory_usage(),
            pressure: (pressure.looks > 0).then(|| PressureView {
                cpu: percent(pressure.cpu),
                memory: percent(pressure.memory),
                io: percent(pressure.io),
            }),
        }
    }
}

/// A figure over time.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = MetricSeriesJson)]
pub struct SeriesView {
    /// What it shows.
    #[schema(value_type = String, extensions(("x-enum" = json!(MetricKind::words()))))]
    pub metric_type: MetricKind,
    /// How far back it goes.
    #[schema(value_type = String, extensions(("x-enum" = json!(TimeRange::words()))))]
    pub time_range: TimeRange,
    /// The time of one point.
    #[schema(value_type = String, extensions(("x-enum" = json!(Interval::words()))))]
    pub interval: Interval,
    /// The pool; null of all together.
    #[schema(value_type = Option<String>)]
    pub pool_name: Option<PoolName>,
    /// The points, the oldest first; the last one lasts still.
    pub points: Vec<SeriesPoint>,
}

/// A point of a figure over time.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = MetricPointJson)]
pub struct SeriesPoint {
    /// The beginning of its time.
    #[schema(value_type = String, format = DateTime)]
    pub timestamp: Timestamp,
    /// The value; null where nothing was measured.
    pub value: Option<f64>,
    /// Of `wait`, what 99 of 100 stay below; `value` is the median then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p99: Option<f64>,
}

impl From<CurvePoint> for SeriesPoint {
    fn from(CurvePoint { at, value, p99 }: CurvePoint) -> Self {
        Self { timestamp: at, value, p99 }
    }
}

/// What a worker or an agent used, with all that it has started.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = ResourceUseJson)]
pub struct ResourceUseView {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub timestamp: Timestamp,
    /// Processor time since the measurement before, in percent of one core.
    pub cpu_percent: f64,
    /// Memory in bytes: a page that several processes share counts for each by its share (PSS).
    pub memory_bytes: u64,
}

impl From<UsedAt> for ResourceUseView {
    fn from(UsedAt { at, cpu_percent, memory_bytes }: UsedAt) -> Self {
        Self { timestamp: at, cpu_percent, memory_bytes }
    }
}
