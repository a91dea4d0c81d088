//! What time it is for a keeper, and what it does where the clock was set.
//!
//! A turn goes by one reading of the wall clock. The moments at which waits of its tasks end were all computed by readings of
//! this keeper, so the first turn that sees the clock set moves them by as much, before it does anything with tasks: some hundreds in
//! a commit. One that fails is tried again. Should it have gone through all the same, nothing is moved twice, since each step of
//! the clock has a name.

use std::time::Instant;

use crate::clock::StepGauge;
use crate::context::Context;
use muster_domain::Timestamp;

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
        let gauge = context.gauge.get().cloned().unwrap_or_else(|| StepGauge::new(context.settings.wall.clone()));
        Self { gauge, set_by: 0, moving: None, steps: 0, next_pass: now, looked_at: now }
    }

    pub(super) fn look(&mut self) -> Timestamp {
        let look = self.gauge.look();
        self.set_by += look.set_by.unwrap_or(0);
        look.at
    }

    /// The step for which waits are to be moved, where there is one.
    pub(super) fn step(&mut self) -> Option<(u64, i64)> {
        if self.moving.is_none() && self.set_by != 0 {
            self.steps += 1;
            self.moving = Some((self.steps, std::mem::take(&mut self.set_by)));
        }
        self.moving
    }

    /// All waits are moved for that step.
    pub(super) const fn moved(&mut self) {
        self.moving = None;
    }
}
