//! Pools come, change and go.

use std::time::Duration;

use muster_domain::{AgentState, Cause, PoolConfig, PoolOrigin, PoolSpec, RestartPolicy};
use muster_store::Store;
use muster_supervisor::SupervisorError;
use serde_json::json;

use crate::worker::{OnSpawn, OnStop};
use crate::world::{Ground, World, config, let_pass, pool, wait_until};

/// A pool with an agent in every state: running, placed, waiting for its backoff, quarantined, stopping.
async fn full_of_states() -> World {
    let long = Duration::from_secs(300);
    let bounds = |pool: &mut muster_domain::PoolConfig| {
        (pool.restart.max_restarts, pool.restart.backoff_min, pool.restart.backoff_max) = (1, long, long);
        pool.max_agents = 1;
    };
    let world = World::with(|_| {}, bounds).await;
    let agents = world.spawn_many(4).await;
    let crash = Cause::Exited { code: 1 };
    world.worker_of(agents[0]).await.end(agents[0], crash.clone()).await;
    wait_until("it waits", async || world.agent(agents[0]).await.process_id.is_none()).await;
    world.worker_of(agents[1]).await.end(agents[1], crash.clone()).await;
    wait_until("it waits", async || world.agent(agents[1]).await.process_id.is_none()).await;
    world.agents().restart(agents[1], crate::worker::PATIENCE).await.expect("restarted");
    world.worker_of(agents[1]).await.end(agents[1], crash).await;
    world.wait_state(agents[1], AgentState::Quarantined).await;
    world.worker_of(agents[2]).await.change(|habits| habits.on_stop = OnStop::EndIfForced).await;
    world.launcher().habits(|habits| habits.on_spawn = OnSpawn::RunSilently);
    world.order().await;
    world.order().await;
    world
}

async fn is_gone(world: &World) {
    wait_until("the pool is gone", async || {
        matches!(world.pools().get(&pool()).await, Err(SupervisorError::UnknownPool(_)))
    })
    .await;
    assert!(world.store().pools().await.expect("rows").iter().all(|row| row.spec.pool_name != pool()));
    assert_eq!(world.store().live_agents().await.expect("rows"), []);
    assert!(world.launcher().living().is_empty());
    assert!(world.ground.ledger.running().is_empty());
}

#[tokio::test]
async fn a_pool_is_removed_whatever_its_agents_do() {
    let world = full_of_states().await;
    world.pools().remove(&pool(), false).await.expect("removed");
    is_gone(&world).await;
    wait_until("nothing is left in the registry", async || world.ground.memory.is_empty()).await;
    world.create_pool(config()).await;
    world.launcher().habits(|habits| habits.on_spawn = OnSpawn::Run);
    world.spawn().await;
    world.end().await;
}

#[tokio::test]
async fn a_graceful_removal_waits_and_a_forced_one_ends_the_wait() {
    let world = World::new().await;
    let agent = world.spawn().await;
    let worker = world.worker_of(agent).await;
    worker.change(|habits| habits.on_stop = OnStop::EndIfForced).await;
    let pools = world.pools().clone();
    let graceful = tokio::spawn(async move { pools.remove(&pool(), true).await });
    wait_until("it is asked", async || worker.stops_of(agent).await.contains(&true)).await;
    let refused = world.try_spawn(Duration::ZERO).await.expect_err("it is going");
    assert!(matches!(refused, SupervisorError::PoolDraining(_)), "{refused}");
    let_pass(&world).await;
    assert_eq!(world.state(agent).await, AgentState::Stopping);
    world.pools().remove(&pool(), false).await.expect("removed");
    graceful.await.expect("no panic").expect("removed too");
    is_gone(&world).await;
    world.end().await;
}

#[tokio::test]
async fn a_removal_that_a_master_began_is_finished_by_the_next() {
    let old = World::new().await;
    let agent = old.spawn().await;
    let worker = old.worker_of(agent).await;
    worker.change(|habits| habits.on_stop = OnStop::Miss).await;
    let pools = old.pools().clone();
    let removal = tokio::spawn(async move { pools.remove(&pool(), true).await });
    wait_until("it is asked", async || !worker.stops_of(agent).await.is_empty()).await;
    let ground = old.ground.clone();
    old.shut_down(true).await;
    assert!(matches!(removal.await.expect("no panic"), Err(SupervisorError::Stopping)));
    worker.change(|habits| habits.on_stop = OnStop::End).await;
    let world = ground.lead().await;
    is_gone(&world).await;
    world.end().await;
}

