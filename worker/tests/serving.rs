//! A worker with echo agents, in virtual time: its post, its heartbeats and its ways to end.

mod bench;

use std::time::Duration;

use bench::{Bench, FENCE, PATIENCE, spawn, wait_until, word};
use muster_domain::{
    Activity, AgentId, Command, Envelope, Fence, ObservedState, ProbeAnswer, ReportBody, RuntimeProfile, WorkerState,
};
use muster_process::DataLock;
use muster_process::probe_socket::{self, ProbeReply};
use muster_registry::testing::FaultyRegistry;
use muster_registry::{Bus, CommandDelivery, Registry};
use muster_worker::WorkerExit;
use tokio::time::{Instant, advance};

const BEAT: Duration = Duration::from_secs(2);

fn agents<const N: usize>() -> [AgentId; N] {
    std::array::from_fn(|_| AgentId::generate())
}

#[tokio::test(start_paused = true)]
async fn an_agent_is_spawned_repeated_and_terminated() {
    let mut bench = Bench::echo().await;
    let [agent] = agents();
    bench.spawn(agent, 1).await;
    assert_eq!(bench.words(1).await, ["started 1"]);
    let (worker, picture) = bench.engine.memory().agent(agent).expect("in the registry when its start is known");
    assert_eq!((worker, picture.state, picture.pid), (bench.worker, ObservedState::Running(Activity::Idle), None));
    bench.settle().await;
    bench.beat_where(|beat| beat.dropped == 2).await;
    bench.spawn(agent, 1).await;
    assert_eq!(bench.words(1).await, ["started 1"]);
    bench.terminate(agent, 1, true).await;
    assert_eq!(bench.words(1).await, ["ended 1: was stopped"]);
    assert_eq!(bench.engine.memory().agent(agent), None);
    bench.terminate(agent, 1, true).await;
    bench.spawn(agent, 1).await;
    assert_eq!(word(&bench.next_of_any().await.body), "ended 1: was stopped", "one report for both");
}

#[tokio::test(start_paused = true)]
async fn commands_that_came_together_are_answered_in_one_call() {
    let mut bench = Bench::start(RuntimeProfile::Echo, |orders| orders.capacity = 50).await;
    let calls = bench.engine.calls("report");
    let batch: Vec<_> = (0..51).map(|_| (bench.worker, Envelope::new(FENCE, spawn(AgentId::generate(), 1)))).collect();
    bench.engine.send(&[], &batch).await.expect("sent");
    let words = bench.words(51).await;
    assert!(words[..50].iter().all(|word| word == "started 1"), "{words:?}");
    assert_eq!(words[50], "refused 1: all of its 50 slots are taken");
    assert_eq!(bench.engine.calls("report") - calls, 1);
}

