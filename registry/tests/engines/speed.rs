//! Prints figures. Run with `cargo test -p muster-registry -- --ignored --nocapture figures`.

use std::time::{Duration, Instant};

use muster_domain::ReportBody;
use muster_registry::{AgentNews, Bus, CommandDelivery, Registry};

use crate::redis_server::RedisServer;
use crate::samples::{Worker, pool, probe};

fn tell(what: &str, mut times: Vec<Duration>) {
    times.sort();
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];
    println!("{what}: p50 {:?}, p99 {:?}, of {}", at(0.5), at(0.99), times.len());
}

/// A worker that answers probes, on a thread and a runtime of its own, as its process has.
fn answer_probes(server: &RedisServer, mut worker: Worker) {
    let engine = server.engine();
    worker = worker.known_to(&engine);
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async move {
            let mut heard = engine.commands(worker.id).await.expect("a subscription");
            ready.send(()).expect("somebody waits");
            while let Some(CommandDelivery::Command(envelope)) = heard.recv().await {
                let report = worker.report(ReportBody::Probed { command_id: envelope.id });
                let _ = engine.report(&[report], &AgentNews::default(), &mut worker.known).await;
            }
        });
    });
    is_ready.recv().expect("the worker is subscribed");
}

#[tokio::test]
#[ignore = "prints figures for a person"]
async fn figures() {
    let server = RedisServer::start();
    let master = server.engine();
    let worker = Worker::new("p").known_to(&master);
    let id = worker.id;
    answer_probes(&server, worker);
    let mut stream = master.reports(vec![pool("p")]).await.expect("a stream");
    let mut times = Vec::new();
    for round in 0..3000 {
        let started = Instant::now();
        let envelope = probe();
        master.send(&[], &[(id, envelope)]).await.expect("sent");
        let deliveries = stream.next().await.expect("reports");
        if round >= 500 {
            times.push(started.elapsed());
        }
        master.settle(&deliveries, &[(id, round)]).await.expect("settled");
    }
    tell("command, report and its reading", times);
    let times = (0..2000).map(|_| async {
        let started = Instant::now();
        master.ping().await.expect("an answer");
        started.elapsed()
    });
    let mut pings = Vec::new();
    for time in times {
        pings.push(time.await);
    }
    tell("a bare PING", pings);
    beats(&server, false).await;
    beats(&server, true).await;
    starts(&server).await;
}

async fn beats(server: &RedisServer, is_signed: bool) {
    let engine = server.engine();
    let mut worker = Worker::with_agents("p", 10);
    if is_signed {
        worker = worker.known_to(&engine);
    }
    let mut times = Vec::new();
    server.ask::<()>(&["CONFIG", "RESETSTAT"]).await;
    for _ in 0..2000 {
        let beat = worker.beat();
        let started = Instant::now();
        engine.beat(&beat, &mut worker.known).await.expect("an answer");
        times.push(started.elapsed());
    }
    tell(if is_signed { "a signed beat of ten agents" } else { "a beat of ten agents" }, times);
    let stats: String = server.ask(&["INFO", "commandstats"]).await;
    println!("{}", stats.lines().find(|line| line.contains("evalsha")).unwrap_or_default());
}

async fn starts(server: &RedisServer) {
    let mut times = Vec::new();
    for _ in 0..300 {
        let mut worker = Worker::new("p");
        let started = Instant::now();
        let engine = server.engine();
        let beat = worker.beat();
        let (heard, answer) = tokio::join!(engine.commands(worker.id), engine.beat(&beat, &mut worker.known));
        answer.expect("an answer");
        let report = worker.report(ReportBody::Ready);
        engine.report(&[report], &AgentNews::default(), &mut worker.known).await.expect("reported");
        times.push(started.elapsed());
        drop(heard);
    }
    tell("a worker connects, subscribes, beats and reports", times);
}
