//! Tasks for one agent by name: they wait in its line, and fail with it.

use std::time::Duration;

use muster_domain::{AgentId, AgentState, Cause, TaskState};
use muster_supervisor::{SupervisorError, TaskRequest};

use super::{at, task};
use crate::worker::OnTask;
use crate::world::{World, let_pass, wait_until};

fn for_agent(agent: AgentId) -> TaskRequest {
    TaskRequest { agent_id: Some(agent), ..task() }
}

#[tokio::test]
async fn a_task_for_an_agent_waits_for_it_and_delays_nobody() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    let agents = world.spawn_many(2).await;
    let (first, worker) = world.start_task(for_agent(agents[1])).await;
    let own = world.submit(for_agent(agents[1])).await;
    let (shared, other) = world.start_task(task()).await;
    let_pass(&world).await;
    assert_eq!(world.task(own).await.state, TaskState::Queued, "the other agent is not for it");
    worker.answer(first).await;
    assert_eq!(world.end_of(first).await, TaskState::Succeeded);
    world.holder(own).await;
    assert_eq!(world.task(own).await.agent_id, Some(agents[1]));
    other.answer(shared).await;
    worker.answer(own).await;
    assert_eq!(world.end_of(own).await, TaskState::Succeeded);
    world.end().await;
}

#[tokio::test]
async fn what_waits_for_an_agent_fails_when_it_is_terminated() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    let (agent, other) = (world.spawn().await, world.spawn().await);
    let (running, _) = world.start_task(for_agent(agent)).await;
    let waiting = world.submit(for_agent(agent)).await;
    let delayed = world.submit(TaskRequest { not_before: at(100_000), ..for_agent(agent) }).await;
    let (kept, worker) = world.start_task(for_agent(other)).await;
    world.terminate(agent).await;
    for id in [waiting, delayed, running] {
        assert_eq!(world.error_of(id).await, "agent_gone");
        assert_eq!(world.task(id).await.state, TaskState::Failed);
    }
    assert_eq!(world.task(running).await.attempts.len(), 1);
    worker.answer(kept).await;
    assert_eq!(world.end_of(kept).await, TaskState::Succeeded);
    let refused = world.try_submit(for_agent(agent)).await;
    assert!(matches!(refused, Err(SupervisorError::UnknownAgent(_))), "{refused:?}");
    world.wait_queue(0, 0, 0).await;
    world.end().await;
}

#[tokio::test]
async fn many_that_wait_for_an_agent_fail_with_it() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    let agent = world.spawn().await;
    let tasks = world.submit_many(vec![for_agent(agent); 1_201]).await;
    world.terminate(agent).await;
    for id in tasks {
        assert_eq!(world.error_of(id).await, "agent_gone");
    }
    world.wait_queue(0, 0, 0).await;
    world.end().await;
}

#[tokio::test]
async fn a_task_for_an_agent_follows_it_to_its_next_run() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    let agent = world.spawn().await;
    let (held, worker) = world.start_task(for_agent(agent)).await;
    worker.die();
    let worker = world.wait_attempt(held, 2).await;
    let view = world.task(held).await;
    assert_eq!((view.agent_id, view.process_id), (Some(agent), Some(worker.id())));
    worker.answer(held).await;
    assert_eq!(world.end_of(held).await, TaskState::Succeeded);
    world.end().await;
}

#[tokio::test]
async fn a_task_for_an_agent_in_quarantine_waits_for_a_person() {
    let world = World::of_tasks_with(|config| config.restart.max_restarts = 0).await;
    let agent = world.spawn().await;
    world.worker_of(agent).await.end(agent, Cause::Exited { code: 1 }).await;
    world.wait_state(agent, AgentState::Quarantined).await;
    let own = world.submit(for_agent(agent)).await;
    let_pass(&world).await;
    assert_eq!(world.task(own).await.state, TaskState::Queued);
    world.agents().restart(agent, crate::worker::PATIENCE).await.expect("it is released");
    assert_eq!(world.end_of(own).await, TaskState::Succeeded);
    world.end().await;
}

#[tokio::test]
async fn a_task_that_comes_while_its_agent_is_terminated_never_waits_for_ever() {
    for _ in 0..10 {
        let world = World::of_tasks().await;
        let agent = world.spawn().await;
        let terminated = async {
            tokio::task::yield_now().await;
            world.terminate(agent).await
        };
        let (answers, _) = tokio::join!(world.tasks().submit_all(vec![for_agent(agent); 5]), terminated);
        for id in answers.iter().flatten().map(|submitted| submitted.task_id) {
            let view = world.done(id).await;
            assert!(view.state == TaskState::Succeeded || view.error.expect("an error").code == "agent_gone");
        }
        world.end().await;
    }
}

#[tokio::test]
async fn an_agent_that_fails_takes_its_tasks_along() {
    let world = World::of_tasks_with(|config| config.restart.kind = muster_domain::RestartKind::Temporary).await;
    world.on_task(OnTask::Hold).await;
    let agent = world.spawn().await;
    let (held, worker) = world.start_task(for_agent(agent)).await;
    let waiting = world.submit(for_agent(agent)).await;
    worker.end(agent, Cause::Exited { code: 1 }).await;
    assert_eq!(world.error_of(waiting).await, "agent_gone");
    wait_until("the running one fails too", async || world.task(held).await.state.is_final()).await;
    assert_eq!(world.error_of(held).await, "agent_gone");
    world.wait_queue(0, 0, 0).await;
    let_pass(&world).await;
    assert!(world.tasks().cancel(held, Duration::ZERO).await.is_ok());
    world.end().await;
}
