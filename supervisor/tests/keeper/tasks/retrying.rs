//! Failed attempts: another one, or the end.

use std::time::Duration;

use muster_domain::{AttemptEnd, Cause, EventKind, TaskState};
use muster_supervisor::{SupervisorError, TaskRequest};

use super::task;
use crate::worker::{OnTask, PATIENCE};
use crate::world::{World, pool, wait_until};

#[tokio::test]
async fn what_failed_is_tried_again() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    world.spawn().await;
    let (held, worker) = world.start_task(task()).await;
    worker.fail(held, true).await;
    let worker = world.wait_attempt(held, 2).await;
    worker.answer(held).await;
    let view = world.done(held).await;
    assert_eq!((view.state, view.attempt, view.attempts.len()), (TaskState::Succeeded, 2, 2));
    assert!(matches!(view.attempts[0].end, AttemptEnd::Failed { .. }));
    world.end().await;
}

#[tokio::test]
async fn what_fails_too_often_is_dead_with_all_its_attempts() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Fail { retryable: true }).await;
    world.spawn().await;
    let hopeless = world.submit(TaskRequest { max_attempts: Some(4), ..task() }).await;
    let view = world.done(hopeless).await;
    assert_eq!((view.state, view.attempts.len()), (TaskState::Dead, 4));
    assert_eq!(view.error.expect("an error").code, "agent_error");
    assert!(view.attempts.iter().map(|attempt| attempt.number).eq(1..=4));
    assert_eq!(world.queue().await.dead, 1);
    let events = world.events().after(0, 1_000).await.expect("events");
    assert_eq!(events.iter().filter(|line| line.event.event.kind == EventKind::TaskDead).count(), 1);
    world.end().await;
}

#[tokio::test]
async fn what_is_not_retryable_fails_at_once() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Fail { retryable: false }).await;
    world.spawn().await;
    let wrong = world.submit(task()).await;
    let view = world.done(wrong).await;
    assert_eq!((view.state, view.attempts.len()), (TaskState::Failed, 1));
    world.end().await;
}

#[tokio::test]
async fn a_wait_lies_between_two_attempts() {
    let wait = Duration::from_millis(400);
    let world =
        World::of_tasks_with(|config| (config.retry.backoff_min, config.retry.backoff_max) = (wait, wait)).await;
    world.on_task(OnTask::Fail { retryable: true }).await;
    world.spawn().await;
    let view = world.done(world.submit(TaskRequest { max_attempts: Some(2), ..task() }).await).await;
    let between = view.attempts[1].started_at.since(view.attempts[0].ended_at);
    assert!(between >= wait / 2, "{between:?}");
    world.end().await;
}

#[tokio::test]
async fn dead_and_failed_tasks_are_tried_again_when_somebody_wants_it() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Fail { retryable: true }).await;
    world.spawn().await;
    let dead = world.submit_many(vec![TaskRequest { max_attempts: Some(1), ..task() }; 700]).await;
    for id in &dead {
        assert_eq!(world.end_of(*id).await, TaskState::Dead);
    }
    world.on_task(OnTask::Fail { retryable: false }).await;
    let failed = world.submit(task()).await;
    assert_eq!(world.end_of(failed).await, TaskState::Failed);
    world.on_task(OnTask::Answer).await;
    assert_eq!(world.tasks().redrive(Some(pool())).await.expect("redriven"), 700);
    for id in &dead {
        let view = world.done(*id).await;
        assert_eq!((view.state, view.attempt, view.error), (TaskState::Succeeded, 2, None));
    }
    assert_eq!(world.task(failed).await.state, TaskState::Failed, "only the dead are redriven");
    world.tasks().retry(failed).await.expect("it is failed");
    assert_eq!(world.end_of(failed).await, TaskState::Succeeded);
    assert_eq!(world.tasks().redrive(None).await.expect("none left"), 0);
    let again = world.tasks().retry(failed).await;
    assert!(matches!(again, Err(SupervisorError::WrongTaskState { state: TaskState::Succeeded, .. })), "{again:?}");
    world.wait_queue(0, 0, 0).await;
    world.end().await;
}

#[tokio::test]
async fn two_who_redrive_at_once_do_it_once() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Fail { retryable: true }).await;
    world.spawn().await;
    let dead = world.submit(TaskRequest { max_attempts: Some(1), ..task() }).await;
    assert_eq!(world.end_of(dead).await, TaskState::Dead);
    world.on_task(OnTask::Hold).await;
    let (one, other) = tokio::join!(world.tasks().redrive(None), world.tasks().redrive(None));
    assert_eq!(one.expect("redriven") + other.expect("redriven"), 1);
    let worker = world.wait_attempt(dead, 2).await;
    world.wait_queue(0, 0, 1).await;
    worker.answer(dead).await;
    assert_eq!(world.end_of(dead).await, TaskState::Succeeded);
    world.wait_queue(0, 0, 0).await;
    world.end().await;
}

#[tokio::test]
async fn an_agent_that_dies_costs_an_attempt() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    let agent = world.spawn().await;
    let (held, worker) = world.start_task(TaskRequest { max_attempts: Some(1), ..task() }).await;
    worker.end(agent, Cause::Exited { code: 3 }).await;
    let view = world.done(held).await;
    assert_eq!((view.state, view.error.expect("an error").code), (TaskState::Dead, "agent_died".to_owned()));
    world.end().await;
}

#[tokio::test]
async fn an_agent_that_is_stopped_costs_none() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    let agent = world.spawn().await;
    let (held, _) = world.start_task(TaskRequest { max_attempts: Some(1), ..task() }).await;
    world.agents().restart(agent, PATIENCE).await.expect("restarted");
    let worker = world.wait_attempt(held, 2).await;
    worker.answer(held).await;
    let view = world.done(held).await;
    assert_eq!(view.state, TaskState::Succeeded);
    assert!(matches!(view.attempts[0].end, AttemptEnd::Interrupted { .. }), "{:?}", view.attempts[0]);
    world.end().await;
}

#[tokio::test]
async fn an_agent_that_makes_no_progress_loses_its_task() {
    let world = World::of_tasks_with(|config| config.task_lease = std::time::Duration::from_millis(100)).await;
    world.on_task(OnTask::Hold).await;
    world.spawn().await;
    let (held, worker) = world.start_task(TaskRequest { max_attempts: Some(2), ..task() }).await;
    worker.change(|habits| habits.quiet = true).await;
    wait_until("its lease is lost", async || world.ground.ledger.latest_attempt(held) == 2).await;
    worker.change(|habits| habits.quiet = false).await;
    let view = world.task(held).await;
    assert_eq!(view.attempts[0].end, AttemptEnd::Halted { halt: muster_domain::Halt::LeaseLost });
    // The second attempt may have lost its lease as well, before the habit was changed.
    wait_until("it runs or is over", async || {
        !worker.tasks().await.is_empty() || world.task(held).await.state.is_final()
    })
    .await;
    if worker.tasks().await.contains(&held) && worker.halts_of(held).await.len() == 1 {
        worker.answer(held).await;
        assert_eq!(world.end_of(held).await, TaskState::Succeeded);
    }
    world.end().await;
}
