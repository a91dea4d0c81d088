//! The health board: every way in which the supervisor is less than it should be, by subject. A failure is visible
//! here, in the log once, as an event, and as an alert, from when it begins until it is over.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use muster_domain::{EventDraft, EventKind, counted};
use muster_store::{StoreError, Write};
use tokio::sync::mpsc;

use crate::alerts::{AlertKind, Alerts};
use crate::clock::WallClock;
use crate::error::SupervisorError;
use crate::losses::Losses;
use crate::slowness::{Pace, Slowness};
use crate::statements::Statements;

/// The file of the database, where it is one: not the store's own word, since the store goes on with a file that is gone.
pub const DATABASE_FILE: &str = "database file";

/// What is around it, and around the folders of the agents.
pub const DATA_FOLDER: &str = "data folder";

/// What is in that file is no database any more. Nothing takes that back while this process has it open.
const DAMAGE: &str = "database";

/// Statements fail, though the store is there: others may succeed.
const STATEMENTS: &str = "store statements";

/// Commits go through, and take long.
const COMMITS: &str = "store commits";

/// Workers that may be dead, and that nobody can ask or end.
pub(crate) const UNREACHABLE: &str = "unreachable workers";

/// Subjects without which nothing can be stored...
const STORE: [&str; 3] = ["store", DATABASE_FILE, DAMAGE];

/// ... and those without which nothing new is begun.
const NEEDED: [&str; 4] = ["registry", STORE[0], STORE[1], STORE[2]];

/// ... and those without which no program has a place: a first start that fails is final, so it is not tried.
const PLACE: [&str; 5] = [NEEDED[0], NEEDED[1], NEEDED[2], NEEDED[3], DATA_FOLDER];

/// Subjects that are over only when a person has done what their words say.
const BY_HAND: [&str; 3] = [DATABASE_FILE, DAMAGE, DATA_FOLDER];

/// Subjects for which an agent may start late, or not at all.
const HINDRANCES: [&str; 11] = [
    NEEDED[0],
    NEEDED[1],
    NEEDED[2],
    NEEDED[3],
    STATEMENTS,
    COMMITS,
    DATA_FOLDER,
    "reports",
    "workers",
    UNREACHABLE,
    "silence",
];

pub(crate) struct HealthBoard {
    subjects: Mutex<BTreeMap<&'static str, String>>,
    events: mpsc::UnboundedSender<EventDraft>,
    alerts: Arc<Alerts>,
    /// For the times of events.
    wall: WallClock,
    losses: Mutex<Losses>,
    statements: Mutex<Statements>,
    slowness: Mutex<Slowness>,
}

impl HealthBoard {
    /// Transitions are told to `events` and `alerts`.
    pub(crate) fn new(events: mpsc::UnboundedSender<EventDraft>, alerts: Arc<Alerts>, wall: WallClock) -> Self {
        Self {
            subjects: Mutex::default(),
            events,
            alerts,
            wall,
            losses: Mutex::default(),
            statements: Mutex::default(),
            slowness: Mutex::default(),
        }
    }

    /// Something is away or wrong. Only the first word on a subject is logged.
    pub(crate) fn degrade(&self, subject: &'static str, reason: String) {
        let previous = self.subjects().insert(subject, reason.clone());
        self.alerts.raise(AlertKind::Degraded, None, subject, reason.clone());
        if previous.is_none() {
            tracing::warn!(subject, reason, "health is degraded");
            self.tell(EventKind::HealthDegraded, format!("{subject}: {reason}"));
        }
    }

    /// That is over.
    pub(crate) fn recover(&self, subject: &'static str) {
        if self.subjects().remove(subject).is_some() {
            tracing::info!(subject, "health is back");
            self.alerts.clear(AlertKind::Degraded, None, subject);
            self.tell(EventKind::HealthRecovered, subject.to_owned());
        }
    }

