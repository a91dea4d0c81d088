//! Workers that nobody can ask or kill: their agents keep their places, that is said, and a person may declare them dead.

use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_domain::{
    Activity, AgentId, AgentState, Clocks, EventKind, PoolConfig, Principal, ProcessId, TaskState, WorkerCause,
    WorkerState,
};
use muster_store::{Store, Write};
use muster_supervisor::launch::Launchers;
use muster_supervisor::{
    AlertKind, EndedWorkerView, MissingAgent, SupervisorError, TaskRequest, WaitingFor, WorkerView,
};
use serde_json::json;

use crate::launcher::FakeLauncher;
use crate::tasks::task;
use crate::worker::FakeWorker;
use crate::world::{Ground, World, let_pass, pool, wait_until};
use muster_store::testing::Commit;

/// Clocks by which a silence of a quarter of a second counts.
pub(crate) fn strict(clocks: &mut Clocks) {
    (clocks.stale, clocks.lease) = (Duration::from_millis(250), Duration::from_millis(300));
}

/// A new supervisor on another host than the one that has the worker of these two agents.
pub(crate) async fn elsewhere() -> (World, Vec<AgentId>, FakeWorker) {
    let old = World::with(strict, |_| {}).await;
    let agents = old.spawn_many(2).await;
    let worker = old.worker_of(agents[0]).await;
    let ground = old.ground.clone();
    old.shut_down(true).await;
    ground.launcher.send_elsewhere(worker.id());
    let world = ground.lead().await;
    for agent in &agents {
        world.wait_state(*agent, AgentState::Running(Activity::Idle)).await;
    }
    (world, agents, worker)
}

pub(crate) async fn beats(worker: &FakeWorker, beats: bool) {
    worker.change(|habits| habits.beats = beats).await;
}

pub(crate) async fn view(world: &World, worker: ProcessId) -> Option<WorkerView> {
    let views = world.workers().list(None).await.expect("workers");
    views.into_iter().find(|view| view.process_id == worker)
}

pub(crate) async fn words(world: &World, worker: ProcessId) -> Option<String> {
    view(world, worker).await.and_then(|view| view.unreachable)
}

pub(crate) async fn wait_unreachable(world: &World, worker: ProcessId) -> String {
    wait_until("it is unreachable", async || words(world, worker).await.is_some()).await;
    words(world, worker).await.expect("words")
}

pub(crate) async fn alerts(world: &World, worker: ProcessId) -> usize {
    let is_meant = |kind, subject: &str| kind == AlertKind::WorkerUnreachable && subject == worker.to_string();
    world.handle.health().alerts.iter().filter(|alert| is_meant(alert.kind, &alert.subject)).count()
}

pub(crate) async fn is_degraded(world: &World) -> bool {
    world.degraded().await.iter().any(|line| line.starts_with("unreachable workers"))
}

pub(crate) async fn declare(world: &World, worker: ProcessId) -> Result<EndedWorkerView, SupervisorError> {
    let caller = world.handle.by(Principal::admin("ann"));
    caller.workers().expect("an admin").declare_dead(worker).await
}

pub(crate) async fn told(world: &World, kind: EventKind, worker: ProcessId) -> Vec<String> {
    let events = world.events().after(0, 1_000).await.expect("events");
    let meant = events.iter().map(|line| line.event.event.clone());
    meant.filter(|event| event.kind == kind && event.process_id == Some(worker)).map(|event| event.reason).collect()
}

pub(crate) async fn run_anew(world: &World, agents: &[AgentId], worker: ProcessId) {
    for agent in agents {
        world.wait_epoch(*agent, 2).await;
        assert_ne!(world.agent(*agent).await.process_id, Some(worker));
    }
    let_pass(world).await;
    for agent in agents {
        assert_eq!((world.agent(*agent).await.epoch, world.ground.ledger.starts(*agent)), (2, 2), "once");
    }
}

