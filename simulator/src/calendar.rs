//! What is still to happen, by its tick.
//!
//! A calendar queue (Brown, 1988): a ring of buckets, one a tick, for what happens within the next hour or so, and a sorted map for what
//! happens later. Adding and taking cost the same however many wait, which a heap of a million would not.

use std::collections::BTreeMap;

use crate::clock::Tick;

/// Buckets of the ring: 55 minutes.
const RING: u32 = 1 << 15;

/// Things by their tick, in the order in which they were added.
pub(crate) struct Calendar<T> {
    now: Tick,
    ring: Vec<Vec<T>>,
    far: BTreeMap<Tick, Vec<T>>,
}

impl<T> Calendar<T> {
    /// At tick 0, with nothing in it.
    pub(crate) fn new() -> Self {
        Self { now: 0, ring: (0..RING).map(|_| Vec::new()).collect(), far: BTreeMap::new() }
    }

    /// Adds what happens so many ticks from now, in the next tick at the earliest.
    pub(crate) fn add(&mut self, ahead: Tick, what: T) {
        let ahead = ahead.max(1);
        let due = self.now.saturating_add(ahead);
        if ahead < RING {
            self.ring[(due % RING) as usize].push(what);
        } else {
            self.far.entry(due).or_default().push(what);
        }
    }

    /// Goes on to the next tick, and puts what happens in it into `due`, which is emptied first.
    pub(crate) fn advance(&mut self, due: &mut Vec<T>) {
        self.now += 1;
        if self.now.is_multiple_of(RING) {
            let later = self.far.split_off(&self.now.saturating_add(RING));
            for (tick, mut events) in std::mem::replace(&mut self.far, later) {
                self.ring[(tick % RING) as usize].append(&mut events);
            }
        }
        due.clear();
        std::mem::swap(due, &mut self.ring[(self.now % RING) as usize]);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn everything_happens_in_its_tick(times in prop::collection::vec((0..4 * RING, 0..3 * RING), 1..60)) {
            let mut times = times;
            times.sort_unstable();
            let (mut calendar, mut due, mut happened) = (Calendar::new(), Vec::new(), 0);
            let mut next = times.iter().peekable();
            for tick in 0..7 * RING + 1 {
                while let Some((_, ahead)) = next.next_if(|(at, _)| *at == tick) {
                    calendar.add(*ahead, tick + (*ahead).max(1));
                }
                calendar.advance(&mut due);
                prop_assert!(due.iter().all(|at| *at == tick + 1));
                happened += due.len();
            }
            prop_assert_eq!(happened, times.len());
        }
    }
}
