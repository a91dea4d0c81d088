//! Programs as agents: the examples, and programs that fail, hang, flood and crash.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::faults::{kill9, lives, processes_with};
use crate::harness::{Answer, BOUND, Muster, Options, wait_until};

const EXAMPLES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");

/// A pool `p` whose agents are this shell script; `more` are lines for the runtime, `pool` for the pool.
fn script(script: &str, more: &str, pool: &str) -> Options {
    Options::config(format!(
        "[runtimes.script]\nkind = \"exec\"\ncommand = [\"sh\", \"-c\", '''{script}''']\n{more}\n\
         [pools.p]\nrole_type = \"developer\"\nruntime = \"script\"\n{pool}\n"
    ))
}

fn agent(muster: &Muster, id: &str) -> Value {
    muster.get(&format!("/api/v1/agents/{id}")).body
}

fn logs(muster: &Muster, id: &str) -> String {
    let answer = muster.get(&format!("/api/v1/agents/{id}/logs?tail=1000"));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body.as_str().expect("a text").to_owned()
}

fn assert_nothing_runs(muster: &Muster, pool: &str) {
    let pool = muster.pool(pool);
    assert_eq!((&pool["used_capacity"], &pool["agent_count"]), (&json!(0), &json!(0)), "{pool}");
}

#[test]
fn the_examples_run_as_agents() {
    // The very file that the README shows.
    let muster = Muster::start(Options::default().arg("--config").arg(format!("{EXAMPLES}/muster.toml")));
    for (pool, role) in [("python_pool", "developer"), ("shell_pool", "tester")] {
        let body = json!({"project_id": "shop", "role_type": role, "pool_name": pool});
        let answer = muster.post("/api/v1/agents/spawn", &body);
        assert_eq!((answer.status, answer.text("state")), (201, "idle"), "{answer:?}");
        let id = answer.text("agent_id").to_owned();
        let pid = u32::try_from(answer.body["pid"].as_u64().expect("a pid")).expect("a pid");
        assert!(lives(pid), "{pool}");
        let greeting = format!("agent {id} of {pool} starts");
        wait_until("its greeting is in its log", BOUND, || logs(&muster, &id).contains(&greeting));
        let shown = muster.command(&["logs", &id]).expect(0);
        assert!(shown.stdout.contains(&greeting), "{shown:?}");
        assert!(!shown.stdout.contains("ready"), "the contract's lines are no log: {shown:?}");
        let mut followed = muster.ask("GET", &format!("/api/v1/agents/{id}/logs?follow=true")).stream();
        assert!(followed.line().is_some_and(|line| line.contains(&greeting)));
        let ended = muster.terminate(&id);
        assert_eq!((ended.status, ended.text("state")), (200, "terminated"), "{ended:?}");
        assert!(!lives(pid), "it is gone when that is said");
        assert!(logs(&muster, &id).contains(" end was stopped"), "{}", logs(&muster, &id));
        let mut line = followed.line();
        while line.as_ref().is_some_and(|line| !line.contains(" end ")) {
            line = followed.line();
        }
        assert!(line.is_some_and(|line| line.ends_with("was stopped")), "who follows sees the end");
        assert_nothing_runs(&muster, pool);
    }
}

fn assert_start_failed(answer: &Answer, kind: &str) {
    assert_eq!((answer.status, answer.code()), (502, "start_failed"), "{answer:?}");
    assert_eq!(answer.body["ending"]["cause"]["kind"], kind, "{answer:?}");
}

#[test]
fn a_program_that_fails_at_once_says_why() {
    let muster = Muster::start(script("echo I have no brain >&2; exit 3", "", ""));
    for _ in 0..3 {
        let answer = muster.spawn("p");
        assert_start_failed(&answer, "exited");
        assert_eq!(answer.body["ending"]["cause"]["code"], 3);
        assert!(answer.text("detail").contains("exited with code 3"), "{answer:?}");
        assert!(
            answer.body["ending"]["last_output"].as_str().is_some_and(|text| text.contains("I have no brain")),
            "{answer:?}"
        );
        let id = answer.text("agent_id");
        assert_eq!(agent(&muster, id)["state"], "failed");
        assert!(logs(&muster, id).contains("err I have no brain"));
        assert_nothing_runs(&muster, "p");
    }
    assert_eq!(muster.get("/api/v1/agents/monitor/system").body["failed_spawns"], 3);
    assert!(processes_with("I have no brain").iter().all(|process| process.parent != muster.pid()));
}