#[tokio::test]
async fn the_agents_of_a_lost_worker_keep_their_places_and_it_is_said_until_it_is_heard() {
    let (world, agents, worker) = elsewhere().await;
    let begun = Instant::now();
    beats(&worker, false).await;
    let said = wait_unreachable(&world, worker.id()).await;
    wait_until("/health says so", async || is_degraded(&world).await).await;
    assert!(begun.elapsed() < Duration::from_secs(15));
    let command = format!("`muster declare-dead {}`", worker.id());
    assert!(said.contains("its 2 agents keep their places") && said.contains("host test"), "{said}");
    assert!(said.contains(&command) && world.degraded().await.join("\n").contains(&said), "{said}");
    let pool = world.pool().await;
    assert_eq!((alerts(&world, worker.id()).await, pool.unreachable_workers), (1, 1));
    assert_eq!(pool.unreachable_worker_ids, [worker.id()]);
    let new = world.spawn().await;
    assert_ne!(world.worker_of(new).await.id(), worker.id());
    let_pass(&world).await;
    for agent in &agents {
        let agent = world.agent(*agent).await;
        assert_eq!((agent.epoch, agent.process_id), (1, Some(worker.id())), "silence proves nothing");
    }
    assert!(!worker.is_dead(), "nobody can kill it");
    beats(&worker, true).await;
    wait_until("it is over", async || words(&world, worker.id()).await.is_none() && !is_degraded(&world).await).await;
    assert_eq!((alerts(&world, worker.id()).await, world.agent(agents[0]).await.epoch), (0, 1));
    for kind in [EventKind::WorkerUnreachable, EventKind::WorkerReachable] {
        wait_until("it is told", async || told(&world, kind, worker.id()).await.len() == 1).await;
    }
    worker.die();
    wait_unreachable(&world, worker.id()).await;
    declare(&world, worker.id()).await.expect("declared");
    world.end().await;
}

#[tokio::test]
async fn the_agents_of_one_that_is_declared_dead_run_elsewhere_once() {
    let (world, agents, worker) = elsewhere().await;
    worker.die();
    wait_unreachable(&world, worker.id()).await;
    let ended = declare(&world, worker.id()).await.expect("declared");
    assert_eq!((ended.process_id, ended.status), (worker.id(), WorkerState::Lost));
    let ending = ended.ending.expect("how");
    assert_eq!(ending.cause, WorkerCause::DeclaredDead { by: "ann".to_owned() });
    run_anew(&world, &agents, worker.id()).await;
    let again = declare(&world, worker.id()).await.expect("it is so already");
    assert_eq!((again.ended_at, again.ending), (ended.ended_at, Some(ending)));
    wait_until("it is over", async || !is_degraded(&world).await).await;
    assert_eq!((alerts(&world, worker.id()).await, view(&world, worker.id()).await.is_some()), (0, false));
    let lost = told(&world, EventKind::WorkerLost, worker.id()).await;
    assert_eq!(lost, ["it could not be reached, and was declared dead by ann"]);
    world.end().await;
}

#[tokio::test]
async fn two_who_declare_it_at_once_are_both_answered_and_one_counts() {
    let (world, agents, worker) = elsewhere().await;
    worker.die();
    wait_unreachable(&world, worker.id()).await;
    let (one, other) = tokio::join!(declare(&world, worker.id()), declare(&world, worker.id()));
    assert_eq!(one.expect("declared").ended_at, other.expect("declared").ended_at);
    run_anew(&world, &agents, worker.id()).await;
    assert_eq!(told(&world, EventKind::WorkerLost, worker.id()).await.len(), 1);
    world.end().await;
}

