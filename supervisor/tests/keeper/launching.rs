//! Workers that do not start, that start slowly, and the bounds of a pool.

use std::time::Duration;

use muster_domain::{Activity, AgentState, Cause};
use muster_supervisor::{AlertKind, DATA_FOLDER, Spawned, SupervisorError};
use serde_json::json;

use crate::worker::{FakeWorker, OnSpawn, PATIENCE};
use crate::world::{World, let_pass, wait_until};

#[tokio::test]
async fn a_launch_that_fails_is_tried_again_and_does_not_count_against_the_agent() {
    let world = World::with(|_| {}, |pool| pool.restart.max_restarts = 1).await;
    world.launcher().fail(3);
    let agent = world.spawn().await;
    assert_eq!(world.launcher().launches(), 4);
    assert_eq!(world.state(agent).await, AgentState::Running(Activity::Idle));
    let pool = world.pool().await;
    assert_eq!((pool.total_workers_spawned, pool.total_workers_terminated), (4, 3));
    world.end().await;
}

#[tokio::test]
async fn whoever_waits_for_an_agent_is_told_what_is_in_its_way() {
    let world = World::new().await;
    world.launcher().fail(u32::MAX);
    let first = world.order().await;
    let lasts = || {
        let alerts = world.system().alerts();
        alerts.iter().any(|alert| alert.kind == AlertKind::StartFailed && alert.until.is_none())
    };
    wait_until("it is an alert", async || lasts()).await;
    // New ones are refused from then on; this one is stored by then.
    let goes_away = async {
        wait_until("it is stored", async || world.pool().await.agent_count == 2).await;
        world.handle.degrade(DATA_FOLDER, "it is away".to_owned());
    };
    let (answer, ()) = tokio::join!(world.try_spawn(Duration::from_millis(500)), goes_away);
    let Ok(Spawned::Accepted(view)) = answer else { panic!("it runs, or was refused: {answer:?}") };
    let reason = view.reason.clone().expect("a reason");
    assert!(reason.contains("it is away") && reason.contains("out of memory"), "{reason}");
    assert_eq!(world.agent(view.agent_id).await.reason, view.reason, "to who reads it too");
    world.launcher().fail(0);
    for agent in [first, view.agent_id] {
        world.wait_state(agent, AgentState::Running(Activity::Idle)).await;
        assert_eq!(world.agent(agent).await.reason, None);
    }
    assert!(!lasts(), "that is over");
    assert!(world.try_spawn(PATIENCE).await.is_err(), "there is no place for its program");
    world.end().await;
}

#[tokio::test]
async fn failing_launches_are_spaced_out() {
    let world = World::new().await;
    world.launcher().fail(u32::MAX);
    let agents = [world.order().await, world.order().await];
    let_pass(&world).await;
    let_pass(&world).await;
    // 0.2 s, 0.4 s, ...: not one launch a pass.
    assert!(world.launcher().launches() <= 3, "{}", world.launcher().launches());
    world.launcher().fail(0);
    for agent in agents {
        world.wait_state(agent, AgentState::Running(Activity::Idle)).await;
    }
    world.end().await;
}

#[tokio::test]
async fn a_spare_worker_that_dies_when_it_is_ready_is_not_started_over_and_over() {
    let world = World::with(|_| {}, |pool| pool.min_workers = 1).await;
    // For as long as 20 passes it dies whenever it is ready.
    let end = std::time::Instant::now() + world.ground.clocks.pass * 20;
    wait_until("the time is over", async || {
        if world.pool().await.active_worker_processes > 0 {
            world.launcher().living().iter().for_each(FakeWorker::die);
        }
        std::time::Instant::now() > end
    })
    .await;
    // At once, after 0.2 s, 0.4 s, ...: not one launch a pass.
    assert!((2..=4).contains(&world.launcher().launches()), "{}", world.launcher().launches());
    wait_until("it is started again", async || world.pool().await.active_worker_processes == 1).await;
    world.end().await;
}

#[tokio::test]
async fn a_worker_that_dies_before_it_is_ready_is_replaced() {
    let world = World::new().await;
    world.launcher().next(|habits| habits.beats = false);
    let agent = world.order().await;
    world.worker_of(agent).await.die();
    world.wait_epoch(agent, 2).await;
    world.end().await;
}

