//! Orders and reports that are lost, doubled or late.

use muster_domain::{AttemptEnd, Cause, ReportBody, TaskOver, TaskState, Usage};
use muster_supervisor::TaskRequest;

use super::task;
use crate::worker::OnTask;
use crate::world::{World, let_pass, wait_until};

#[tokio::test]
async fn a_lost_order_is_sent_again() {
    let world = World::of_tasks().await;
    let agent = world.spawn().await;
    let worker = world.worker_of(agent).await;
    worker.change(|habits| habits.missed_tasks = 3).await;
    let lost = world.submit(task()).await;
    assert_eq!(world.end_of(lost).await, TaskState::Succeeded);
    let orders = worker.orders_of(lost).await;
    assert!(orders.len() >= 4 && orders.iter().all(|order| *order == orders[0]), "{orders:?}");
    world.end().await;
}

#[tokio::test]
async fn orders_and_reports_that_come_twice_change_nothing() {
    let world = World::of_tasks().await;
    world.launcher().habits(|habits| (habits.hears_twice, habits.says_twice) = (true, true));
    world.spawn_many(2).await;
    let tasks = world.submit_many(vec![task(); 50]).await;
    for id in &tasks {
        let view = world.done(*id).await;
        assert_eq!((view.state, view.attempts.len()), (TaskState::Succeeded, 1));
    }
    world.wait_queue(0, 0, 0).await;
    world.end().await;
}

#[tokio::test]
async fn a_start_is_stored_before_its_order_goes_out() {
    let world = World::of_tasks().await;
    world.spawn().await;
    world.ground.registry.drop_commands(true);
    let untold = world.submit(task()).await;
    world.wait_task(untold, TaskState::Running).await;
    let_pass(&world).await;
    assert_eq!(world.ground.ledger.latest_attempt(untold), 0);
    world.ground.registry.drop_commands(false);
    let view = world.done(untold).await;
    assert_eq!((view.state, view.attempts.len()), (TaskState::Succeeded, 1));
    world.end().await;
}

#[tokio::test]
async fn what_an_older_attempt_says_changes_nothing() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    world.spawn().await;
    let (held, worker) = world.start_task(task()).await;
    worker.fail(held, true).await;
    let worker = world.wait_attempt(held, 2).await;
    for end in [AttemptEnd::Succeeded, AttemptEnd::Failed { message: String::new(), retryable: false }] {
        let output = (end == AttemptEnd::Succeeded).then(|| task().input);
        let (last_output, usage) = (String::new(), Usage::default());
        let late = TaskOver { task_id: held, attempt: 1, end, output, last_output, usage };
        worker.say(ReportBody::Tasks { begun: Vec::new(), over: vec![late] }).await;
    }
    let_pass(&world).await;
    assert_eq!(world.task(held).await.state, TaskState::Running);
    worker.fail(held, false).await;
    let view = world.done(held).await;
    assert_eq!((view.state, view.attempts.len(), view.output), (TaskState::Failed, 2, Some(None)));
    world.end().await;
}

#[tokio::test]
async fn a_report_that_comes_again_after_its_task_was_redriven_changes_nothing() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    world.spawn().await;
    let (held, worker) = world.start_task(task()).await;
    worker.fail(held, false).await;
    let said = worker.work_reports().await;
    assert_eq!(world.end_of(held).await, TaskState::Failed);
    world.tasks().retry(held).await.expect("retried");
    let worker = world.wait_attempt(held, 2).await;
    for report in said {
        worker.send(&report).await;
    }
    let_pass(&world).await;
    assert_eq!(world.task(held).await.state, TaskState::Running);
    worker.answer(held).await;
    assert_eq!(world.end_of(held).await, TaskState::Succeeded);
    world.end().await;
}

#[tokio::test]
async fn an_order_for_a_run_that_is_over_costs_no_attempt() {
    let world = World::of_tasks().await;
    let agent = world.spawn().await;
    let worker = world.worker_of(agent).await;
    // The agent ends before the order comes, and that is heard after it.
    let ended = worker.end_unsaid(agent, Cause::Exited { code: 1 }).await;
    let early = world.submit(TaskRequest { max_attempts: Some(1), ..task() }).await;
    worker.send(&ended).await;
    let view = world.done(early).await;
    assert_eq!(view.state, TaskState::Succeeded);
    world.end().await;
}

#[tokio::test]
async fn a_flushed_registry_loses_nothing() {
    let world = World::of_tasks().await;
    world.spawn_many(2).await;
    let tasks = world.submit_many(vec![task(); 200]).await;
    for _ in 0..5 {
        world.ground.memory.flush();
        tokio::task::yield_now().await;
    }
    for id in tasks {
        assert_eq!(world.end_of(id).await, TaskState::Succeeded);
    }
    world.wait_queue(0, 0, 0).await;
    world.end().await;
}

#[tokio::test]
async fn tasks_are_taken_in_while_the_registry_is_away() {
    let world = World::of_tasks().await;
    let agent = world.spawn().await;
    world.ground.registry.leave();
    wait_until("it is missed", async || !world.degraded().await.is_empty()).await;
    let waiting = world.submit(task()).await;
    let_pass(&world).await;
    assert_eq!(world.ground.ledger.latest_attempt(waiting), 0);
    world.ground.registry.come_back();
    assert_eq!(world.end_of(waiting).await, TaskState::Succeeded);
    assert_eq!(world.agent(agent).await.epoch, 1);
    world.end().await;
}

#[tokio::test]
async fn a_task_that_nobody_wants_there_is_stopped() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    let agent = world.spawn().await;
    let worker = world.worker_of(agent).await;
    let stranger = worker.begin_stranger(agent).await;
    wait_until("it is stopped", async || worker.tasks().await.is_empty()).await;
    assert_eq!(worker.halts_of(stranger).await[0], muster_domain::Halt::HandedBack);
    world.end().await;
}
