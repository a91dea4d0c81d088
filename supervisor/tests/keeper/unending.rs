//! Workers that were told to end, or are proven dead, and whose end does not come about as it should.

use std::time::Duration;

use muster_domain::{Clocks, EventKind, PoolConfig, ProcessId, Timestamp, WorkerCause, WorkerEnding, WorkerKey};
use muster_registry::Registry;
use muster_store::testing::Commit;
use muster_store::{Leadership, Store, WorkerSpec, Write};
use muster_supervisor::SupervisorError;

use crate::unreachable::{
    alerts, beats, declare, elsewhere, is_degraded, run_anew, strict, told, wait_unreachable, words,
};
use crate::world::{Ground, World, let_pass, pool, wait_until};

/// Those of `strict`, with a short time to end.
fn hasty(clocks: &mut Clocks) {
    strict(clocks);
    clocks.stop_deadline = Duration::from_millis(100);
}

#[tokio::test]
async fn one_that_was_killed_and_does_not_die_is_said_and_may_be_declared_dead() {
    let world = World::with(strict, |_| {}).await;
    let agent = world.spawn().await;
    let hung = world.worker_of(agent).await;
    hung.wait_for_a_disk(true);
    beats(&hung, false).await;
    let said = wait_unreachable(&world, hung.id()).await;
    assert!(said.contains("it was killed, and its end is not seen"), "{said}");
    wait_until("/health says so", async || is_degraded(&world).await).await;
    assert_eq!((alerts(&world, hung.id()).await, world.agent(agent).await.epoch), (1, 1), "nothing is proven");
    assert!(!world.launcher().has_swept(hung.id()));
    let ended = declare(&world, hung.id()).await.expect("declared");
    assert!(world.launcher().has_swept(hung.id()), "what it owns here ends before its agents run elsewhere");
    assert_eq!(ended.ending.expect("how").cause, WorkerCause::DeclaredDead { by: "ann".to_owned() });
    world.wait_epoch(agent, 2).await;
    wait_until("it is over", async || !is_degraded(&world).await).await;
    hung.wait_for_a_disk(false);
    hung.die();
    let_pass(&world).await;
    assert_eq!((world.agent(agent).await.epoch, alerts(&world, hung.id()).await), (2, 0));
    // Not `end`: that it ran twice for a while was the person's word.
    world.shut_down(false).await;
}

#[tokio::test]
async fn one_whose_start_does_not_come_to_an_end_is_said_and_killed_if_it_comes_after_its_declared_death() {
    let world = World::with(
        |clocks| {
            strict(clocks);
            clocks.start_timeout = Duration::from_millis(300);
        },
        |_| {},
    )
    .await;
    world.launcher().held.set(true);
    world.launcher().next(|habits| habits.beats = false);
    let asked = world.try_spawn(Duration::ZERO).await;
    assert!(asked.is_ok(), "{asked:?}");
    wait_until("it is begun", async || world.launcher().launches() == 1).await;
    let stuck = world.launcher().workers().remove(0);
    let said = wait_unreachable(&world, stuck.id()).await;
    assert!(said.contains("its start has not come to an end"), "{said}");
    declare(&world, stuck.id()).await.expect("declared");
    wait_until("another one is begun", async || world.launcher().launches() == 2).await;
    world.launcher().held.set(false);
    wait_until("it is killed", async || stuck.is_dead()).await;
    wait_until("the agent runs", async || world.pool().await.pending_agents == 0).await;
    world.end().await;
}

#[tokio::test]
async fn one_elsewhere_that_does_not_heed_its_end_is_told_again_and_said() {
    let idle = |pool: &mut PoolConfig| pool.worker_idle_timeout = Duration::from_millis(40);
    let old = World::with(hasty, idle).await;
    let agent = old.spawn().await;
    let worker = old.worker_of(agent).await;
    worker.change(|habits| habits.obeys = false).await;
    let ground = old.ground.clone();
    old.shut_down(true).await;
    ground.launcher.send_elsewhere(worker.id());
    let world = ground.lead().await;
    world.terminate(agent).await;
    wait_until("that is said", async || words(&world, worker.id()).await.is_some_and(|said| said.contains("goes on")))
        .await;
    let said = words(&world, worker.id()).await.expect("words");
    assert!(said.contains("was told to end and goes on") && said.contains("end it where it runs"), "{said}");
    let refused = declare(&world, worker.id()).await.expect_err("it beats");
    assert!(matches!(refused, SupervisorError::WorkerReachable { .. }), "{refused}");
    let_pass(&world).await;
    assert!(told(&world, EventKind::WorkerReachable, worker.id()).await.is_empty(), "it is not within reach");
    worker.change(|habits| habits.obeys = true).await;
    wait_until("it has heard it", async || worker.is_dead()).await;
    wait_until("it is silent", async || declare(&world, worker.id()).await.is_ok()).await;
    assert_eq!(told(&world, EventKind::WorkerUnreachable, worker.id()).await.len(), 1, "once");
    world.end().await;
}

