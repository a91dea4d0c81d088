//! The table of alerts: each is written once, counted while it lasts, and closed. It reads no clock.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use muster_domain::{AlertId, PoolName, Timestamp};

use super::{Alert, AlertKind};

/// Alerts that are kept.
pub(crate) const CAPACITY: usize = 1_000;

/// What an alert is about: there is one at a time.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Topic {
    pub(crate) kind: AlertKind,
    pub(crate) pool: Option<PoolName>,
    pub(crate) subject: String,
}

/// Alerts, those that last and those that are over.
pub(crate) struct AlertTable {
    /// One that comes back within this time is the same one.
    interval: Duration,
    open: HashMap<Topic, AlertEntry>,
    /// Over for good; the one that ended first is in front.
    past: VecDeque<Alert>,
}

struct AlertEntry {
    alert: Alert,
    /// When it is over for good, where it is over.
    settles_at: Option<Instant>,
}

impl AlertTable {
    pub(crate) fn new(interval: Duration) -> Self {
        Self { interval, open: HashMap::new(), past: VecDeque::new() }
    }

    /// Something is wrong. The alert, where it is a new one.
    pub(crate) fn raise(&mut self, topic: Topic, message: String, at: Timestamp) -> Option<Alert> {
        if let Some(entry) = self.open.get_mut(&topic) {
            entry.settles_at = None;
            entry.alert.until = None;
            entry.alert.message = message;
            entry.alert.count += 1;
            return None;
        }
        let Topic { kind, pool, subject } = topic.clone();
        let alert = Alert { id: AlertId::generate(), kind, pool, subject, message, since: at, until: None, count: 1 };
        self.open.insert(topic, AlertEntry { alert: alert.clone(), settles_at: None });
        self.make_room();
        Some(alert)
    }

    /// That is over. Whether anything was.
    pub(crate) fn clear(&mut self, topic: &Topic, at: Timestamp, now: Instant) -> bool {
        match self.open.get_mut(topic).filter(|entry| entry.settles_at.is_none()) {
            Some(entry) => {
                entry.alert.until = Some(at);
                entry.settles_at = Some(now + self.interval);
                true
            }
            None => false,
        }
    }

    /// All that is about this pool is over: it is gone. Whether anything was.
    pub(crate) fn clear_pool(&mut self, pool: &PoolName, at: Timestamp, now: Instant) -> bool {
        let of_pool = self.open.keys().filter(|topic| topic.pool.as_ref() == Some(pool)).cloned();
        let topics: Vec<Topic> = of_pool.collect();
        topics.iter().filter(|topic| self.clear(topic, at, now)).count() > 0
    }

    /// Those that are over for good by now, the first one first.
    pub(crate) fn settle(&mut self, now: Instant) -> Vec<Alert> {
        let settled = self.open.extract_if(|_, entry| entry.settles_at.is_some_and(|at| at <= now));
        let mut settled: Vec<Alert> = settled.map(|(_, entry)| entry.alert).collect();
        settled.sort_by_key(|alert| (alert.until, alert.id));
        self.past.extend(settled.iter().cloned());
        settled
    }

    /// When [`AlertTable::settle`] has something to give next.
    pub(crate) fn settles_at(&self) -> Option<Instant> {
        self.open.values().filter_map(|entry| entry.settles_at).min()
    }

    /// All, the newest first.
    pub(crate) fn list(&self) -> Vec<Alert> {
        let mut all: Vec<Alert> = self.open.values().map(|entry| &entry.alert).chain(&self.past).cloned().collect();
        all.sort_by_key(|alert| std::cmp::Reverse((alert.since, alert.id)));
        all
    }

    /// Those that last, the newest first.
    pub(crate) fn firing(&self) -> Vec<Alert> {
        self.list().into_iter().filter(|alert| alert.until.is_none()).collect()
    }

