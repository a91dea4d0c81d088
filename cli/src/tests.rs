//! Commands as people type them, against a server that answers what it is told to.

use clap::CommandFactory;
use muster_domain::Timestamp;
use serde_json::{Value, json};

use crate::client::fake_tests::{FakeRequest, FakeServer};

use super::*;

/// What a command line came to.
pub(super) struct Ran {
    pub(super) result: Result<Done, CommandFailure>,
    pub(super) requests: Vec<FakeRequest>,
}

impl Ran {
    pub(super) fn text(&self) -> &str {
        &self.result.as_ref().unwrap_or_else(|failure| panic!("it went well: {failure}")).text
    }

    pub(super) fn code(&self) -> u8 {
        match &self.result {
            Ok(done) => done.failure.as_ref().map_or(0, CommandFailure::code),
            Err(failure) => failure.code(),
        }
    }

    pub(super) fn lines(&self) -> Vec<&str> {
        self.requests.iter().map(|request| request.line.strip_suffix(" HTTP/1.1").expect("HTTP/1.1")).collect()
    }

    pub(super) fn body(&self, index: usize) -> Value {
        serde_json::from_str(&self.requests[index].body).expect("a JSON body")
    }
}

/// A binary that knows of a server, and of no configuration.
pub(super) struct At(pub(super) String);

impl Roles for At {
    fn server(&self, _: &Given, _: Option<&str>) -> Result<ServerLookup, CommandFailure> {
        Ok(ServerLookup { address: ServerAddress::Url(self.0.clone()), key: None })
    }

    fn config(&self, given: &Given) -> Result<InForce, CommandFailure> {
        let rows = given.values.iter().map(|(key, value)| [(*key).to_owned(), value.clone(), "a flag".to_owned()]);
        Ok(InForce { rows: rows.collect(), json: json!({"settings": []}), notes: vec!["this is odd".to_owned()] })
    }

    fn settings(&self) -> String {
        "| key |\n".to_owned()
    }

    fn serve(&self, _: &Given) -> Result<(), CommandFailure> {
        Err(CommandFailure::Config { mistakes: "x: no".to_owned(), undone: Some("nothing was started") })
    }

    fn migrate(&self, _: &Given) -> Result<String, CommandFailure> {
        Ok("it is up to date".to_owned())
    }

    fn simulate(&self, _: &Given, asked: &SimulationRequest) -> Result<Simulated, CommandFailure> {
        Ok(Simulated { text: format!("{asked:?}"), json: json!({"simulated": true}) })
    }

    fn say_last(&self, line: String) {
        panic!("nothing failed for good: {line}");
    }
}

/// Runs a command line against a server that gives these answers.
pub(super) fn run(words: &str, answers: Vec<(u16, &'static str)>) -> Ran {
    let server = FakeServer::start(answers);
    let words: Vec<&str> = ["muster"].into_iter().chain(words.split_whitespace()).collect();
    let cli = Cli::try_parse_from(words).expect("a good command line");
    let result = carry_out(cli.command, &CliContext { global: cli.global, roles: &At(server.url()) });
    Ran { result, requests: server.requests() }
}

const ID: &str = "019aa000-0000-7000-8000-000000000001";
const AGENT: &str = r#"{"agent_id": "019aa000-0000-7000-8000-000000000001", "human_name": "Ada Brook",
    "pool_name": "developer_pool", "project_id": "shop", "state": "quarantined", "process_id": null, "restarts": 5,
    "created_at": "2025-11-21T03:20:00Z", "reason": "exited with code 1", "role_type": "developer"}"#;
const UNKNOWN: &str = r#"{"code": "unknown_agent", "detail": "there is no agent of this id"}"#;

pub(super) fn moment() -> Timestamp {
    "2025-11-21T03:25:00Z".parse().expect("a moment")
}

#[test]
fn the_command_line_is_well_formed() {
    Cli::command().debug_assert();
}

