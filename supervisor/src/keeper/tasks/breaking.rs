//! The circuit breaker of the pool: where too many attempts fail, tasks wait.

use std::sync::Arc;
use std::time::Instant;

use muster_domain::time::later;
use muster_domain::{AttemptEnd, BreakerPolicy, EventDraft, EventKind, PoolName, TaskId, Timestamp, counted};
use muster_policy::breaker::{Breaker, BreakerChange, BreakerHold};

use super::PoolNow;
use crate::alerts::{AlertKind, Alerts};
use crate::view::{BreakerState, BreakerView};

/// Characters of the latest failure that an alert shows.
const LONGEST_LATEST: usize = 300;

/// When a breaker opened, by the wall clock. Read once, so that whoever looks twice sees the same.
#[derive(Clone, Copy, Debug)]
struct BreakerOpened {
    /// The first time.
    since: Timestamp,
    /// When probes may start.
    next_probe_at: Timestamp,
}

/// The breaker, and what is told of it: what counts the failures of a pool.
pub(super) struct PoolBreaker {
    breaker: Breaker,
    /// When it opened, while it is open.
    opened: Option<BreakerOpened>,
    /// Tasks that were given up, as of the latest count.
    dead: u64,
    alerts: Arc<Alerts>,
}

impl PoolBreaker {
    pub(super) fn new(policy: BreakerPolicy, alerts: Arc<Alerts>, now: Instant) -> Self {
        Self { breaker: Breaker::new(policy, now), opened: None, dead: 0, alerts }
    }

    /// Tasks that may start now.
    pub(super) fn allows(&self, now: Instant) -> u32 {
        self.breaker.allows(now)
    }

    /// How it holds up the next task, if it does.
    pub(super) fn hold(&self, now: Instant) -> Option<BreakerHold> {
        self.breaker.hold(now)
    }

    /// When it will allow more by itself.
    pub(super) fn changes_at(&self, now: Instant) -> Option<Instant> {
        self.breaker.changes_at(now).map(|wait| later(now, wait))
    }

    /// A task has started.
    pub(super) fn begun(&mut self, task: TaskId) {
        self.breaker.begun(task);
    }

    /// An attempt has ended. The event, where the breaker moved.
    pub(super) fn count_end(&mut self, task: TaskId, end: &AttemptEnd, pool: PoolNow<'_>) -> Option<EventDraft> {
        let moved = self.breaker.ended(task, end, pool.now)?;
        self.note_opening(&moved, pool);
        let (name, alerts) = (pool.name(), &self.alerts);
        match moved {
            BreakerChange::Opened(reason) => {
                alerts.raise(AlertKind::BreakerOpen, Some(name), "", with_latest(&reason, end));
                tracing::warn!(pool.name = %name, reason, "the circuit breaker of a pool is open");
                return Some(pool.event(EventKind::BreakerOpened, reason));
            }
            BreakerChange::Closed(reason) => {
                alerts.clear(AlertKind::BreakerOpen, Some(name), "");
                tracing::info!(pool.name = %name, reason, "the circuit breaker of a pool is closed");
                return Some(pool.event(EventKind::BreakerClosed, reason));
            }
            BreakerChange::Failing(reason) => {
                tracing::warn!(pool.name = %name, reason, "many tasks of a pool fail");
                alerts.raise(AlertKind::FailureRate, Some(name), "", with_latest(&reason, end));
            }
            BreakerChange::Recovered => alerts.clear(AlertKind::FailureRate, Some(name), ""),
        }
        None
    }

    fn note_opening(&mut self, moved: &BreakerChange, pool: PoolNow<'_>) {
        match moved {
            // For the first time, or for another pause.
            BreakerChange::Opened(_) => {
                let since = self.opened.map_or(pool.at, |opened| opened.since);
                let pause = self.breaker.changes_at(pool.now).unwrap_or_default();
                self.opened = Some(BreakerOpened { since, next_probe_at: pool.at.after(pause) });
            }
            BreakerChange::Closed(_) => self.opened = None,
            BreakerChange::Failing(_) | BreakerChange::Recovered => {}
        }
    }

    /// As it is shown.
    pub(super) fn view(&self, now: Instant) -> BreakerView {
        let breaker = &self.breaker;
        let (Some(reason), Some(opened)) = (breaker.reason(), self.opened) else {
            let state = if breaker.policy().enabled { BreakerState::Closed } else { BreakerState::Off };
            return BreakerView::quiet(state);
        };
        let BreakerOpened { since, next_probe_at } = opened;
        let (state, next_probe_at) = match breaker.changes_at(now) {
            Some(_) => (BreakerState::Open, Some(next_probe_at)),
            None => (BreakerState::HalfOpen, None),
        };
        BreakerView { state, reason: Some(reason), since: Some(since), next_probe_at }
    }

    /// A probe that no agent ran makes room for another.
    pub(super) fn uncount(&mut self, task: TaskId, now: Instant) {
        let end = AttemptEnd::NotBegun { message: String::new() };
        let _ = self.breaker.ended(task, &end, now);
    }

    /// One more task is dead.
    pub(super) fn one_dead(&mut self, pool: &PoolName) {
        self.count_dead(self.dead + 1, pool);
    }

    /// One of them is tried again.
    pub(super) fn one_revived(&mut self, pool: &PoolName) {
        self.count_dead(self.dead.saturating_sub(1), pool);
    }

    /// So many tasks of the pool are dead now, and wait for a person.
    pub(super) fn count_dead(&mut self, dead: u64, pool: &PoolName) {
        let before = std::mem::replace(&mut self.dead, dead);
        if dead > before {
            let (were, them) = if dead == 1 { ("was", "it") } else { ("were", "them") };
            let tasks = counted(dead, "task");
            let message = format!("{tasks} {were} given up: `muster tasks --state dead` lists {them}");
            self.alerts.raise(AlertKind::DeadLetter, Some(pool), "", message);
        } else if dead == 0 && before > 0 {
            self.alerts.clear(AlertKind::DeadLetter, Some(pool), "");
        }
    }

    /// The pool's bounds were changed.
    pub(super) fn reconfigured(&mut self, pool: PoolNow<'_>) {
        let policy = pool.config().breaker;
        if self.breaker.policy() == policy {
            return;
        }
        (self.breaker, self.opened) = (Breaker::new(policy, pool.now), None);
        for kind in [AlertKind::BreakerOpen, AlertKind::FailureRate] {
            self.alerts.clear(kind, Some(pool.name()), "");
        }
    }
}

/// A rate with the failure that was the last straw, cut where a program says much.
fn with_latest(reason: &str, end: &AttemptEnd) -> String {
    let latest: String = end.to_string().chars().take(LONGEST_LATEST).collect();
    format!("{reason}; the latest {latest}")
}
