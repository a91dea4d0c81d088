//! Somebody else writes under our names: each key heals by itself, and what is about others goes on.

use std::time::Duration;

use muster_domain::{AgentId, Fence, ObservedState, ReportBody, Timestamp};
use muster_registry::redis::RedisRegistry;
use muster_registry::{AgentNews, Bus, LeaderMirror, Registry, ReportStream};

use crate::redis_server::RedisServer;
use crate::samples::{Worker, idle_agent, pool};
use crate::{soon, wait_until};

/// A worker, and a master that reads the reports of two pools.
struct Scene {
    server: RedisServer,
    of_worker: RedisRegistry,
    of_master: RedisRegistry,
    worker: Worker,
    stream: Box<dyn ReportStream>,
}

impl Scene {
    async fn open() -> Self {
        let server = RedisServer::start();
        let (of_worker, of_master) = (server.engine(), server.engine());
        let worker = Worker::with_agents("p", 2).known_to(&of_worker).known_to(&of_master);
        let stream = of_master.reports(vec![pool("other"), worker.pool.clone()]).await.expect("a stream");
        let mut scene = Self { server, of_worker, of_master, worker, stream };
        scene.work().await;
        scene
    }

    fn keys(&self) -> Vec<(String, &'static str)> {
        let (id, agent) = (self.worker.id, self.worker.agents[0].agent_id);
        vec![
            ("supervisor:generation".to_owned(), "string"),
            (format!("process:{id}"), "hash"),
            (format!("agent:{agent}"), "hash"),
            ("pool:p:agents".to_owned(), "set"),
            (format!("pool:p:process:{id}:agents"), "set"),
            ("pool:p:processes".to_owned(), "zset"),
            ("pool:p:reports".to_owned(), "stream"),
        ]
    }

    async fn beat(&mut self) {
        let beat = self.worker.beat();
        self.of_worker.beat(&beat, &mut self.worker.known).await.expect("an answer");
    }

    /// All that a master and a worker do with each other, and each call of it succeeds.
    async fn work(&mut self) {
        let id = self.worker.id;
        let slots = [(self.worker.pool.clone(), vec![(id, 8)])];
        self.of_master.send(&slots, &[]).await.expect("sent");
        let report = self.worker.report(ReportBody::Ready);
        let known = &mut self.worker.known;
        self.of_worker.report(std::slice::from_ref(&report), &AgentNews::default(), known).await.expect("reported");
        let deliveries = loop {
            let deliveries = soon("the report", self.stream.next()).await.expect("reports");
            if deliveries.iter().any(|delivery| delivery.report.as_ref() == Some(&report)) {
                break deliveries;
            }
        };
        self.of_master.settle(&deliveries, &[(id, report.seq)]).await.expect("settled");
        for _ in 0..5 {
            self.beat().await;
        }
        let seen = self.of_master.read_heartbeats(&[(id, 0)]).await.expect("pictures").seen;
        assert!(seen.len() == 1 && seen[0].beat.is_some(), "{seen:?}");
        self.of_master.generation().await.expect("a generation");
    }

    async fn kind(&self, key: &str) -> String {
        self.server.ask(&["TYPE", key]).await
    }

    /// Reads while somebody reports to another pool, so that a read that hangs on a key of this one is noticed.
    async fn others_go_on(&mut self) {
        let mut other = Worker::new("other").known_to(&self.of_worker).known_to(&self.of_master);
        let report = other.report(ReportBody::Ready);
        self.of_worker
            .report(std::slice::from_ref(&report), &AgentNews::default(), &mut other.known)
            .await
            .expect("reported");
        loop {
            let deliveries = soon("the other pool's report", self.stream.next()).await.expect("reports");
            self.of_master.settle(&deliveries, &[]).await.expect("settled");
            if deliveries.iter().any(|delivery| delivery.report.as_ref() == Some(&report)) {
                return;
            }
        }
    }
}

