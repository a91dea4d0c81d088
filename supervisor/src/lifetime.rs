//! For how long supervisors have lived, and what their clock did meanwhile.
//!
//! What is kept for a time after its end is kept for so much time in which a supervisor lived (`muster_policy::retention`), so each
//! notes since when it lives, and again and again that it does. A clock that is set ends one such life and begins another;
//! it is said here, once. Keepers move the waits of their tasks themselves (`keeper/time.rs`), but for what happened while nobody
//! led: a clock that is behind the time at which the former supervisor was seen was set back since.

use std::sync::Arc;
use std::time::Duration;

use muster_domain::{EventDraft, EventKind, Timestamp};
use muster_store::{Life, Write};

use crate::clock::{Look, StepGauge};
use crate::context::Context;
use crate::error::SupervisorError;

/// Between two notes.
const INTERVAL: Duration = Duration::from_secs(15);

/// A clock that is behind by less was not set: clocks are kept right in small steps.
const BEHIND: Duration = Duration::from_secs(1);

/// This supervisor's life.
pub(crate) struct Lifetime {
    gauge: StepGauge,
    life: Life,
    /// What is to be stored beside it: tried again until it is.
    writes: Vec<Write>,
}

impl Lifetime {
    /// Begins before anything is read that has a time.
    pub(crate) async fn begin(context: &Context) -> Result<Self, SupervisorError> {
        let mut gauge = StepGauge::new(context.wall.clone());
        let at = gauge.look().at;
        let lives = context.store.lives().await.map_err(|error| context.store_failed(&error))?;
        let behind = lives.first().map(|last| last.seen_at.since(at)).filter(|behind| *behind >= BEHIND);
        let mut writes = Vec::new();
        if let Some(behind) = behind {
            let by_millis = -i64::try_from(behind.as_millis()).unwrap_or(i64::MAX);
            tracing::warn!(
                seconds = behind.as_secs_f64(),
                "the clock is behind the time at which a supervisor was last seen: it was set back; waits are shortened by as much"
            );
            writes.extend([Write::BringBack { to: at }, Write::ShiftWaits { pool: None, by_millis }]);
            writes.push(Write::Event(clock_set(at, by_millis)));
        }
        let life = Life { fence: context.fence, part: 0, began_at: at, seen_at: at };
        writes.push(Write::NoteLife(life));
        context.apply(&writes).await?;
        Ok(Self { gauge, life, writes: Vec::new() })
    }

    /// Notes it for ever.
    pub(crate) async fn run(mut self, context: Arc<Context>) {
        let mut ticks = tokio::time::interval(context.clocks.pass);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let Look { at, set_by } = self.gauge.look();
            if let Some(by_millis) = set_by {
                self.clock_was_set(at, by_millis);
            }
            let is_due = at.since(self.life.seen_at) >= INTERVAL;
            if !is_due && self.writes.is_empty() {
                continue;
            }
            self.life.seen_at = at;
            let mut writes = self.writes.clone();
            writes.push(Write::NoteLife(self.life));
            // Where the store is away it is said elsewhere.
            if context.apply(&writes).await.is_ok() {
                self.writes.clear();
            }
        }
    }

    /// What lies in the future now has ended by now; a life goes by one clock.
    fn clock_was_set(&mut self, at: Timestamp, by_millis: i64) {
        tracing::warn!(
            seconds = by_millis as f64 / 1e3,
            now = %at,
            "the clock was set; delays and waits move with it, moments that were named stay, and nothing is pruned for it"
        );
        self.life = Life { part: self.life.part + 1, began_at: at, seen_at: at, ..self.life };
        if by_millis < 0 {
            self.writes.push(Write::BringBack { to: at });
        }
        self.writes.push(Write::Event(clock_set(at, by_millis)));
    }
}

fn clock_set(at: Timestamp, by_millis: i64) -> EventDraft {
    let (way, seconds) = (if by_millis < 0 { "back" } else { "forward" }, by_millis.unsigned_abs() as f64 / 1e3);
    let reason = format!("set {way} by {seconds:.1} s");
    EventDraft { at, kind: EventKind::ClockSet, pool_name: None, agent_id: None, process_id: None, reason }
}
