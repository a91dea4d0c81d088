//! Messages that wait for the webhook. It reads no clock and sends nothing.

use std::collections::{HashSet, VecDeque};
use std::time::{Duration, Instant};

use muster_domain::AlertId;
use muster_policy::backoff::doubled;
use uuid::Uuid;

/// Messages that wait at the most.
pub(crate) const CAPACITY: usize = 1_000;

/// The wait after the first failure; it doubles up to the longest.
const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(15 * 60);

/// A message that was not delivered by then is given up.
const PATIENCE: Duration = Duration::from_secs(24 * 60 * 60);

/// One message for the webhook. What is sent again is the same message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct WebhookDelivery {
    pub(crate) delivery: Uuid,
    pub(crate) alert: AlertId,
    pub(crate) body: String,
}

/// Messages in the order in which they were written.
#[derive(Default)]
pub(crate) struct WebhookOutbox {
    deliveries: VecDeque<QueuedDelivery>,
}

struct QueuedDelivery {
    delivery: WebhookDelivery,
    tries: u32,
    due: Instant,
    given_up_at: Instant,
}

/// What follows a delivery that failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum AfterFailure {
    /// It is sent again after this time.
    Again(Duration),
    /// It is given up.
    GivenUp,
}

impl WebhookOutbox {
    /// Takes a message. The oldest one, where there is no room for both.
    pub(crate) fn push(&mut self, delivery: WebhookDelivery, now: Instant) -> Option<WebhookDelivery> {
        let dropped = if self.deliveries.len() < CAPACITY { None } else { self.deliveries.pop_front() };
        self.deliveries.push_back(QueuedDelivery { delivery, tries: 0, due: now, given_up_at: now + PATIENCE });
        dropped.map(|waiting| waiting.delivery)
    }

    /// The next message to send now.
    pub(crate) fn next(&self, now: Instant) -> Option<WebhookDelivery> {
        self.sendable().find(|waiting| waiting.due <= now).map(|waiting| waiting.delivery.clone())
    }

    /// When [`WebhookOutbox::next`] has something to give.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.sendable().map(|waiting| waiting.due).min()
    }

    /// The first message of each alert: what is told of an alert is told in order, and one alert does not hold up another.
    fn sendable(&self) -> impl Iterator<Item = &QueuedDelivery> {
        let mut alerts = HashSet::new();
        self.deliveries.iter().filter(move |waiting| alerts.insert(waiting.delivery.alert))
    }

    /// A message has arrived. It may have been dropped meanwhile.
    pub(crate) fn delivered(&mut self, delivery: Uuid) {
        self.deliveries.retain(|waiting| waiting.delivery.delivery != delivery);
    }

    /// A message did not arrive.
    pub(crate) fn failed(&mut self, delivery: Uuid, now: Instant) -> AfterFailure {
        let found = self.deliveries.iter_mut().find(|waiting| waiting.delivery.delivery == delivery);
        let Some(waiting) = found else { return AfterFailure::GivenUp };
        let wait = doubled(FIRST_WAIT, waiting.tries, LONGEST_WAIT);
        if now + wait > waiting.given_up_at {
            self.delivered(delivery);
            return AfterFailure::GivenUp;
        }
        waiting.tries += 1;
        waiting.due = now + wait;
        AfterFailure::Again(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(alert: AlertId, body: &str) -> WebhookDelivery {
        WebhookDelivery { delivery: Uuid::now_v7(), alert, body: body.to_owned() }
    }

    fn next(outbox: &WebhookOutbox, now: Instant) -> Option<String> {
        outbox.next(now).map(|delivery| delivery.body)
    }

    #[test]
    fn an_end_waits_for_its_beginning_and_for_nothing_else() {
        let (mut outbox, now) = (WebhookOutbox::default(), Instant::now());
        let (one, two) = (AlertId::generate(), AlertId::generate());
        let (begun, ended, other) = (delivery(one, "begun"), delivery(one, "ended"), delivery(two, "other"));
        for delivery in [&begun, &ended, &other] {
            assert_eq!(outbox.push(delivery.clone(), now), None);
        }
        assert_eq!(outbox.failed(begun.delivery, now), AfterFailure::Again(FIRST_WAIT));
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
        let (mut outbox, start) = (WebhookOutbox::default(), Instant::now());
        let delivery = delivery(AlertId::generate(), "x");
        outbox.push(delivery.clone(), start);
        let (mut now, mut waits) = (start, Vec::new());
        while let AfterFailure::Again(wait) = outbox.failed(delivery.delivery, now) {
            waits.push(wait.as_secs());
            now += wait;
            assert_eq!(outbox.due(), Some(now));
        }
        assert_eq!(waits[..12], [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900]);
        assert!(now - start <= PATIENCE && now - start > PATIENCE - LONGEST_WAIT, "{:?}", now - start);
        assert_eq!((outbox.due(), outbox.failed(delivery.delivery, now)), (None, AfterFailure::GivenUp));
    }

    #[test]
    fn the_oldest_goes_when_there_are_too_many() {
        let (mut outbox, now) = (WebhookOutbox::default(), Instant::now());
        let deliveries: Vec<WebhookDelivery> =
            (0..=CAPACITY).map(|n| delivery(AlertId::generate(), &n.to_string())).collect();
        let dropped: Vec<WebhookDelivery> =
            deliveries.iter().filter_map(|delivery| outbox.push(delivery.clone(), now)).collect();
        assert_eq!(dropped, deliveries[..1]);
        assert_eq!(next(&outbox, now).as_deref(), Some("1"));
    }
}
