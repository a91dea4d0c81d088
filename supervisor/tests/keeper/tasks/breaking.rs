//! The circuit breaker of a pool.

use std::time::Duration;

use muster_domain::{BreakerPolicy, EventKind, TaskState};

use super::task;
use crate::worker::OnTask;
use crate::world::{World, let_pass, wait_until};

async fn count(world: &World, kind: EventKind) -> usize {
    let events = world.events().after(0, 10_000).await.expect("events");
    events.iter().filter(|line| line.event.event.kind == kind).count()
}

#[tokio::test]
async fn a_breaker_opens_waits_probes_and_closes() {
    let pause = Duration::from_millis(150);
    let breaker = BreakerPolicy { least: 5, pause, probes: 2, ..BreakerPolicy::default() };
    let world = World::of_tasks_with(|config| config.breaker = breaker).await;
    world.on_task(OnTask::Fail { retryable: false }).await;
    world.spawn_many(2).await;
    let failing = world.submit_many(vec![task(); 40]).await;
    wait_until("it is open", async || count(&world, EventKind::BreakerOpened).await >= 1).await;
    let_pass(&world).await;
    let queue = world.queue().await;
    assert!(queue.depth >= 25, "what waits does not fail for it: {queue:?}");
    wait_until("a probe fails, and it stays open", async || count(&world, EventKind::BreakerOpened).await >= 2).await;
    world.on_task(OnTask::Answer).await;
    wait_until("it is closed", async || count(&world, EventKind::BreakerClosed).await >= 1).await;
    let mut succeeded = 0;
    for id in failing {
        succeeded += usize::from(world.end_of(id).await == TaskState::Succeeded);
    }
    assert!(succeeded >= 20, "{succeeded}");
    world.wait_queue(0, 0, 0).await;
    world.end().await;
}

#[tokio::test]
async fn a_probe_that_is_cancelled_makes_room_for_another() {
    let pause = Duration::from_millis(100);
    let breaker = BreakerPolicy { least: 3, pause, ..BreakerPolicy::default() };
    let world = World::of_tasks_with(|config| config.breaker = breaker).await;
    world.on_task(OnTask::Fail { retryable: false }).await;
    world.spawn_many(2).await;
    let _failed = world.submit_many(vec![task(); 4]).await;
    wait_until("it is open", async || count(&world, EventKind::BreakerOpened).await >= 1).await;
    world.on_task(OnTask::Hold).await;
    let waiting = world.submit_many(vec![task(); 3]).await;
    let mut probe = None;
    wait_until("a probe runs", async || {
        probe = waiting.iter().copied().find(|id| world.ground.ledger.latest_attempt(*id) > 0);
        probe.is_some() || world.queue().await.running > 0
    })
    .await;
    let_pass(&world).await;
    let running: Vec<_> = world.ground.ledger.under_way().into_keys().collect();
    assert_eq!(running.len(), 1, "one probe at a time");
    world.tasks().cancel(running[0], crate::worker::PATIENCE).await.expect("cancelled");
    world.on_task(OnTask::Answer).await;
    wait_until("another one goes", async || {
        for worker in world.launcher().living() {
            for id in worker.tasks().await {
                worker.answer(id).await;
            }
        }
        count(&world, EventKind::BreakerClosed).await >= 1
    })
    .await;
    world.wait_queue(0, 0, 0).await;
    world.end().await;
}
