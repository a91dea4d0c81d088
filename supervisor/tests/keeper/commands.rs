//! The assignment is stored before the command goes out, and the command goes to that worker until it is proven dead.

use std::time::Duration;

use muster_domain::{
    Activity, AgentState, CommandRefusal, PoolName, ProcessId, Report, ReportBody, Timestamp, WIRE_VERSION,
};
use muster_registry::{AgentNews, Bus, WrittenState};
use muster_store::Store;

use crate::worker::OnSpawn;
use crate::world::{Ground, World, let_pass, wait_until};

#[tokio::test]
async fn a_lost_command_is_sent_again_to_the_same_worker_with_the_same_id() {
    let world = World::new().await;
    world.launcher().next(|habits| habits.on_spawn = OnSpawn::Miss(3));
    let agent = world.spawn().await;
    let worker = world.worker_of(agent).await;
    let orders = worker.spawns_of(agent).await;
    assert!(orders.len() >= 4, "{}", orders.len());
    assert!(orders.iter().all(|order| order.id == orders[0].id));
    assert_eq!((world.ground.ledger.starts(agent), world.launcher().launches()), (1, 1));
    world.end().await;
}

#[tokio::test]
async fn the_assignment_is_stored_before_anybody_is_told() {
    let world = World::new().await;
    world.ground.registry.drop_commands(true);
    let agent = world.order().await;
    let row = world.store().agent(agent).await.expect("a row").expect("it is stored");
    let worker = world.worker_of(agent).await;
    assert_eq!(row.assignment.map(|place| place.process_id), Some(worker.id()));
    let_pass(&world).await;
    assert_eq!(worker.spawns_of(agent).await, []);
    world.ground.registry.drop_commands(false);
    world.wait_state(agent, AgentState::Running(Activity::Idle)).await;
    assert_eq!(world.worker_of(agent).await.id(), worker.id());
    world.end().await;
}

#[tokio::test]
async fn a_slow_start_is_never_doubled() {
    let world = World::new().await;
    world.launcher().next(|habits| habits.on_spawn = OnSpawn::RunSilently);
    let agent = world.order().await;
    let worker = world.worker_of(agent).await;
    wait_until("the order came several times", async || worker.spawns_of(agent).await.len() >= 3).await;
    assert_eq!((world.state(agent).await, world.launcher().launches()), (AgentState::Spawning, 1));
    worker.confirm(agent).await;
    world.wait_state(agent, AgentState::Running(Activity::Idle)).await;
    assert_eq!(world.ground.ledger.starts(agent), 1);
    world.end().await;
}

#[tokio::test]
async fn what_a_worker_refuses_is_placed_again_with_the_next_epoch() {
    let world = World::new().await;
    world.launcher().next(|habits| habits.on_spawn = OnSpawn::Refuse(CommandRefusal::Draining));
    let agent = world.order().await;
    world.wait_epoch(agent, 2).await;
    let first = world.launcher().workers()[0].clone();
    assert_ne!(world.worker_of(agent).await.id(), first.id(), "one that drains gets nothing any more");
    first.die();
    world.end().await;
}

#[tokio::test]
async fn one_refused_by_a_full_worker_is_asked_for_again_and_not_at_once() {
    let world = World::with(|clocks| clocks.resend = Duration::from_millis(40), |_| {}).await;
    world.launcher().next(|habits| habits.on_spawn = OnSpawn::Refuse(CommandRefusal::Full { capacity: 2 }));
    let agent = world.order().await;
    wait_until("it was refused", async || world.agent(agent).await.restarts >= 1).await;
    let worker = world.launcher().workers()[0].clone();
    worker.change(|habits| habits.on_spawn = OnSpawn::Run).await;
    world.wait_epoch(agent, 2).await;
    assert_eq!(world.worker_of(agent).await.id(), worker.id());
    world.end().await;
}

#[tokio::test]
async fn slots_are_filled_two_two_one() {
    let world = World::new().await;
    world.spawn_many(5).await;
    let mut used: Vec<usize> = Vec::new();
    for worker in world.launcher().living() {
        used.push(worker.holds().await.len());
    }
    used.sort_unstable();
    assert_eq!(used, [1, 2, 2]);
    let pool = world.pool().await;
    assert_eq!((pool.process_count, pool.total_capacity, pool.used_capacity), (3, 6, 5));
    let mut mirrored: Vec<u32> = Vec::new();
    wait_until("the free slots are mirrored", async || {
        mirrored = world.ground.memory.slots(&crate::world::pool()).into_iter().map(|(_, free)| free).collect();
        mirrored.sort_unstable();
        mirrored == [0, 0, 1]
    })
    .await;
    world.end().await;
}

#[tokio::test]
async fn what_is_left_of_a_pool_that_is_gone_is_removed() {
    let ground = Ground::new();
    let worker = ProcessId::generate();
    let ghost: PoolName = "ghost".parse().expect("a name");
    // A master was killed after it had removed the pool from the store, before it could do so in the registry.
    let report = Report {
        v: WIRE_VERSION,
        process_id: worker,
        pool_name: ghost.clone(),
        seq: 1,
        at: Timestamp::now(),
        body: ReportBody::Ready,
    };
    ground.memory.report(&[report], &AgentNews::default(), &mut WrittenState::default()).await.expect("memory answers");
    ground.memory.send(&[(ghost, vec![(worker, 2)])], &[]).await.expect("memory answers");
    let world = ground.lead().await;
    wait_until("it is forgotten", async || world.ground.memory.is_empty()).await;
    world.end().await;
}