#[tokio::test]
async fn a_key_of_another_type_is_written_anew_and_counted() {
    let mut scene = Scene::open().await;
    for (key, kind) in scene.keys() {
        for wrong in [&["SET", &key, "1"][..], &["RPUSH", &key, "1"], &["SADD", &key, "1"]] {
            scene.server.ask::<()>(&["DEL", &key]).await;
            scene.server.ask::<()>(wrong).await;
            let before = scene.of_master.tampering().and(scene.of_worker.tampering());
            scene.others_go_on().await;
            scene.work().await;
            // A settled stream is there, and empty; a garbage generation of the right type is no generation either.
            assert_eq!(scene.kind(&key).await, kind, "{key} after {wrong:?}");
            let met = scene.of_master.tampering().and(scene.of_worker.tampering()).since(before);
            let is_its_own = wrong[0] == "SADD" && kind == "set";
            assert!(met.replaced_keys > 0 || is_its_own, "{key} after {wrong:?} was not counted");
        }
    }
    assert_eq!(scene.server.ask::<usize>(&["SCARD", "pool:p:agents"]).await, 3, "its two, and what was put there");
    assert_eq!(scene.server.keys("agent:*").await.len(), 2);
}

#[tokio::test]
async fn forgetting_succeeds_whatever_is_there() {
    let mut scene = Scene::open().await;
    for (key, _) in scene.keys() {
        scene.server.ask::<()>(&["DEL", &key]).await;
        scene.server.ask::<()>(&["RPUSH", &key, "1"]).await;
        scene.of_master.forget(&scene.worker.pool, scene.worker.id).await.expect("forgotten");
        scene.of_master.forget_pool(&scene.worker.pool).await.expect("forgotten");
        scene.work().await;
    }
}

#[tokio::test]
async fn garbage_in_a_field_is_overwritten() {
    let mut scene = Scene::open().await;
    let (worker, agent) =
        (format!("process:{}", scene.worker.id), format!("agent:{}", scene.worker.agents[0].agent_id));
    for garbage in ["x", "", "-1", "1.5", "9e18", "nan", "18446744073709551615", "{}"] {
        for (key, field) in
            [(&worker, "number"), (&worker, "beat_at"), (&worker, "settled"), (&worker, "picture"), (&agent, "epoch")]
        {
            scene.server.ask::<()>(&["HSET", key, field, garbage]).await;
            scene.of_master.read_heartbeats(&[(scene.worker.id, 0)]).await.expect("pictures");
            let before = scene.of_worker.tampering();
            scene.work().await;
            // What the worker reads back before it writes.
            if ["number", "epoch"].contains(&field) {
                let met = scene.of_worker.tampering().since(before);
                assert!(met.replaced_keys > 0, "{garbage:?} in {key} {field} was not counted");
            }
            let value: String = scene.server.ask(&["HGET", key, field]).await;
            assert_ne!(value, garbage, "{key} {field}");
        }
        scene.server.ask::<()>(&["SET", "supervisor:generation", garbage]).await;
        scene.of_master.generation().await.expect("another one is made");
        scene.work().await;
    }
}

/// What nobody of ours reads is for people: it is theirs to trust again after a while.
#[tokio::test]
async fn what_only_people_read_is_whole_again_after_some_beats() {
    let mut scene = Scene::open().await;
    let key = format!("agent:{}", scene.worker.agents[0].agent_id);
    let fields =
        ["process_id", "pool_name", "epoch", "updated_at", "role_type", "project_id", "status", "pid", "reason"];
    let read: Vec<&str> = ["HMGET", key.as_str()].into_iter().chain(fields).collect();
    let whole: Vec<String> = scene.server.ask(&read).await;
    for field in fields {
        let garbage = if field == "epoch" { "4000000000" } else { "garbage" };
        scene.server.ask::<()>(&["HSET", &key, field, garbage]).await;
    }
    for _ in 0..5 {
        scene.beat().await;
    }
    assert_eq!(scene.server.ask::<Vec<String>>(&read).await, whole);
}

