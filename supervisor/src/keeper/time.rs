//! What time it is for a keeper, and what it does where the clock was set.
//!
//! A turn goes by one reading of the wall clock. The moments at which waits of its tasks end were all computed by readings of
//! this keeper, so the first turn that sees the clock set moves them by as much, before it does anything with tasks: some hundreds in
//! a commit. One that fails is tried again. Should it have gone through all the same, nothing is moved twice, since each step of
//! the clock has a name.

use std::time::Instant;

use muster_domain::Timestamp;
use muster_store::{Outcome, Write};

use super::Keeper;
use crate::clock::StepGauge;
use crate::context::Context;

/// The clock of a keeper.
pub(super) struct Time {
    gauge: StepGauge,
    /// By how much it was set, in milliseconds, since the last step that is known to `moving`.
    set_by: i64,
    /// The number of the step for which waits are being moved, and by how much.
    moving: Option<(u64, i64)>,
    steps: u64,
    /// When everything is looked at, whatever has come.
    pub(super) next_pass: Instant,
    /// When the latest turn began.
    pub(super) looked_at: Instant,
}

impl Time {
    /// Goes on from the reading with which the lead began.
    pub(super) fn new(context: &Context, now: Instant) -> Self {
        let gauge = context.gauge.get().cloned().unwrap_or_else(|| StepGauge::new(context.wall.clone()));
        Self { gauge, set_by: 0, moving: None, steps: 0, next_pass: now, looked_at: now }
    }

    pub(super) fn look(&mut self) -> Timestamp {
        let look = self.gauge.look();
        self.set_by += look.set_by.unwrap_or(0);
        look.at
    }

    /// The step for which waits are to be moved, where there is one.
    fn step(&mut self) -> Option<(u64, i64)> {
        if self.moving.is_none() && self.set_by != 0 {
            self.steps += 1;
            self.moving = Some((self.steps, std::mem::take(&mut self.set_by)));
        }
        self.moving
    }
}

impl Keeper {
    /// Moves the waits that are durations with the clock; whether nothing is left to move.
    pub(super) async fn move_waits(&mut self) -> bool {
        while let Some((number, by_millis)) = self.time.step() {
            // The picture has the moments of before: until they are moved and read again nothing in it is due, else a store that
            // is away would be asked again at once, for ever.
            self.tasks.read_anew();
            let pool = self.model.spec.pool_name.clone();
            let step = format!("{} {pool} {number}", self.context.fence.0);
            match self.commit(vec![Write::ShiftWaits { pool: Some(pool), by_millis, step }]).await {
                Ok(outcomes) if outcomes.first() == Some(&Outcome::Unchanged) => self.time.moving = None,
                Ok(_) => {}
                Err(_) => return false,
            }
        }
        true
    }
}