#[tokio::test]
async fn a_worker_that_never_says_that_it_is_ready_is_killed() {
    let world = World::with(|clocks| clocks.start_timeout = Duration::from_millis(200), |_| {}).await;
    world.launcher().next(|habits| habits.beats = false);
    let agent = world.order().await;
    let hung = world.worker_of(agent).await;
    wait_until("it is killed", async || hung.is_dead()).await;
    world.wait_epoch(agent, 2).await;
    world.end().await;
}

#[tokio::test]
async fn many_workers_start_at_once() {
    let world = World::with(|_| {}, |pool| pool.max_agents = 1).await;
    world.launcher().held.set(true);
    let agents = futures_util::future::join_all((0..8).map(|_| world.order())).await;
    wait_until("all are launched", async || world.launcher().launches() == 8).await;
    assert_eq!(world.pool().await.process_count, 8);
    world.launcher().held.set(false);
    for agent in agents {
        world.wait_state(agent, AgentState::Running(Activity::Idle)).await;
    }
    world.end().await;
}

#[tokio::test]
async fn past_max_workers_a_spawn_is_refused_and_nothing_is_stored() {
    let world = World::with(|_| {}, |pool| pool.max_workers = 1).await;
    world.spawn_many(2).await;
    let refused = world.try_spawn(PATIENCE).await.expect_err("it is full");
    assert!(matches!(refused, SupervisorError::PoolFull { .. }), "{refused}");
    assert_eq!(world.pool().await.agent_count, 2);
    world.end().await;
}

#[tokio::test]
async fn who_waits_is_not_overtaken_by_new_spawns() {
    let world = World::with(|_| {}, |pool| (pool.max_workers, pool.max_agents) = (1, 2)).await;
    let agents = world.spawn_many(2).await;
    let worker = world.launcher().living()[0].clone();
    world.launcher().fail(u32::MAX);
    worker.die();
    wait_until("both wait", async || world.pool().await.pending_agents == 2).await;
    world.launcher().fail(0);
    // Wherever the next worker comes from, its two slots are theirs.
    let refused = world.try_spawn(Duration::ZERO).await;
    assert!(!matches!(refused, Ok(muster_supervisor::Spawned::Running(_))), "{refused:?}");
    for agent in agents {
        world.wait_epoch(agent, 2).await;
    }
    assert!(matches!(world.try_spawn(PATIENCE).await, Err(SupervisorError::PoolFull { .. })));
    world.end().await;
}

#[tokio::test]
async fn a_slot_is_kept_for_one_whose_backoff_runs() {
    let wait = Duration::from_millis(300);
    let bounds = |pool: &mut muster_domain::PoolConfig| {
        (pool.max_workers, pool.max_agents) = (1, 1);
        (pool.restart.backoff_min, pool.restart.backoff_max) = (wait, wait);
    };
    let world = World::with(|_| {}, bounds).await;
    let agent = world.spawn().await;
    world.worker_of(agent).await.end(agent, Cause::Exited { code: 1 }).await;
    wait_until("its slot is free", async || world.pool().await.used_capacity == 0).await;
    let refused = world.try_spawn(Duration::ZERO).await.expect_err("the slot is spoken for");
    assert!(matches!(refused, SupervisorError::PoolFull { .. }), "{refused}");
    world.wait_epoch(agent, 2).await;
    world.end().await;
}

#[tokio::test]
async fn those_who_wait_for_a_slot_get_it_in_the_order_of_their_making() {
    let world = World::with(|_| {}, |pool| (pool.max_workers, pool.max_agents) = (2, 1)).await;
    world.launcher().habits(|habits| habits.on_spawn = OnSpawn::Run);
    let agents = [world.spawn().await, world.spawn().await];
    // The bound shrinks, and both lose their workers: one slot is left for two.
    world.pools().change(&crate::world::pool(), &json!({"max_workers": 1})).await.expect("changed");
    for worker in world.launcher().living() {
        worker.die();
    }
    world.wait_epoch(agents[0], 2).await;
    let_pass(&world).await;
    assert_eq!(world.state(agents[1]).await, AgentState::Spawning);
    world.terminate(agents[0]).await;
    world.wait_epoch(agents[1], 2).await;
    world.end().await;
}
