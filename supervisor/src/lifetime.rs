//! For how long supervisors have lived, and what their clock did meanwhile.
//!
//! What is kept for a time after its end is kept for so much time in which a supervisor lived (`muster_policy::retention`), so each
//! notes since when it lives, and again and again that it does. A clock that is set ends one such life and begins another;
//! it is said here, once. Keepers move the waits of their tasks themselves (`keeper/time.rs`), but for what happened while nobody
//! led: a clock that is behind the time at which the former supervisor was seen was set back since. That is judged where both go
//! by the clock of one machine: that of another one may be a little ahead.
//!
//! Of what a step of the clock asks for, only the waits are moved before a supervisor leads, some hundreds at a time. What ended in
//! the future is brought back beside its work.

use std::sync::Arc;
use std::time::Duration;

use muster_domain::{EventDraft, EventKind, Timestamp};
use muster_store::{LifeRow, Machine, Write, WriteOutcome};

use crate::clock::{ClockReading, StepGauge};
use crate::context::Context;
use crate::error::SupervisorError;

/// Between two notes.
const INTERVAL: Duration = Duration::from_secs(15);

/// A clock that is behind by less was not set: clocks are kept right in small steps.
const BEHIND: Duration = Duration::from_secs(1);

/// While the waits of very many tasks are moved, the lead is renewed after so many steps.
const STEPS_BETWEEN_RENEWALS: u32 = 50;

/// This supervisor's life.
pub(crate) struct Lifetime {
    gauge: StepGauge,
    life: LifeRow,
    /// What is to be stored beside it: tried again until it is.
    writes: Vec<Write>,
    /// Whether there may be what ended in the future.
    brings_back: bool,
}

impl Lifetime {
    /// Begins before anything is read that has a time.
    pub(crate) async fn begin(context: &Context) -> Result<Self, SupervisorError> {
        let mut gauge = StepGauge::new(context.settings.wall.clone());
        let at = gauge.look().at;
        // Keepers go on from this reading, so that no step between it and their first turn is missed.
        context.gauge.get_or_init(|| gauge.clone());
        let lives = context.store.lives().await.map_err(|error| context.store_failed(&error))?;
        let machine = machine();
        let behind = |life: &LifeRow| {
            let is_of_this_clock =
                machine.as_ref().zip(life.machine.as_ref()).is_some_and(|(this, that)| this.is(that));
            is_of_this_clock.then(|| life.seen_at.since(at)).filter(|behind| *behind >= BEHIND)
        };
        let mut writes = Vec::new();
        if let Some((last, behind)) = lives.first().and_then(|last| Some((last, behind(last)?))) {
            let by_millis = -i64::try_from(behind.as_millis()).unwrap_or(i64::MAX);
            tracing::warn!(
                seconds = behind.as_secs_f64(),
                "the clock is behind the time at which a supervisor was last seen: it was set back; waits are shortened by as much"
            );
            move_all_waits(context, by_millis, format!("{}.{}", last.fence.0, last.part)).await?;
            writes.push(Write::Event(clock_set(at, by_millis)));
        }
        // Of one before the last too: the supervisor that saw it may not have come to the end of it.
        let brings_back = lives.iter().any(|life| behind(life).is_some());
        let life = LifeRow { fence: context.fence, part: 0, began_at: at, seen_at: at, machine };
        writes.push(Write::NoteLife(life.clone()));
        context.apply(&writes).await?;
        Ok(Self { gauge, life, writes: Vec::new(), brings_back })
    }

    /// Notes it for ever.
    pub(crate) async fn run(mut self, context: Arc<Context>) {
        let mut ticks = tokio::time::interval(context.settings.clocks.pass);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            let ClockReading { at, set_by } = self.gauge.look();
            if let Some(by_millis) = set_by {
                self.clock_was_set(at, by_millis);
            }
            if self.brings_back {
                self.brings_back = context.bring_back(at).await.is_err();
            }
            let is_due = at.since(self.life.seen_at) >= INTERVAL;
            if !is_due && self.writes.is_empty() {
                continue;
            }
            self.life.seen_at = at;
            let mut writes = self.writes.clone();
            writes.push(Write::NoteLife(self.life.clone()));
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
        (self.life.part, self.life.began_at, self.life.seen_at) = (self.life.part + 1, at, at);
        self.brings_back |= by_millis < 0;
        self.writes.push(Write::Event(clock_set(at, by_millis)));
    }
}

/// Moves the waits of all pools. A supervisor that does not come to the end of it leaves the rest to the next one, which knows by
/// the name of the step what was moved.
async fn move_all_waits(context: &Context, by_millis: i64, step: String) -> Result<(), SupervisorError> {
    let shift = [Write::ShiftWaits { pool: None, by_millis, step }];
    for count in 1_u32.. {
        if context.apply(&shift).await?.contains(&WriteOutcome::Unchanged) {
            break;
        }
        if count.is_multiple_of(STEPS_BETWEEN_RENEWALS) {
            let renewed = context.store.renew(context.fence, context.settings.clocks.lease).await;
            renewed.map_err(|error| context.store_failed(&error))?;
        }
    }
    Ok(())
}

/// This machine. Where it can't be told, no step is judged by the clock of a former supervisor.
fn machine() -> Option<Machine> {
    let own = muster_process::identity::own().ok()?;
    Some(Machine { host: own.host, boot_id: own.boot_id })
}

fn clock_set(at: Timestamp, by_millis: i64) -> EventDraft {
    let (way, seconds) = (if by_millis < 0 { "back" } else { "forward" }, by_millis.unsigned_abs() as f64 / 1e3);
    let reason = format!("set {way} by {seconds:.1} s");
    EventDraft { at, kind: EventKind::ClockSet, pool_name: None, agent_id: None, process_id: None, reason }
}
