//! Tasks come in, and are done.

use std::time::Duration;

use muster_domain::{Activity, AgentId, AgentState, Payload, TaskState};
use muster_supervisor::{RequestKey, SupervisorError, TaskRequest};

use super::task;
use crate::worker::OnTask;
use crate::world::{World, let_pass, wait_until};

fn keyed(key: &str, body: u8) -> TaskRequest {
    let key = RequestKey { route: "POST /api/v1/tasks".to_owned(), key: key.to_owned(), body_hash: [body; 32] };
    TaskRequest { key: Some(key), ..task() }
}

#[tokio::test]
async fn a_task_is_done_and_its_result_is_kept() {
    let world = World::of_tasks().await;
    let agent = world.spawn().await;
    let submitted = world.try_submit(task()).await.expect("a task");
    assert_eq!(submitted.state, TaskState::Queued);
    let view = world.done(submitted.task_id).await;
    assert_eq!((view.state, view.attempt, view.attempts.len()), (TaskState::Succeeded, 1, 1));
    assert_eq!((view.agent_id, view.output), (Some(agent), Some(Some(task().input))));
    assert_eq!((view.created_at, view.error), (submitted.created_at, None));
    assert!(view.started_at >= Some(view.created_at) && view.finished_at >= view.started_at);
    assert_eq!(world.ground.ledger.times_done(submitted.task_id), 1);
    world.end().await;
}

#[tokio::test]
async fn a_task_waits_for_an_agent() {
    let world = World::of_tasks().await;
    let waiting = world.submit(task()).await;
    let_pass(&world).await;
    assert_eq!(world.task(waiting).await.state, TaskState::Queued);
    let queue = world.queue().await;
    assert_eq!((queue.depth, queue.running, queue.oldest_wait.is_some()), (1, 0, true));
    world.spawn().await;
    assert_eq!(world.end_of(waiting).await, TaskState::Succeeded);
    world.wait_queue(0, 0, 0).await;
    world.end().await;
}

#[tokio::test]
async fn an_agent_with_work_is_busy() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    let agent = world.spawn().await;
    let (held, worker) = world.start_task(task()).await;
    world.wait_state(agent, AgentState::Running(Activity::Busy)).await;
    let view = world.task(held).await;
    assert_eq!((view.state, view.agent_id, view.process_id), (TaskState::Running, Some(agent), Some(worker.id())));
    worker.answer(held).await;
    world.wait_idle(agent).await;
    assert_eq!(world.end_of(held).await, TaskState::Succeeded);
    world.end().await;
}

#[tokio::test]
async fn two_thousand_tasks_are_done_by_three_agents_once_each() {
    for per_agent in [1, 8] {
        let world = World::of_tasks_with(|config| config.tasks_per_agent = per_agent).await;
        let tasks = world.submit_many((0..2_000).map(|_| task()).collect()).await;
        world.spawn_many(3).await;
        for id in &tasks {
            assert_eq!(world.end_of(*id).await, TaskState::Succeeded);
        }
        assert!(tasks.iter().all(|id| world.ground.ledger.times_done(*id) == 1));
        world.wait_queue(0, 0, 0).await;
        let queue = world.queue().await;
        assert!(queue.rate_in > 1.0 && queue.rate_out > 1.0 && queue.wait_p50.is_some() && queue.run_p99.is_some());
        world.end().await;
    }
}

#[tokio::test]
async fn many_at_once_answer_each_for_itself() {
    let world = World::of_tasks().await;
    let wrong = TaskRequest { max_attempts: Some(0), ..task() };
    let unknown = TaskRequest { pool_name: "nobody".parse().expect("a name"), ..task() };
    let stranger = TaskRequest { agent_id: Some(AgentId::generate()), ..task() };
    let mut requests: Vec<TaskRequest> = (0..600).map(|_| task()).collect();
    requests.splice(300..300, [wrong, unknown, stranger]);
    let answers = world.tasks().submit_all(requests).await;
    assert_eq!(answers.len(), 603);
    assert!(matches!(answers[300], Err(SupervisorError::Invalid(_))), "{:?}", answers[300]);
    assert!(matches!(answers[301], Err(SupervisorError::UnknownPool(_))), "{:?}", answers[301]);
    assert!(matches!(answers[302], Err(SupervisorError::UnknownAgent(_))), "{:?}", answers[302]);
    let taken: Vec<_> = answers.iter().flatten().map(|submitted| submitted.task_id).collect();
    assert!(taken.len() == 600 && taken.is_sorted(), "in the order of the request");
    world.wait_queue(600, 0, 0).await;
    world.end().await;
}

