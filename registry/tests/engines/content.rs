//! What operators see in Redis, and what strangers may put there.

use futures_util::StreamExt;
use muster_domain::{AgentId, ObservedState, ReportBody};
use muster_registry::{AgentNews, Bus, CommandDelivery, Registry, WrittenState};

use crate::redis_server::{RedisServer, TIMEOUT};
use crate::samples::{Worker, idle_agent, news, pool, probe};
use crate::{soon, wait_until};

#[tokio::test]
async fn the_keys_are_those_that_operators_type() {
    let server = RedisServer::start();
    let engine = server.engine();
    let mut worker = Worker::with_agents("p", 2);
    let beat = worker.beat();
    engine.beat(&beat, &mut worker.known).await.expect("an answer");
    engine.condemn(worker.id).await.expect("condemned");
    let mut agents: Vec<String> = worker.agents.iter().map(|agent| format!("agent:{}", agent.agent_id)).collect();
    agents.sort();
    assert_eq!(server.keys("agent:*").await, agents);
    assert_eq!(server.keys("process:*").await, [format!("process:{}", worker.id)]);
    let worker_key = format!("process:{}", worker.id);
    let fields = ["pid", "host", "pool_name", "agent_count", "capacity", "status", "started_at", "number"];
    let mut ask = vec!["HMGET", &worker_key];
    ask.extend(fields);
    let values: Vec<String> = server.ask(&ask).await;
    assert_eq!(values, ["4711", "here", "p", "2", "10", "ready", "2025-11-21T03:20:00.123Z", "1"]);
    let last: String = server.ask(&["HGET", &worker_key, "last_heartbeat"]).await;
    assert!(last.starts_with("20") && last.ends_with('Z'), "{last}");
    let picture: String = server.ask(&["HGET", &worker_key, "picture"]).await;
    assert_eq!(serde_json::from_str::<muster_domain::Heartbeat>(&picture).expect("a beat"), beat);
    assert!(server.ask::<i64>(&["TTL", &worker_key]).await > 3000);
    let fields = ["process_id", "pool_name", "role_type", "project_id", "status", "epoch", "updated_at", "pid"];
    let mut ask = vec!["HMGET", &agents[0]];
    ask.extend(fields);
    let values: Vec<String> = server.ask(&ask).await;
    let id = worker.id.to_string();
    let project = &worker.agents[0].project_id;
    assert_eq!(values, [&id, "p", "developer", project, "idle", "1", "2025-11-21T03:20:00.123Z", "99"]);
    for set in ["pool:p:agents", &format!("pool:p:process:{id}:agents")] {
        assert_eq!(server.ask::<usize>(&["SCARD", set]).await, 2, "{set}");
    }
}

#[tokio::test]
async fn only_agents_that_changed_are_written() {
    let server = RedisServer::start();
    let engine = server.engine();
    let mut worker = Worker::with_agents("p", 3);
    let beat = worker.beat();
    engine.beat(&beat, &mut worker.known).await.expect("an answer");
    let keys = server.keys("agent:*").await;
    server.ask::<()>(&["DEL", &keys[0], &keys[1], &keys[2]]).await;
    worker.agents[1].state = ObservedState::Stopping;
    let (new, changed) = (idle_agent(AgentId::generate(), 1), worker.agents[1].agent_id);
    worker.agents.push(new.clone());
    let beat = worker.beat();
    engine.beat(&beat, &mut worker.known).await.expect("an answer");
    let mut expected = [format!("agent:{changed}"), format!("agent:{}", new.agent_id)];
    expected.sort();
    assert_eq!(server.keys("agent:*").await, expected, "the others were not written again");
}

#[tokio::test]
async fn a_late_beat_does_not_hide_a_later_one() {
    let server = RedisServer::start();
    let engine = server.engine();
    let mut worker = Worker::with_agents("p", 1);
    let (former, latter) = (worker.beat(), worker.beat());
    engine.beat(&latter, &mut worker.known).await.expect("an answer");
    engine.beat(&former, &mut WrittenState::default()).await.expect("an answer");
    let seen = engine.read_heartbeats(&[(worker.id, 0)]).await.expect("pictures").seen;
    assert_eq!(seen[0].number, 2);
}

