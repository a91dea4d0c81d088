//! The store fails, or seems to: what was asked for is refused and leaves nothing, what was seen is kept.

use std::time::Duration;

use muster_domain::{Activity, AgentState, Cause, Epoch, FinalState, ReportBody};
use muster_store::testing::Commit;
use muster_store::{AgentFilter, Store, Write};
use muster_supervisor::SupervisorError;
use serde_json::json;

use crate::worker::PATIENCE;
use crate::world::{World, let_pass, pool, wait_until};

fn is_unavailable<T: std::fmt::Debug>(result: Result<T, SupervisorError>) {
    assert!(matches!(result, Err(SupervisorError::Unavailable { .. })), "{result:?}");
}

async fn healthy(world: &World) {
    world.store().heal();
    wait_until("it is well again", async || {
        world.degraded().await.is_empty() || {
            // Whoever asks finds out first.
            drop(world.try_spawn(Duration::ZERO).await);
            false
        }
    })
    .await;
}

#[tokio::test]
async fn requests_are_refused_and_leave_nothing() {
    let world = World::new().await;
    let agent = world.spawn().await;
    world.store().judge(|_| Commit::Refuse);
    is_unavailable(world.try_spawn(PATIENCE).await);
    is_unavailable(world.agents().terminate(None, agent, true, PATIENCE).await);
    is_unavailable(world.pools().change(&pool(), &json!({"max_agents": 3})).await);
    is_unavailable(world.pools().remove(&pool(), true).await);
    world.store().heal();
    wait_until("it takes requests again", async || world.try_spawn(PATIENCE).await.is_ok()).await;
    let_pass(&world).await;
    let view = world.pool().await;
    assert_eq!((view.holds.draining, view.config.max_agents, view.agent_count), (false, 2, 2));
    assert_eq!((world.state(agent).await, world.agent(agent).await.epoch), (AgentState::Running(Activity::Idle), 1));
    world.end().await;
}

#[tokio::test]
async fn a_removal_that_could_not_be_stored_is_refused() {
    let world = World::new().await;
    let agent = world.spawn().await;
    world.store().once(|write| matches!(write, Write::DrainPool { .. }), Commit::Refuse);
    is_unavailable(world.pools().remove(&pool(), true).await);
    let_pass(&world).await;
    assert_eq!(
        (world.state(agent).await, world.pool().await.holds.draining),
        (AgentState::Running(Activity::Idle), false)
    );
    world.end().await;
}

#[tokio::test]
async fn a_removal_that_could_not_be_stored_is_refused_in_a_full_pass_too() {
    // Every turn is a full pass.
    let world = World::with(|clocks| clocks.pass = Duration::ZERO, |_| {}).await;
    let agent = world.spawn().await;
    world.store().once(|write| matches!(write, Write::DrainPool { .. }), Commit::Refuse);
    is_unavailable(world.pools().remove(&pool(), true).await);
    healthy(&world).await;
    world.spawn().await;
    assert_eq!(
        (world.state(agent).await, world.pool().await.holds.draining),
        (AgentState::Running(Activity::Idle), false)
    );
    world.end().await;
}

#[tokio::test]
async fn a_removal_that_was_stored_though_its_caller_was_refused_is_carried_out() {
    let world = World::new().await;
    world.spawn().await;
    world.store().once(|write| matches!(write, Write::DrainPool { .. }), Commit::Lie);
    is_unavailable(world.pools().remove(&pool(), true).await);
    wait_until("the pool is gone", async || world.pools().get(&pool()).await.is_err()).await;
    assert_eq!(world.store().live_agents().await.expect("rows"), []);
    world.end().await;
}

#[tokio::test]
async fn a_removal_whose_last_commit_seemed_to_fail_comes_to_its_end() {
    let world = World::new().await;
    world.spawn().await;
    world.store().once(|write| matches!(write, Write::RemovePool { .. }), Commit::Lie);
    let removed = tokio::time::timeout(PATIENCE, world.pools().remove(&pool(), true)).await;
    removed.expect("it is answered").expect("removed");
    assert!(matches!(world.pools().get(&pool()).await, Err(SupervisorError::UnknownPool(_))));
    world.end().await;
}

#[tokio::test]
async fn a_change_that_was_stored_though_its_caller_was_refused_is_followed() {
    let world = World::new().await;
    world.store().once(|write| matches!(write, Write::ChangePool { .. }), Commit::Lie);
    is_unavailable(world.pools().change(&pool(), &json!({"max_agents": 3})).await);
    wait_until("it is in force", async || world.pool().await.config.max_agents == 3).await;
    world.end().await;
}

#[tokio::test]
async fn an_end_is_kept_and_committed_later() {
    let world = World::new().await;
    let agent = world.spawn().await;
    let worker = world.worker_of(agent).await;
    world.store().leave();
    worker.end(agent, Cause::Exited { code: 1 }).await;
    wait_until("the store is missed", async || !world.degraded().await.is_empty()).await;
    let_pass(&world).await;
    let (settled, latest) = worker.settled().await;
    assert!(settled < latest, "it is not settled before it is stored");
    world.store().heal();
    world.wait_epoch(agent, 2).await;
    wait_until("it is settled", async || {
        let (settled, latest) = worker.settled().await;
        settled == latest
    })
    .await;
    wait_until("nothing stays on the stream", async || {
        world.ground.memory.is_empty() || {
            use muster_registry::Bus;
            let mut stream = world.ground.memory.reports(vec![pool()]).await.expect("a stream");
            tokio::time::timeout(Duration::from_millis(5), stream.next()).await.is_err()
        }
    })
    .await;
    assert_eq!(world.agent(agent).await.restarts, 1);
    world.end().await;
}

