//! A master that is killed, stopped for a while, replaced: no worker and no agent notices, and what was acknowledged
//! holds.

use std::collections::BTreeMap;
use std::time::Duration;

use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;
use sqlx::Connection;

use crate::harness::faults::{self, Postgres, RedisServer, kill9, lives};
use crate::harness::{Muster, Options, wait_until};

const BOUND: Duration = Duration::from_secs(20);

/// What must not change: every agent's place and epoch, and every worker's process.
type Scene = (BTreeMap<String, (String, u64)>, BTreeMap<String, u32>);

/// Clocks by which a worker that a busy machine holds up for a moment is not taken for one that hangs.
fn patient() -> Options {
    Options::default().env("MUSTER_CLOCKS_STALE", "1").env("MUSTER_CLOCKS_LEASE", "1.2")
}

fn scene(muster: &Muster) -> Scene {
    let agents = muster.all_agents().into_iter().filter(|agent| agent.state == "idle");
    let agents = agents.map(|agent| (agent.id, (agent.process_id, agent.epoch))).collect();
    (agents, muster.all_workers().into_iter().map(|worker| (worker.id, worker.pid)).collect())
}

/// Waits until all agents are said to run again (an adopted one first is `spawning`), and compares.
fn assert_untouched(muster: &Muster, before: &Scene) {
    wait_until("the workers are adopted", BOUND, || scene(muster).0.len() == before.0.len());
    assert_eq!(scene(muster), *before);
}

/// Commands reach the workers: a spawn, a restart, a terminate.
fn assert_commands_work(muster: &Muster, pool: &str, agent: &str) {
    let new = muster.spawn_many(pool, 1).remove(0);
    let epoch = muster.one_agent(agent).epoch;
    let restarted = muster.post(&format!("/api/v1/agents/{agent}/restart"), &json!({}));
    assert_eq!(restarted.status, 200, "{restarted:?}");
    assert_eq!((muster.one_agent(agent).state.as_str(), muster.one_agent(agent).epoch), ("idle", epoch + 1));
    let body = json!({"pool_name": pool, "agent_id": new, "graceful": true});
    let ended = muster.post("/api/v1/agents/terminate", &body);
    assert_eq!((ended.status, ended.body["state"].as_str()), (200, Some("terminated")), "{ended:?}");
    muster.await_each_in_one_worker();
}

#[test]
fn after_a_kill_the_next_master_adopts_the_workers() {
    let mut muster = Muster::start(patient());
    let agents = muster.spawn_many("developer_pool", 12);
    let before = scene(&muster);
    for _ in 0..3 {
        muster.kill9();
        muster.restart();
        assert_untouched(&muster, &before);
    }
    assert_commands_work(&muster, "developer_pool", &agents[0]);
}

/// The template of this server's workers, when it is ready: until then its command line has what only makes room.
fn template(muster: &Muster) -> Option<faults::Process> {
    let ours = faults::processes_with("worker-template").into_iter().find(|found| found.parent == muster.pid());
    ours.filter(|template| !template.command_line.contains("---"))
}

#[test]
fn workers_that_are_copies_outlive_their_template_and_their_master() {
    let mut muster = Muster::start(patient());
    let agents = muster.spawn_many("developer_pool", 10);
    wait_until("there is a template", BOUND, || template(&muster).is_some());
    let started: Vec<u32> = muster.all_workers().into_iter().map(|worker| worker.pid).collect();
    muster.spawn_many("developer_pool", 15);
    let copies: Vec<u32> =
        muster.all_workers().into_iter().map(|worker| worker.pid).filter(|pid| !started.contains(pid)).collect();
    // The room of their command line is the template's, which is longer than theirs.
    let is_copy = |pid: &u32| faults::process(*pid).is_some_and(|process| process.command_line.ends_with("   "));
    assert!(!copies.is_empty() && copies.iter().all(is_copy), "{copies:?}");
    let before = scene(&muster);
    let first = template(&muster).expect("it lives").pid;
    kill9(first);
    muster.spawn_many("developer_pool", 10);
    wait_until("there is another", BOUND, || template(&muster).is_some_and(|other| other.pid != first));
    let other = template(&muster).expect("it lives").pid;
    assert!(before.1.iter().all(|worker| scene(&muster).1.get(worker.0) == Some(worker.1)), "nobody was touched");
    let before = scene(&muster);
    muster.kill9();
    wait_until("the template is gone", BOUND, || !lives(other));
    muster.restart();
    assert_untouched(&muster, &before);
    assert_commands_work(&muster, "developer_pool", &agents[0]);
}

#[test]
fn a_stop_that_keeps_workers_leaves_them_to_the_next_master() {
    let mut muster = Muster::start(patient());
    let agents = muster.spawn_many("developer_pool", 3);
    let before = scene(&muster);
    let answer = muster.post("/api/v1/system/stop", &json!({"keep_workers": true}));
    assert_eq!(answer.status, 202, "{answer:?}");
    muster.await_exit(0);
    assert!(before.1.values().all(|pid| lives(*pid)), "the workers stay");
    muster.restart();
    assert_untouched(&muster, &before);
    assert_commands_work(&muster, "developer_pool", &agents[0]);
}

