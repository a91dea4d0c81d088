//! Tasks that could start, and for which there is no room: told when that lasts.

use std::time::{Duration, Instant};

use muster_domain::ScalingMode;
use muster_policy::scaling::{self, AgentDemand, ScalingReason};

use super::model::Model;
use super::tasks::PoolNow;
use super::troubles::StartTrouble;
use super::{Keeper, Turn};

/// For how long room may lack before somebody is told.
const TOLD_AFTER: Duration = Duration::from_mins(1);

/// Since when room lacks.
#[derive(Default)]
pub(super) struct CapacityWatch {
    since: Option<Instant>,
}

impl CapacityWatch {
    /// Notes whether room lacks now; whether it has for so long that it is to be told.
    fn lasts(&mut self, lacks: bool, now: Instant) -> bool {
        self.since = lacks.then(|| self.since.unwrap_or(now));
        self.since.is_some_and(|since| now.saturating_duration_since(since) >= TOLD_AFTER)
    }
}

impl Keeper {
    /// Tells when tasks wait for room that the pool does not get.
    pub(super) fn watch_capacity(&mut self, turn: &Turn) {
        let why = self.lacks_capacity(turn);
        let lasts = self.capacity.lasts(why.is_some(), turn.now);
        match why.filter(|_| lasts) {
            Some(why) => {
                self.troubles.begin_once(StartTrouble::Capacity, format!("tasks could start, and wait: {why}"))
            }
            None if self.capacity.since.is_none() => self.troubles.end(StartTrouble::Capacity),
            None => {}
        }
    }

    /// Why no agent is started for tasks that could start, in words.
    fn lacks_capacity(&self, turn: &Turn) -> Option<String> {
        let demand: AgentDemand = self.tasks.demand(PoolNow::of(&self.model, turn))?;
        if demand.hold.is_some() || demand.wanted == 0 {
            return None;
        }
        let Model { workers, pool, .. } = &self.model;
        if let Some(why) = workers.tiers_full(pool).filter(|_| !workers.have_room()) {
            return Some(why);
        }
        let most = self.model.most_workers_now();
        if self.model.workers.leave_no_room(most) {
            return Some(ScalingReason::MaxWorkers(most).to_string());
        }
        let reason = scaling::agents_to_order(demand).reason;
        let is_lack = match reason {
            ScalingReason::MaxAgents(_) | ScalingReason::FailedStarts(_) | ScalingReason::AgentBackoff(_) => true,
            // Policies that act see the queue, and raise it.
            ScalingReason::TargetFull(_) => self.scaling_mode() != ScalingMode::On || self.scaling.held().is_some(),
            _ => false,
        };
        is_lack.then(|| reason.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_that_lacks_is_told_after_a_minute_without_a_break() {
        let (mut watch, now) = (CapacityWatch::default(), Instant::now());
        let at = |seconds| now + Duration::from_secs(seconds);
        assert!(!watch.lasts(true, at(0)) && !watch.lasts(true, at(59)));
        assert!(watch.lasts(true, at(60)));
        assert!(!watch.lasts(false, at(61)) && !watch.lasts(true, at(62)) && !watch.lasts(true, at(121)));
        assert!(watch.lasts(true, at(122)));
    }
}
