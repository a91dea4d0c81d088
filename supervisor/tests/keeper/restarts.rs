//! What follows the end of a run: restart kinds, backoff, quarantine, and a first start that fails.

use std::time::{Duration, Instant};

use muster_domain::{Activity, AgentState, Cause, FinalState, RestartKind, StopReason};
use muster_store::Store;
use muster_supervisor::{RequestKey, SpawnRequest, Spawned, SupervisorError};

use crate::worker::{OnSpawn, PATIENCE};
use crate::world::{World, let_pass, request, wait_until};

async fn of_kind(kind: RestartKind) -> World {
    World::with(|_| {}, |pool| pool.restart.kind = kind).await
}

#[tokio::test]
async fn kinds_and_causes() {
    use AgentState::{Failed, Running, Terminated};
    let exits = [Cause::Exited { code: 0 }, Cause::Exited { code: 1 }];
    for (kind, then) in [
        (RestartKind::Permanent, [Running(Activity::Idle), Running(Activity::Idle)]),
        (RestartKind::Transient, [Terminated, Running(Activity::Idle)]),
        (RestartKind::Temporary, [Terminated, Failed]),
    ] {
        let world = of_kind(kind).await;
        for (cause, state) in exits.clone().into_iter().zip(then) {
            let agent = world.spawn().await;
            world.worker_of(agent).await.end(agent, cause.clone()).await;
            match state {
                Running(_) => world.wait_epoch(agent, 2).await,
                state => world.wait_state(agent, state).await,
            }
            assert_eq!(world.agent(agent).await.last_ending.map(|ending| ending.cause), Some(cause), "{kind:?}");
        }
        world.end().await;
    }
}

#[tokio::test]
async fn one_that_ran_and_failed_is_no_failed_start() {
    let world = of_kind(RestartKind::Temporary).await;
    let keyed = SpawnRequest { key: Some(key("once")), ..request() };
    let Spawned::Running(first) = world.agents().spawn(keyed.clone(), PATIENCE).await.expect("an agent") else {
        panic!("it runs")
    };
    let agent = first.agent_id;
    world.worker_of(agent).await.end(agent, Cause::Exited { code: 1 }).await;
    world.wait_state(agent, AgentState::Failed).await;
    let row = world.store().agent(agent).await.expect("a row").expect("it is stored");
    assert_eq!(row.intent, muster_domain::Intent::Stop(StopReason::Completed));
    let again = world.agents().spawn(keyed, PATIENCE).await.expect("answered as the first time");
    assert!(matches!(again, Spawned::Running(view) if view.agent_id == agent));
    world.end().await;
}

#[tokio::test]
async fn a_first_start_that_fails_is_told_and_ended_in_the_store() {
    let world = World::new().await;
    let cause = Cause::NotStarted { error: "no such file".to_owned() };
    world.launcher().habits(|habits| habits.on_spawn = OnSpawn::Fail(cause.clone()));
    let keyed = SpawnRequest { key: Some(key("fails")), ..request() };
    let error = world.agents().spawn(keyed.clone(), PATIENCE).await.expect_err("it failed");
    let SupervisorError::StartFailed { agent_id, ending } = error else { panic!("{error}") };
    assert_eq!(ending.cause, cause);
    let row = world.store().agent(agent_id).await.expect("a row").expect("it is stored");
    assert_eq!(row.final_state, Some(FinalState::Failed(StopReason::StartFailed)));
    let again = world.agents().spawn(keyed, PATIENCE).await.expect_err("answered as the first time");
    assert!(matches!(again, SupervisorError::StartFailed { agent_id: same, .. } if same == agent_id), "{again}");
    let_pass(&world).await;
    assert_eq!((world.pool().await.used_capacity, world.pool().await.agent_count), (0, 0));
    world.end().await;
}

#[tokio::test]
async fn one_that_failed_runs_again_when_a_person_wants_it() {
    let world = of_kind(RestartKind::Temporary).await;
    let agent = world.spawn().await;
    world.worker_of(agent).await.end(agent, Cause::Exited { code: 1 }).await;
    world.wait_state(agent, AgentState::Failed).await;
    let view = world.agents().restart(agent, PATIENCE).await.expect("revived");
    assert_eq!((view.state, view.epoch), (AgentState::Running(Activity::Idle), 2));
    world.end().await;
}

