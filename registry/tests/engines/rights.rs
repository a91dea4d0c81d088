//! What a user of the server may do is tried, and what lacks is named with what gives it.

use muster_domain::{Fence, RegistryTarget, ReportBody, Timestamp};
use muster_registry::redis::{RedisOptions, RedisRegistry};
use muster_registry::{Bus, LeaderMirror, Registry, RegistryError};

use crate::redis_server::{RedisServer, TIMEOUT};
use crate::samples::{Worker, news, probe};
use crate::soon;

/// The engine of a user, whose rights are set first.
async fn engine_of(server: &RedisServer, prefix: &str, rights: &[&str]) -> RedisRegistry {
    set_rights(server, rights).await;
    let RegistryTarget { url, .. } = server.target("");
    let target = RegistryTarget { url: format!("{url}?user=muster&pass=pw"), prefix: prefix.to_owned(), roots: None };
    RedisRegistry::connect(&target, RedisOptions { timeout: TIMEOUT * 10 }).expect("an address")
}

async fn set_rights(server: &RedisServer, rights: &[&str]) {
    let words: Vec<&str> = ["ACL", "SETUSER", "muster", "reset", "on", ">pw"].iter().chain(rights).copied().collect();
    server.ask::<()>(&words).await;
}

async fn refusal(engine: &RedisRegistry) -> String {
    match engine.examine().await {
        Err(RegistryError::Refused(why)) => why,
        outcome => panic!("{outcome:?}"),
    }
}

#[tokio::test]
async fn who_may_do_everything_is_told_so_and_nothing_is_left() {
    let server = RedisServer::start();
    for _ in 0..2 {
        server.engine().examine().await.expect("every right");
    }
    assert_eq!(server.keys("*").await, Vec::<String>::new());
}

#[tokio::test]
async fn what_lacks_is_named_and_what_is_advised_suffices() {
    let server = RedisServer::start();
    let everything = ["~*", "&*", "+@all"];
    let table: [(&[&str], &[&str]); 7] = [
        (&["~*", "resetchannels", "+@all"], &["channels &a:pool:*, &a:process:*"]),
        (&["~*", "&a:pool:*", "+@all"], &["channels &a:process:*"]),
        (&["~a:agent:*", "~a:process:*", "&*", "+@all"], &["keys ~a:pool:*, ~a:supervisor:*"]),
        (&["~*", "&*", "+@all", "-zadd", "-xadd"], &["commands XADD, ZADD"]),
        (&["~*", "&*", "+@all", "-@scripting"], &["EVAL"]),
        (&["~*", "&*", "+@all", "-subscribe", "-scan"], &["commands SCAN, SUBSCRIBE"]),
        (&["~*", "&*", "+@all", "-sscan", "-zscan"], &["commands SSCAN, ZSCAN"]),
    ];
    for (rights, named) in table {
        let engine = engine_of(&server, "a:", rights).await;
        let why = refusal(&engine).await;
        assert!(named.iter().all(|words| why.contains(words)), "{rights:?}: {why}");
        let advice = why.split('`').nth(1).expect("what to type");
        let (setuser, advised) = advice.split_once(" muster ").expect("about its user");
        assert_eq!(setuser, "ACL SETUSER");
        // From nothing: what is advised is all that is needed.
        let engine = engine_of(&server, "a:", &advised.split_whitespace().collect::<Vec<_>>()).await;
        engine.examine().await.unwrap_or_else(|error| panic!("{advice}: {error}"));
        do_everything(&engine).await;
        set_rights(&server, &everything).await;
    }
}

/// All that a master and a worker ask of a registry.
async fn do_everything(engine: &RedisRegistry) {
    let mut worker = Worker::with_agents("p", 2).known_to(engine);
    let (id, pool) = (worker.id, worker.pool.clone());
    engine.ping().await.expect("an answer");
    engine.generation().await.expect("a generation");
    let mut stream = engine.reports(vec![pool.clone()]).await.expect("a stream");
    let mut commands = engine.commands(id).await.expect("a subscription");
    let beat = worker.beat();
    engine.beat(&beat, &mut worker.known).await.expect("a heartbeat");
    let report = worker.report(ReportBody::Ready);
    let pictures = news(&worker.agents);
    engine.report(std::slice::from_ref(&report), &pictures, &mut worker.known).await.expect("reported");
    engine.send(&[(pool.clone(), vec![(id, 8)])], &[(id, probe())]).await.expect("sent");
    soon("the command", commands.recv()).await.expect("a command");
    engine.check_commands(id).await.expect("it is heard");
    let deliveries = soon("the report", stream.next()).await.expect("reports");
    engine.settle(&deliveries, &[(id, report.seq)]).await.expect("settled");
    engine.read_heartbeats(&[(id, 0)]).await.expect("pictures");
    assert_eq!(engine.present().await.expect("workers"), [id]);
    assert_eq!(engine.pools().await.expect("pools"), std::slice::from_ref(&pool));
    engine.remove_strangers(&pool).await.expect("weeded");
    let leader = LeaderMirror {
        fence: Fence(1),
        address: "127.0.0.1:1".to_owned(),
        host: "here".to_owned(),
        pid: 1,
        since: Timestamp::from_millis(1),
    };
    engine.announce_leader(&leader, TIMEOUT).await.expect("announced");
    engine.condemn(id).await.expect("condemned");
    engine.forget(&pool, id).await.expect("forgotten");
    engine.forget_pool(&pool).await.expect("forgotten");
}

#[tokio::test]
async fn a_command_that_was_taken_away_is_named() {
    let server = RedisServer::start_with(&["--rename-command", "ZREM", ""]);
    let why = refusal(&server.engine()).await;
    assert!(why.contains("does not know the commands ZREM") && why.contains("rename-command"), "{why}");
}

#[tokio::test]
async fn what_is_no_lack_of_a_right_is_named_as_what_it_is() {
    let server = RedisServer::start();
    server.ask::<()>(&["CONFIG", "SET", "maxmemory", "1"]).await;
    let why = refusal(&server.engine()).await;
    assert!(why.contains("raise maxmemory"), "{why}");
    server.ask::<()>(&["CONFIG", "SET", "maxmemory", "0"]).await;
    let target = RegistryTarget { url: format!("{}?pass=wrong", server.target("").url), ..server.target("") };
    server.ask::<()>(&["ACL", "SETUSER", "default", "resetpass", ">secret"]).await;
    let engine = RedisRegistry::connect(&target, RedisOptions { timeout: TIMEOUT * 10 }).expect("an address");
    let why = refusal(&engine).await;
    assert!(why.contains("password of redis.url is wrong"), "{why}");
}

#[tokio::test]
async fn pictures_say_that_writes_are_refused() {
    let server = RedisServer::start();
    let engine = server.engine();
    assert_eq!(engine.read_heartbeats(&[]).await.expect("pictures").refusal, None);
    let faults = [
        (["maxmemory", "1"], ["maxmemory", "0"], "raise maxmemory"),
        (["min-replicas-to-write", "1"], ["min-replicas-to-write", "0"], "replicas"),
    ];
    for (fault, mend, words) in faults {
        server.ask::<()>(&["CONFIG", "SET", fault[0], fault[1]]).await;
        let refusal = engine.read_heartbeats(&[]).await.expect("reads are answered").refusal.expect("writes are not");
        assert!(refusal.contains(words), "{refusal}");
        server.ask::<()>(&["CONFIG", "SET", mend[0], mend[1]]).await;
        assert_eq!(engine.read_heartbeats(&[]).await.expect("pictures").refusal, None);
    }
}
