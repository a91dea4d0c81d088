//! How much of a pool is to run: workers beyond those that agents need, workers that are not needed any more, and agents for tasks
//! that wait. All of it is judged over the same facts, which anybody may
//! take and show; whoever starts something says why.
//!
//! How many workers a pool is to have while it scales with what is measured is decided once a check by [`decide`], over a [`Picture`] of the
//! pool and its [`ScalingHistory`]:
//!
//! | file | what it does |
//! |---|---|
//! | `picture.rs`, `history.rs` | what is looked at: the pool now, and what was decided before |
//! | `step.rs`, `target.rs`, `proactive.rs`, `schedule.rs`, `predictive.rs` | one policy each: what its figures ask for |
//! | `forecast.rs` | the demand that a predictive policy expects, and how near such forecasts were |
//! | `vote.rs` | asks them all, and lets them cool down |
//! | `standing.rs`, `limits.rs` | what holds a pool whatever is voted; the bounds of one decision |
//! | `combine.rs`, `decision.rs` | the highest vote wins; what comes of it, in words |
//! | `scale_in.rs` | which workers leave where there are to be fewer |

mod combine;
mod decision;
mod forecast;
mod history;
mod limits;
mod order_backoff;
mod picture;
mod predictive;
mod proactive;
mod scale_in;
mod schedule;
mod standing;
mod step;
mod target;
mod vote;

use std::fmt;
use std::time::Duration;

use muster_domain::counted;

pub use combine::decide;
pub use decision::{Decision, Outcome};
pub use forecast::{DemandHistory, Forecast, NoForecast};
pub use history::{Move, Recommendation, ScalingHistory};
pub use limits::{FLAP_BUDGET, LEAST_HOST_MEMORY};
pub use order_backoff::{OrderBackoff, OrderWait};
pub use picture::{Picture, PictureHolds, PictureProgress, PictureWorkers, SlotUse};
pub use scale_in::{LeaveCandidate, ScaleIn, scale_in};
pub use vote::Vote;

/// Workers that may be starting when another one is started only to be there: more would hold up those that agents wait for, and one
/// turn makes no more than that of whatever minimum it was given.
const MOST_STARTING: u32 = 64;

/// Agents that are ordered at once for tasks, at the most.
pub const MOST_ORDERED: usize = 256;

/// A pool at one moment, as far as it says how much of it is to run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ScalingFacts {
    /// Its workers.
    pub workers: WorkerCounts,
    /// What its tasks need; none where the pool starts no agents for tasks.
    pub demand: Option<AgentDemand>,
}

/// The workers of a pool.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WorkerCounts {
    /// To be kept ready, also when they are empty.
    pub min: u32,
    /// At the most; 0 is no bound.
    pub max: u32,
    /// Those that the pool's tiers hold beside those that there are.
    pub tier_room: u32,
    /// Those that lack until each tier has its `min_workers`, however many there are of others.
    pub tier_lack: u32,
    /// How many there are to be, where somebody has said so: within `min` and `max`.
    pub target: Option<u32>,
    /// Those that may have a process, and are not interrupted.
    pub open: u32,
    /// Those that take agents, or will when they are ready.
    pub taking: u32,
    /// Those that are not ready yet.
    pub starting: u32,
    /// Those beside `open` that will be taken away at a moment that is known, e.g. spot capacity: they count to no bound.
    pub interrupted: u32,
    /// Of these, those in whose place another one is to be started.
    pub replacing: u32,
    /// Whether workers fail at their start, and the next one waits.
    pub backs_off: bool,
    /// Whether the supervisor stops.
    pub stopping: bool,
    /// Whether the pool is being removed.
    pub draining: bool,
    /// After which time an empty one ends.
    pub idle_timeout: Duration,
}

impl WorkerCounts {
    /// Whether one may be started now.
    pub const fn may_start(&self) -> bool {
        !self.stopping && !self.backs_off
    }

    /// How many are kept: the target, or the minimum.
    pub const fn kept(&self) -> u32 {
        match self.target {
            Some(target) => target,
            None => self.min,
        }
    }

    /// How many are to be there: the target in force, or before the first one those that take agents, and the minimum.
    pub fn desired(&self) -> u32 {
        self.target.unwrap_or_else(|| self.taking.max(self.min))
    }

    /// Whether more take agents than are to be.
    const fn is_above_target(&self) -> bool {
        match self.target {
            Some(target) => self.taking > target,
            None => false,
        }
    }
}

