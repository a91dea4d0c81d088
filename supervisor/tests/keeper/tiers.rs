//! Pools whose capacity is of tiers.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_domain::{CapacityTier, CapacityTiers, PoolConfig, ProcessId, TierName};
use muster_store::Store;
use muster_supervisor::{SupervisorError, WorkerView};

use crate::tasks::task;
use crate::worker::OnTask;
use crate::world::{Ground, World, config, let_pass, pool, wait_until};

/// Longer than a test takes.
const LONG: Duration = Duration::from_secs(60);

fn tier(min_workers: u32, max_workers: u32, price_per_hour: f64) -> CapacityTier {
    CapacityTier { min_workers, max_workers, price_per_hour, ..CapacityTier::default() }
}

/// Base 1 to 2, spot up to 2, and burst where these are given; workers of one agent.
fn of_tiers(burst: Option<u32>) -> impl FnOnce(&mut PoolConfig) {
    move |config| {
        (config.max_agents, config.max_workers) = (1, 0);
        config.tiers = Some(CapacityTiers {
            spot_share: 0.5,
            burst_queue_above: 2,
            base: Some(tier(1, 2, 1.0)),
            spot: Some(tier(0, 2, 0.25)),
            burst: burst.map(|most| tier(0, most, 3.0)),
        });
    }
}

async fn workers(world: &World) -> Vec<WorkerView> {
    world.workers().list(None).await.expect("workers")
}

/// How many there are of each tier, those that are interrupted left out.
async fn counts(world: &World) -> BTreeMap<TierName, usize> {
    let mut counts = BTreeMap::new();
    for worker in workers(world).await.iter().filter(|worker| worker.interruption.is_none()) {
        *counts.entry(worker.tier.expect("each is of a tier")).or_default() += 1;
    }
    counts
}

async fn wait_counts(world: &World, expected: &[(TierName, usize)]) {
    let expected: BTreeMap<TierName, usize> = expected.iter().copied().collect();
    wait_until(&format!("there are {expected:?}"), async || counts(world).await == expected).await;
}

async fn one_of(world: &World, tier: TierName) -> ProcessId {
    let of_tier = |worker: &&WorkerView| worker.tier == Some(tier) && worker.interruption.is_none();
    workers(world).await.iter().find(of_tier).expect("one of this tier").process_id
}

use TierName::{Base, Burst, Spot};

#[tokio::test]
async fn workers_are_of_the_tier_that_is_next_and_no_more_than_the_tiers_hold() {
    let world = World::with(|_| {}, of_tiers(None)).await;
    wait_counts(&world, &[(Base, 1)]).await;
    let expected: [&[(TierName, usize)]; 4] =
        [&[(Base, 1)], &[(Base, 2)], &[(Base, 2), (Spot, 1)], &[(Base, 2), (Spot, 2)]];
    for counts in expected {
        world.spawn().await;
        wait_counts(&world, counts).await;
    }
    let refused = world.try_spawn(Duration::ZERO).await.expect_err("no tier holds more");
    assert!(matches!(&refused, SupervisorError::TiersFull { why, .. } if why.contains("2 base, 2 spot")), "{refused}");
    let view = world.pool().await;
    assert_eq!((view.scale.min_workers, view.scale.max_workers), (1, 4), "the bounds of all tiers");
    assert_eq!(view.cost_per_hour, Some(2.5));
    world.end().await;
}

#[tokio::test]
async fn a_spot_worker_that_is_taken_away_has_one_of_the_next_tier_in_its_place() {
    let world = World::with(|_| {}, of_tiers(Some(5))).await;
    world.spawn_many(3).await;
    wait_counts(&world, &[(Base, 2), (Spot, 1)]).await;
    let taken = one_of(&world, Spot).await;
    world.workers().interrupt(taken, LONG).await.expect("a notice");
    // Spot takes away: base is full, so burst stands in though no queue is long.
    wait_counts(&world, &[(Base, 2), (Burst, 1)]).await;
    // A base worker's source is no spot: it is asked again.
    let base = one_of(&world, Base).await;
    world.workers().interrupt(base, LONG).await.expect("a notice");
    wait_counts(&world, &[(Base, 2), (Burst, 1)]).await;
    world.end().await;
}