#[tokio::test]
async fn two_prefixes_are_two_worlds() {
    let server = RedisServer::start();
    let (one, other) = (server.engine_with_prefix("one:"), server.engine_with_prefix("o*:"));
    let mut worker = Worker::with_agents("p", 1);
    let mut twin = Worker::with_agents("p", 1);
    for (engine, worker) in [(&one, &mut worker), (&other, &mut twin)] {
        let beat = worker.beat();
        engine.beat(&beat, &mut worker.known).await.expect("an answer");
        engine.send(&[(worker.pool.clone(), vec![(worker.id, 9)])], &[]).await.expect("mirrored");
    }
    assert!(server.keys("agent:*").await.is_empty());
    assert_eq!(other.present().await.expect("ids"), [twin.id], "a prefix is no pattern");
    other.forget_pool(&pool("p")).await.expect("forgotten");
    other.forget(&pool("p"), twin.id).await.expect("forgotten");
    assert_eq!(server.keys("o[*]:*").await, ["o*:supervisor:generation"]);
    assert_eq!(server.keys("one:*").await.len(), 6);
}

#[tokio::test]
async fn rubbish_on_a_channel_is_said_to_be_unreadable() {
    let server = RedisServer::start();
    let engine = server.engine();
    let worker = Worker::new("p");
    let mut heard = engine.commands(worker.id).await.expect("a subscription");
    let channel = format!("process:{}:commands", worker.id);
    for rubbish in ["", "{}", "\u{1}", r#"{"v":77}"#] {
        assert_eq!(server.ask::<usize>(&["PUBLISH", &channel, rubbish]).await, 1);
        let delivery = soon("a delivery", heard.recv()).await.expect("it stands");
        assert!(matches!(delivery, CommandDelivery::Unreadable(_)), "{delivery:?}");
    }
    engine.send(&[], &[(worker.id, probe())]).await.expect("sent");
    assert!(matches!(soon("a delivery", heard.recv()).await, Some(CommandDelivery::Command(_))));
}

#[tokio::test]
async fn rubbish_on_a_stream_can_be_settled() {
    let server = RedisServer::start();
    let engine = server.engine();
    let mut stream = engine.reports(vec![pool("p")]).await.expect("a stream");
    server.ask::<()>(&["XADD", "pool:p:reports", "*", "report", "{"]).await;
    server.ask::<()>(&["XADD", "pool:p:reports", "*", "something", "else"]).await;
    let mut deliveries = Vec::new();
    while deliveries.len() < 2 {
        deliveries.extend(soon("deliveries", stream.next()).await.expect("deliveries"));
    }
    assert!(deliveries.iter().all(|delivery| delivery.report.is_none()), "{deliveries:?}");
    engine.settle(&deliveries, &[]).await.expect("settled");
    assert_eq!(server.ask::<usize>(&["XLEN", "pool:p:reports"]).await, 0);
}

#[tokio::test]
async fn a_picture_of_another_language_hides_no_other() {
    let server = RedisServer::start();
    let engine = server.engine();
    let (mut odd, mut plain) = (Worker::new("p"), Worker::new("p"));
    for worker in [&mut odd, &mut plain] {
        let beat = worker.beat();
        engine.beat(&beat, &mut worker.known).await.expect("an answer");
    }
    server.ask::<()>(&["HSET", &format!("process:{}", odd.id), "picture", "?"]).await;
    let seen = engine.read_heartbeats(&[(odd.id, 0), (plain.id, 0)]).await.expect("pictures").seen;
    assert_eq!(seen.iter().map(|seen| (seen.number, seen.beat.is_some())).collect::<Vec<_>>(), [(1, false), (1, true)]);
}

