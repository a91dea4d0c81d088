//! Whoever follows a task sees its states in order, and its end.

use std::time::Duration;

use muster_domain::{TaskState, Usage};
use muster_supervisor::{SupervisorError, TaskFollower, TaskNews, TaskView};

use super::task;
use crate::worker::{OnTask, PATIENCE};
use crate::world::{World, wait_until};

async fn next(follower: &mut TaskFollower) -> Option<TaskNews> {
    tokio::time::timeout(PATIENCE, follower.next()).await.expect("news").expect("no error")
}

/// The next picture, over whatever progress comes before it.
async fn next_view(follower: &mut TaskFollower) -> Option<TaskView> {
    loop {
        match next(follower).await? {
            TaskNews::Changed(view) => return Some(*view),
            TaskNews::Progress(_) => {}
        }
    }
}

#[tokio::test]
async fn a_follower_sees_every_state_and_the_end() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    let held = world.submit(task()).await;
    let mut follower = world.tasks().follow(held).await.expect("a follower");
    assert_eq!(next_view(&mut follower).await.expect("a picture").state, TaskState::Queued);
    world.spawn().await;
    let worker = world.holder(held).await;
    assert_eq!(next_view(&mut follower).await.expect("a picture").state, TaskState::Running);
    worker.progress(held, "half", Usage { input_tokens: 7, ..Usage::default() }).await;
    let Some(TaskNews::Progress(progress)) = next(&mut follower).await else { panic!("no progress") };
    assert_eq!(progress.message, "half");
    let view = world.task(held).await;
    assert_eq!((view.progress, view.usage.input_tokens), (Some(progress), 7));
    worker.fail(held, true).await;
    let worker = world.wait_attempt(held, 2).await;
    worker.answer(held).await;
    let mut versions = vec![2];
    let last = loop {
        let view = next_view(&mut follower).await.expect("a picture");
        versions.push(view.version);
        if view.state.is_final() {
            break view;
        }
    };
    assert!(versions.is_sorted_by(|one, other| one < other), "{versions:?}");
    assert_eq!((last.state, last.attempts.len(), last.usage.input_tokens), (TaskState::Succeeded, 2, 7));
    assert!(next(&mut follower).await.is_none());
    world.end().await;
}

#[tokio::test]
async fn a_follower_of_what_is_over_hears_that_and_ends() {
    let world = World::of_tasks().await;
    world.spawn().await;
    let done = world.submit(task()).await;
    world.done(done).await;
    let mut follower = world.tasks().follow(done).await.expect("a follower");
    assert_eq!(next_view(&mut follower).await.expect("a picture").state, TaskState::Succeeded);
    assert!(next(&mut follower).await.is_none());
    world.end().await;
}

#[tokio::test]
async fn a_follower_hears_of_a_store_that_is_away_and_of_the_end_of_the_supervisor() {
    let world = World::of_tasks().await;
    let waiting = world.submit(task()).await;
    let mut follower = world.tasks().follow(waiting).await.expect("a follower");
    world.store().leave();
    let error = follower.next().await.expect_err("nothing can be read");
    assert!(matches!(error, SupervisorError::Unavailable { .. }), "{error}");
    world.store().heal();
    assert!(next_view(&mut follower).await.is_some(), "it can be asked again");
    world.shut_down(false).await;
    let error = tokio::time::timeout(PATIENCE, follower.next()).await.expect("it ends").expect_err("it ended");
    assert!(matches!(error, SupervisorError::Stopping), "{error}");
}

#[tokio::test]
async fn followers_who_have_gone_are_cleared_away() {
    let world = World::of_tasks().await;
    let waiting = world.submit(task()).await;
    for _ in 0..3 {
        let view = world.tasks().get(waiting, Duration::from_millis(5)).await.expect("a task");
        assert_eq!(view.state, TaskState::Queued);
    }
    let mut follower = world.tasks().follow(waiting).await.expect("a follower");
    drop(world.tasks().follow(waiting).await);
    world.spawn().await;
    wait_until("the one that stays hears the end", async || {
        next_view(&mut follower).await.is_none_or(|view| view.state.is_final())
    })
    .await;
    world.end().await;
}
