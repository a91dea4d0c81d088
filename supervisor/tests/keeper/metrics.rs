//! What is measured of pools, and kept.

use std::time::Duration;

use muster_domain::{MetricsTier, PoolMetrics, Timestamp};
use muster_store::MetricsFilter;
use muster_supervisor::{MetricKind, SeriesQuery, SupervisorError, TimeRange};

use crate::world::{Ground, World, config, pool, wait_until};

const INTERVAL: Duration = Duration::from_millis(50);

async fn measured() -> World {
    let world = Ground::new().lead_with(|parts| parts.settings.metrics_interval = Some(INTERVAL)).await;
    world.create_pool(config()).await;
    world
}

/// What is stored of the pool, or of all, as it was measured, the newest first.
async fn rows(world: &World, of_pool: bool) -> Vec<PoolMetrics> {
    let filter = MetricsFilter {
        pool: of_pool.then(pool),
        tier: MetricsTier::Raw,
        after: Timestamp::from_millis(0),
        until: Timestamp::from_millis(i64::MAX),
    };
    world.ground.store.inner().metrics(&filter, 10_000).await.expect("rows")
}

#[tokio::test]
async fn a_pool_is_measured_once_an_interval() {
    let world = measured().await;
    world.spawn_many(3).await;
    wait_until("three slots of four are taken", async || {
        rows(&world, true).await.first().is_some_and(|row| (row.slots.taken, row.slots.slots) == (3, 4))
    })
    .await;
    let newest = rows(&world, true).await.remove(0);
    assert_eq!((newest.looks, newest.agents.active, newest.agents.idle), (1, 3, 3));
    assert_eq!((newest.utilization(), newest.health_score()), (0.75, Some(1.0)));
    assert!(newest.covers >= INTERVAL / 2, "{:?}", newest.covers);
    wait_until("all pools together are measured too", async || {
        rows(&world, false).await.first().is_some_and(|row| row.slots.taken == 3)
    })
    .await;
    wait_until("there are two", async || rows(&world, true).await.len() > 1).await;
    let metrics = world.metrics();
    let shown = metrics.of_pool(&pool(), 5).await.expect("measurements");
    assert!(shown.len() >= 2 && shown.is_sorted_by(|one, next| one.timestamp > next.timestamp), "the newest first");
    let query =
        SeriesQuery { kind: MetricKind::Utilization, range: TimeRange::Hour, interval: None, pool: Some(pool()) };
    let series = metrics.series(query).await.expect("a curve");
    let values: Vec<f64> = series.points.iter().filter_map(|point| point.value).collect();
    assert!(!values.is_empty() && values.len() < series.points.len(), "what was not measured is a gap: {values:?}");
    let unknown = metrics.of_pool(&"nobody".parse().expect("a name"), 5).await.expect_err("no such pool");
    assert!(matches!(unknown, SupervisorError::UnknownPool(_)), "{unknown}");
    world.end().await;
}

#[tokio::test]
async fn rounds_that_the_store_did_not_take_are_stored_when_it_is_back() {
    let world = measured().await;
    wait_until("it is measured", async || rows(&world, true).await.len() > 1).await;
    world.store().leave();
    let before = rows(&world, true).await.len();
    wait_until("it is noticed", async || !world.degraded().await.is_empty()).await;
    let tried = world.store().times_tried();
    wait_until("more rounds are tried", async || world.store().times_tried() >= tried + 8).await;
    assert_eq!(rows(&world, true).await.len(), before);
    world.store().heal();
    wait_until("all is stored", async || rows(&world, true).await.len() > before + 1).await;
    let stored = rows(&world, true).await;
    let [newest, .., oldest] = &*stored else { panic!("rows: {stored:?}") };
    let covered: Duration = stored.iter().rev().skip(1).map(|row| row.covers).sum();
    assert!(newest.at.since(oldest.at).abs_diff(covered) < INTERVAL, "no round is missing: {covered:?}");
    wait_until("all is well", async || world.degraded().await.is_empty()).await;
    world.end().await;
}

#[tokio::test]
async fn where_nothing_is_measured_nothing_is_stored() {
    let world = World::new().await;
    world.spawn().await;
    assert_eq!(world.metrics().of_pool(&pool(), 5).await.expect("a pool").len(), 0);
    assert_eq!(rows(&world, true).await, []);
    world.end().await;
}