#[test]
fn wrong_usage_is_refused() {
    for words in ["", "fly", "terminate", "terminate 17", "spawn Pool!", "ps --state asleep", "spawn p --count 0"] {
        let words = ["muster"].into_iter().chain(words.split_whitespace());
        let error = Cli::try_parse_from(words).expect_err("wrong usage");
        assert_eq!(error.exit_code(), 2, "{error}");
    }
    for words in ["ps -a --state idle", "ps -w -p shop", "ps -w --state idle"] {
        let words = ["muster"].into_iter().chain(words.split(' '));
        let error = Cli::try_parse_from(words).expect_err("flags that contradict");
        assert!(error.exit_code() == 2 && error.to_string().contains("cannot be used with"), "{error}");
    }
    let words = |words: &str| {
        let words = ["muster"].into_iter().chain(words.split(' '));
        Cli::try_parse_from(words).expect_err("wrong usage").to_string()
    };
    assert!(words("terminate").contains("--pool <POOL>"), "{}", words("terminate"));
    assert!(words("restart 019a --wait soon").contains("a number of seconds is expected"));
    let both = format!("muster terminate {ID} --pool p");
    assert_eq!(Cli::try_parse_from(both.split(' ')).expect_err("both").exit_code(), 2);
}

#[test]
fn flags_of_serve_are_settings() {
    let words = "muster serve --listen 127.0.0.1:0 --single-process --config c.toml --data-dir d --redis-url r \
                 --database-url b --log-format json";
    let cli = Cli::try_parse_from(words.split_whitespace()).expect("a good command line");
    let CliCommand::Serve(args) = cli.command else { panic!("serve") };
    let given = args.given(CliContext { global: cli.global, roles: &At(String::new()) }.given());
    assert_eq!(given.config, Some("c.toml".into()));
    let expected = [
        ("data_dir", "d"),
        ("database.url", "b"),
        ("listen", "127.0.0.1:0"),
        ("log_format", "json"),
        ("redis.url", "r"),
        ("single_process", "true"),
    ];
    assert!(given.values.iter().map(|(key, value)| (*key, value.as_str())).eq(expected));
}

