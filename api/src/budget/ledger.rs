//! Who has how much of one share, who comes next, and who gives way. Pure, but for the bells: time is an argument.
//!
//! Bodies that stop in the middle, each with a part of the memory, must not wait for each other for ever, and one whose caller is
//! slow must not keep out the others. So:
//!
//! - Who has most comes first, and what it may still need is kept for it for as long as it is swift. Others wait meanwhile.
//! - Where somebody waits, those that are being read and are slow give way, the longest read first.
//! - Where all that have something wait, the one that has least gives way.
//! - What was read to its end stays: it is on its way into the store.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

/// Bytes by which a body is to get on ...
const STEP: usize = 64 * 1024;
/// ... within this time, else it is slow.
const PACE: Duration = Duration::from_secs(1);
/// One that is read for so long is slow, however steadily it comes.
const LONG: Duration = Duration::from_secs(10);

pub(super) struct Ledger {
    capacity: usize,
    free: usize,
    /// What all bodies together may come to.
    claimed: usize,
    bodies: BTreeMap<u64, BodyEntry>,
    /// Those of them that wait.
    waiting: BTreeSet<u64>,
    next: u64,
}

struct BodyEntry {
    /// What it may come to.
    claim: usize,
    held: usize,
    phase: BodyPhase,
    /// Since when it is read. Moves by the time for which it waited, and so does the next.
    begun: Instant,
    /// When it had last got a step further, and what it had then.
    stepped: (Instant, usize),
    bell: Arc<Notify>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum BodyPhase {
    Reading,
    Waiting { wants: usize, since: Instant },
    Whole,
    GivesWay,
}

/// How a body stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has what it asked for.
    Settled,
    Waits,
    GivesWay,
}

impl BodyEntry {
    fn is_slow(&self, now: Instant) -> bool {
        let (at, _) = self.stepped;
        now.saturating_duration_since(at) > PACE || now.saturating_duration_since(self.begun) > LONG
    }

    /// What is kept for it.
    fn reserve(&self, now: Instant) -> usize {
        let is_swift = match self.phase {
            BodyPhase::Reading => !self.is_slow(now),
            BodyPhase::Waiting { since, .. } => !self.is_slow(since),
            BodyPhase::Whole | BodyPhase::GivesWay => false,
        };
        if is_swift && self.held > 0 { self.claim.saturating_sub(self.held) } else { 0 }
    }

    fn grow(&mut self, wants: usize, since: Instant, now: Instant) {
        let waited = now.saturating_duration_since(since);
        self.begun += waited;
        self.stepped.0 += waited;
        self.held += wants;
        if self.held - self.stepped.1 >= STEP {
            self.stepped = (now, self.held);
        }
        self.phase = BodyPhase::Reading;
    }
}

impl Ledger {
    pub(super) const fn new(capacity: usize) -> Self {
        Self { capacity, free: capacity, claimed: 0, bodies: BTreeMap::new(), waiting: BTreeSet::new(), next: 0 }
    }

    #[cfg(test)]
    pub(super) const fn free(&self) -> usize {
        self.free
    }

    /// A body begins, with nothing. The bell rings when its standing may have changed.
    pub(super) fn enter(&mut self, claim: usize, now: Instant) -> (u64, Arc<Notify>) {
        let (id, bell) = (self.next, Arc::new(Notify::new()));
        self.next += 1;
        self.claimed += claim;
        let body = BodyEntry {
            claim,
            held: 0,
            phase: BodyPhase::Reading,
            begun: now,
            stepped: (now, 0),
            bell: Arc::clone(&bell),
        };
        self.bodies.insert(id, body);
        (id, bell)
    }

    /// It asks for so much more.
    pub(super) fn ask(&mut self, id: u64, wants: usize, now: Instant) {
        if let Some(body) = self.bodies.get_mut(&id)
            && body.phase == BodyPhase::Reading
        {
            body.phase = BodyPhase::Waiting { wants, since: now };
            self.waiting.insert(id);
            self.settle(now);
        }
    }

    pub(super) fn standing(&self, id: u64) -> Standing {
        match self.bodies.get(&id).map(|body| body.phase) {
            Some(BodyPhase::Waiting { .. }) => Standing::Waits,
            Some(BodyPhase::GivesWay) => Standing::GivesWay,
            Some(BodyPhase::Reading | BodyPhase::Whole) | None => Standing::Settled,
        }
    }

