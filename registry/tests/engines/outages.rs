//! Redis dies, stands still, or is flushed, and comes back: nobody restarts anything by hand.

use std::time::{Duration, Instant};

use muster_domain::ReportBody;
use muster_registry::redis::RedisRegistry;
use muster_registry::{
    AgentNews, Bus, CommandDelivery, CommandStream, Registry, RegistryError, ReportStream, WrittenState,
};
use nix::sys::signal::Signal;

use crate::redis_server::{RedisServer, TIMEOUT};
use crate::samples::{Worker, probe};
use crate::{soon, wait_until};

/// What a call may take beyond its timeout on a busy machine.
const GRACE: Duration = Duration::from_millis(600);

/// A worker and a master in touch with each other.
struct Scene {
    server: RedisServer,
    of_worker: RedisRegistry,
    of_master: RedisRegistry,
    worker: Worker,
    heard: CommandStream,
    stream: Box<dyn ReportStream>,
}

impl Scene {
    async fn open() -> Self {
        let server = RedisServer::start();
        let (of_worker, of_master) = (server.engine(), server.engine());
        let worker = Worker::with_agents("p", 2).known_to(&of_worker).known_to(&of_master);
        let heard = of_worker.commands(worker.id).await.expect("a subscription");
        let stream = of_master.reports(vec![worker.pool.clone()]).await.expect("a stream");
        let mut scene = Self { server, of_worker, of_master, worker, heard, stream };
        scene.beat().await.expect("an answer");
        scene.round_trip().await;
        scene
    }

    async fn beat(&mut self) -> Result<muster_domain::HeartbeatReply, RegistryError> {
        let beat = self.worker.beat();
        self.of_worker.beat(&beat, &mut self.worker.known).await
    }

    /// A command is heard and a report read.
    async fn round_trip(&mut self) {
        let envelope = probe();
        let command_id = envelope.id;
        self.of_master.send(&[], &[(self.worker.id, envelope.clone())]).await.expect("sent");
        let delivery = soon("the command", self.heard.recv()).await.expect("the subscription stands");
        assert_eq!(delivery, CommandDelivery::Command(Box::new(envelope)));
        let report = self.worker.report(ReportBody::Probed { command_id });
        let known = &mut self.worker.known;
        self.of_worker.report(std::slice::from_ref(&report), &AgentNews::default(), known).await.expect("reported");
        loop {
            // The stream may say once that there was an outage.
            let Ok(deliveries) = soon("the report", self.stream.next()).await else { continue };
            if deliveries.iter().any(|delivery| delivery.report.as_ref() == Some(&report)) {
                return;
            }
        }
    }

    async fn resubscribed(&mut self) {
        assert_eq!(soon("the subscription", self.heard.recv()).await, Some(CommandDelivery::Resubscribed));
    }

    /// Every call says that there is nobody, and does not hang.
    async fn everything_is_unavailable(&self) {
        let mut known = WrittenState::default();
        let mut worker = Worker::new("p");
        let (beat, report) = (worker.beat(), worker.report(ReportBody::Ready));
        let (engine, id, pool) = (&self.of_master, worker.id, &worker.pool);
        unavailable("ping", engine.ping()).await;
        unavailable("beat", engine.beat(&beat, &mut known)).await;
        unavailable("pictures", engine.read_heartbeats(&[(id, 0)])).await;
        unavailable("present", engine.present()).await;
        unavailable("pools", engine.pools()).await;
        unavailable("mirror", engine.send(&[(pool.clone(), vec![(id, 1)])], &[])).await;
        unavailable("forget", engine.forget(pool, id)).await;
        unavailable("forget_pool", engine.forget_pool(pool)).await;
        unavailable("condemn", engine.condemn(id)).await;
        unavailable("generation", engine.generation()).await;
        unavailable("send", engine.send(&[], &[(id, probe())])).await;
        unavailable("report", engine.report(&[report], &AgentNews::default(), &mut known)).await;
        unavailable("settle", engine.settle(&[], &[(id, 1)])).await;
        unavailable("commands", engine.commands(id)).await;
        unavailable("check_commands", self.of_worker.check_commands(self.worker.id)).await;
    }
}

async fn unavailable<T>(call: &str, outcome: impl Future<Output = Result<T, RegistryError>>) {
    let started = Instant::now();
    let outcome = soon(call, outcome).await.map(|_| ());
    assert!(matches!(outcome, Err(RegistryError::Unavailable(_))), "{call}: {outcome:?}");
    assert!(started.elapsed() < TIMEOUT + GRACE, "{call} took {:?}", started.elapsed());
}

