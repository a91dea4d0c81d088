//! How much of a pool is to run: workers beyond those that agents need, workers that are not needed any more, and agents for tasks
//! that wait. All of it is judged over one picture of counts, which anybody may take and show; each judgement says why.

mod order_backoff;

use std::fmt;
use std::time::Duration;

use muster_domain::counted;

pub use order_backoff::OrderBackoff;

/// Workers that may be starting when another one is started only to be there: more would hold up those that agents wait for, and one
/// turn makes no more than that of whatever minimum it was given.
const MOST_STARTING: u32 = 64;

/// Agents that are ordered at once for tasks, at the most.
pub const MOST_ORDERED: usize = 256;

/// A pool at one moment, as far as it says how much of it is to run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolPicture {
    /// Its workers.
    pub workers: WorkerCounts,
    /// What its tasks need; none where the pool starts no agents for tasks.
    pub demand: Option<AgentDemand>,
}

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
    /// Why none is ordered whatever the tasks need.
    pub hold: Option<OrderHold>,
}

/// Why no agent is ordered for tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderHold {
    /// No task starts, whoever could do it.
    TasksHeld,
    /// An agent takes tasks now.
    AgentFree,
    /// The latest order was refused, or what it started failed: the next one waits so long.
    Backoff(Duration),
}

impl AgentDemand {
    /// How many more may be ordered, however many tasks wait.
    pub const fn room(&self) -> usize {
        if self.max == 0 { usize::MAX } else { (self.max as usize).saturating_sub(self.counted) }
    }
}

/// How many, and why so many or so few.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScalingDecision {
    /// How many.
    pub count: usize,
    /// Of several reasons the one that decides.
    pub reason: ScalingReason,
}

impl ScalingDecision {
    const fn none(reason: ScalingReason) -> Self {
        Self { count: 0, reason }
    }
}

/// Why so many workers or agents start or end. Written out it is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScalingReason {
    /// Nothing more is wanted than is there or on its way.
    Enough,
    /// The pool goes.
    Draining,
    /// So many workers are kept.
    MinWorkers(u32),
    /// There are as many workers as there may be.
    MaxWorkers(u32),
    /// So many workers are starting.
    Starting(u32),
    /// Workers fail at their start, and the next one waits.
    WorkerBackoff,
    /// Tasks wait.
    Tasks {
        /// That they need.
        wanted: usize,
        /// On their way.
        coming: usize,
    },
    /// There are as many agents as there may be for tasks.
    MaxAgents(u32),
    /// Agents fail at their start: one at a time is tried.
    FailedStarts(u32),
    /// None is ordered now.
    Held(OrderHold),
}

impl fmt::Display for ScalingReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Enough => f.write_str("nothing more is wanted"),
            Self::Draining => f.write_str("the pool is being removed"),
            Self::MinWorkers(min) => write!(f, "min_workers ({min}) are kept"),
            Self::MaxWorkers(max) => write!(f, "max_workers ({max}) is reached"),
            Self::Starting(starting) => write!(f, "{} starting already", are(starting.into(), "worker")),
            Self::WorkerBackoff => f.write_str("workers fail at their start, and the next one waits"),
            Self::Tasks { wanted, coming } => {
                write!(
                    f,
                    "tasks that wait need {}, and {} on the way",
                    counted(wanted as u64, "agent"),
                    are(coming as u64, "agent")
                )
            }
            Self::MaxAgents(max) => write!(f, "on_demand.max_agents ({max}) is reached"),
            Self::FailedStarts(failed) => {
                write!(f, "{failed} agents in a row failed at their start: one at a time is tried")
            }
            Self::Held(OrderHold::TasksHeld) => f.write_str("no task of the pool starts now"),
            Self::Held(OrderHold::AgentFree) => f.write_str("an agent takes tasks"),
            Self::Held(OrderHold::Backoff(wait)) => write!(f, "the next agent is ordered in {wait:?}"),
        }
    }
}

