//! What goes wrong only where two things come together.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use muster_domain::{Cause, OnDemand, TaskState, TenantLimits, Tenants, Timestamp};
use muster_store::Write;
use muster_store::testing::Commit;
use muster_supervisor::{NotBefore, RequestKey, TaskRequest};

use super::{at, soon, task};
use crate::worker::{OnHalt, OnSpawn, OnTask};
use crate::world::{World, let_pass, wait_until};

#[tokio::test]
async fn a_delayed_task_that_came_due_while_nobody_led_runs() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    world.spawn().await;
    let (running, worker) = world.start_task(task()).await;
    let waiting = world.submit(task()).await;
    let due = soon(100);
    let delayed = world.submit(TaskRequest { not_before: due.map(NotBefore::Moment), ..task() }).await;
    let ground = world.ground.clone();
    world.shut_down(true).await;
    wait_until("its time has come", async || Some(Timestamp::now()) > due).await;
    let world = ground.lead().await;
    worker.answer(running).await;
    assert_eq!(world.end_of(running).await, TaskState::Succeeded);
    for id in [waiting, delayed] {
        world.wait_task(id, TaskState::Running).await;
        world.holder(id).await.answer(id).await;
        assert_eq!(world.end_of(id).await, TaskState::Succeeded);
    }
    world.end().await;
}

#[tokio::test]
async fn a_retry_beside_a_promotion_is_not_forgotten() {
    let world = World::of_tasks_with(|config| {
        config.retry.backoff_min = Duration::from_millis(150);
        config.retry.backoff_max = Duration::from_millis(150);
    })
    .await;
    world.on_task(OnTask::Hold).await;
    world.spawn_many(2).await;
    let (failing, worker) = world.start_task(task()).await;
    let delayed = world.submit(TaskRequest { not_before: at(200), ..task() }).await;
    let (ends, promotions) = (Arc::new(AtomicBool::default()), Arc::new(AtomicBool::default()));
    let (saw_end, saw_promotion) = (ends.clone(), promotions.clone());
    world.store().judge(move |writes| {
        let end = writes.iter().any(|write| matches!(write, Write::EndTasks(_)));
        let promotion = writes.iter().any(|write| matches!(write, Write::PromoteTasks(_)));
        saw_end.fetch_or(end, Ordering::SeqCst);
        saw_promotion.fetch_or(promotion, Ordering::SeqCst);
        if end || promotion { Commit::Refuse } else { Commit::Pass }
    });
    worker.fail(failing, true).await;
    wait_until("both were refused", async || ends.load(Ordering::SeqCst) && promotions.load(Ordering::SeqCst)).await;
    world.on_task(OnTask::Answer).await;
    world.store().heal();
    assert_eq!(world.end_of(delayed).await, TaskState::Succeeded);
    assert_eq!(world.end_of(failing).await, TaskState::Succeeded);
    world.end().await;
}

#[tokio::test]
async fn an_agent_that_does_one_task_ends_with_the_last_of_several() {
    let world = World::of_tasks_with(|config| {
        config.on_demand = Some(OnDemand { max_agents: 1, reuse: false });
        config.tasks_per_agent = 2;
    })
    .await;
    world.on_task(OnTask::Hold).await;
    let ids = world.submit_many(vec![task(); 3]).await;
    let worker = world.holder(ids[1]).await;
    for id in &ids[..2] {
        worker.answer(*id).await;
        assert_eq!(world.end_of(*id).await, TaskState::Succeeded);
    }
    world.wait_task(ids[2], TaskState::Running).await;
    world.end().await;
}

#[tokio::test]
async fn agents_that_do_not_start_are_not_made_one_after_the_other() {
    let world = World::of_tasks_with(|config| {
        config.on_demand = Some(OnDemand { max_agents: 1, reuse: true });
        config.restart.backoff_min = Duration::from_millis(200);
        config.restart.backoff_max = Duration::from_secs(10);
    })
    .await;
    let error = "no such program".to_owned();
    world.launcher().habits(|habits| habits.on_spawn = OnSpawn::Fail(Cause::NotStarted { error }));
    world.submit(task()).await;
    let made = async || {
        let query = muster_supervisor::AgentQuery { limit: 1_000, ..Default::default() };
        let agents = world.agents().list(query).await.expect("agents").items;
        let mut times: Vec<i64> = agents.iter().map(|agent| agent.created_at.as_millis()).collect();
        times.sort_unstable();
        times
    };
    wait_until("three were made", async || made().await.len() >= 3).await;
    let times = made().await;
    for (pair, wait) in times.windows(2).zip([200, 400]) {
        // The clock of the stamps is another one than that of the waits.
        assert!(pair[1] - pair[0] >= wait - 10, "{times:?}");
    }
    world.end().await;
}

#[tokio::test]
async fn a_repeat_is_answered_though_the_queue_is_full_by_now() {
    let world = World::of_tasks_with(|config| config.max_queued = 1).await;
    let key = RequestKey { route: "POST /api/v1/tasks".to_owned(), key: "k".to_owned(), body_hash: [1; 32] };
    let first = world.try_submit(TaskRequest { key: Some(key.clone()), ..task() }).await.expect("a task");
    let again = world.try_submit(TaskRequest { key: Some(key), ..task() }).await.expect("the same");
    assert_eq!(again.task_id, first.task_id);
    world.end().await;
}

fn small() -> Tenants {
    let mut tenants = Tenants::default();
    tenants.insert("small".to_owned(), TenantLimits { max_running: Some(1), ..TenantLimits::default() });
    tenants
}

#[tokio::test]
async fn a_tenant_at_its_limit_holds_up_nobody_in_the_line_of_an_agent() {
    let world = World::of_tenants(small()).await;
    world.on_task(OnTask::Hold).await;
    let agents = world.spawn_many(2).await;
    let small = TaskRequest { tenant: Some("small".to_owned()), ..task() };
    let first = world.submit(TaskRequest { agent_id: Some(agents[0]), ..small.clone() }).await;
    world.wait_task(first, TaskState::Running).await;
    let limited = world.submit(TaskRequest { agent_id: Some(agents[1]), ..small }).await;
    let other = world.submit(TaskRequest { agent_id: Some(agents[1]), ..task() }).await;
    world.wait_task(other, TaskState::Running).await;
    let_pass(&world).await;
    assert_eq!(world.task(limited).await.state, TaskState::Queued);
    world.end().await;
}

#[tokio::test]
async fn a_result_after_its_lease_was_lost_is_not_taken() {
    let world = World::of_tasks_with(|config| config.task_lease = Duration::from_millis(100)).await;
    world.on_task(OnTask::Hold).await;
    world.spawn().await;
    let (late, worker) = world.start_task(TaskRequest { max_attempts: Some(1), ..task() }).await;
    worker
        .change(|habits| {
            habits.quiet = true;
            habits.on_halt = OnHalt::Answer;
        })
        .await;
    let view = world.done(late).await;
    assert_eq!((view.state, view.error.expect("an error").code), (TaskState::Dead, "lease_lost".to_owned()));
    assert_eq!(view.output, Some(None), "nothing of it was kept");
    world.end().await;
}
