//! Rows of shorter times summed up to rows of longer ones, as soon as the longer time is over and all of the shorter ones are stored.

use std::collections::BTreeMap;

use muster_domain::metrics_tier::end_of_step;
use muster_domain::{MetricsTier, PoolMetrics, PoolName, Timestamp};
use muster_store::{MetricsStore, StoreError};

/// Steps of a tier that one round sums up at the most: after a long rest there may be many.
const AT_ONCE: usize = 12;

/// The tiers that are sums, and up to when each is stored; none where the store was not asked yet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct RolledUp {
    five_minutes: Option<Timestamp>,
    hour: Option<Timestamp>,
}

/// Before every moment.
const NEVER: Timestamp = Timestamp::from_millis(i64::MIN);

impl RolledUp {
    /// What is to be stored, and how far it goes when it is. `raw_until` is the end of the latest row that was measured and is stored.
    pub(crate) async fn next(
        mut self,
        store: &(impl MetricsStore + ?Sized),
        raw_until: Timestamp,
    ) -> Result<(Vec<(MetricsTier, PoolMetrics)>, Self), StoreError> {
        let mut rows = Vec::new();
        let stored = self.five_minutes.unwrap_or(NEVER);
        for (tier, finer_until, done) in [
            (MetricsTier::FiveMinutes, raw_until, &mut self.five_minutes),
            // What is summed up now is not stored yet.
            (MetricsTier::Hour, stored, &mut self.hour),
        ] {
            let known = match *done {
                // After a clock that was set back nothing is stored that was later.
                Some(until) if until <= raw_until => until,
                _ => store.newest_metrics(tier).await?.unwrap_or(NEVER),
            };
            let (new, until) = sum_up(store, tier, known, finer_until).await?;
            rows.extend(new.into_iter().map(|row| (tier, row)));
            *done = Some(until);
        }
        Ok((rows, self))
    }
}

/// Sums up what a tier lacks, where the finer one is stored up to `finer_until`.
async fn sum_up(
    store: &(impl MetricsStore + ?Sized),
    tier: MetricsTier,
    mut done: Timestamp,
    finer_until: Timestamp,
) -> Result<(Vec<PoolMetrics>, Timestamp), StoreError> {
    let mut rows = Vec::new();
    let (Some(step), Some(finer)) = (tier.step(), tier.finer()) else { return Ok((rows, done)) };
    for _ in 0..AT_ONCE {
        let Some(first) = store.next_metrics(finer, done).await? else { break };
        let end = end_of_step(first, step);
        if end > finer_until {
            break;
        }
        let parts = store.metrics_of_all(finer, end.before(step), end).await?;
        rows.extend(sum(&parts, end).into_values());
        done = end;
    }
    Ok((rows, done))
}

/// One row a pool, and one of all together.
fn sum(parts: &[PoolMetrics], end: Timestamp) -> BTreeMap<Option<PoolName>, PoolMetrics> {
    let mut sums: BTreeMap<Option<PoolName>, PoolMetrics> = BTreeMap::new();
    for part in parts {
        let pool = part.pool_name.clone();
        sums.entry(pool.clone()).or_insert_with(|| PoolMetrics::new(pool, end)).merge(part);
    }
    sums
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use muster_domain::Fence;
    use muster_store::testing::MemoryStore;
    use muster_store::{Leadership, MetricsFilter, MetricsRound, Store};

    use super::*;

    const MINUTE: i64 = 60_000;

    fn raw(minute: i64, depth: u64) -> (MetricsTier, PoolMetrics) {
        let mut row = PoolMetrics::new("p".parse().ok(), Timestamp::from_millis(minute * MINUTE));
        (row.looks, row.queue.depth) = (1, depth);
        (MetricsTier::Raw, row)
    }

    async fn lead(store: &MemoryStore) -> Fence {
        match store.lead("t", "a", Duration::from_secs(9)).await {
            Ok(Leadership::Leads(fence)) => fence,
            other => panic!("{other:?}"),
        }
    }

    async fn record(store: &MemoryStore, fence: Fence, rows: Vec<(MetricsTier, PoolMetrics)>) {
        store.record_metrics(fence, &MetricsRound { rows, outdated: Vec::new() }).await.expect("recorded");
    }

    /// Minutes of the rows' ends, with looks and depths.
    async fn stored(store: &MemoryStore, tier: MetricsTier) -> Vec<(i64, u32, u64)> {
        let filter =
            MetricsFilter { pool: "p".parse().ok(), tier, after: NEVER, until: Timestamp::from_millis(i64::MAX) };
        let rows = store.metrics(&filter, 1_000).await.expect("rows").into_iter();
        rows.rev().map(|row| (row.at.as_millis() / MINUTE, row.looks, row.queue.depth)).collect()
    }

    #[tokio::test]
    async fn a_step_is_summed_up_once_when_it_is_over() {
        let (store, mut rolled) = (MemoryStore::new(), RolledUp::default());
        let fence = lead(&store).await;
        for minute in 1..=130 {
            record(&store, fence, vec![raw(minute, 2)]).await;
            let (rows, next) = rolled.next(&store, Timestamp::from_millis(minute * MINUTE)).await.expect("summed");
            record(&store, fence, rows).await;
            rolled = next;
        }
        let fives: Vec<_> = (1..=26).map(|five| (five * 5, 5, 10)).collect();
        assert_eq!(stored(&store, MetricsTier::FiveMinutes).await, fives);
        assert_eq!(stored(&store, MetricsTier::Hour).await, [(60, 60, 120), (120, 60, 120)]);
    }

    #[tokio::test]
    async fn what_another_supervisor_left_is_summed_up_and_gaps_stay() {
        let store = MemoryStore::new();
        let fence = lead(&store).await;
        record(&store, fence, vec![raw(3, 1), raw(4, 1), raw(500, 7), raw(501, 7)]).await;
        let mut rolled = RolledUp::default();
        for _ in 0..3 {
            let (rows, next) = rolled.next(&store, Timestamp::from_millis(501 * MINUTE)).await.expect("summed");
            record(&store, fence, rows).await;
            rolled = next;
        }
        assert_eq!(stored(&store, MetricsTier::FiveMinutes).await, [(5, 2, 2), (500, 1, 7)], "501 is not over");
        assert_eq!(stored(&store, MetricsTier::Hour).await, [(60, 2, 2)]);
        // A new one takes up where this one was.
        let (rows, _) = RolledUp::default().next(&store, Timestamp::from_millis(501 * MINUTE)).await.expect("summed");
        assert_eq!(rows, []);
    }
}