/// `1 worker is`, `2 workers are`.
fn are(count: u64, what: &str) -> String {
    format!("{} {}", counted(count, what), if count == 1 { "is" } else { "are" })
}

/// Workers to start now beside those that a plan starts for agents (`coming`), so that the pool's minimum takes agents.
pub fn workers_to_add(workers: WorkerCounts, coming: u32) -> ScalingDecision {
    let WorkerCounts { min, max, open, taking, starting, may_start, draining, .. } = workers;
    let lacking = min.saturating_sub(taking.saturating_add(coming));
    let starting = starting.saturating_add(coming);
    let at_once = MOST_STARTING.saturating_sub(starting);
    // Those that are ending are processes too.
    let room = if max == 0 { u32::MAX } else { max.saturating_sub(open.saturating_add(coming)) };
    let held = match () {
        () if lacking == 0 => Some(ScalingReason::Enough),
        () if draining => Some(ScalingReason::Draining),
        () if !may_start => Some(ScalingReason::WorkerBackoff),
        () if room == 0 => Some(ScalingReason::MaxWorkers(max)),
        () if at_once == 0 => Some(ScalingReason::Starting(starting)),
        () => None,
    };
    let count = lacking.min(at_once).min(room) as usize;
    held.map_or(ScalingDecision { count, reason: ScalingReason::MinWorkers(min) }, ScalingDecision::none)
}

/// How many of the workers that take agents may end for want of work.
pub const fn workers_to_spare(workers: WorkerCounts) -> ScalingDecision {
    match workers {
        WorkerCounts { draining: true, .. } => ScalingDecision { count: usize::MAX, reason: ScalingReason::Draining },
        WorkerCounts { taking, min, .. } if taking <= min => ScalingDecision::none(ScalingReason::MinWorkers(min)),
        WorkerCounts { taking, min, .. } => {
            ScalingDecision { count: (taking - min) as usize, reason: ScalingReason::Enough }
        }
    }
}

/// After which time an empty worker ends.
pub const fn idle_timeout(workers: WorkerCounts) -> Duration {
    if workers.draining { Duration::ZERO } else { workers.idle_timeout }
}