#[test]
fn spawn_asks_for_the_pools_role() {
    let ran = run("spawn developer_pool -p shop --wait 2", vec![(200, r#"{"role_type": "developer"}"#), (201, AGENT)]);
    assert_eq!(ran.lines(), ["GET /api/v1/agents/pools/developer_pool", "POST /api/v1/agents/spawn?wait=2"]);
    let expected = json!({"pool_name": "developer_pool", "role_type": "developer", "project_id": "shop"});
    assert_eq!(ran.body(1), expected);
    assert!(ran.text().contains("Ada Brook") && ran.code() == 0, "{}", ran.text());
}

#[test]
fn spawns_that_fail_are_counted_beside_those_that_run() {
    let full = r#"{"code": "pool_full", "detail": "the pool is full"}"#;
    let ran = run("spawn p --role r --count 3 --json", vec![(201, AGENT), (429, full), (429, full)]);
    assert_eq!(ran.requests.len(), 3);
    let printed: Value = serde_json::from_str(ran.text()).expect("JSON");
    assert_eq!(printed.as_array().map(Vec::len), Some(1));
    let failure = ran.result.as_ref().ok().and_then(|done| done.failure.as_ref()).expect("a failure");
    assert_eq!(failure.to_string(), "2 of 3 failed; the first: the pool is full");
    assert_eq!(ran.code(), 1);
}

#[test]
fn terminate_names_the_agents_pool() {
    let ended = r#"{"agent_id": "019aa000-0000-7000-8000-000000000001", "pool_name": "developer_pool", "state": "terminated", "message": "x"}"#;
    let ran = run(&format!("terminate {ID} --force"), vec![(200, AGENT), (200, ended)]);
    assert_eq!(ran.lines(), [format!("GET /api/v1/agents/{ID}"), "POST /api/v1/agents/terminate".to_owned()]);
    assert_eq!(ran.body(1), json!({"pool_name": "developer_pool", "agent_id": ID, "graceful": false}));
    let expected = format!("{:38}POOL            STATE\n{ID}  developer_pool  terminated\n", "AGENT");
    assert_eq!(ran.text(), expected);
    let ran = run(&format!("terminate {ID}"), vec![(404, UNKNOWN)]);
    let expected = "there is no agent of this id; `muster ps -a` lists those there are";
    assert_eq!((ran.code(), ran.result.expect_err("404").to_string().as_str()), (4, expected));
}

#[test]
fn terminating_a_pool_ends_what_lives_in_it() {
    let one = r#"{"items": [{"agent_id": "a", "pool_name": "p"}], "next_cursor": null}"#;
    let answers = vec![(200, one), (200, one), (200, r#"{"agent_id": "a"}"#)];
    let ran = run("terminate --pool p --wait 0", answers);
    let lines = ran.lines();
    assert_eq!(lines[0], "GET /api/v1/agents?pool_name=p&state=spawning%2Cidle%2Cbusy%2Cstopping&limit=1000");
    assert_eq!(lines[1], "GET /api/v1/agents?pool_name=p&state=quarantined&limit=1000");
    assert_eq!(lines[2..], ["POST /api/v1/agents/terminate?wait=0"], "seen in two states, ended once");
}

#[test]
fn the_beginning_of_an_id_is_enough_where_it_fits_one_agent() {
    let two = r#"{"items": [{"agent_id": "019aa000-0000-7000-8000-000000000001"},
        {"agent_id": "019ab000-0000-7000-8000-000000000002"}], "next_cursor": null}"#;
    let ran = run("restart 019AA", vec![(200, two), (200, AGENT)]);
    assert_eq!(ran.lines(), ["GET /api/v1/agents?limit=1000".to_owned(), format!("POST /api/v1/agents/{ID}/restart")]);
    let ran = run("logs 019a", vec![(200, two)]);
    assert_eq!(ran.code(), 2);
    let expected = "several agents have an id that begins with 019a, so write more of it: \
                    019aa000-0000-7000-8000-000000000001, 019ab000-0000-7000-8000-000000000002";
    assert_eq!(ran.result.expect_err("two fit").to_string(), expected);
    let ran = run("terminate ffff", vec![(200, two)]);
    assert_eq!((ran.code(), ran.lines()), (4, vec!["GET /api/v1/agents?limit=1000"]));
}

#[test]
fn an_agent_that_printed_nothing_is_explained() {
    let silence = |agent: Value| logs::silence(&agent);
    let failed = json!({"state": "failed", "reason": "could not be started: no such program"});
    assert_eq!(
        silence(failed),
        "the agent has printed nothing so far; it is failed (could not be started: no such program)"
    );
    let ended = json!({"state": "idle", "reason": null, "last_ending": {"summary": "lost its worker"}});
    assert_eq!(silence(ended), "the agent has printed nothing so far; it is idle (lost its worker)");
    assert_eq!(silence(json!({"state": "idle"})), "the agent has printed nothing so far; it is idle");
}

#[test]
fn a_standby_says_that_it_is_one() {
    let refused = r#"{"code": "not_leader", "detail": "another supervisor leads: ask http://h:1"}"#;
    let health = r#"{"version": "0.1.0", "state": "standby", "leader": "h:1"}"#;
    let ran = run("status", vec![(503, refused), (200, health)]);
    assert_eq!(ran.code(), 0);
    assert!(ran.text().starts_with("version  0.1.0\nstate    standby\nleader   http://h:1\n"), "{}", ran.text());
    assert!(status::standby_page(&json!({"state": "standby"})).contains("address is not known yet"));
}

#[test]
fn a_pool_without_workers_is_told_from_one_that_is_not_there() {
    let none = r#"{"processes": []}"#;
    let unknown = r#"{"code": "unknown_pool", "detail": "there is no pool nope; GET x"}"#;
    assert_eq!(run("ps -w --pool p", vec![(200, none), (200, POOL)]).code(), 0);
    assert_eq!(run("ps -w --pool nope", vec![(200, none), (404, unknown)]).code(), 4);
}

#[test]
fn restart_asks_for_each() {
    let ran = run(&format!("restart {ID}"), vec![(200, AGENT)]);
    assert_eq!(ran.lines(), [format!("POST /api/v1/agents/{ID}/restart")]);
    assert_eq!(run(&format!("restart {ID}"), vec![(404, UNKNOWN)]).code(), 4);
}

#[test]
fn agents_are_a_table() {
    let agent: Value = serde_json::from_str(AGENT).expect("JSON");
    let id = "019aa000-0000-7000-8000-000000000001";
    let expected = format!(
        "AGENT                                 NAME       POOL            PROJECT  STATE        WORKER  RESTARTS  AGE  WHY\n\
         {id}  Ada Brook  developer_pool  shop     quarantined  -              5   5m  exited with code 1\n"
    );
    assert_eq!(agents::agents_table(&[agent], moment()), expected);
    let ran = run("ps --state idle --pool p", vec![(200, r#"{"items": [], "next_cursor": null}"#)]);
    assert_eq!(ran.lines(), ["GET /api/v1/agents?pool_name=p&state=idle&limit=1000"]);
    assert!(ran.text().starts_with("AGENT  NAME"));
    let ran = run("ps --all --json", vec![(200, r#"{"items": [1], "next_cursor": null}"#)]);
    assert_eq!(ran.lines(), ["GET /api/v1/agents?limit=1000"]);
    assert_eq!(serde_json::from_str::<Value>(ran.text()).expect("JSON"), json!({"items": [1], "next_cursor": null}));
}

#[test]
fn workers_are_a_table() {
    let worker = json!({"process_id": "w1", "pool_name": "p", "pid": 7, "host": "h", "agent_count": 5, "max_agents": 10,
        "cpu": 1.6, "rss_bytes": 12_582_912, "status": "ready", "started_at": "2025-11-21T03:20:00Z",
        "last_heartbeat": "2025-11-21T03:24:59Z"});
    let expected = "WORKER  POOL  PID  HOST  AGENTS  CPU  MEMORY  STATUS  AGE  HEARD\n\
                    w1      p       7  h       5/10   2%  12 MiB  ready    5m     1s\n";
    assert_eq!(ps::workers(std::slice::from_ref(&worker), moment()), expected);
    let mut old = worker;
    old["outdated"] = json!(true);
    assert!(ps::workers(&[old], moment()).contains("  ready, old runtime  "));
    let lost = r#"{"processes": [{"process_id": "w2", "status": "ready", "unreachable": "worker w2 is unreachable"}]}"#;
    let ran = run("ps -w", vec![(200, lost)]);
    assert!(ran.text().contains("  ready, unreachable  "), "{}", ran.text());
    assert!(ran.text().ends_with("\nworker w2 is unreachable\n"), "{}", ran.text());
    let answer = r#"{"summary": {}, "processes": [{"pool_name": "a"}, {"pool_name": "b"}]}"#;
    let ran = run("ps --workers --pool b --json", vec![(200, answer)]);
    assert_eq!(ran.lines(), ["GET /api/v1/agents/metrics/processes"]);
    assert!(!ran.text().contains("\"a\"") && ran.text().contains("\"b\""));
}

#[test]
fn a_worker_is_declared_dead_by_its_id_or_a_beginning_of_it() {
    let ended = r#"{"process_id": "w1", "pool_name": "p", "host": "h",
        "ending": {"summary": "was declared dead by ops", "follows": "its agent is started again"}}"#;
    let path = format!("POST /api/v1/workers/{ID}/declare-dead");
    let ran = run(&format!("declare-dead {ID}"), vec![(200, ended)]);
    assert_eq!((ran.lines(), ran.body(0)), (vec![path.as_str()], json!({})));
    let table = "WORKER  POOL  HOST  HOW\n\
                 w1      p     h     was declared dead by ops; its agent is started again\n";
    assert_eq!(ran.text(), table);
    let all = r#"{"processes": [{"process_id": "019aa000-0000-7000-8000-000000000001"}, {"process_id": "01aa"}]}"#;
    let ran = run("declare-dead 019aa", vec![(200, all), (200, ended)]);
    assert_eq!(ran.lines(), ["GET /api/v1/agents/metrics/processes", path.as_str()]);
    let refused = r#"{"code": "worker_reachable", "detail": "it was heard 1.0 s ago", "status": 409}"#;
    let ran = run(&format!("declare-dead {ID}"), vec![(409, refused)]);
    assert_ne!(ran.code(), 0);
    assert_eq!(run("declare-dead 02bb", vec![(200, all)]).code(), 4, "it names none");
}

#[test]
fn a_worker_is_interrupted_within_a_time() {
    let worker = r#"{"process_id": "w1", "pool_name": "p", "agent_count": 2, "max_agents": 10,
        "interruption": {"noticed_at": "2026-01-01T00:00:00Z", "deadline": "2026-01-01T00:02:00Z", "replaced_by": null}}"#;
    let path = format!("POST /api/v1/workers/{ID}/interrupt");
    for (args, notice) in [("", 120.0), (" --in 2m", 120.0), (" --in 1.5", 1.5)] {
        let ran = run(&format!("interrupt {ID}{args}"), vec![(200, worker)]);
        assert_eq!((ran.lines(), ran.body(0)), (vec![path.as_str()], json!({"notice": notice})));
        let table = "WORKER  POOL  AGENTS  UNTIL\n\
                     w1      p       2/10  2026-01-01T00:02:00Z\n";
        assert_eq!(ran.text(), table);
    }
    let listed = r#"{"processes": [{"status": "ready", "interruption": {"deadline": "2026-01-01T00:02:00Z"}}]}"#;
    let ran = run("ps -w", vec![(200, listed)]);
    assert!(ran.text().contains("interrupted until 2026-01-01T00:02:00Z"), "{}", ran.text());
}

#[test]
fn workers_that_ended_are_a_table_of_their_own() {
    let ending = json!({"summary": "was ended by signal 9 (SIGKILL)", "last_words": "oh",
        "follows": "its agent is started again", "cause": {"kind": "signaled", "signal": 9, "name": "SIGKILL"}});
    let worker = json!({"process_id": "w1", "pool_name": "p", "pid": 7, "host": "h", "status": "lost", "max_agents": 10,
        "started_at": "2025-11-21T03:20:00Z", "ended_at": "2025-11-21T03:24:59Z", "ending": ending});
    let mut older = worker.clone();
    older["ending"] = Value::Null;
    let expected = "WORKER  POOL  PID  HOST  STATUS  AGE  ENDED  HOW\n\
        w1      p       7  h     lost     5m     1s  was ended by signal 9 (SIGKILL); its agent is started again; it said last: oh\n\
        w1      p       7  h     lost     5m     1s  not kept\n";
    assert_eq!(ps::ended_workers(&[worker, older], moment()), expected);

    let page = r#"{"items": [{"process_id": "w1", "ending": null}], "next_cursor": null}"#;
    let ran = run("ps -w -a --pool p", vec![(200, r#"{"processes": []}"#), (200, page)]);
    let asked =
        ["GET /api/v1/agents/metrics/processes", "GET /api/v1/agents/metrics/processes/ended?pool_name=p&limit=1000"];
    assert_eq!(ran.lines(), asked);
    assert!(ran.text().starts_with("WORKER") && ran.text().contains("\n\nWORKER"), "{}", ran.text());
    let ran = run("ps -w -a --json", vec![(200, r#"{"processes": []}"#), (200, page)]);
    assert_eq!(serde_json::from_str::<Value>(ran.text()).expect("JSON")["ended"][0]["process_id"], "w1");
}

const POOL: &str = r#"{"pool_name": "developer_pool", "role_type": "developer", "runtime": "echo", "process_count": 2,
    "agent_count": 15, "used_capacity": 15, "available_capacity": 5, "total_capacity": 20, "utilization": 0.75,
    "draining": false}"#;

#[test]
fn pools_are_a_table() {
    let pool: Value = serde_json::from_str(POOL).expect("JSON");
    let expected = "POOL            ROLE       RUNTIME  WORKERS  AGENTS  USED  FREE  SLOTS  LOAD\n\
                    developer_pool  developer  echo           2      15    15     5     20   75%\n";
    assert_eq!(pools::pools_table(std::slice::from_ref(&pool)), expected);
    let mut lost = pool;
    (lost["unreachable_workers"], lost["paused"]) = (json!(1), json!(true));
    let table = pools::pools_table(&[lost]);
    assert!(table.ends_with("75%  paused, 1 worker unreachable\n"), "{table}");
    let ran = run("pools", vec![(200, "[]")]);
    assert_eq!(ran.lines(), ["GET /api/v1/agents/pools"]);
}

#[test]
fn pools_are_made_changed_and_removed() {
    let ran = run("pools create p --role r --runtime py --max-agents 2 --restart transient", vec![(201, POOL)]);
    assert_eq!(ran.lines(), ["POST /api/v1/agents/pools"]);
    let config = json!({"max_agents": 2, "restart": {"kind": "transient"}});
    assert_eq!(ran.body(0), json!({"pool_name": "p", "role_type": "r", "runtime": "py", "config": config}));
    let ran = run("pools set p --max-workers 0", vec![(200, POOL)]);
    assert_eq!(
        (ran.lines(), ran.body(0)),
        (vec!["PATCH /api/v1/agents/pools/p"], json!({"config": {"max_workers": 0}}))
    );
    assert_eq!(run("pools set p", Vec::new()).code(), 2);
    let ran = run("pools rm p --force", vec![(200, "{}")]);
    assert_eq!(ran.lines(), ["DELETE /api/v1/agents/pools/p?graceful=false"]);
    assert_eq!(ran.text(), "p is removed\n");
}

#[test]
fn logs_are_asked_for_as_said() {
    let ran = run(&format!("logs {ID} -f --tail 5"), vec![(404, UNKNOWN)]);
    assert_eq!(ran.lines(), [format!("GET /api/v1/agents/{ID}/logs?follow=true&tail=5")]);
    assert_eq!(ran.code(), 4);
}

#[test]
fn status_is_a_page() {
    let mut system = json!({"version": "0.1.0", "mode": "multi-process", "mode_reason": "a private valkey-server",
        "fence": 3, "address": "127.0.0.1:8000", "leads_since": "2025-11-21T03:20:00Z", "uptime_seconds": 125.2,
        "registry_address": "/d/redis.sock", "registry": {"name": "redis", "ok": true}, "data_dir": "/d",
        "store_description": "sqlite in /d/muster.db", "store": {"name": "store", "ok": false, "error": "disk full"},
        "ownership": "pid namespaces", "degraded": [], "alerts_firing": 0, "pools": 4, "workers": 2, "agents": 15});
    let expected = "\
version      0.1.0
address      127.0.0.1:8000
uptime       2m
mode         multi-process (a private valkey-server)
leader       fence 3, since 2025-11-21T03:20:00Z
redis        redis-cli -s /d/redis.sock
store        sqlite in /d/muster.db (away: disk full)
ownership    pid namespaces
data folder  /d
metrics      on
autoscaler   on
pools        4
workers      2
agents       15
alerts       none

healthy
";
    assert_eq!(status::page(&system), expected);
    system["degraded"] = json!(["the store is away"]);
    system["registry_address"] = json!(null);
    let page = status::page(&system);
    assert!(!page.contains("tasks  "), "{page}");
    system["paused"] = json!(true);
    let paused = status::page(&system);
    assert!(paused.contains("\ntasks        paused; `muster resume --all` lets them go on\n"), "{paused}");
    assert!(page.ends_with("\nDEGRADED\nthe store is away\n") && page.contains("redis        in memory\n"), "{page}");
}

#[test]
fn check_shows_remedies_and_fails_where_one_fails() {
    let answer = r#"{"ok": false, "checks": [
        {"name": "redis ping", "ok": true, "took_ms": 0.12, "detail": "PONG", "remedy": null},
        {"name": "open files", "ok": false, "took_ms": 0.0, "detail": "1024", "remedy": "ulimit -n 65536"}]}"#;
    let ran = run("check", vec![(200, answer)]);
    let expected = "        CHECK         TOOK  FOUND\n\
                    ok      redis ping  0.1 ms  PONG\n\
                    FAILED  open files  0.0 ms  1024\n        remedy: ulimit -n 65536\n";
    assert_eq!(ran.text(), expected);
    assert_eq!(ran.code(), 1);
    let good = r#"{"ok": true, "checks": [{"name": "a", "ok": true, "took_ms": 1, "detail": "d"}]}"#;
    assert_eq!(run("check", vec![(200, good)]).code(), 0);
}

#[test]
fn stop_waits_until_nobody_answers() {
    let stopping = r#"{"message": "stopping", "keep_workers": true}"#;
    // It still answers one look with its health, and is gone at the next.
    let ran = run("stop --keep-workers", vec![(202, stopping), (200, "{}")]);
    assert_eq!(ran.lines(), ["POST /api/v1/system/stop", "GET /health"]);
    assert_eq!(ran.body(0), json!({"keep_workers": true}));
    assert!(ran.text().ends_with(" is stopped\n"), "{}", ran.text());
}

#[test]
fn config_shows_values_places_and_notes() {
    let ran = run("config --data-dir /d", Vec::new());
    assert_eq!(ran.text(), "KEY       VALUE  FROM\ndata_dir  /d     a flag\n\nnote: this is odd\n");
    assert_eq!(run("config --json", Vec::new()).text().parse::<Value>().expect("JSON"), json!({"settings": []}));
    assert_eq!(run("config --markdown", Vec::new()).text(), "| key |\n");
}

#[test]
fn roles_are_those_of_the_binary() {
    let ran = run("serve", Vec::new());
    assert_eq!(ran.code(), 64);
    let told = ran.result.expect_err("a mistake").to_string();
    assert_eq!(told, "the configuration is wrong, and nothing was started\nx: no");
    assert_eq!(run("migrate", Vec::new()).text(), "it is up to date\n");
}

#[test]
fn nobody_there_is_exit_code_3() {
    let ran = run("status", Vec::new());
    assert_eq!(ran.code(), 3);
    assert!(ran.result.expect_err("nobody").to_string().contains("`muster serve` starts one"));
}

#[test]
fn completions_know_the_commands() {
    let ran = run("completions bash", Vec::new());
    assert!(ran.text().contains("terminate") && ran.text().contains("--keep-workers"));
}
