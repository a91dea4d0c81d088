//! The clock of the machine is set while tasks wait, and while nobody leads.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use muster_domain::{EventKind, RetryPolicy, TaskId, TaskState, Timestamp};
use muster_store::{Leadership, LifeRow, Machine, Store, Write};
use muster_supervisor::{NotBefore, SupervisorError, TaskRequest, WallClock};

use super::{task, tasks_config};
use crate::worker::OnTask;
use crate::world::{Ground, World, config, let_pass, wait_until};

const HOUR: i64 = 3_600_000;
const YEARS: i64 = 10 * 365 * 24 * HOUR;

/// A clock that can be set: by how many milliseconds it is ahead.
#[derive(Clone, Default)]
struct Skew(Arc<AtomicI64>);

impl Skew {
    fn set(&self, millis: i64) {
        self.0.store(millis, Ordering::SeqCst);
    }

    fn now(&self) -> Timestamp {
        Timestamp::from_millis(Timestamp::now().as_millis() + self.0.load(Ordering::SeqCst))
    }
}

/// A world with such a clock, where another attempt waits for so long.
async fn world(backoff: Duration) -> (World, Skew) {
    let (skew, mut ground) = (Skew::default(), Ground::new());
    let clock = skew.clone();
    ground.wall = WallClock::new(move || clock.now());
    let world = ground.lead().await;
    let mut config = config();
    tasks_config(&mut config);
    config.retry = RetryPolicy { backoff_min: backoff, backoff_max: backoff, ..config.retry };
    world.create_pool(config).await;
    (world, skew)
}

fn late(delay: Duration) -> TaskRequest {
    TaskRequest { not_before: Some(NotBefore::Delay(delay)), ..task() }
}

impl World {
    async fn is_kept(&self, task: TaskId) -> bool {
        match self.tasks().get(task, Duration::ZERO).await {
            Ok(_) => true,
            Err(SupervisorError::UnknownTask(_)) => false,
            Err(error) => panic!("{error}"),
        }
    }

    async fn told(&self, kind: EventKind) -> Vec<String> {
        let events = self.ground.store.events(0, 1_000).await.expect("the store answers");
        events.into_iter().filter(|row| row.event.kind == kind).map(|row| row.event.reason).collect()
    }
}

#[tokio::test]
async fn a_delay_and_a_retry_are_as_long_as_they_were_whatever_the_clock_shows() {
    for by in [-HOUR, -YEARS] {
        let (world, skew) = world(Duration::from_millis(400)).await;
        world.on_task(OnTask::Hold).await;
        world.spawn().await;
        let (failed, worker) = world.start_task(task()).await;
        worker.fail(failed, true).await;
        wait_until("it waits for another attempt", async || world.task(failed).await.due_at.is_some()).await;
        let delayed = world.submit(late(Duration::from_millis(400))).await;
        world.on_task(OnTask::Answer).await;
        skew.set(by);
        assert_eq!(world.end_of(delayed).await, TaskState::Succeeded);
        assert_eq!(world.end_of(failed).await, TaskState::Succeeded);
        wait_until("it is told", async || !world.told(EventKind::ClockSet).await.is_empty()).await;
        assert!(world.told(EventKind::ClockSet).await[0].starts_with("set back by "));
        world.end().await;
    }
}

#[tokio::test]
async fn a_clock_that_is_set_forth_ends_no_wait_but_reaches_a_moment() {
    let (world, skew) = world(Duration::from_millis(1)).await;
    world.spawn().await;
    let delayed = world.submit(late(Duration::from_secs(600))).await;
    let not_before = Some(skew.now().after(Duration::from_secs(600)));
    let named = world.submit(TaskRequest { not_before: not_before.map(NotBefore::Moment), ..task() }).await;
    skew.set(HOUR);
    assert_eq!(world.end_of(named).await, TaskState::Succeeded);
    let view = world.task(delayed).await;
    assert_eq!(view.state, TaskState::Queued);
    let left = view.due_at.expect("it waits").since(skew.now());
    assert!(left > Duration::from_secs(500) && left <= Duration::from_secs(600), "{left:?}");
    world.end().await;
}