#[tokio::test]
async fn crashes_past_the_bound_are_quarantine_until_a_person_releases_it() {
    let world = World::with(|_| {}, |pool| pool.restart.max_restarts = 2).await;
    let agent = world.spawn().await;
    for epoch in 1..=3 {
        world.wait_epoch(agent, epoch).await;
        world.worker_of(agent).await.end(agent, Cause::Exited { code: 3 }).await;
    }
    world.wait_state(agent, AgentState::Quarantined).await;
    let row = world.store().agent(agent).await.expect("a row").expect("it is stored");
    assert_eq!((row.final_state, row.assignment, row.restarts), (Some(FinalState::Quarantined), None, 2));
    assert_eq!((world.pool().await.quarantined_agents, world.pool().await.used_capacity), (1, 0));
    let view = world.agents().restart(agent, PATIENCE).await.expect("released");
    assert_eq!((view.state, view.epoch, view.restarts), (AgentState::Running(Activity::Idle), 4, 3));
    // The count within the window begins anew.
    world.worker_of(agent).await.end(agent, Cause::Exited { code: 3 }).await;
    world.wait_epoch(agent, 5).await;
    world.end().await;
}

#[tokio::test]
async fn quarantine_ends_by_terminate_too() {
    let world = World::with(|_| {}, |pool| pool.restart.max_restarts = 0).await;
    let agent = world.spawn().await;
    world.worker_of(agent).await.end(agent, Cause::Exited { code: 3 }).await;
    world.wait_state(agent, AgentState::Quarantined).await;
    assert_eq!(world.terminate(agent).await.state, AgentState::Terminated);
    world.end().await;
}

#[tokio::test]
async fn the_backoff_is_waited_for_and_a_restart_by_hand_ends_it() {
    let long = Duration::from_secs(300);
    let world = World::with(|_| {}, |pool| (pool.restart.backoff_min, pool.restart.backoff_max) = (long, long)).await;
    let agent = world.spawn().await;
    world.worker_of(agent).await.end(agent, Cause::Exited { code: 1 }).await;
    wait_until("it left its slot", async || world.agent(agent).await.process_id.is_none()).await;
    let_pass(&world).await;
    let view = world.agent(agent).await;
    assert_eq!(view.state, AgentState::Spawning);
    assert!(view.reason.expect("a reason").contains("exited with code 1"));
    let view = world.agents().restart(agent, PATIENCE).await.expect("at once");
    assert_eq!(view.epoch, 2);
    world.end().await;
}

#[tokio::test]
async fn a_short_backoff_passes_by_itself() {
    let wait = Duration::from_millis(150);
    let world = World::with(|_| {}, |pool| (pool.restart.backoff_min, pool.restart.backoff_max) = (wait, wait)).await;
    let agent = world.spawn().await;
    let begun = Instant::now();
    world.worker_of(agent).await.end(agent, Cause::Exited { code: 1 }).await;
    world.wait_epoch(agent, 2).await;
    assert!(begun.elapsed() >= wait);
    world.end().await;
}

#[tokio::test]
async fn a_key_makes_one_agent_and_another_body_is_refused() {
    let world = World::new().await;
    let keyed = SpawnRequest { key: Some(key("k")), ..request() };
    let spawns = (0..5).map(|_| world.agents().spawn(keyed.clone(), PATIENCE));
    let mut ids: Vec<_> = futures_util::future::join_all(spawns)
        .await
        .into_iter()
        .map(|spawned| match spawned.expect("an agent") {
            Spawned::Running(view) | Spawned::Accepted(view) => view.agent_id,
        })
        .collect();
    ids.dedup();
    assert_eq!(ids.len(), 1);
    let other = RequestKey { body_hash: [2; 32], ..key("k") };
    let refused = world.agents().spawn(SpawnRequest { key: Some(other), ..request() }, PATIENCE).await;
    assert!(matches!(refused, Err(SupervisorError::KeyReused)), "{refused:?}");
    assert_eq!(world.pool().await.agent_count, 1);
    world.end().await;
}

fn key(text: &str) -> RequestKey {
    RequestKey { route: "spawn".to_owned(), key: text.to_owned(), body_hash: [1; 32] }
}