    /// Keeps to the capacity: first goes what ended first, then what is over and may come back, then what began first.
    fn make_room(&mut self) {
        while self.open.len() + self.past.len() > CAPACITY {
            if self.past.pop_front().is_some() {
                continue;
            }
            let rank = |entry: &AlertEntry| {
                (entry.alert.until.is_none(), entry.alert.until, entry.alert.since, entry.alert.id)
            };
            let Some(topic) = self.open.iter().min_by_key(|(_, entry)| rank(entry)).map(|(topic, _)| topic.clone())
            else {
                return;
            };
            self.open.remove(&topic);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MINUTE: Duration = Duration::from_secs(60);

    fn topic(subject: &str) -> Topic {
        Topic { kind: AlertKind::Degraded, pool: None, subject: subject.to_owned() }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn raise(book: &mut AlertTable, subject: &str, seconds: i64) -> Option<Alert> {
        book.raise(topic(subject), format!("{subject} at {seconds}"), at(seconds))
    }

    fn listed(book: &AlertTable) -> Vec<(String, Option<Timestamp>, u64)> {
        book.list().into_iter().map(|alert| (alert.subject, alert.until, alert.count)).collect()
    }

    #[test]
    fn one_that_lasts_is_counted_and_not_repeated() {
        let mut book = AlertTable::new(MINUTE);
        let first = raise(&mut book, "store", 1).expect("a new one");
        assert_eq!(raise(&mut book, "store", 2), None);
        assert!(raise(&mut book, "registry", 3).is_some(), "another subject");
        let elsewhere = Topic { pool: Some("coders".parse().expect("a name")), ..topic("store") };
        assert!(book.raise(elsewhere, String::new(), at(4)).is_some(), "another pool");
        let last = book.list().pop().expect("the oldest is the last");
        assert_eq!((last.id, last.count, last.since), (first.id, 2, at(1)));
        assert_eq!(last.message, "store at 2", "the latest words");
    }

    #[test]
    fn one_that_comes_back_soon_is_the_same_and_later_another() {
        let (mut book, now) = (AlertTable::new(MINUTE), Instant::now());
        let first = raise(&mut book, "store", 1).expect("a new one");
        assert_eq!(book.firing().len(), 1);
        assert!(book.clear(&topic("store"), at(2), now));
        assert!(book.firing().is_empty(), "it may come back, and is over for now");
        assert!(!book.clear(&topic("store"), at(3), now), "it is over already");
        assert!(!book.clear(&topic("registry"), at(3), now), "there is none");
        assert_eq!(listed(&book), [("store".to_owned(), Some(at(2)), 1)]);
        assert_eq!(book.settles_at(), Some(now + MINUTE));
        assert_eq!(book.settle(now + MINUTE / 2), []);
        assert_eq!(raise(&mut book, "store", 30), None, "the same");
        assert_eq!(book.settle(now + 2 * MINUTE), [], "it lasts again");
        assert!(book.clear(&topic("store"), at(60), now + MINUTE));
        let settled = book.settle(now + 2 * MINUTE);
        assert_eq!((settled.len(), settled[0].id, settled[0].until, settled[0].count), (1, first.id, Some(at(60)), 2));
        assert_eq!((book.settle(now + 3 * MINUTE).len(), book.settles_at()), (0, None));
        let second = raise(&mut book, "store", 200).expect("another one");
        assert_ne!(second.id, first.id);
        assert_eq!(listed(&book), [("store".to_owned(), None, 1), ("store".to_owned(), Some(at(60)), 2)]);
    }

    #[test]
    fn what_was_wrong_in_a_pool_ends_with_it() {
        let (mut book, now) = (AlertTable::new(MINUTE), Instant::now());
        let in_pool = |pool: &str, kind| Topic { kind, pool: Some(pool.parse().expect("a name")), ..topic("") };
        raise(&mut book, "store", 1);
        for topic in [
            in_pool("coders", AlertKind::BreakerOpen),
            in_pool("coders", AlertKind::DeadLetter),
            in_pool("testers", AlertKind::DeadLetter),
        ] {
            book.raise(topic, String::new(), at(2));
        }
        let coders: PoolName = "coders".parse().expect("a name");
        assert!(book.clear_pool(&coders, at(3), now));
        assert!(!book.clear_pool(&coders, at(3), now), "nothing is left of it");
        let over: Vec<bool> = book.list().iter().map(|alert| alert.until.is_some()).collect();
        let of_coders: Vec<bool> = book.list().iter().map(|alert| alert.pool.as_ref() == Some(&coders)).collect();
        assert_eq!((over.iter().filter(|over| **over).count(), &over), (2, &of_coders));
    }

    #[test]
    fn what_is_over_goes_first_when_there_are_too_many() {
        let (mut book, now) = (AlertTable::new(MINUTE), Instant::now());
        for n in 0..CAPACITY {
            raise(&mut book, &n.to_string(), n as i64);
        }
        let gone =
            |book: &AlertTable, subject: usize| !book.list().iter().any(|alert| alert.subject == subject.to_string());
        book.clear(&topic("20"), at(2_000), now);
        book.settle(now + MINUTE);
        book.clear(&topic("10"), at(3_000), now);
        for (n, first) in [20, 10, 0, 1].into_iter().enumerate() {
            assert!(!gone(&book, first));
            raise(&mut book, &(5_000 + n).to_string(), 5_000);
            assert_eq!((book.list().len(), gone(&book, first)), (CAPACITY, true), "{first}");
        }
    }
}
