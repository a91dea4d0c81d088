//! A new master: it adopts what lives, restores what died, and the one before it changes nothing any more.

use std::time::Duration;

use muster_domain::{Activity, AgentState, Cause};
use muster_store::Store;
use muster_supervisor::{LeadEnd, SupervisorError};
use tokio_util::sync::CancellationToken;

use crate::worker::{FakeWorker, OnStop, PATIENCE};
use crate::world::{World, let_pass, wait_until};

/// The old supervisor goes on while another takes the lead.
async fn succeed(old: &World) -> World {
    old.ground.lead().await
}

async fn bury(mut old: World) {
    let end = tokio::time::timeout(PATIENCE, old.supervisor.ended()).await.expect("it notices");
    assert_eq!(end, LeadEnd::Fenced);
    old.supervisor.shut_down(end, CancellationToken::new()).await;
}

#[tokio::test]
async fn living_workers_are_adopted_and_nobody_is_started_again() {
    let old = World::new().await;
    let agents = old.spawn_many(3).await;
    let world = succeed(&old).await;
    for agent in &agents {
        world.wait_state(*agent, AgentState::Running(Activity::Idle)).await;
        assert_eq!((world.agent(*agent).await.epoch, world.ground.ledger.starts(*agent)), (1, 1));
    }
    assert_eq!(world.launcher().launches(), 2);
    // Commands work, and deaths are known.
    world.terminate(agents[0]).await;
    world.worker_of(agents[2]).await.die();
    world.wait_epoch(agents[2], 2).await;
    bury(old).await;
    world.end().await;
}

#[tokio::test]
async fn the_old_supervisor_is_fenced_and_changes_nothing() {
    let old = World::new().await;
    let agent = old.spawn().await;
    let world = succeed(&old).await;
    world.wait_state(agent, AgentState::Running(Activity::Idle)).await;
    let refused = old.try_spawn(PATIENCE).await.expect_err("it does not lead");
    assert!(matches!(refused, SupervisorError::Unavailable { .. } | SupervisorError::Stopping), "{refused}");
    assert!(old.agents().terminate(None, agent, true, Duration::ZERO).await.is_err());
    bury(old).await;
    let_pass(&world).await;
    assert_eq!((world.state(agent).await, world.pool().await.agent_count), (AgentState::Running(Activity::Idle), 1));
    world.end().await;
}

#[tokio::test]
async fn an_old_supervisor_learns_of_the_new_one_from_a_worker() {
    let old = World::new().await;
    let agent = old.spawn().await;
    let world = succeed(&old).await;
    // A command of the new one gives the worker the higher fence, and its next beat tells the old one.
    world.wait_state(agent, AgentState::Running(Activity::Idle)).await;
    world.agents().restart(agent, PATIENCE).await.expect("restarted");
    bury(old).await;
    world.end().await;
}

#[tokio::test]
async fn a_worker_without_a_key_is_led_on_and_replaced_as_its_agents_end() {
    let old = World::new().await;
    let agent = old.spawn().await;
    let ground = old.ground.clone();
    old.shut_down(true).await;
    ground.store.forget_keys();
    let world = ground.lead().await;
    world.wait_state(agent, AgentState::Running(Activity::Idle)).await;
    let worker = world.worker_of(agent).await;
    let new = world.spawn().await;
    assert_ne!(world.worker_of(new).await.id(), worker.id(), "nobody is placed on it, though it has a free slot");
    assert_eq!(world.agent(agent).await.epoch, 1);
    world.terminate(agent).await;
    wait_until("it ends, since it is empty", async || worker.is_dead()).await;
    world.end().await;
}

#[tokio::test]
async fn what_died_without_a_master_is_restored() {
    let old = World::new().await;
    let agents = old.spawn_many(3).await;
    let ground = old.ground.clone();
    old.shut_down(true).await;
    for worker in ground.launcher.living() {
        worker.die();
    }
    let world = ground.lead().await;
    for agent in agents {
        world.wait_epoch(agent, 2).await;
    }
    let pool = world.pool().await;
    assert_eq!((pool.process_count, pool.used_capacity), (2, 3));
    world.end().await;
}

