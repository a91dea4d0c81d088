//! Single-process mode: the same API and figures; why it is so; and changes between the modes, in which every agent is
//! restored once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde_json::json;
use sqlx::{Connection, Executor};

use crate::harness::faults::{Postgres, RedisServer, Wicked, lives, take_the_lead_away};
use crate::harness::{BOUND, Muster, Options, wait_until};
use crate::spawn::{assert_fifteen, spawn_fifteen};

const SINGLE: &str = "--single-process";

#[test]
fn fifteen_spawns_read_the_same_in_one_process() {
    let muster = Muster::start(Options::default().arg(SINGLE));
    let agents = spawn_fifteen(&muster);
    assert_fifteen(&muster);
    let pids: BTreeSet<u32> = muster.all_workers().into_iter().map(|worker| worker.pid).collect();
    assert_eq!(pids, BTreeSet::from([muster.pid()]), "its workers are in the master");
    assert_eq!(muster.redis_pid(), None);
    let agent = agents.first().expect("one");
    let restarted = muster.post(&format!("/api/v1/agents/{agent}/restart"), &json!({}));
    assert_eq!((restarted.status, &restarted.body["epoch"]), (200, &json!(2)), "{restarted:?}");
    assert_eq!(muster.terminate(agent).text("state"), "terminated");
    assert_eq!(muster.pool("developer_pool")["used_capacity"], 14);
    assert_eq!(muster.get("/api/health-docker").text("status"), "ok");
    assert_eq!(muster.command(&["check"]).expect(0).code, Some(0));
}

/// The mode and its reason, as the log, `/health` and `muster status` say them.
fn assert_single(muster: &Muster, why: &str) {
    let health = muster.get("/health");
    assert_eq!(health.text("mode"), "single-process", "{health:?}");
    assert!(health.text("mode_reason").contains(why), "{health:?}");
    let status = muster.command(&["status"]).expect(0);
    assert!(status.stdout.contains("single-process") && status.stdout.contains(why), "{status:?}");
    let log = muster.log();
    assert!(log.lines().any(|line| line.contains("single-process") && line.contains(why)), "{log}");
    muster.spawn_many("developer_pool", 1);
}

#[test]
fn without_any_redis_server_it_runs_in_one_process_and_says_so() {
    assert_single(
        &Muster::start(Options::default().env("PATH", "/nowhere")),
        "no valkey-server or redis-server was found",
    );
}

#[test]
fn the_environment_can_say_it_too() {
    assert_single(&Muster::start(Options::default().env("MUSTER_SINGLE_PROCESS", "true")), "single_process is set");
}

#[test]
fn a_configured_redis_that_does_not_answer_is_waited_for() {
    let mut redis = RedisServer::start();
    redis.stop();
    let muster = Muster::launch(Options::default().env("MUSTER_REDIS_URL", redis.url()));
    wait_until("it says for what it waits", BOUND, || muster.get("/ready").code() == "registry_away");
    for path in ["/api/v1/agents/pools", "/ready"] {
        let answer = muster.get(path);
        assert_eq!((answer.status, answer.code()), (503, "registry_away"), "{answer:?}");
        assert!(answer.header("retry-after").is_some(), "{answer:?}");
    }
    let refused = muster.spawn("developer_pool");
    assert_eq!((refused.status, refused.code()), (503, "registry_away"), "{refused:?}");
    let health = muster.get("/health");
    assert_eq!(
        (health.status, health.text("status"), health.text("state")),
        (200, "degraded", "waiting"),
        "{health:?}"
    );
    let shown = muster.command(&["status"]).expect(if muster.data_dir().join("muster.addr").exists() { 1 } else { 3 });
    assert!(shown.stderr.contains("does not answer"), "{shown:?}");
    redis.resume();
    muster.await_ready();
    assert_eq!(muster.get("/health").text("mode"), "multi-process");
    muster.spawn_many("developer_pool", 1);
    drop(muster);
}

#[test]
fn only_where_it_is_said_a_configured_redis_is_done_without() {
    let mut redis = RedisServer::start();
    redis.stop();
    let options =
        Options::default().env("MUSTER_REDIS_URL", redis.url()).env("MUSTER_REDIS_FALLBACK", "single-process");
    let muster = Muster::start(options);
    assert_single(&muster, "redis.fallback says so");
    let agents = muster.spawn_many("developer_pool", 3);
    let says = |words: &str| {
        let health = muster.get("/health");
        health.text("status") == "degraded" && health.body["degraded"].to_string().contains(words)
    };
    wait_until("it is degraded", BOUND, || says("did not answer at the start"));
    redis.resume();
    wait_until("it says that the Redis is back", BOUND, || says("answers again and is not used: restart Muster"));
    assert_eq!(muster.get("/health").text("mode"), "single-process", "nothing is done about it");
    assert!(agents.iter().all(|agent| muster.one_agent(agent).epoch == 1));
    drop(muster);
}

