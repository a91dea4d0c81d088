//! When an agent that ended is started again: the restart types and the bounded intensity of Erlang/OTP's supervisors
//! (`permanent`, `transient`, `temporary`; at most `max_restarts` within `window`), with a backoff that OTP lacks.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::{check_longest, seconds};

/// Which endings are followed by a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RestartKind {
    /// Always, also after a normal exit.
    #[default]
    Permanent,
    /// Only after an abnormal end.
    Transient,
    /// Never.
    Temporary,
}

/// How a pool restarts its agents.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RestartPolicy {
    /// Which endings are followed by a restart. Default `permanent`.
    pub kind: RestartKind,
    /// Restarts allowed within `window`; one more and the agent is quarantined. Default 5.
    pub max_restarts: u32,
    /// Seconds over which restarts are counted. Default 60.
    #[serde(with = "seconds")]
    pub window: Duration,
    /// Wait before the first restart, in seconds; it doubles with each further one in the window. Default 0.2.
    #[serde(with = "seconds")]
    pub backoff_min: Duration,
    /// The longest wait, in seconds. Default 30.
    #[serde(with = "seconds")]
    pub backoff_max: Duration,
}

impl Default for RestartPolicy {
    fn default() -> Self {
        Self {
            kind: RestartKind::default(),
            max_restarts: 5,
            window: Duration::from_secs(60),
            backoff_min: Duration::from_millis(200),
            backoff_max: Duration::from_secs(30),
        }
    }
}

impl RestartPolicy {
    /// Says what is wrong with this policy, in words that name the field.
    pub fn validate(&self) -> Result<(), String> {
        if self.window.is_zero() {
            return Err("restart.window must be above 0 s".to_owned());
        }
        if self.backoff_min > self.backoff_max {
            return Err("restart.backoff_min is above restart.backoff_max".to_owned());
        }
        check_longest("restart.window", self.window)?;
        check_longest("restart.backoff_max", self.backoff_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_that_contradicts_itself_is_refused() {
        let policy = RestartPolicy { backoff_min: Duration::from_secs(60), ..RestartPolicy::default() };
        assert!(policy.validate().expect_err("min above max").contains("backoff_min"));
        let policy = RestartPolicy { window: Duration::ZERO, ..RestartPolicy::default() };
        assert!(policy.validate().expect_err("no window").contains("window"));
    }

    #[test]
    fn times_that_are_too_long_are_refused() {
        let policy = RestartPolicy { window: Duration::from_secs(u64::MAX), ..RestartPolicy::default() };
        assert!(policy.validate().expect_err("too long").starts_with("restart.window must be at most 1000000000 s"));
        let policy = RestartPolicy { backoff_max: Duration::from_secs(2_000_000_000), ..RestartPolicy::default() };
        assert!(policy.validate().expect_err("too long").starts_with("restart.backoff_max must be at most"));
    }
}
