//! The durations that rooms must agree on, in one place, with the rules that bind them to each other.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;
use utoipa::ToSchema;

use crate::time::seconds;
use crate::{described, schema};

/// Every shared duration, in seconds where it is written down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SmartDefault, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Clocks {
    /// The time between two heartbeats of a worker.
    #[serde(with = "seconds")]
    #[schema(value_type = f64, format = "seconds", minimum = 0.01)]
    #[default(Duration::from_secs(2))]
    pub heartbeat: Duration,
    /// Silence after which a worker is condemned, at least 3 heartbeats.
    #[serde(with = "seconds")]
    #[schema(value_type = f64, format = "seconds")]
    #[default(Duration::from_secs(10))]
    pub stale: Duration,
    /// How long a worker or the leader may act without renewing its claim, at least `clocks.stale`.
    #[serde(with = "seconds")]
    #[schema(value_type = f64, format = "seconds")]
    #[default(Duration::from_secs(15))]
    pub lease: Duration,
    /// A worker without any master drains and exits after this time, at least `clocks.lease`.
    #[serde(with = "seconds")]
    #[schema(value_type = f64, format = "seconds")]
    #[default(Duration::from_secs(600))]
    pub orphan_after: Duration,
    /// A worker that is not ready by then is condemned.
    #[serde(with = "seconds")]
    #[schema(value_type = f64, format = "seconds")]
    #[default(Duration::from_secs(30))]
    pub start_timeout: Duration,
    /// From the request to stop to the kill, for a worker as a whole.
    #[serde(with = "seconds")]
    #[schema(value_type = f64, format = "seconds", minimum = 0.01)]
    #[default(Duration::from_secs(10))]
    pub stop_deadline: Duration,
    /// How long tasks, agents and workers are kept after their end (4 days).
    #[serde(with = "seconds")]
    #[schema(value_type = f64, format = "seconds")]
    #[default(Duration::from_hours(4 * 24))]
    pub retention: Duration,
    /// A command without an answer is sent again after this time, then with doubling waits.
    #[serde(with = "seconds")]
    #[schema(value_type = f64, format = "seconds", minimum = 0.01)]
    #[default(Duration::from_millis(250))]
    pub resend: Duration,
    /// The time between two full passes over a pool.
    #[serde(with = "seconds")]
    #[schema(value_type = f64, format = "seconds", minimum = 0.01)]
    #[default(Duration::from_secs(1))]
    pub pass: Duration,
}

described!(Clocks);

impl Clocks {
    /// Refuses clocks that contradict each other, naming the two, and clocks beyond what can be counted.
    pub fn validate(&self) -> Result<(), String> {
        // First: the products below may overflow with longer ones.
        schema::check(self)?;
        self.contradictions().into_iter().next().map_or(Ok(()), |(_, message)| Err(message))
    }

    /// Each two clocks that contradict each other: their names, and that in words.
    pub fn contradictions(&self) -> Vec<([&'static str; 2], String)> {
        let plain = |name: &str, value: Duration| format!("{name} ({} s)", value.as_secs_f64());
        let beats = self.heartbeat.saturating_mul(BEATS);
        let pairs = [
            ("heartbeat", beats, several_beats("heartbeat", self.heartbeat), "stale", self.stale),
            ("stale", self.stale, plain("stale", self.stale), "lease", self.lease),
            ("lease", self.lease, plain("lease", self.lease), "orphan_after", self.orphan_after),
        ];
        let wrong = pairs.into_iter().filter(|(_, low, _, _, high)| low > high);
        wrong
            .map(|(low_name, _, low, high_name, high)| {
                ([low_name, high_name], format!("{low} is above {}", plain(high_name, high)))
            })
            .collect()
    }

    /// The same for a worker that beats at this interval: where three of its heartbeats are more than the staleness bound, it is
    /// stale after three of them.
    #[must_use]
    pub fn beating_every(&self, interval: Duration) -> Self {
        Self { heartbeat: interval, stale: self.stale.max(interval.saturating_mul(BEATS)), ..self.clone() }
    }

    /// Refuses a heartbeat of which not three fit into a lease. `seconds` is a pool's own interval.
    pub fn check_interval(&self, seconds: f64) -> Result<(), String> {
        let interval = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        if interval.saturating_mul(BEATS) <= self.lease {
            return Ok(());
        }
        let beats = several_beats("health_check_interval", interval);
        Err(format!("{beats} is above clocks.lease ({} s)", self.lease.as_secs_f64()))
    }
}

/// So many heartbeats fit into the time after which a worker is condemned, and into its lease: one or two may be late or lost.
const BEATS: u32 = 3;

fn several_beats(name: &str, interval: Duration) -> String {
    let (one, all) = (interval.as_secs_f64(), interval.saturating_mul(BEATS).as_secs_f64());
    format!("{BEATS} x {name} ({BEATS} x {one} s = {all} s)")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::Described;

    #[test]
    fn the_defaults_agree() {
        assert_eq!(Clocks::default().validate(), Ok(()));
    }

    #[test]
    fn a_contradiction_names_both_sides() {
        let wrong = |change: fn(&mut Clocks)| {
            let mut clocks = Clocks::default();
            change(&mut clocks);
            clocks.validate().expect_err("a contradiction")
        };
        assert_eq!(
            wrong(|c| c.heartbeat = Duration::from_secs(4)),
            "3 x heartbeat (3 x 4 s = 12 s) is above stale (10 s)"
        );
        assert!(wrong(|c| c.stale = Duration::from_secs(16)).contains("lease"));
        assert!(wrong(|c| c.orphan_after = Duration::from_secs(1)).contains("orphan_after"));
        assert!(wrong(|c| c.pass = Duration::ZERO).contains("pass"));
    }

    #[test]
    fn staleness_follows_a_longer_interval_up_to_the_lease() {
        let (clocks, s) = (Clocks::default(), Duration::from_secs);
        let beating = |interval| {
            let clocks = clocks.beating_every(interval);
            (clocks.heartbeat, clocks.stale, clocks.validate())
        };
        assert_eq!(beating(s(1)), (s(1), s(10), Ok(())));
        assert_eq!(beating(s(5)), (s(5), s(15), Ok(())));
        assert_eq!(
            clocks.beating_every(Duration::MAX).stale,
            Duration::MAX,
            "a row of before the bound overflows nothing"
        );
        assert_eq!(clocks.check_interval(5.0), Ok(()));
        let refused = clocks.check_interval(5.1).expect_err("four of them are more than a lease");
        assert_eq!(refused, "3 x health_check_interval (3 x 5.1 s = 15.3 s) is above clocks.lease (15 s)");
    }

    #[test]
    fn a_clock_that_is_too_long_is_named() {
        for name in Clocks::settings().iter().map(|setting| &setting.key) {
            let json = format!("{{\"{name}\": 1e19}}");
            let clocks: Clocks = serde_json::from_str(&json).expect("a number of seconds");
            let refused = clocks.validate().expect_err("too long");
            assert!(refused.starts_with(&format!("{name} must be at most 1000000000 s")), "{refused}");
        }
    }
}