#[tokio::test]
async fn the_leaders_mirror_is_whole_again_with_the_next_renewal() {
    let scene = Scene::open().await;
    let leader = LeaderMirror {
        fence: Fence(1),
        address: "127.0.0.1:8000".to_owned(),
        host: "h".to_owned(),
        pid: 1,
        since: Timestamp::from_millis(0),
    };
    for garbage in [&["SET", "supervisor:leader", "garbage"][..], &["RPUSH", "supervisor:leader", "1"]] {
        scene.server.ask::<()>(&["DEL", "supervisor:leader"]).await;
        scene.server.ask::<()>(garbage).await;
        scene.of_master.announce_leader(&leader, Duration::from_secs(15)).await.expect("announced");
        let text: String = scene.server.ask(&["GET", "supervisor:leader"]).await;
        assert!(text.contains("fence"), "{text}");
    }
}

#[tokio::test]
async fn garbage_that_nothing_overwrites_goes_with_the_next_beat() {
    let mut scene = Scene::open().await;
    let key = format!("process:{}", scene.worker.id);
    scene.server.ask::<()>(&["HSET", &key, "settled", "x", "settled_code", "x"]).await;
    scene.beat().await;
    let left: Vec<Option<String>> = scene.server.ask(&["HMGET", &key, "settled", "settled_code"]).await;
    assert_eq!(left, [None, None]);
    scene.work().await;
}

#[tokio::test]
async fn a_beat_counts_on_from_a_higher_number_that_somebody_wrote() {
    let mut scene = Scene::open().await;
    let key = format!("process:{}", scene.worker.id);
    scene.server.ask::<()>(&["HSET", &key, "number", "5000"]).await;
    let beat = scene.worker.beat();
    let answer = scene.of_worker.beat(&beat, &mut scene.worker.known).await.expect("an answer");
    assert_eq!(answer.number, 5000, "the worker is told, and goes on from there");
}

#[tokio::test]
async fn a_stream_that_takes_nothing_more_is_replaced() {
    let mut scene = Scene::open().await;
    let last = "18446744073709551615-18446744073709551615";
    scene.server.ask::<()>(&["XADD", "pool:p:reports", last, "x", "y"]).await;
    scene.others_go_on().await;
    scene.work().await;
}

#[tokio::test]
async fn what_is_no_id_is_taken_out_of_sets() {
    let mut scene = Scene::open().await;
    let own = format!("pool:p:process:{}:agents", scene.worker.id);
    for (add, key) in [("SADD", "pool:p:agents"), ("SADD", &own)] {
        scene.server.ask::<()>(&[add, key, "x", "", "agent:1"]).await;
    }
    scene.server.ask::<()>(&["ZADD", "pool:p:processes", "3", "x", "-1", ""]).await;
    scene.of_master.remove_strangers(&scene.worker.pool).await.expect("weeded");
    assert_eq!(scene.server.ask::<usize>(&["SCARD", "pool:p:agents"]).await, 2);
    assert_eq!(scene.server.ask::<usize>(&["SCARD", &own]).await, 2);
    let slots: Vec<String> = scene.server.ask(&["ZRANGE", "pool:p:processes", "0", "-1"]).await;
    assert_eq!(slots, [scene.worker.id.to_string()]);
    // Nothing of another type stops it.
    for (key, _) in scene.keys() {
        scene.server.ask::<()>(&["DEL", &key]).await;
        scene.server.ask::<()>(&["RPUSH", &key, "1"]).await;
    }
    scene.of_master.remove_strangers(&scene.worker.pool).await.expect("weeded");
    scene.work().await;
}

#[tokio::test]
async fn what_somebody_deleted_is_there_again_after_some_beats() {
    let mut scene = Scene::open().await;
    let mut agents = scene.server.keys("agent:*").await;
    let mut flush = vec!["DEL", "pool:p:agents"];
    flush.extend(agents.iter().map(String::as_str));
    scene.server.ask::<()>(&flush).await;
    for _ in 0..5 {
        scene.beat().await;
    }
    agents.sort();
    assert_eq!(scene.server.keys("agent:*").await, agents);
    assert_eq!(scene.server.ask::<usize>(&["SCARD", "pool:p:agents"]).await, 2);
    // An agent that moves is not kept from it.
    scene.worker.agents[0].state = ObservedState::Stopping;
    scene.worker.agents.push(idle_agent(AgentId::generate(), 1));
    scene.beat().await;
    let server = &scene.server;
    wait_until("the new one is there", || async { server.keys("agent:*").await.len() == 3 }).await;
}
