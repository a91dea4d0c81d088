//! What a queued task waits for, in each case that can be told; and that its pool and its queue say the same.

use std::time::Duration;

use muster_domain::{BreakerPolicy, Cause, OnDemand, TaskId, TaskState, TenantLimits, Tenants};
use muster_supervisor::{
    AgentQuery, BreakerState, BreakerView, Lack, MissingAgent, TaskQuery, TaskRequest, WaitingFor,
};

use super::{at, task};
use crate::worker::{OnSpawn, OnTask};
use crate::world::{World, pool, wait_until};

impl World {
    async fn reason(&self, task: TaskId) -> Option<WaitingFor> {
        self.task(task).await.waiting_for
    }

    /// What the list of tasks says of it.
    async fn listed(&self, task: TaskId) -> Option<WaitingFor> {
        let page = self.tasks().list(TaskQuery { limit: 100, ..TaskQuery::default() }).await.expect("a page");
        page.items.into_iter().find(|view| view.task_id == task).expect("it is listed").waiting_for
    }

    async fn code(&self, task: TaskId) -> &'static str {
        self.reason(task).await.map_or("none", |reason| reason.code().as_str())
    }

    async fn wait_code(&self, task: TaskId, code: &str) {
        wait_until(&format!("task {task} waits for {code}"), async || self.code(task).await == code).await;
    }
}

#[tokio::test]
async fn what_a_person_holds_up_goes_before_anything_else() {
    let world = World::of_tasks().await;
    let later = world.submit(TaskRequest { not_before: at(60_000), ..task() }).await;
    assert_eq!(world.code(later).await, "not_before");
    world.pools().pause(pool()).await.expect("paused");
    assert_eq!(world.reason(later).await, Some(WaitingFor::PoolResume(pool())));
    assert_eq!(world.listed(later).await, Some(WaitingFor::PoolResume(pool())), "a list says it too");
    world.pools().pause_all(false).await.expect("paused");
    assert_eq!(world.reason(later).await, Some(WaitingFor::SystemResume));
    let (view, queue) = (world.pool().await, world.queue().await);
    assert!(view.holds.all_paused && view.holds.paused && !view.holds.intake_closed, "{view:?}");
    assert_eq!(queue.holds, view.holds);
    world.pools().resume_all().await.expect("resumed");
    world.pools().drain(pool(), false).await.expect("drained");
    assert_eq!(world.reason(later).await, Some(WaitingFor::DrainEnd(pool())));
    let system = world.system().view().await;
    assert_eq!(system.held_pools.iter().map(|held| &held.pool_name).collect::<Vec<_>>(), [&pool()]);
    world.pools().resume(pool()).await.expect("resumed");
    assert_eq!(world.code(later).await, "not_before");
    assert!(world.system().view().await.held_pools.is_empty());
    world.end().await;
}

#[tokio::test]
async fn a_server_that_cannot_go_on_is_told_to_whoever_waits_also_for_a_task_that_runs() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    world.spawn().await;
    let (first, second) = (world.submit(task()).await, world.submit(task()).await);
    let worker = world.holder(first).await;
    world.wait_task(first, TaskState::Running).await;
    world.ground.registry.leave();
    for task in [first, second] {
        world.wait_code(task, "server_degraded").await;
        let reason = world.reason(task).await.expect("a reason").to_string();
        assert!(reason.starts_with("the server to recover: the registry is not available"), "{reason}");
    }
    world.ground.registry.come_back();
    world.wait_code(first, "none").await;
    world.wait_code(second, "agents_busy").await;
    worker.answer(first).await;
    world.holder(second).await.answer(second).await;
    assert_eq!(world.end_of(second).await, TaskState::Succeeded);
    world.end().await;
}

#[tokio::test]
async fn an_agent_is_waited_for_until_one_has_room() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    let first = world.submit(task()).await;
    assert_eq!(
        world.reason(first).await,
        Some(WaitingFor::Lacking(MissingAgent::AnyAgent { pool: pool(), quarantined: 0, unreachable: 0 }))
    );
    assert_eq!(world.queue().await.holds.lacks, Some(Lack::NoAgent));
    let agent = world.spawn().await;
    let worker = world.holder(first).await;
    world.wait_task(first, TaskState::Running).await;
    assert_eq!(world.reason(first).await, None, "it has an agent");
    assert_eq!(world.listed(first).await, None);
    let (second, named) = (world.submit(task()).await, TaskRequest { agent_id: Some(agent), ..task() });
    let named = world.submit(named).await;
    assert_eq!(world.reason(second).await, Some(WaitingFor::FreeAgent(pool())));
    assert_eq!(world.pool().await.holds.lacks, None, "its agent is busy");
    assert_eq!(world.code(named).await, "agent_busy");
    worker.answer(first).await;
    world.holder(named).await.answer(named).await;
    world.holder(second).await.answer(second).await;
    assert_eq!(world.end_of(second).await, TaskState::Succeeded);
    assert_eq!(world.reason(second).await, None, "it is over");
    world.end().await;
}

