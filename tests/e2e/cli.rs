//! The command line against a real server: what is printed, for people and for programs, and the exit codes.

use serde_json::{Value, json};

use crate::harness::faults::{kill9, lives, signal};
use crate::harness::{BOUND, Ended, Muster, Options, run, wait_until};

/// Two agents a worker, one worker.
const SMALL: &str = "[pools.small]\nrole_type = \"developer\"\nmax_agents = 2\nmax_workers = 1\n";

/// The rows of a table below its head, in words.
fn rows(ended: &Ended) -> Vec<Vec<&str>> {
    ended.stdout.lines().skip(1).map(|line| line.split_whitespace().collect()).collect()
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_else(|| panic!("no {field}: {value}"))
}

#[test]
fn agents_from_spawn_to_terminate() {
    let muster = Muster::start(Options::default());
    let spawned = muster.command(&["spawn", "developer_pool", "-n", "3", "-p", "shop"]).expect(0);
    assert!(spawned.stdout.starts_with("AGENT"), "{spawned:?}");
    let mut agents: Vec<String> = rows(&spawned).iter().map(|row| row[0].to_owned()).collect();
    // They were asked for at the same time; listed they are in the order of their ids.
    agents.sort();
    assert_eq!(agents.len(), 3, "{spawned:?}");
    let one = muster.command(&["spawn", "tester_pool", "--json"]).expect(0).json();
    assert_eq!((text(&one, "state"), text(&one, "role_type")), ("idle", "tester"));

    let all = muster.command(&["ps"]).expect(0);
    assert_eq!(rows(&all).len(), 4, "{all:?}");
    let of_project = muster.command(&["ps", "--project", "shop", "--json"]).expect(0).json();
    let ids: Vec<&str> =
        of_project["items"].as_array().expect("items").iter().map(|agent| text(agent, "agent_id")).collect();
    assert_eq!(ids, agents);
    let workers = muster.command(&["ps", "-w"]).expect(0);
    assert!(workers.stdout.starts_with("WORKER") && rows(&workers).len() == 2, "{workers:?}");
    let workers = muster.command(&["ps", "-w", "--pool", "developer_pool", "--json"]).expect(0).json();
    assert_eq!(workers["processes"][0]["agent_count"], 3);

    let again = muster.command(&["restart", &agents[0], "--json"]).expect(0).json();
    assert_eq!((text(&again, "agent_id"), &again["epoch"]), (agents[0].as_str(), &json!(2)));
    let ended = muster.command(&["terminate", &agents[0], &agents[1]]).expect(0);
    assert_eq!(rows(&ended).iter().filter(|row| row.contains(&"terminated")).count(), 2, "{ended:?}");
    muster.command(&["terminate", "--pool", "tester_pool", "--force"]).expect(0);
    let left = muster.command(&["ps", "--json"]).expect(0).json();
    assert_eq!(left["items"].as_array().map(Vec::len), Some(1), "{left}");
    let terminated = muster.command(&["ps", "--state", "terminated", "--json"]).expect(0).json();
    assert_eq!(terminated["items"].as_array().map(Vec::len), Some(3), "{terminated}");
    let all = muster.command(&["ps", "--all", "--json"]).expect(0).json();
    assert_eq!(all["items"].as_array().map(Vec::len), Some(4), "{all}");
    let asked = muster.command(&["spawn", "developer_pool", "--wait", "0", "--json"]).expect(0).json();
    assert!(matches!(text(&asked, "state"), "spawning" | "idle"), "{asked}");
}

#[test]
fn pools_from_create_to_rm() {
    let muster = Muster::start(Options::default());
    let listed = muster.command(&["pools"]).expect(0);
    assert!(listed.stdout.starts_with("POOL") && rows(&listed).len() == 4, "{listed:?}");
    let made = ["pools", "create", "mine", "--role", "writer", "--max-agents", "2", "--restart", "transient", "--json"];
    let made = muster.command(&made).expect(0).json();
    assert_eq!((&made["config"]["max_agents"], &made["config"]["restart"]["kind"]), (&json!(2), &json!("transient")));
    muster.command(&["spawn", "mine", "-n", "3"]).expect(0);
    let changed = muster.command(&["pools", "set", "mine", "--max-workers", "7", "--json"]).expect(0).json();
    assert_eq!((&changed["config"]["max_workers"], &changed["process_count"]), (&json!(7), &json!(2)));
    let listed = muster.command(&["pools", "list", "--json"]).expect(0).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(5));
    let removed = muster.command(&["pools", "rm", "mine"]).expect(0);
    assert!(removed.stdout.contains("mine is removed"), "{removed:?}");
    muster.command(&["pools", "rm", "mine"]).expect(4);
    assert_eq!(muster.command(&["ps", "--json"]).expect(0).json()["items"], json!([]));
}

