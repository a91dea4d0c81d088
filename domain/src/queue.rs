//! How a pool treats its tasks.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;
use utoipa::ToSchema;

use crate::number;
use crate::time::seconds;

/// When a task is tried again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, SmartDefault, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RetryPolicy {
    /// The wait before the second attempt; it doubles with each further one.
    #[serde(with = "seconds")]
    #[schema(value_type = f64, format = "seconds")]
    #[default(Duration::from_secs(1))]
    pub backoff_min: Duration,
    /// The longest wait before an attempt.
    #[serde(with = "seconds")]
    #[schema(value_type = f64, format = "seconds")]
    #[default(Duration::from_secs(300))]
    pub backoff_max: Duration,
    /// Attempts that may end with their worker, or be ended by Muster, without a fault of their own; one more and the task is
    /// taken for the cause, and dead.
    #[default = 5]
    #[schema(maximum = 1000)]
    pub poison_bound: u32,
}

impl RetryPolicy {
    /// Says which of its fields contradict each other.
    pub(crate) fn validate(&self) -> Result<(), String> {
        if self.backoff_min > self.backoff_max {
            let (min, max) = (self.backoff_min.as_secs_f64(), self.backoff_max.as_secs_f64());
            return Err(format!("retry.backoff_min ({min} s) is above retry.backoff_max ({max} s)"));
        }
        Ok(())
    }
}

/// When tasks wait because too many of them fail, and how it is found out that they no longer do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, SmartDefault, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerPolicy {
    /// Whether tasks wait when too many of them fail.
    #[default = true]
    pub enabled: bool,
    /// The share of attempts that may fail; above it the breaker opens.
    #[serde(with = "number")]
    #[default = 0.1]
    #[schema(minimum = 0, maximum = 1)]
    pub share: f64,
    /// The time over which attempts are counted; also the longest pause.
    #[serde(with = "seconds")]
    #[schema(value_type = f64, format = "seconds", minimum = 1)]
    #[default(Duration::from_secs(300))]
    pub window: Duration,
    /// Attempts that must have ended within the window before their share says anything.
    #[default = 20]
    #[schema(minimum = 1)]
    pub least: u32,
    /// The time without any task before some are tried again; it doubles, up to `window`, each time that these fail.
    #[serde(with = "seconds")]
    #[schema(value_type = f64, format = "seconds", exclusive_minimum = 0)]
    #[default(Duration::from_secs(30))]
    pub pause: Duration,
    /// Tasks that are tried: so many may run, and so many must succeed.
    #[default = 1]
    #[schema(minimum = 1, maximum = 1000)]
    pub probes: u32,
}

impl BreakerPolicy {
    /// Says which of its fields contradict each other.
    pub(crate) fn validate(&self) -> Result<(), String> {
        if self.pause > self.window {
            let (pause, window) = (self.pause.as_secs_f64(), self.window.as_secs_f64());
            return Err(format!("breaker.pause ({pause} s) is above breaker.window ({window} s)"));
        }
        Ok(())
    }
}

/// Agents that a pool starts by itself for tasks that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, SmartDefault, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct OnDemand {
    /// Agents that the pool may have when it starts one by itself for a waiting task; 0 is no bound but the pool's. Without
    /// `on_demand` none is started.
    pub max_agents: u32,
    /// Whether such agents take further tasks and end after `max_idle_time`. Otherwise each agent of the pool does one task and
    /// ends.
    #[default = true]
    pub reuse: bool,
}

/// What a person has closed of a pool's queue, until it is resumed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Gate {
    /// No task is given to an agent.
    pub paused: bool,
    /// No new task is taken in.
    pub closed: bool,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PoolConfig;

    #[test]
    fn bounds_that_contradict_each_other_are_named() {
        let policy = RetryPolicy { backoff_min: Duration::from_secs(400), ..RetryPolicy::default() };
        assert!(policy.validate().expect_err("a contradiction").contains("retry.backoff_min (400 s)"));
        assert_eq!(RetryPolicy::default().validate(), Ok(()));
    }

    #[test]
    fn a_breaker_that_makes_no_sense_is_named() {
        let wrong = |change: fn(&mut BreakerPolicy)| {
            let mut config = PoolConfig::default();
            change(&mut config.breaker);
            config.validate().expect_err("a mistake")
        };
        assert_eq!(wrong(|b| b.share = 1.5), "breaker.share must be 0 to 1, not 1.5");
        assert_eq!(wrong(|b| b.share = f64::NAN), "breaker.share must be 0 to 1, not NaN");
        assert_eq!(wrong(|b| b.window = Duration::ZERO), "breaker.window must be at least 1 s, not 0 s");
        assert!(wrong(|b| b.window = Duration::MAX).starts_with("breaker.window must be at most"));
        assert_eq!(wrong(|b| b.least = 0), "breaker.least must be at least 1, not 0");
        assert_eq!(wrong(|b| b.pause = Duration::ZERO), "breaker.pause must be above 0 s, not 0 s");
        assert_eq!(
            wrong(|b| b.pause = Duration::from_secs(400)),
            "breaker.pause (400 s) is above breaker.window (300 s)"
        );
        assert_eq!(wrong(|b| b.probes = 0), "breaker.probes must be 1 to 1000, not 0");
    }
}
