//! The durations that rooms must agree on, in one place, with the rules that bind them to each other.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::{check_longest, seconds};

/// Every shared duration, in seconds where it is written down.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Clocks {
    /// Between two heartbeats of a worker. Default 2.
    #[serde(with = "seconds")]
    pub heartbeat: Duration,
    /// Silence after which a worker is condemned. Default 10.
    #[serde(with = "seconds")]
    pub stale: Duration,
    /// How long a worker or the leader may act without renewing its claim. Default 15.
    #[serde(with = "seconds")]
    pub lease: Duration,
    /// A worker without any master drains and exits after this time. Default 600.
    #[serde(with = "seconds")]
    pub orphan_after: Duration,
    /// A worker that has not said that it is ready by then is condemned. Default 30.
    #[serde(with = "seconds")]
    pub start_timeout: Duration,
    /// From the request to stop to the kill, for a worker as a whole. Default 10.
    #[serde(with = "seconds")]
    pub stop_deadline: Duration,
    /// A command without an answer is sent again after this time, then with doubling waits. Default 0.25.
    #[serde(with = "seconds")]
    pub resend: Duration,
    /// How long tasks, agents and workers are kept after their end. Default 345,600 (4 days).
    #[serde(with = "seconds")]
    pub retention: Duration,
    /// Between two full passes of a keeper. Default 1.
    #[serde(with = "seconds")]
    pub pass: Duration,
}

impl Default for Clocks {
    fn default() -> Self {
        Self {
            heartbeat: Duration::from_secs(2),
            stale: Duration::from_secs(10),
            lease: Duration::from_secs(15),
            orphan_after: Duration::from_secs(600),
            start_timeout: Duration::from_secs(30),
            stop_deadline: Duration::from_secs(10),
            resend: Duration::from_millis(250),
            retention: Duration::from_hours(4 * 24),
            pass: Duration::from_secs(1),
        }
    }
}

impl Clocks {
    /// Refuses clocks that contradict each other, naming the two, and clocks beyond what can be counted.
    pub fn validate(&self) -> Result<(), String> {
        // First: the sums and products below may overflow with longer ones.
        for (name, value) in self.named() {
            check_longest(name, value)?;
        }
        let pairs = [
            ("3 x heartbeat", self.heartbeat * 3, "stale", self.stale),
            ("stale", self.stale, "lease", self.lease),
            ("lease", self.lease, "orphan_after", self.orphan_after),
        ];
        for (low_name, low, high_name, high) in pairs {
            if low > high {
                return Err(format!(
                    "{low_name} ({} s) is above {high_name} ({} s)",
                    low.as_secs_f64(),
                    high.as_secs_f64()
                ));
            }
        }
        let positive = [
            ("heartbeat", self.heartbeat),
            ("resend", self.resend),
            ("pass", self.pass),
            ("stop_deadline", self.stop_deadline),
        ];
        match positive.iter().find(|(_, value)| *value < Duration::from_millis(10)) {
            Some((name, _)) => Err(format!("{name} must be at least 0.01 s")),
            None => Ok(()),
        }
    }

    /// The same for a worker that beats at this interval: where three of its heartbeats are more than the staleness bound, it is
    /// stale after three of them.
    #[must_use]
    pub fn beating_every(&self, interval: Duration) -> Self {
        Self { heartbeat: interval, stale: self.stale.max(interval.saturating_mul(3)), ..self.clone() }
    }

    /// Refuses a heartbeat of which not three fit into a lease. `seconds` is a pool's own interval.
    pub fn check_interval(&self, seconds: f64) -> Result<(), String> {
        let lease = self.lease.as_secs_f64();
        if seconds * 3.0 <= lease {
            return Ok(());
        }
        Err(format!("3 x health_check_interval ({seconds} s) is above clocks.lease ({lease} s)"))
    }

    const fn named(&self) -> [(&'static str, Duration); 9] {
        [
            ("heartbeat", self.heartbeat),
            ("stale", self.stale),
            ("lease", self.lease),
            ("orphan_after", self.orphan_after),
            ("start_timeout", self.start_timeout),
            ("stop_deadline", self.stop_deadline),
            ("resend", self.resend),
            ("pass", self.pass),
            ("retention", self.retention),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert_eq!(wrong(|c| c.heartbeat = Duration::from_secs(4)), "3 x heartbeat (12 s) is above stale (10 s)");
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
        assert_eq!(refused, "3 x health_check_interval (5.1 s) is above clocks.lease (15 s)");
    }

    #[test]
    fn a_clock_that_is_too_long_is_named() {
        let names = Clocks::default().named().map(|(name, _)| name);
        for name in names {
            let json = format!("{{\"{name}\": 1e19}}");
            let clocks: Clocks = serde_json::from_str(&json).expect("a number of seconds");
            let refused = clocks.validate().expect_err("too long");
            assert!(refused.starts_with(&format!("{name} must be at most 1000000000 s")), "{refused}");
        }
    }
}
