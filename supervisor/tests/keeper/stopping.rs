//! Terminate and restart against everything that may be on its way.

use muster_domain::{Activity, AgentState, Cause, FinalState};
use muster_store::testing::Commit;
use muster_store::{Store, Write};
use muster_supervisor::SupervisorError;

use crate::worker::{OnSpawn, OnStop, PATIENCE};
use crate::world::{World, let_pass, wait_until};

#[tokio::test]
async fn terminate_wins_over_a_start_whose_report_is_still_to_come() {
    let world = World::new().await;
    world.launcher().next(|habits| habits.on_spawn = OnSpawn::RunSilently);
    let agent = world.order().await;
    let worker = world.worker_of(agent).await;
    wait_until("it runs", async || world.ground.ledger.place_of(agent).is_some()).await;
    worker.change(|habits| habits.on_stop = OnStop::Miss).await;
    world.tell_to_stop(agent, true).await;
    worker.confirm(agent).await;
    let_pass(&world).await;
    assert_eq!(world.state(agent).await, AgentState::Stopping, "a late start moves nothing");
    worker.change(|habits| habits.on_stop = OnStop::End).await;
    world.wait_state(agent, AgentState::Terminated).await;
    world.end().await;
}

#[tokio::test]
async fn terminate_after_the_start_was_reported_ends_it() {
    let world = World::new().await;
    let agent = world.spawn().await;
    assert_eq!(world.terminate(agent).await.state, AgentState::Terminated);
    assert_eq!(world.ground.ledger.place_of(agent), None);
    assert_eq!(world.pool().await.used_capacity, 0);
    world.end().await;
}

#[tokio::test]
async fn terminate_of_one_whose_worker_does_not_listen_yet_is_kept_for_it() {
    let world = World::new().await;
    world.launcher().next(|habits| habits.beats = false);
    let agent = world.order().await;
    world.tell_to_stop(agent, true).await;
    assert_eq!(world.state(agent).await, AgentState::Stopping);
    let worker = world.worker_of(agent).await;
    worker.change(|habits| habits.beats = true).await;
    world.wait_state(agent, AgentState::Terminated).await;
    assert_eq!(world.ground.ledger.starts(agent), 0, "it never ran");
    world.end().await;
}

#[tokio::test]
async fn terminate_of_one_that_has_no_slot_is_over_at_once() {
    let world = World::new().await;
    world.launcher().fail(1_000);
    let agent = world.order().await;
    wait_until("it waits", async || world.agent(agent).await.process_id.is_none()).await;
    assert_eq!(world.terminate(agent).await.state, AgentState::Terminated);
    world.launcher().fail(0);
    let_pass(&world).await;
    assert_eq!(world.state(agent).await, AgentState::Terminated);
    world.end().await;
}

#[tokio::test]
async fn terminate_twice_is_one_end_and_both_are_answered() {
    let world = World::new().await;
    let agent = world.spawn().await;
    let (one, other) = tokio::join!(world.terminate(agent), world.terminate(agent));
    assert_eq!((one.state, other.state), (AgentState::Terminated, AgentState::Terminated));
    assert_eq!(world.terminate(agent).await.state, AgentState::Terminated, "and later too");
    world.end().await;
}

#[tokio::test]
async fn who_is_not_content_with_asking_has_it_killed() {
    let world = World::new().await;
    let agent = world.spawn().await;
    let worker = world.worker_of(agent).await;
    worker.change(|habits| habits.on_stop = OnStop::EndIfForced).await;
    world.tell_to_stop(agent, true).await;
    wait_until("it was asked", async || !worker.stops_of(agent).await.is_empty()).await;
    assert_eq!(world.state(agent).await, AgentState::Stopping);
    let view = world.agents().terminate(None, agent, false, PATIENCE).await.expect("killed");
    assert_eq!(view.state, AgentState::Terminated);
    assert!(worker.stops_of(agent).await.contains(&false));
    world.end().await;
}

#[tokio::test]
async fn restart_ends_the_run_and_begins_the_next_in_place() {
    let world = World::new().await;
    let agent = world.spawn().await;
    let worker = world.worker_of(agent).await;
    let view = world.agents().restart(agent, PATIENCE).await.expect("restarted");
    assert_eq!((view.state, view.epoch, view.process_id), (AgentState::Running(Activity::Idle), 2, Some(worker.id())));
    world.end().await;
}

#[tokio::test]
async fn a_restart_that_was_acknowledged_survives_the_master_and_happens_once() {
    let world = World::new().await;
    let agent = world.spawn().await;
    let worker = world.worker_of(agent).await;
    // Nothing that this master sends arrives.
    world.ground.registry.drop_commands(true);
    let told = world.agents().restart(agent, std::time::Duration::ZERO).await.expect("acknowledged");
    assert_eq!((told.state, told.epoch), (AgentState::Stopping, 1));
    let ground = world.ground.clone();
    world.shut_down(true).await;
    assert_eq!(worker.stops_of(agent).await, Vec::<bool>::new(), "it has heard nothing");
    ground.registry.drop_commands(false);
    let world = ground.lead().await;
    world.wait_epoch(agent, 2).await;
    let ground = world.ground.clone();
    world.shut_down(true).await;
    let world = ground.lead().await;
    world.wait_state(agent, AgentState::Running(Activity::Idle)).await;
    let_pass(&world).await;
    assert_eq!((world.state(agent).await, world.agent(agent).await.epoch), (AgentState::Running(Activity::Idle), 2));
    world.end().await;
}

