//! What keeps the agents of a pool from starting, as it was seen last: an alert from when it begins until it is over, and part of what
//! whoever waits for an agent is told.

use std::collections::BTreeMap;
use std::time::Instant;

use muster_domain::counted;

use super::{Keeper, Round};
use crate::alerts::AlertKind;
use crate::view::Lack;

/// What may be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Trouble {
    /// A program could not be started, or ended before it was ready.
    Program,
    /// A worker could not be started, or died before it was ready.
    Worker,
    /// There is no room until workers with an older definition of the runtime are empty.
    OldRuntime,
}

impl Trouble {
    /// Its alert, and of what that is. Of attempts at tasks there is one of the same kind.
    const fn alert(self) -> (AlertKind, &'static str) {
        match self {
            Self::Program => (AlertKind::StartFailed, "agents"),
            Self::Worker => (AlertKind::StartFailed, "workers"),
            Self::OldRuntime => (AlertKind::OldRuntime, ""),
        }
    }
}

/// The troubles of a pool.
#[derive(Debug, Default)]
pub(super) struct Troubles {
    /// Those that last, in words.
    lasting: BTreeMap<Trouble, String>,
    /// When the latest start of an agent that worked was ordered.
    worked: Option<Instant>,
}

impl Troubles {
    /// What kept others of the pool from starting, if anything did. Not what an agent without a slot says by itself.
    pub(super) fn of_starts(&self) -> Option<String> {
        let words =
            [Trouble::Program, Trouble::Worker].iter().filter_map(|what| self.lasting.get(what).map(String::as_str));
        let words: Vec<&str> = words.collect();
        (!words.is_empty()).then(|| words.join("; "))
    }
}

impl Keeper {
    /// Something is wrong, or still is.
    pub(super) fn trouble(&mut self, what: Trouble, words: String) {
        let (kind, subject) = what.alert();
        self.context.alerts.raise(kind, Some(&self.model.spec.pool_name), subject, words.clone());
        self.troubles.lasting.insert(what, words);
    }

    /// That is over.
    pub(super) fn no_trouble(&mut self, what: Trouble) {
        if self.troubles.lasting.remove(&what).is_some() {
            let (kind, subject) = what.alert();
            self.context.alerts.clear(kind, Some(&self.model.spec.pool_name), subject);
        }
    }

    /// An agent runs, whose start was ordered then.
    pub(super) fn program_started(&mut self, ordered: Option<Instant>) {
        self.troubles.worked = self.troubles.worked.max(ordered);
        self.no_trouble(Trouble::Program);
    }

    /// One does not. Where another one that was ordered later runs, that is old news: what was wrong is over.
    pub(super) fn program_failed(&mut self, ordered: Option<Instant>, words: String) {
        let is_old = ordered.zip(self.troubles.worked).is_some_and(|(ordered, worked)| ordered < worked);
        if !is_old {
            self.trouble(Trouble::Program, words);
        }
    }

    /// Whether agents or tasks wait for room that only the end of such workers makes. Told when it begins, not again.
    pub(super) fn look_at_outdated(&mut self, round: &Round) {
        let room = self.held_by_outdated().filter(|_| self.tasks.lack(self.pool_now(round)) == Some(Lack::OldRuntime));
        match room {
            None => self.no_trouble(Trouble::OldRuntime),
            Some(_) if self.troubles.lasting.contains_key(&Trouble::OldRuntime) => {}
            Some(room) => {
                let words = format!(
                    "what is to start waits for {room} (`muster ps -w` shows them, `muster restart` moves an agent)"
                );
                tracing::warn!(pool.name = %self.model.spec.pool_name, "{words}");
                self.trouble(Trouble::OldRuntime, words);
            }
        }
    }

    /// For what an agent without a slot waits, where the workers with an older definition of the runtime leave no room.
    pub(super) fn held_by_outdated(&self) -> Option<String> {
        let outdated = counted(self.model.outdated_workers().into(), "worker");
        let runtime = &self.model.spec.runtime;
        self.model.is_held_by_outdated().then(|| {
            format!(
                "a worker with the definition of the runtime {runtime} of today: max_workers is reached, and {outdated} with \
                 an older one must be empty first"
            )
        })
    }
}