#[tokio::test]
async fn a_moment_is_waited_for_when_the_clock_is_set_back() {
    let (world, skew) = world(Duration::from_millis(1)).await;
    world.spawn().await;
    let not_before = Some(skew.now().after(Duration::from_secs(600)));
    let named = world.submit(TaskRequest { not_before: not_before.map(NotBefore::Moment), ..task() }).await;
    skew.set(-HOUR);
    wait_until("it is told", async || !world.told(EventKind::ClockSet).await.is_empty()).await;
    let_pass(&world).await;
    assert_eq!(world.task(named).await.due_at, not_before);
    skew.set(HOUR);
    assert_eq!(world.end_of(named).await, TaskState::Succeeded);
    world.end().await;
}

#[tokio::test]
async fn nothing_is_pruned_for_a_start_in_another_decade_and_waits_go_on() {
    let (world, skew) = world(Duration::from_millis(1)).await;
    world.spawn().await;
    let done = world.submit(task()).await;
    assert_eq!(world.end_of(done).await, TaskState::Succeeded);
    let mut ground = world.ground.clone();
    world.shut_down(true).await;
    skew.set(YEARS);
    let world = ground.lead().await;
    let delayed = world.submit(late(Duration::from_millis(300))).await;
    let_pass(&world).await;
    assert!(world.is_kept(done).await, "it was kept for a moment only, by any life");
    world.shut_down(true).await;
    // The clock is right again, and what was stored lies in the future.
    skew.set(0);
    let world = ground.lead().await;
    assert_eq!(world.end_of(delayed).await, TaskState::Succeeded);
    assert_eq!(world.told(EventKind::ClockSet).await.len(), 1);
    let ended = world.task(delayed).await.finished_at.expect("it has ended");
    world.shut_down(true).await;
    // What ended in the millisecond in which a life begins is not older than it, and the next round is far away.
    wait_until("a later millisecond", async || skew.now() > ended).await;
    // A time that nobody wants it to be kept for is over at once.
    ground.clocks.retention = Duration::ZERO;
    let world = ground.lead().await;
    wait_until("it is pruned", async || !world.is_kept(done).await && !world.is_kept(delayed).await).await;
    world.end().await;
}

/// Its clock is a little ahead of this one's, as clocks of two machines are: nobody has set one.
#[tokio::test]
async fn a_supervisor_of_another_machine_tells_nothing_of_this_clock() {
    let (world, _) = world(Duration::from_millis(1)).await;
    let delayed = world.submit(late(Duration::from_secs(600))).await;
    let due = world.task(delayed).await.due_at;
    let ground = world.ground.clone();
    world.shut_down(true).await;
    for (host, told) in [("elsewhere", 0), ("here", 1)] {
        let led = ground.store.lead(host, "", Duration::from_secs(60)).await.expect("an answer");
        let Leadership::Leads(fence) = led else { panic!("a file has one leader") };
        let own = muster_process::identity::own().expect("a process");
        let machine = match host {
            "here" => Machine { host: own.host, boot_id: "an earlier one".to_owned() },
            host => Machine { host: host.to_owned(), boot_id: "another".to_owned() },
        };
        let now = Timestamp::now();
        let seen_at = now.after(Duration::from_secs(300));
        let life = LifeRow { fence, part: 0, began_at: now, seen_at, machine: Some(machine) };
        ground.store.apply(fence, &[Write::NoteLife(life)]).await.expect("stored");
        let world = ground.lead().await;
        assert_eq!(world.told(EventKind::ClockSet).await.len(), told, "{host}");
        assert_eq!(world.task(delayed).await.due_at == due, told == 0, "{host}");
        world.shut_down(true).await;
    }
}
