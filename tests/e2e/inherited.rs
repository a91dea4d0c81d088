//! What workers and programs have from whoever started the server: limits and variables.

use std::collections::BTreeSet;

use serde_json::json;

use crate::harness::{BOUND, Muster, Options, wait_until};

/// Single tasks whose output is the soft limit of open files.
const LIMIT: &str = r#"
[runtimes.limit]
kind = "exec"
mode = "oneshot"
command = ["sh", "-c", "ulimit -Sn"]
[pools.limits]
role_type = "r"
runtime = "limit"
on_demand = { max_agents = 1 }
"#;

/// Starts the server with this soft limit of open files, and a higher hard one.
fn with_soft_limit(soft: u32) -> Options {
    let script = format!("ulimit -Sn {soft}; ulimit -Hn 4096; exec \"$@\"");
    Options::config(LIMIT).through(&["sh", "-c", &script, "sh"])
}

fn limit_of_a_program(muster: &Muster) -> serde_json::Value {
    let submitted = muster.post("/api/v1/tasks", &json!({"pool_name": "limits", "input": 1}));
    assert_eq!(submitted.status, 202, "{submitted:?}");
    let path = format!("/api/v1/tasks/{}?wait=20", submitted.text("task_id"));
    muster.get(&path).body["output"].clone()
}

#[test]
fn programs_start_with_the_limit_of_open_files_that_the_server_was_started_with() {
    let mut muster = Muster::start(with_soft_limit(333));
    assert_eq!(limit_of_a_program(&muster), json!(333));
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", muster.pid())).expect("it lives");
    let own = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    assert_eq!(own.split_ascii_whitespace().nth(3), Some("4096"), "its own is raised: {own}");
    // A worker that is adopted does as it was told at its birth.
    let worker = muster.all_workers().remove(0).pid;
    muster.kill9();
    muster.options = with_soft_limit(444);
    muster.restart();
    wait_until("the worker is adopted", BOUND, || muster.all_workers().iter().any(|found| found.pid == worker));
    assert_eq!(limit_of_a_program(&muster), json!(333));
}

#[test]
fn in_a_single_process_too() {
    let muster = Muster::start(with_soft_limit(333).arg("--single-process"));
    assert_eq!(limit_of_a_program(&muster), json!(333));
}

#[test]
fn a_worker_gets_the_variables_that_it_needs_and_no_secrets() {
    let config = "[runtimes.one]\nkind = \"exec\"\ncommand = [\"sh\"]\nready = \"started\"\npass_env = [\"TOKEN_OF_ONE\"]\n\
         [runtimes.two]\nkind = \"exec\"\ncommand = [\"sh\"]\nready = \"started\"\npass_env = [\"TOKEN_OF_TWO\"]\n\
         [pools.p]\nrole_type = \"developer\"\nruntime = \"one\"\n";
    let words = ["env", "-i", "PATH=/usr/local/bin:/usr/bin:/bin", "HOME=/", "LC_TIME=C", "TMPDIR=/tmp"];
    let mut options = Options::config(config).through(&words);
    for (name, value) in [
        ("MUSTER_CLOCKS_HEARTBEAT", "0.1"),
        ("SSL_CERT_DIR", "/etc/ssl/certs"),
        ("MUSTER_OWNERSHIP", "best-effort"),
        ("MUSTER_LOG_LEVEL", "info"),
        ("TOKEN_OF_ONE", "1"),
        ("TOKEN_OF_TWO", "2"),
        ("AWS_SECRET_ACCESS_KEY", "s"),
        ("DATABASE_PASSWORD", "s"),
        ("MUSTER_SKIP_PHRASE", "s"),
    ] {
        options.through.push(format!("{name}={value}"));
    }
    let muster = Muster::start(options);
    assert_eq!(muster.spawn("p").status, 201);
    let worker = muster.all_workers().remove(0).pid;
    let environ = std::fs::read(format!("/proc/{worker}/environ")).expect("it lives");
    let text = String::from_utf8(environ).expect("text");
    let names: BTreeSet<&str> = text.split_terminator('\0').filter_map(|line| line.split('=').next()).collect();
    let expected = [
        "HOME",
        "LC_TIME",
        "MUSTER_LOG_LEVEL",
        "MUSTER_OWNERSHIP",
        "MUSTER_PROCESS_ID",
        "PATH",
        "SSL_CERT_DIR",
        "TMPDIR",
        "TOKEN_OF_ONE",
    ];
    assert_eq!(names.into_iter().collect::<Vec<_>>(), expected);
}