#[tokio::test]
async fn one_that_can_be_asked_or_was_heard_lately_is_not_declared_dead() {
    let world = World::new().await;
    let agent = world.spawn().await;
    let id = world.worker_of(agent).await.id();
    let refused = declare(&world, id).await.expect_err("it lives");
    assert!(matches!(refused, SupervisorError::WorkerReachable { .. }), "{refused}");
    let unknown = declare(&world, ProcessId::generate()).await.expect_err("there is none");
    assert!(matches!(unknown, SupervisorError::UnknownWorker(_)), "{unknown}");
    world.end().await;

    let (world, agents, worker) = elsewhere().await;
    let refused = declare(&world, worker.id()).await.expect_err("it beats");
    assert!(refused.to_string().contains("it was heard"), "{refused}");
    let_pass(&world).await;
    assert_eq!(world.agent(agents[0]).await.epoch, 1);
    worker.die();
    wait_unreachable(&world, worker.id()).await;
    declare(&world, worker.id()).await.expect("declared");
    world.end().await;
}

#[tokio::test]
async fn a_declaration_that_could_not_be_stored_places_nobody_anew() {
    let (world, agents, worker) = elsewhere().await;
    worker.die();
    wait_unreachable(&world, worker.id()).await;
    world.store().judge(|writes| match writes.iter().any(|write| matches!(write, Write::EndWorker { .. })) {
        true => Commit::Refuse,
        false => Commit::Pass,
    });
    let refused = declare(&world, worker.id()).await.expect_err("nothing is stored");
    assert!(matches!(refused, SupervisorError::Unavailable { .. }), "{refused}");
    let_pass(&world).await;
    assert_eq!(world.agent(agents[0]).await.process_id, Some(worker.id()));
    world.store().heal();
    run_anew(&world, &agents, worker.id()).await;
    declare(&world, worker.id()).await.expect("it is so by now");
    world.end().await;
}

#[tokio::test]
async fn one_that_was_declared_dead_and_is_heard_again_is_told_to_end() {
    for over_a_master in [false, true] {
        let (world, agents, worker) = elsewhere().await;
        beats(&worker, false).await;
        wait_unreachable(&world, worker.id()).await;
        declare(&world, worker.id()).await.expect("declared");
        for agent in &agents {
            world.wait_epoch(*agent, 2).await;
        }
        let world = if over_a_master {
            let ground = world.ground.clone();
            world.shut_down(true).await;
            ground.lead().await
        } else {
            world
        };
        for agent in &agents {
            world.wait_epoch(*agent, 2).await;
            assert_ne!(world.agent(*agent).await.process_id, Some(worker.id()), "it is over, whoever leads");
        }
        beats(&worker, true).await;
        wait_until("it has ended", async || worker.is_dead()).await;
        wait_until("it is told", async || !told(&world, EventKind::WorkerReturned, worker.id()).await.is_empty()).await;
        let_pass(&world).await;
        assert_eq!(world.agent(agents[0]).await.epoch, 2);
        world.shut_down(false).await;
    }
}

#[tokio::test]
async fn one_elsewhere_that_was_told_to_end_is_told_again_and_said_when_its_time_is_over() {
    let idle = |pool: &mut PoolConfig| pool.worker_idle_timeout = Duration::from_millis(40);
    let old = World::with(strict, idle).await;
    let agent = old.spawn().await;
    let worker = old.worker_of(agent).await;
    worker.change(|habits| habits.obeys = false).await;
    old.terminate(agent).await;
    wait_until("it retires", async || {
        let rows = old.store().open_workers().await.expect("rows");
        rows.first().is_some_and(|row| row.state == WorkerState::Draining)
    })
    .await;
    let ground = old.ground.clone();
    old.shut_down(true).await;
    ground.launcher.send_elsewhere(worker.id());
    worker.change(|habits| habits.obeys = true).await;
    let world = ground.lead().await;
    wait_until("it has ended", async || worker.is_dead()).await;
    let said = wait_unreachable(&world, worker.id()).await;
    assert!(said.contains("it holds no agents"), "{said}");
    let ended = declare(&world, worker.id()).await.expect("declared");
    assert_eq!(ended.ending.expect("how").cause, WorkerCause::DeclaredDead { by: "ann".to_owned() });
    world.end().await;
}

