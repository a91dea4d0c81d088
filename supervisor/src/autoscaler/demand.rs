//! What a pool had to do, hour by hour: tasks that waited or ran.

use std::collections::HashMap;
use std::time::Duration;

use muster_domain::{MetricsTier, PoolMetrics, PoolName, Timestamp};
use muster_policy::scaling::DemandHistory;
use muster_store::MetricsFilter;

use crate::context::Context;

const HOUR: Duration = Duration::from_hours(1);

/// Hours that are read: four weeks.
const HOURS: u32 = 672;

/// The histories of pools, each as of the hour in which it was read.
#[derive(Default)]
pub(super) struct Demands(HashMap<PoolName, (i64, DemandHistory)>);

impl Demands {
    /// Reads what was measured of a pool, once an hour. Where the store does not answer, what was read before counts until it does.
    pub(super) async fn refresh(&mut self, context: &Context, pool: &PoolName) {
        let now = context.settings.wall.now();
        let hour = hour_of(now);
        if self.0.get(pool).is_some_and(|(read_in, _)| *read_in == hour) {
            return;
        }
        let after = now.before(HOUR * HOURS);
        let filter = MetricsFilter { pool: Some(pool.clone()), tier: MetricsTier::Hour, after, until: now };
        match context.store.metrics(&filter, HOURS).await {
            Ok(rows) => drop(self.0.insert(pool.clone(), (hour, history(&rows)))),
            Err(error) => drop(context.store_failed(&error)),
        }
    }

    pub(super) fn of(&self, pool: &PoolName) -> Option<DemandHistory> {
        self.0.get(pool).map(|(_, history)| history.clone())
    }
}

fn hour_of(at: Timestamp) -> i64 {
    at.as_millis().div_euclid(HOUR.as_millis() as i64)
}

/// From the rows of hours, the latest first, each of which ends `at`.
fn history(rows: &[PoolMetrics]) -> DemandHistory {
    // A row ends with its hour.
    let begins = |row: &PoolMetrics| hour_of(row.at) - 1;
    let (Some(first), Some(last)) = (rows.iter().map(begins).min(), rows.iter().map(begins).max()) else {
        return DemandHistory::default();
    };
    let mut hours = vec![None; usize::try_from(last - first + 1).unwrap_or(0)];
    for row in rows {
        let place = usize::try_from(begins(row) - first).ok().and_then(|place| hours.get_mut(place));
        if let Some(hour) = place {
            *hour = row.mean(row.queue.depth.saturating_add(row.queue.running));
        }
    }
    DemandHistory { first_hour: Timestamp::from_millis(first * HOUR.as_millis() as i64), hours }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hours_that_were_not_measured_are_gaps() {
        let row = |hour: i64, depth, looks| {
            let mut metrics = PoolMetrics::new("p".parse().ok(), Timestamp::from_millis(hour * 3_600_000));
            (metrics.queue.depth, metrics.queue.running, metrics.looks) = (depth, 10, looks);
            metrics
        };
        let read = history(&[row(13, 30, 10), row(12, 9, 0), row(10, 0, 5)]);
        assert_eq!(read.first_hour, Timestamp::from_millis(9 * 3_600_000));
        assert_eq!(read.hours, [Some(2.0), None, None, Some(4.0)]);
        assert_eq!(history(&[]), DemandHistory::default());
    }
}
