//! Cancelling is true: a task is cancelled when its work has stopped.

use std::time::Duration;

use muster_domain::{Activity, AgentState, AttemptEnd, Halt, TaskState};

use super::task;
use crate::worker::{OnHalt, OnTask, PATIENCE};
use crate::world::{World, let_pass, wait_until};

#[tokio::test]
async fn a_waiting_task_is_cancelled_at_once() {
    let world = World::of_tasks().await;
    let ids = world.submit_many(vec![task(), task()]).await;
    let view = world.tasks().cancel(ids[0], Duration::ZERO).await.expect("an answer").task;
    assert_eq!((view.state, view.attempt), (TaskState::Cancelled, 0));
    world.wait_queue(1, 0, 0).await;
    world.spawn().await;
    assert_eq!(world.end_of(ids[1]).await, TaskState::Succeeded);
    assert_eq!(world.ground.ledger.latest_attempt(ids[0]), 0);
    world.end().await;
}

#[tokio::test]
async fn a_running_task_is_cancelled_when_its_work_has_stopped() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    let agent = world.spawn().await;
    let (held, worker) = world.start_task(task()).await;
    worker.change(|habits| habits.on_halt = OnHalt::Ignore).await;
    let view = world.tasks().cancel(held, Duration::from_millis(50)).await.expect("an answer").task;
    assert_eq!((view.state, view.halting), (TaskState::Running, Some(Halt::Cancelled)));
    assert_eq!(world.state(agent).await, AgentState::Running(Activity::Busy));
    worker.finish_task(held, AttemptEnd::Interrupted { message: "stopped".to_owned() }).await;
    let view = world.done(held).await;
    assert_eq!((view.state, view.attempts.len()), (TaskState::Cancelled, 1));
    assert_eq!(view.attempts[0].end, AttemptEnd::Halted { halt: Halt::Cancelled });
    world.wait_idle(agent).await;
    world.end().await;
}

#[tokio::test]
async fn a_cancellation_that_comes_with_the_result_comes_too_late() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    world.spawn().await;
    let (held, worker) = world.start_task(task()).await;
    worker.change(|habits| habits.on_halt = OnHalt::Answer).await;
    let view = world.tasks().cancel(held, PATIENCE).await.expect("an answer").task;
    assert_eq!((view.state, view.output), (TaskState::Succeeded, Some(Some(task().input))));
    let again = world.tasks().cancel(held, PATIENCE).await.expect("no error").task;
    assert_eq!(again.state, TaskState::Succeeded);
    world.end().await;
}

#[tokio::test]
async fn a_cancellation_and_the_result_at_once_end_it_in_one_way() {
    for _ in 0..10 {
        let world = World::of_tasks().await;
        world.on_task(OnTask::Hold).await;
        world.spawn().await;
        let (held, worker) = world.start_task(task()).await;
        let (view, ()) = tokio::join!(world.tasks().cancel(held, PATIENCE), async {
            if worker.tasks().await.contains(&held) {
                worker.answer(held).await;
            }
        });
        let state = view.expect("an answer").task.state;
        let done = world.ground.ledger.times_done(held) == 1;
        assert_eq!(state, if done { TaskState::Succeeded } else { TaskState::Cancelled });
        world.wait_queue(0, 0, 0).await;
        world.end().await;
    }
}

#[tokio::test]
async fn cancelling_twice_is_no_error_and_one_order() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    world.spawn().await;
    let (held, worker) = world.start_task(task()).await;
    let (one, other) = tokio::join!(world.tasks().cancel(held, PATIENCE), world.tasks().cancel(held, PATIENCE));
    assert_eq!(one.expect("an answer").task.state, TaskState::Cancelled);
    assert_eq!(other.expect("an answer").task.state, TaskState::Cancelled);
    assert_eq!(world.tasks().cancel(held, PATIENCE).await.expect("an answer").task.state, TaskState::Cancelled);
    let_pass(&world).await;
    assert!(worker.halts_of(held).await.iter().all(|halt| *halt == Halt::Cancelled));
    assert_eq!(world.task(held).await.attempts.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn a_lost_order_to_stop_is_sent_again() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    world.spawn().await;
    let (held, worker) = world.start_task(task()).await;
    worker.change(|habits| habits.missed_tasks = 2).await;
    assert_eq!(world.tasks().cancel(held, PATIENCE).await.expect("an answer").task.state, TaskState::Cancelled);
    assert!(worker.halts_of(held).await.len() >= 3);
    world.end().await;
}

#[tokio::test]
async fn an_order_to_stop_that_overtakes_the_order_to_begin_wins() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    let agent = world.spawn().await;
    let worker = world.worker_of(agent).await;
    // It never hears of the task before it hears that it is to stop.
    worker.change(|habits| habits.missed_tasks = 1_000).await;
    let lost = world.submit(task()).await;
    world.wait_task(lost, TaskState::Running).await;
    world.tasks().cancel(lost, Duration::ZERO).await.expect("an answer");
    worker.change(|habits| habits.missed_tasks = 0).await;
    assert_eq!(world.end_of(lost).await, TaskState::Cancelled);
    assert_eq!(world.ground.ledger.latest_attempt(lost), 0, "it was never begun");
    world.end().await;
}

#[tokio::test]
async fn a_task_whose_worker_dies_while_it_is_cancelled_is_cancelled() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    world.spawn().await;
    let (held, worker) = world.start_task(task()).await;
    worker.change(|habits| habits.on_halt = OnHalt::Ignore).await;
    world.tasks().cancel(held, Duration::ZERO).await.expect("an answer");
    worker.die();
    let view = world.done(held).await;
    assert_eq!((view.state, view.attempts.len()), (TaskState::Cancelled, 1));
    world.end().await;
}

#[tokio::test]
async fn a_task_that_waits_to_be_tried_again_is_cancelled() {
    let world = World::of_tasks_with(|config| {
        config.retry.backoff_min = Duration::from_secs(100);
        config.retry.backoff_max = Duration::from_secs(100);
    })
    .await;
    world.on_task(OnTask::Fail { retryable: true }).await;
    world.spawn().await;
    let failed = world.submit(task()).await;
    wait_until("it waits for its next attempt", async || world.task(failed).await.due_at.is_some()).await;
    let view = world.tasks().cancel(failed, PATIENCE).await.expect("an answer").task;
    assert_eq!((view.state, view.attempts.len()), (TaskState::Cancelled, 1));
    world.wait_queue(0, 0, 0).await;
    world.end().await;
}