/// The agents of a pool that starts them for its tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AgentDemand {
    /// That the tasks which are ready, and may start, need. It is told as far as it decides: 0 where none is ordered anyway
    /// (`hold`), and at most [`MOST_ORDERED`] more than are on their way.
    pub wanted: usize,
    /// On their way: ordered, or not running yet.
    pub coming: usize,
    /// That count to the bound, those on their way included.
    pub counted: usize,
    /// At the most; 0 is no bound.
    pub max: u32,
    /// What the target of workers leaves; none where no target is in force.
    pub within: Option<TargetRoom>,
    /// First starts that failed, one after the other.
    pub failed_starts: u32,
    /// Why no agent is needed, whatever waits.
    pub hold: Option<OrderHold>,
    /// Why the next order waits, and for how long.
    pub backoff: Option<OrderWait>,
}

/// Slots within the target of a pool's workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TargetRoom {
    /// Workers that are to be there.
    pub workers: u32,
    /// Of their slots, those that no agent has or waits for.
    pub free_slots: usize,
}

impl AgentDemand {
    /// How many more are needed than are on their way.
    pub const fn lacking(&self) -> usize {
        self.wanted.saturating_sub(self.coming)
    }
}

/// Why tasks that are ready need no agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderHold {
    /// No task starts, whoever could do it.
    TasksHeld,
    /// An agent takes tasks now.
    AgentFree,
}

impl OrderHold {
    /// Of both reasons the first is told.
    pub const fn of(tasks_held: bool, agent_free: bool) -> Option<Self> {
        match (tasks_held, agent_free) {
            (true, _) => Some(Self::TasksHeld),
            (false, true) => Some(Self::AgentFree),
            (false, false) => None,
        }
    }
}

/// How many, and why. Where the count is none, the reason is what stands against more.
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

/// Why so many workers or agents start. Written out it is for people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScalingReason {
    /// Nothing more is wanted than is there or on its way.
    Enough,
    /// The supervisor stops.
    Stopping,
    /// The pool is being removed.
    Draining,
    /// So many workers are kept.
    MinWorkers(u32),
    /// So many workers are to be there.
    Target(u32),
    /// The capacity under so many workers will be taken away.
    Interrupted(u32),
    /// There are as many workers as there may be.
    MaxWorkers(u32),
    /// The pool's tiers hold no more workers now.
    TiersFull,
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
    /// The workers that are to be there have no slot left.
    TargetFull(u32),
    /// The latest agents failed at their start, so many in a row: one at a time is tried.
    FailedStarts(u32),
    /// Tasks that wait need no agent.
    Held(OrderHold),
    /// The next order waits.
    AgentBackoff(OrderWait),
}

impl fmt::Display for ScalingReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let are = |count: u64, what| format!("{} {}", counted(count, what), if count == 1 { "is" } else { "are" });
        match *self {
            Self::Enough => f.write_str("nothing more is wanted"),
            Self::Stopping => f.write_str("the supervisor stops"),
            Self::Draining => f.write_str("the pool is being removed"),
            Self::MinWorkers(min) => write!(f, "min_workers ({min}) are kept"),
            Self::Target(target) => write!(f, "{} to be there (target_workers)", are(target.into(), "worker")),
            Self::Interrupted(workers) => {
                write!(f, "{} interrupted: the capacity there will be taken away", are(workers.into(), "worker"))
            }
            Self::MaxWorkers(max) => write!(f, "max_workers ({max}) is reached"),
            Self::TiersFull => f.write_str("the pool's tiers hold no more workers now"),
            Self::Starting(starting) => write!(f, "{} starting already", are(starting.into(), "worker")),
            Self::WorkerBackoff => f.write_str("workers fail at their start, and the next one waits"),
            Self::Tasks { wanted, coming } => {
                let (wanted, coming) = (counted(wanted as u64, "agent"), are(coming as u64, "agent"));
                write!(f, "tasks that wait need {wanted}, and {coming} on the way")
            }
            Self::MaxAgents(max) => write!(f, "on_demand.max_agents ({max}) is reached"),
            Self::TargetFull(0) => f.write_str("no worker is to be there (target_workers is 0)"),
            Self::TargetFull(target) => {
                write!(f, "{} to be there (target_workers), and full", are(target.into(), "worker"))
            }
            Self::FailedStarts(failed) => {
                write!(
                    f,
                    "{} failed in a row at the start, and one at a time is tried",
                    counted(failed.into(), "agent")
                )
            }
            Self::Held(OrderHold::TasksHeld) => f.write_str("no task of the pool starts now"),
            Self::Held(OrderHold::AgentFree) => f.write_str("an agent takes tasks"),
            Self::AgentBackoff(OrderWait::Failing(wait)) => {
                write!(f, "agents fail at their start, and the next one is tried in {:.1} s", wait.as_secs_f64())
            }
            Self::AgentBackoff(OrderWait::Refused(wait)) => {
                write!(f, "the latest order was refused, and the next one is made in {:.1} s", wait.as_secs_f64())
            }
        }
    }
}