#[tokio::test]
async fn a_server_that_died_and_came_back_empty_is_found_again() {
    let mut scene = Scene::open().await;
    let before = scene.beat().await.expect("an answer").generation;
    scene.server.kill();
    scene.everything_is_unavailable().await;
    // The reader says it once, and then waits through the outage, longer than the client library would try.
    assert!(soon("the outage", scene.stream.next()).await.is_err());
    let more = tokio::time::timeout(Duration::from_secs(3), scene.stream.next()).await;
    assert!(more.is_err(), "an outage is told once: {more:?}");
    assert!(scene.heard.is_empty(), "not before it stands again");
    scene.server.start_again();
    scene.resubscribed().await;
    let after = scene.beat().await.expect("an answer");
    assert_ne!(before, after.generation);
    assert_eq!(scene.server.keys("agent:*").await.len(), 2, "all agents are there again");
    scene.of_worker.check_commands(scene.worker.id).await.expect("it stands");
    scene.round_trip().await;
}

#[tokio::test]
async fn a_server_that_stood_still_is_waited_for() {
    let mut scene = Scene::open().await;
    scene.server.signal(Signal::SIGSTOP);
    scene.everything_is_unavailable().await;
    assert!(soon("the outage", scene.stream.next()).await.is_err());
    scene.server.signal(Signal::SIGCONT);
    // The check gave the subscription up, so it was made anew.
    scene.resubscribed().await;
    let (engine, id) = (scene.of_worker.clone(), scene.worker.id);
    wait_until("the subscription is sound", || async { engine.check_commands(id).await.is_ok() }).await;
    wait_until("calls are answered", || async { scene.of_master.ping().await.is_ok() }).await;
    scene.beat().await.expect("an answer");
    scene.round_trip().await;
}

#[tokio::test]
async fn a_pause_shorter_than_the_timeout_is_no_outage() {
    let mut scene = Scene::open().await;
    scene.server.signal(Signal::SIGSTOP);
    let ping = scene.of_master.ping();
    let (answer, ()) = tokio::join!(ping, async {
        tokio::time::sleep(TIMEOUT / 4).await;
        scene.server.signal(Signal::SIGCONT);
    });
    assert!(answer.expect("an answer in time") >= TIMEOUT / 5);
    scene.round_trip().await;
}

#[tokio::test]
async fn a_flush_is_no_outage() {
    let mut scene = Scene::open().await;
    let before = scene.beat().await.expect("an answer").generation;
    for _ in 0..3 {
        scene.server.ask::<()>(&["FLUSHALL"]).await;
        scene.round_trip().await;
    }
    assert_ne!(scene.beat().await.expect("an answer").generation, before);
    assert!(scene.heard.is_empty(), "the subscription stood all the time");
}

#[tokio::test]
async fn scripts_that_the_server_forgot_are_sent_again() {
    let mut scene = Scene::open().await;
    scene.server.ask::<()>(&["SCRIPT", "FLUSH"]).await;
    scene.beat().await.expect("an answer");
    scene.round_trip().await;
}

#[tokio::test]
async fn a_subscriber_that_was_thrown_out_comes_back() {
    let mut scene = Scene::open().await;
    for _ in 0..3 {
        assert_eq!(scene.server.ask::<usize>(&["CLIENT", "KILL", "TYPE", "pubsub"]).await, 1);
        scene.resubscribed().await;
        scene.round_trip().await;
    }
}

#[tokio::test]
async fn a_broken_command_connection_is_made_anew_without_an_error() {
    let mut scene = Scene::open().await;
    for _ in 0..3 {
        scene.server.ask::<()>(&["CLIENT", "KILL", "TYPE", "normal"]).await;
        scene.beat().await.expect("an answer");
        scene.round_trip().await;
    }
}

#[tokio::test]
async fn a_server_that_is_away_at_the_start_is_an_error_of_the_first_call() {
    let mut server = RedisServer::start();
    server.kill();
    let engine = server.engine();
    let worker = Worker::new("p");
    unavailable("ping", engine.ping()).await;
    unavailable("commands", engine.commands(worker.id)).await;
    server.start_again();
    engine.ping().await.expect("an answer");
    engine.commands(worker.id).await.expect("a subscription");
}
