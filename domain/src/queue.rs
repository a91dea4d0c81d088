//! How a pool treats its tasks.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::{check_longest, seconds};

/// How attempts at a task are repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetryPolicy {
    /// The wait before the second attempt, in seconds; it doubles with each further one. Default 1.
    #[serde(with = "seconds")]
    pub backoff_min: Duration,
    /// The longest wait, in seconds. Default 300.
    #[serde(with = "seconds")]
    pub backoff_max: Duration,
    /// Attempts that may end with their worker, or be ended by Muster, without a fault of their own; one more and the task is
    /// taken for the cause. Default 5.
    pub poison_bound: u32,
}

impl Default for RetryPolicy {
    fn default() -> Self {
        Self { backoff_min: Duration::from_secs(1), backoff_max: Duration::from_secs(300), poison_bound: 5 }
    }
}

impl RetryPolicy {
    /// Says what is wrong with this policy, in words that name the field.
    pub fn validate(&self) -> Result<(), String> {
        if self.backoff_min > self.backoff_max {
            let (min, max) = (self.backoff_min.as_secs_f64(), self.backoff_max.as_secs_f64());
            return Err(format!("retry.backoff_min ({min} s) is above retry.backoff_max ({max} s)"));
        }
        if self.poison_bound > MAX_ATTEMPTS {
            return Err(format!("retry.poison_bound must be 0 to {MAX_ATTEMPTS}, not {}", self.poison_bound));
        }
        check_longest("retry.backoff_max", self.backoff_max)
    }
}

/// Attempts at one task, at the most.
pub const MAX_ATTEMPTS: u32 = 1_000;

/// When a pool stops giving out tasks because too many of them fail, and how it finds out that they no longer do.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BreakerPolicy {
    /// Whether it does so at all. Default true.
    pub enabled: bool,
    /// The share of attempts that may fail, 0 to 1; above it the breaker opens. Default 0.1.
    pub share: f64,
    /// Seconds over which attempts are counted, at least 1; also the longest pause. Default 300.
    #[serde(with = "seconds")]
    pub window: Duration,
    /// Attempts that must have ended within the window before their share says anything, at least 1. Default 20.
    pub least: u32,
    /// Seconds without any task before it is tried again; they double, up to `window`, each time that fails. Default 30.
    #[serde(with = "seconds")]
    pub pause: Duration,
    /// Tasks by which it is tried, 1 to 1,000: so many may run, and so many must succeed. Default 1.
    pub probes: u32,
}

impl Default for BreakerPolicy {
    fn default() -> Self {
        Self {
            enabled: true,
            share: 0.1,
            window: Duration::from_secs(300),
            least: 20,
            pause: Duration::from_secs(30),
            probes: 1,
        }
    }
}

/// Tasks by which a breaker is tried, at the most.
pub const MAX_PROBES: u32 = 1_000;

impl BreakerPolicy {
    /// Says what is wrong with this policy, in words that name the field.
    pub fn validate(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.share) {
            return Err(format!("breaker.share must be 0 to 1, not {}", self.share));
        }
        if self.window < Duration::from_secs(1) {
            return Err(format!("breaker.window must be at least 1 s, not {} s", self.window.as_secs_f64()));
        }
        check_longest("breaker.window", self.window)?;
        if self.least == 0 {
            return Err("breaker.least must be at least 1".to_owned());
        }
        if self.pause.is_zero() {
            return Err("breaker.pause must be above 0 s".to_owned());
        }
        if self.pause > self.window {
            let (pause, window) = (self.pause.as_secs_f64(), self.window.as_secs_f64());
            return Err(format!("breaker.pause ({pause} s) is above breaker.window ({window} s)"));
        }
        if !(1..=MAX_PROBES).contains(&self.probes) {
            return Err(format!("breaker.probes must be 1 to {MAX_PROBES}, not {}", self.probes));
        }
        Ok(())
    }
}

/// Agents that a pool starts by itself for tasks that wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OnDemand {
    /// Agents that the pool may have when it starts one by itself; 0 is no bound but the pool's. Default 0.
    pub max_agents: u32,
    /// Whether an agent takes further tasks, and ends after its `max_idle_time`. Otherwise each agent of the pool does one task
    /// and ends. Default true.
    pub reuse: bool,
}

impl Default for OnDemand {
    fn default() -> Self {
        Self { max_agents: 0, reuse: true }
    }
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

    #[test]
    fn bounds_that_contradict_each_other_are_named() {
        let policy = RetryPolicy { backoff_min: Duration::from_secs(400), ..RetryPolicy::default() };
        assert!(policy.validate().expect_err("a contradiction").contains("retry.backoff_min (400 s)"));
        assert_eq!(RetryPolicy::default().validate(), Ok(()));
    }

    #[test]
    fn a_breaker_that_makes_no_sense_is_named() {
        assert_eq!(BreakerPolicy::default().validate(), Ok(()));
        let wrong = |change: fn(&mut BreakerPolicy)| {
            let mut policy = BreakerPolicy::default();
            change(&mut policy);
            policy.validate().expect_err("a mistake")
        };
        assert_eq!(wrong(|b| b.share = 1.5), "breaker.share must be 0 to 1, not 1.5");
        assert_eq!(wrong(|b| b.share = f64::NAN), "breaker.share must be 0 to 1, not NaN");
        assert_eq!(wrong(|b| b.window = Duration::ZERO), "breaker.window must be at least 1 s, not 0 s");
        assert!(wrong(|b| b.window = Duration::MAX).starts_with("breaker.window must be at most"));
        assert_eq!(wrong(|b| b.least = 0), "breaker.least must be at least 1");
        assert_eq!(wrong(|b| b.pause = Duration::ZERO), "breaker.pause must be above 0 s");
        assert_eq!(
            wrong(|b| b.pause = Duration::from_secs(400)),
            "breaker.pause (400 s) is above breaker.window (300 s)"
        );
        assert_eq!(wrong(|b| b.probes = 0), "breaker.probes must be 1 to 1000, not 0");
    }
}
