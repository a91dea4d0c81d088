//! Tasks that only test the way to an agent.

use std::time::Duration;

use muster_domain::{BreakerPolicy, CheckOrder, EventKind, OnDemand, Payload, TaskId, TaskState};
use muster_supervisor::TaskRequest;

use super::task;
use crate::worker::{FakeWorker, OnTask};
use crate::world::{World, let_pass, wait_until};

fn check() -> TaskRequest {
    TaskRequest { check: true, ..task() }
}

fn about(words: &str) -> TaskRequest {
    TaskRequest { input: Payload::quoted(words), ..task() }
}

/// What the order of a task says of a check.
async fn check_of(worker: &FakeWorker, task: TaskId) -> Option<CheckOrder> {
    worker.orders_of(task).await.remove(0).check.map(|check| *check)
}

#[tokio::test]
async fn the_order_of_a_check_says_how_the_store_is_and_what_else_to_try() {
    let world = World::of_tasks_with(|config| {
        config.tasks_per_agent = 2;
        config.dependencies = [("db".to_owned(), "tcp://db:5432".parse().expect("a URL"))].into();
    })
    .await;
    world.on_task(OnTask::Hold).await;
    world.spawn().await;
    let (checked, worker) = world.start_task(check()).await;
    let order = check_of(&worker, checked).await.expect("a check");
    assert!(order.store.ok && order.store.error.is_none(), "{order:?}");
    assert_eq!(format!("{:?}", order.dependencies), r#"{"db": tcp://db:5432}"#);
    assert!(world.task(checked).await.check);
    let (ordinary, worker) = world.start_task(task()).await;
    assert_eq!(check_of(&worker, ordinary).await, None);
    worker.answer(checked).await;
    worker.answer(ordinary).await;
    assert_eq!(world.end_of(checked).await, TaskState::Succeeded);
    world.end().await;
}

#[tokio::test]
async fn a_phrase_in_the_input_makes_a_check() {
    let ground = crate::world::Ground::new();
    let world = ground.lead_with(|parts| parts.settings.skip_phrase = Some("of all".to_owned())).await;
    world.create_pool(crate::world::config()).await;
    for (words, is_check) in [("one of all pools", true), ("one of this pool", false)] {
        assert_eq!(world.task(world.submit(about(words)).await).await.check, is_check, "{words}");
    }
    let change = serde_json::json!({"skip_phrase": "of this"});
    world.pools().change(&crate::world::pool(), &change).await.expect("changed");
    for (words, is_check) in [("one of all pools", false), ("one of this pool", true)] {
        assert_eq!(world.task(world.submit(about(words)).await).await.check, is_check, "{words}");
    }
    world.end().await;
}

#[tokio::test]
async fn a_check_costs_no_agent_its_one_task() {
    let world = World::of_tasks_with(|config| config.on_demand = Some(OnDemand { max_agents: 1, reuse: false })).await;
    let first = world.done(world.submit(check()).await).await;
    let second = world.done(world.submit(task()).await).await;
    assert_eq!((first.state, second.state), (TaskState::Succeeded, TaskState::Succeeded));
    assert_eq!(first.agent_id, second.agent_id, "it was not asked before");
    wait_until("it has done its one task", async || world.pool().await.agent_count == 0).await;
    world.end().await;
}

#[tokio::test]
async fn a_check_neither_opens_nor_closes_a_breaker() {
    let breaker = BreakerPolicy { least: 3, pause: Duration::from_millis(50), ..BreakerPolicy::default() };
    let world = World::of_tasks_with(|config| config.breaker = breaker).await;
    let moves = async |kind: EventKind| {
        let events = world.events().after(0, 10_000).await.expect("events");
        events.iter().filter(|line| line.event.event.kind == kind).count()
    };
    world.on_task(OnTask::Fail { retryable: false }).await;
    world.spawn_many(2).await;
    for id in world.submit_many(vec![check(); 6]).await {
        world.done(id).await;
    }
    let_pass(&world).await;
    assert_eq!(moves(EventKind::BreakerOpened).await, 0, "no agent has failed");
    for id in world.submit_many(vec![task(); 3]).await {
        world.done(id).await;
    }
    wait_until("it is open", async || moves(EventKind::BreakerOpened).await == 1).await;
    world.on_task(OnTask::Answer).await;
    for _ in 0..3 {
        assert_eq!(world.end_of(world.submit(check()).await).await, TaskState::Succeeded, "probes that no agent ran");
    }
    assert_eq!(moves(EventKind::BreakerClosed).await, 0);
    assert_eq!(world.end_of(world.submit(task()).await).await, TaskState::Succeeded);
    wait_until("it is closed", async || moves(EventKind::BreakerClosed).await == 1).await;
    world.end().await;
}
