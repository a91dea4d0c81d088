//! Who is silent is condemned, unless it may be the listener's own fault.

use std::time::Duration;

use muster_domain::{Activity, AgentState, Clocks, OngoingTrouble, ProbeAnswer};
use muster_supervisor::launch::WorkerProbe;

use crate::worker::FakeWorker;
use crate::world::{World, let_pass, wait_until};

/// Clocks by which a silence of a quarter of a second is the end.
fn strict(clocks: &mut Clocks) {
    (clocks.stale, clocks.lease) = (Duration::from_millis(250), Duration::from_millis(300));
}

async fn silence(worker: &FakeWorker) {
    worker.change(|habits| habits.beats = false).await;
}

#[tokio::test]
async fn a_silent_worker_is_killed_and_its_agents_run_elsewhere() {
    let world = World::with(strict, |_| {}).await;
    let agents = world.spawn_many(2).await;
    let hung = world.worker_of(agents[0]).await;
    silence(&hung).await;
    for agent in &agents {
        world.wait_epoch(*agent, 2).await;
        assert_ne!(world.worker_of(*agent).await.id(), hung.id());
    }
    assert!(hung.is_dead(), "nobody is placed elsewhere before it is dead");
    world.end().await;
}

#[tokio::test]
async fn who_beats_is_left_alone() {
    let world = World::with(strict, |_| {}).await;
    let agents = world.spawn_many(4).await;
    let hung = world.worker_of(agents[0]).await;
    let well = world.launcher().living().into_iter().find(|worker| worker.id() != hung.id()).expect("a second one");
    silence(&hung).await;
    wait_until("the silent one is killed", async || hung.is_dead()).await;
    let_pass(&world).await;
    assert!(!well.is_dead());
    world.end().await;
}

#[tokio::test]
async fn when_most_are_silent_nobody_is_judged_and_it_is_said() {
    // Those who fall silent together had their last beats within one heartbeat: a long one, for a busy machine.
    let slow = |clocks: &mut Clocks| {
        strict(clocks);
        clocks.heartbeat = Duration::from_millis(80);
    };
    let world = World::with(slow, |pool| pool.max_agents = 1).await;
    let agents = world.spawn_many(3).await;
    let workers = world.launcher().living();
    tokio::join!(silence(&workers[0]), silence(&workers[1]));
    let says = async || world.degraded().await.iter().any(|line| line.starts_with("silence"));
    wait_until("it is said", says).await;
    let_pass(&world).await;
    assert!(workers.iter().all(|worker| !worker.is_dead()));
    for worker in &workers {
        worker.change(|habits| habits.beats = true).await;
    }
    wait_until("it is over", async || !says().await).await;
    for agent in agents {
        assert_eq!(
            (world.state(agent).await, world.agent(agent).await.epoch),
            (AgentState::Running(Activity::Idle), 1)
        );
    }
    world.end().await;
}

#[tokio::test]
async fn an_outage_of_the_registry_is_nobodys_silence() {
    let world = World::with(strict, |_| {}).await;
    let agent = world.spawn().await;
    let worker = world.worker_of(agent).await;
    world.ground.registry.leave();
    silence(&worker).await;
    tokio::time::timeout(Duration::from_millis(700), std::future::pending::<()>()).await.expect_err("silence is long");
    assert!(!worker.is_dead(), "the master can't hear");
    worker.change(|habits| habits.beats = true).await;
    world.ground.registry.come_back();
    wait_until("it is back", async || world.degraded().await.is_empty()).await;
    let_pass(&world).await;
    assert_eq!((worker.is_dead(), world.agent(agent).await.epoch), (false, 1));
    world.end().await;
}

/// Lets it answer at its probe socket, over which it says what keeps it from being heard.
async fn answer_at_the_probe_socket(worker: &FakeWorker) {
    let trouble = Some(OngoingTrouble { for_ms: 4000, error: "no route to Redis".to_owned() });
    let vitals = ProbeAnswer { process_id: worker.id(), beats: 9, trouble };
    worker.change(|habits| habits.at_probe_socket = WorkerProbe::Lives(vitals)).await;
}

async fn says(world: &World, subject: &str) -> bool {
    world.degraded().await.iter().any(|line| line.starts_with(subject))
}