#[test]
fn status_check_and_config_say_how_it_is() {
    let muster = Muster::start(Options::default());
    muster.spawn_many("developer_pool", 2);
    let status = muster.command(&["status"]).expect(0);
    let socket = muster.data_dir().join("redis/redis.sock").display().to_string();
    let store = muster.data_dir().join("muster.db").display().to_string();
    for words in ["multi-process", &format!("redis-cli -s {socket}"), &store, &muster.address(), "healthy"] {
        assert!(status.stdout.contains(words), "{words:?} is missing: {status:?}");
    }
    let json = muster.command(&["status", "--json"]).expect(0).json();
    assert_eq!((text(&json, "mode"), &json["agents"], &json["workers"]), ("multi-process", &json!(2), &json!(1)));
    // What is printed for people works: redis-cli finds the keys there.
    let line = status.stdout.lines().find_map(|line| line.strip_prefix("redis")).expect("a line").trim().to_owned();
    let typed =
        std::process::Command::new("sh").args(["-c", &format!("{line} keys 'agent:*'")]).output().expect("a shell");
    let keys = String::from_utf8_lossy(&typed.stdout).into_owned();
    assert_eq!((keys.lines().count(), typed.stderr.len()), (2, 0), "{typed:?}");
    let config = muster.command(&["config"]).expect(0);
    assert!(
        config.stdout.lines().any(|line| line.starts_with("data_dir") && line.ends_with("--data-dir")),
        "{config:?}"
    );
    let config = muster.command(&["config", "--json"]).expect(0).json();
    assert!(config.is_object() || config.is_array());
    assert!(muster.command(&["config", "--markdown"]).expect(0).stdout.contains("MUSTER_CLOCKS_HEARTBEAT"));
}

#[test]
fn a_check_fails_with_a_remedy_where_a_worker_does_not_hear() {
    // Long clocks: the worker that hangs is to be seen by the check, not replaced before.
    let slow = [("STALE", "60"), ("LEASE", "60"), ("ORPHAN_AFTER", "120")];
    let options = slow
        .iter()
        .fold(Options::default(), |options, (clock, value)| options.env(&format!("MUSTER_CLOCKS_{clock}"), *value));
    let muster = Muster::start(options);
    muster.spawn_many("developer_pool", 1);
    let check = muster.command(&["check"]).expect(0);
    for words in ["open files", "registry", "pub/sub", "store", "leader", "worker"] {
        assert!(check.stdout.to_lowercase().contains(words), "{words:?} is missing: {check:?}");
    }
    assert!(!check.stdout.contains("FAILED"), "{check:?}");
    let worker = muster.all_workers().remove(0);
    signal(worker.pid, libc::SIGSTOP);
    let check = muster.command(&["check"]);
    let json = muster.command(&["check", "--json"]);
    signal(worker.pid, libc::SIGCONT);
    let check = check.expect(1);
    assert!(check.stdout.contains("FAILED") && check.stdout.contains("remedy:"), "{check:?}");
    let json = json.expect(1).json();
    let failed = |line: &Value| line["ok"] == false && line["remedy"].is_string();
    assert!(json["ok"] == false && json["checks"].as_array().is_some_and(|checks| checks.iter().any(failed)), "{json}");
    wait_until("all is well again", BOUND, || muster.command(&["check"]).code == Some(0));
}

#[test]
fn logs_are_shown_and_followed_to_the_end_of_the_server() {
    let config = "[runtimes.r]\nkind = \"exec\"\ncommand = [\"sh\", \"-c\", '''for i in 1 2 3; do echo line $i; done; \
                  echo '{\"type\":\"ready\"}'; exec cat''']\n[pools.p]\nrole_type = \"developer\"\nruntime = \"r\"\n";
    let mut muster = Muster::start(Options::config(config));
    let id = muster.spawn_many("p", 1).remove(0);
    wait_until("all is in the log", BOUND, || muster.command(&["logs", &id]).expect(0).stdout.contains("out line 3"));
    let tail = muster.command(&["logs", &id, "--tail", "2"]).expect(0);
    let lines: Vec<&str> =
        tail.stdout.lines().filter_map(|line| line.split_once(" out ")).map(|(_, text)| text).collect();
    assert_eq!(lines, ["line 2", "line 3"]);
    let followed = std::thread::scope(|scope| {
        let follow = scope.spawn(|| muster.command(&["logs", "-f", &id]));
        let stopped = muster.command(&["stop"]).expect(0);
        assert!(stopped.stdout.contains("is stopped"), "{stopped:?}");
        follow.join().expect("it ended")
    });
    assert!(matches!(followed.code, Some(0 | 1 | 3)), "it ends with the server: {followed:?}");
    muster.await_exit(0);
}

