//! Reports come twice, late, out of order, with gaps, and from epochs that are over.

use muster_domain::{Activity, AgentState, Cause, Epoch, ReportBody};
use muster_registry::{AgentNews, WrittenState};

use crate::worker::{OnSpawn, ended};
use crate::world::{World, let_pass, wait_until};

#[tokio::test]
async fn a_doubled_report_is_applied_once() {
    let world = World::new().await;
    let agent = world.spawn().await;
    let worker = world.worker_of(agent).await;
    let end = worker.end(agent, Cause::Exited { code: 1 }).await;
    worker.send(&end).await;
    world.wait_epoch(agent, 2).await;
    worker.send(&end).await;
    let_pass(&world).await;
    let view = world.agent(agent).await;
    assert_eq!((view.state, view.epoch, view.restarts), (AgentState::Running(Activity::Idle), 2, 1));
    assert_eq!(world.ground.ledger.starts(agent), 2);
    world.end().await;
}

#[tokio::test]
async fn news_of_an_older_epoch_move_nothing_and_are_settled() {
    let world = World::new().await;
    let agent = world.spawn().await;
    let worker = world.worker_of(agent).await;
    worker.end(agent, Cause::Exited { code: 1 }).await;
    world.wait_epoch(agent, 2).await;
    worker.say(ended(agent, Epoch(1), true, Cause::Exited { code: 7 })).await;
    worker.say(ReportBody::Started { agent_id: agent, epoch: Epoch(1), pid: Some(7) }).await;
    worker.say(ended(agent, Epoch(9), true, Cause::Exited { code: 9 })).await;
    wait_until("all is settled", async || {
        let (settled, latest) = worker.settled().await;
        settled == latest
    })
    .await;
    let view = world.agent(agent).await;
    assert_eq!((view.state, view.epoch, view.pid), (AgentState::Running(Activity::Idle), 2, None));
    world.end().await;
}

#[tokio::test]
async fn the_settled_number_waits_for_the_gap() {
    let world = World::new().await;
    let agent = world.spawn().await;
    let worker = world.worker_of(agent).await;
    worker.change(|habits| habits.beats = false).await;
    // One is kept back, the next arrives: nothing from the first on may be forgotten by the worker.
    let late = worker.say_later(ended(agent, Epoch(9), true, Cause::Stopped)).await;
    worker.say(ended(agent, Epoch(8), true, Cause::Stopped)).await;
    let_pass(&world).await;
    let answer = worker.ask_what_is_settled().await;
    assert!(answer < late.seq, "{answer} is told to be settled, and {} never came", late.seq);
    worker.send(&late).await;
    wait_until("all is settled", async || worker.ask_what_is_settled().await == late.seq + 1).await;
    world.end().await;
}

#[tokio::test]
async fn a_start_and_an_end_that_come_in_the_wrong_order_end_the_run_once() {
    let world = World::new().await;
    world.launcher().next(|habits| habits.on_spawn = OnSpawn::RunSilently);
    let agent = world.order().await;
    let worker = world.worker_of(agent).await;
    wait_until("it runs", async || world.ground.ledger.place_of(agent).is_some()).await;
    worker.change(|habits| habits.on_spawn = OnSpawn::Run).await;
    let start = worker.say_later(ReportBody::Started { agent_id: agent, epoch: Epoch(1), pid: None }).await;
    worker.end(agent, Cause::Exited { code: 1 }).await;
    worker.send(&start).await;
    world.wait_epoch(agent, 2).await;
    assert_eq!(world.ground.ledger.starts(agent), 2);
    world.end().await;
}