#[tokio::test]
async fn one_that_lives_and_is_not_heard_is_named_and_left_alone() {
    let world = World::with(strict, |pool| pool.max_agents = 2).await;
    let agent = world.spawn().await;
    let mute = world.worker_of(agent).await;
    answer_at_the_probe_socket(&mute).await;
    silence(&mute).await;
    wait_until("it is named", async || says(&world, "workers").await).await;
    let board = world.degraded().await.join("\n");
    assert!(board.contains(&mute.id().to_string()) && board.contains("for 4 s it says: no route to Redis"), "{board}");
    let other = world.spawn().await;
    assert_ne!(world.worker_of(other).await.id(), mute.id(), "it could not hear of one more");
    let_pass(&world).await;
    assert_eq!((mute.is_dead(), world.agent(agent).await.epoch), (false, 1));
    mute.change(|habits| habits.beats = true).await;
    wait_until("it is over", async || world.degraded().await.is_empty()).await;
    assert_eq!(world.agent(agent).await.epoch, 1);
    let third = world.spawn().await;
    let fourth = world.spawn().await;
    let used = [world.worker_of(third).await.id(), world.worker_of(fourth).await.id()];
    assert!(used.contains(&mute.id()), "it has agents again");
    world.end().await;
}

#[tokio::test]
async fn one_that_hangs_behind_its_probe_socket_is_killed() {
    let world = World::with(strict, |_| {}).await;
    let agent = world.spawn().await;
    let hung = world.worker_of(agent).await;
    hung.change(|habits| habits.at_probe_socket = WorkerProbe::Silence).await;
    silence(&hung).await;
    world.wait_epoch(agent, 2).await;
    assert!(hung.is_dead());
    world.end().await;
}

#[tokio::test]
async fn one_that_could_not_be_asked_is_named() {
    let world = World::with(strict, |_| {}).await;
    let agent = world.spawn().await;
    let worker = world.worker_of(agent).await;
    worker.change(|habits| habits.at_probe_socket = WorkerProbe::Unasked("too many open files".to_owned())).await;
    silence(&worker).await;
    wait_until("it is named", async || says(&world, "workers").await).await;
    let board = world.degraded().await.join("\n");
    assert!(board.contains("too many open files"), "{board}");
    let_pass(&world).await;
    assert!(!worker.is_dead());
    world.end().await;
}

#[tokio::test]
async fn a_registry_that_takes_no_writes_is_nobodys_silence() {
    let world = World::with(strict, |_| {}).await;
    let agent = world.spawn().await;
    let worker = world.worker_of(agent).await;
    world.ground.registry.refuse_writes(true);
    silence(&worker).await;
    wait_until("it is said", async || says(&world, "registry: the registry refuses: it is read-only").await).await;
    assert!(world.try_spawn(Duration::ZERO).await.is_err_and(|error| error.to_string().contains("read-only")));
    tokio::time::timeout(Duration::from_millis(700), std::future::pending::<()>()).await.expect_err("silence is long");
    assert!(!worker.is_dead(), "it could not say anything");
    worker.change(|habits| habits.beats = true).await;
    world.ground.registry.refuse_writes(false);
    wait_until("it is over", async || world.degraded().await.is_empty()).await;
    let_pass(&world).await;
    assert_eq!((worker.is_dead(), world.agent(agent).await.epoch), (false, 1));
    world.end().await;
}

#[tokio::test]
async fn the_end_of_a_silence_of_most_begins_a_new_listening() {
    // A lease in which the last of them can be heard again on a busy machine.
    let patient = |clocks: &mut Clocks| {
        (clocks.heartbeat, clocks.stale) = (Duration::from_millis(80), Duration::from_millis(250));
        clocks.lease = Duration::from_millis(1500);
    };
    let world = World::with(patient, |pool| pool.max_agents = 1).await;
    let agents = world.spawn_many(3).await;
    let workers = world.launcher().living();
    tokio::join!(silence(&workers[0]), silence(&workers[1]));
    wait_until("it is said", async || says(&world, "silence").await).await;
    workers[0].change(|habits| habits.beats = true).await;
    wait_until("it is over", async || !says(&world, "silence").await).await;
    let_pass(&world).await;
    assert!(!workers[1].is_dead(), "its silence was everybody's");
    workers[1].change(|habits| habits.beats = true).await;
    let_pass(&world).await;
    for agent in agents {
        assert_eq!(
            (world.state(agent).await, world.agent(agent).await.epoch),
            (AgentState::Running(Activity::Idle), 1)
        );
    }
    world.end().await;
}
