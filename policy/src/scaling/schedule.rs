//! The vote of a schedule: a minimum from its firing until the next schedule of the pool fires.

use muster_domain::Timestamp;
use muster_domain::scaling::{ScalingPolicy, SchedulePolicy};

use super::vote::Opinion;

/// When a schedule of the pool last fired.
pub(super) fn latest_firing(policies: &[ScalingPolicy], now: Timestamp) -> Option<Timestamp> {
    let fired = |policy: &ScalingPolicy| match policy {
        ScalingPolicy::Schedule(schedule) => schedule.last_firing(now),
        _ => None,
    };
    policies.iter().filter_map(fired).max()
}

/// Its minimum while no other schedule has fired since; of two that fire together both count.
pub(super) fn opinion(policy: &SchedulePolicy, latest: Option<Timestamp>, now: Timestamp) -> Opinion {
    match policy.last_firing(now) {
        None => Opinion::abstains("it has not fired yet".to_owned()),
        Some(fired) if Some(fired) == latest => {
            Opinion::wants(policy.min_workers, format!("it fired at {fired}: at least {}", policy.min_workers))
        }
        Some(_) => Opinion::abstains("another schedule has fired since".to_owned()),
    }
}