#[tokio::test]
async fn operators_can_watch_a_pool() {
    let server = RedisServer::start();
    let engine = server.engine();
    let mut worker = Worker::new("p");
    let client = redis::Client::open(server.target("").url).expect("an address");
    let mut watching = client.get_async_pubsub().await.expect("the server answers");
    watching.subscribe("pool:p:events").await.expect("subscribed");
    let agent = idle_agent(AgentId::generate(), 1);
    let report = worker.started(&agent);
    engine.report(std::slice::from_ref(&report), &news(&[agent]), &mut worker.known).await.expect("reported");
    let message = soon("an event", watching.on_message().next()).await.expect("an event");
    assert_eq!(serde_json::from_slice::<muster_domain::Report>(message.get_payload_bytes()).expect("JSON"), report);
}

#[tokio::test]
async fn entries_from_before_the_last_one_are_read_after_a_flush() {
    let server = RedisServer::start();
    let engine = server.engine();
    let mut worker = Worker::new("p").keyless_to(&engine);
    let mut stream = engine.reports(vec![worker.pool.clone()]).await.expect("a stream");
    let report = worker.report(ReportBody::Ready);
    engine.report(std::slice::from_ref(&report), &AgentNews::default(), &mut worker.known).await.expect("reported");
    soon("the report", stream.next()).await.expect("reports");
    // As a server does whose clock was set back: the new life's entries have lower ids than those that were read.
    let text = serde_json::to_string(&report).expect("JSON");
    let mut restart = redis::pipe();
    restart.cmd("FLUSHALL").cmd("XADD").arg(&["pool:p:reports", "5-1", "report", &text]);
    server.run(&restart).await;
    let deliveries = soon("the report of the new life", stream.next()).await.expect("reports");
    assert_eq!((deliveries[0].entry.as_str(), deliveries[0].report.as_ref()), ("5-1", Some(&report)));
}

#[tokio::test]
async fn a_worker_and_a_master_hold_two_connections_each() {
    let server = RedisServer::start();
    let (of_worker, of_master) = (server.engine(), server.engine());
    let mut worker = Worker::with_agents("p", 1);
    let beat = worker.beat();
    let (heard, answer) = tokio::join!(of_worker.commands(worker.id), of_worker.beat(&beat, &mut worker.known));
    answer.expect("an answer");
    let mut stream = of_master.reports(vec![worker.pool.clone()]).await.expect("a stream");
    let report = worker.report(ReportBody::Ready);
    of_worker.report(&[report], &AgentNews::default(), &mut worker.known).await.expect("reported");
    soon("reports", stream.next()).await.expect("reports");
    of_master.ping().await.expect("an answer");
    assert_eq!(connections(&server).await, 4);
    stream.watch(vec![worker.pool.clone(), pool("q")]);
    let _ = tokio::time::timeout(TIMEOUT / 4, stream.next()).await;
    wait_until("the former reading connection is closed", || async { connections(&server).await == 4 }).await;
    drop((heard, of_worker, of_master, stream));
    wait_until("all are closed", || async { connections(&server).await == 0 }).await;
}

/// Connections beside the one that asks.
async fn connections(server: &RedisServer) -> usize {
    server.ask::<String>(&["CLIENT", "LIST"]).await.lines().count() - 1
}

