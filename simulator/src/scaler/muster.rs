//! Muster's own policies: the very function that a supervisor asks.

use std::time::Duration;

use muster_domain::{ScalingConfig, Timestamp};
use muster_policy::scaling::{DemandHistory, Move, Picture, ScalingHistory, decide};

use super::{Departure, Scaler};

/// An hour, in milliseconds.
const HOUR: i64 = 3_600_000;

/// Asks [`decide`], and keeps the history that it looks at.
#[derive(Clone, Debug)]
pub struct MusterScaler {
    name: String,
    config: ScalingConfig,
    history: ScalingHistory,
    hour: DemandHour,
}

/// The demand of the hour that is not over.
#[derive(Clone, Copy, Debug, Default)]
struct DemandHour {
    begins: Option<Timestamp>,
    sum: f64,
    looks: u32,
}

impl MusterScaler {
    /// With these policies, called so. Whether the mode lets them act is not looked at: here they do.
    pub fn new(name: impl Into<String>, config: ScalingConfig) -> Self {
        let (history, hour) = (ScalingHistory::default(), DemandHour::default());
        Self { name: name.into(), config, history, hour }
    }

    /// Counts what waits and runs to its hour; an hour that is over becomes history.
    fn remember_demand(&mut self, picture: &Picture, now: Timestamp) {
        let begins = Timestamp::from_millis(now.as_millis().div_euclid(HOUR) * HOUR);
        match self.hour.begins {
            None => self.history.demand = DemandHistory { first_hour: begins, hours: Vec::new() },
            Some(hour) if hour != begins => {
                let mean = self.hour.sum / f64::from(self.hour.looks.max(1));
                self.history.demand.hours.push(Some(mean));
                let over = (begins.as_millis() - hour.as_millis()) / HOUR;
                self.history.demand.hours.extend((1..over).map(|_| None));
                self.hour = DemandHour::default();
            }
            Some(_) => {}
        }
        let demand = picture.queue.unwrap_or_default() + picture.running.unwrap_or_default();
        self.hour =
            DemandHour { begins: Some(begins), sum: self.hour.sum + f64::from(demand), looks: self.hour.looks + 1 };
    }
}

impl Scaler for MusterScaler {
    fn name(&self) -> String {
        self.name.clone()
    }

    fn interval(&self) -> Duration {
        self.config.check_interval
    }

    fn target(&mut self, picture: &Picture, now: Timestamp) -> u32 {
        self.remember_demand(picture, now);
        let decision = decide(&self.config, picture, &self.history, now);
        self.history.record(&decision, picture.workers.current, now);
        decision.target
    }

    fn begins_at_once(&mut self, now: Timestamp) -> bool {
        self.history.add(Move { at: now, by: "first_task".to_owned(), voted: false, from: 0, to: 1 });
        true
    }

    fn departure(&self) -> Departure {
        Departure::WhenEmpty
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demand_is_kept_hour_by_hour() {
        let mut scaler = MusterScaler::new("m", ScalingConfig::default());
        let begin: Timestamp = "2026-06-01T00:30:00Z".parse().expect("a moment");
        let mut look = |minutes: u64, queue, running| {
            let picture = Picture { queue: Some(queue), running: Some(running), ..Picture::default() };
            scaler.remember_demand(&picture, begin.after(Duration::from_secs(60 * minutes)));
            scaler.history.demand.clone()
        };
        assert_eq!(look(0, 1, 1).first_hour.to_string(), "2026-06-01T00:00:00.000Z");
        look(1, 2, 4);
        assert_eq!(look(30, 10, 0).hours, [Some(4.0)]);
        assert_eq!(look(30 + 120, 10, 0).hours, [Some(4.0), Some(10.0), None]);
    }
}
