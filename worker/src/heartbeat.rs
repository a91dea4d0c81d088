//! When the worker beats, and what the answers mean for it: decisions only.

use std::time::Duration;

use muster_domain::{Generation, HeartbeatReply};
use tokio::time::Instant;

use crate::later;

/// The first wait after a failed call; it doubles up to the heartbeat.
const FIRST_RETRY: Duration = Duration::from_millis(100);

/// The share of a heartbeat by which one may be late without being missed.
const LATE: u32 = 8;

/// The rhythm of a worker.
#[derive(Debug)]
pub(crate) struct HeartbeatTimer {
    interval: Duration,
    next: Instant,
    /// The number of the latest beat.
    number: u64,
    generation: Option<Generation>,
    /// How the registry was when it was last called.
    contact: RegistryContact,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum RegistryContact {
    /// No beat was answered yet.
    Never,
    Good,
    Away {
        wait: Duration,
    },
}

/// What an answered beat means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct RegistryChange {
    /// The registry was away, and is back.
    pub(crate) back: bool,
    /// Its content is another than at the last beat: what was sent may be lost.
    pub(crate) emptied: bool,
}

impl HeartbeatTimer {
    /// The first beat is due at once.
    pub(crate) const fn new(interval: Duration, now: Instant) -> Self {
        Self { interval, next: now, number: 0, generation: None, contact: RegistryContact::Never }
    }

    /// The number of the latest beat.
    pub(crate) const fn number(&self) -> u64 {
        self.number
    }

    /// When the next beat is due.
    pub(crate) const fn next(&self) -> Instant {
        self.next
    }

    /// Whether the registry answered the latest call, so that reports may be sent. Never before the first beat: a
    /// worker that says "ready" is in the registry.
    pub(crate) fn is_connected(&self) -> bool {
        self.contact == RegistryContact::Good
    }

    /// Beats as soon as no call is under way: something changed that the registry should know now.
    pub(crate) fn hurry(&mut self, now: Instant) {
        self.next = self.next.min(now);
    }

    /// Beats no later than this.
    pub(crate) fn hurry_at(&mut self, at: Instant) {
        self.next = self.next.min(at);
    }

    /// A beat goes out: the next is due one interval later than this one was, so that the rhythm is kept by who is woken a little late. A
    /// beat that was missed is not made up for.
    pub(crate) fn beat(&mut self, now: Instant) -> u64 {
        self.number += 1;
        let is_late = now.saturating_duration_since(self.next) > self.interval / LATE;
        self.next = later(if is_late { now } else { self.next }, self.interval);
        self.number
    }

    /// The registry answered a beat.
    pub(crate) fn answered(&mut self, answer: &HeartbeatReply) -> RegistryChange {
        let back = matches!(self.contact, RegistryContact::Away { .. });
        self.contact = RegistryContact::Good;
        self.number = self.number.max(answer.number);
        let before = self.generation.replace(answer.generation);
        RegistryChange { back, emptied: before.is_some_and(|before| before != answer.generation) }
    }

    /// The registry did not answer a call. Beats are the probe for its return. Answers whether that is new.
    pub(crate) fn failed(&mut self, now: Instant) -> bool {
        let (new, wait) = match self.contact {
            RegistryContact::Away { wait } => (false, wait),
            RegistryContact::Never | RegistryContact::Good => (true, FIRST_RETRY),
        };
        let wait = wait.min(self.interval);
        self.next = self.next.min(now + wait);
        self.contact = RegistryContact::Away { wait: wait * 2 };
        new
    }
}

/// How long nobody has led: neither the registry nor the lock of the data folder knows of a master.
#[derive(Debug, Default)]
pub(crate) struct LeaderAbsence {
    since: Option<Instant>,
}

impl LeaderAbsence {
    /// Takes down whether a master was seen, and answers for how long none has been.
    pub(crate) fn observe(&mut self, master_seen: bool, now: Instant) -> Duration {
        if master_seen {
            self.since = None;
            return Duration::ZERO;
        }
        now - *self.since.get_or_insert(now)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const BEAT: Duration = Duration::from_secs(2);

    fn answer(generation: u128) -> HeartbeatReply {
        let generation = Generation(Uuid::from_u128(generation));
        HeartbeatReply { settled: 0, fenced: false, leader_present: true, number: 0, generation }
    }

    #[test]
    fn a_late_beat_is_not_made_up_for() {
        let start = Instant::now();
        let mut heartbeat = HeartbeatTimer::new(BEAT, start);
        assert_eq!((heartbeat.beat(start), heartbeat.next()), (1, start + BEAT));
        let slightly = start + BEAT + BEAT / 20;
        assert_eq!((heartbeat.beat(slightly), heartbeat.next()), (2, start + BEAT * 2), "the rhythm is kept");
        let late = start + BEAT * 5;
        assert_eq!((heartbeat.beat(late), heartbeat.next()), (3, late + BEAT));
    }

    #[test]
    fn an_outage_is_new_once_and_retried_with_growing_waits_up_to_the_heartbeat() {
        let mut now = Instant::now();
        let mut heartbeat = HeartbeatTimer::new(BEAT, now);
        heartbeat.beat(now);
        assert!(!heartbeat.is_connected(), "not before the first answer");
        heartbeat.answered(&answer(1));
        assert!(heartbeat.is_connected());
        let mut waits = Vec::new();
        for round in 0..7 {
            assert_eq!(heartbeat.failed(now), round == 0);
            waits.push((heartbeat.next() - now).as_millis());
            now = heartbeat.next();
            heartbeat.beat(now);
        }
        assert_eq!(waits, [100, 200, 400, 800, 1600, 2000, 2000]);
        assert!(!heartbeat.is_connected());
        assert_eq!(heartbeat.answered(&answer(1)), RegistryChange { back: true, emptied: false });
    }

    #[test]
    fn a_number_that_somebody_else_wrote_is_counted_on_from() {
        let now = Instant::now();
        let mut heartbeat = HeartbeatTimer::new(BEAT, now);
        heartbeat.beat(now);
        heartbeat.answered(&HeartbeatReply { number: 77, ..answer(1) });
        assert_eq!(heartbeat.beat(now), 78);
    }

    #[test]
    fn another_generation_is_seen_once() {
        let mut heartbeat = HeartbeatTimer::new(BEAT, Instant::now());
        let emptied: Vec<bool> = [1, 1, 2, 2].map(|g| heartbeat.answered(&answer(g)).emptied).to_vec();
        assert_eq!(emptied, [false, false, true, false]);
    }

    #[test]
    fn orphanhood_counts_only_without_a_break() {
        let (mut orphan, start) = (LeaderAbsence::default(), Instant::now());
        assert_eq!(orphan.observe(false, start), Duration::ZERO);
        assert_eq!(orphan.observe(false, start + BEAT), BEAT);
        assert_eq!(orphan.observe(true, start + BEAT * 2), Duration::ZERO);
        assert_eq!(orphan.observe(false, start + BEAT * 3), Duration::ZERO);
        assert_eq!(orphan.observe(false, start + BEAT * 4), BEAT);
    }
}
