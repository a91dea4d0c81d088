//! Another supervisor takes over while tasks wait and run.

use muster_domain::{AttemptEnd, Executions, Fence, ReportBody, TaskState};
use muster_store::testing::Commit;
use muster_store::{Store, TaskStart, Write};
use muster_supervisor::{LeadEnd, TaskRequest};
use tokio_util::sync::CancellationToken;

use super::{at, task};
use crate::worker::{OnTask, PATIENCE};
use crate::world::{World, let_pass, pool};

#[tokio::test]
async fn a_new_master_adopts_what_runs_and_goes_on_with_what_waits() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    world.spawn().await;
    let (running, worker) = world.start_task(task()).await;
    let waiting = world.submit(task()).await;
    let delayed = world.submit(TaskRequest { not_before: at(300), ..task() }).await;
    let ground = world.ground.clone();
    world.shut_down(true).await;
    let world = ground.lead().await;
    world.wait_queue(1, 1, 1).await;
    let_pass(&world).await;
    assert_eq!(world.ground.ledger.latest_attempt(running), 1);
    worker.answer(running).await;
    assert_eq!(world.end_of(running).await, TaskState::Succeeded);
    for next in [waiting, delayed] {
        world.holder(next).await.answer(next).await;
        assert_eq!(world.end_of(next).await, TaskState::Succeeded);
    }
    assert_eq!(world.ground.ledger.latest_attempt(running), 1);
    world.wait_queue(0, 0, 0).await;
    world.end().await;
}

#[tokio::test]
async fn what_ends_while_nobody_leads_is_heard_by_the_next() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    world.spawn_many(2).await;
    let tasks = world.submit_many(vec![task(); 2]).await;
    let (one, other) = (world.holder(tasks[0]).await, world.holder(tasks[1]).await);
    let ground = world.ground.clone();
    assert_eq!(world.system().executions().await, Executions::default(), "none is over");
    world.shut_down(true).await;
    one.answer(tasks[0]).await;
    other.fail(tasks[1], false).await;
    let world = ground.lead().await;
    assert_eq!(world.end_of(tasks[0]).await, TaskState::Succeeded);
    assert_eq!(world.end_of(tasks[1]).await, TaskState::Failed);
    assert!(tasks.iter().all(|id| world.ground.ledger.latest_attempt(*id) == 1));
    let executions = Executions { total: 2, succeeded: 1, failed: 1 };
    assert_eq!(world.system().executions().await, executions);
    let ground = world.ground.clone();
    world.shut_down(true).await;
    let world = ground.lead().await;
    assert_eq!(world.system().executions().await, executions, "they outlive a supervisor");
    world.ground.store.leave();
    assert_eq!(world.system().executions().await, executions, "and the store's absence");
    world.ground.store.heal();
    world.end().await;
}

#[tokio::test]
async fn an_order_that_never_went_out_is_sent_by_the_next() {
    let world = World::of_tasks().await;
    world.spawn().await;
    world.ground.registry.drop_commands(true);
    let untold = world.submit(task()).await;
    world.wait_task(untold, TaskState::Running).await;
    let ground = world.ground.clone();
    world.supervisor.shut_down(LeadEnd::Fenced, CancellationToken::new()).await;
    ground.registry.drop_commands(false);
    let world = ground.lead().await;
    let view = world.done(untold).await;
    assert_eq!((view.state, view.attempts.len()), (TaskState::Succeeded, 1));
    assert_eq!(world.ground.ledger.times_done(untold), 1);
    world.end().await;
}

#[tokio::test]
async fn an_order_to_stop_that_never_went_out_is_sent_by_the_next() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    world.spawn().await;
    let (held, worker) = world.start_task(task()).await;
    world.ground.registry.drop_commands(true);
    world.tasks().cancel(held, std::time::Duration::ZERO).await.expect("stored");
    let ground = world.ground.clone();
    world.supervisor.shut_down(LeadEnd::Fenced, CancellationToken::new()).await;
    ground.registry.drop_commands(false);
    assert!(worker.halts_of(held).await.is_empty());
    let world = ground.lead().await;
    assert_eq!(world.end_of(held).await, TaskState::Cancelled);
    world.end().await;
}

#[tokio::test]
async fn a_task_whose_worker_died_with_the_master_is_tried_again() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    world.spawn().await;
    let (held, worker) = world.start_task(TaskRequest { max_attempts: Some(1), ..task() }).await;
    let ground = world.ground.clone();
    world.supervisor.shut_down(LeadEnd::Fenced, CancellationToken::new()).await;
    worker.die();
    let world = ground.lead().await;
    let next = world.wait_attempt(held, 2).await;
    next.answer(held).await;
    let view = world.done(held).await;
    assert_eq!((view.state, &view.attempts[0].end), (TaskState::Succeeded, &AttemptEnd::WorkerLost));
    world.end().await;
}