#[tokio::test(start_paused = true)]
async fn a_beat_shows_the_whole_picture_and_its_number_rises() {
    let mut bench = Bench::echo().await;
    let [agent] = agents();
    bench.spawn(agent, 4).await;
    bench.words(1).await;
    let before = Instant::now();
    let beat = bench.beat_where(|beat| beat.number == 2).await;
    assert!(before.elapsed() <= BEAT + Duration::from_millis(10), "{:?}", before.elapsed());
    assert_eq!((beat.status, beat.capacity, beat.fence, beat.reported), (WorkerState::Ready, 2, FENCE, 2));
    assert_eq!(beat.agents.iter().map(|agent| agent.epoch.0).collect::<Vec<_>>(), [4]);
    assert!(beat.rss_bytes > 0);
    bench.send_by(Fence(9), Command::Probe).await;
    assert_eq!(bench.words(1).await, ["probed"]);
    assert_eq!(bench.beat_where(|beat| beat.number == 3).await.fence, Fence(9));
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_rests_does_nothing_between_beats() {
    let mut bench = Bench::start(RuntimeProfile::Echo, |orders| orders.clocks.heartbeat = BEAT * 5).await;
    bench.settle().await;
    bench.beat_where(|beat| beat.dropped == 1).await;
    let calls = || (bench.engine.calls("beat"), bench.engine.calls("report"));
    let before = calls();
    tokio::time::sleep(BEAT * 5 * 10).await;
    assert_eq!(calls(), (before.0 + 10, before.1));
}

#[tokio::test(start_paused = true)]
async fn after_a_flush_everything_that_is_not_settled_is_sent_again() {
    let mut bench = Bench::echo().await;
    let [one, two] = agents();
    bench.spawn(one, 1).await;
    bench.words(1).await;
    bench.settle().await;
    bench.beat_where(|beat| beat.dropped == 2).await;
    bench.spawn(two, 1).await;
    let lost = bench.next().await;
    bench.engine.memory().flush();
    let again = bench.next_of_any().await;
    assert_eq!(again, lost, "the same report, with the same number");
    assert!(bench.engine.memory().agent(one).is_some() && bench.engine.memory().agent(two).is_some());
}

#[tokio::test(start_paused = true)]
async fn after_a_reconnection_of_the_subscription_it_beats_at_once_and_sends_again() {
    let mut bench = Bench::echo().await;
    let begin = Instant::now();
    bench.engine.delivery(bench.worker, CommandDelivery::Unreadable("a message of a later version".into()));
    bench.engine.delivery(bench.worker, CommandDelivery::Resubscribed);
    assert_eq!(bench.next_of_any().await.body, ReportBody::Ready);
    bench.beat_where(|beat| beat.number == 2).await;
    assert!(begin.elapsed() < BEAT / 10);
}

#[tokio::test(start_paused = true)]
async fn a_replaced_leader_neither_drains_nor_shuts_down() {
    let mut bench = Bench::echo().await;
    bench.send_by(Fence(2), Command::Drain).await;
    bench.send_by(Fence(2), Command::Shutdown { graceful: false }).await;
    bench.send_by(Fence(2), spawn(AgentId::generate(), 1)).await;
    bench.send_by(FENCE, Command::Probe).await;
    assert_eq!(bench.words(2).await, ["refused 1: it has seen the leader with fence 3", "probed"]);
    assert_eq!(bench.beat_where(|beat| beat.number == 2).await.status, WorkerState::Ready);
}

#[tokio::test(start_paused = true)]
async fn what_is_not_settled_for_a_heartbeat_is_sent_again_and_what_is_settled_never() {
    let mut bench = Bench::echo().await;
    let start = Instant::now();
    assert_eq!(bench.next_of_any().await.body, ReportBody::Ready);
    assert!(start.elapsed() > BEAT && start.elapsed() < BEAT * 3, "{:?}", start.elapsed());
    bench.settle().await;
    bench.beat_where(|beat| beat.dropped == 1).await;
    let calls = bench.engine.calls("report");
    tokio::time::sleep(BEAT * 20).await;
    assert_eq!(bench.engine.calls("report"), calls);
}

#[tokio::test(start_paused = true)]
async fn an_outage_stops_nothing_and_loses_nothing() {
    let mut bench = Bench::echo().await;
    let [one, two] = agents();
    bench.spawn(one, 1).await;
    bench.words(1).await;
    bench.settle().await;
    bench.beat_where(|beat| beat.dropped == 2).await;
    bench.lead(Duration::from_secs(3600)).await;
    bench.switch(true);
    // The in-memory engine still carries commands; each is obeyed, and its report waits.
    bench.spawn(two, 1).await;
    bench.terminate(one, 1, true).await;
    let beats = bench.engine.calls("beat");
    tokio::time::sleep(Duration::from_secs(60)).await;
    let tried = bench.engine.calls("beat") - beats;
    assert!((29..40).contains(&tried), "beats are the probe, {tried} in 60 s");
    assert!(!bench.is_over());
    bench.switch(false);
    let back = Instant::now();
    assert_eq!(bench.words(2).await, ["started 1", "ended 1: was stopped"]);
    assert!(back.elapsed() <= BEAT);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_starts_in_an_outage_becomes_ready_when_it_is_over() {
    let engine = FaultyRegistry::default();
    engine.leave();
    let mut bench = Bench::begin(engine, RuntimeProfile::Echo, |_| {}).await;
    advance(Duration::from_secs(10)).await;
    bench.switch(false);
    assert_eq!(bench.words(1).await, ["ready"]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_without_a_master_that_cannot_subscribe_gives_up_after_its_start_timeout() {
    let engine = FaultyRegistry::default();
    engine.leave();
    let start = Instant::now();
    let bench = Bench::begin(engine, RuntimeProfile::Echo, |_| {}).await;
    let error = bench.fail().await;
    assert!(error.contains("could not subscribe"), "{error}");
    assert!(start.elapsed() >= Duration::from_secs(30) && start.elapsed() < Duration::from_secs(33));
}

#[tokio::test(start_paused = true)]
async fn a_drained_worker_refuses_spawns_and_ends_with_its_last_agent() {
    let mut bench = Bench::echo().await;
    let [one, two] = agents();
    bench.spawn(one, 1).await;
    bench.words(1).await;
    let sent = Instant::now();
    bench.send(Command::Drain).await;
    bench.beat_where(|beat| beat.status == WorkerState::Draining).await;
    assert!(sent.elapsed() < BEAT / 10, "said at once, not with the next beat");
    bench.spawn(two, 1).await;
    assert_eq!(bench.words(1).await, ["refused 1: it is draining"]);
    tokio::time::sleep(BEAT * 3).await;
    assert!(!bench.is_over(), "its agent goes on");
    bench.terminate(one, 1, true).await;
    assert_eq!(bench.exit().await, WorkerExit::Drained);
    let last = bench.picture().await;
    assert_eq!((last.status, last.agents.len(), last.reported), (WorkerState::Draining, 0, 4));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_ends_every_agent_reports_it_and_waits_briefly_for_the_settlement() {
    let mut bench = Bench::echo().await;
    let [one, two] = agents();
    bench.spawn(one, 1).await;
    bench.spawn(two, 1).await;
    bench.words(2).await;
    bench.send(Command::Shutdown { graceful: true }).await;
    assert_eq!(bench.words(2).await, ["ended 1: was stopped", "ended 1: was stopped"]);
    let begin = Instant::now();
    bench.settle().await;
    assert_eq!(bench.exit().await, WorkerExit::ShutDown);
    assert!(begin.elapsed() < Duration::from_millis(100), "settled, so there is nothing to wait for");
    assert_eq!(bench.picture().await.agents, []);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_without_anybody_who_settles_is_bounded() {
    for away in [false, true] {
        let mut bench = Bench::echo().await;
        bench.switch(away);
        let begin = Instant::now();
        bench.stop.drain();
        assert_eq!(bench.exit().await, WorkerExit::ShutDown);
        assert!(begin.elapsed() < Duration::from_millis(if away { 100 } else { 1100 }), "{:?}", begin.elapsed());
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_was_given_up_kills_its_agents_and_says_nothing_more() {
    let mut bench = Bench::echo().await;
    let [agent] = agents();
    bench.spawn(agent, 1).await;
    bench.words(1).await;
    bench.engine.condemn(bench.worker).await.expect("condemned");
    let calls = bench.engine.calls("report");
    assert_eq!(bench.exit().await, WorkerExit::Fenced);
    assert_eq!(bench.engine.calls("report"), calls);
}

#[tokio::test(start_paused = true)]
async fn a_killed_worker_says_nothing() {
    let mut bench = Bench::echo().await;
    let beats = bench.engine.calls("beat");
    bench.stop.kill();
    assert_eq!(bench.exit().await, WorkerExit::Killed);
    assert_eq!(bench.engine.calls("beat"), beats);
}

#[tokio::test(start_paused = true)]
async fn an_orphan_ends_only_after_a_long_time_without_any_master() {
    let mut bench = Bench::echo().await;
    let [agent] = agents();
    bench.spawn(agent, 1).await;
    bench.words(1).await;
    let orphan_after = Duration::from_secs(600);
    tokio::time::sleep(orphan_after / 2).await;
    bench.lead(BEAT * 2).await;
    let led = Instant::now();
    assert_eq!(bench.exit().await, WorkerExit::Orphaned);
    assert!(led.elapsed() >= orphan_after && led.elapsed() < orphan_after + BEAT * 5, "{:?}", led.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_orphan_that_drains_does_not_wait_for_ever() {
    let mut bench = Bench::echo().await;
    bench.spawn(AgentId::generate(), 1).await;
    bench.words(1).await;
    bench.send(Command::Drain).await;
    assert_eq!(bench.exit().await, WorkerExit::Orphaned);
    assert_eq!(bench.words(2).await, ["idle 1", "ended 1: was stopped"]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_whose_master_holds_the_lock_is_no_orphan_while_the_registry_is_away() {
    let mut bench = Bench::echo().await;
    let lock = muster_process::DataLock::acquire(&bench.data.path().join("lock")).expect("a file").expect("free");
    bench.switch(true);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert!(!bench.is_over());
    drop(lock);
    assert_eq!(bench.exit().await, WorkerExit::Orphaned);
}

#[tokio::test(start_paused = true)]
async fn idleness_is_reported_until_somebody_acts() {
    let mut bench = Bench::echo().await;
    let [agent] = agents();
    bench.spawn(agent, 1).await;
    bench.words(1).await;
    for _ in 0..2 {
        bench.settle().await;
        let begin = Instant::now();
        let ReportBody::IdleTooLong { agent_id, .. } = bench.next().await.body else { panic!("idle") };
        assert_eq!(agent_id, agent);
        assert!(begin.elapsed() > Duration::from_secs(290) && begin.elapsed() < Duration::from_secs(301));
    }
    bench.terminate(agent, 1, true).await;
    assert_eq!(bench.words(1).await, ["ended 1: was stopped"]);
}

/// What a worker says at its probe socket. In real time: a clock that is set forth does not wait for sockets.
async fn asked(bench: &Bench) -> ProbeAnswer {
    let asked = probe_socket::ask(bench.worker, std::process::id(), PATIENCE).await.expect("it can be asked");
    let ProbeReply::Words(words) = asked else { panic!("{asked:?}") };
    let vitals: ProbeAnswer = serde_json::from_slice(&words).expect("its words");
    assert_eq!(vitals.process_id, bench.worker);
    vitals
}

#[tokio::test]
async fn at_its_probe_socket_it_says_what_keeps_it_from_being_heard() {
    let bench = Bench::start(RuntimeProfile::Echo, |orders| orders.clocks.heartbeat = Duration::from_millis(20)).await;
    assert_eq!(asked(&bench).await.trouble, None);
    bench.switch(true);
    let beats = bench.engine.calls("beat");
    wait_until("more beats", async || (bench.engine.calls("beat") > beats + 2).then_some(())).await;
    let vitals = asked(&bench).await;
    assert!(vitals.beats > beats, "{vitals:?}");
    let error = vitals.trouble.expect("some trouble").error;
    assert_eq!(error, "its heartbeats do not get through: the registry is not available: no connection");
    bench.switch(false);
    let beats = bench.engine.calls("beat");
    wait_until("more beats", async || (bench.engine.calls("beat") > beats + 2).then_some(())).await;
    assert_eq!(asked(&bench).await.trouble, None);
}

#[tokio::test]
async fn one_that_cannot_subscribe_waits_for_as_long_as_there_is_a_master_and_says_why() {
    let engine = FaultyRegistry::default();
    engine.leave();
    let mut lock = None;
    let timeout = Duration::from_millis(100);
    let bench = Bench::begin(engine, RuntimeProfile::Echo, |orders| {
        orders.clocks.start_timeout = timeout;
        lock = DataLock::acquire(&orders.lock_file).expect("a lock");
    })
    .await;
    let said = async || asked(&bench).await.trouble.expect("some trouble");
    let start = std::time::Instant::now();
    while said().await.for_ms < 3 * 100 {
        assert!(start.elapsed() < PATIENCE && !bench.is_over());
        tokio::time::sleep(timeout / 10).await;
    }
    assert!(
        said().await.error.contains("can't subscribe to its commands: the registry is not available: no connection")
    );
    drop(lock);
    let error = bench.fail().await;
    assert!(error.contains("could not subscribe"), "{error}");
}
