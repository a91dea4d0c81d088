//! Who says how many workers a pool is to have: Muster's own policies, a peer, or a plan.

mod fixed;
mod keda;
mod muster;

use std::time::Duration;

use muster_domain::Timestamp;
use muster_policy::scaling::Picture;

pub use fixed::FixedScaler;
pub use keda::KedaScaler;
pub use muster::MusterScaler;

/// Who says how many workers there are to be.
pub trait Scaler {
    /// How it is called in reports.
    fn name(&self) -> String;

    /// The time between two questions.
    fn interval(&self) -> Duration;

    /// How many workers there are to be from now on. `picture.workers.current` is its last answer.
    fn target(&mut self, picture: &Picture, now: Timestamp) -> u32;

    /// Whether the first task of a pool without workers has one started at once. Else the next question decides.
    fn begins_at_once(&mut self, now: Timestamp) -> bool {
        let _ = now;
        false
    }

    /// How workers end that are too many.
    fn departure(&self) -> Departure;
}

/// How workers end that are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Departure {
    /// The idlest, told to drain, ended when they are empty.
    WhenEmpty,
    /// The newest, whatever they do: what still runs after this time is killed.
    After(Duration),
}
