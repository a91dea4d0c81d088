//! What this worker and its agents' programs use, for heartbeats: a small file per process.

use std::time::Duration;

use muster_process::usage::{self, OwnUsage};
use tokio::time::Instant;

/// What was used.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct UsageReading {
    /// Since the last reading, in percent of one core.
    pub(crate) cpu_percent: f32,
    pub(crate) rss_bytes: u64,
}

/// Reads usage, and remembers the last reading.
#[derive(Debug)]
pub(crate) struct UsageGauge {
    /// Of the worker itself; none for an in-process worker, whose process is the master's and would be counted once
    /// for each worker in it.
    own: Option<OwnUsage>,
    last: Option<(Instant, Duration)>,
}

impl UsageGauge {
    pub(crate) fn new(in_process: bool) -> Self {
        Self { own: (!in_process).then(OwnUsage::default), last: None }
    }

    /// Reads the worker and these programs. What a program's own children use is not in it: to find them takes a pass
    /// over all processes of the machine, which a heartbeat must not cost.
    pub(crate) fn read(&mut self, programs: impl Iterator<Item = u32>, now: Instant) -> UsageReading {
        let own = self.own.as_mut().and_then(OwnUsage::read).unwrap_or_default();
        let used = usage::of_all(programs).plus(own);
        let before = self.last.replace((now, used.cpu));
        let cpu_percent = before.map_or(0.0, |(then, cpu)| percent(used.cpu.saturating_sub(cpu), now - then));
        UsageReading { cpu_percent, rss_bytes: used.rss_bytes }
    }
}

/// The sum falls when a program ends, since its time goes with it; that reads 0 once, never a negative share.
fn percent(used: Duration, wall: Duration) -> f32 {
    if wall.is_zero() { 0.0 } else { used.as_secs_f32() / wall.as_secs_f32() * 100.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_in_process_worker_does_not_count_its_master() {
        let now = Instant::now();
        assert_eq!(UsageGauge::new(true).read(std::iter::empty(), now), UsageReading::default());
        assert!(UsageGauge::new(false).read(std::iter::empty(), now).rss_bytes > 100_000);
    }

    #[test]
    fn a_share_is_of_one_core_and_of_the_time_between_two_readings() {
        assert_eq!(percent(Duration::from_secs(1), Duration::from_secs(2)), 50.0);
        assert_eq!(percent(Duration::from_secs(1), Duration::ZERO), 0.0);
    }
}
