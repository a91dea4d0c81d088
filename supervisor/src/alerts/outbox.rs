//! Letters that wait for the webhook. It reads no clock and sends nothing.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use muster_domain::AlertId;
use muster_policy::backoff::doubled;
use uuid::Uuid;

/// Letters that wait at the most.
pub(crate) const CAPACITY: usize = 1_000;

/// The wait after the first failure; it doubles up to the longest.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);

/// A letter that was not delivered by then is given up.
const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// One message for the webhook. What is sent again is the same letter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) delivery: Uuid,
    pub(crate) alert: AlertId,
    pub(crate) body: String,
}

/// Letters in the order in which they were written.
#[derive(Default)]
pub(crate) struct Outbox {
    letters: VecDeque<Waiting>,
}

struct Waiting {
    letter: Letter,
    tries: u32,
    due: Instant,
    given_up_at: Instant,
}

/// What follows a delivery that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    /// It is sent again after this time.
    Again(Duration),
    /// It is given up.
    GivenUp,
}

impl Outbox {
    /// Takes a letter. The oldest one, where there is no room for both.
    pub(crate) fn push(&mut self, letter: Letter, now: Instant) -> Option<Letter> {
        let dropped = if self.letters.len() < CAPACITY { None } else { self.letters.pop_front() };
        self.letters.push_back(Waiting { letter, tries: 0, due: now, given_up_at: now + PATIENCE });
        dropped.map(|waiting| waiting.letter)
    }

    /// The next letter to send now.
    pub(crate) fn next(&self, now: Instant) -> Option<Letter> {
        self.sendable().find(|waiting| waiting.due <= now).map(|waiting| waiting.letter.clone())
    }

    /// When [`Outbox::next`] has something to give.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.sendable().map(|waiting| waiting.due).min()
    }

    /// The first letter of each alert: what is told of an alert is told in order, and one alert does not hold up another.
    fn sendable(&self) -> impl Iterator<Item = &Waiting> {
        let mut alerts = HashSet::new();
        self.letters.iter().filter(move |waiting| alerts.insert(waiting.letter.alert))
    }

    /// A letter has arrived. It may have been dropped meanwhile.
    pub(crate) fn delivered(&mut self, delivery: Uuid) {
        self.letters.retain(|waiting| waiting.letter.delivery != delivery);
    }

    /// A letter did not arrive.
    pub(crate) fn failed(&mut self, delivery: Uuid, now: Instant) -> Then {
        let found = self.letters.iter_mut().find(|waiting| waiting.letter.delivery == delivery);
        let Some(waiting) = found else { return Then::GivenUp };
        let wait = doubled(FIRST_WAIT, waiting.tries, LONGEST_WAIT);
        if now + wait > waiting.given_up_at {
            self.delivered(delivery);
            return Then::GivenUp;
        }
        waiting.tries += 1;
        waiting.due = now + wait;
        Then::Again(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(alert: AlertId, body: &str) -> Letter {
        Letter { delivery: Uuid::now_v7(), alert, body: body.to_owned() }
    }

    fn next(outbox: &Outbox, now: Instant) -> Option<String> {
        outbox.next(now).map(|letter| letter.body)
    }

    #[test]
    fn an_end_waits_for_its_beginning_and_for_nothing_else() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        let (one, two) = (AlertId::generate(), AlertId::generate());
        let (begun, ended, other) = (letter(one, "begun"), letter(one, "ended"), letter(two, "other"));
        for letter in [&begun, &ended, &other] {
            assert_eq!(outbox.push(letter.clone(), now), None);
        }
        assert_eq!(outbox.failed(begun.delivery, now), Then::Again(FIRST_WAIT));
        assert_eq!(next(&outbox, now).as_deref(), Some("other"));
        outbox.delivered(other.delivery);
        assert_eq!((next(&outbox, now), outbox.due()), (None, Some(now + FIRST_WAIT)));
        assert_eq!(next(&outbox, now + FIRST_WAIT).as_deref(), Some("begun"));
        outbox.delivered(begun.delivery);
        assert_eq!(next(&outbox, now).as_deref(), Some("ended"));
        outbox.delivered(ended.delivery);
        assert_eq!((next(&outbox, now), outbox.due()), (None, None));
    }

    #[test]
    fn waits_get_longer_and_end_after_a_day() {
        let (mut outbox, start) = (Outbox::default(), Instant::now());
        let letter = letter(AlertId::generate(), "x");
        outbox.push(letter.clone(), start);
        let (mut now, mut waits) = (start, Vec::new());
        while let Then::Again(wait) = outbox.failed(letter.delivery, now) {
            waits.push(wait.as_secs());
            now += wait;
            assert_eq!(outbox.due(), Some(now));
        }
        assert_eq!(waits[..12], [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
        assert!(now - start <= PATIENCE && now - start > PATIENCE - LONGEST_WAIT, "{:?}", now - start);
        assert_eq!((outbox.due(), outbox.failed(letter.delivery, now)), (None, Then::GivenUp));
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let (mut outbox, now) = (Outbox::default(), Instant::now());
        let letters: Vec<Letter> = (0..=CAPACITY).map(|n| letter(AlertId::generate(), &n.to_string())).collect();
        let dropped: Vec<Letter> = letters.iter().filter_map(|letter| outbox.push(letter.clone(), now)).collect();
        assert_eq!(dropped, letters[..1]);
        assert_eq!(next(&outbox, now).as_deref(), Some("1"));
    }
}
