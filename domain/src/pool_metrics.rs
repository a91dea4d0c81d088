//! What a pool was and did over a time, in figures that add up: what was seen at single moments is summed and counted, so that a
//! longer time is the sum of shorter ones ([`PoolMetrics::merge`]), and a mean is read of the sum.
//!
//! Each figure that is shown has one formula, and it is here.

use std::time::Duration;

use crate::attempt::Usage;
use crate::histogram::DurationHistogram;
use crate::{Executions, PoolName, Timestamp};

/// A pool, or all pools together, over a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolMetrics {
    /// The pool; none of all pools together.
    pub pool_name: Option<PoolName>,
    /// The end of the time.
    pub at: Timestamp,
    /// How much of that time was measured.
    pub covers: Duration,
    /// What was seen at single moments: sums over that many.
    pub looks: u32,
    /// Its workers and their slots.
    pub slots: SlotFigures,
    /// Its agents.
    pub agents: AgentFigures,
    /// Its queue.
    pub queue: QueueFigures,
    /// What was done.
    pub work: WorkFigures,
    /// What it used of the machine.
    pub resources: ResourceFigures,
}

/// Workers and slots: sums over the looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotFigures {
    /// Workers that may have a process.
    pub workers: u64,
    /// Slots of the workers that take agents, and taken slots of those that do not any more.
    pub slots: u64,
    /// Taken slots.
    pub taken: u64,
    /// Slots of agents that have work, those that wait for a person among them.
    pub busy: u64,
    /// [`health_score`], in millionths.
    pub health: u64,
}

/// Agents by what they do: sums over the looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AgentFigures {
    /// Those that run: idle, busy or waiting.
    pub active: u64,
    /// Those that run and have no work.
    pub idle: u64,
    /// Those that have work.
    pub busy: u64,
    /// Those that have work and wait for a person.
    pub waiting: u64,
    /// Those in quarantine: they crashed too often, and need a person.
    pub failed: u64,
}

/// The queue.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct QueueFigures {
    /// Tasks that wait and may start: a sum over the looks.
    pub depth: u64,
    /// Tasks that run: a sum over the looks.
    pub running: u64,
    /// The longest wait that was seen of a task that had no agent yet.
    pub oldest_wait: Duration,
}

/// What was done within the time.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WorkFigures {
    /// Attempts that ended.
    pub attempts: Executions,
    /// Tasks that are over, however they ended.
    pub tasks: u64,
    /// From the making of these tasks to their end, together.
    pub response: Duration,
    /// How long tasks waited for their first attempt.
    pub waits: DurationHistogram,
    /// How long attempts took.
    pub runs: DurationHistogram,
    /// What attempts that ended have used.
    pub usage: Usage,
}

/// What the processes of a pool used, and what there was for them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ResourceFigures {
    /// Looks at which this was measured: the sums below are over these.
    pub looks: u64,
    /// Processor time a second, in millionths of a core.
    pub cpu: u64,
    /// Memory in bytes (PSS), each shared page counted by its share.
    pub memory: u64,
    /// What the host or its control group grants, in millionths of a core.
    pub cpu_granted: u64,
    /// The same of memory, in bytes.
    pub memory_granted: u64,
    /// Pressure on the host, where the kernel tells.
    pub pressure: PressureFigures,
}

/// The share of time in which something on the host waited for processors, memory or disks (PSI, `some`, over ten seconds), in
/// hundredths of a percent: sums over the looks at which it was told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PressureFigures {
    /// Looks at which it was told.
    pub looks: u64,
    /// For processors.
    pub cpu: u64,
    /// For memory.
    pub memory: u64,
    /// For disks.
    pub io: u64,
}

/// How well a pool is: the share of the wanted workers that are ready and heard x the share of agents that are not in quarantine; 1
/// of a pool that wants no worker and has no agent.
///
/// `wanted` are the workers that are to be there: those that are not leaving, at least `min_workers`.
pub fn health_score(wanted: u32, well: u32, agents: u32, quarantined: u32) -> f64 {
    let share = |part: u32, whole: u32| if whole == 0 { 1.0 } else { f64::from(part.min(whole)) / f64::from(whole) };
    share(well, wanted) * share(agents.saturating_sub(quarantined), agents)
}

