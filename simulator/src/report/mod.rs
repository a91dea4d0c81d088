//! What came of a simulation, in figures: for programs as they are, for people as a [`text`] and as a [`page`].

mod chart;
mod figures;
pub mod page;
pub mod text;

use muster_domain::TierName;
use serde::Serialize;

use crate::load::{LoadFigures, TaskLoad};
use crate::setup::Setup;

/// One simulation.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SimulationReport {
    /// Who scaled.
    pub name: String,
    /// What there was to do.
    pub load: LoadReport,
    /// How long tasks waited.
    pub wait: WaitReport,
    /// What became of the tasks.
    pub tasks: TaskReport,
    /// How many workers there were.
    pub workers: WorkerReport,
    /// Spot workers that were taken away.
    pub interruptions: InterruptionReport,
    /// What each tier cost.
    pub tiers: Vec<TierCost>,
    /// What all of them cost, in US dollars.
    pub cost: f64,
    /// Workers and tasks over time, at the most 1,000 points.
    pub timeline: Vec<TimelinePoint>,
}

/// What there was to do.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LoadReport {
    /// How it is called.
    pub name: String,
    /// How long it was looked at, in seconds.
    pub seconds: f64,
    /// Tasks that came.
    pub tasks: u64,
    /// The mean time that a task runs, in seconds.
    pub mean_run_seconds: f64,
    /// Tasks that would have run together in the mean, if none had waited.
    pub mean_concurrency: f64,
}

/// How long tasks waited for their first start. One that never started has waited until the end.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct WaitReport {
    /// Half of them waited for no longer, in seconds.
    pub p50_seconds: f64,
    /// 95% of them.
    pub p95_seconds: f64,
    /// 99% of them.
    pub p99_seconds: f64,
    /// A task is late that waits for longer.
    pub late_after_seconds: f64,
    /// How many were.
    pub late: u64,
}

/// What became of the tasks.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TaskReport {
    /// They are done.
    pub finished: u64,
    /// They ran at the end.
    pub running: u64,
    /// They waited at the end.
    pub waiting: u64,
    /// They lost their worker too often.
    pub lost: u64,
    /// Runs that scaling in killed; they start again.
    pub killed_runs: u64,
    /// The most that ran together.
    pub peak_running: u32,
}

/// How many workers there were.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct WorkerReport {
    /// In the mean over the time.
    pub mean: f64,
    /// At the most.
    pub peak: u32,
    /// So many were started.
    pub started: u64,
    /// Busy slots as a share of all, 0 to 1, from the start of a worker to its end.
    pub used: f64,
}

/// Spot workers that were taken away.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct InterruptionReport {
    /// So many were.
    pub workers: u64,
    /// Of these cost no task: what ran was over in time, or started again elsewhere.
    pub survived: u64,
    /// Runs that started again elsewhere.
    pub requeued_runs: u64,
}

/// What a tier cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct TierCost {
    /// Which one.
    pub tier: TierName,
    /// Hours of its workers, from the start of each to its end.
    pub worker_hours: f64,
    /// What a worker costs an hour, in US dollars.
    pub price_per_hour: f64,
    /// What all of them cost, in US dollars.
    pub cost: f64,
}

/// A moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct TimelinePoint {
    /// Since the beginning, in seconds.
    pub seconds: u64,
    /// Workers that there are.
    pub workers: u32,
    /// Tasks that run.
    pub running: u32,
    /// Tasks that wait.
    pub waiting: u64,
}

/// What a world counted, as far as the setup and the load don't say it.
pub(crate) struct SimulationCounts {
    pub(crate) seconds: f64,
    pub(crate) wait: WaitReport,
    pub(crate) tasks: TaskReport,
    pub(crate) peak_workers: u32,
    pub(crate) started_workers: u64,
    pub(crate) busy_slot_hours: f64,
    pub(crate) interruptions: InterruptionReport,
    pub(crate) worker_hours: [(TierName, f64); 3],
    pub(crate) timeline: Vec<TimelinePoint>,
}

/// The report of a world.
pub(crate) fn made_of(
    setup: &Setup,
    load: &TaskLoad,
    figures: &LoadFigures,
    name: String,
    counts: SimulationCounts,
) -> SimulationReport {
    let cost = |(tier, hours): &(TierName, f64)| {
        let price_per_hour = setup.tiers.get(*tier)?.price_per_hour;
        Some(TierCost { tier: *tier, worker_hours: *hours, price_per_hour, cost: hours * price_per_hour })
    };
    let tiers: Vec<TierCost> = counts.worker_hours.iter().filter_map(cost).collect();
    let hours: f64 = tiers.iter().map(|tier| tier.worker_hours).sum();
    let (seconds, slot_hours) = (counts.seconds, hours * f64::from(setup.slots));
    SimulationReport {
        name,
        load: LoadReport {
            name: load.name.clone(),
            seconds,
            tasks: figures.tasks,
            mean_run_seconds: figures.mean_run(),
            mean_concurrency: share(figures.run_seconds(), seconds),
        },
        wait: counts.wait,
        tasks: counts.tasks,
        workers: WorkerReport {
            mean: share(hours * 3_600.0, seconds),
            peak: counts.peak_workers,
            started: counts.started_workers,
            used: share(counts.busy_slot_hours, slot_hours),
        },
        interruptions: counts.interruptions,
        cost: tiers.iter().map(|tier| tier.cost).sum(),
        tiers,
        timeline: counts.timeline,
    }
}

/// A part of a whole; nothing of nothing.
fn share(part: f64, whole: f64) -> f64 {
    if whole > 0.0 { part / whole } else { 0.0 }
}
