//! Who is silent is condemned, unless it may be the listener's own fault.

use std::time::Duration;

use muster_domain::{AgentState, Clocks};

use crate::worker::FakeWorker;
use crate::world::{World, let_pass, wait_until};

/// Clocks by which a silence of a quarter of a second is the end.
fn strict(clocks: &mut Clocks) {
    (clocks.stale, clocks.lease) = (Duration::from_millis(250), Duration::from_millis(300));
}

async fn silence(worker: &FakeWorker) {
    worker.change(|habits| habits.beats = false).await;
}

#[tokio::test]
async fn a_silent_worker_is_killed_and_its_agents_run_elsewhere() {
    let world = World::with(strict, |_| {}).await;
    let agents = world.spawn_many(2).await;
    let hung = world.worker_of(agents[0]).await;
    silence(&hung).await;
    for agent in &agents {
        world.wait_epoch(*agent, 2).await;
        assert_ne!(world.worker_of(*agent).await.id(), hung.id());
    }
    assert!(hung.is_dead(), "nobody is placed elsewhere before it is dead");
    world.end().await;
}

#[tokio::test]
async fn who_beats_is_left_alone() {
    let world = World::with(strict, |_| {}).await;
    let agents = world.spawn_many(4).await;
    let hung = world.worker_of(agents[0]).await;
    let well = world.launcher().living().into_iter().find(|worker| worker.id() != hung.id()).expect("a second one");
    silence(&hung).await;
    wait_until("the silent one is killed", async || hung.is_dead()).await;
    let_pass(&world).await;
    assert!(!well.is_dead());
    world.end().await;
}

#[tokio::test]
async fn when_most_are_silent_nobody_is_judged_and_it_is_said() {
    // Those who fall silent together had their last beats within one heartbeat: a long one, for a busy machine.
    let slow = |clocks: &mut Clocks| {
        strict(clocks);
        clocks.heartbeat = Duration::from_millis(80);
    };
    let world = World::with(slow, |pool| pool.max_agents = 1).await;
    let agents = world.spawn_many(3).await;
    let workers = world.launcher().living();
    tokio::join!(silence(&workers[0]), silence(&workers[1]));
    let says = async || world.degraded().await.iter().any(|line| line.starts_with("silence"));
    wait_until("it is said", says).await;
    let_pass(&world).await;
    assert!(workers.iter().all(|worker| !worker.is_dead()));
    for worker in &workers {
        worker.change(|habits| habits.beats = true).await;
    }
    wait_until("it is over", async || !says().await).await;
    for agent in agents {
        assert_eq!((world.state(agent).await, world.agent(agent).await.epoch), (AgentState::Idle, 1));
    }
    world.end().await;
}

#[tokio::test]
async fn an_outage_of_the_registry_is_nobodys_silence() {
    let world = World::with(strict, |_| {}).await;
    let agent = world.spawn().await;
    let worker = world.worker_of(agent).await;
    world.ground.registry.leave();
    silence(&worker).await;
    tokio::time::timeout(Duration::from_millis(700), std::future::pending::<()>()).await.expect_err("silence is long");
    assert!(!worker.is_dead(), "the master can't hear");
    worker.change(|habits| habits.beats = true).await;
    world.ground.registry.come_back();
    wait_until("it is back", async || world.degraded().await.is_empty()).await;
    let_pass(&world).await;
    assert_eq!((worker.is_dead(), world.agent(agent).await.epoch), (false, 1));
    world.end().await;
}
