//! Pauses, drains, and pools that go.

use muster_domain::{TaskState, Timestamp};
use muster_supervisor::{LeadEnd, SupervisorError, TaskRequest};
use tokio_util::sync::CancellationToken;

use super::{at, task};
use crate::worker::{OnTask, PATIENCE};
use crate::world::{World, let_pass, pool, wait_until};

#[tokio::test]
async fn while_a_pool_is_paused_tasks_come_in_and_wait() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    world.spawn_many(2).await;
    let (running, worker) = world.start_task(task()).await;
    let view = world.pools().pause(pool()).await.expect("paused");
    assert_eq!((view.holds.paused, view.holds.intake_closed), (true, false));
    let waiting = world.submit(task()).await;
    worker.answer(running).await;
    assert_eq!(world.end_of(running).await, TaskState::Succeeded, "what runs goes on");
    let_pass(&world).await;
    assert_eq!(world.ground.ledger.latest_attempt(waiting), 0);
    assert!(!world.pools().resume(pool()).await.expect("resumed").holds.paused);
    world.holder(waiting).await.answer(waiting).await;
    assert_eq!(world.end_of(waiting).await, TaskState::Succeeded);
    world.end().await;
}

#[tokio::test]
async fn a_pause_holds_over_a_new_master() {
    for system in [false, true] {
        let world = World::of_tasks().await;
        world.spawn().await;
        if system {
            world.pools().pause_all(false).await.expect("paused");
        } else {
            world.pools().pause(pool()).await.expect("paused");
        }
        let waiting = world.submit(task()).await;
        let ground = world.ground.clone();
        world.supervisor.shut_down(LeadEnd::Fenced, CancellationToken::new()).await;
        let world = ground.lead().await;
        world.wait_queue(1, 0, 0).await;
        let_pass(&world).await;
        assert_eq!(world.ground.ledger.latest_attempt(waiting), 0);
        if system {
            world.pools().resume_all().await.expect("resumed");
        } else {
            world.pools().resume(pool()).await.expect("resumed");
        }
        assert_eq!(world.end_of(waiting).await, TaskState::Succeeded);
        world.end().await;
    }
}

#[tokio::test]
async fn a_drained_pool_takes_nothing_and_finishes_what_it_has() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    world.spawn().await;
    let (running, worker) = world.start_task(task()).await;
    let waiting = world.submit(task()).await;
    let view = world.pools().drain(pool(), false).await.expect("drained");
    assert_eq!((view.holds.paused, view.holds.intake_closed), (true, true));
    let refused = world.try_submit(task()).await;
    assert!(matches!(refused, Err(SupervisorError::IntakeClosed(_))), "{refused:?}");
    worker.answer(running).await;
    assert_eq!(world.end_of(running).await, TaskState::Succeeded);
    world.wait_queue(1, 0, 0).await;
    world.pools().resume(pool()).await.expect("resumed");
    world.holder(waiting).await.answer(waiting).await;
    assert_eq!(world.end_of(waiting).await, TaskState::Succeeded);
    world.end().await;
}

#[tokio::test]
async fn a_drain_hands_back_what_runs_and_that_costs_no_attempt() {
    for system in [false, true] {
        let world = World::of_tasks().await;
        world.on_task(OnTask::Hold).await;
        let agent = world.spawn().await;
        let (held, _) = world.start_task(TaskRequest { max_attempts: Some(1), ..task() }).await;
        if system {
            world.pools().pause_all(true).await.expect("paused");
        } else {
            world.pools().drain(pool(), true).await.expect("drained");
        }
        world.wait_queue(1, 0, 0).await;
        world.wait_idle(agent).await;
        assert_eq!(world.task(held).await.state, TaskState::Queued);
        if system {
            world.pools().resume_all().await.expect("resumed");
        } else {
            world.pools().resume(pool()).await.expect("resumed");
        }
        world.wait_attempt(held, 2).await.answer(held).await;
        assert_eq!(world.end_of(held).await, TaskState::Succeeded);
        world.end().await;
    }
}

#[tokio::test]
async fn a_resume_of_the_system_leaves_a_paused_pool_paused() {
    let world = World::of_tasks().await;
    world.spawn().await;
    world.pools().pause(pool()).await.expect("paused");
    world.pools().pause_all(false).await.expect("paused");
    let waiting = world.submit(task()).await;
    world.pools().resume_all().await.expect("resumed");
    let_pass(&world).await;
    assert_eq!(world.task(waiting).await.state, TaskState::Queued);
    world.pools().resume(pool()).await.expect("resumed");
    assert_eq!(world.end_of(waiting).await, TaskState::Succeeded);
    world.end().await;
}

#[tokio::test]
async fn a_pool_that_goes_fails_what_waits_and_ends_what_runs() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    let agent = world.spawn().await;
    let (running, _) = world.start_task(task()).await;
    let mut requests = vec![task(); 1_100];
    requests.push(TaskRequest { not_before: at(60_000), ..task() });
    requests.push(TaskRequest { agent_id: Some(agent), ..task() });
    let waiting = world.submit_many(requests).await;
    let removed = tokio::time::timeout(PATIENCE, world.pools().remove(&pool(), true)).await;
    removed.expect("it is answered").expect("removed");
    for id in waiting.iter().chain([&running]) {
        let row = muster_store::TaskQueue::task(world.store(), *id).await.expect("a row").expect("it is kept");
        assert_eq!(row.status.state(), TaskState::Failed, "{row:?}");
        assert!(row.finished_at.is_some_and(|at| at <= Timestamp::now()));
    }
    assert!(matches!(world.try_submit(task()).await, Err(SupervisorError::UnknownPool(_))));
    world.end().await;
}

#[tokio::test]
async fn a_pool_that_goes_takes_no_task() {
    let world = World::of_tasks().await;
    let agent = world.spawn().await;
    world.worker_of(agent).await.change(|habits| habits.on_stop = crate::worker::OnStop::Miss).await;
    let (pools, name) = (world.pools().clone(), pool());
    let removal = tokio::spawn(async move { pools.remove(&name, true).await });
    wait_until("it is going", async || world.pool().await.holds.being_removed).await;
    let refused = world.try_submit(task()).await;
    assert!(matches!(refused, Err(SupervisorError::PoolDraining(_))), "{refused:?}");
    world.worker_of(agent).await.change(|habits| habits.on_stop = crate::worker::OnStop::End).await;
    removal.await.expect("no panic").expect("removed");
    world.end().await;
}

#[tokio::test]
async fn what_waits_when_the_supervisor_stops_waits_for_the_next() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    world.spawn().await;
    let (running, _) = world.start_task(TaskRequest { max_attempts: Some(1), ..task() }).await;
    let waiting = world.submit(task()).await;
    let ground = world.ground.clone();
    world.shut_down(false).await;
    ground.launcher.habits(|habits| habits.on_task = OnTask::Answer);
    let world = ground.lead().await;
    for id in [running, waiting] {
        assert_eq!(world.end_of(id).await, TaskState::Succeeded);
    }
    assert_eq!(world.task(running).await.attempts.len(), 2);
    world.end().await;
}