#[test]
fn a_master_that_stood_still_judges_nobody() {
    let muster = Muster::start(patient());
    muster.spawn_many("developer_pool", 12);
    let before = scene(&muster);
    muster.sigstop();
    // By the beats that its workers go on with: three times as long as staleness and lease together.
    muster.await_beats(40);
    muster.sigcont();
    muster.await_beats(30);
    assert_eq!(scene(&muster), before);
    assert!(muster.log().contains("stood still"), "it says so");
    muster.spawn_many("developer_pool", 1);
}

#[test]
fn a_second_master_on_the_folder_stands_by_and_takes_over_after_a_kill() {
    let mut first = Muster::start(patient());
    let agents = first.spawn_many("developer_pool", 3);
    let before = scene(&first);
    let second = first.standby();
    assert_refers_to(&second, &first);
    first.kill9();
    second.await_ready();
    assert_untouched(&second, &before);
    assert_commands_work(&second, "developer_pool", &agents[0]);
}

#[test]
fn a_second_master_on_the_folder_takes_over_from_one_that_is_stopped() {
    let mut first = Muster::start(patient());
    let agents = first.spawn_many("developer_pool", 3);
    let before = scene(&first);
    let second = first.standby();
    assert_refers_to(&second, &first);
    first.post("/api/v1/system/stop", &json!({"keep_workers": true}));
    first.await_exit(0);
    second.await_ready();
    assert_untouched(&second, &before);
    assert_commands_work(&second, "developer_pool", &agents[0]);
    let address = std::fs::read_to_string(second.data_dir().join("muster.addr")).expect("an address");
    assert_eq!(address.trim(), second.address());
}

fn assert_refers_to(standby: &Muster, leader: &Muster) {
    wait_until("the second stands by", BOUND, || {
        standby.get("/api/v1/agents").body["code"].as_str() == Some("not_leader")
    });
    let answer = standby.get("/api/v1/agents");
    assert_eq!((answer.status, answer.body["leader"].as_str()), (503, Some(leader.address().as_str())), "{answer:?}");
    assert_eq!(standby.get("/ready").status, 503);
    assert_eq!(standby.get("/health").status, 200, "it is well, it only does not lead");
}

#[test]
fn what_was_acknowledged_runs_once_though_the_master_was_killed_in_the_middle() {
    let mut muster = Muster::start(patient());
    for round in 0..3 {
        let body = json!({"project_id": "p", "role_type": "developer", "pool_name": "developer_pool"});
        let address = muster.address();
        let answers: Vec<Option<(u16, String)>> = std::thread::scope(|scope| {
            let asks: Vec<_> = (0..50).map(|_| scope.spawn(|| faults::try_spawn(&address, &body))).collect();
            let enough = 5 + round * 15;
            wait_until("some of them run", BOUND, || muster.all_agents().len() >= enough);
            muster.kill9();
            asks.into_iter().map(|ask| ask.join().expect("answered or cut off")).collect()
        });
        muster.restart();
        let acknowledged: Vec<String> =
            answers.into_iter().flatten().filter(|(status, _)| matches!(status, 201 | 202)).map(|(_, id)| id).collect();
        wait_until("all that is stored runs", BOUND, || muster.all_agents().iter().all(|agent| agent.state == "idle"));
        let running: Vec<String> = muster.all_agents().into_iter().map(|agent| agent.id).collect();
        let lost: Vec<&String> = acknowledged.iter().filter(|id| !running.contains(id)).collect();
        assert!(lost.is_empty(), "acknowledged and lost: {lost:?}");
        muster.await_each_in_one_worker();
        for id in running {
            let ended =
                muster.post("/api/v1/agents/terminate", &json!({"pool_name": "developer_pool", "agent_id": id}));
            assert_eq!(ended.status, 200, "{ended:?}");
        }
    }
}

fn shared(postgres: &Postgres, redis: &RedisServer) -> Options {
    let env = vec![
        ("MUSTER_DATABASE_URL".to_owned(), postgres.url()),
        ("MUSTER_REDIS_URL".to_owned(), redis.url()),
        ("MUSTER_CLOCKS_STALE".to_owned(), "1".to_owned()),
        // Long enough that a busy machine renews in time.
        ("MUSTER_CLOCKS_LEASE".to_owned(), "2".to_owned()),
        ("MUSTER_CLOCKS_ORPHAN_AFTER".to_owned(), "30".to_owned()),
    ];
    Options { env, ..Options::default() }
}