impl PoolMetrics {
    /// Of a time that ends at this moment and in which nothing was measured.
    pub fn new(pool_name: Option<PoolName>, at: Timestamp) -> Self {
        Self {
            pool_name,
            at,
            covers: Duration::ZERO,
            looks: 0,
            slots: SlotFigures::default(),
            agents: AgentFigures::default(),
            queue: QueueFigures::default(),
            work: WorkFigures::default(),
            resources: ResourceFigures::default(),
        }
    }

    /// Adds what was measured in another time; the end stays.
    pub fn merge(&mut self, other: &Self) {
        self.covers = self.covers.saturating_add(other.covers);
        self.looks = self.looks.saturating_add(other.looks);
        self.add_figures(other);
        self.resources.merge(other.resources);
    }

    /// Adds what was measured of another pool in the same time, with one look at each.
    pub fn join(&mut self, other: &Self) {
        self.covers = self.covers.max(other.covers);
        self.looks = self.looks.max(other.looks);
        self.add_figures(other);
        self.resources.join(other.resources);
    }

    fn add_figures(&mut self, other: &Self) {
        self.slots.merge(other.slots);
        self.agents.merge(other.agents);
        self.queue.merge(other.queue);
        self.work.merge(&other.work);
    }

    /// The mean of a sum over the looks; none where nobody looked.
    pub fn mean(&self, sum: u64) -> Option<f64> {
        (self.looks > 0).then(|| sum as f64 / f64::from(self.looks))
    }

    /// Taken slots as a share of all, 0 to 1; 0 without slots.
    pub fn utilization(&self) -> f64 {
        ratio(self.slots.taken, self.slots.slots).unwrap_or(0.0)
    }

    /// 100 x busy slots / slots; 0 without slots.
    pub fn load_percentage(&self) -> f64 {
        100.0 * ratio(self.slots.busy, self.slots.slots).unwrap_or(0.0)
    }

    /// See [`health_score`].
    pub fn health_score(&self) -> Option<f64> {
        self.mean(self.slots.health).map(|millionths| millionths / 1e6)
    }

    /// 100 x processor time of the pool's trees / what the host or its control group grants.
    pub fn cpu_usage(&self) -> Option<f64> {
        ratio(self.resources.cpu, self.resources.cpu_granted).map(|share| 100.0 * share)
    }

    /// 100 x PSS of the pool's trees / what the host or its control group grants.
    pub fn memory_usage(&self) -> Option<f64> {
        ratio(self.resources.memory, self.resources.memory_granted).map(|share| 100.0 * share)
    }

    /// Tasks that ended, a minute.
    pub fn tasks_per_minute(&self) -> Option<f64> {
        (!self.covers.is_zero()).then(|| self.work.tasks as f64 * 60.0 / self.covers.as_secs_f64())
    }

    /// From the making of a task to its end, the mean of those that ended.
    pub fn mean_response(&self) -> Option<Duration> {
        (self.work.tasks > 0).then(|| self.work.response.div_f64(self.work.tasks as f64))
    }

    /// Attempts that failed, as a share of those that succeeded or failed; none where there was none.
    pub fn error_rate(&self) -> Option<f64> {
        self.work.attempts.success_rate().map(|succeeded| 1.0 - succeeded)
    }
}

impl SlotFigures {
    fn merge(&mut self, other: Self) {
        add(&mut self.workers, other.workers);
        add(&mut self.slots, other.slots);
        add(&mut self.taken, other.taken);
        add(&mut self.busy, other.busy);
        add(&mut self.health, other.health);
    }
}

impl AgentFigures {
    fn merge(&mut self, other: Self) {
        add(&mut self.active, other.active);
        add(&mut self.idle, other.idle);
        add(&mut self.busy, other.busy);
        add(&mut self.waiting, other.waiting);
        add(&mut self.failed, other.failed);
    }
}

