//! A number of workers that somebody has said.

use muster_domain::{OnDemand, PoolConfig};
use muster_store::Write;
use muster_store::testing::Commit;
use muster_supervisor::{PoolStatus, SupervisorError};

use crate::tasks::task;
use crate::worker::OnTask;
use crate::world::{Ground, World, config, let_pass, pool, wait_until};

/// Of workers of two agents, at most four.
fn bounded() -> PoolConfig {
    PoolConfig { max_workers: 4, min_workers: 1, ..config() }
}

async fn world() -> World {
    let world = Ground::new().lead().await;
    world.create_pool(bounded()).await;
    world
}

async fn scale(world: &World, target: impl Into<Option<u32>>) {
    world.pools().scale(&pool(), target.into()).await.expect("scaled");
}

async fn wait_workers(world: &World, count: u32) {
    wait_until(&format!("{count} workers are ready"), async || {
        let pool = world.pool().await;
        (pool.process_count, pool.active_worker_processes) == (count, count)
    })
    .await;
}

#[tokio::test]
async fn workers_are_started_and_ended_up_to_the_target() {
    let world = world().await;
    wait_workers(&world, 1).await;
    assert_eq!((world.pool().await.scale.target_workers, world.pool().await.scale.last_scaled_at), (None, None));
    scale(&world, 3).await;
    wait_workers(&world, 3).await;
    let shown = world.pool().await.scale;
    assert_eq!((shown.status, shown.target_workers, shown.current_workers), (PoolStatus::Active, Some(3), 3));
    assert!(shown.last_scaled_at.is_some() && shown.health_score == 1.0, "{shown:?}");
    // They are empty, and go at once.
    scale(&world, 1).await;
    wait_workers(&world, 1).await;
    world.end().await;
}

#[tokio::test]
async fn a_worker_with_an_agent_stays_until_it_is_empty() {
    let world = world().await;
    let agents = world.spawn_many(4).await;
    wait_workers(&world, 2).await;
    scale(&world, 1).await;
    assert_eq!(world.pool().await.scale.status, PoolStatus::ScalingDown);
    let_pass(&world).await;
    wait_workers(&world, 2).await;
    let worker = world.worker_of(agents[0]).await.id();
    for agent in agents {
        if world.agent(agent).await.process_id == Some(worker) {
            world.terminate(agent).await;
        }
    }
    wait_workers(&world, 1).await;
    assert_eq!(world.pool().await.agent_count, 2, "nobody was moved");
    world.end().await;
}

#[tokio::test]
async fn a_target_outside_of_the_bounds_is_refused() {
    let world = world().await;
    for target in [0, 5] {
        let refused = world.pools().scale(&pool(), Some(target)).await.expect_err("out of bounds");
        let words = format!("target_workers is 1 (min_workers) to 4 (max_workers), not {target}");
        assert!(matches!(&refused, SupervisorError::Invalid(said) if *said == words), "{refused}");
    }
    let unknown = world.pools().scale(&"nobody".parse().expect("a name"), Some(1)).await.expect_err("no such pool");
    assert!(matches!(unknown, SupervisorError::UnknownPool(_)), "{unknown}");
    world.end().await;
}

#[tokio::test]
async fn a_spawn_by_somebody_raises_the_target() {
    let world = world().await;
    scale(&world, 1).await;
    world.spawn_many(3).await;
    wait_workers(&world, 2).await;
    assert_eq!(world.pool().await.scale.target_workers, Some(2));
    world.end().await;
}

#[tokio::test]
async fn a_spawn_that_is_refused_raises_nothing() {
    let world = Ground::new().lead().await;
    world.create_pool(PoolConfig { max_workers: 2, ..config() }).await;
    world.spawn_many(4).await;
    scale(&world, 1).await;
    let refused = world.try_spawn(std::time::Duration::ZERO).await.expect_err("it is full");
    assert!(matches!(refused, SupervisorError::PoolFull { .. }), "{refused}");
    assert_eq!(world.pool().await.scale.target_workers, Some(1));
    world.end().await;
}

#[tokio::test]
async fn agents_that_come_back_leave_the_target_as_it_is() {
    let world = world().await;
    let agents = world.spawn_many(6).await;
    wait_workers(&world, 3).await;
    scale(&world, 1).await;
    let worker = world.worker_of(agents[0]).await;
    worker.die();
    wait_until("all run", async || {
        let pool = world.pool().await;
        (pool.used_capacity, pool.pending_agents, pool.active_worker_processes) == (6, 0, 3)
    })
    .await;
    assert_eq!(world.pool().await.scale.target_workers, Some(1));
    world.end().await;
}

#[tokio::test]
async fn agents_for_tasks_start_no_worker_past_the_target() {
    let on_demand = |config: &mut PoolConfig| {
        (config.on_demand, config.max_agents) = (Some(OnDemand { max_agents: 0, reuse: true }), 2);
        (config.min_workers, config.max_workers) = (1, 4);
    };
    let world = World::of_tasks_with(on_demand).await;
    scale(&world, 2).await;
    world.on_task(OnTask::Hold).await;
    world.submit_many(vec![task(); 12]).await;
    wait_until("four agents run", async || world.pool().await.agent_count == 4).await;
    let_pass(&world).await;
    let shown = world.pool().await;
    assert_eq!((shown.agent_count, shown.process_count, shown.scale.target_workers), (4, 2, Some(2)));
    scale(&world, 3).await;
    wait_until("six agents run", async || world.pool().await.agent_count == 6).await;
    scale(&world, None).await;
    wait_until("eight agents run", async || world.pool().await.agent_count == 8).await;
    world.end().await;
}

#[tokio::test]
async fn a_target_holds_over_a_new_supervisor_and_a_refused_one_changes_nothing() {
    let world = world().await;
    scale(&world, 3).await;
    wait_workers(&world, 3).await;
    world.store().once(|write| matches!(write, Write::ScalePool { .. }), Commit::Refuse);
    let refused = world.pools().scale(&pool(), Some(4)).await.expect_err("the store is away");
    assert!(matches!(refused, SupervisorError::Unavailable { .. }), "{refused}");
    assert_eq!(world.pool().await.scale.target_workers, Some(3));
    let ground = world.ground.clone();
    world.shut_down(true).await;
    let world = ground.lead().await;
    assert_eq!(world.pool().await.scale.target_workers, Some(3));
    wait_workers(&world, 3).await;
    world.end().await;
}

#[tokio::test]
async fn a_task_says_that_it_waits_for_more_workers() {
    let on_demand = |config: &mut PoolConfig| config.on_demand = Some(OnDemand { max_agents: 0, reuse: true });
    let world = World::of_tasks_with(on_demand).await;
    scale(&world, 0).await;
    let task = world.submit(task()).await;
    wait_until("it says so", async || {
        world.task(task).await.waiting_for.is_some_and(|why| why.code().as_str() == "target_workers")
    })
    .await;
    assert_eq!((world.pool().await.process_count, world.pool().await.agent_count), (0, 0));
    scale(&world, 1).await;
    world.done(task).await;
    world.end().await;
}