#[tokio::test]
async fn a_worker_dies_after_its_report_and_before_it() {
    for report_first in [true, false] {
        let world = World::new().await;
        let agent = world.spawn().await;
        let worker = world.worker_of(agent).await;
        let end = worker.end_unsaid(agent, Cause::Exited { code: 1 }).await;
        if report_first {
            worker.send(&end).await;
            worker.die();
        } else {
            worker.die();
            // What it has said before its death is still on its way.
            post_for_the_dead(&world, &end).await;
        }
        world.wait_epoch(agent, 2).await;
        let_pass(&world).await;
        let view = world.agent(agent).await;
        assert_eq!((view.epoch, view.restarts), (2, 1), "report first: {report_first}");
        assert_ne!(view.process_id, Some(worker.id()));
        world.end().await;
    }
}

async fn post_for_the_dead(world: &World, report: &muster_domain::Report) {
    use muster_registry::Bus;
    let mut known = WrittenState::default();
    world
        .ground
        .memory
        .report(std::slice::from_ref(report), &AgentNews::default(), &mut known)
        .await
        .expect("memory answers");
}

#[tokio::test]
async fn a_worker_dies_while_its_agent_starts() {
    for told in [true, false] {
        let world = World::new().await;
        world.launcher().next(|habits| {
            habits.on_spawn = if told { OnSpawn::RunSilently } else { OnSpawn::Miss(u32::MAX) };
        });
        let agent = world.order().await;
        let worker = world.worker_of(agent).await;
        wait_until("it was told", async || !worker.spawns_of(agent).await.is_empty()).await;
        worker.die();
        world.wait_epoch(agent, 2).await;
        assert_ne!(world.worker_of(agent).await.id(), worker.id());
        world.end().await;
    }
}

#[tokio::test]
async fn an_agent_that_nobody_wants_there_is_stopped() {
    let world = World::new().await;
    let agent = world.spawn().await;
    let other = world.spawn().await;
    world.spawn().await;
    let (one, two) = (world.launcher().living()[0].clone(), world.launcher().living()[1].clone());
    assert_eq!(world.worker_of(agent).await.id(), one.id());
    let orphan = world.terminate(other).await.agent_id;
    let spec = one.spawns_of(orphan).await.remove(0);
    let muster_domain::Command::Spawn(order) = spec.command else { panic!("a spawn") };
    two.hold(order.agent, Epoch(1)).await;
    wait_until("it is stopped", async || !two.holds().await.contains(&orphan)).await;
    assert_eq!(world.state(agent).await, AgentState::Running(Activity::Idle), "the others go on");
    // The fake started an epoch of its own accord; that is the violation that the supervisor has mended.
    assert_eq!(world.ground.ledger.violations().len(), 1);
    world.shut_down(false).await;
}

#[tokio::test]
async fn an_agent_that_its_worker_has_lost_is_asked_for_and_runs_again() {
    let world = World::new().await;
    let agent = world.spawn().await;
    let worker = world.worker_of(agent).await;
    wait_until("its start is settled", async || {
        let (settled, latest) = worker.settled().await;
        settled == latest && latest >= 2
    })
    .await;
    worker.lose(agent).await;
    world.wait_epoch(agent, 2).await;
    world.end().await;
}

#[tokio::test]
async fn nobody_is_asked_for_whose_end_is_only_on_its_way() {
    let world = World::new().await;
    let agent = world.spawn().await;
    let worker = world.worker_of(agent).await;
    // The end is numbered and not sent: the picture lacks the agent, and a report is known to be missing.
    worker.change(|habits| habits.beats = false).await;
    let end = worker.end_unsaid(agent, Cause::Exited { code: 1 }).await;
    let told = worker.spawns_of(agent).await.len();
    worker.send(&end).await;
    worker.change(|habits| habits.beats = true).await;
    world.wait_epoch(agent, 2).await;
    let first: Vec<_> = worker.spawns_of(agent).await.into_iter().filter(|order| epoch_of(order) == Epoch(1)).collect();
    assert_eq!(first.len(), told);
    world.end().await;
}

fn epoch_of(envelope: &muster_domain::Envelope) -> Epoch {
    match &envelope.command {
        muster_domain::Command::Spawn(order) => order.epoch,
        _ => Epoch(0),
    }
}
