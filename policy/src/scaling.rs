//! How much of a pool is to run: workers beyond those that agents need, workers that are not needed any more, and agents for tasks
//! that wait. All of it is judged over one picture of counts, which anybody may take and show.

use std::time::Duration;

use muster_domain::counted;

/// Workers that may be starting when another one is started only to be there: more would hold up those that agents wait for, and one
/// turn makes no more than that of whatever minimum it was given.
const MOST_STARTING: u32 = 64;

/// Agents that are ordered at once for tasks, at the most.
pub const MOST_ORDERED: usize = 256;

/// The workers of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerCounts {
    /// To be kept ready, also when they are empty.
    pub min: u32,
    /// At the most; 0 is no bound.
    pub max: u32,
    /// Those that may have a process.
    pub open: u32,
    /// Those that take agents, or will when they are ready.
    pub taking: u32,
    /// Those that are not ready yet.
    pub starting: u32,
    /// Whether one may be started now: not while starts fail and the backoff runs.
    pub may_start: bool,
    /// Whether the pool goes.
    pub draining: bool,
    /// After which time an empty one ends.
    pub idle_timeout: Duration,
}

/// The agents of a pool that starts them for its tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentDemand {
    /// That the tasks which are ready, and may start, need.
    pub wanted: usize,
    /// On their way: ordered, or not running yet.
    pub coming: usize,
    /// That count to the bound, those on their way included.
    pub counted: usize,
    /// At the most; 0 is no bound.
    pub max: u32,
    /// First starts that failed, one after the other.
    pub failed_starts: u32,
}

impl AgentDemand {
    /// How many more may be ordered, however many tasks wait.
    pub const fn room(&self) -> usize {
        if self.max == 0 { usize::MAX } else { (self.max as usize).saturating_sub(self.counted) }
    }
}

/// How many, and why; no reason where there are none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScalingDecision {
    /// How many.
    pub count: usize,
    /// In words.
    pub reason: String,
}

/// Workers to start now beside those that a plan starts for agents (`coming`), so that the pool's minimum takes agents.
pub fn workers_to_add(workers: WorkerCounts, coming: u32) -> ScalingDecision {
    let WorkerCounts { min, max, open, taking, starting, may_start, draining, .. } = workers;
    let room = match max {
        0 => u32::MAX,
        // Those that are ending are processes too.
        max => max.saturating_sub(open.saturating_add(coming)),
    };
    let at_once =
        if may_start && !draining { MOST_STARTING.saturating_sub(starting.saturating_add(coming)) } else { 0 };
    let count = min.saturating_sub(taking.saturating_add(coming)).min(at_once).min(room);
    let reason = match count {
        0 => String::new(),
        some => format!("{} more so that min_workers ({min}) are there", counted(some.into(), "worker")),
    };
    ScalingDecision { count: count as usize, reason }
}

/// How many of the workers that take agents may end for want of work.
pub const fn workers_to_spare(workers: WorkerCounts) -> u32 {
    if workers.draining { u32::MAX } else { workers.taking.saturating_sub(workers.min) }
}

/// After which time an empty worker ends.
pub const fn idle_timeout(workers: WorkerCounts) -> Duration {
    if workers.draining { Duration::ZERO } else { workers.idle_timeout }
}

/// Agents to order now for tasks that are ready.
pub fn agents_to_order(agents: AgentDemand) -> ScalingDecision {
    let AgentDemand { wanted, coming, failed_starts, .. } = agents;
    // Where the latest did not start, one is tried: many would fail in the same way, and each stays in the lists.
    let at_a_time = if failed_starts > 0 { 1_usize.saturating_sub(coming) } else { MOST_ORDERED };
    let count = wanted.saturating_sub(coming).min(agents.room()).min(at_a_time);
    let reason = match count {
        0 => String::new(),
        some => {
            let (some, coming) = (counted(some as u64, "agent"), counted(coming as u64, "agent"));
            format!("{some} more for tasks that wait, which need {wanted}; {coming} on the way")
        }
    };
    ScalingDecision { count, reason }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKERS: WorkerCounts = WorkerCounts {
        min: 3,
        max: 0,
        open: 1,
        taking: 1,
        starting: 0,
        may_start: true,
        draining: false,
        idle_timeout: Duration::from_secs(300),
    };
    const AGENTS: AgentDemand = AgentDemand { wanted: 10, coming: 0, counted: 0, max: 0, failed_starts: 0 };

    #[test]
    fn a_minimum_of_workers_is_kept() {
        let rows: [(WorkerCounts, u32, usize); 9] = [
            (WORKERS, 0, 2),
            (WORKERS, 1, 1),
            (WorkerCounts { taking: 5, ..WORKERS }, 0, 0),
            (WorkerCounts { may_start: false, ..WORKERS }, 0, 0),
            (WorkerCounts { draining: true, ..WORKERS }, 0, 0),
            (WorkerCounts { max: 2, ..WORKERS }, 0, 1),
            // Two of them end.
            (WorkerCounts { max: 3, open: 3, ..WORKERS }, 0, 0),
            // The rest when these are ready.
            (WorkerCounts { min: u32::MAX, starting: 10, ..WORKERS }, 4, MOST_STARTING as usize - 14),
            (WorkerCounts { min: u32::MAX, taking: 900, starting: MOST_STARTING + 1, ..WORKERS }, 0, 0),
        ];
        for (workers, coming, count) in rows {
            let judged = workers_to_add(workers, coming);
            assert_eq!(judged.count, count, "{workers:?} {coming}");
            assert_eq!(judged.reason.is_empty(), count == 0, "{judged:?}");
        }
        assert_eq!(workers_to_add(WORKERS, 0).reason, "2 workers more so that min_workers (3) are there");
    }

    #[test]
    fn so_many_may_end_that_the_minimum_stays() {
        assert_eq!(workers_to_spare(WORKERS), 0);
        assert_eq!(workers_to_spare(WorkerCounts { taking: 5, ..WORKERS }), 2);
        let draining = WorkerCounts { draining: true, ..WORKERS };
        assert_eq!((workers_to_spare(draining), idle_timeout(draining)), (u32::MAX, Duration::ZERO));
        assert_eq!(idle_timeout(WORKERS), Duration::from_secs(300));
    }

    #[test]
    fn agents_are_ordered_as_tasks_need_them_and_bounds_allow() {
        let rows: [(AgentDemand, usize); 7] = [
            (AGENTS, 10),
            (AgentDemand { coming: 4, counted: 4, ..AGENTS }, 6),
            (AgentDemand { coming: 12, counted: 12, ..AGENTS }, 0),
            (AgentDemand { counted: 5, max: 8, ..AGENTS }, 3),
            (AgentDemand { wanted: 1_000, ..AGENTS }, MOST_ORDERED),
            (AgentDemand { failed_starts: 2, ..AGENTS }, 1),
            (AgentDemand { failed_starts: 2, coming: 1, counted: 1, ..AGENTS }, 0),
        ];
        for (agents, count) in rows {
            let judged = agents_to_order(agents);
            assert_eq!(judged.count, count, "{agents:?}");
            assert_eq!(judged.reason.is_empty(), count == 0, "{judged:?}");
        }
    }
}