impl QueueFigures {
    fn merge(&mut self, other: Self) {
        add(&mut self.depth, other.depth);
        add(&mut self.running, other.running);
        self.oldest_wait = self.oldest_wait.max(other.oldest_wait);
    }
}

impl WorkFigures {
    /// What was done since these were read of the same counters.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Self {
        let Executions { total, succeeded, failed } = earlier.attempts;
        Self {
            attempts: Executions {
                total: self.attempts.total.saturating_sub(total),
                succeeded: self.attempts.succeeded.saturating_sub(succeeded),
                failed: self.attempts.failed.saturating_sub(failed),
            },
            tasks: self.tasks.saturating_sub(earlier.tasks),
            response: self.response.saturating_sub(earlier.response),
            waits: self.waits.since(&earlier.waits),
            runs: self.runs.since(&earlier.runs),
            usage: self.usage.minus(earlier.usage),
        }
    }

    /// Adds what was done besides.
    pub fn merge(&mut self, other: &Self) {
        let Executions { total, succeeded, failed } = other.attempts;
        add(&mut self.attempts.total, total);
        add(&mut self.attempts.succeeded, succeeded);
        add(&mut self.attempts.failed, failed);
        add(&mut self.tasks, other.tasks);
        self.response = self.response.saturating_add(other.response);
        self.waits.merge(&other.waits);
        self.runs.merge(&other.runs);
        self.usage = self.usage.plus(other.usage);
    }
}

impl ResourceFigures {
    fn merge(&mut self, other: Self) {
        add(&mut self.looks, other.looks);
        add(&mut self.cpu, other.cpu);
        add(&mut self.memory, other.memory);
        add(&mut self.cpu_granted, other.cpu_granted);
        add(&mut self.memory_granted, other.memory_granted);
        self.pressure.merge(other.pressure);
    }

    /// Of another pool on the same host, which is there once.
    fn join(&mut self, other: Self) {
        add(&mut self.cpu, other.cpu);
        add(&mut self.memory, other.memory);
        self.looks = self.looks.max(other.looks);
        self.cpu_granted = self.cpu_granted.max(other.cpu_granted);
        self.memory_granted = self.memory_granted.max(other.memory_granted);
        if other.pressure.looks > self.pressure.looks {
            self.pressure = other.pressure;
        }
    }

    /// The mean of a sum over the looks at which it was measured; none where that was never.
    pub fn mean(&self, sum: u64) -> Option<f64> {
        ratio(sum, self.looks)
    }
}

impl PressureFigures {
    fn merge(&mut self, other: Self) {
        add(&mut self.looks, other.looks);
        add(&mut self.cpu, other.cpu);
        add(&mut self.memory, other.memory);
        add(&mut self.io, other.io);
    }

    /// The mean of a sum, in percent; none where the kernel never told.
    pub fn percent(&self, sum: u64) -> Option<f64> {
        ratio(sum, self.looks).map(|hundredths| hundredths / 100.0)
    }
}

