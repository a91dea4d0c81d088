//! The pool as its policies look at it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_domain::PoolSpec;
use muster_domain::scaling::WorkerTarget;
use muster_policy::scaling::{
    Picture, PictureHolds, PictureProgress, PictureWorkers, ScalingHistory, SlotUse, WorkerCounts,
};

use muster_policy::tiers;

use super::super::agents::agent::PoolAgent;
use super::super::tasks::PoolNow;
use super::super::workers::count;
use super::super::{Keeper, Turn};

/// What a keeper knows of its pool that its policies look at, at one moment.
pub(crate) struct ScalingLook {
    pub(crate) spec: Arc<PoolSpec>,
    /// Without what only the store and the host know: the length of a long queue, processors and memory.
    pub(crate) picture: Picture,
    pub(crate) queue: QueueLength,
    pub(crate) history: ScalingHistory,
    /// What was said before: a decision counts only while that is so.
    pub(crate) seen: WorkerTarget,
    pub(crate) taken: Instant,
}

/// How many tasks a free slot would start now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum QueueLength {
    /// So many.
    Known(u32),
    /// At least as many as are in memory: the store knows how many each tenant has. A tenant that is named may start so many more.
    InStore { allowances: HashMap<String, u32> },
}

impl Keeper {
    /// The pool as its policies look at it; none while what it was and what it has to do is not known.
    pub(crate) fn look_at_scaling(&self, turn: &Turn) -> Option<ScalingLook> {
        if !self.scaling.is_loaded() || !self.tasks.is_loaded() {
            return None;
        }
        let pool = PoolNow::of(&self.model, turn);
        let (spec, holds) = (&self.model.pool.spec, self.tasks.holds(pool));
        let workers = self.model.workers.counts(&self.model.pool, turn.now);
        let slots = self.model.slot_counts();
        let history =
            ScalingHistory { person_until: self.model.pool.target.person_until, ..self.scaling.history.clone() };
        let picture = Picture {
            age: Some(Duration::ZERO),
            workers: self.picture_workers(workers, turn),
            running: Some(self.tasks.running()),
            on_demand_max_agents: spec.config.on_demand.map(|on_demand| on_demand.max_agents),
            slots: Some(SlotUse { all: slots.total, taken: slots.used, busy: self.busy_agents() }),
            holds: PictureHolds {
                paused: holds.paused || holds.all_paused || holds.intake_closed,
                breaker: holds.breaker.state.is_holding(),
                draining: holds.being_removed || self.model.pool.is_stopping,
            },
            progress: PictureProgress {
                unfinished: self.scaling.pending.is_some(),
                drains: self.model.workers.leaving(),
            },
            price: self.mean_price(),
            ..Picture::default()
        };
        let queue = self.tasks.startable(pool);
        Some(ScalingLook {
            spec: Arc::clone(spec),
            picture,
            queue,
            history,
            seen: self.model.pool.target,
            taken: turn.now,
        })
    }

    /// What a worker costs an hour, where it costs anything.
    fn mean_price(&self) -> Option<f64> {
        let tiers = self.model.pool.spec.config.tiers.as_ref()?;
        tiers::mean_price(tiers, self.model.workers.of_tiers())
    }

    /// Notes how many tasks wait, for whom tiers depend on that.
    pub(in crate::keeper) fn look_at_tiers(&mut self, turn: &Turn) {
        if self.model.pool.spec.config.tiers.is_some() {
            let queue = match self.tasks.startable(PoolNow::of(&self.model, turn)) {
                QueueLength::Known(queue) => queue,
                QueueLength::InStore { .. } => self.tasks.waiting_count(),
            };
            // Whoever waits was promised a slot: it came when there was room.
            let is_stranded = self.model.agents.pending() > 0 && !self.model.workers.have_room();
            self.model.workers.look_at_tiers(queue, is_stranded, turn.now);
        }
    }

    fn picture_workers(&self, workers: WorkerCounts, turn: &Turn) -> PictureWorkers {
        let max_agents = self.model.pool.spec.config.max_agents;
        let is_needed = |agent: &&PoolAgent| {
            !agent.status.is_final()
                && (!agent.spec.on_demand || !agent.status.activity().is_none_or(|does| does.is_idle()))
        };
        PictureWorkers {
            current: self.current_workers(turn.now),
            min: workers.min,
            max: self.model.most_workers_now(),
            starting: workers.starting,
            max_agents,
            needed: count(self.model.agents.iter().filter(is_needed)).div_ceil(max_agents.max(1)),
        }
    }

    fn busy_agents(&self) -> u32 {
        count(self.model.agents.iter().filter(|agent| agent.status.activity().is_some_and(|does| !does.is_idle())))
    }
}
