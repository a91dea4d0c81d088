//! The store fails, or seems to, while tasks go through it.

use std::time::{Duration, Instant};

use muster_domain::TaskState;
use muster_store::testing::Commit;
use muster_store::{TaskFilter, Write};
use muster_supervisor::{SupervisorError, TaskRequest};

use super::{at, soon, task};
use crate::worker::{OnTask, PATIENCE};
use crate::world::{World, let_pass, pool, wait_until};

fn is_unavailable<T: std::fmt::Debug>(result: Result<T, SupervisorError>) {
    assert!(matches!(result, Err(SupervisorError::Unavailable { .. })), "{result:?}");
}

/// Tasks that the store has.
async fn stored(world: &World) -> usize {
    world.store().inner().tasks(&TaskFilter::default(), None, 1_000).await.expect("rows").len()
}

/// Waits until tasks are taken in again; this one is done then.
async fn works_again(world: &World) {
    world.on_task(OnTask::Answer).await;
    let mut taken = None;
    wait_until("tasks are taken in", async || {
        taken = world.try_submit(task()).await.ok();
        taken.is_some()
    })
    .await;
    assert_eq!(world.end_of(taken.expect("a task").task_id).await, TaskState::Succeeded);
}

#[tokio::test]
async fn what_was_refused_is_not_there() {
    for end in [Commit::Refuse, Commit::Lie] {
        let world = World::of_tasks().await;
        world.spawn_many(2).await;
        world.store().once(|write| matches!(write, Write::AddTasks(_)), end);
        let later = TaskRequest { not_before: at(60_000), ..task() };
        let answers = world.tasks().submit_all(vec![task(), later, task()]).await;
        assert_eq!(answers.len(), 3);
        answers.into_iter().for_each(is_unavailable);
        works_again(&world).await;
        wait_until("nothing of it is left", async || stored(&world).await == 1).await;
        world.wait_queue(0, 0, 0).await;
        world.end().await;
    }
}

#[tokio::test]
async fn a_key_that_was_refused_is_free() {
    let world = World::of_tasks().await;
    let key = muster_supervisor::RequestKey {
        route: "POST /api/v1/tasks".to_owned(),
        key: "k".to_owned(),
        body_hash: [1; 32],
    };
    let request = TaskRequest { key: Some(key), ..task() };
    world.store().once(|write| matches!(write, Write::AddTasks(_)), Commit::Lie);
    is_unavailable(world.try_submit(request.clone()).await);
    let mut taken = None;
    wait_until("it is taken in", async || {
        taken = world.try_submit(request.clone()).await.ok();
        taken.is_some()
    })
    .await;
    world.spawn().await;
    assert_eq!(world.end_of(taken.expect("a task").task_id).await, TaskState::Succeeded);
    wait_until("there is one", async || stored(&world).await == 1).await;
    world.end().await;
}

#[tokio::test]
async fn while_the_store_is_away_tasks_are_refused_and_it_heals() {
    let world = World::of_tasks().await;
    world.spawn().await;
    world.store().leave();
    is_unavailable(world.try_submit(task()).await);
    is_unavailable(world.try_submit(task()).await);
    let_pass(&world).await;
    world.store().heal();
    works_again(&world).await;
    assert_eq!(stored(&world).await, 1);
    world.end().await;
}

#[tokio::test]
async fn an_end_is_kept_and_committed_later() {
    for lies in [false, true] {
        let world = World::of_tasks().await;
        world.on_task(OnTask::Hold).await;
        world.spawn().await;
        let (held, worker) = world.start_task(task()).await;
        if lies {
            world.store().once(|write| matches!(write, Write::EndTasks(_)), Commit::Lie);
        } else {
            world.store().leave();
        }
        worker.answer(held).await;
        // By the alert: where the next commit goes through at once, that was only a moment.
        wait_until("the store is missed", async || {
            world.system().alerts().iter().any(|alert| alert.subject == "store")
        })
        .await;
        let_pass(&world).await;
        if !lies {
            let (settled, latest) = worker.settled().await;
            assert!(settled < latest, "it is not settled before it is stored");
        }
        world.store().heal();
        let view = world.done(held).await;
        assert_eq!((view.state, view.attempts.len()), (TaskState::Succeeded, 1));
        wait_until("it is settled", async || {
            let (settled, latest) = worker.settled().await;
            settled == latest
        })
        .await;
        world.wait_queue(0, 0, 0).await;
        world.end().await;
    }
}