#[tokio::test]
async fn a_second_proof_of_a_death_that_could_not_be_stored_yet_changes_nothing() {
    let (world, agents, worker) = elsewhere().await;
    worker.die();
    wait_unreachable(&world, worker.id()).await;
    let before = world.pool().await.total_workers_terminated;
    let is_end = |writes: &[Write]| writes.iter().any(|write| matches!(write, Write::EndWorker { .. }));
    world.store().judge(move |writes| if is_end(writes) { Commit::Refuse } else { Commit::Pass });
    for _ in 0..2 {
        declare(&world, worker.id()).await.expect_err("nothing is stored");
    }
    world.store().heal();
    run_anew(&world, &agents, worker.id()).await;
    declare(&world, worker.id()).await.expect("it is so by now");
    assert_eq!(world.pool().await.total_workers_terminated, before + 1);
    assert_eq!(told(&world, EventKind::WorkerLost, worker.id()).await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn one_whose_engine_answers_again_is_within_reach_again_and_that_is_told() {
    let world = World::with(hasty, |_| {}).await;
    let agent = world.spawn().await;
    let worker = world.worker_of(agent).await;
    worker.cut_off(Some("the engine is away"));
    worker.wait_for_a_disk(true);
    beats(&worker, false).await;
    wait_unreachable(&world, worker.id()).await;
    worker.cut_off(None);
    wait_until("it is told", async || !told(&world, EventKind::WorkerReachable, worker.id()).await.is_empty()).await;
    worker.die();
    world.wait_epoch(agent, 2).await;
    world.end().await;
}

#[tokio::test]
async fn a_heartbeat_of_before_its_declared_death_does_not_say_that_a_worker_returned() {
    let (world, agents, worker) = elsewhere().await;
    beats(&worker, false).await;
    let ground = world.ground.clone();
    world.shut_down(true).await;
    declare_in_the_store(&ground, worker.id()).await;
    let is_present = async || ground.memory.present().await.expect("memory answers").contains(&worker.id());
    assert!(is_present().await, "its last heartbeat is there still");
    let world = ground.lead().await;
    for agent in &agents {
        world.wait_epoch(*agent, 2).await;
    }
    wait_until("it is forgotten", async || !is_present().await).await;
    assert!(told(&world, EventKind::WorkerReturned, worker.id()).await.is_empty(), "it was not heard since");
    worker.die();
    world.shut_down(false).await;
}

#[tokio::test]
async fn one_that_beats_on_over_a_master_after_its_declared_death_is_told_to_end_before_a_lease_is_over() {
    let patient =
        |clocks: &mut Clocks| (clocks.stale, clocks.lease) = (Duration::from_secs(20), Duration::from_secs(60));
    let world = World::with(patient, |_| {}).await;
    let agent = world.spawn().await;
    let worker = world.worker_of(agent).await;
    let ground = world.ground.clone();
    world.shut_down(true).await;
    declare_in_the_store(&ground, worker.id()).await;
    let world = ground.lead().await;
    wait_until("it has ended", async || worker.is_dead()).await;
    wait_until("it is told", async || !told(&world, EventKind::WorkerReturned, worker.id()).await.is_empty()).await;
    world.shut_down(false).await;
}

/// As a supervisor leaves it that ends after the store has taken it, and before the registry has.
async fn declare_in_the_store(ground: &Ground, worker: ProcessId) {
    let cause = WorkerCause::DeclaredDead { by: "ann".to_owned() };
    let ending = WorkerEnding::new(cause, String::new(), String::new());
    let end = Write::EndWorker { process_id: worker, lost: true, ending, at: Timestamp::now() };
    let led = ground.store.lead("test", "", Duration::from_secs(60)).await.expect("the store answers");
    let Leadership::Leads(fence) = led else { panic!("nobody else leads") };
    ground.store.apply(fence, &[end]).await.expect("stored");
}

#[tokio::test]
async fn nobody_is_told_that_a_worker_is_dead_whose_row_is_open() {
    let world = World::new().await;
    let unknown = ProcessId::generate();
    let row = Write::AddWorker {
        process_id: unknown,
        pool: pool(),
        capacity: 1,
        key: WorkerKey::generate(),
        spec: WorkerSpec::local(),
        at: Timestamp::now(),
    };
    let fence = world.system().view().await.fence;
    world.store().apply(fence, &[row]).await.expect("stored");
    let refused = declare(&world, unknown).await.expect_err("nobody looked for it");
    assert!(matches!(refused, SupervisorError::Unavailable { .. }), "{refused}");
    world.shut_down(false).await;
}

#[tokio::test]
async fn one_that_was_found_dead_is_said_when_what_it_owned_does_not_end() {
    let old = World::with(hasty, |_| {}).await;
    let agent = old.spawn().await;
    let worker = old.worker_of(agent).await;
    let ground = old.ground.clone();
    old.shut_down(true).await;
    worker.leave_remains(true);
    worker.die();
    let world = ground.lead().await;
    let said = wait_unreachable(&world, worker.id()).await;
    assert!(said.contains("its process has ended, and something that it owned has not"), "{said}");
    wait_until("/health says so", async || is_degraded(&world).await).await;
    assert_eq!((alerts(&world, worker.id()).await, world.agent(agent).await.epoch), (1, 1));
    worker.leave_remains(false);
    world.wait_epoch(agent, 2).await;
    wait_until("it is over", async || !is_degraded(&world).await).await;
    world.end().await;
}

#[tokio::test]
async fn one_whose_end_could_not_be_stored_yet_is_not_called_unreachable() {
    let world = World::with(hasty, |_| {}).await;
    let agents = world.spawn_many(3).await;
    let (dead, other) = (world.worker_of(agents[0]).await, world.worker_of(agents[2]).await);
    assert_ne!(dead.id(), other.id(), "there is another one, which is heard");
    let is_end = |writes: &[Write]| writes.iter().any(|write| matches!(write, Write::EndWorker { .. }));
    world.store().judge(move |writes| if is_end(writes) { Commit::Refuse } else { Commit::Pass });
    dead.die();
    // Longer than its time to end, its last words and the time that a kill may take.
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert_eq!((words(&world, dead.id()).await, alerts(&world, dead.id()).await), (None, 0));
    world.store().heal();
    world.wait_epoch(agents[0], 2).await;
    world.end().await;
}