#[test]
fn a_fallback_is_healed_where_that_is_wanted_and_each_agent_is_restarted_once() {
    let mut redis = RedisServer::start();
    redis.stop();
    let options = Options::default()
        .env("MUSTER_REDIS_URL", redis.url())
        .env("MUSTER_REDIS_FALLBACK", "single-process")
        .env("MUSTER_REDIS_FALLBACK_HEAL", "true");
    let muster = Muster::start(options);
    let agents = muster.spawn_many("developer_pool", 3);
    assert_eq!(muster.get("/health").text("mode"), "single-process");
    redis.resume();
    let health = || {
        let health = muster.get("/health");
        (health.body["mode"].clone(), health.body["status"].clone())
    };
    wait_until("it uses the Redis", BOUND, || health() == ("multi-process".into(), "ok".into()));
    let again = || agents.iter().map(|agent| muster.one_agent(agent)).collect::<Vec<_>>();
    wait_until("they run again", BOUND, || again().iter().all(|agent| agent.state == "idle"));
    assert!(again().iter().all(|agent| agent.epoch == 2), "{:?}", again());
    drop(muster);
}

/// How a supervisor ends before the next one starts in the other mode.
#[derive(Clone, Copy, Debug, PartialEq)]
enum End {
    Stopped,
    KeptWorkers,
    Killed,
}

/// Ends the supervisor, starts it in the other mode, and looks that each of the agents runs once: the ordinary ones by
/// the supervisor's account, the wicked ones by the processes that there are.
fn change_mode(muster: &mut Muster, wicked: &Wicked, end: End) {
    let before = muster.all_agents();
    let own = muster.pid();
    let workers: BTreeMap<String, u32> =
        muster.all_workers().into_iter().map(|worker| (worker.id, worker.pid)).filter(|(_, pid)| *pid != own).collect();
    match end {
        End::Stopped => muster.stop(),
        End::KeptWorkers => {
            muster.command(&["stop", "--keep-workers"]).expect(0);
            muster.await_exit(0);
        }
        End::Killed => muster.kill9(),
    }
    if end != End::Stopped {
        assert!(workers.values().all(|pid| lives(*pid)), "workers outlive their master");
    }
    match muster.options.args.pop() {
        Some(_) => {}
        None => muster.options.args.push(SINGLE.to_owned()),
    }
    muster.restart();
    let single = !muster.options.args.is_empty();
    assert_eq!(muster.get("/health").text("mode"), if single { "single-process" } else { "multi-process" });
    wait_until("every agent runs, each once, and none of the old workers", Duration::from_secs(30), || {
        let now = muster.all_agents();
        // The agents were read before this look at the old workers: who runs again has none that lives.
        for agent in now.iter().filter(|agent| agent.state == "idle") {
            let old = before.iter().find(|old| old.id == agent.id).expect("known before");
            let old_lives = workers.get(&old.process_id).is_some_and(|pid| lives(*pid));
            assert!(!old_lives, "it was placed anew before its old worker was dead: {agent:?}");
        }
        assert_eq!(now.len(), before.len());
        now.iter().all(|agent| agent.state == "idle")
            && !workers.values().any(|pid| lives(*pid))
            && wicked.mains().len() == 2
            && wicked.grandchildren().len() == 2
    });
    let after = muster.all_agents();
    for agent in &after {
        let old = before.iter().find(|old| old.id == agent.id).expect("known before");
        assert_eq!(agent.epoch, old.epoch + 1, "started once more, {end:?}: {agent:?}");
    }
    let used: u64 = muster.all_workers().iter().map(|worker| worker.agent_count).sum();
    assert_eq!(used, after.len() as u64);
}

#[test]
fn over_every_change_of_mode_each_agent_is_restored_once() {
    let folder = tempfile::Builder::new().prefix("mm").tempdir_in("/tmp").expect("a folder");
    let wicked = Wicked::new(folder.path());
    let config = format!(
        "[runtimes.wicked]\nkind = \"exec\"\ncommand = {}\nready = \"started\"\nstop_deadline = 0.2\n\
         [pools.wild]\nrole_type = \"developer\"\nruntime = \"wicked\"\nmax_agents = 2\n\
         [pools.calm]\nrole_type = \"developer\"\nmax_agents = 2\n",
        wicked.command()
    );
    let mut muster = Muster::start(Options::config(config));
    muster.spawn_many("wild", 2);
    muster.spawn_many("calm", 3);
    let ended = muster.spawn_many("calm", 1).remove(0);
    muster.terminate(&ended);
    wait_until("two trees stand", BOUND, || wicked.all().len() == 4);
    for end in [End::Stopped, End::Stopped, End::Killed, End::Killed, End::KeptWorkers, End::Killed] {
        eprintln!("the end before the change: {end:?}");
        change_mode(&mut muster, &wicked, end);
        assert_eq!(muster.one_agent(&ended).state, "terminated", "what was ended stays ended");
    }
    muster.stop();
    assert!(wicked.all().is_empty(), "{:?}", wicked.all());
}

