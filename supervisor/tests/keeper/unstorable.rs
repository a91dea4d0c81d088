//! Ends that the store refuses, with their words or without.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use muster_domain::budget::Scope;
use muster_domain::{AttemptEnd, Cause, Payload, ReportBody, TaskOver, TaskState, Usage};
use muster_store::{TaskQueue, Write};
use muster_supervisor::AlertKind;

use crate::tasks::task;
use crate::worker::OnTask;
use crate::world::{World, wait_until};

/// The store refuses ends like this until it heals; notes when each was tried.
fn refuse(world: &World, like: fn(&Write) -> bool) -> Arc<Mutex<Vec<Instant>>> {
    let tries = Arc::new(Mutex::new(Vec::new()));
    let noted = tries.clone();
    world.store().poison(move |write| {
        let is_like = like(write);
        noted.lock().expect("no panic").extend(is_like.then(Instant::now));
        is_like
    });
    tries
}

/// The first try has the words, the second none, and the third comes late.
async fn tried_ever_more_rarely(tries: &Mutex<Vec<Instant>>) {
    let count = || tries.lock().expect("no panic").len();
    wait_until("it is tried three times", async || count() >= 3).await;
    let tries = tries.lock().expect("no panic").clone();
    assert!(tries[2].duration_since(tries[1]) > Duration::from_millis(1_500), "{tries:?}");
}

fn lasting(world: &World) -> usize {
    let unstorable = |alert: &&muster_supervisor::Alert| alert.kind == AlertKind::Unstorable && alert.until.is_none();
    world.system().alerts().iter().filter(unstorable).count()
}

#[tokio::test]
async fn what_an_attempt_used_is_counted_once_though_its_end_is_refused_at_first() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    world.spawn().await;
    let (held, worker) = world.start_task(task()).await;
    let seen = Arc::new(AtomicU32::new(0));
    let counted = seen.clone();
    world
        .store()
        .poison(move |write| matches!(write, Write::EndTasks(_)) && counted.fetch_add(1, Ordering::SeqCst) == 0);
    let usage = Usage { input_tokens: 7, output_tokens: 3, cost_micros: 2 };
    let (end, output) = (AttemptEnd::Succeeded, Some(Payload::quoted("odd")));
    let over = TaskOver { task_id: held, attempt: 1, end, output, last_output: String::new(), usage };
    worker.say(ReportBody::Tasks { begun: Vec::new(), over: vec![over] }).await;
    assert_eq!(world.end_of(held).await, TaskState::Failed);
    assert!(seen.load(Ordering::SeqCst) >= 2, "it was refused, and told again without its words");
    for scope in [Scope::Pool, Scope::Tenant] {
        let sums = world.store().usage(scope, "", 10).await.expect("a read");
        assert_eq!(sums.iter().map(|(_, used)| *used).collect::<Vec<_>>(), [usage], "{scope:?}");
    }
    assert_eq!(world.store().executions().await.expect("a read").total, 1);
    assert_eq!(world.task(held).await.usage, usage);
    world.end().await;
}

#[tokio::test]
async fn an_end_of_a_run_that_is_refused_without_its_words_too_is_tried_ever_more_rarely_and_told() {
    let world = World::new().await;
    let agent = world.spawn().await;
    let tries = refuse(&world, |write| matches!(write, Write::Release { .. }));
    world.worker_of(agent).await.end(agent, Cause::Exited { code: 1 }).await;
    tried_ever_more_rarely(&tries).await;
    assert_eq!(lasting(&world), 1);
    let other = world.spawn().await;
    assert_ne!(other, agent, "nobody else is held up");
    world.store().heal();
    world.wait_epoch(agent, 2).await;
    wait_until("nothing is refused any more", async || lasting(&world) == 0).await;
    world.end().await;
}

#[tokio::test]
async fn an_end_of_an_attempt_that_is_refused_without_its_words_too_is_tried_ever_more_rarely_and_told() {
    let world = World::of_tasks().await;
    world.on_task(OnTask::Hold).await;
    world.spawn().await;
    let (held, worker) = world.start_task(task()).await;
    let tries = refuse(&world, |write| matches!(write, Write::EndTasks(_)));
    worker.fail(held, false).await;
    tried_ever_more_rarely(&tries).await;
    assert_eq!(lasting(&world), 1);
    world.store().heal();
    assert_eq!(world.end_of(held).await, TaskState::Failed);
    wait_until("nothing is refused any more", async || lasting(&world) == 0).await;
    assert_eq!(world.store().executions().await.expect("a read").total, 1);
    world.end().await;
}