#[tokio::test]
async fn agents_on_demand_that_fail_at_their_start_are_told_of() {
    let world = World::of_tasks_with(|config| {
        config.on_demand = Some(OnDemand::default());
        config.restart.backoff_min = Duration::from_secs(60);
        config.restart.backoff_max = Duration::from_secs(60);
    })
    .await;
    world.launcher().habits(|habits| habits.on_spawn = OnSpawn::Fail(Cause::Exited { code: 1 }));
    let waiting = world.submit(task()).await;
    world.wait_code(waiting, "agents_failing").await;
    assert_eq!(world.pool().await.holds.lacks, Some(Lack::AgentsFailing));
    assert_eq!(world.system().view().await.held_pools.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn agents_on_demand_that_fail_at_their_start_are_tried_one_at_a_time() {
    let world = World::of_tasks_with(|config| {
        config.on_demand = Some(OnDemand::default());
        config.restart.backoff_min = Duration::from_secs(1);
        config.restart.backoff_max = Duration::from_secs(1);
    })
    .await;
    world.launcher().habits(|habits| habits.on_spawn = OnSpawn::Fail(Cause::Exited { code: 1 }));
    let first = world.submit(task()).await;
    world.wait_code(first, "agents_failing").await;
    let tried = async || {
        let query = AgentQuery { limit: 100, ..AgentQuery::default() };
        world.agents().list(query).await.expect("agents").items.len()
    };
    let before = tried().await;
    for _ in 0..20 {
        world.submit(task()).await;
    }
    wait_until("another one is tried", async || tried().await > before).await;
    world.wait_code(first, "agents_failing").await;
    assert!(tried().await <= before + 3, "however many tasks wait");
    world.end().await;
}

#[tokio::test]
async fn a_tenant_at_its_bound_is_waited_for() {
    let mut tenants = Tenants::default();
    tenants.insert("acme".to_owned(), TenantLimits { max_running: Some(1), ..TenantLimits::default() });
    let world = World::of_tenants(tenants).await;
    world.on_task(OnTask::Hold).await;
    world.spawn_many(2).await;
    let of_acme = || TaskRequest { tenant: Some("acme".to_owned()), ..task() };
    let (running, worker) = world.start_task(of_acme()).await;
    let waiting = world.submit(of_acme()).await;
    let expected = WaitingFor::Tenant { tenant: "acme".to_owned(), max_running: 1 };
    assert_eq!(world.reason(waiting).await, Some(expected));
    worker.answer(running).await;
    world.holder(waiting).await.answer(waiting).await;
    assert_eq!(world.end_of(waiting).await, TaskState::Succeeded);
    world.end().await;
}

#[tokio::test]
async fn an_open_breaker_is_shown_until_probes_succeed() {
    let breaker = BreakerPolicy { least: 3, pause: Duration::from_secs(3), ..BreakerPolicy::default() };
    let world = World::of_tasks_with(|config| config.breaker = breaker).await;
    assert_eq!(world.pool().await.holds.breaker, BreakerView::quiet(BreakerState::Closed));
    world.on_task(OnTask::Fail { retryable: false }).await;
    world.spawn().await;
    for _ in 0..3 {
        assert_eq!(world.end_of(world.submit(task()).await).await, TaskState::Failed);
    }
    // At once, and not a pass later.
    let open = world.pool().await.holds.breaker;
    let (reason, since) = (open.reason.clone().expect("a reason"), open.since.expect("a moment"));
    let next_probe_at = open.next_probe_at.expect("it is open");
    assert_eq!(open.state, BreakerState::Open);
    assert!(reason.starts_with("3 of the 3 attempts"), "{reason}");
    assert!(
        since < next_probe_at && next_probe_at <= since.after(Duration::from_millis(3_002)),
        "{since} {next_probe_at}"
    );
    assert!(world.queue().await.holds.is_held() && world.system().view().await.alerts.len() == 1);
    world.on_task(OnTask::Hold).await;
    let waiting = world.submit_many(vec![task(); 2]).await;
    let told = world.reason(waiting[1]).await;
    assert!(matches!(&told, Some(WaitingFor::Breaker { reason: why, .. }) if *why == reason), "{told:?}");
    let mut probe = waiting[0];
    wait_until("one is tried, and the other is told so", async || {
        let (mut running, mut told) = (None, false);
        for id in &waiting {
            match world.code(*id).await {
                "none" => running = Some(*id),
                code => told |= code == "breaker_half_open",
            }
        }
        probe = running.unwrap_or(probe);
        running.is_some() && told
    })
    .await;
    let half = BreakerView { state: BreakerState::HalfOpen, next_probe_at: None, ..open };
    assert_eq!(world.pool().await.holds.breaker, half, "open since the same moment");
    world.on_task(OnTask::Answer).await;
    world.holder(probe).await.answer(probe).await;
    for id in waiting {
        assert_eq!(world.end_of(id).await, TaskState::Succeeded);
    }
    assert_eq!(world.pool().await.holds.breaker, BreakerView::quiet(BreakerState::Closed));
    assert!(world.system().view().await.alerts.is_empty());
    world.end().await;
}

#[tokio::test]
async fn a_breaker_that_is_off_says_so() {
    let world = World::of_tasks().await;
    assert_eq!(world.pool().await.holds.breaker, BreakerView::quiet(BreakerState::Off));
    world.end().await;
}
