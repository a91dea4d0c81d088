//! Delayed tasks, and tasks that expire.

use std::time::Duration;

use muster_domain::TaskState;
use muster_supervisor::{NotBefore, TaskRequest};

use super::{at, soon, task};
use crate::worker::OnTask;
use crate::world::{World, let_pass};

#[tokio::test]
async fn a_delayed_task_is_not_started_before_its_time() {
    let world = World::of_tasks().await;
    world.spawn().await;
    let not_before = soon(300);
    let delayed = world.submit(TaskRequest { not_before: not_before.map(NotBefore::Moment), ..task() }).await;
    let view = world.task(delayed).await;
    assert_eq!((view.state, view.due_at), (TaskState::Queued, not_before));
    assert_eq!(world.queue().await.delayed, 1);
    let view = world.done(delayed).await;
    assert_eq!(view.state, TaskState::Succeeded);
    assert!(view.started_at >= not_before, "{:?} is before {not_before:?}", view.started_at);
    world.wait_queue(0, 0, 0).await;
    world.end().await;
}

#[tokio::test]
async fn many_become_due_together() {
    let world = World::of_tasks().await;
    world.spawn_many(2).await;
    let request = TaskRequest { not_before: at(250), ..task() };
    let tasks = world.submit_many(vec![request; 1_300]).await;
    for id in tasks {
        assert_eq!(world.end_of(id).await, TaskState::Succeeded);
    }
    world.wait_queue(0, 0, 0).await;
    world.end().await;
}

#[tokio::test]
async fn the_one_that_is_due_first_does_not_wait_for_the_others() {
    let world = World::of_tasks().await;
    world.spawn().await;
    let late = world.submit(TaskRequest { not_before: at(100_000), ..task() }).await;
    let early = world.submit(TaskRequest { not_before: at(100), ..task() }).await;
    assert_eq!(world.end_of(early).await, TaskState::Succeeded);
    assert_eq!(world.task(late).await.state, TaskState::Queued);
    world.wait_queue(0, 1, 0).await;
    world.end().await;
}

#[tokio::test]
async fn a_task_that_was_not_started_in_time_fails() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    world.spawn().await;
    let in_time = TaskRequest { expires_at: soon(300), ..task() };
    let (running, worker) = world.start_task(in_time).await;
    let ready = world.submit(TaskRequest { expires_at: soon(200), ..task() }).await;
    let delayed = world.submit(TaskRequest { not_before: at(100), expires_at: soon(200), ..task() }).await;
    for id in [ready, delayed] {
        assert_eq!(world.error_of(id).await, "expired");
        assert_eq!(world.task(id).await.state, TaskState::Failed);
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    let_pass(&world).await;
    assert_eq!(world.task(running).await.state, TaskState::Running, "it was started in time");
    worker.answer(running).await;
    assert_eq!(world.end_of(running).await, TaskState::Succeeded);
    world.wait_queue(0, 0, 0).await;
    world.end().await;
}

#[tokio::test]
async fn an_agent_that_works_too_long_is_stopped_and_another_tries() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    world.spawn().await;
    let timeout = Some(Duration::from_millis(60));
    let (held, _) = world.start_task(TaskRequest { timeout, max_attempts: Some(2), ..task() }).await;
    let view = world.done(held).await;
    assert_eq!((view.state, view.attempts.len()), (TaskState::Dead, 2));
    assert_eq!(view.error.expect("an error").code, "timeout");
    world.end().await;
}
