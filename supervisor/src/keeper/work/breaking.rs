//! The circuit breaker of the pool: where too many attempts fail, tasks wait.

use muster_domain::{AttemptEnd, EventKind, TaskId, Timestamp, counted};
use muster_policy::breaker::{Breaker, Moved};

use super::plan::Plan;
use crate::alerts::AlertKind;
use crate::keeper::{Keeper, Round};
use crate::view::{BreakerState, BreakerView};

/// Characters of the latest failure that an alert shows.
const LONGEST_LATEST: usize = 300;

/// When a breaker opened, by the wall clock. Read once, so that whoever looks twice sees the same.
#[derive(Clone, Copy, Debug)]
pub(super) struct Opened {
    /// The first time.
    since: Timestamp,
    /// When probes may start.
    next_probe_at: Timestamp,
}

impl Keeper {
    /// An attempt has ended; the breaker may move.
    pub(super) fn count_end(&mut self, task: TaskId, end: &AttemptEnd, plan: &mut Plan, round: &Round) {
        let Some(moved) = self.desk.breaker.ended(task, end, round.now) else { return };
        self.note_opening(&moved, round);
        let (pool, alerts) = (&self.model.spec.pool_name, &self.context.alerts);
        let (kind, reason) = match moved {
            Moved::Opened(reason) => {
                alerts.raise(AlertKind::BreakerOpen, Some(pool), "", with_latest(&reason, end));
                tracing::warn!(pool.name = %pool, reason, "the circuit breaker of a pool is open");
                (EventKind::BreakerOpened, reason)
            }
            Moved::Closed(reason) => {
                alerts.clear(AlertKind::BreakerOpen, Some(pool), "");
                tracing::info!(pool.name = %pool, reason, "the circuit breaker of a pool is closed");
                (EventKind::BreakerClosed, reason)
            }
            Moved::Failing(reason) => {
                tracing::warn!(pool.name = %pool, reason, "many tasks of a pool fail");
                return alerts.raise(AlertKind::FailureRate, Some(pool), "", with_latest(&reason, end));
            }
            Moved::Recovered => return alerts.clear(AlertKind::FailureRate, Some(pool), ""),
        };
        plan.events.push(muster_domain::EventDraft { reason, ..self.pool_event(kind, round.at) });
    }

    fn note_opening(&mut self, moved: &Moved, round: &Round) {
        match moved {
            // For the first time, or for another pause.
            Moved::Opened(_) => {
                let since = self.desk.opened.map_or(round.at, |opened| opened.since);
                let pause = self.desk.breaker.changes_at(round.now).unwrap_or_default();
                self.desk.opened = Some(Opened { since, next_probe_at: round.at.after(pause) });
            }
            Moved::Closed(_) => self.desk.opened = None,
            Moved::Failing(_) | Moved::Recovered => {}
        }
    }

    /// The breaker as it is shown.
    pub(super) fn view_breaker(&self, round: &Round) -> BreakerView {
        let breaker = &self.desk.breaker;
        let (Some(reason), Some(opened)) = (breaker.reason(), self.desk.opened) else {
            let state = if breaker.policy().enabled { BreakerState::Closed } else { BreakerState::Off };
            return BreakerView::quiet(state);
        };
        let Opened { since, next_probe_at } = opened;
        let (state, next_probe_at) = match breaker.changes_at(round.now) {
            Some(_) => (BreakerState::Open, Some(next_probe_at)),
            None => (BreakerState::HalfOpen, None),
        };
        BreakerView { state, reason: Some(reason), since: Some(since), next_probe_at }
    }

    /// A probe that no agent ran makes room for another.
    pub(super) fn uncount(&mut self, task: TaskId, round: &Round) {
        let end = AttemptEnd::NotBegun { message: String::new() };
        let _ = self.desk.breaker.ended(task, &end, round.now);
    }

    /// So many tasks of the pool are dead now, and wait for a person.
    pub(in crate::keeper) fn count_dead(&mut self, dead: u64) {
        let (pool, before) = (&self.model.spec.pool_name, std::mem::replace(&mut self.desk.dead, dead));
        if dead > before {
            let (were, them) = if dead == 1 { ("was", "it") } else { ("were", "them") };
            let tasks = counted(dead, "task");
            let message = format!("{tasks} {were} given up: `muster tasks --state dead` lists {them}");
            self.context.alerts.raise(AlertKind::DeadLetter, Some(pool), "", message);
        } else if dead == 0 && before > 0 {
            self.context.alerts.clear(AlertKind::DeadLetter, Some(pool), "");
        }
    }

    /// The pool's bounds were changed.
    pub(in crate::keeper) fn tasks_reconfigured(&mut self, round: &mut Round) {
        let config = &self.model.spec.config;
        if self.desk.breaker.policy() != config.breaker {
            self.desk.breaker = Breaker::new(config.breaker, round.now);
            self.desk.opened = None;
            for kind in [AlertKind::BreakerOpen, AlertKind::FailureRate] {
                self.context.alerts.clear(kind, Some(&self.model.spec.pool_name), "");
            }
        }
        if !self.one_task_each() {
            self.desk.spent.clear();
        }
        // Agents may have more or less room.
        round.touched.extend(self.model.agent_ids());
    }
}

/// A rate with the failure that was the last straw, cut where a program says much.
fn with_latest(reason: &str, end: &AttemptEnd) -> String {
    let latest: String = end.to_string().chars().take(LONGEST_LATEST).collect();
    format!("{reason}; the latest {latest}")
}