/// Takes the lead away, as another supervisor does after the lease, and gives it up at once.
fn depose(postgres: &Postgres) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let mut database = sqlx::PgConnection::connect(&postgres.url()).await.expect("the database answers");
        database.execute("UPDATE leader SET fence = fence + 1, until_ms = 0").await.expect("the row is changed");
    });
}

#[test]
fn after_a_lost_lead_the_same_process_starts_every_agent_once() {
    let folder = tempfile::Builder::new().prefix("ml").tempdir_in("/tmp").expect("a folder");
    let (wicked, postgres) = (Wicked::new(folder.path()), Postgres::start());
    let config = format!(
        "[runtimes.wicked]\nkind = \"exec\"\ncommand = {}\nready = \"started\"\nstop_deadline = 0.2\n\
         [pools.wild]\nrole_type = \"developer\"\nruntime = \"wicked\"\nmax_agents = 2\n\
         [pools.calm]\nrole_type = \"developer\"\nmax_agents = 2\n",
        wicked.command()
    );
    let options = Options::config(config).arg(SINGLE).env("MUSTER_DATABASE_URL", postgres.url());
    let mut muster = Muster::start(options);
    muster.spawn_many("wild", 3);
    muster.spawn_many("calm", 3);
    let pid = muster.pid();
    for epoch in 2..4 {
        wait_until("three trees stand", BOUND, || wicked.all().len() == 6);
        let old = wicked.all();
        depose(&postgres);
        wait_until("every agent runs again", Duration::from_secs(30), || {
            let mains = wicked.mains();
            let told: BTreeSet<&str> = mains.iter().map(|main| main.command_line.as_str()).collect();
            let twice = told.len() < mains.len() && mains.iter().all(|main| lives(main.pid));
            assert!(!twice, "an agent runs twice: {mains:?}");
            assert!(lives(pid), "the server stays up");
            // While it starts over, the answer has no agents.
            let answer = muster.get("/api/v1/agents");
            let agents = answer.body["items"].as_array().cloned().unwrap_or_default();
            agents.len() == 6
                && agents.iter().all(|agent| (&agent["state"], &agent["epoch"]) == (&json!("idle"), &json!(epoch)))
        });
        assert!(!old.iter().any(|process| lives(process.pid)), "nothing of the former life is left");
    }
    muster.stop();
    assert!(wicked.all().is_empty(), "{:?}", wicked.all());
}

#[test]
fn a_lead_that_is_lost_is_followed_by_another_in_both_modes() {
    for (args, epoch) in [(&[][..], 1), (&[SINGLE][..], 2)] {
        let folder = tempfile::Builder::new().prefix("mm").tempdir_in("/tmp").expect("a folder");
        let wicked = Wicked::new(folder.path());
        let config = format!(
            "[clocks]\nheartbeat = 0.2\nstale = 1\nlease = 1\n\
             [runtimes.wicked]\nkind = \"exec\"\ncommand = {}\nready = \"started\"\nstop_deadline = 0.2\n\
             [pools.wild]\nrole_type = \"developer\"\nruntime = \"wicked\"\nmax_agents = 2\n",
            wicked.command()
        );
        let options = args.iter().fold(Options::config(config), |options, arg| options.arg(*arg));
        let mut muster = Muster::start(options);
        let agent = muster.spawn_many("wild", 1).remove(0);
        let before = muster.get("/api/v1/system/status").body["fence"].as_u64().expect("a fence");
        take_the_lead_away(&muster);
        wait_until("it leads again", BOUND, || {
            let answer = muster.get("/api/v1/system/status");
            answer.body["fence"].as_u64().is_some_and(|fence| fence > before + 1)
        });
        wait_until("the agent runs", BOUND, || muster.one_agent(&agent).state == "idle");
        // Worker processes outlive a lead, and their agents do not notice. Workers in one process end with it.
        assert_eq!(muster.one_agent(&agent).epoch, epoch, "{args:?}");
        wait_until("one tree stands", BOUND, || wicked.all().len() == 2);
        muster.spawn_many("wild", 1);
        muster.stop();
        assert!(wicked.all().is_empty(), "{:?}", wicked.all());
    }
}