#[tokio::test]
async fn nobody_is_placed_anew_before_all_that_a_dead_worker_owned_is_dead() {
    let old = World::new().await;
    let agents = old.spawn_many(3).await;
    let ground = old.ground.clone();
    old.shut_down(true).await;
    let workers = ground.launcher.living();
    workers[0].leave_remains(true);
    workers.iter().for_each(FakeWorker::die);
    // The start waits for nobody's death.
    let world = ground.lead().await;
    let held = workers[0].id();
    for agent in &agents {
        let place = world.agent(*agent).await.process_id;
        if place != Some(held) {
            world.wait_epoch(*agent, 2).await;
        }
    }
    let new = world.spawn().await;
    assert_ne!(world.worker_of(new).await.id(), held, "nobody is placed on it");
    let_pass(&world).await;
    let mut kept = 0;
    for agent in &agents {
        let agent = world.agent(*agent).await;
        if agent.process_id == Some(held) {
            assert_eq!((agent.epoch, agent.state), (1, AgentState::Spawning));
            kept += 1;
        }
    }
    assert_eq!(kept, 2, "its agents keep their places");
    workers[0].leave_remains(false);
    for agent in agents {
        world.wait_epoch(agent, 2).await;
        world.wait_state(agent, AgentState::Running(Activity::Idle)).await;
    }
    world.end().await;
}

#[tokio::test]
async fn a_worker_that_dies_leaves_its_agents_in_their_places_until_its_remains_are_dead() {
    let world = World::new().await;
    let agent = world.spawn().await;
    let worker = world.worker_of(agent).await;
    worker.leave_remains(true);
    worker.die();
    let_pass(&world).await;
    let seen = world.agent(agent).await;
    assert_eq!((seen.epoch, seen.process_id), (1, Some(worker.id())));
    worker.leave_remains(false);
    world.wait_epoch(agent, 2).await;
    world.end().await;
}

#[tokio::test]
async fn a_worker_elsewhere_keeps_its_agents_until_it_is_proven_dead() {
    let old = World::new().await;
    let agent = old.spawn().await;
    let worker = old.worker_of(agent).await;
    let ground = old.ground.clone();
    old.shut_down(true).await;
    ground.launcher.send_elsewhere(worker.id());
    let world = ground.lead().await;
    world.wait_state(agent, AgentState::Running(Activity::Idle)).await;
    worker.die();
    let_pass(&world).await;
    assert_eq!(world.agent(agent).await.process_id, Some(worker.id()), "silence proves nothing");
}

#[tokio::test]
async fn an_end_that_no_master_heard_is_heard_by_the_next() {
    let old = World::new().await;
    let agents = old.spawn_many(2).await;
    let worker = old.worker_of(agents[0]).await;
    let ground = old.ground.clone();
    old.shut_down(true).await;
    worker.end(agents[0], Cause::Exited { code: 1 }).await;
    let world = ground.lead().await;
    world.wait_epoch(agents[0], 2).await;
    world.wait_state(agents[1], AgentState::Running(Activity::Idle)).await;
    assert_eq!((world.agent(agents[0]).await.restarts, world.agent(agents[1]).await.epoch), (1, 1));
    world.end().await;
}

#[tokio::test]
async fn a_stop_that_was_stored_is_carried_out_by_the_next() {
    let old = World::new().await;
    let agent = old.spawn().await;
    let worker = old.worker_of(agent).await;
    worker.change(|habits| habits.on_stop = OnStop::Miss).await;
    old.tell_to_stop(agent, true).await;
    let ground = old.ground.clone();
    old.shut_down(true).await;
    worker.change(|habits| habits.on_stop = OnStop::End).await;
    let world = ground.lead().await;
    world.wait_state(agent, AgentState::Terminated).await;
    world.end().await;
}

#[tokio::test]
async fn a_row_whose_worker_was_told_to_end_is_told_again() {
    let old = World::with(|_| {}, |pool| pool.worker_idle_timeout = Duration::from_millis(40)).await;
    let agent = old.spawn().await;
    let worker = old.worker_of(agent).await;
    worker.change(|habits| habits.obeys = false).await;
    old.terminate(agent).await;
    wait_until("it retires", async || {
        let rows = old.store().open_workers().await.expect("rows");
        rows.first().is_some_and(|row| row.state == muster_domain::WorkerState::Draining)
    })
    .await;
    let ground = old.ground.clone();
    old.shut_down(true).await;
    worker.change(|habits| habits.obeys = true).await;
    let world = ground.lead().await;
    wait_until("it has ended", async || worker.is_dead()).await;
    let agent = world.spawn().await;
    assert_ne!(world.worker_of(agent).await.id(), worker.id());
    world.end().await;
}