#[test]
fn logs_that_are_followed_end_with_the_agent() {
    let config = "[runtimes.r]\nkind = \"exec\"\ncommand = [\"sh\", \"-c\", '''echo '{\"type\":\"ready\"}'; read line; \
                  echo farewell''']\n[pools.p]\nrole_type = \"developer\"\nruntime = \"r\"\n";
    let muster = Muster::start(Options::config(config));
    let id = muster.spawn_many("p", 1).remove(0);
    let followed = std::thread::scope(|scope| {
        let follow = scope.spawn(|| muster.command(&["logs", "-f", &id]));
        // A restart is no end of the log.
        muster.command(&["restart", &id]).expect(0);
        muster.command(&["terminate", &id]).expect(0);
        follow.join().expect("it ended")
    });
    let printed = followed.expect(0).stdout;
    assert!(printed.contains("farewell") && printed.ends_with("end was stopped\n"), "{printed}");
    let again = muster.command(&["logs", "-f", &id]).expect(0);
    assert_eq!(again.stdout.matches(" out farewell").count(), 2, "{again:?}");
}

#[test]
fn a_log_without_lines_is_explained() {
    let config = "[runtimes.r]\nkind = \"exec\"\ncommand = [\"/no/such/program\"]\n\
                  [pools.p]\nrole_type = \"developer\"\nruntime = \"r\"\n";
    let muster = Muster::start(Options::config(config));
    let failed = muster.command(&["spawn", "p"]).expect(1);
    assert!(failed.stderr.contains("/no/such/program") && !failed.stderr.contains("printed nothing"), "{failed:?}");
    let agent = muster.command(&["ps", "-a", "--json"]).expect(0).json()["items"][0].clone();
    assert_eq!(text(&agent, "state"), "failed");
    let logs = muster.command(&["logs", text(&agent, "agent_id")]).expect(0);
    assert!(logs.stdout.contains("end could not be started") && logs.stdout.contains("/no/such/program"), "{logs:?}");
}

#[test]
fn an_agent_of_echo_has_printed_nothing_and_that_is_said() {
    let muster = Muster::start(Options::default());
    let id = muster.spawn_many("developer_pool", 1).remove(0);
    let logs = muster.command(&["logs", &id]).expect(0);
    assert!(logs.stdout.is_empty() && logs.stderr.contains("printed nothing so far; it is idle"), "{logs:?}");
    muster.command(&["restart", &id]).expect(0);
    let log = || muster.command(&["logs", &id]).expect(0).stdout;
    wait_until("its log has the end of its first run", BOUND, || log().contains(" end was stopped"));
    // The last characters of an id differ, so this much names one agent.
    let ended = muster.command(&["terminate", &id[..35]]).expect(0);
    assert!(ended.stdout.contains(&id), "{ended:?}");
}

#[test]
fn a_standby_is_shown_and_stopped_by_its_own_address() {
    let muster = Muster::start(Options::default());
    let agent = muster.spawn_many("developer_pool", 1).remove(0);
    let mut standby = muster.standby();
    let url = format!("http://{}", standby.address());
    let ask = |arguments: &[&str]| run(muster.folder(), &[arguments, &["--url", &url]].concat(), &[]);
    wait_until("it knows who leads", BOUND, || ask(&["status"]).stdout.contains(&muster.address()));
    let status = ask(&["status"]).expect(0);
    assert!(status.stdout.contains("standby"), "{status:?}");
    assert_eq!(ask(&["status", "--json"]).expect(0).json()["state"], "standby");
    let refused = ask(&["ps"]).expect(1);
    assert!(refused.stderr.contains(&muster.address()) && refused.stderr.contains("--url"), "{refused:?}");
    ask(&["stop"]).expect(0);
    standby.await_exit(0);
    assert_eq!(muster.one_agent(&agent).state, "idle", "the leader and its agents go on");
}

#[test]
fn stop_ends_all_or_leaves_the_workers() {
    let mut muster = Muster::start(Options::default());
    muster.spawn_many("developer_pool", 2);
    let worker = muster.all_workers().remove(0);
    muster.command(&["stop", "--keep-workers"]).expect(0);
    muster.await_exit(0);
    assert!(lives(worker.pid));
    muster.restart();
    assert_eq!(muster.all_workers().remove(0).pid, worker.pid);
    assert!(muster.log().contains("agents to restore: 2 run still and are adopted, 0 are started again"));
    let stopped = muster.command(&["stop", "--json"]).expect(0);
    assert!(stopped.json().is_object());
    muster.await_exit(0);
    assert!(!lives(worker.pid));
    muster.restart();
    assert!(muster.log().contains("agents to restore: 0 run still and are adopted, 2 are started again"));
    muster.command(&["stop"]).expect(0);
    muster.await_exit(0);
    muster.command(&["ps"]).expect(3);
}