fn add(sum: &mut u64, more: u64) {
    *sum = sum.saturating_add(more);
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of one look at 4 of 10 slots taken, 3 of them busy.
    fn one(at: i64) -> PoolMetrics {
        let mut metrics = PoolMetrics::new("p".parse().ok(), Timestamp::from_millis(at));
        (metrics.looks, metrics.covers) = (1, Duration::from_secs(30));
        metrics.slots = SlotFigures { workers: 1, slots: 10, taken: 4, busy: 3, health: 500_000 };
        metrics.queue = QueueFigures { depth: 5, running: 3, oldest_wait: Duration::from_secs(9) };
        metrics.work.attempts = Executions { total: 4, succeeded: 3, failed: 1 };
        (metrics.work.tasks, metrics.work.response) = (4, Duration::from_secs(8));
        metrics.resources = ResourceFigures {
            looks: 1,
            cpu: 500_000,
            memory: 1 << 30,
            cpu_granted: 2_000_000,
            memory_granted: 4 << 30,
            pressure: PressureFigures { looks: 1, cpu: 150, memory: 0, io: 20 },
        };
        metrics
    }

    #[test]
    fn each_figure_has_one_formula() {
        let metrics = one(1);
        assert_eq!((metrics.utilization(), metrics.load_percentage()), (0.4, 30.0));
        assert_eq!((metrics.cpu_usage(), metrics.memory_usage()), (Some(25.0), Some(25.0)));
        assert_eq!(metrics.health_score(), Some(0.5));
        assert_eq!((metrics.tasks_per_minute(), metrics.error_rate()), (Some(8.0), Some(0.25)));
        assert_eq!(metrics.mean_response(), Some(Duration::from_secs(2)));
        let PressureFigures { cpu, io, .. } = metrics.resources.pressure;
        assert_eq!([cpu, io].map(|sum| metrics.resources.pressure.percent(sum)), [Some(1.5), Some(0.2)]);
    }

    #[test]
    fn what_was_not_measured_is_not_zero() {
        let nothing = PoolMetrics::new(None, Timestamp::from_millis(0));
        assert_eq!((nothing.cpu_usage(), nothing.memory_usage(), nothing.health_score()), (None, None, None));
        assert_eq!((nothing.tasks_per_minute(), nothing.mean_response(), nothing.error_rate()), (None, None, None));
        assert_eq!(nothing.mean(nothing.queue.depth), None);
        assert_eq!((nothing.utilization(), nothing.load_percentage()), (0.0, 0.0), "an empty pool has no load");
    }

    #[test]
    fn a_longer_time_is_the_sum_of_shorter_ones() {
        let mut sum = PoolMetrics::new("p".parse().ok(), Timestamp::from_millis(9));
        let mut idle = PoolMetrics { slots: SlotFigures { slots: 10, ..SlotFigures::default() }, ..one(2) };
        (idle.queue.depth, idle.resources.looks, idle.resources.cpu_granted) = (0, 0, 0);
        idle.resources.cpu = 0;
        [one(1), idle].iter().for_each(|part| sum.merge(part));
        assert_eq!((sum.at, sum.covers, sum.looks), (Timestamp::from_millis(9), Duration::from_secs(60), 2));
        assert_eq!((sum.mean(sum.queue.depth), sum.utilization()), (Some(2.5), 0.2));
        assert_eq!(sum.cpu_usage(), Some(25.0), "of the looks at which it was measured");
        assert_eq!((sum.tasks_per_minute(), sum.queue.oldest_wait), (Some(8.0), Duration::from_secs(9)));
    }

    #[test]
    fn what_was_done_since_is_the_rest() {
        let earlier = one(1).work;
        let mut now = earlier.clone();
        now.waits.add(Duration::from_secs(1));
        now.merge(&earlier);
        let since = now.since(&earlier);
        assert_eq!((since.attempts, since.tasks, since.response), (earlier.attempts, 4, Duration::from_secs(8)));
        assert_eq!(since.waits.count(), 1);
    }

    #[test]
    fn pools_share_their_host() {
        let mut all = PoolMetrics::new(None, Timestamp::from_millis(1));
        [one(1), one(1)].iter().for_each(|pool| all.join(pool));
        assert_eq!((all.looks, all.covers), (1, Duration::from_secs(30)));
        assert_eq!((all.mean(all.queue.depth), all.cpu_usage()), (Some(10.0), Some(50.0)));
        assert_eq!((all.tasks_per_minute(), all.resources.pressure.cpu), (Some(16.0), 150));
    }

    #[test]
    fn a_pool_is_as_well_as_its_workers_and_agents() {
        for (wanted, well, agents, quarantined, score) in [
            (0, 0, 0, 0, 1.0),
            (2, 1, 10, 0, 0.5),
            (2, 2, 10, 5, 0.5),
            (4, 2, 4, 1, 0.375),
            (1, 2, 3, 0, 1.0),
            (1, 0, 0, 0, 0.0),
        ] {
            assert_eq!(
                health_score(wanted, well, agents, quarantined),
                score,
                "{wanted} {well} {agents} {quarantined}"
            );
        }
    }
}