#[tokio::test]
async fn a_failed_attempt_whose_end_seemed_not_to_be_stored_costs_one_attempt() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    world.spawn().await;
    let (held, worker) = world.start_task(TaskRequest { max_attempts: Some(2), ..task() }).await;
    world.store().once(|write| matches!(write, Write::EndTasks(_)), Commit::Lie);
    worker.fail(held, true).await;
    let worker = world.wait_attempt(held, 2).await;
    worker.answer(held).await;
    let view = world.done(held).await;
    assert_eq!((view.state, view.attempts.len()), (TaskState::Succeeded, 2));
    world.end().await;
}

#[tokio::test]
async fn a_start_that_seemed_to_fail_runs_once() {
    for end in [Commit::Refuse, Commit::Lie] {
        let world = World::of_tasks().await;
        let tasks = world.submit_many(vec![task(); 3]).await;
        world.store().once(|write| matches!(write, Write::StartTasks(_)), end);
        world.spawn().await;
        for id in &tasks {
            let view = world.done(*id).await;
            assert_eq!((view.state, world.ground.ledger.times_done(*id)), (TaskState::Succeeded, 1));
        }
        world.wait_queue(0, 0, 0).await;
        world.end().await;
    }
}

#[tokio::test]
async fn a_task_goes_on_where_the_end_of_its_agents_run_seemed_not_to_be_stored() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    world.spawn().await;
    let (held, worker) = world.start_task(task()).await;
    world.store().once(|write| matches!(write, Write::Release { .. }), Commit::Lie);
    worker.die();
    world.wait_attempt(held, 2).await.answer(held).await;
    let view = world.done(held).await;
    assert_eq!((view.state, view.attempts.len()), (TaskState::Succeeded, 2));
    world.end().await;
}

#[tokio::test]
async fn no_order_goes_out_for_a_start_that_could_not_be_stored() {
    let world = World::of_tasks().await;
    let waiting = world.submit(task()).await;
    let starts = |writes: &[Write]| writes.iter().any(|write| matches!(write, Write::StartTasks(_)));
    world.store().judge(move |writes| if starts(writes) { Commit::Refuse } else { Commit::Pass });
    world.spawn().await;
    let_pass(&world).await;
    assert_eq!((world.ground.ledger.latest_attempt(waiting), world.task(waiting).await.attempt), (0, 0));
    world.store().heal();
    assert_eq!(world.end_of(waiting).await, TaskState::Succeeded);
    world.end().await;
}

#[tokio::test]
async fn a_store_that_is_away_is_not_asked_over_and_over() {
    let world = World::of_tasks().await;
    let agent = world.spawn().await;
    // An order that has to be sent again and again.
    world.worker_of(agent).await.change(|habits| habits.missed_tasks = 1_000).await;
    let unheard = world.submit(task()).await;
    world.wait_task(unheard, TaskState::Running).await;
    world.store().leave();
    is_unavailable(world.try_submit(task()).await);
    let before = world.store().times_tried();
    let_pass(&world).await;
    let tried = world.store().times_tried() - before;
    assert!(tried <= 200, "{tried} times within four passes of five pools");
    world.store().heal();
    world.worker_of(agent).await.change(|habits| habits.missed_tasks = 0).await;
    assert_eq!(world.end_of(unheard).await, TaskState::Succeeded);
    world.end().await;
}

#[tokio::test]
async fn a_cancellation_that_was_refused_changes_nothing_or_is_carried_out() {
    for (end, waits) in [(Commit::Refuse, true), (Commit::Refuse, false), (Commit::Lie, true), (Commit::Lie, false)] {
        let world = World::of_tasks().await;
        world.on_task(OnTask::Hold).await;
        let held = world.submit(task()).await;
        if !waits {
            world.spawn().await;
            world.holder(held).await;
        }
        let wish = |write: &Write| matches!(write, Write::HaltTasks(_) | Write::SettleTasks(_));
        world.store().once(wish, end);
        is_unavailable(world.tasks().cancel(held, PATIENCE).await);
        if end == Commit::Lie {
            assert_eq!(world.end_of(held).await, TaskState::Cancelled);
        } else {
            let_pass(&world).await;
            assert!(!world.task(held).await.state.is_final());
            let view = world.tasks().cancel(held, PATIENCE).await.expect("now it is stored").task;
            assert_eq!(view.state, TaskState::Cancelled);
        }
        world.wait_queue(0, 0, 0).await;
        world.end().await;
    }
}

