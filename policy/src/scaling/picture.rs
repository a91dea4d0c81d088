//! What a pool is at one moment, as far as its policies look at it.

use std::time::Duration;

use muster_domain::time::optional_seconds;
use serde::{Deserialize, Serialize};

/// A pool at one moment. A figure that could not be measured is none, never 0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Picture {
    /// How old the figures are; none where nothing could be measured.
    #[serde(with = "optional_seconds")]
    pub age: Option<Duration>,
    /// Its workers.
    pub workers: PictureWorkers,
    /// Tasks that a free slot would start now: not delayed, not for a named agent, and held by nothing.
    pub queue: Option<u32>,
    /// Tasks that run.
    pub running: Option<u32>,
    /// Agents that the pool may start for tasks (`on_demand.max_agents`): 0 is no bound, and none is no `on_demand`.
    pub on_demand_max_agents: Option<u32>,
    /// The slots of its workers.
    pub slots: Option<SlotUse>,
    /// What its processes use of the host's processors, in percent.
    pub cpu: Option<f64>,
    /// What they use of the host's memory, in percent.
    pub memory: Option<f64>,
    /// The share of the host's memory that is available, 0 to 1.
    pub host_memory: Option<f64>,
    /// What a worker costs an hour, in US dollars; none where that is nothing.
    pub price: Option<f64>,
    /// What holds the pool.
    pub holds: PictureHolds,
    /// What has become of the last decision.
    pub progress: PictureProgress,
}

/// The workers of a pool, as its policies count them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PictureWorkers {
    /// Those that are to be there: the target in force, or before the first one at least `min` and those that there are. Those that
    /// leave are not counted.
    pub current: u32,
    /// At the least (`min_workers`).
    pub min: u32,
    /// At the most (`max_workers`); 0 is no bound.
    pub max: u32,
    /// Those of them that are not ready yet.
    pub starting: u32,
    /// Slots of each (`max_agents` of the pool).
    pub max_agents: u32,
    /// So many are needed by busy agents and by those that a person spawned.
    pub needed: u32,
}

/// The slots of a pool's workers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotUse {
    /// All.
    pub all: u32,
    /// Those that have an agent.
    pub taken: u32,
    /// Those whose agent has work.
    pub busy: u32,
}

/// What holds a pool, whatever its figures say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PictureHolds {
    /// A person has paused it.
    pub paused: bool,
    /// Tasks wait since too many of them fail.
    pub breaker: bool,
    /// It is being removed.
    pub draining: bool,
}

/// How far the last decision is carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PictureProgress {
    /// Whether something of it is still to be done.
    pub unfinished: bool,
    /// Workers that leave, and are not gone: they can be taken back.
    pub drains: u32,
}

impl Picture {
    /// Whether it is no older than two checks. One that is older says nothing.
    pub fn is_fresh(&self, check_interval: Duration) -> bool {
        self.age.is_some_and(|age| age <= check_interval.saturating_mul(2))
    }

    /// Workers past which waiting tasks never raise the pool: those that hold all agents that it may start for them.
    pub fn queue_bound(&self) -> u32 {
        match self.on_demand_max_agents {
            Some(0) => u32::MAX,
            Some(agents) => agents.div_ceil(self.workers.max_agents.max(1)),
            None => 0,
        }
    }

    /// A number of workers for waiting tasks, within [`queue_bound`](Self::queue_bound); what there is already stays.
    pub fn within_queue_bound(&self, wanted: u32) -> u32 {
        wanted.min(self.queue_bound().max(self.workers.current))
    }
}

impl PictureWorkers {
    /// The most that there may be.
    pub const fn ceiling(&self) -> u32 {
        if self.max == 0 { u32::MAX } else { self.max }
    }

    /// The fewest that there may be, up to the most: `min`, and what agents need.
    pub fn floor(&self) -> u32 {
        self.min.max(self.needed).min(self.ceiling())
    }

    /// The slots of so many.
    pub const fn slots(&self, workers: u32) -> u64 {
        workers as u64 * self.max_agents as u64
    }
}