#[test]
fn the_exit_code_says_what_went_wrong() {
    let muster = Muster::start(Options::config(SMALL));
    let agents = muster.spawn_many("small", 2);
    let nobody = "00000000-0000-7000-8000-000000000000";
    for (code, words, arguments) in [
        (1, "full", &["spawn", "small"][..]),
        (1, "terminated", &["restart", &agents[0]]),
        (1, "small", &["pools", "rm", "small"]),
        (2, "", &["spawn"]),
        (2, "", &["no-such-command"]),
        (2, "", &["terminate"]),
        (2, "", &["terminate", "no-id"]),
        (2, "", &["pools", "set", "small"]),
        (4, "nobody", &["spawn", "nobody"]),
        (4, nobody, &["terminate", nobody]),
        (4, nobody, &["restart", nobody]),
        (4, nobody, &["logs", nobody]),
        (4, "nobody", &["pools", "set", "nobody", "--max-agents", "2"]),
        (4, "there is no pool nobody; `muster pools`", &["ps", "--pool", "nobody"]),
        (4, "there is no pool nobody", &["ps", "-w", "--pool", "nobody"]),
        (4, "there is no pool nobody", &["terminate", "--pool", "nobody"]),
    ] {
        if code == 1 && arguments[0] == "restart" {
            muster.terminate(&agents[0]);
        }
        let ended = muster.command(arguments).expect(code);
        assert!(ended.stderr.contains(words) && !ended.stderr.is_empty(), "{arguments:?}: {ended:?}");
        assert!(ended.stdout.is_empty(), "{arguments:?}: {ended:?}");
    }
    // Part of it failed: what was done is printed, and the code says that not all was.
    let part = muster.command(&["spawn", "small", "-n", "3"]).expect(1);
    assert!(rows(&part).len() == 1 && part.stderr.contains("2 of 3 failed"), "{part:?}");
    let away = tempfile::Builder::new().prefix("mc").tempdir_in("/tmp").expect("a folder");
    let path = away.path().display().to_string();
    for arguments in [&["ps", "--data-dir", &path][..], &["status", "--url", "http://127.0.0.1:1"]] {
        let ended = run(away.path(), arguments, &[]).expect(3);
        assert!(ended.stderr.contains("muster serve"), "it says what to do: {ended:?}");
    }
    std::fs::write(away.path().join("muster.toml"), "listen = \n").expect("a file");
    run(away.path(), &["ps"], &[]).expect(64);
    std::fs::remove_file(away.path().join("muster.toml")).expect("a file");
    let url = format!("http://{}", muster.address());
    run(away.path(), &["ps", "--url", &url], &[]).expect(0);
    run(away.path(), &["ps"], &[("MUSTER_URL", &url)]).expect(0);
    run(away.path(), &["ps"], &[("MUSTER_DATA_DIR", &muster.data_dir().display().to_string())]).expect(0);
}

#[test]
fn a_server_that_was_killed_is_not_reached() {
    let mut muster = Muster::start(Options::default());
    muster.kill9();
    assert!(muster.data_dir().join("muster.addr").exists(), "it could not take its address back");
    muster.command(&["ps"]).expect(3);
    muster.command(&["stop"]).expect(3);
}

#[test]
fn completions_and_help_are_there() {
    let folder = tempfile::Builder::new().prefix("mh").tempdir_in("/tmp").expect("a folder");
    for shell in ["bash", "zsh", "fish"] {
        let script = run(folder.path(), &["completions", shell], &[]).expect(0);
        assert!(script.stdout.contains("terminate") && !script.stdout.contains("no-such"), "{shell}");
    }
    let help = run(folder.path(), &["--help"], &[]).expect(0);
    let commands = [
        "serve",
        "spawn",
        "terminate",
        "restart",
        "ps",
        "pools",
        "logs",
        "status",
        "check",
        "config",
        "migrate",
        "stop",
    ];
    assert!(commands.iter().all(|command| help.stdout.contains(command)), "{help:?}");
    assert!(run(folder.path(), &["--version"], &[]).expect(0).stdout.starts_with("muster "));
    assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 0, "none of them writes anything");
}

#[test]
fn a_command_that_is_cut_off_is_no_failure_of_the_server() {
    let muster = Muster::start(Options::default());
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_muster"));
    command.args([
        "logs",
        "-f",
        &muster.spawn_many("developer_pool", 1)[0],
        "--url",
        &format!("http://{}", muster.address()),
    ]);
    let mut follow = command.stdout(std::process::Stdio::null()).spawn().expect("it starts");
    kill9(follow.id());
    follow.wait().expect("a child of ours");
    assert_eq!(muster.get("/health").text("status"), "ok");
}