    /// The store could not do this batch, or, where it is empty, not read something.
    pub(crate) fn store_failed(&self, writes: &[Write], error: &StoreError, now: Instant) {
        match error {
            StoreError::Failed(_) | StoreError::Corrupt(_) => {
                self.statements().failed(writes, now);
                self.degrade(STATEMENTS, error.to_string());
            }
            StoreError::Damaged(_) => self.degrade(
                DAMAGE,
                format!(
                    "{error}; end the server and put a good copy of it back. Nothing new is taken until then; agents that run \
                     go on"
                ),
            ),
            _ => self.degrade("store", error.to_string()),
        }
    }

    /// The store has done this batch.
    pub(crate) fn store_succeeded(&self, writes: &[Write]) {
        self.recover("store");
        if self.statements().succeeded(writes) {
            self.recover(STATEMENTS);
        }
    }

    /// A commit that was asked for at `begun` went through just now.
    pub(crate) fn commit_took(&self, begun: Instant, now: Instant) {
        // Held to the end: what an earlier commit said must not come behind what a later one says.
        let mut slowness = self.slowness.lock().unwrap_or_else(PoisonError::into_inner);
        match slowness.took(begun, now) {
            Pace::Quick => self.recover(COMMITS),
            Pace::Late => {}
            Pace::Slow => {
                let seconds = now.saturating_duration_since(begun).as_secs_f64();
                self.degrade(
                    COMMITS,
                    format!(
                        "the store is slow: commits take {seconds:.1} s, and all that waits for one is late; see to its disk, its \
                         load, its network, and to who holds its locks"
                    ),
                );
            }
        }
    }

    /// Looks whether statements fail no more.
    pub(crate) fn look_at_statements(&self, now: Instant) {
        if self.statements().are_over(now) {
            self.recover(STATEMENTS);
        }
    }

    fn statements(&self) -> MutexGuard<'_, Statements> {
        self.statements.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A worker was lost. The second within a minute is an alert, and so are all until a minute was quiet.
    pub(crate) fn worker_lost(&self, words: &str, now: Instant) {
        if let Some(lost) = self.losses().add(now) {
            let lost = counted(lost as u64, "worker");
            let message = format!("{lost} were lost within a minute, and are replaced; the latest: {words}");
            self.alerts.raise(AlertKind::WorkersLost, None, "workers", message);
        }
    }

    /// Looks whether workers are lost no more.
    pub(crate) fn look_at_losses(&self, now: Instant) {
        if self.losses().are_over(now) {
            self.alerts.clear(AlertKind::WorkersLost, None, "workers");
        }
    }

    fn losses(&self) -> MutexGuard<'_, Losses> {
        self.losses.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why nothing new is begun now, if so.
    pub(crate) fn refusal(&self) -> Option<SupervisorError> {
        self.refuse(&NEEDED)
    }

    /// Why no agent is begun now, if so.
    pub(crate) fn start_refusal(&self) -> Option<SupervisorError> {
        self.refuse(&PLACE)
    }

    /// What is wrong with the registry or the store, if anything is.
    pub(crate) fn missing(&self) -> Option<String> {
        self.all_of(&NEEDED)
    }

    /// What may be in the way of an agent that is to start, if anything is.
    pub(crate) fn hindrance(&self) -> Option<String> {
        self.all_of(&HINDRANCES)
    }

    /// Why nothing can be stored now, if so.
    pub(crate) fn store_refusal(&self) -> Option<SupervisorError> {
        self.refuse(&STORE)
    }

    /// An error where nothing can be stored now.
    pub(crate) fn may_store(&self) -> Result<(), SupervisorError> {
        self.store_refusal().map_or(Ok(()), Err)
    }

    /// Why nothing can be stored until a person has seen to it, if so: the store itself may answer all the same.
    pub(crate) fn store_broken(&self) -> Option<String> {
        self.all_of(&[DATABASE_FILE, DAMAGE])
    }