#[test]
fn a_program_that_is_not_there_says_so() {
    let of = |pool: &str, mode: &str| {
        format!(
            "[runtimes.{pool}]\nkind = \"exec\"\ncommand = [\"/no/such/program\"]\nmode = \"{mode}\"\n\
             [pools.{pool}]\nrole_type = \"developer\"\nruntime = \"{pool}\"\n"
        )
    };
    let muster = Muster::start(Options::config(of("p", "agent") + &of("q", "oneshot")));
    for pool in ["p", "q"] {
        let answer = muster.spawn(pool);
        assert_start_failed(&answer, "not_started");
        let why = "could not be started: cannot run /no/such/program: No such file or directory";
        assert!(answer.text("detail").contains(why), "{answer:?}");
        let listed = muster.command(&["ps", "--pool", pool, "-a"]).expect(0);
        assert!(listed.stdout.contains(" failed ") && listed.stdout.contains(why), "{listed:?}");
        assert_nothing_runs(&muster, pool);
        let said = |line: &str| {
            line.contains(" WARN ")
                && line.contains("did not start: it could not be started")
                && line.contains(&format!("pool.name={pool}"))
        };
        assert!(muster.log().lines().any(said), "{}", muster.log());
        let alerts = muster.get("/api/v1/alerts").body;
        let of_pool = |alert: &&Value| alert["kind"] == "start_failed" && alert["pool_name"] == pool;
        let alert = alerts.as_array().expect("a list").iter().find(of_pool);
        let message =
            alert.and_then(|alert| alert["message"].as_str()).unwrap_or_else(|| panic!("none of {pool}: {alerts}"));
        assert!(message.contains("it is not tried again") && message.contains(why), "{message}");
    }
}

#[test]
fn without_proc_the_start_names_the_path() {
    let folder = tempfile::tempdir().expect("a folder");
    let script = "mount -t tmpfs none /proc && exec \"$@\"";
    let data_dir = folder.path().join("d");
    let data_dir = data_dir.to_str().expect("text");
    let words = [
        "-Urm",
        "sh",
        "-c",
        script,
        "sh",
        env!("CARGO_BIN_EXE_muster"),
        "serve",
        "--data-dir",
        data_dir,
        "--listen",
        "127.0.0.1:0",
    ];
    let ended = std::process::Command::new("unshare").args(words).output().expect("unshare");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(!ended.status.success(), "{said}");
    if said.contains("unshare:") || said.contains("mount:") {
        return eprintln!("skipped: no namespaces are to be had here: {said}");
    }
    assert!(said.contains("cannot read /proc/") && said.contains("/proc must be mounted"), "{said}");
}

#[test]
fn a_program_that_is_never_ready_is_ended_with_a_hint() {
    let mut muster = Muster::start(script("echo thinking; exec sleep 1000.25", "start_timeout = 0.5", ""));
    let answer = muster.spawn("p");
    assert_start_failed(&answer, "start_timeout");
    assert!(answer.text("detail").contains("may be buffered"), "{answer:?}");
    assert!(answer.body["ending"]["last_output"].as_str().is_some_and(|text| text.contains("thinking")), "{answer:?}");
    let body = json!({"project_id": "shop", "role_type": "developer", "pool_name": "p"});
    let answer = muster.post("/api/v1/agents/spawn?wait=0.05", &body);
    assert_eq!((answer.status, answer.text("state")), (202, "spawning"), "{answer:?}");
    let id = answer.text("agent_id").to_owned();
    wait_until("it has failed", BOUND, || agent(&muster, &id)["state"] == "failed");
    assert_eq!(agent(&muster, &id)["last_ending"]["cause"]["kind"], "start_timeout");
    assert_nothing_runs(&muster, "p");
    assert!(processes_with("sleep 1000.25").is_empty());
    // What failed stays so over a restart.
    muster.stop();
    muster.restart();
    assert_eq!(agent(&muster, &id)["state"], "failed");
    assert_nothing_runs(&muster, "p");
}