#[tokio::test]
async fn a_task_whose_agent_is_gone_from_the_store_is_tried_again() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    let agent = world.spawn().await;
    let (held, worker) = world.start_task(task()).await;
    let ground = world.ground.clone();
    // The end of the agent was committed, and the master died before that of its task was.
    world.store().judge(|writes| {
        let ends = writes.iter().any(|write| matches!(write, Write::EndTasks(_)));
        if ends { Commit::Refuse } else { Commit::Pass }
    });
    world.tell_to_stop(agent, true).await;
    crate::world::wait_until("the agent is gone", async || {
        let row = world.store().agent(agent).await.expect("a row").expect("it is stored");
        row.final_state.is_some()
    })
    .await;
    world.supervisor.shut_down(LeadEnd::Fenced, CancellationToken::new()).await;
    worker.die();
    ground.store.heal();
    let world = ground.lead().await;
    world.spawn().await;
    let next = world.wait_attempt(held, 2).await;
    next.answer(held).await;
    assert_eq!(world.end_of(held).await, TaskState::Succeeded);
    world.end().await;
}

#[tokio::test]
async fn a_former_master_starts_nothing_any_more() {
    let world = World::of_tasks().await;
    let agent = world.spawn().await;
    world.pools().pause(pool()).await.expect("paused");
    let waiting = world.submit(task()).await;
    let ground = world.ground.clone();
    let old = world;
    let world = ground.lead().await;
    // The old one does not know yet.
    drop(old.pools().resume(pool()).await);
    assert!(old.try_submit(task()).await.is_err());
    let_pass(&world).await;
    assert_eq!(world.ground.ledger.latest_attempt(waiting), 0);
    let row = world.store().agent(agent).await.expect("a row").expect("it is stored");
    let place = row.assignment.expect("it runs");
    let attempt =
        muster_domain::Attempt { number: 1, agent_id: agent, epoch: place.epoch, process_id: place.process_id };
    let start = TaskStart { task_id: waiting, attempt, at: muster_domain::Timestamp::now() };
    let refused = world.store().apply(Fence(1), &[Write::StartTasks(vec![start])]).await;
    assert!(matches!(refused, Err(muster_store::StoreError::Fenced { .. })), "{refused:?}");
    world.pools().resume(pool()).await.expect("resumed");
    assert_eq!(world.end_of(waiting).await, TaskState::Succeeded);
    old.supervisor.shut_down(LeadEnd::Fenced, CancellationToken::new()).await;
    world.end().await;
}

#[tokio::test]
async fn a_late_order_of_a_former_master_costs_no_attempt() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    let agent = world.spawn().await;
    let worker = world.worker_of(agent).await;
    world.ground.registry.drop_commands(true);
    let late = world.submit(TaskRequest { max_attempts: Some(1), ..task() }).await;
    world.wait_task(late, TaskState::Running).await;
    let ground = world.ground.clone();
    world.supervisor.shut_down(LeadEnd::Fenced, CancellationToken::new()).await;
    ground.registry.drop_commands(false);
    let world = ground.lead().await;
    let next = world.holder(late).await;
    let order = next.orders_of(late).await[0].clone();
    // It was on its way all the time.
    let envelope = muster_domain::Envelope::new(Fence(1), muster_domain::Command::RunTasks { tasks: vec![order] });
    muster_registry::Bus::send(&world.ground.memory, &[], &[(worker.id(), envelope)]).await.expect("sent");
    let_pass(&world).await;
    assert_eq!(world.task(late).await.state, TaskState::Running, "it answered with what became of it");
    next.answer(late).await;
    assert_eq!(world.end_of(late).await, TaskState::Succeeded);
    world.end().await;
}

#[tokio::test]
async fn many_waiting_tasks_survive_a_master() {
    let world = World::of_tasks().await;
    let tasks = world.submit_many(vec![task(); 2_500]).await;
    world.spawn_many(2).await;
    let ground = world.ground.clone();
    world.supervisor.shut_down(LeadEnd::Fenced, CancellationToken::new()).await;
    let world = ground.lead().await;
    for id in &tasks {
        let view = world.tasks().get(*id, PATIENCE).await.expect("a task");
        assert_eq!((view.state, world.ground.ledger.times_done(*id)), (TaskState::Succeeded, 1));
    }
    world.wait_queue(0, 0, 0).await;
    world.end().await;
}

#[tokio::test]
async fn a_report_that_the_former_master_committed_changes_nothing() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    world.spawn().await;
    let (held, worker) = world.start_task(task()).await;
    worker.fail(held, true).await;
    let said = worker.work_reports().await;
    let next = world.wait_attempt(held, 2).await;
    let ground = world.ground.clone();
    world.shut_down(true).await;
    for report in said {
        assert!(matches!(report.body, ReportBody::Tasks { .. }));
        worker.send(&report).await;
    }
    let world = ground.lead().await;
    let_pass(&world).await;
    assert_eq!((world.task(held).await.state, world.task(held).await.attempts.len()), (TaskState::Running, 1));
    next.answer(held).await;
    assert_eq!(world.end_of(held).await, TaskState::Succeeded);
    world.end().await;
}
