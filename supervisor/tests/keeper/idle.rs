//! Idle agents and idle workers.

use std::time::Duration;

use muster_domain::{Activity, AgentState, Cause, Epoch, ReportBody, StopReason};
use muster_store::Store;

use crate::world::{World, let_pass, wait_until};

#[tokio::test]
async fn an_idle_agent_ends_for_good_and_its_slot_is_free() {
    let world = World::new().await;
    let agent = world.spawn().await;
    let worker = world.worker_of(agent).await;
    worker.say(ReportBody::IdleTooLong { agent_id: agent, epoch: Epoch(1) }).await;
    world.wait_state(agent, AgentState::Terminated).await;
    let row = world.store().agent(agent).await.expect("a row").expect("it is stored");
    assert_eq!(row.intent, muster_domain::Intent::Stop(StopReason::Idle));
    assert_eq!(world.pool().await.used_capacity, 0);
    world.end().await;
}

#[tokio::test]
async fn idleness_of_an_epoch_that_is_over_ends_nobody() {
    let world = World::new().await;
    let agent = world.spawn().await;
    let worker = world.worker_of(agent).await;
    worker.end(agent, Cause::Exited { code: 1 }).await;
    world.wait_epoch(agent, 2).await;
    worker.say(ReportBody::IdleTooLong { agent_id: agent, epoch: Epoch(1) }).await;
    let_pass(&world).await;
    assert_eq!(world.state(agent).await, AgentState::Running(Activity::Idle));
    world.end().await;
}

#[tokio::test]
async fn an_empty_worker_retires_and_one_with_agents_does_not() {
    let world = World::with(|_| {}, |pool| pool.worker_idle_timeout = Duration::from_millis(60)).await;
    let agents = world.spawn_many(3).await;
    let keeps = world.worker_of(agents[0]).await;
    let lonely = world.launcher().living().into_iter().find(|worker| worker.id() != keeps.id()).expect("a second one");
    for agent in lonely.holds().await {
        world.terminate(agent).await;
    }
    wait_until("the empty one has ended", async || lonely.is_dead()).await;
    let_pass(&world).await;
    assert!(!keeps.is_dead());
    let pool = world.pool().await;
    assert_eq!((pool.process_count, pool.total_workers_terminated), (1, 1));
    world.end().await;
}

#[tokio::test]
async fn the_minimum_of_workers_is_kept_and_restored() {
    let short = Duration::from_millis(30);
    let world = World::with(|_| {}, |pool| (pool.min_workers, pool.worker_idle_timeout) = (2, short)).await;
    wait_until("two are ready", async || world.pool().await.active_worker_processes == 2).await;
    let agents = world.spawn_many(6).await;
    assert_eq!(world.pool().await.process_count, 3);
    for agent in agents {
        world.terminate(agent).await;
    }
    wait_until("one retired", async || world.pool().await.process_count == 2).await;
    let_pass(&world).await;
    assert_eq!(world.pool().await.process_count, 2);
    world.launcher().living()[0].die();
    wait_until("one is replaced", async || {
        let pool = world.pool().await;
        pool.active_worker_processes == 2 && pool.total_workers_spawned == 4
    })
    .await;
    world.end().await;
}

#[tokio::test]
async fn a_minimum_never_goes_past_the_maximum() {
    let world = World::with(|_| {}, |pool| (pool.min_workers, pool.max_workers) = (1, 1)).await;
    wait_until("one is ready", async || world.pool().await.active_worker_processes == 1).await;
    let worker = world.launcher().living()[0].clone();
    worker.change(|habits| habits.beats = false).await;
    let_pass(&world).await;
    assert_eq!((world.pool().await.process_count, world.launcher().launches()), (1, 1));
    world.end().await;
}
