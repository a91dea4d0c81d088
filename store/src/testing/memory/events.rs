//! Events.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use muster_domain::{EventDraft, Timestamp};

use crate::EventRow;

#[derive(Default)]
pub(super) struct EventTable {
    kept: BTreeMap<u64, EventDraft>,
    /// The highest number that was ever used.
    highest: u64,
}

impl EventTable {
    pub(super) fn add(&mut self, event: &EventDraft) -> bool {
        self.highest += 1;
        self.kept.insert(self.highest, event.clone()).is_none()
    }

    pub(super) fn after(&self, seq: u64, limit: u32) -> Vec<EventRow> {
        let later = self.kept.range((Excluded(seq), Unbounded)).take(limit as usize);
        later.map(|(seq, event)| EventRow { seq: *seq, event: event.clone() }).collect()
    }

    pub(super) fn bounds(&self) -> (u64, u64) {
        let next = if self.highest == 0 { 0 } else { self.highest + 1 };
        (self.kept.first_key_value().map_or(next, |(seq, _)| *seq), self.highest)
    }

    pub(super) fn bring_back(&mut self, to: Timestamp) {
        self.kept.values_mut().for_each(|event| event.at = event.at.min(to));
    }

    /// Removes the lowest, up to the first that is young enough, so that those that are left have no gap; how many.
    pub(super) fn prune(&mut self, before: Timestamp) -> u64 {
        let mut pruned = 0;
        while self.kept.first_entry().is_some_and(|first| first.get().at < before) {
            self.kept.pop_first();
            pruned += 1;
        }
        pruned
    }
}
