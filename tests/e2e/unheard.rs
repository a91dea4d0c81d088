//! Workers that live and are not heard: the cause is named, nobody is killed for it, and all is whole when it is gone.

use std::time::Duration;

use serde_json::json;

use crate::harness::faults::{Agent, RedisServer, lives};
use crate::harness::relay::Relay;
use crate::harness::{Muster, Options, wait_until};

const BOUND: Duration = Duration::from_secs(20);

/// Clocks by which a worker that a busy machine holds up for a moment is not taken for one that hangs.
fn patient() -> Options {
    Options::default().env("MUSTER_CLOCKS_STALE", "1").env("MUSTER_CLOCKS_LEASE", "1.2")
}

/// What the health says of this subject.
fn said(muster: &Muster, subject: &str) -> Option<String> {
    let health = muster.get("/health").body;
    let lines = health["degraded"].as_array()?.iter().filter_map(|line| line.as_str());
    lines.filter_map(|line| line.strip_prefix(subject)).map(str::to_owned).next()
}

fn await_said(muster: &Muster, subject: &str, words: &str) {
    wait_until(&format!("health names {words:?}"), BOUND, || {
        said(muster, subject).is_some_and(|said| said.contains(words))
    });
}

/// Nobody was restarted, and everybody can be reached.
fn assert_whole(muster: &Muster, before: &[Agent]) {
    wait_until("health is back", BOUND, || muster.get("/health").body["degraded"] == json!([]));
    // Past every clock that might judge somebody for what was.
    muster.await_beats(30);
    for agent in before {
        assert_eq!(
            (muster.one_agent(&agent.id).epoch, &muster.one_agent(&agent.id).process_id),
            (1, &agent.process_id)
        );
    }
    muster.spawn_many("developer_pool", 1);
}

fn tell(muster: &Muster, words: &[&str]) {
    redis::cmd(words[0])
        .arg(&words[1..])
        .exec(&mut muster.redis())
        .unwrap_or_else(|error| panic!("{words:?}: {error}"));
}

#[test]
fn a_redis_that_refuses_writes_is_named_and_no_worker_is_killed_for_it() {
    let redis = RedisServer::start();
    let muster = Muster::start(patient().env("MUSTER_REDIS_URL", redis.url()));
    muster.spawn_many("developer_pool", 2);
    let before = muster.all_agents();
    let worker = muster.all_workers().remove(0);
    let faults: [(&[&str], &[&str], &str); 3] = [
        (&["CONFIG", "SET", "maxmemory", "1"], &["CONFIG", "SET", "maxmemory", "0"], "raise maxmemory"),
        (&["REPLICAOF", "127.0.0.1", "1"], &["REPLICAOF", "NO", "ONE"], "let redis.url name the primary"),
        (
            &["CONFIG", "SET", "min-replicas-to-write", "1"],
            &["CONFIG", "SET", "min-replicas-to-write", "0"],
            "replicas",
        ),
    ];
    for (fault, mend, words) in faults {
        tell(&muster, fault);
        await_said(&muster, "registry: ", words);
        let refused = muster.spawn("developer_pool");
        assert_eq!(refused.status, 503, "{refused:?}");
        assert!(refused.body.to_string().contains(words), "{refused:?}");
        // Twice the bound of silence and the lease.
        let until = std::time::Instant::now() + Duration::from_secs(4);
        while std::time::Instant::now() < until {
            assert!(lives(worker.pid), "{words}: a healthy worker was killed");
            assert!(muster.all_agents().iter().all(|agent| agent.epoch == 1), "{words}");
        }
        tell(&muster, mend);
        assert_whole(&muster, &before);
    }
}

#[test]
fn a_worker_that_lives_and_is_not_heard_is_named_and_left_alone() {
    let redis = RedisServer::start();
    let relay = Relay::start(redis.socket());
    let muster = Muster::start(patient().env("MUSTER_REDIS_URL", relay.url()));
    muster.spawn_many("developer_pool", 1);
    let (before, worker) = (muster.all_agents(), muster.all_workers().remove(0));
    muster.await_beats(15);
    relay.cut_off(worker.pid);
    await_said(&muster, "workers: ", &worker.id);
    await_said(&muster, "workers: ", "its heartbeats do not get through");
    let status = muster.command(&["status"]);
    assert!(status.stdout.contains("can't be reached over Redis"), "{status:?}");
    let alerts = muster.command(&["alerts"]);
    assert!(alerts.stdout.contains("workers"), "{alerts:?}");
    // It could not be told about one more.
    let other = muster.spawn_many("developer_pool", 1).remove(0);
    assert_ne!(muster.one_agent(&other).process_id, worker.id);
    assert!(lives(worker.pid));
    relay.let_in();
    assert_whole(&muster, &before);
    drop(muster);
}

/// What `tell` needs, as the user of the tests that may do everything.
fn set_rights(redis: &RedisServer, rights: &[&str]) {
    let mut connection =
        redis::Client::open(redis.url()).and_then(|client| client.get_connection()).expect("Redis answers");
    redis::cmd("ACL")
        .arg(&["SETUSER", "muster", "reset", "on", ">pw"])
        .arg(rights)
        .exec(&mut connection)
        .expect("rights");
}

#[test]
fn rights_that_lack_are_named_at_the_start_and_later_and_no_worker_is_killed_for_them() {
    let redis = RedisServer::start();
    set_rights(&redis, &["~*", "+@all", "resetchannels"]);
    let muster = Muster::launch(patient().env("MUSTER_REDIS_URL", format!("{}?user=muster&pass=pw", redis.url())));
    let channels = "no right to the channels &pool:*, &process:*";
    wait_until("it says what lacks", BOUND, || muster.get("/ready").body.to_string().contains(channels));
    let refused = muster.spawn("developer_pool");
    assert_eq!((refused.status, refused.code()), (503, "registry_away"), "{refused:?}");
    set_rights(&redis, &["~*", "+@all", "&*"]);
    muster.await_ready();
    muster.spawn_many("developer_pool", 2);
    let (before, worker) = (muster.all_agents(), muster.all_workers().remove(0));
    muster.command(&["check"]).expect(0);
    let faults: [(&[&str], &str); 3] = [
        (&["~*", "+@all", "resetchannels"], channels),
        (&["~process:*", "+@all", "&*"], "no right to the keys"),
        (&["~*", "+@all", "&*", "-hset"], "no right to the commands HSET"),
    ];
    for (rights, words) in faults {
        set_rights(&redis, rights);
        await_said(&muster, "registry: ", words);
        assert!(muster.command(&["check"]).stdout.contains(words));
        let refused = muster.spawn("developer_pool");
        assert_eq!(refused.status, 503, "{refused:?}");
        let until = std::time::Instant::now() + Duration::from_secs(3);
        while std::time::Instant::now() < until {
            assert!(lives(worker.pid), "{words}: a healthy worker was killed");
        }
        set_rights(&redis, &["~*", "+@all", "&*"]);
        assert_whole(&muster, &before);
    }
}