#[tokio::test]
async fn a_restart_that_could_not_be_stored_is_refused() {
    let world = World::new().await;
    let agent = world.spawn().await;
    world.store().once(|write| matches!(write, Write::RestartAgent { .. }), Commit::Refuse);
    let refused = world.agents().restart(agent, PATIENCE).await.expect_err("the store is away");
    assert!(matches!(refused, SupervisorError::Unavailable { .. }), "{refused}");
    let_pass(&world).await;
    assert_eq!((world.state(agent).await, world.agent(agent).await.epoch), (AgentState::Running(Activity::Idle), 1));
    world.end().await;
}

#[tokio::test]
async fn a_restart_and_the_end_of_the_run_meet_in_both_orders() {
    for restart_first in [true, false] {
        for _ in 0..10 {
            let world = World::new().await;
            let agent = world.spawn().await;
            let worker = world.worker_of(agent).await;
            let (restart, crash) =
                (world.agents().restart(agent, PATIENCE), worker.end(agent, Cause::Exited { code: 1 }));
            let view = match restart_first {
                true => tokio::join!(restart, crash).0,
                false => tokio::join!(crash, restart).1,
            };
            assert_eq!(view.expect("it runs again").state, AgentState::Running(Activity::Idle));
            world.end().await;
        }
    }
}

#[tokio::test]
async fn terminate_wins_over_a_restart_and_a_restart_never_over_it() {
    let world = World::new().await;
    let agent = world.spawn().await;
    let worker = world.worker_of(agent).await;
    worker.change(|habits| habits.on_stop = OnStop::Miss).await;
    let restart = world.agents().restart(agent, std::time::Duration::ZERO).await.expect("told");
    assert_eq!(restart.state, AgentState::Stopping);
    world.tell_to_stop(agent, true).await;
    let refused = world.agents().restart(agent, PATIENCE).await.expect_err("it is to end");
    assert!(matches!(refused, SupervisorError::WrongState { .. }), "{refused}");
    worker.change(|habits| habits.on_stop = OnStop::End).await;
    world.wait_state(agent, AgentState::Terminated).await;
    let refused = world.agents().restart(agent, PATIENCE).await.expect_err("it is over");
    assert!(matches!(refused, SupervisorError::WrongState { .. }), "{refused}");
    world.end().await;
}

/// The end of the run and the order to stop come at the same time, often in one turn of the keeper.
async fn end_and_terminate_meet(terminate_first: bool) {
    let world = World::new().await;
    let agent = world.spawn().await;
    let worker = world.worker_of(agent).await;
    worker.change(|habits| habits.on_stop = OnStop::Miss).await;
    let (agents, crash) = (world.agents().clone(), Cause::Exited { code: 1 });
    let terminate = agents.terminate(None, agent, true, PATIENCE);
    let crash = async {
        worker.end(agent, crash).await;
        worker.change(|habits| habits.on_stop = OnStop::End).await;
    };
    let view = match terminate_first {
        true => tokio::join!(terminate, crash).0,
        false => tokio::join!(crash, terminate).1,
    };
    assert_eq!(view.expect("terminated").state, AgentState::Terminated);
    let row = world.store().agent(agent).await.expect("a row").expect("it is stored");
    assert_eq!(row.final_state.map(FinalState::state), Some(AgentState::Terminated));
    let_pass(&world).await;
    assert_eq!(world.ground.ledger.place_of(agent), None);
    world.end().await;
}

#[tokio::test]
async fn an_end_and_an_order_to_stop_meet_in_both_orders() {
    for terminate_first in [true, false] {
        for _ in 0..10 {
            end_and_terminate_meet(terminate_first).await;
        }
    }
}

#[tokio::test]
async fn a_terminate_is_not_lost_where_the_release_before_it_could_not_be_stored() {
    let world = World::new().await;
    let agent = world.spawn().await;
    let worker = world.worker_of(agent).await;
    world.store().once(|write| matches!(write, Write::Release { .. }), Commit::Refuse);
    worker.end(agent, Cause::Exited { code: 1 }).await;
    // It may be refused while the store counts as away; then it is asked for again.
    wait_until("it is taken", async || world.agents().terminate(None, agent, true, PATIENCE).await.is_ok()).await;
    world.wait_state(agent, AgentState::Terminated).await;
    let_pass(&world).await;
    assert_eq!(world.state(agent).await, AgentState::Terminated);
    world.end().await;
}