/// Workers to start now beside those that a plan starts for agents (`coming`), so that the pool's target, or its minimum, takes agents,
/// and those that will be taken away have another one in their place.
pub fn workers_to_add(workers: WorkerCounts, coming: u32) -> ScalingDecision {
    let WorkerCounts { min, max, open, taking, starting, backs_off, stopping, draining, .. } = workers;
    let below = workers.kept().saturating_sub(taking.saturating_add(coming));
    // Where it is said how many there are to be, those that are interrupted are no more among them.
    let replacing = if workers.target.is_some() { 0 } else { workers.replacing };
    let lacking = below.max(replacing).max(workers.tier_lack.saturating_sub(coming));
    let starting = starting.saturating_add(coming);
    let at_once = MOST_STARTING.saturating_sub(starting);
    // Those that are ending are processes too.
    let within = if max == 0 { u32::MAX } else { max.saturating_sub(open.saturating_add(coming)) };
    let room = within.min(workers.tier_room.saturating_sub(coming));
    let against = match () {
        () if lacking == 0 => Some(ScalingReason::Enough),
        () if stopping => Some(ScalingReason::Stopping),
        () if draining => Some(ScalingReason::Draining),
        () if backs_off => Some(ScalingReason::WorkerBackoff),
        () if within == 0 => Some(ScalingReason::MaxWorkers(max)),
        () if room == 0 => Some(ScalingReason::TiersFull),
        () if at_once == 0 => Some(ScalingReason::Starting(starting)),
        () => None,
    };
    let count = lacking.min(at_once).min(room) as usize;
    let reason = match workers.target {
        _ if replacing > 0 && replacing == lacking => ScalingReason::Interrupted(replacing),
        Some(target) => ScalingReason::Target(target),
        None => ScalingReason::MinWorkers(min),
    };
    against.map_or(ScalingDecision { count, reason }, ScalingDecision::none)
}

/// How many of the workers that take agents may end for want of work. Which of them do is judged one by one
/// ([`next_step`](crate::worker::next_step)).
pub const fn workers_to_spare(workers: WorkerCounts) -> u32 {
    if workers.draining { u32::MAX } else { workers.taking.saturating_sub(workers.kept()) }
}

/// After which time an empty worker ends.
pub const fn idle_timeout(workers: WorkerCounts) -> Duration {
    if workers.draining || workers.is_above_target() { Duration::ZERO } else { workers.idle_timeout }
}

/// Agents to order now for tasks that are ready.
pub fn agents_to_order(agents: AgentDemand) -> ScalingDecision {
    let AgentDemand { wanted, coming, counted, failed_starts, max, within, hold, backoff } = agents;
    let lacking = agents.lacking();
    let room = if max == 0 { usize::MAX } else { (max as usize).saturating_sub(counted) };
    let within_target = within.map_or(usize::MAX, |within| within.free_slots);
    // Where the latest did not start, one is tried: many would fail in the same way, and each stays in the lists.
    let at_a_time = if failed_starts > 0 { 1_usize.saturating_sub(coming) } else { MOST_ORDERED };
    let against = match (hold, backoff) {
        (Some(hold), _) => Some(ScalingReason::Held(hold)),
        _ if lacking == 0 => Some(ScalingReason::Enough),
        _ if room == 0 => Some(ScalingReason::MaxAgents(max)),
        (None, _) if within_target == 0 => within.map(|within| ScalingReason::TargetFull(within.workers)),
        (None, Some(wait)) => Some(ScalingReason::AgentBackoff(wait)),
        _ if at_a_time == 0 => Some(ScalingReason::FailedStarts(failed_starts)),
        (None, None) => None,
    };
    let count = lacking.min(room).min(within_target).min(at_a_time);
    against.map_or(ScalingDecision { count, reason: ScalingReason::Tasks { wanted, coming } }, ScalingDecision::none)
}

#[cfg(test)]
mod tests;
