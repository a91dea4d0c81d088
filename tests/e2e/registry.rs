//! The registry away, restarted empty, flushed: agents go on, nothing is half done, and it is whole again by itself.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::faults::{self, RedisServer, kill9, lives};
use crate::harness::host::{give_files, take_files};
use crate::harness::{Muster, Options, wait_until};

const BOUND: Duration = Duration::from_secs(20);

/// How long Redis stays away: above staleness and lease together.
const OUTAGE: Duration = Duration::from_secs(3);

/// Clocks by which a worker that a busy machine holds up for a moment is not taken for one that hangs.
pub(crate) fn patient() -> Options {
    Options::default().env("MUSTER_CLOCKS_STALE", "1").env("MUSTER_CLOCKS_LEASE", "1.2")
}

fn epochs(muster: &Muster) -> BTreeMap<String, (String, u64)> {
    muster.all_agents().into_iter().map(|agent| (agent.id, (agent.process_id, agent.epoch))).collect()
}

/// Everything that operators find in the registry is there: workers, agents, slots, sets, the leader.
pub(crate) fn is_whole(muster: &Muster) -> bool {
    let mut redis = muster.redis();
    let (agents, workers) = (muster.all_agents(), muster.all_workers());
    let agents_are = agents.iter().all(|agent| {
        let (process, epoch): (Option<String>, Option<u64>) = redis::cmd("HMGET")
            .arg(format!("agent:{}", agent.id))
            .arg(&["process_id", "epoch"])
            .query(&mut redis)
            .unwrap_or_default();
        let member = |key: String| -> bool {
            redis::cmd("SISMEMBER").arg(key).arg(&agent.id).query(&mut muster.redis()).unwrap_or_default()
        };
        process.as_ref() == Some(&agent.process_id)
            && epoch == Some(agent.epoch)
            && member("pool:developer_pool:agents".to_owned())
            && member(format!("pool:developer_pool:process:{}:agents", agent.process_id))
    });
    let workers_are = workers.iter().all(|worker| {
        let free: Option<u64> = redis::cmd("ZSCORE")
            .arg("pool:developer_pool:processes")
            .arg(&worker.id)
            .query(&mut redis)
            .unwrap_or_default();
        let held: Option<u64> = redis::cmd("HGET")
            .arg(format!("process:{}", worker.id))
            .arg("agent_count")
            .query(&mut redis)
            .unwrap_or_default();
        free == Some(worker.max_agents - worker.agent_count) && held == Some(worker.agent_count)
    });
    let leader: Option<String> = redis::cmd("GET").arg("supervisor:leader").query(&mut redis).unwrap_or_default();
    let strangers: Vec<String> = redis::cmd("KEYS").arg("agent:*").query(&mut redis).unwrap_or_default();
    agents_are && workers_are && leader.is_some() && strangers.len() == agents.len()
}

fn assert_recovers(muster: &Muster, before: &BTreeMap<String, (String, u64)>) {
    wait_until("the registry is whole again", BOUND, || muster.redis_answers() && is_whole(muster));
    wait_until("health is back", BOUND, || muster.get("/health").body["degraded"] == json!([]));
    muster.spawn_many("developer_pool", 1);
    // Past every clock that might judge somebody for the outage.
    muster.await_beats(30);
    let mut after = epochs(muster);
    after.retain(|id, _| before.contains_key(id));
    assert_eq!(after, *before, "nothing was restarted");
    muster.await_each_in_one_worker();
    wait_until("the registry is whole", BOUND, || is_whole(muster));
}

#[test]
fn a_private_redis_that_dies_is_started_again_and_filled() {
    let muster = Muster::start(patient());
    muster.spawn_many("developer_pool", 12);
    wait_until("the registry is whole", BOUND, || is_whole(&muster));
    let before = epochs(&muster);
    for _ in 0..3 {
        let server = muster.redis_pid().expect("a private Redis runs");
        kill9(server);
        wait_until("another one runs", BOUND, || !lives(server) && muster.redis_pid().is_some());
        assert_recovers(&muster, &before);
    }
}

#[test]
fn a_private_redis_that_lets_nobody_in_is_replaced_and_filled() {
    let muster = Muster::start(patient());
    muster.spawn_many("developer_pool", 12);
    wait_until("the registry is whole", BOUND, || is_whole(&muster));
    let before = epochs(&muster);
    let socket = muster.data_dir().join("redis/redis.sock");
    let hang = |server: u32| faults::signal(server, libc::SIGSTOP);
    let lock = |_: u32| {
        redis::cmd("ACL")
            .arg(&["SETUSER", "default", "resetpass", ">another"])
            .exec(&mut muster.redis())
            .expect("changed");
    };
    let hide = |_: u32| std::fs::remove_file(&socket).expect("removed");
    let ways: [(&str, &dyn Fn(u32)); 3] = [("hung", &hang), ("locked", &lock), ("hidden", &hide)];
    for (how, fault) in ways {
        let server = muster.redis_pid().expect("a private Redis runs");
        let begun = Instant::now();
        fault(server);
        wait_until("another one runs", BOUND, || !lives(server) && muster.redis_pid().is_some());
        // 15 s are promised; a busy machine gets a little more.
        assert!(begun.elapsed() < Duration::from_secs(18), "{how}: {:?}", begun.elapsed());
        assert_recovers(&muster, &before);
    }
}

/// What Redis says to somebody without a password.
fn knock(muster: &Muster) -> Result<(), String> {
    let url = format!("redis+unix://{}", muster.data_dir().join("redis/redis.sock").display());
    let mut connection =
        redis::Client::open(url).and_then(|client| client.get_connection()).map_err(|error| error.to_string())?;
    redis::cmd("PING").exec(&mut connection).map_err(|error| error.to_string())
}