/// The worker's hash is written by what changed of it; what is left out must be there.
#[tokio::test]
async fn a_workers_hash_is_whole_after_each_beat_whatever_became_of_it() {
    let server = RedisServer::start();
    let engine = server.engine();
    let mut worker = Worker::with_agents("p", 2).known_to(&engine);
    let key = format!("process:{}", worker.id);
    let fields = [
        "pid",
        "host",
        "pool_name",
        "agent_count",
        "capacity",
        "status",
        "started_at",
        "last_heartbeat",
        "number",
        "beat_at",
        "cpu_percent",
        "rss_bytes",
        "picture",
        "picture_code",
    ];
    let ways: [&[&str]; 6] = [
        &["PING"],
        &["DEL", &key],
        &["FLUSHALL"],
        &["HDEL", &key, "number"],
        &["EVAL", "redis.call('DEL', KEYS[1]) redis.call('RPUSH', KEYS[1], 'x') return 1", "1", &key],
        &["PING"],
    ];
    for way in ways {
        server.ask::<redis::Value>(way).await;
        // A key that was of another type is whole with the beat after the one that replaced it.
        for _ in 0..2 {
            let beat = worker.beat();
            let answer = engine.beat(&beat, &mut worker.known).await.expect("an answer");
            assert_eq!(answer.number, beat.number, "{way:?}");
        }
        let seen = engine.read_heartbeats(&[(worker.id, 0)]).await.expect("pictures").seen;
        assert!(seen[0].beat.as_ref().is_some_and(|beat| beat.agents.len() == 2), "{way:?}");
        let ask: Vec<&str> = ["HMGET", key.as_str()].into_iter().chain(fields).collect();
        let values: Vec<Option<String>> = server.ask(&ask).await;
        assert!(values.iter().all(Option::is_some), "{way:?}: {values:?}");
        assert!(server.ask::<i64>(&["TTL", &key]).await > 3500, "{way:?}");
        assert_eq!(server.keys("agent:*").await.len(), 2, "{way:?}");
    }
}

#[tokio::test]
async fn what_changes_of_a_worker_is_in_its_hash_with_the_next_beat() {
    let server = RedisServer::start();
    let engine = server.engine();
    let mut worker = Worker::with_agents("p", 2);
    let key = format!("process:{}", worker.id);
    for capacity in [10, 10, 11, 12, 12] {
        let beat = muster_domain::Heartbeat { capacity, ..worker.beat() };
        engine.beat(&beat, &mut worker.known).await.expect("an answer");
        let held: Vec<String> = server.ask(&["HMGET", &key, "capacity", "number", "agent_count"]).await;
        assert_eq!(held, [capacity.to_string(), beat.number.to_string(), "2".to_owned()]);
    }
}

/// The hour in which the hash goes begins anew with every few beats.
#[tokio::test]
async fn a_worker_that_beats_does_not_expire() {
    let server = RedisServer::start();
    let engine = server.engine();
    let mut worker = Worker::with_agents("p", 1);
    let key = format!("process:{}", worker.id);
    let mut left = Vec::new();
    for _ in 0..11 {
        let beat = worker.beat();
        engine.beat(&beat, &mut worker.known).await.expect("an answer");
        left.push(server.ask::<i64>(&["TTL", &key]).await > 60);
        server.ask::<()>(&["EXPIRE", &key, "60"]).await;
    }
    let anew: Vec<usize> = left.iter().enumerate().filter(|(_, is_anew)| **is_anew).map(|(beat, _)| beat).collect();
    assert_eq!(anew, [0, 4, 9], "of beats by their place");
    let rare = muster_domain::Heartbeat { interval: Some(std::time::Duration::from_secs(600)), ..worker.beat() };
    engine.beat(&rare, &mut WrittenState::default()).await.expect("an answer");
    assert!(server.ask::<i64>(&["TTL", &key]).await > 4 * 5 * 600 - 10, "one that seldom beats lives for longer");
}

/// A beat that was overtaken has written nothing, so nothing of it counts as written.
#[tokio::test]
async fn what_a_beat_that_was_overtaken_left_out_is_written_by_the_next() {
    let server = RedisServer::start();
    let engine = server.engine();
    let mut worker = Worker::with_agents("p", 1);
    let key = format!("process:{}", worker.id);
    let beat = worker.beat();
    engine.beat(&beat, &mut worker.known).await.expect("an answer");
    server.ask::<()>(&["HSET", &key, "number", "3"]).await;
    let overtaken = muster_domain::Heartbeat { capacity: 77, ..worker.beat() };
    engine.beat(&overtaken, &mut worker.known).await.expect("an answer");
    assert_eq!(server.ask::<String>(&["HGET", &key, "capacity"]).await, "10");
    worker.beat();
    let next = muster_domain::Heartbeat { capacity: 77, ..worker.beat() };
    engine.beat(&next, &mut worker.known).await.expect("an answer");
    assert_eq!(server.ask::<String>(&["HGET", &key, "capacity"]).await, "77");
}
