//! The simulator: how a pool's policies would do over a day, before anything is started.
//!
//! A [`TaskLoad`] (recorded, or made up from a seed) comes to a pool ([`Setup`]: its bounds, its tiers with their prices and start times)
//! that a [`Scaler`] scales, in virtual time; [`simulate`] says how long tasks waited, how many workers there were and what they cost.
//! [`MusterScaler`] asks the very functions that a supervisor asks ([`muster_policy::scaling::decide`], [`muster_policy::tiers::plan`]),
//! so what a simulation shows is what those policies do. [`KedaScaler`] is a peer, [`FixedScaler`] a plan.
//!
//! Nothing here does IO, reads a clock or has hidden chance: the same setup, load and seed give the same report.
//!
//! | module | what it holds |
//! |---|---|
//! | [`load`] | what comes when: a trace, or a shape with a seed |
//! | [`setup`] | the pool |
//! | [`scaler`] | who says how many workers there are to be |
//! | [`world`] | the workers and tasks themselves, tick by tick |
//! | [`catalogue`] | instance types with their prices, and what a task-hour on them costs |
//! | [`presets`] | loads and policies that have a name |
//! | [`plans`] | published plans of capacity, checked against what they claim |
//! | [`report`] | what came of it: figures, a table, a page |
//! | [`clock`] | virtual time |
//!
//! What is left out, so that a million tasks at a time fit: agents (a task takes a slot of a worker and gives it back), the time of a spawn
//! within a worker, failures of tasks, and hosts that can't start as many workers at once as are asked for.

mod calendar;
pub mod catalogue;
pub mod clock;
pub mod load;
pub mod plans;
pub mod presets;
pub mod report;
pub mod scaler;
pub mod setup;
pub mod world;

pub use load::{GeneratedLoad, LoadShape, TaskLoad};
pub use report::SimulationReport;
pub use scaler::{Departure, FixedScaler, KedaScaler, MusterScaler, Scaler};
pub use setup::Setup;
pub use world::simulate;