#[test]
fn the_private_redis_has_a_password_that_outlives_the_master_and_is_on_no_command_line() {
    let mut muster = Muster::start(patient());
    muster.spawn_many("developer_pool", 2);
    let (before, worker) = (epochs(&muster), muster.all_workers().remove(0).pid);
    let file = muster.data_dir().join("redis/password");
    let password = std::fs::read_to_string(&file).expect("a password");
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).expect("a file").permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert!(faults::processes_with(&password).is_empty(), "it is on a command line");
    assert!(!muster.log().contains(&password));
    let refused = knock(&muster).expect_err("nobody without it");
    assert!(refused.contains("NOAUTH") || refused.contains("Authentication required"), "{refused}");
    muster.kill9();
    muster.restart();
    assert_eq!(std::fs::read_to_string(&file).expect("a password"), password);
    assert_recovers(&muster, &before);
    assert!(lives(worker), "it reconnected with what it knows");
    std::fs::remove_file(&file).expect("removed");
    let is_back = || std::fs::read_to_string(&file).is_ok_and(|text| text == password);
    wait_until("the master puts it back, since it knows it", BOUND, is_back);
    let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&file).expect("a file").permissions());
    assert_eq!(mode & 0o777, 0o600);
    // As after an update from a version that had none: the worker knows another password than the one that is made.
    muster.kill9();
    std::fs::remove_file(&file).expect("removed");
    muster.restart();
    assert_ne!(std::fs::read_to_string(&file).expect("a password"), password);
    assert_recovers(&muster, &before);
    assert!(lives(worker), "it is let in");
    assert_eq!(knock(&muster), Ok(()), "and so is everybody, meanwhile");
    muster.stop();
    muster.restart();
    wait_until("all run again", BOUND, || muster.all_agents().iter().filter(|agent| agent.state == "idle").count() > 2);
    assert!(knock(&muster).is_err(), "no such worker is left");
}

#[test]
fn a_flush_loses_nothing() {
    let muster = Muster::start(patient());
    muster.spawn_many("developer_pool", 12);
    wait_until("the registry is whole", BOUND, || is_whole(&muster));
    let before = epochs(&muster);
    for _ in 0..5 {
        redis::cmd("FLUSHALL").exec(&mut muster.redis()).expect("flushed");
        assert_recovers(&muster, &before);
    }
}

#[test]
fn a_configured_redis_may_stay_away_and_come_back_empty() {
    let mut redis = RedisServer::start();
    let muster = Muster::start(patient().env("MUSTER_REDIS_URL", redis.url()));
    muster.spawn_many("developer_pool", 12);
    let before = epochs(&muster);
    let workers: Vec<u32> = muster.all_workers().into_iter().map(|worker| worker.pid).collect();
    redis.stop();
    wait_until("health says so", BOUND, || {
        muster.get("/health").body["degraded"]
            .as_array()
            .is_some_and(|all| all.iter().any(|what| faults::starts(what, "registry")))
    });
    let away = Instant::now();
    while away.elapsed() < OUTAGE {
        let refused = muster.post("/api/v1/agents/spawn", &spawn_body());
        assert_eq!(refused.status, 503, "{refused:?}");
        assert!(refused.header("retry-after").is_some(), "{refused:?}");
        assert!(workers.iter().all(|pid| lives(*pid)), "the workers go on");
        assert_eq!(epochs(&muster), before, "nothing is half done, and nobody is restarted");
    }
    let ended = muster
        .post("/api/v1/agents/terminate", &json!({"pool_name": "developer_pool", "agent_id": before.keys().next()}));
    assert_eq!(ended.status, 503, "{ended:?}");
    redis.resume();
    assert_recovers(&muster, &before);
    assert_eq!(muster.all_workers().len(), workers.len());
}

fn spawn_body() -> serde_json::Value {
    json!({"project_id": "p", "role_type": "developer", "pool_name": "developer_pool"})
}

#[test]
fn a_worker_that_dies_while_redis_is_away_is_replaced_when_it_is_back() {
    let mut redis = RedisServer::start();
    let muster = Muster::start(patient().env("MUSTER_REDIS_URL", redis.url()));
    muster.spawn_many("developer_pool", 12);
    let victim = muster.all_workers().into_iter().find(|worker| worker.agent_count == 10).expect("a full worker");
    redis.stop();
    kill9(victim.pid);
    wait_until("its death is known", BOUND, || muster.all_workers().iter().all(|worker| worker.id != victim.id));
    redis.resume();
    wait_until("all run", BOUND, || muster.all_agents().iter().all(|agent| agent.state == "idle"));
    muster.await_each_in_one_worker();
    wait_until("the registry is whole, and knows the dead worker no more", BOUND, || is_whole(&muster));
    assert_eq!(muster.all_agents().iter().filter(|agent| agent.epoch == 2).count(), 10);
}

/// The master can open nothing more: that says nothing about its private Redis, which lives on.
#[test]
fn a_master_without_files_leaves_its_redis_alone() {
    let muster = Muster::start(Options::default());
    muster.spawn_many("developer_pool", 1);
    let redis = muster.redis_pid().expect("a private Redis");
    let before = take_files(muster.pid());
    wait_until("it is named", BOUND, || muster.log().contains("has too little to ask the private Redis"));
    // Three questions, after which one that answers nothing is replaced.
    std::thread::sleep(Duration::from_secs(5));
    assert!(lives(redis));
    give_files(muster.pid(), before);
    muster.await_ready();
    assert_eq!(muster.redis_pid(), Some(redis), "{}", muster.log());
    assert!(!muster.log().contains("the private Redis is away"), "{}", muster.log());
}
