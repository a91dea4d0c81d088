//! The registry is away, comes back, or has lost its content.

use std::time::Duration;

use muster_domain::{Activity, AgentState, Cause};
use muster_supervisor::SupervisorError;

use crate::world::{Ground, World, config, let_pass, pool, wait_until};

async fn away(world: &World) {
    world.ground.registry.leave();
    // Who reads reports may notice it first, and spawns are refused a moment later.
    wait_until("it is noticed", async || world.system().refusal().is_some()).await;
}

#[tokio::test]
async fn while_the_registry_is_away_nothing_begins_and_nothing_ends() {
    let world = World::new().await;
    let agent = world.spawn().await;
    away(&world).await;
    for error in [
        world.try_spawn(Duration::ZERO).await.expect_err("no spawn"),
        world.agents().terminate(None, agent, true, Duration::ZERO).await.expect_err("no end"),
        world.agents().restart(agent, Duration::ZERO).await.expect_err("no restart"),
        world.pools().remove(&pool(), true).await.expect_err("no removal"),
    ] {
        assert!(matches!(error, SupervisorError::Unavailable { .. }), "{error}");
    }
    world.ground.registry.come_back();
    wait_until("it is back", async || world.degraded().await.is_empty()).await;
    assert_eq!((world.state(agent).await, world.agent(agent).await.epoch), (AgentState::Running(Activity::Idle), 1));
    world.terminate(agent).await;
    world.spawn().await;
    world.end().await;
}

#[tokio::test]
async fn a_worker_that_dies_in_an_outage_is_known_and_its_agents_run_again_afterwards() {
    let world = World::new().await;
    let agent = world.spawn().await;
    let worker = world.worker_of(agent).await;
    away(&world).await;
    worker.die();
    wait_until("it is placed anew", async || world.agent(agent).await.epoch == 2).await;
    world.ground.registry.come_back();
    world.wait_epoch(agent, 2).await;
    world.end().await;
}

#[tokio::test]
async fn what_an_outage_has_swallowed_is_mirrored_again() {
    let world = World::new().await;
    let agents = world.spawn_many(2).await;
    let worker = world.worker_of(agents[0]).await;
    wait_until("no slot is free", async || world.ground.memory.slots(&pool()) == [(worker.id(), 0)]).await;
    away(&world).await;
    // The death is known at once; that there is no such worker any more can't be written.
    worker.die();
    wait_until("both are placed anew", async || world.agent(agents[1]).await.epoch == 2).await;
    let_pass(&world).await;
    world.ground.registry.come_back();
    world.wait_epoch(agents[0], 2).await;
    let next = world.worker_of(agents[0]).await;
    wait_until("the next worker is mirrored", async || world.ground.memory.slots(&pool()).contains(&(next.id(), 0)))
        .await;
    world.end().await;
}

#[tokio::test]
async fn a_flush_loses_nothing_and_is_mended() {
    let world = World::new().await;
    let agents = world.spawn_many(3).await;
    world.ground.memory.flush();
    wait_until("the slots are mirrored again", async || {
        let mut free: Vec<u32> = world.ground.memory.slots(&pool()).into_iter().map(|(_, free)| free).collect();
        free.sort_unstable();
        free == [0, 1]
    })
    .await;
    for agent in &agents {
        wait_until("it is in the registry", async || world.ground.memory.agent(*agent).is_some()).await;
        assert_eq!(
            (world.state(*agent).await, world.agent(*agent).await.epoch),
            (AgentState::Running(Activity::Idle), 1)
        );
    }
    world.spawn().await;
    world.end().await;
}

#[tokio::test]
async fn an_end_that_a_flush_swallowed_is_said_again() {
    let world = World::new().await;
    let agent = world.spawn().await;
    let worker = world.worker_of(agent).await;
    let end = worker.end_unsaid(agent, Cause::Exited { code: 1 }).await;
    worker.send(&end).await;
    world.ground.memory.flush();
    world.wait_epoch(agent, 2).await;
    world.end().await;
}

#[tokio::test]
async fn a_supervisor_starts_without_a_registry_and_waits_for_it() {
    let ground = Ground::new();
    ground.registry.leave();
    let world = ground.lead().await;
    world.create_pool(config()).await;
    // Who reads reports may notice it first, and spawns are refused a moment later.
    wait_until("it is noticed", async || world.system().refusal().is_some()).await;
    let refused = world.try_spawn(Duration::ZERO).await.expect_err("not yet");
    assert!(matches!(refused, SupervisorError::Unavailable { .. }), "{refused}");
    ground.registry.come_back();
    wait_until("it is there", async || world.degraded().await.is_empty()).await;
    let agent = world.spawn().await;
    let_pass(&world).await;
    assert_eq!(world.state(agent).await, AgentState::Running(Activity::Idle));
    world.end().await;
}

#[tokio::test]
async fn an_update_that_fails_takes_no_other_with_it_and_is_run_again() {
    let world = World::new().await;
    let agents = world.spawn_many(2).await;
    let first = world.worker_of(agents[0]).await;
    wait_until("it is mirrored", async || world.ground.memory.slots(&pool()) == [(first.id(), 0)]).await;
    world.ground.registry.fail("mirror");
    first.die();
    world.wait_epoch(agents[0], 2).await;
    world.wait_epoch(agents[1], 2).await;
    wait_until("the dead worker is forgotten", async || world.ground.memory.slots(&pool()).is_empty()).await;
    world.ground.registry.mend();
    let next = world.worker_of(agents[0]).await;
    wait_until("the next worker is mirrored", async || world.ground.memory.slots(&pool()) == [(next.id(), 0)]).await;
    world.end().await;
}

#[tokio::test]
async fn reports_are_settled_in_the_end_where_that_failed() {
    let world = World::new().await;
    world.ground.registry.fail("settle");
    let agent = world.spawn().await;
    let worker = world.worker_of(agent).await;
    // All that comes again is settled again; nothing but a later try takes the first entries off the stream.
    worker.change(|habits| habits.beats = false).await;
    world.ground.registry.mend();
    wait_until("all is settled", async || {
        let (_, latest) = worker.settled().await;
        worker.ask_what_is_settled().await == latest
    })
    .await;
    world.end().await;
}

#[tokio::test]
async fn a_removed_pool_is_forgotten_when_the_registry_is_well() {
    let world = World::new().await;
    world.spawn().await;
    world.ground.registry.fail("forget");
    world.ground.registry.fail("forget_pool");
    world.pools().remove(&pool(), true).await.expect("removed");
    world.ground.registry.mend();
    wait_until("nothing is left", async || world.ground.memory.is_empty()).await;
    world.end().await;
}

#[tokio::test]
async fn a_registry_that_may_not_be_cleaned_is_named() {
    let world = World::new().await;
    let ground = world.ground.clone();
    world.end().await;
    ground.registry.refuse("weed");
    let world = ground.lead().await;
    wait_until("it is named", async || world.degraded().await.iter().any(|line| line.contains("no right to weed")))
        .await;
    world.spawn().await;
    world.end().await;
}