#[tokio::test]
async fn where_no_other_tier_has_room_spot_is_asked_again() {
    let world = World::with(|_| {}, of_tiers(None)).await;
    world.spawn_many(3).await;
    wait_counts(&world, &[(Base, 2), (Spot, 1)]).await;
    let taken = one_of(&world, Spot).await;
    world.workers().interrupt(taken, LONG).await.expect("a notice");
    wait_counts(&world, &[(Base, 2), (Spot, 1)]).await;
    assert_ne!(one_of(&world, Spot).await, taken);
    world.end().await;
}

#[tokio::test]
async fn a_source_that_gives_no_worker_is_passed_over_at_once() {
    let world = World::with(
        |_| {},
        |config| {
            of_tiers(Some(5))(config);
            // A failed start would be waited for.
            config.restart.backoff_min = Duration::from_secs(100);
            config.restart.backoff_max = Duration::from_secs(100);
            let tiers = config.tiers.as_mut().expect("tiers");
            tiers.base = Some(tier(0, 1, 1.0));
            tiers.spot_share = 1.0;
            tiers.spot.as_mut().expect("spot").instance_types = vec!["small".to_owned(), "large".to_owned()];
        },
    )
    .await;
    world.launcher().fail(1);
    world.spawn().await;
    wait_counts(&world, &[(Spot, 1)]).await;
    let row = world.ground.store.worker(one_of(&world, Spot).await).await.expect("a read").expect("a row");
    assert_eq!(row.spec.source.to_string(), "local/large", "the next type of instance");
    world.launcher().fail(1);
    world.spawn().await;
    wait_counts(&world, &[(Base, 1), (Spot, 1)]).await;
    assert_eq!(world.launcher().launches(), 4);
    world.end().await;
}

#[tokio::test]
async fn burst_opens_while_the_queue_is_long() {
    let world = World::of_tasks_with(|config| {
        of_tiers(Some(2))(config);
        config.on_demand = Some(muster_domain::OnDemand { max_agents: 0, reuse: true });
    })
    .await;
    world.on_task(OnTask::Hold).await;
    world.submit_many(vec![task(); 4]).await;
    wait_counts(&world, &[(Base, 2), (Spot, 2)]).await;
    world.submit_many(vec![task(); 2]).await;
    let_pass(&world).await;
    wait_counts(&world, &[(Base, 2), (Spot, 2)]).await;
    world.submit_many(vec![task(); 5]).await;
    wait_counts(&world, &[(Base, 2), (Spot, 2), (Burst, 2)]).await;
    world.end().await;
}

#[tokio::test]
async fn the_dear_ones_leave_first_and_no_tier_below_its_part() {
    let world = World::with(|_| {}, of_tiers(Some(2))).await;
    world.pools().scale(&pool(), Some(4)).await.expect("scaled");
    wait_counts(&world, &[(Base, 2), (Spot, 2)]).await;
    let taken = one_of(&world, Spot).await;
    world.workers().interrupt(taken, LONG).await.expect("a notice");
    wait_counts(&world, &[(Base, 2), (Spot, 1), (Burst, 1)]).await;
    world.pools().scale(&pool(), Some(3)).await.expect("scaled");
    wait_counts(&world, &[(Base, 2), (Spot, 1)]).await;
    world.pools().scale(&pool(), Some(1)).await.expect("scaled");
    wait_counts(&world, &[(Base, 1)]).await;
    world.end().await;
}

#[tokio::test]
async fn the_next_supervisor_knows_of_which_tier_each_is_and_what_is_taken_away() {
    let ground = Ground::new();
    let world = ground.lead().await;
    let mut config = config();
    of_tiers(Some(5))(&mut config);
    world.create_pool(config).await;
    world.spawn_many(3).await;
    wait_counts(&world, &[(Base, 2), (Spot, 1)]).await;
    let taken = one_of(&world, Spot).await;
    world.workers().interrupt(taken, LONG).await.expect("a notice");
    wait_counts(&world, &[(Base, 2), (Burst, 1)]).await;
    world.launcher().worker(taken).change(|habits| habits.on_stop = crate::worker::OnStop::Miss).await;
    world.shut_down(true).await;
    let world = ground.lead().await;
    wait_counts(&world, &[(Base, 2), (Burst, 1)]).await;
    assert!(workers(&world).await.iter().any(|worker| worker.process_id == taken), "its agent does not stop");
    // Its source is left alone still; the first one takes the slot that waits for that agent.
    world.spawn_many(2).await;
    wait_counts(&world, &[(Base, 2), (Burst, 2)]).await;
    world.launcher().worker(taken).change(|habits| habits.on_stop = crate::worker::OnStop::End).await;
    world.end().await;
}