#[tokio::test]
async fn idleness_in_an_outage_of_the_store_is_not_forgotten() {
    let world = World::new().await;
    let agent = world.spawn().await;
    let worker = world.worker_of(agent).await;
    world.store().leave();
    worker.say(ReportBody::IdleTooLong { agent_id: agent, epoch: Epoch(1) }).await;
    wait_until("the store is missed", async || !world.degraded().await.is_empty()).await;
    world.store().heal();
    world.wait_state(agent, AgentState::Terminated).await;
    world.end().await;
}

#[tokio::test]
async fn a_release_that_went_through_though_it_seemed_to_fail_is_found_out() {
    let world = World::new().await;
    let agent = world.spawn().await;
    world.store().once(|write| matches!(write, Write::Release { .. }), Commit::Lie);
    world.worker_of(agent).await.end(agent, Cause::Exited { code: 1 }).await;
    world.wait_epoch(agent, 2).await;
    let_pass(&world).await;
    assert_eq!((world.agent(agent).await.epoch, world.pool().await.used_capacity), (2, 1));
    world.end().await;
}

#[tokio::test]
async fn an_end_for_good_that_seemed_to_fail_is_found_out() {
    let world = World::new().await;
    let agent = world.spawn().await;
    world.store().once(|write| matches!(write, Write::Release { .. }), Commit::Lie);
    let view = world.terminate(agent).await;
    assert_eq!(view.state, AgentState::Terminated);
    let_pass(&world).await;
    let pool = world.pool().await;
    assert_eq!((pool.used_capacity, pool.agent_count), (0, 0));
    world.end().await;
}

#[tokio::test]
async fn an_agent_that_was_stored_though_its_caller_was_refused_is_stopped() {
    for free_slot in [true, false] {
        let world = World::new().await;
        if free_slot {
            world.spawn().await;
        }
        world.store().once(|write| matches!(write, Write::AddAgent(_)), Commit::Lie);
        is_unavailable(world.try_spawn(PATIENCE).await);
        let rows = world.store().agents(&AgentFilter::default(), None, 10).await.expect("rows");
        let stored = rows.last().expect("it was stored").spec.agent_id;
        wait_until("it is stopped", async || {
            let row = world.store().agent(stored).await.expect("a row").expect("it is stored");
            row.final_state.map(FinalState::state) == Some(AgentState::Terminated)
        })
        .await;
        assert_eq!(world.ground.ledger.place_of(stored), None);
        wait_until("its slot is free", async || world.pool().await.agent_count == u32::from(free_slot)).await;
        world.spawn().await;
        world.end().await;
    }
}

#[tokio::test]
async fn an_assignment_that_seemed_to_fail_is_followed() {
    for on_new_worker in [true, false] {
        let world = World::new().await;
        let agent = world.spawn().await;
        if !on_new_worker {
            world.spawn().await;
            world.spawn().await;
        }
        world.store().once(|write| matches!(write, Write::Assign { .. }), Commit::Lie);
        world.worker_of(agent).await.die();
        world.wait_epoch(agent, 3 - u64::from(!on_new_worker)).await;
        let_pass(&world).await;
        let pool = world.pool().await;
        assert_eq!(pool.used_capacity, pool.agent_count);
        world.end().await;
    }
}

#[tokio::test]
async fn a_stop_that_was_stored_though_its_caller_was_refused_is_carried_out() {
    let world = World::new().await;
    let agent = world.spawn().await;
    world.store().once(|write| matches!(write, Write::StopAgent { .. }), Commit::Lie);
    is_unavailable(world.agents().terminate(None, agent, true, PATIENCE).await);
    world.wait_state(agent, AgentState::Terminated).await;
    world.end().await;
}

#[tokio::test]
async fn nobody_is_placed_on_a_dead_worker_whose_end_could_not_be_stored() {
    let world = World::new().await;
    let agents = world.spawn_many(1).await;
    let worker = world.worker_of(agents[0]).await;
    world.store().judge(|writes| {
        if writes.iter().any(|write| matches!(write, Write::EndWorker { .. })) { Commit::Refuse } else { Commit::Pass }
    });
    worker.die();
    wait_until("its end can't be stored", async || {
        matches!(world.try_spawn(Duration::ZERO).await, Err(SupervisorError::Unavailable { .. }))
    })
    .await;
    let_pass(&world).await;
    let placed = world.store().live_agents().await.expect("rows");
    let there = placed.iter().filter(|row| row.assignment.is_some_and(|place| place.process_id == worker.id())).count();
    assert_eq!(there, 1, "only the one that was there");
    healthy(&world).await;
    world.wait_epoch(agents[0], 2).await;
    wait_until("all run", async || {
        let pool = world.pool().await;
        pool.pending_agents == 0 && world.ground.ledger.running().len() == pool.agent_count as usize
    })
    .await;
    world.end().await;
}