#[test]
fn rubbish_is_log_and_nothing_else() {
    let rubbish = r#"printf '\377\376\000\n{"type":\n[1,2\n{"type":"unheard"}\n"ready"\n{"type":7}\n'
        head -c 300000 /dev/zero | tr '\0' x; echo; echo '{"type":"ready"}'; echo '{"type":"ready"}'; exec cat"#;
    let muster = Muster::start(script(rubbish, "", ""));
    let agents = muster.spawn_many("p", 2);
    for id in &agents {
        wait_until("all is in its log", BOUND, || logs(&muster, id).contains("more bytes of this line were cut"));
        assert!(logs(&muster, id).contains(r#"out {"type":"unheard"}"#));
        assert_eq!((&agent(&muster, id)["state"], &agent(&muster, id)["epoch"]), (&json!("idle"), &json!(1)));
        assert_eq!(muster.terminate(id).text("state"), "terminated");
    }
}

#[test]
fn a_flood_holds_up_nobody_and_is_bounded() {
    let flood =
        r#"echo '{"type":"ready"}'; exec yes "a long line of which there is no end, and which nobody wants to read""#;
    let muster = Muster::start(script(flood, "", ""));
    let agents = muster.spawn_many("p", 2);
    let file = |name: &str| muster.data_dir().join("logs/agents").join(name);
    let size = |path: &Path| path.metadata().map_or(0, |file| file.len());
    let (newest, older) = (file(&format!("{}.log", agents[0])), file(&format!("{}.log.1", agents[0])));
    wait_until("the log was rotated", Duration::from_secs(60), || size(&older) > 0);
    // The worker, whose one thread reads the flood, still hears and answers.
    let third = muster.spawn_many("p", 1).remove(0);
    assert_eq!(muster.terminate(&third).text("state"), "terminated");
    let limit = 10 << 20;
    assert!(
        size(&older) < limit + (1 << 20) && size(&newest) < limit + (1 << 20),
        "{} {}",
        size(&older),
        size(&newest)
    );
    let worker = muster.all_workers().remove(0);
    let memory = std::fs::read_to_string(format!("/proc/{}/status", worker.pid)).expect("a worker");
    let peak =
        memory.lines().find_map(|line| line.strip_prefix("VmHWM:")).and_then(|text| text.trim().strip_suffix(" kB"));
    assert!(peak.is_some_and(|kib| kib.trim().parse::<u64>().is_ok_and(|kib| kib < 200 << 10)), "{peak:?} KiB");
    for id in &agents {
        assert_eq!(agent(&muster, id)["epoch"], 1, "nobody was judged for it");
        assert_eq!(muster.terminate(id).text("state"), "terminated");
    }
}

/// Ready at once; then it waits.
const CALM: &str = r#"echo '{"type":"ready"}'; exec cat"#;

#[test]
fn a_crash_is_followed_by_a_restart() {
    let muster = Muster::start(script(CALM, "", "restart.backoff_min = 0.05"));
    let id = muster.spawn_many("p", 1).remove(0);
    for epoch in 2..=3_u64 {
        let before = muster.one_agent(&id);
        kill9(before.pid.expect("a pid"));
        wait_until("it runs again", BOUND, || {
            muster.one_agent(&id).state == "idle" && muster.one_agent(&id).epoch == epoch
        });
        let seen = agent(&muster, &id);
        assert_ne!(seen["pid"], json!(before.pid));
        assert_eq!(
            (&seen["restarts"], &seen["last_ending"]["cause"]),
            (&json!(epoch - 1), &json!({"kind": "signaled", "signal": 9}))
        );
    }
    assert_eq!(muster.pool("p")["used_capacity"], 1);
}

#[test]
fn a_crash_loop_ends_in_quarantine_and_a_person_releases_it() {
    let folder = tempfile::Builder::new().prefix("mq").tempdir_in("/tmp").expect("a folder");
    let flag = folder.path().join("mended");
    let loops =
        format!(r#"echo '{{"type":"ready"}}'; test -e {} || {{ echo giving up; exit 7; }}; exec cat"#, flag.display());
    let mut muster =
        Muster::start(script(&loops, "", "restart = { max_restarts = 2, backoff_min = 0.01, backoff_max = 0.02 }"));
    let answer = muster.spawn("p");
    assert!(matches!(answer.status, 201 | 202), "it was ready once: {answer:?}");
    let id = answer.text("agent_id").to_owned();
    wait_until("it is in quarantine", BOUND, || agent(&muster, &id)["state"] == "quarantined");
    let seen = agent(&muster, &id);
    assert_eq!(
        (&seen["last_ending"]["cause"], &seen["epoch"]),
        (&json!({"kind": "exited", "code": 7}), &json!(3)),
        "{seen}"
    );
    assert!(seen["last_ending"]["last_output"].as_str().is_some_and(|text| text.contains("giving up")), "{seen}");
    assert!(seen["reason"].is_string(), "{seen}");
    assert_eq!((&muster.pool("p")["quarantined_agents"], &muster.pool("p")["used_capacity"]), (&json!(1), &json!(0)));
    muster.stop();
    muster.restart();
    assert_eq!(agent(&muster, &id)["state"], "quarantined", "a new supervisor is no person");
    std::fs::write(&flag, "").expect("a file");
    let released = muster.post(&format!("/api/v1/agents/{id}/restart"), &json!({}));
    assert_eq!(
        (released.status, released.text("state"), &released.body["epoch"]),
        (200, "idle", &json!(4)),
        "{released:?}"
    );
    assert_eq!(muster.pool("p")["quarantined_agents"], 0);
}

/// Ready, and it ends with the code that it is told.
const OBEDIENT: &str = r#"echo '{"type":"ready"}'; while ! test -e "$MUSTER_PROJECT_ID"; do sleep 0.02; done; exit $(cat "$MUSTER_PROJECT_ID")"#;

#[test]
fn the_kind_says_which_end_is_followed_by_a_restart() {
    let folder = tempfile::Builder::new().prefix("mk").tempdir_in("/tmp").expect("a folder");
    for (kind, code, state) in [
        ("permanent", 0, "restarts"),
        ("permanent", 1, "restarts"),
        ("transient", 0, "terminated"),
        ("transient", 1, "restarts"),
        ("temporary", 0, "terminated"),
        ("temporary", 1, "failed"),
    ] {
        let pool =
            format!("restart = {{ kind = \"{kind}\", max_restarts = 1000, backoff_min = 0.01, backoff_max = 0.02 }}");
        let muster = Muster::start(script(OBEDIENT, "", &pool));
        let order = folder.path().join(format!("{kind}-{code}"));
        let body = json!({"project_id": order.display().to_string(), "role_type": "developer", "pool_name": "p"});
        let id = muster.post("/api/v1/agents/spawn", &body).text("agent_id").to_owned();
        std::fs::write(&order, code.to_string()).expect("a file");
        wait_until(&format!("{kind} after {code}: {state}"), BOUND, || {
            let seen = agent(&muster, &id);
            if state == "restarts" { seen["epoch"].as_u64() >= Some(3) } else { seen["state"] == state }
        });
        assert_eq!(agent(&muster, &id)["last_ending"]["cause"], json!({"kind": "exited", "code": code}));
        if state != "restarts" {
            assert_eq!(agent(&muster, &id)["epoch"], 1);
            assert_nothing_runs(&muster, "p");
        }
    }
}

#[test]
fn a_program_sees_the_promised_environment_and_no_more() {
    let more = "pass_env = [\"E2E_TOKEN\", \"E2E_ABSENT\"]\nenv = { MODE = \"fast\" }";
    // `env` as the program itself, so that no shell adds to what it sees.
    let config = format!(
        "[runtimes.env]\nkind = \"exec\"\ncommand = [\"env\"]\n{more}\n\
         [pools.p]\nrole_type = \"developer\"\nruntime = \"env\"\n"
    );
    let options = Options::config(config)
        .env("E2E_TOKEN", "t")
        .env("E2E_SECRET", "s")
        .env("LC_E2E", "C")
        .env("DATABASE_URL", "x");
    let muster = Muster::start(options);
    let answer = muster.spawn("p");
    assert_start_failed(&answer, "exited");
    let id = answer.text("agent_id").to_owned();
    let log = logs(&muster, &id);
    let seen: BTreeMap<&str, &str> =
        log.lines().filter_map(|line| line.split_once(" out ")).filter_map(|(_, text)| text.split_once('=')).collect();
    let promised = ["PATH", "HOME", "USER", "LANG", "TZ", "TMPDIR"];
    let own = |name: &&str| promised.contains(name) || name.starts_with("LC_");
    for name in promised {
        if let Ok(value) = std::env::var(name)
            .or_else(|error| if name == "TMPDIR" { Ok(muster.folder().display().to_string()) } else { Err(error) })
        {
            let value = if name == "TMPDIR" { muster.folder().display().to_string() } else { value };
            assert_eq!(seen.get(name), Some(&value.as_str()), "{name}");
        }
    }
    let mut others: Vec<&str> = seen.keys().copied().filter(|name| !own(name)).collect();
    others.sort_unstable();
    assert_eq!(
        others,
        [
            "E2E_TOKEN",
            "MODE",
            "MUSTER_AGENT_ID",
            "MUSTER_POOL",
            "MUSTER_PROCESS_ID",
            "MUSTER_PROJECT_ID",
            "MUSTER_ROLE"
        ]
    );
    let who = ["MUSTER_AGENT_ID", "MUSTER_POOL", "MUSTER_PROJECT_ID", "MUSTER_ROLE", "MODE", "E2E_TOKEN", "LC_E2E"];
    assert_eq!(who.map(|name| seen[name]), [id.as_str(), "p", "shop", "developer", "fast", "t", "C"]);
}

#[test]
fn a_program_starts_in_a_folder_of_its_own() {
    let muster = Muster::start(script(r#"pwd; umask; echo '{"type":"ready"}'; exec cat"#, "", ""));
    let id = muster.spawn_many("p", 1).remove(0);
    let folder = muster.data_dir().join("agents").join(&id).display().to_string();
    wait_until("it says where it is", BOUND, || logs(&muster, &id).contains(&folder));
}