/// Agents to order now for tasks that are ready.
pub fn agents_to_order(agents: AgentDemand) -> ScalingDecision {
    let AgentDemand { wanted, coming, failed_starts, max, hold, .. } = agents;
    let (lacking, room) = (wanted.saturating_sub(coming), agents.room());
    // Where the latest did not start, one is tried: many would fail in the same way, and each stays in the lists.
    let at_a_time = if failed_starts > 0 { 1_usize.saturating_sub(coming) } else { MOST_ORDERED };
    let held = match hold {
        Some(hold) => Some(ScalingReason::Held(hold)),
        None if lacking == 0 => Some(ScalingReason::Enough),
        None if room == 0 => Some(ScalingReason::MaxAgents(max)),
        None if at_a_time == 0 => Some(ScalingReason::FailedStarts(failed_starts)),
        None => None,
    };
    let count = lacking.min(room).min(at_a_time);
    held.map_or(ScalingDecision { count, reason: ScalingReason::Tasks { wanted, coming } }, ScalingDecision::none)
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
    const AGENTS: AgentDemand = AgentDemand { wanted: 10, coming: 0, counted: 0, max: 0, failed_starts: 0, hold: None };

    #[test]
    fn a_minimum_of_workers_is_kept() {
        use ScalingReason::{Draining, Enough, MaxWorkers, MinWorkers, Starting, WorkerBackoff};
        let rows: [(WorkerCounts, u32, usize, ScalingReason); 9] = [
            (WORKERS, 0, 2, MinWorkers(3)),
            (WORKERS, 1, 1, MinWorkers(3)),
            (WorkerCounts { taking: 5, ..WORKERS }, 0, 0, Enough),
            (WorkerCounts { may_start: false, ..WORKERS }, 0, 0, WorkerBackoff),
            (WorkerCounts { draining: true, ..WORKERS }, 0, 0, Draining),
            (WorkerCounts { max: 2, ..WORKERS }, 0, 1, MinWorkers(3)),
            // Two of them end.
            (WorkerCounts { max: 3, open: 3, ..WORKERS }, 0, 0, MaxWorkers(3)),
            // The rest when these are ready.
            (
                WorkerCounts { min: u32::MAX, starting: 10, ..WORKERS },
                4,
                MOST_STARTING as usize - 14,
                MinWorkers(u32::MAX),
            ),
            (
                WorkerCounts { min: u32::MAX, taking: 900, starting: MOST_STARTING + 1, ..WORKERS },
                0,
                0,
                Starting(MOST_STARTING + 1),
            ),
        ];
        for (workers, coming, count, reason) in rows {
            assert_eq!(workers_to_add(workers, coming), ScalingDecision { count, reason }, "{workers:?} {coming}");
        }
    }

    #[test]
    fn so_many_may_end_that_the_minimum_stays() {
        let spare = |count, reason| ScalingDecision { count, reason };
        assert_eq!(workers_to_spare(WORKERS), spare(0, ScalingReason::MinWorkers(3)));
        assert_eq!(workers_to_spare(WorkerCounts { taking: 5, ..WORKERS }), spare(2, ScalingReason::Enough));
        let draining = WorkerCounts { draining: true, ..WORKERS };
        assert_eq!(workers_to_spare(draining), spare(usize::MAX, ScalingReason::Draining));
        assert_eq!((idle_timeout(draining), idle_timeout(WORKERS)), (Duration::ZERO, Duration::from_secs(300)));
    }

    #[test]
    fn agents_are_ordered_as_tasks_need_them_and_bounds_allow() {
        use ScalingReason::{Enough, FailedStarts, Held, MaxAgents, Tasks};
        let tasks = |coming| Tasks { wanted: 10, coming };
        let hold = |hold| AgentDemand { hold: Some(hold), ..AGENTS };
        let wait = OrderHold::Backoff(Duration::from_secs(1));
        let rows: [(AgentDemand, usize, ScalingReason); 11] = [
            (AGENTS, 10, tasks(0)),
            (AgentDemand { coming: 4, counted: 4, ..AGENTS }, 6, tasks(4)),
            (AgentDemand { coming: 12, counted: 12, ..AGENTS }, 0, Enough),
            (AgentDemand { counted: 5, max: 8, ..AGENTS }, 3, tasks(0)),
            (AgentDemand { counted: 8, max: 8, ..AGENTS }, 0, MaxAgents(8)),
            (AgentDemand { wanted: 1_000, ..AGENTS }, MOST_ORDERED, Tasks { wanted: 1_000, coming: 0 }),
            (AgentDemand { failed_starts: 2, ..AGENTS }, 1, tasks(0)),
            (AgentDemand { failed_starts: 2, coming: 1, counted: 1, ..AGENTS }, 0, FailedStarts(2)),
            (hold(OrderHold::TasksHeld), 0, Held(OrderHold::TasksHeld)),
            (hold(OrderHold::AgentFree), 0, Held(OrderHold::AgentFree)),
            (hold(wait), 0, Held(wait)),
        ];
        for (agents, count, reason) in rows {
            assert_eq!(agents_to_order(agents), ScalingDecision { count, reason }, "{agents:?}");
        }
    }

    #[test]
    fn a_reason_is_told_in_words() {
        assert_eq!(workers_to_add(WORKERS, 0).reason.to_string(), "min_workers (3) are kept");
        let demand = AgentDemand { coming: 1, ..AGENTS };
        assert_eq!(
            agents_to_order(demand).reason.to_string(),
            "tasks that wait need 10 agents, and 1 agent is on the way"
        );
    }
}
