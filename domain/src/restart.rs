//! When an agent that ended is started again: the restart types and the bounded intensity of Erlang/OTP's supervisors
//! (`permanent`, `transient`, `temporary`; at most `max_restarts` within `window`), with a backoff that OTP lacks.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;
use utoipa::ToSchema;

use crate::time::seconds;

/// Which endings are followed by a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
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

/// When and how often an agent is started again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SmartDefault, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RestartPolicy {
    /// Which endings are followed by a restart: `permanent` (all), `transient` (abnormal ones), `temporary` (none).
    pub kind: RestartKind,
    /// Restarts within `window`; one more and the agent is quarantined.
    #[default = 5]
    pub max_restarts: u32,
    /// The time over which restarts are counted.
    #[serde(with = "seconds")]
    #[schema(value_type = f64, format = "seconds", exclusive_minimum = 0)]
    #[default(Duration::from_secs(60))]
    pub window: Duration,
    /// The wait before the first restart; it doubles with each further one in the window.
    #[serde(with = "seconds")]
    #[schema(value_type = f64, format = "seconds")]
    #[default(Duration::from_millis(200))]
    pub backoff_min: Duration,
    /// The longest wait before a restart.
    #[serde(with = "seconds")]
    #[schema(value_type = f64, format = "seconds")]
    #[default(Duration::from_secs(30))]
    pub backoff_max: Duration,
}

impl RestartPolicy {
    /// Says which of its fields contradict each other.
    pub(crate) fn validate(&self) -> Result<(), String> {
        if self.backoff_min > self.backoff_max {
            return Err("restart.backoff_min is above restart.backoff_max".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::PoolConfig;

    fn refused(restart: RestartPolicy) -> String {
        PoolConfig { restart, ..PoolConfig::default() }.validate().expect_err("a mistake")
    }

    #[test]
    fn a_policy_that_contradicts_itself_is_refused() {
        let policy = RestartPolicy { backoff_min: Duration::from_secs(60), ..RestartPolicy::default() };
        assert!(refused(policy).contains("backoff_min"));
        let policy = RestartPolicy { window: Duration::ZERO, ..RestartPolicy::default() };
        assert_eq!(refused(policy), "restart.window must be above 0 s, not 0 s");
    }

    #[test]
    fn times_that_are_too_long_are_refused() {
        let policy = RestartPolicy { window: Duration::from_secs(u64::MAX), ..RestartPolicy::default() };
        assert!(refused(policy).starts_with("restart.window must be at most 1000000000 s"));
        let policy = RestartPolicy { backoff_max: Duration::from_secs(2_000_000_000), ..RestartPolicy::default() };
        assert!(refused(policy).starts_with("restart.backoff_max must be at most"));
    }
}
