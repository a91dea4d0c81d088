//! A plan: the same number of workers all the time.

use std::time::Duration;

use muster_domain::Timestamp;
use muster_policy::scaling::Picture;

use super::{Departure, Scaler};

/// So many workers, whatever happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FixedScaler(pub u32);

impl Scaler for FixedScaler {
    fn name(&self) -> String {
        format!("{} workers", self.0)
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn target(&mut self, _: &Picture, _: Timestamp) -> u32 {
        self.0
    }

    fn departure(&self) -> Departure {
        Departure::WhenEmpty
    }
}