#[tokio::test]
async fn what_is_due_or_expires_in_an_outage_is_so_after_it() {
    for end in [Commit::Refuse, Commit::Lie] {
        let world = World::of_tasks().await;
        world.spawn().await;
        let due = world.submit(TaskRequest { not_before: at(80), ..task() }).await;
        let expires = world.submit(TaskRequest { not_before: at(60_000), expires_at: soon(61_000), ..task() }).await;
        world.tasks().cancel(expires, Duration::ZERO).await.expect("cancelled");
        world.store().once(|write| matches!(write, Write::PromoteTasks(_)), end);
        assert_eq!(world.end_of(due).await, TaskState::Succeeded);
        let expires = world.submit(TaskRequest { agent_id: None, expires_at: soon(80), not_before: at(70), ..task() });
        world.pools().pause(crate::world::pool()).await.expect("paused");
        let expires = expires.await;
        world.store().once(|write| matches!(write, Write::SettleTasks(_)), end);
        assert_eq!(world.error_of(expires).await, "expired");
        world.wait_queue(0, 0, 0).await;
        world.end().await;
    }
}

#[tokio::test]
async fn a_redrive_that_was_refused_changes_nothing_or_is_carried_out() {
    for end in [Commit::Refuse, Commit::Lie] {
        let world = World::of_tasks().await;
        world.on_task(OnTask::Fail { retryable: true }).await;
        world.spawn().await;
        let dead = world.submit(TaskRequest { max_attempts: Some(1), ..task() }).await;
        assert_eq!(world.end_of(dead).await, TaskState::Dead);
        world.on_task(OnTask::Answer).await;
        world.store().once(|write| matches!(write, Write::RedriveTasks(_)), end);
        is_unavailable(world.tasks().redrive(None).await);
        if end == Commit::Refuse {
            let_pass(&world).await;
            assert_eq!(world.tasks().redrive(None).await.expect("redriven"), 1);
        }
        assert_eq!(world.end_of(dead).await, TaskState::Succeeded);
        world.wait_queue(0, 0, 0).await;
        world.end().await;
    }
}

#[tokio::test]
async fn inputs_that_can_not_be_read_are_read_later() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    let long = muster_domain::Payload::quoted(&"x".repeat(5_000));
    let tasks = world.submit_many(vec![TaskRequest { input: long.clone(), ..task() }; 3]).await;
    world.spawn().await;
    for id in tasks {
        let worker = world.holder(id).await;
        assert_eq!(worker.input_of(id).await.as_ref(), Some(&long));
        // The next one is started while nothing can be read.
        world.store().fail_inputs(2);
        worker.answer(id).await;
        assert_eq!(world.end_of(id).await, TaskState::Succeeded);
    }
    world.end().await;
}

/// What a turn has stored is not waited for behind what the same turn has to read.
#[tokio::test]
async fn a_task_is_acknowledged_when_it_is_stored_however_slow_the_inputs_of_others_are() {
    const SLOW: Duration = Duration::from_secs(3);
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    world.spawn().await;
    world.pools().pause(pool()).await.expect("paused");
    let long = muster_domain::Payload::quoted(&"x".repeat(5_000));
    let waiting = world.submit(TaskRequest { input: long, ..task() }).await;
    world.store().slow_inputs(3_000);
    let begun = Instant::now();
    // Both are in the mailbox before the keeper looks, so they are one turn.
    let (resumed, taken) = tokio::join!(world.pools().resume(pool()), world.try_submit(task()));
    assert!(resumed.is_ok() && taken.is_ok());
    assert!(begun.elapsed() < SLOW, "it waited for the input of another task");
    let worker = world.holder(waiting).await;
    assert!(begun.elapsed() >= SLOW, "the input was read in that turn");
    world.store().slow_inputs(0);
    worker.answer(waiting).await;
    assert_eq!(world.end_of(waiting).await, TaskState::Succeeded);
    let other = taken.expect("a task").task_id;
    world.holder(other).await.answer(other).await;
    assert_eq!(world.end_of(other).await, TaskState::Succeeded);
    world.end().await;
}
