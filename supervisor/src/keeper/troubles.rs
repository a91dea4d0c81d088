//! What keeps the agents of a pool from starting, as it was seen last: an alert from when it begins until it is over, and part of what
//! whoever waits for an agent is told.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

use muster_domain::PoolName;

use crate::alerts::{AlertKind, Alerts};

/// What may be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum StartTrouble {
    /// A program could not be started, or ended before it was ready.
    Program,
    /// A worker could not be started, or died before it was ready.
    Worker,
    /// There is no room until workers with an older definition of the runtime are empty.
    OldRuntime,
    /// There is no room for agents that tasks wait for, and that lasts.
    Capacity,
}

impl StartTrouble {
    /// Its alert, and of what that is. Of attempts at tasks there is one of the same kind.
    const fn alert(self) -> (AlertKind, &'static str) {
        match self {
            Self::Program => (AlertKind::StartFailed, "agents"),
            Self::Worker => (AlertKind::StartFailed, "workers"),
            Self::OldRuntime => (AlertKind::OldRuntime, ""),
            Self::Capacity => (AlertKind::NoCapacity, ""),
        }
    }
}

/// The troubles of a pool.
pub(super) struct StartTroubles {
    /// Those that last, in words.
    lasting: BTreeMap<StartTrouble, String>,
    /// When the latest start of an agent that worked was ordered.
    worked: Option<Instant>,
    alerts: Arc<Alerts>,
    pool: PoolName,
}

impl StartTroubles {
    pub(super) fn new(alerts: Arc<Alerts>, pool: PoolName) -> Self {
        Self { lasting: BTreeMap::new(), worked: None, alerts, pool }
    }

    /// What kept others of the pool from starting, if anything did. Not what an agent without a slot says by itself.
    pub(super) fn of_starts(&self) -> Option<String> {
        let words = [StartTrouble::Program, StartTrouble::Worker]
            .iter()
            .filter_map(|what| self.lasting.get(what).map(String::as_str));
        let words: Vec<&str> = words.collect();
        (!words.is_empty()).then(|| words.join("; "))
    }

    /// Something is wrong, or still is.
    pub(super) fn begin(&mut self, what: StartTrouble, words: String) {
        let (kind, subject) = what.alert();
        self.alerts.raise(kind, Some(&self.pool), subject, words.clone());
        self.lasting.insert(what, words);
    }

    /// Something is wrong: told when it begins, not again.
    pub(super) fn begin_once(&mut self, what: StartTrouble, words: String) {
        if !self.lasting.contains_key(&what) {
            tracing::warn!(pool.name = %self.pool, "{words}");
            self.begin(what, words);
        }
    }

    /// That is over.
    pub(super) fn end(&mut self, what: StartTrouble) {
        if self.lasting.remove(&what).is_some() {
            let (kind, subject) = what.alert();
            self.alerts.clear(kind, Some(&self.pool), subject);
        }
    }

    /// An agent runs, whose start was ordered then.
    pub(super) fn program_started(&mut self, ordered: Option<Instant>) {
        self.worked = self.worked.max(ordered);
        self.end(StartTrouble::Program);
    }

    /// One does not. Where another one that was ordered later runs, that is old news: what was wrong is over.
    pub(super) fn program_failed(&mut self, ordered: Option<Instant>, words: String) {
        let is_old = ordered.zip(self.worked).is_some_and(|(ordered, worked)| ordered < worked);
        if !is_old {
            self.begin(StartTrouble::Program, words);
        }
    }

    /// Agents or tasks wait for this room, that only the end of workers with an older definition makes; or none does. Told when it
    /// begins, not again.
    pub(super) fn held_by_outdated(&mut self, room: Option<String>) {
        let Some(room) = room else { return self.end(StartTrouble::OldRuntime) };
        let words =
            format!("what is to start waits for {room} (`muster ps -w` shows them, `muster restart` moves an agent)");
        self.begin_once(StartTrouble::OldRuntime, words);
    }
}