#[tokio::test]
async fn values_that_can_not_be_are_refused() {
    let world = World::of_tasks().await;
    let past = super::soon(0);
    let wrong = [
        TaskRequest { tenant: Some(String::new()), ..task() },
        TaskRequest { project_id: Some("p".repeat(200)), ..task() },
        TaskRequest { timeout: Some(Duration::ZERO), ..task() },
        TaskRequest { timeout: Some(Duration::MAX), ..task() },
        TaskRequest { expires_at: past, ..task() },
        TaskRequest { expires_at: super::soon(50_000), not_before: super::at(60_000), ..task() },
    ];
    for request in wrong {
        let answer = world.try_submit(request).await;
        assert!(matches!(answer, Err(SupervisorError::Invalid(_))), "{answer:?}");
    }
    assert_eq!(world.queue().await.depth, 0);
    world.end().await;
}

#[tokio::test]
async fn a_repeated_request_is_answered_with_the_first_task() {
    let world = World::of_tasks().await;
    let first = world.try_submit(keyed("a", 1)).await.expect("a task");
    let again = world.try_submit(keyed("a", 1)).await.expect("the same");
    assert_eq!(again, first);
    let other = world.try_submit(keyed("a", 2)).await;
    assert!(matches!(other, Err(SupervisorError::KeyReused)), "{other:?}");
    world.wait_queue(1, 0, 0).await;
    world.spawn().await;
    assert_eq!(world.end_of(first.task_id).await, TaskState::Succeeded);
    let late = world.try_submit(keyed("a", 1)).await.expect("the same");
    assert_eq!((late.task_id, late.state), (first.task_id, TaskState::Succeeded), "with the state now");
    assert_eq!(world.ground.ledger.times_done(first.task_id), 1);
    world.end().await;
}

#[tokio::test]
async fn repeated_requests_that_come_together_make_one_task() {
    let world = World::of_tasks().await;
    world.spawn_many(2).await;
    // In one message, and in several.
    let together = world.tasks().submit_all((0..20).map(|_| keyed("b", 1)).collect());
    let beside = futures_util::future::join_all((0..20).map(|_| world.try_submit(keyed("b", 1))));
    let (together, beside) = tokio::join!(together, beside);
    let ids: Vec<_> = together.into_iter().chain(beside).map(|answer| answer.expect("a task").task_id).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    assert_eq!(world.end_of(ids[0]).await, TaskState::Succeeded);
    world.wait_queue(0, 0, 0).await;
    assert_eq!(world.ground.ledger.times_done(ids[0]), 1);
    world.end().await;
}

#[tokio::test]
async fn no_more_wait_than_may() {
    let world = World::of_tasks_with(|config| config.max_queued = 3).await;
    let answers = world.tasks().submit_all((0..5).map(|_| task()).collect()).await;
    let taken: Vec<_> = answers.iter().flatten().map(|submitted| submitted.task_id).collect();
    assert_eq!(taken.len(), 3);
    assert!(answers[3..].iter().all(|a| matches!(a, Err(SupervisorError::QueueFull { waiting: 3, max: 3, .. }))));
    world.tasks().cancel(taken[1], Duration::ZERO).await.expect("cancelled");
    world.submit(task()).await;
    assert!(world.try_submit(task()).await.is_err());
    world.spawn().await;
    wait_until("there is room again", async || world.try_submit(task()).await.is_ok()).await;
    world.wait_queue(0, 0, 0).await;
    world.end().await;
}

#[tokio::test]
async fn a_long_input_travels_whole() {
    let world = World::of_tasks().await;
    let long = Payload::quoted(&"x".repeat(400_000));
    let requests = || TaskRequest { input: long.clone(), ..task() };
    // Those that wait are read again from the store, without their inputs.
    let tasks = world.submit_many((0..4).map(|_| requests()).collect()).await;
    world.spawn().await;
    for id in tasks {
        assert_eq!(world.done(id).await.output, Some(Some(long.clone())));
    }
    world.end().await;
}
