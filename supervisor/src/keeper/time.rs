//! What time it is for a keeper, and what it does where the clock was set.
//!
//! A turn goes by one reading of the wall clock. The moments at which waits of its tasks end were all computed by readings of
//! this keeper, so the first turn that sees the clock set moves them by as much, before it does anything with tasks. A commit
//! that fails is tried again. Should it have gone through all the same, they are moved twice: a clock is not set so often.

use muster_domain::Timestamp;
use muster_store::Write;

use super::Keeper;
use crate::clock::{StepGauge, WallClock};

/// The clock of a keeper.
pub(super) struct Time {
    gauge: StepGauge,
    /// By how much it was set, in milliseconds, since the waits were moved last.
    set_by: i64,
}

impl Time {
    pub(super) fn new(wall: WallClock) -> Self {
        Self { gauge: StepGauge::new(wall), set_by: 0 }
    }

    pub(super) fn look(&mut self) -> Timestamp {
        let look = self.gauge.look();
        self.set_by += look.set_by.unwrap_or(0);
        look.at
    }
}

impl Keeper {
    /// Moves the waits that are durations with the clock; whether nothing is left to move.
    pub(super) async fn move_waits(&mut self) -> bool {
        if self.time.set_by == 0 {
            return true;
        }
        // The picture has the moments of before: until they are moved and read again nothing in it is due, else a store that is
        // away would be asked again at once, for ever.
        self.desk.read_anew();
        let shift = Write::ShiftWaits { pool: Some(self.model.spec.pool_name.clone()), by_millis: self.time.set_by };
        let moved = self.commit(vec![shift]).await.is_ok();
        if moved {
            self.time.set_by = 0;
        }
        moved
    }
}