    /// It was read to its end.
    pub(super) fn complete(&mut self, id: u64, now: Instant) {
        if let Some(body) = self.bodies.get_mut(&id) {
            self.claimed -= body.claim.saturating_sub(body.held);
            (body.claim, body.phase) = (body.held, BodyPhase::Whole);
            self.settle(now);
        }
    }

    /// It is gone, and what it had is free.
    pub(super) fn leave(&mut self, id: u64, now: Instant) {
        if let Some(body) = self.bodies.remove(&id) {
            self.waiting.remove(&id);
            self.claimed -= body.claim;
            self.free += body.held;
            self.settle(now);
        }
    }

    /// Gives what can be given, and has those give way who must.
    pub(super) fn settle(&mut self, now: Instant) {
        loop {
            self.give(now);
            let Some(id) = self.who_gives_way(now) else { return };
            let Some(body) = self.bodies.get_mut(&id) else { return };
            body.phase = BodyPhase::GivesWay;
            self.waiting.remove(&id);
            body.bell.notify_one();
        }
    }

    /// Those that wait, and what they want, in their order.
    fn line(&self) -> Vec<(u64, usize, Instant)> {
        let waiting = self.waiting.iter().filter_map(|id| match self.bodies.get(id) {
            Some(BodyEntry { phase: BodyPhase::Waiting { wants, since }, held, .. }) => {
                Some((Reverse(*held), *id, *wants, *since))
            }
            _ => None,
        });
        let mut line: Vec<_> = waiting.collect();
        line.sort_unstable_by_key(|(held, id, ..)| (*held, *id));
        line.into_iter().map(|(_, id, wants, since)| (id, wants, since)).collect()
    }

    fn give(&mut self, now: Instant) {
        for (id, wants, since) in self.line() {
            if self.free < wants + self.kept_before(id, now) {
                return;
            }
            let Some(body) = self.bodies.get_mut(&id) else { return };
            self.free -= wants;
            self.waiting.remove(&id);
            body.grow(wants, since, now);
            body.bell.notify_one();
        }
    }

    /// What is kept for those who come before this one.
    fn kept_before(&self, id: u64, now: Instant) -> usize {
        // Where all fit together, nothing need be kept.
        let Some(own) = self.bodies.get(&id).filter(|_| self.claimed > self.capacity) else { return 0 };
        let place = (Reverse(own.held), id);
        let before = self.bodies.iter().filter(|(id, body)| (Reverse(body.held), **id) < place);
        before.map(|(_, body)| body.reserve(now)).sum()
    }