#[tokio::test]
async fn a_tier_has_its_minimum_whatever_there_is_of_others() {
    let world = World::with(|_| {}, of_tiers(None)).await;
    world.spawn_many(3).await;
    wait_counts(&world, &[(Base, 2), (Spot, 1)]).await;
    let agents: Vec<_> = world.launcher().living().iter().map(|worker| worker.id()).collect();
    assert_eq!(agents.len(), 3);
    // All agents of base end, and with them its workers but for one.
    for worker in workers(&world).await.iter().filter(|worker| worker.tier == Some(Base)) {
        world.launcher().worker(worker.process_id).die();
    }
    wait_counts(&world, &[(Base, 2), (Spot, 1)]).await;
    let change = serde_json::json!({"tiers": {"spot": {"min_workers": 2}}});
    world.pools().change(&pool(), &change).await.expect("a change");
    wait_counts(&world, &[(Base, 2), (Spot, 2)]).await;
    world.end().await;
}

#[tokio::test]
async fn a_commit_that_seems_to_fail_is_no_fault_of_a_source() {
    let world = World::with(|_| {}, of_tiers(Some(5))).await;
    world.spawn_many(2).await;
    wait_counts(&world, &[(Base, 2)]).await;
    let is_worker = |write: &muster_store::Write| matches!(write, muster_store::Write::AddWorker { .. });
    world.store().once(is_worker, muster_store::testing::Commit::Lie);
    drop(world.try_spawn(Duration::ZERO).await);
    wait_until("it is read again", async || world.degraded().await.is_empty()).await;
    let_pass(&world).await;
    world.spawn().await;
    wait_until("it is of spot, not of burst", async || {
        let counts = counts(&world).await;
        counts.get(&Spot).is_some_and(|spot| *spot >= 1) && !counts.contains_key(&Burst)
    })
    .await;
    world.end().await;
}

#[tokio::test]
async fn an_agent_that_was_promised_a_slot_finds_one_though_burst_is_shut() {
    let world = World::of_tasks_with(|config| {
        of_tiers(Some(1))(config);
        let tiers = config.tiers.as_mut().expect("tiers");
        (tiers.base, tiers.spot) = (Some(tier(0, 1, 1.0)), None);
    })
    .await;
    world.on_task(OnTask::Hold).await;
    world.spawn().await;
    let tasks = world.submit_many(vec![task(); 5]).await;
    let_pass(&world).await;
    let second = world.spawn().await;
    wait_counts(&world, &[(Base, 1), (Burst, 1)]).await;
    for id in &tasks {
        world.holder(*id).await.answer(*id).await;
        world.done(*id).await;
    }
    let_pass(&world).await;
    let refused = world.try_spawn(Duration::ZERO).await.expect_err("burst is shut again, and full");
    assert!(refused.to_string().contains("burst is shut"), "{refused}");
    world.worker_of(second).await.die();
    world.wait_epoch(second, 2).await;
    wait_counts(&world, &[(Base, 1), (Burst, 1)]).await;
    world.end().await;
}

#[tokio::test]
async fn no_policy_adds_what_would_cost_more_than_an_hour_may() {
    let world = World::of_tasks_with(|config| {
        of_tiers(None)(config);
        let tiers = config.tiers.as_mut().expect("tiers");
        (tiers.base, tiers.spot) = (Some(tier(0, 6, 1.0)), None);
        config.on_demand = Some(muster_domain::OnDemand { max_agents: 0, reuse: true });
        config.scaling = muster_domain::ScalingConfig {
            mode: muster_domain::ScalingMode::On,
            check_interval: Duration::from_millis(100),
            max_cost_per_hour: 2.0,
            preset: Some(muster_domain::ScalingPreset::Target),
            ..muster_domain::ScalingConfig::default()
        };
    })
    .await;
    world.on_task(OnTask::Hold).await;
    world.submit_many(vec![task(); 60]).await;
    wait_counts(&world, &[(Base, 2)]).await;
    wait_until("the cost holds it", async || world.pool().await.scale.held == Some(muster_domain::HoldKind::Cost))
        .await;
    let_pass(&world).await;
    let view = world.pool().await;
    assert_eq!((view.scale.target_workers, view.cost_per_hour), (Some(2), Some(2.0)));
    world.end().await;
}