#[test]
fn on_postgres_the_standby_takes_over_after_the_lease() {
    let (postgres, redis) = (Postgres::start(), RedisServer::start());
    let mut first = Muster::start(shared(&postgres, &redis));
    let agents = first.spawn_many("developer_pool", 12);
    let before = scene(&first);
    let second = Muster::launch(shared(&postgres, &redis));
    assert_refers_to(&second, &first);
    first.kill9();
    second.await_ready();
    assert_untouched(&second, &before);
    assert_commands_work(&second, "developer_pool", &agents[0]);
}

#[test]
fn a_leader_that_is_fenced_changes_nothing() {
    let (postgres, redis) = (Postgres::start(), RedisServer::start());
    let first = Muster::start(shared(&postgres, &redis));
    first.spawn_many("developer_pool", 3);
    let before = scene(&first);
    let second = Muster::launch(shared(&postgres, &redis));
    assert_refers_to(&second, &first);
    first.sigstop();
    second.await_ready();
    assert_untouched(&second, &before);
    let victim = before.1.values().next().copied().expect("a worker");
    // What happens while the first sleeps is the second's to mend; the first hears of it when it wakes, and does nothing.
    kill9(victim);
    wait_until("the agents run elsewhere", BOUND, || {
        second.all_agents().iter().all(|agent| agent.state == "idle" && agent.epoch == 2)
    });
    let after = scene(&second);
    first.sigcont();
    let body = json!({"project_id": "p", "role_type": "developer", "pool_name": "developer_pool"});
    assert_eq!(first.post("/api/v1/agents/spawn", &body).status, 503, "the old leader takes nothing any more");
    assert_refers_to(&first, &second);
    second.await_beats(20);
    assert_eq!(scene(&second), after);
    assert_eq!(second.all_agents().len(), 3);
    second.await_each_in_one_worker();
    second.spawn_many("developer_pool", 1);
    assert!(!second.log().contains("changes nothing any more"), "the new leader was not disturbed");
}

/// A command that a former leader sent reaches a worker late. The worker refuses it, and the leader of today hears of
/// the refusal: it is not the one that was refused.
/// A command as a leader of this worker signs it, with the key that the store keeps.
fn signed(muster: &Muster, worker: &str, command: &str) -> String {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let url = format!("sqlite:{}", muster.data_dir().join("muster.db").display());
    let secret: String = runtime.block_on(async {
        let mut database = sqlx::SqliteConnection::connect(&url).await.expect("the database opens");
        let ask = sqlx::query_scalar("SELECT secret FROM workers WHERE process_id = $1").bind(worker);
        ask.fetch_one(&mut database).await.expect("its key")
    });
    let byte = |at: usize| u8::from_str_radix(&secret[at..at + 2], 16).expect("hex");
    let key: Vec<u8> = (0..secret.len()).step_by(2).map(byte).collect();
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("a key");
    mac.update(b"muster:command:");
    mac.update(uuid::Uuid::parse_str(worker).expect("an id").as_bytes());
    mac.update(command.as_bytes());
    let code: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{code} {command}")
}

#[test]
fn a_late_command_of_a_former_leader_disturbs_nobody() {
    let mut muster = Muster::start(patient());
    let agent = muster.spawn_many("developer_pool", 2).remove(0);
    // Another fence than the first.
    muster.kill9();
    muster.restart();
    muster.spawn_many("developer_pool", 1);
    let before = scene(&muster);
    let fence = muster.get("/api/v1/system/status").body["fence"].clone();
    assert_eq!(fence, 2);
    let worker = muster.all_workers().remove(0);
    for (id, epoch) in [(agent.as_str(), 2), ("01a1fc69-6e61-701a-8fcf-034646c8fef3", 1)] {
        let spec = json!({
            "agent_id": id, "pool_name": "developer_pool", "role_type": "developer", "project_id": "p",
            "human_name": "Late", "heartbeat_interval": 30.0, "max_idle_time": 300.0,
        });
        let command = json!({"type": "spawn", "agent": spec, "epoch": epoch});
        let envelope = json!({"v": 1, "id": id, "fence": 1, "command": command}).to_string();
        let channel = format!("process:{}:commands", worker.id);
        let signed = signed(&muster, &worker.id, &format!("{epoch} {envelope}"));
        let heard: u64 = redis::cmd("PUBLISH").arg(channel).arg(signed).query(&mut muster.redis()).expect("published");
        assert_eq!(heard, 1, "the worker listens");
    }
    wait_until("the refusals are heard", BOUND, || {
        muster.log().matches("it has seen the leader with fence 2").count() == 2
    });
    muster.await_beats(10);
    assert_eq!(muster.get("/api/v1/system/status").body["fence"], fence, "it leads on");
    assert_eq!(scene(&muster), before);
    // Epoch 2 is over for that worker, so the next run is the third.
    let restarted = muster.post(&format!("/api/v1/agents/{agent}/restart"), &json!({}));
    assert_eq!((restarted.status, muster.one_agent(&agent).state.as_str()), (200, "idle"), "{restarted:?}");
    assert_eq!(muster.one_agent(&agent).epoch, 3);
}