#[tokio::test]
async fn one_whose_engine_does_not_answer_is_said_and_killed_when_it_does() {
    let world = World::with(strict, |_| {}).await;
    let agent = world.spawn().await;
    let hung = world.worker_of(agent).await;
    hung.cut_off(Some("the engine is away"));
    beats(&hung, false).await;
    let said = wait_unreachable(&world, hung.id()).await;
    assert!(said.contains("the engine is away"), "{said}");
    let_pass(&world).await;
    assert_eq!((hung.is_dead(), world.agent(agent).await.epoch), (false, 1), "nothing is proven");
    hung.cut_off(None);
    world.wait_epoch(agent, 2).await;
    assert!(hung.is_dead());
    wait_until("it is over", async || !is_degraded(&world).await).await;
    world.end().await;
}

#[tokio::test]
async fn a_pool_names_its_launcher_and_its_workers_stay_with_theirs() {
    let ground = Ground::new();
    let east = Arc::new(FakeLauncher::new(ground.memory.clone(), ground.ledger.clone()));
    let both = Launchers::local(ground.launcher.clone()).with("east", east.clone());
    let world = ground.lead_with(|parts| parts.launchers = both.clone()).await;
    world.create_pool(crate::world::config()).await;
    let first = world.spawn().await;
    let change = async |name: &str| world.pools().change(&pool(), &json!({"max_agents": 1, "launcher": name})).await;
    let refused = change("west").await.expect_err("there is none");
    assert!(refused.to_string().contains("\"west\"; this supervisor has east, local"), "{refused}");
    assert_eq!(change("east").await.expect("changed").config.launcher, "east");
    let here = world.worker_of(first).await;
    // The worker that there is keeps its size, and has a place left.
    let second = world.spawn().await;
    assert_eq!(world.agent(second).await.process_id, Some(here.id()));
    let there = world.spawn().await;
    let place = world.agent(there).await.process_id.expect("a place");
    let by_launcher = async || {
        let rows = ground.store.open_workers().await.expect("rows");
        rows.into_iter().map(|row| (row.process_id, row.spec.source.launcher)).collect::<Vec<_>>()
    };
    let expected = [(here.id(), "local".to_owned()), (place, "east".to_owned())];
    assert_eq!((by_launcher().await, east.launches(), ground.launcher.launches()), (expected.to_vec(), 1, 1));
    world.shut_down(true).await;
    // The next one finds each by its own launcher.
    let world = ground.lead_with(|parts| parts.launchers = both.clone()).await;
    for agent in [first, there] {
        world.wait_state(agent, AgentState::Running(Activity::Idle)).await;
        assert_eq!(world.agent(agent).await.epoch, 1);
    }
    here.die();
    world.wait_epoch(first, 2).await;
    world.wait_epoch(second, 2).await;
    assert_eq!((ground.launcher.launches(), east.launches()), (1, 3), "new ones are started by the pool's");
    world.end().await;
    assert!(east.living().is_empty());
}

#[tokio::test]
async fn tasks_that_wait_for_its_agents_are_told_so() {
    let (world, agents, worker) = elsewhere().await;
    worker.die();
    wait_unreachable(&world, worker.id()).await;
    let any = world.submit(task()).await;
    let named = world.submit(TaskRequest { agent_id: Some(agents[0]), ..task() }).await;
    let reason = async |id| world.task(id).await.waiting_for;
    let nobody = WaitingFor::Lacking(MissingAgent::AnyAgent { pool: pool(), quarantined: 0, unreachable: 2 });
    assert_eq!(reason(any).await, Some(nobody.clone()));
    assert_eq!(reason(named).await, Some(WaitingFor::Agent(agents[0], None)));
    assert!(nobody.to_string().contains("in workers that nobody can reach"), "{nobody}");
    declare(&world, worker.id()).await.expect("declared");
    for id in [any, named] {
        world.wait_task(id, TaskState::Succeeded).await;
    }
    world.end().await;
}
