//! Somebody who can write to Redis but does not have the workers' keys writes in our name: nothing changes, and it is counted.

use futures_util::StreamExt;
use muster_domain::{Command, Envelope, Fence, ReportBody, WIRE_VERSION};
use muster_registry::redis::RedisRegistry;
use muster_registry::{AgentNews, Bus, CommandDelivery, Registry};

use crate::redis_server::RedisServer;
use crate::samples::{Worker, idle_agent, news, probe};
use crate::soon;

struct Scene {
    server: RedisServer,
    of_worker: RedisRegistry,
    of_master: RedisRegistry,
    worker: Worker,
}

impl Scene {
    fn open() -> Self {
        let server = RedisServer::start();
        let (of_worker, of_master) = (server.engine(), server.engine());
        let worker = Worker::with_agents("p", 2).known_to(&of_worker).known_to(&of_master);
        Self { server, of_worker, of_master, worker }
    }

    fn key(&self) -> String {
        format!("process:{}", self.worker.id)
    }

    async fn beat(&mut self) -> muster_domain::HeartbeatReply {
        let beat = self.worker.beat();
        self.of_worker.beat(&beat, &mut self.worker.known).await.expect("an answer")
    }

    fn forged(&self) -> u64 {
        self.of_master.tampering().and(self.of_worker.tampering()).forged_messages
    }
}

#[tokio::test]
async fn a_worker_hears_only_its_leader_and_each_command_once() {
    let scene = Scene::open();
    let mut heard = scene.of_worker.commands(scene.worker.id).await.expect("a subscription");
    let other = Worker::new("p").known_to(&scene.of_master);
    let client = redis::Client::open(scene.server.target("").url).expect("an address");
    let mut listening = client.get_async_pubsub().await.expect("the server answers");
    let channel = format!("process:{}:commands", scene.worker.id);
    let of_other = format!("process:{}:commands", other.id);
    listening.subscribe(&[&channel, &of_other]).await.expect("subscribed");
    let (command, elsewhere) = (probe(), Envelope::new(Fence(1), Command::Shutdown { graceful: false }));
    scene.of_master.send(&[], &[(other.id, elsewhere), (scene.worker.id, command.clone())]).await.expect("sent");
    let mut overheard = Vec::new();
    let mut messages = listening.on_message();
    for _ in 0..2 {
        let message = soon("a command", messages.next()).await.expect("a message");
        overheard.push(message.get_payload::<String>().expect("text"));
    }
    let forged = Envelope::new(Fence(9_000_000_000_000_000_000), Command::Drain);
    let forged = serde_json::to_string(&forged).expect("JSON");
    for text in ["", "{}", &forged, &format!("{} 1 {forged}", "0".repeat(64)), &overheard[0], &overheard[1]] {
        scene.server.ask::<()>(&["PUBLISH", &channel, text]).await;
    }
    let last = probe();
    scene.of_master.send(&[], &[(scene.worker.id, last.clone())]).await.expect("sent");
    for expected in [command, last] {
        let delivery = soon("a command", heard.recv()).await.expect("it stands");
        assert_eq!(delivery, CommandDelivery::Command(Box::new(expected)));
    }
    assert!(heard.is_empty());
    assert_eq!(scene.forged(), 5, "what was said twice is no forgery");
}

#[tokio::test]
async fn a_report_is_believed_only_of_who_it_is_from() {
    let mut scene = Scene::open();
    let mut stream = scene.of_master.reports(vec![scene.worker.pool.clone()]).await.expect("a stream");
    let report = scene.worker.report(ReportBody::Ready);
    let known = &mut scene.worker.known;
    scene.of_worker.report(std::slice::from_ref(&report), &AgentNews::default(), known).await.expect("reported");
    let deliveries = soon("the report", stream.next()).await.expect("reports");
    assert_eq!(deliveries[0].report.as_ref(), Some(&report));
    let entries: Vec<(String, Vec<String>)> = scene.server.ask(&["XRANGE", "pool:p:reports", "-", "+"]).await;
    let code = entries[0].1[3].clone();
    // As the worker, as another one, with the code of another report, and without any.
    let forged = serde_json::to_string(&scene.worker.report(ReportBody::Ready)).expect("JSON");
    let stranger = serde_json::to_string(&Worker::new("p").report(ReportBody::Ready)).expect("JSON");
    for fields in [&["report", &forged][..], &["report", &forged, "code", &code], &["report", &stranger, "code", ""]] {
        let mut add = vec!["XADD", "pool:p:reports", "*"];
        add.extend(fields);
        scene.server.ask::<()>(&add).await;
        let deliveries = soon("the entry", stream.next()).await.expect("deliveries");
        assert!(deliveries.len() == 1 && deliveries[0].report.is_none(), "{deliveries:?}");
        scene.of_master.settle(&deliveries, &[]).await.expect("settled");
    }
    assert_eq!(scene.forged(), 3);
}

