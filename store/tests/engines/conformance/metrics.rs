//! What pools were and did.

use std::time::Duration;

use muster_domain::{Fence, MetricsTier, PoolMetrics, Timestamp};
use muster_store::{MetricsFilter, MetricsRound, Store, StoreError};

use super::{Place, at, name};

/// Of a pool, or of all, with something in each kind of column.
fn row(pool: Option<&str>, at: Timestamp, depth: u64) -> PoolMetrics {
    let mut row = PoolMetrics::new(pool.map(name), at);
    (row.looks, row.covers) = (1, Duration::from_millis(30_001));
    (row.queue.depth, row.queue.oldest_wait) = (depth, Duration::from_millis(1_234));
    row.work.waits.add(Duration::from_millis(5));
    row.work.usage.cost_micros = 7;
    (row.resources.looks, row.resources.cpu, row.resources.cpu_granted) = (1, 500_000, 2_000_000);
    row
}

fn filter(pool: Option<&str>, tier: MetricsTier) -> MetricsFilter {
    MetricsFilter { pool: pool.map(name), tier, after: at(0), until: at(10_000_000) }
}

fn depths(rows: &[PoolMetrics]) -> Vec<u64> {
    rows.iter().map(|row| row.queue.depth).collect()
}

async fn record(store: &dyn Store, fence: Fence, rows: Vec<(MetricsTier, PoolMetrics)>) {
    store.record_metrics(fence, &MetricsRound { rows, outdated: Vec::new() }).await.expect("recorded");
}

pub(crate) async fn metrics_are_read_as_they_were_recorded(place: &Place) {
    let (store, fence) = (&*place.store, place.lead().await);
    let rows =
        [row(Some("one"), at(1), 1), row(None, at(1), 2), row(Some("one"), at(2), 3), row(Some("two"), at(2), 4)];
    record(store, fence, rows.iter().map(|row| (MetricsTier::Raw, row.clone())).collect()).await;
    record(store, fence, vec![(MetricsTier::Hour, row(Some("one"), at(2), 9))]).await;
    let read = store.metrics(&filter(Some("one"), MetricsTier::Raw), 100).await.expect("rows");
    assert_eq!(read, [rows[2].clone(), rows[0].clone()], "the newest first, and nothing of it is lost");
    let all = store.metrics(&filter(None, MetricsTier::Raw), 100).await.expect("rows");
    assert_eq!(all, [rows[1].clone()]);
    let bounded = MetricsFilter { after: at(1), until: at(2), ..filter(Some("one"), MetricsTier::Raw) };
    assert_eq!(depths(&store.metrics(&bounded, 100).await.expect("rows")), [3], "after the one, not after the other");
    assert_eq!(depths(&store.metrics(&filter(Some("one"), MetricsTier::Raw), 1).await.expect("rows")), [3]);
    assert_eq!(depths(&store.metrics(&filter(Some("one"), MetricsTier::Hour), 9).await.expect("rows")), [9]);
    let mut every = depths(&store.metrics_of_all(MetricsTier::Raw, at(0), at(2)).await.expect("rows"));
    every.sort_unstable();
    assert_eq!(every, [1, 2, 3, 4]);
    assert_eq!(store.newest_metrics(MetricsTier::Raw).await.expect("a time"), Some(at(2)));
    assert_eq!(store.newest_metrics(MetricsTier::FiveMinutes).await.expect("none"), None);
    let next = |after| store.next_metrics(MetricsTier::Raw, after);
    assert_eq!((next(at(0)).await.expect("one"), next(at(2)).await.expect("none")), (Some(at(1)), None));
}

pub(crate) async fn a_row_that_is_there_stays(place: &Place) {
    let (store, fence) = (&*place.store, place.lead().await);
    record(store, fence, vec![(MetricsTier::Raw, row(Some("one"), at(1), 1))]).await;
    record(store, fence, vec![(MetricsTier::Raw, row(Some("one"), at(1), 2))]).await;
    assert_eq!(depths(&store.metrics(&filter(Some("one"), MetricsTier::Raw), 9).await.expect("rows")), [1]);
    store.resign(fence).await.expect("resigned");
    let late = store.record_metrics(fence, &MetricsRound::default()).await;
    assert!(matches!(late, Err(StoreError::Fenced { .. })), "{late:?}");
}

pub(crate) async fn old_metrics_go_tier_by_tier(place: &Place) {
    let (store, fence) = (&*place.store, place.lead().await);
    let tiers = [MetricsTier::Raw, MetricsTier::Hour];
    let rows = tiers.into_iter().flat_map(|tier| (1..=3).map(move |n| (tier, row(Some("one"), at(n), n as u64))));
    record(store, fence, rows.collect()).await;
    let round = MetricsRound { rows: Vec::new(), outdated: vec![(MetricsTier::Raw, at(2))] };
    store.record_metrics(fence, &round).await.expect("pruned");
    let left = async |tier| depths(&store.metrics(&filter(Some("one"), tier), 9).await.expect("rows"));
    assert_eq!((left(MetricsTier::Raw).await, left(MetricsTier::Hour).await), (vec![3], vec![3, 2, 1]));
    store.bring_back(fence, at(1)).await.expect("brought back");
    assert_eq!((left(MetricsTier::Raw).await, left(MetricsTier::Hour).await), (vec![], vec![1]), "of no known time");
}

/// A round of a thousand pools is more than one statement holds.
pub(crate) async fn metrics_of_many_pools_are_one_round(place: &Place) {
    let fence = place.lead().await;
    let pools: Vec<String> = (0..600).map(|n| format!("pool_{n}")).collect();
    let rows = pools.iter().map(|pool| (MetricsTier::Raw, row(Some(pool), at(1), 1))).collect();
    record(&*place.store, fence, rows).await;
    assert_eq!(place.store.metrics_of_all(MetricsTier::Raw, at(0), at(1)).await.expect("rows").len(), 600);
}
