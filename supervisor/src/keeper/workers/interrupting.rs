//! Workers under which the capacity will be taken away: when that is, and who is there in their place.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use muster_domain::time::later;
use muster_domain::{Interruption, ProcessId, Timestamp};

use super::PoolWorkers;
use super::worker::PoolWorker;

/// So long before the moment that was said the capacity may go: who says it may say it late.
const EARLY: Duration = Duration::from_secs(30);

/// That the capacity under a worker will be taken away.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Interrupted {
    pub(crate) notice: Interruption,
    /// The same moment by the clock that nobody sets.
    pub(in crate::keeper) deadline: Instant,
    /// Whether what it had at that moment was handed over.
    is_handed_over: bool,
}

impl Interrupted {
    /// As of now, which is `at` by the wall clock.
    pub(super) fn of(notice: Interruption, now: Instant, at: Timestamp) -> Self {
        Self { notice, deadline: later(now, notice.deadline.since(at)), is_handed_over: false }
    }
}

impl PoolWorker {
    /// Whether the capacity under it will be taken away: it gets no more agents, and these no more tasks.
    pub(crate) const fn is_interrupted(&self) -> bool {
        self.interrupted.is_some()
    }

    /// Whether the moment of which it was told has come.
    pub(crate) fn is_overdue(&self, now: Instant) -> bool {
        self.interrupted.is_some_and(|interrupted| interrupted.deadline <= now)
    }

    /// Whether its end may be that of its capacity: not where that is still long to go.
    pub(super) fn is_taken_away(&self, now: Instant) -> bool {
        self.is_overdue(later(now, EARLY))
    }

    /// Whether another one is to be started in its place: one that was to stay, and has something to do.
    pub(super) fn is_unreplaced(&self) -> bool {
        let lacks = self.interrupted.is_some_and(|interrupted| interrupted.notice.replaced_by.is_none());
        lacks && self.status.takes_agents() && !self.leaves && !self.origin.outdated && !self.held.is_empty()
    }
}

impl PoolWorkers {
    /// How many there are.
    pub(in crate::keeper) const fn interrupted(&self) -> u32 {
        self.totals.interrupted
    }

    /// Those that are there.
    pub(in crate::keeper) fn all_interrupted(&self) -> impl Iterator<Item = &PoolWorker> {
        // Almost always there is none, and nobody looks for it.
        self.values()
            .filter(|worker| worker.is_open() && worker.is_interrupted())
            .take(self.totals.interrupted as usize)
    }

    /// Those in whose place another one is to be started.
    pub(in crate::keeper) fn unreplaced(&self) -> Vec<ProcessId> {
        self.all_interrupted().filter(|worker| worker.is_unreplaced()).map(|worker| worker.process_id).collect()
    }

    /// Those that were started in the place of one that is still there.
    pub(super) fn replacements(&self) -> BTreeSet<ProcessId> {
        self.all_interrupted().filter_map(|worker| worker.interrupted?.notice.replaced_by).collect()
    }

    /// Those whose place was taken by one that is no more need another.
    pub(in crate::keeper) fn vacate_places(&mut self) {
        let is_gone = |id: &ProcessId| self.get(id).is_none_or(|worker| worker.is_over);
        let of_gone = |worker: &&PoolWorker| {
            worker.interrupted.and_then(|interrupted| interrupted.notice.replaced_by).is_some_and(|id| is_gone(&id))
        };
        let vacant: Vec<ProcessId> = self.all_interrupted().filter(of_gone).map(|worker| worker.process_id).collect();
        for id in vacant {
            self.change(id, |worker| {
                if let Some(interrupted) = &mut worker.interrupted {
                    interrupted.notice.replaced_by = None;
                }
            });
        }
    }

    /// When what the next one has is to be handed over.
    pub(in crate::keeper) fn next_hand_over(&self) -> Option<Instant> {
        let due = |worker: &PoolWorker| worker.interrupted.filter(|interrupted| !interrupted.is_handed_over);
        self.all_interrupted().filter_map(due).map(|interrupted| interrupted.deadline).min()
    }

    /// Notes a notice, or who is there in a worker's place.
    pub(in crate::keeper) fn set_interruption(
        &mut self,
        id: ProcessId,
        notice: Interruption,
        now: Instant,
        at: Timestamp,
    ) {
        self.change(id, |worker| match &mut worker.interrupted {
            Some(known) if known.notice.deadline == notice.deadline => known.notice = notice,
            interrupted => *interrupted = Some(Interrupted::of(notice, now, at)),
        });
    }

    /// What this one had is handed over.
    pub(in crate::keeper) fn note_handed_over(&mut self, id: ProcessId) {
        if let Some(interrupted) = self.get_mut(id).and_then(|worker| worker.interrupted.as_mut()) {
            interrupted.is_handed_over = true;
        }
    }

    /// Free slots of the workers that take commands now.
    pub(in crate::keeper) fn ready_slots(&self) -> usize {
        let ready = self.free.iter().take_while(|(is_starting, ..)| !is_starting);
        ready.filter(|(.., id)| self.listens(*id)).map(|(_, free, _)| *free as usize).sum()
    }
}