    /// What is wrong with what is around the database, if anything is.
    pub(crate) fn folder_broken(&self) -> Option<String> {
        self.all_of(&[DATA_FOLDER])
    }

    fn refuse(&self, wanted: &[&'static str]) -> Option<SupervisorError> {
        let what = self.all_of(wanted)?;
        Some(match wanted.iter().any(|subject| BY_HAND.contains(subject) && self.is_degraded(subject)) {
            true => SupervisorError::unavailable_until_mended(what),
            false => SupervisorError::unavailable(what),
        })
    }

    /// The words on all of these: what is wrong with one may be what helps with another, as where the folder of both is gone.
    fn all_of(&self, wanted: &[&'static str]) -> Option<String> {
        let subjects = self.subjects();
        let mut words: Vec<&str> = wanted.iter().filter_map(|subject| Some(subjects.get(subject)?.as_str())).collect();
        if let Some(folder) = subjects.get(DATA_FOLDER).filter(|_| !words.is_empty() && !wanted.contains(&DATA_FOLDER))
        {
            words.push(folder);
        }
        (!words.is_empty()).then(|| words.join("; "))
    }

    /// Whether this subject is on the board.
    pub(crate) fn is_degraded(&self, subject: &'static str) -> bool {
        self.subjects().contains_key(subject)
    }

    /// Everything on the board, in words.
    pub(crate) fn read(&self) -> Vec<String> {
        self.subjects().iter().map(|(subject, reason)| format!("{subject}: {reason}")).collect()
    }

    fn tell(&self, kind: EventKind, reason: String) {
        let event = EventDraft { at: self.wall.now(), kind, pool_name: None, agent_id: None, process_id: None, reason };
        // Nobody listens any more in a shutdown.
        let _ = self.events.send(event);
    }

    fn subjects(&self) -> MutexGuard<'_, BTreeMap<&'static str, String>> {
        self.subjects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::alerts::AlertParts;

    fn health(events: mpsc::UnboundedSender<EventDraft>) -> (HealthBoard, Arc<Alerts>) {
        let alerts = Arc::new(Alerts::new(&AlertParts::default(), WallClock::default()));
        (HealthBoard::new(events, alerts.clone(), WallClock::default()), alerts)
    }

    #[test]
    fn a_subject_is_told_once_when_it_begins_and_once_when_it_ends() {
        let (events, mut told) = mpsc::unbounded_channel();
        let (health, alerts) = health(events);
        health.degrade("store", "the disk is full".to_owned());
        health.degrade("store", "the disk is still full".to_owned());
        assert_eq!(health.read(), ["store: the disk is still full"]);
        assert!(health.refusal().is_some());
        health.recover("store");
        health.recover("store");
        assert!(health.refusal().is_none());
        let kinds: Vec<EventKind> = std::iter::from_fn(|| told.try_recv().ok()).map(|event| event.kind).collect();
        assert_eq!(kinds, [EventKind::HealthDegraded, EventKind::HealthRecovered]);
        let [alert] = alerts.list().try_into().expect("one alert");
        assert_eq!((alert.kind, alert.subject.as_str(), alert.count), (AlertKind::Degraded, "store", 2));
        assert!(alert.until.is_some(), "it is over");
    }

    #[test]
    fn a_store_that_writes_into_a_file_that_is_gone_stores_nothing() {
        let (events, _told) = mpsc::unbounded_channel();
        let (health, _) = health(events);
        health.degrade(DATABASE_FILE, "removed".to_owned());
        // A commit into that file succeeds.
        health.recover("store");
        assert!(health.refusal().is_some() && health.store_refusal().is_some());
        let words = health.refusal().map(|refusal| refusal.to_string());
        assert_eq!(words.as_deref(), Some("removed; nothing was changed"), "time alone brings it not back");
        assert_eq!(health.store_broken().as_deref(), Some("removed"));
        health.recover(DATABASE_FILE);
        health.degrade("store", "it hangs".to_owned());
        let words = health.refusal().map(|refusal| refusal.to_string());
        assert_eq!(words.as_deref(), Some("it hangs; nothing was changed, try again in 1 s"));
        assert_eq!(health.store_broken(), None);
        health.recover("store");
        assert!(health.refusal().is_none() && health.store_refusal().is_none());
    }

    #[test]
    fn a_statement_that_fails_is_named_though_others_succeed_and_refuses_nobody() {
        let (events, _told) = mpsc::unbounded_channel();
        let (health, alerts) = health(events);
        let failing = [Write::ShiftWaits { pool: None, by_millis: 1, step: String::new() }];
        health.store_failed(&failing, &StoreError::Failed("no such table: tasks".into()), Instant::now());
        health.store_succeeded(&[Write::PauseAll { paused: true }]);
        assert_eq!(health.read(), ["store statements: the store failed: no such table: tasks"]);
        assert!(health.refusal().is_none() && health.hindrance().is_some());
        health.store_succeeded(&failing);
        assert!(health.read().is_empty() && alerts.list()[0].until.is_some());
    }

    #[test]
    fn a_store_whose_commits_take_long_is_named_and_refuses_nobody() {
        let (events, _told) = mpsc::unbounded_channel();
        let (health, alerts) = health(events);
        let (start, second) = (Instant::now(), std::time::Duration::from_secs(1));
        for turn in 0..6 {
            assert!(health.read().is_empty());
            health.commit_took(start + second * (2 * turn), start + second * (2 * turn + 2));
        }
        let words = health.read().join("; ");
        assert!(words.starts_with("store commits: the store is slow: commits take 2.0 s"), "{words}");
        assert!(health.refusal().is_none() && health.hindrance().is_some());
        health.commit_took(start + second * 20, start + second * 20);
        assert!(health.read().is_empty());
        let [alert] = alerts.list().try_into().expect("one alert");
        assert_eq!((alert.kind, alert.subject.as_str()), (AlertKind::Degraded, "store commits"));
        assert!(alert.until.is_some(), "it is over");
    }

    #[test]
    fn a_database_that_is_none_any_more_stays_named() {
        let (events, _told) = mpsc::unbounded_channel();
        let (health, _) = health(events);
        health.store_failed(&[], &StoreError::Damaged("file is not a database".into()), Instant::now());
        health.store_succeeded(&[]);
        assert!(health.refusal().is_some() && health.store_refusal().is_some());
    }

    #[test]
    fn without_the_data_folder_no_agent_is_begun_and_all_else_goes_on() {
        let (events, _told) = mpsc::unbounded_channel();
        let (health, _) = health(events);
        health.degrade(DATA_FOLDER, "it is away".to_owned());
        assert!(health.start_refusal().is_some() && health.hindrance().is_some());
        assert!(health.refusal().is_none() && health.store_refusal().is_none() && health.missing().is_none());
        health.degrade("registry", "no such socket".to_owned());
        assert_eq!(health.missing().as_deref(), Some("no such socket; it is away"), "the folder of the socket");
    }

    #[test]
    fn what_is_not_needed_refuses_nobody() {
        let (events, _told) = mpsc::unbounded_channel();
        let (health, _) = health(events);
        health.degrade("ownership", "best effort".to_owned());
        assert!(health.refusal().is_none());
        assert_eq!(health.read(), ["ownership: best effort"]);
        assert_eq!(health.hindrance(), None);
    }

    #[test]
    fn whoever_waits_for_an_agent_hears_of_workers_that_cannot_be_reached_and_nobody_is_refused() {
        let (events, _told) = mpsc::unbounded_channel();
        let (health, _) = health(events);
        health.degrade("workers", "one hears nothing".to_owned());
        assert!(health.refusal().is_none());
        assert_eq!(health.hindrance().as_deref(), Some("one hears nothing"));
    }
}
