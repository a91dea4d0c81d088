//! Workers that die.

use muster_domain::{AttemptEnd, TaskState};
use muster_supervisor::TaskRequest;

use super::task;
use crate::worker::{OnHalt, OnTask};
use crate::world::{World, wait_until};

#[tokio::test]
async fn a_task_whose_worker_dies_is_tried_again_and_that_costs_no_attempt() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    world.spawn_many(2).await;
    let one = TaskRequest { max_attempts: Some(1), ..task() };
    let tasks = world.submit_many(vec![one; 2]).await;
    let worker = world.holder(tasks[0]).await;
    world.holder(tasks[1]).await;
    worker.die();
    for id in tasks {
        let worker = world.wait_attempt(id, 2).await;
        worker.answer(id).await;
        let view = world.done(id).await;
        assert_eq!((view.state, view.attempts.len()), (TaskState::Succeeded, 2));
        assert_eq!(view.attempts[0].end, AttemptEnd::WorkerLost);
    }
    world.wait_queue(0, 0, 0).await;
    world.end().await;
}

#[tokio::test]
async fn the_next_attempt_waits_until_all_that_the_worker_owned_is_dead() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    world.spawn().await;
    let (held, worker) = world.start_task(task()).await;
    // Another agent on another worker is free all the time.
    world.spawn_many(2).await;
    worker.leave_remains(true);
    worker.die();
    crate::world::let_pass(&world).await;
    assert_eq!(world.ground.ledger.latest_attempt(held), 1);
    worker.leave_remains(false);
    let next = world.wait_attempt(held, 2).await;
    next.answer(held).await;
    assert_eq!(world.end_of(held).await, TaskState::Succeeded);
    world.end().await;
}

#[tokio::test]
async fn a_task_whose_workers_die_is_given_up() {
    let world = World::of_tasks_with(|config| config.retry.poison_bound = 2).await;
    world.on_task(OnTask::Hold).await;
    world.spawn().await;
    let poison = world.submit(TaskRequest { max_attempts: Some(1), ..task() }).await;
    for attempt in 1..=3 {
        world.wait_attempt(poison, attempt).await.die();
    }
    let view = world.done(poison).await;
    assert_eq!((view.state, view.attempts.len()), (TaskState::Dead, 3));
    assert_eq!(view.error.expect("an error").code, "poison");
    let (good, worker) = world.start_task(task()).await;
    worker.answer(good).await;
    assert_eq!(world.end_of(good).await, TaskState::Succeeded, "nobody else goes with it");
    world.end().await;
}

#[tokio::test]
async fn a_result_that_was_said_before_the_death_counts() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    world.spawn().await;
    let (held, worker) = world.start_task(task()).await;
    worker.answer(held).await;
    worker.die();
    assert_eq!(world.end_of(held).await, TaskState::Succeeded);
    assert_eq!(world.ground.ledger.latest_attempt(held), 1);
    world.end().await;
}

#[tokio::test]
async fn a_drained_worker_hands_its_tasks_back_when_its_time_is_over() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    world.spawn_many(2).await;
    let (held, worker) = world.start_task(task()).await;
    worker.change(|habits| habits.on_halt = OnHalt::Ignore).await;
    // It was told from outside, e.g. by a signal.
    muster_supervisor::launch::RunningWorker::ask(&worker).await;
    let next = world.wait_attempt(held, 2).await;
    assert_ne!(next.id(), worker.id());
    next.answer(held).await;
    let view = world.done(held).await;
    assert!(matches!(view.attempts[0].end, AttemptEnd::Interrupted { .. } | AttemptEnd::WorkerLost));
    assert_eq!(view.state, TaskState::Succeeded);
    wait_until("the first one is gone", async || worker.is_dead()).await;
    world.end().await;
}

#[tokio::test]
async fn what_was_begun_and_vanished_from_the_picture_is_asked_for() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    world.spawn().await;
    let (held, worker) = world.start_task(task()).await;
    world.wait_task(held, TaskState::Running).await;
    wait_until("the order is acknowledged", async || worker.settled().await.0 >= 3).await;
    let before = worker.orders_of(held).await.len();
    worker.forget_task(held).await;
    wait_until("it is asked for", async || worker.orders_of(held).await.len() > before).await;
    assert_eq!(world.end_of(held).await, TaskState::Succeeded, "it was done, and only its end was lost");
    assert_eq!(world.ground.ledger.latest_attempt(held), 1);
    world.end().await;
}