#[tokio::test]
async fn a_worker_of_the_previous_version_is_believed_unsigned() {
    let server = RedisServer::start();
    let (of_worker, of_master) = (server.engine(), server.engine());
    let mut worker = Worker::new("p").keyless_to(&of_worker).keyless_to(&of_master);
    let mut heard = of_worker.commands(worker.id).await.expect("a subscription");
    let mut stream = of_master.reports(vec![worker.pool.clone()]).await.expect("a stream");
    let command = probe();
    of_master.send(&[], &[(worker.id, command.clone())]).await.expect("sent");
    assert_eq!(soon("it", heard.recv()).await, Some(CommandDelivery::Command(Box::new(command))));
    let report = worker.report(ReportBody::Ready);
    let known = &mut worker.known;
    of_worker.report(std::slice::from_ref(&report), &AgentNews::default(), known).await.expect("reported");
    assert_eq!(soon("it", stream.next()).await.expect("reports")[0].report.as_ref(), Some(&report));
    let beat = worker.beat();
    of_worker.beat(&beat, &mut worker.known).await.expect("an answer");
    assert!(of_master.read_heartbeats(&[(worker.id, 0)]).await.expect("pictures").seen[0].beat.is_some());
    of_master.condemn(worker.id).await.expect("condemned");
    let beat = worker.beat();
    assert!(of_worker.beat(&beat, &mut worker.known).await.expect("an answer").fenced);
}

#[tokio::test]
async fn a_picture_that_somebody_else_drew_is_not_looked_at() {
    let mut scene = Scene::open();
    scene.beat().await;
    let key = scene.key();
    let pictures = async |scene: &Scene, known| {
        let seen = scene.of_master.read_heartbeats(&[(scene.worker.id, known)]).await.expect("pictures").seen;
        (seen[0].number, seen[0].beat.is_some())
    };
    assert_eq!(pictures(&scene, 0).await, (1, true));
    let first: Vec<String> = scene.server.ask(&["HMGET", &key, "picture", "picture_code"]).await;
    let mut forged = scene.worker.beat();
    forged.fence = Fence(9_000_000_000_000_000_000);
    let forged = serde_json::to_string(&forged).expect("JSON");
    scene.server.ask::<()>(&["HSET", &key, "picture", &forged, "number", "2"]).await;
    assert_eq!(pictures(&scene, 1).await, (1, false), "nothing new was heard");
    // One of its own, put there again: under its number, and under a later one.
    scene.beat().await;
    for number in ["1", "9"] {
        let again = ["HSET", &key, "picture", &first[0], "picture_code", &first[1], "number", number];
        scene.server.ask::<()>(&again).await;
        assert_eq!(pictures(&scene, 3).await, (3, false), "{number}");
    }
    assert_eq!(scene.forged(), 3);
}

#[tokio::test]
async fn a_number_without_a_picture_of_it_is_no_beat() {
    let mut scene = Scene::open();
    scene.beat().await;
    let key = scene.key();
    scene.server.ask::<()>(&["HDEL", &key, "picture"]).await;
    for number in ["2", "3", "0"] {
        scene.server.ask::<()>(&["HSET", &key, "number", number]).await;
        let seen = scene.of_master.read_heartbeats(&[(scene.worker.id, 1)]).await.expect("pictures").seen;
        assert_eq!((seen[0].number, seen[0].beat.is_some()), (1, false), "a worker that hangs is not kept fresh");
    }
    assert_eq!(scene.forged(), 3);
}

#[tokio::test]
async fn what_a_worker_of_another_version_says_is_no_forgery() {
    let mut scene = Scene::open();
    let mut stream = scene.of_master.reports(vec![scene.worker.pool.clone()]).await.expect("a stream");
    let mut report = scene.worker.report(ReportBody::Ready);
    report.v = WIRE_VERSION + 1;
    let known = &mut scene.worker.known;
    scene.of_worker.report(std::slice::from_ref(&report), &AgentNews::default(), known).await.expect("reported");
    let deliveries = soon("the report", stream.next()).await.expect("deliveries");
    assert!(deliveries.len() == 1 && deliveries[0].report.is_none(), "{deliveries:?}");
    let mut beat = scene.worker.beat();
    beat.v = WIRE_VERSION + 1;
    scene.of_worker.beat(&beat, &mut scene.worker.known).await.expect("an answer");
    let seen = scene.of_master.read_heartbeats(&[(scene.worker.id, 0)]).await.expect("pictures").seen;
    assert_eq!((seen[0].number, seen[0].beat.is_some()), (beat.number, false), "it lives");
    assert_eq!(scene.forged(), 0);
    let key = scene.key();
    scene.server.ask::<()>(&["HSET", &key, "number", "9"]).await;
    let seen = scene.of_master.read_heartbeats(&[(scene.worker.id, beat.number)]).await.expect("pictures").seen;
    assert_eq!(seen[0].number, beat.number, "one that was put there again is not heard");
    assert_eq!(scene.forged(), 1);
    // The same text under a code that is none is nobody's.
    let text = serde_json::to_string(&report).expect("JSON");
    scene.server.ask::<()>(&["XADD", "pool:p:reports", "*", "report", &text, "code", "00"]).await;
    soon("the entry", stream.next()).await.expect("deliveries");
    assert_eq!(scene.forged(), 2);
}