    /// Who makes room for the first in the line, where nobody has done so yet.
    fn who_gives_way(&self, now: Instant) -> Option<u64> {
        let line = self.line();
        let (first, wants, _) = *line.first()?;
        let in_phase =
            |wanted: BodyPhase| self.bodies.iter().filter(move |(_, body)| body.phase == wanted && body.held > 0);
        let coming: usize = in_phase(BodyPhase::GivesWay).map(|(_, body)| body.held).sum();
        if self.free + coming >= wants + self.kept_before(first, now) {
            return None;
        }
        let slow = in_phase(BodyPhase::Reading).filter(|(_, body)| body.is_slow(now));
        if let Some((id, _)) = slow.min_by_key(|(id, body)| (body.begun, **id)) {
            return Some(*id);
        }
        let all_wait = in_phase(BodyPhase::Reading).next().is_none() && in_phase(BodyPhase::Whole).next().is_none();
        line.last().map(|(id, ..)| *id).filter(|last| all_wait && coming == 0 && *last != first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: usize = 1024 * 1024;

    /// A share of 128 MiB, and a clock.
    struct LedgerTest {
        ledger: Ledger,
        now: Instant,
    }

    impl LedgerTest {
        fn new() -> Self {
            Self { ledger: Ledger::new(128 * MIB), now: Instant::now() }
        }

        fn pass(&mut self, seconds: f64) {
            self.now += Duration::from_secs_f64(seconds);
            self.ledger.settle(self.now);
        }

        fn enter(&mut self, claim: usize) -> u64 {
            self.ledger.enter(claim * MIB, self.now).0
        }

        fn grow(&mut self, id: u64, by: usize) -> Standing {
            self.ledger.ask(id, by * MIB, self.now);
            self.ledger.standing(id)
        }

        fn leave(&mut self, id: u64) {
            self.ledger.leave(id, self.now);
        }
    }

    #[test]
    fn what_was_announced_and_does_not_come_keeps_nobody_out() {
        let mut test = LedgerTest::new();
        for _ in 0..60 {
            test.enter(64);
        }
        let sends = test.enter(64);
        assert_eq!(test.grow(sends, 64), Standing::Settled);
    }

    #[test]
    fn a_swift_one_goes_before_those_that_came_later_and_has_what_it_needs() {
        let mut test = LedgerTest::new();
        let (first, second, third) = (test.enter(64), test.enter(64), test.enter(64));
        assert_eq!((test.grow(first, 32), test.grow(second, 32)), (Standing::Settled, Standing::Settled));
        assert_eq!(test.grow(third, 1), Standing::Waits, "the rest is theirs");
        assert_eq!((test.grow(first, 32), test.grow(second, 32)), (Standing::Settled, Standing::Settled));
        test.ledger.complete(first, test.now);
        test.ledger.complete(second, test.now);
        test.pass(5.0);
        assert_eq!(test.ledger.standing(third), Standing::Waits, "what was read is on its way");
        test.leave(first);
        assert_eq!(test.ledger.standing(third), Standing::Settled);
    }

    #[test]
    fn slow_ones_give_way_to_who_waits_and_to_nobody_else() {
        for (seconds, by) in [(2.0, 0), (LONG.as_secs_f64() + 1.0, 1)] {
            let mut test = LedgerTest::new();
            let slow = [test.enter(64), test.enter(64)];
            for id in slow {
                test.grow(id, 60);
            }
            test.pass(seconds);
            for id in slow {
                // A step, so that it has not stopped.
                assert_eq!(test.grow(id, by), Standing::Settled);
            }
            let waits = test.enter(64);
            let stands = [test.grow(waits, 4), test.grow(waits, 30)];
            assert_eq!(stands[1], Standing::Waits, "until that one has gone");
            let standing = slow.map(|id| test.ledger.standing(id));
            assert_eq!(standing, [Standing::GivesWay, Standing::Settled], "one is enough");
            test.leave(slow[0]);
            assert_eq!(test.ledger.standing(waits), Standing::Settled);
        }
    }

    #[test]
    fn of_half_read_ones_that_all_wait_the_one_with_least_gives_way() {
        let mut test = LedgerTest::new();
        // None says how large it is, so nothing is kept for it.
        let all: Vec<u64> = (0..4).map(|_| test.enter(0)).collect();
        for (id, by) in all.iter().zip([34, 33, 31, 30]) {
            assert_eq!(test.grow(*id, by), Standing::Settled);
        }
        let more: Vec<Standing> = all.iter().map(|id| test.grow(*id, 20)).collect();
        assert_eq!(more, [Standing::Waits, Standing::Waits, Standing::Waits, Standing::GivesWay]);
        test.leave(all[3]);
        assert_eq!(test.ledger.standing(all[0]), Standing::Settled);
    }

    /// Whoever comes in whatever order, all end, and nothing is lost of the memory.
    #[test]
    fn nobody_waits_for_ever() {
        for seed in 0..50_u64 {
            let mut test = LedgerTest::new();
            let mut random = seed;
            let mut next = move |below: u64| {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (random >> 33) % below
            };
            // Each with what it has yet to send.
            let mut open: Vec<(u64, usize)> = (0..12).map(|_| (test.enter(64), 64)).collect();
            let mut rounds = 0;
            while !open.is_empty() {
                rounds += 1;
                assert!(rounds < 10_000, "seed {seed}: {} are left", open.len());
                let chosen = next(open.len() as u64) as usize;
                let (id, left) = open[chosen];
                test.pass(0.01);
                match test.ledger.standing(id) {
                    Standing::GivesWay => {
                        test.leave(id);
                        open.swap_remove(chosen);
                    }
                    Standing::Waits => {}
                    Standing::Settled if left == 0 => {
                        test.leave(id);
                        open.swap_remove(chosen);
                    }
                    Standing::Settled => {
                        let by = (1 + next(8) as usize).min(left);
                        test.grow(id, by);
                        open[chosen].1 -= by;
                    }
                }
            }
            assert_eq!(test.ledger.free(), 128 * MIB, "seed {seed}");
        }
    }
}
