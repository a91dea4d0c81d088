//! Simulations that have a name: loads, and the comparison with a peer.

use std::time::Duration;

use muster_domain::scaling::{ScalingPolicy, TargetPolicy};
use muster_domain::{CapacityTier, CapacityTiers, ScalingConfig};

use crate::load::{GeneratedLoad, LoadShape, TaskLoad};
use crate::setup::Setup;

/// The name of the load of a week.
pub const WEEK: &str = "week-10000";

/// A week of 10,000 concurrent runs of ten minutes.
pub fn week(seed: u64) -> TaskLoad {
    constant(WEEK, 10_000, Duration::from_secs(7 * 86_400), seed)
}

/// So many concurrent runs of ten minutes for that time.
pub fn constant(name: &str, concurrency: u32, span: Duration, seed: u64) -> TaskLoad {
    let (shape, mean_run) = (LoadShape::Constant, Duration::from_secs(600));
    TaskLoad::generated(name, GeneratedLoad { shape, concurrency, mean_run, phases: 4, span, seed })
}

/// A load of the comparison with a peer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ComparedLoad {
    /// How much comes when.
    pub shape: LoadShape,
    /// Tasks that would run together at the ordinary level.
    pub concurrency: u32,
    /// How long tasks come.
    pub hours: u64,
}

/// The loads of the comparison.
pub const COMPARED: [ComparedLoad; 3] = [
    ComparedLoad { shape: LoadShape::Steps, concurrency: 1_000, hours: 8 },
    ComparedLoad { shape: LoadShape::Wave, concurrency: 1_000, hours: 24 },
    ComparedLoad { shape: LoadShape::Spike, concurrency: 200, hours: 8 },
];

/// What chance begins with in the comparison.
pub const COMPARED_SEED: u64 = 11;

impl ComparedLoad {
    /// The load itself, with an hour after its last task so that all of them end. `phases` as in [`GeneratedLoad::phases`].
    pub fn load(&self, mean_run: Duration, phases: u8, seed: u64) -> TaskLoad {
        let Self { shape, concurrency, hours } = *self;
        let span = Duration::from_secs(3_600 * hours);
        let load = GeneratedLoad { shape, concurrency, mean_run, phases, span, seed };
        let mut load = TaskLoad::generated(shape.as_str(), load);
        load.span += Duration::from_secs(3_600).max(6 * mean_run);
        load
    }
}

/// The pool of the comparison: workers of ten slots that start in ten seconds and cost a dollar an hour. No task is lost, however often its
/// run is killed.
pub fn compared_setup() -> Setup {
    let tier = CapacityTier { price_per_hour: 1.0, start_time: Duration::from_secs(10), ..CapacityTier::default() };
    Setup { max_attempts: u8::MAX, tiers: CapacityTiers::only_base(tier), ..Setup::default() }
}

/// The policies that keep waits at half of a backlog-only peer's at no more cost: five waiting tasks for each worker instead of ten, looked
/// at every ten seconds. Busy workers are spared, as always.
pub fn lean() -> ScalingConfig {
    let target = TargetPolicy {
        target: Some(5.0),
        cooldown_out: Duration::ZERO,
        cooldown_in: Duration::ZERO,
        ..TargetPolicy::default()
    };
    ScalingConfig {
        check_interval: Duration::from_secs(10),
        policies: vec![ScalingPolicy::Target(target)],
        ..ScalingConfig::default()
    }
}