#[tokio::test]
async fn what_a_beat_is_answered_with_is_the_leaders() {
    let mut scene = Scene::open();
    scene.beat().await;
    let (key, mark) = (scene.key(), format!("supervisor:condemned:{}", scene.worker.id));
    scene.server.ask::<()>(&["HSET", &key, "settled", "1000000"]).await;
    scene.server.ask::<()>(&["SET", &mark, "1"]).await;
    let answer = scene.beat().await;
    assert_eq!((answer.settled, answer.fenced), (0, false));
    assert_eq!(scene.forged(), 2);
    scene.beat().await;
    assert_eq!(scene.forged(), 2, "it was taken away");
    scene.of_master.settle(&[], &[(scene.worker.id, 7)]).await.expect("settled");
    assert_eq!(scene.beat().await.settled, 7);
    scene.server.ask::<()>(&["HSET", &key, "settled", "1000000"]).await;
    scene.of_master.settle(&[], &[(scene.worker.id, 8)]).await.expect("settled");
    assert_eq!(scene.beat().await.settled, 8, "a forged one does not keep the true one out");
    scene.of_master.condemn(scene.worker.id).await.expect("condemned");
    assert!(scene.beat().await.fenced);
}

#[tokio::test]
async fn people_see_each_command_and_workers_do_not_wake_for_it() {
    let scene = Scene::open();
    let mut heard = scene.of_worker.commands(scene.worker.id).await.expect("a subscription");
    let client = redis::Client::open(scene.server.target("").url).expect("an address");
    let mut watching = client.get_async_pubsub().await.expect("the server answers");
    watching.subscribe("pool:p:commands").await.expect("subscribed");
    let subscribers: Vec<(String, usize)> = {
        let answer: (String, usize) = scene.server.ask(&["PUBSUB", "NUMSUB", "pool:p:commands"]).await;
        vec![answer]
    };
    assert_eq!(subscribers[0].1, 1, "only the one who watches");
    let command = probe();
    scene.of_master.send(&[], &[(scene.worker.id, command.clone())]).await.expect("sent");
    let copy = soon("the copy", watching.on_message().next()).await.expect("a message");
    let copy: serde_json::Value = serde_json::from_slice(copy.get_payload_bytes()).expect("JSON");
    assert_eq!(
        (&copy["command"], &copy["command_id"], &copy["process_id"]),
        (&"probe".into(), &command.id.to_string().into(), &scene.worker.id.to_string().into())
    );
    assert!(matches!(soon("the command", heard.recv()).await, Some(CommandDelivery::Command(_))));
    assert!(heard.is_empty());
    // A worker of the previous version listens on that channel too.
    let old = Worker::new("p").keyless_to(&scene.of_master);
    scene.of_master.send(&[], &[(scene.worker.id, probe()), (old.id, probe())]).await.expect("sent");
    scene.of_master.forget(&old.pool, old.id).await.expect("forgotten");
    let last = probe();
    scene.of_master.send(&[], &[(scene.worker.id, last.clone())]).await.expect("sent");
    let copy = soon("the copy", watching.on_message().next()).await.expect("a message");
    assert!(copy.get_payload::<String>().expect("text").contains(&last.id.to_string()), "nothing before it");
}

#[tokio::test]
async fn a_worker_is_counted_right_with_its_report_and_no_late_beat_undoes_it() {
    let mut scene = Scene::open();
    let (key, count) = (scene.key(), ["agent_count"]);
    let ask = ["HGET", &key, count[0]];
    let report = scene.worker.report(ReportBody::Ready);
    let known = &mut scene.worker.known;
    scene.of_worker.report(&[report], &news(&[]), known).await.expect("reported");
    assert!(scene.server.keys("process:*").await.is_empty(), "a report makes no worker");
    scene.beat().await;
    assert_eq!(scene.server.ask::<String>(&ask).await, "2");
    let late = scene.worker.beat();
    let agent = idle_agent(muster_domain::AgentId::generate(), 1);
    scene.worker.agents.push(agent.clone());
    let report = scene.worker.started(&agent);
    let all = AgentNews { held: 3, ..news(&[agent]) };
    scene.of_worker.report(&[report], &all, &mut scene.worker.known).await.expect("reported");
    assert_eq!(scene.server.ask::<String>(&ask).await, "3");
    scene.of_worker.beat(&late, &mut scene.worker.known).await.expect("an answer");
    assert_eq!(scene.server.ask::<String>(&ask).await, "3", "it was made before");
    scene.worker.agents.clear();
    scene.beat().await;
    assert_eq!(scene.server.ask::<String>(&ask).await, "0");
}