#[tokio::test]
async fn a_supervisor_stops_while_a_pool_is_removed() {
    let world = World::new().await;
    let agent = world.spawn().await;
    let worker = world.worker_of(agent).await;
    worker.change(|habits| habits.on_stop = OnStop::Miss).await;
    let pools = world.pools().clone();
    let removal = tokio::spawn(async move { pools.remove(&pool(), true).await });
    wait_until("it is asked", async || !worker.stops_of(agent).await.is_empty()).await;
    let ground = world.ground.clone();
    world.shut_down(false).await;
    // Either it was just done, or the next supervisor does it.
    drop(removal.await.expect("it is answered"));
    let world = ground.lead().await;
    is_gone(&world).await;
    world.end().await;
}

#[tokio::test]
async fn new_bounds_count_for_what_starts_next() {
    let world = World::new().await;
    world.spawn_many(2).await;
    let view = world.pools().change(&pool(), &json!({"max_agents": 5})).await.expect("changed");
    assert_eq!(view.config.max_agents, 5);
    world.spawn_many(5).await;
    let mut capacities: Vec<u32> = world.launcher().living().iter().map(|worker| worker.orders().capacity).collect();
    capacities.sort_unstable();
    assert_eq!(capacities, [2, 5]);
    let wrong = world.pools().change(&pool(), &json!({"max_agents": 0})).await;
    assert!(matches!(wrong, Err(SupervisorError::Invalid(_))), "{wrong:?}");
    world.end().await;
}

#[tokio::test]
async fn pools_of_the_file_follow_the_file() {
    let mut ground = Ground::new();
    let spec = PoolSpec {
        pool_name: pool(),
        role_type: "developer".to_owned(),
        runtime: "echo".to_owned(),
        config: config(),
        origin: PoolOrigin::File,
    };
    ground.file_pools = vec![spec];
    let world = ground.lead().await;
    world.spawn().await;
    for refused in [
        world.pools().remove(&pool(), true).await,
        world.pools().change(&pool(), &json!({"max_agents": 9})).await.map(drop),
    ] {
        assert!(matches!(refused, Err(SupervisorError::PoolOfFile(_))), "{refused:?}");
    }
    world.shut_down(true).await;
    ground.file_pools = Vec::new();
    let world = ground.lead().await;
    is_gone(&world).await;
    world.end().await;
}

#[tokio::test]
async fn a_name_is_taken_once() {
    let world = World::new().await;
    let again = muster_supervisor::NewPool {
        pool_name: pool(),
        role_type: "developer".to_owned(),
        runtime: None,
        config: config(),
    };
    let refused = world.pools().create(again.clone()).await;
    assert!(matches!(refused, Err(SupervisorError::PoolExists(_))), "{refused:?}");
    let unknown = muster_supervisor::NewPool { runtime: Some("none".to_owned()), ..again };
    assert!(matches!(world.pools().create(unknown).await, Err(SupervisorError::UnknownRuntime { .. })));
    world.end().await;
}

#[tokio::test]
async fn a_pool_is_kept_whatever_durations_its_row_has() {
    let ages = Duration::from_secs(10_000_000_000_000_000_000);
    let restart = RestartPolicy { window: ages, backoff_min: ages, backoff_max: ages, ..config().restart };
    let config = PoolConfig {
        worker_idle_timeout: ages,
        max_idle_time: ages,
        health_check_interval: Some(-1.0),
        restart,
        ..config()
    };
    let refused = World::new().await;
    let name = "other".parse().expect("a name");
    let new = muster_supervisor::NewPool {
        pool_name: name,
        role_type: "developer".to_owned(),
        runtime: None,
        config: PoolConfig { health_check_interval: None, ..config.clone() },
    };
    let answer = refused.pools().create(new).await;
    assert!(matches!(answer, Err(SupervisorError::Invalid(_))), "{answer:?}");
    refused.end().await;

    let mut ground = Ground::new();
    // What the file says is checked when it is read; here it stands for a row from before there was a bound.
    let role_type = "developer".to_owned();
    let runtime = "echo".to_owned();
    ground.file_pools = vec![PoolSpec { pool_name: pool(), role_type, runtime, config, origin: PoolOrigin::File }];
    let world = ground.lead().await;
    let agent = world.spawn().await;
    world.worker_of(agent).await.end(agent, Cause::Exited { code: 1 }).await;
    wait_until("it waits for its backoff", async || world.agent(agent).await.process_id.is_none()).await;
    let_pass(&world).await;
    assert_eq!(world.state(agent).await, AgentState::Spawning);
    world.end().await;
}
