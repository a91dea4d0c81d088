//! The end of a supervisor: with its workers, without them, in a hurry; and whoever waits is answered.

use std::time::Duration;

use muster_domain::{Activity, AgentState};
use muster_registry::Registry;
use muster_store::Store;
use muster_supervisor::{LeadEnd, Spawned, StopWish, SupervisorError};
use tokio_util::sync::CancellationToken;

use crate::worker::{OnSpawn, PATIENCE};
use crate::world::{World, wait_until};

#[tokio::test]
async fn workers_are_asked_and_agents_run_again_with_the_next_supervisor() {
    let world = World::new().await;
    let agents = world.spawn_many(3).await;
    let ended = world.spawn().await;
    world.terminate(ended).await;
    let ground = world.ground.clone();
    world.shut_down(false).await;
    assert!(ground.launcher.living().is_empty());
    assert!(ground.launcher.workers().iter().all(|worker| worker.times_asked() == 1));
    let world = ground.lead().await;
    for agent in agents {
        world.wait_epoch(agent, 2).await;
    }
    assert_eq!(world.state(ended).await, AgentState::Terminated);
    world.end().await;
}

#[tokio::test]
async fn its_last_letters_are_out_when_it_has_ended() {
    let world = World::new().await;
    world.spawn_many(3).await;
    let registry = world.ground.registry.clone();
    assert!(!registry.memory().present().await.expect("workers").is_empty());
    registry.forget_slowly();
    world.shut_down(false).await;
    assert_eq!(registry.memory().present().await.expect("workers"), [], "the registry may end now");
}

#[tokio::test]
async fn kept_workers_go_on() {
    let world = World::new().await;
    let agent = world.spawn().await;
    let ground = world.ground.clone();
    world.handle.stop(true);
    let mut world = world;
    let end = world.supervisor.ended().await;
    assert_eq!(end, LeadEnd::Asked(StopWish { keep_workers: true }));
    let pools = world.pools().clone();
    world.shut_down(true).await;
    assert_eq!(ground.launcher.living().len(), 1);
    wait_until("nobody answers any more", async || {
        matches!(pools.get(&crate::world::pool()).await, Err(SupervisorError::Stopping))
    })
    .await;
    let world = ground.lead().await;
    world.wait_state(agent, AgentState::Running(Activity::Idle)).await;
    assert_eq!(world.agent(agent).await.epoch, 1);
    world.end().await;
}

#[tokio::test]
async fn a_worker_that_does_not_obey_is_killed_when_somebody_hurries() {
    let world = World::new().await;
    world.launcher().next(|habits| habits.obeys = false);
    world.spawn().await;
    let ground = world.ground.clone();
    let hurry = CancellationToken::new();
    let shut_down =
        tokio::spawn(world.supervisor.shut_down(LeadEnd::Asked(StopWish { keep_workers: false }), hurry.clone()));
    let worker = ground.launcher.workers()[0].clone();
    wait_until("it was asked", async || worker.times_asked() == 1).await;
    assert!(!worker.is_dead());
    hurry.cancel();
    shut_down.await.expect("it ends");
    assert!(worker.is_dead());
    assert_eq!(ground.store.open_workers().await.expect("rows"), []);
}

#[tokio::test]
async fn whoever_waits_for_a_start_hears_that_it_is_wanted() {
    for keep_workers in [false, true] {
        let world = World::new().await;
        world.launcher().next(|habits| habits.on_spawn = OnSpawn::RunSilently);
        let agents = world.agents().clone();
        let waiting = tokio::spawn(async move { agents.spawn(crate::world::request(), Duration::from_secs(60)).await });
        wait_until("it is stored", async || world.pool().await.agent_count == 1).await;
        let ground = world.ground.clone();
        world.shut_down(keep_workers).await;
        let answer = tokio::time::timeout(PATIENCE, waiting).await.expect("it is answered").expect("no panic");
        assert!(matches!(answer, Ok(Spawned::Accepted(_))), "keep: {keep_workers}: {answer:?}");
        ground.launcher.habits(|habits| habits.on_spawn = OnSpawn::Run);
        let world = ground.lead().await;
        let agent = world.store().live_agents().await.expect("rows")[0].spec.agent_id;
        if keep_workers {
            let worker = world.worker_of(agent).await;
            wait_until("it was told", async || ground.ledger.place_of(agent).is_some()).await;
            worker.confirm(agent).await;
        }
        world.wait_state(agent, AgentState::Running(Activity::Idle)).await;
        world.end().await;
    }
}

#[tokio::test]
async fn nothing_new_begins_while_it_stops() {
    let world = World::new().await;
    world.launcher().next(|habits| habits.obeys = false);
    world.spawn().await;
    let (ground, agents, hurry) = (world.ground.clone(), world.agents().clone(), CancellationToken::new());
    let end = LeadEnd::Asked(StopWish { keep_workers: false });
    let shut_down = tokio::spawn(world.supervisor.shut_down(end, hurry.clone()));
    let worker = ground.launcher.workers()[0].clone();
    wait_until("it stops", async || worker.times_asked() == 1).await;
    let refused = agents.spawn(crate::world::request(), PATIENCE).await.expect_err("it stops");
    assert!(matches!(refused, SupervisorError::Stopping), "{refused}");
    hurry.cancel();
    shut_down.await.expect("it ends");
    assert_eq!(ground.launcher.launches(), 1);
}
