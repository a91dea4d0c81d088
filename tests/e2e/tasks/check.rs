//! Tasks that only test the way to an agent: what a worker reaches.

use std::io::Read;
use std::net::TcpListener;

use serde_json::{Value, json};

use super::python;
use crate::harness::{Muster, Options};

/// An address of this machine at which nobody listens.
fn nobody() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    listener.local_addr().expect("its address").to_string()
}

/// A check of the pool `p` that is over: its task.
fn checked(muster: &Muster) -> Value {
    muster.finished(&muster.submit_with(&json!({"check": true, "input": {"hang": true}})))
}

#[test]
fn a_check_is_answered_by_the_worker_and_the_agent_is_not_asked() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let there = listener.local_addr().expect("its address");
    let away = nobody();
    let needs = format!(
        "[pools.p.dependencies]\ndatabase = \"tcp://{there}\"\nbroker = \"amqp://me:s3cret@{away}/s3cret\"\n\
         cache = \"redis://:s3cret@{away}/0\"\nmodel = \"http://me:s3cret@{away}/v1?key=s3cret\"\n"
    );
    let muster = Muster::start(python(&needs));
    assert_eq!(muster.spawn("p").status, 201);
    let task = checked(&muster);
    assert_eq!((&task["state"], &task["check"], &task["attempt"]), (&json!("succeeded"), &json!(true), &json!(1)));
    let output = &task["output"];
    assert_eq!((&output["success"], &output["skipped"]), (&json!(false), &json!(true)), "{output}");
    for name in ["registry", "command_path", "program", "store", "database"] {
        let reach = &output["connectivity"][name];
        assert!(reach["ok"] == true && reach["error"].is_null() && reach["ms"].is_number(), "{name}: {output}");
    }
    for name in ["broker", "cache", "model"] {
        let reach = &output["connectivity"][name];
        let error = reach["error"].as_str().unwrap_or_default();
        assert!(reach["ok"] == false && error.starts_with(&format!("{away}: ")), "{name}: {output}");
    }
    // Its agent, whose input would have made it hang, is free.
    let done = muster.finished(&muster.submit(&json!({"n": 1})));
    assert_eq!((&done["output"]["did"], &done["check"]), (&json!({"n": 1}), &json!(false)));

    // The secrets are nowhere to be read.
    let config = muster.command(&["config"]).expect(0);
    let pools = muster.get("/api/v1/pools").body.to_string();
    for shown in [task.to_string(), config.stdout, pools, muster.log()] {
        assert!(!shown.contains("s3cret"), "{shown}");
    }
    let table = muster.command(&["check", "--pool", "p"]).expect(1);
    assert!(table.stdout.starts_with("NAME ") && table.stdout.lines().count() == 9, "{table:?}");
    assert!(table.stdout.lines().any(|line| line.starts_with("program ") && line.contains("can be run")), "{table:?}");
    assert!(table.stderr.contains("3 of 8 failed"), "{table:?}");
}

#[test]
fn where_all_is_well_the_command_says_so() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let place = listener.local_addr().expect("its address");
    let config = format!("[pools.p]\nrole_type = \"developer\"\ndependencies.api = \"http://{place}/\"\n");
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().expect("a caller");
        let mut request = vec![0; 4096];
        let length = stream.read(&mut request).expect("a request");
        std::io::Write::write_all(&mut stream, b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 0\r\n\r\n")
            .expect("sent");
        String::from_utf8_lossy(&request[..length]).to_ascii_lowercase()
    });
    let muster = Muster::start(Options::config(config));
    // Nobody is there to go to.
    let waits = muster.command(&["check", "--pool", "p", "--wait", "0"]).expect(1);
    assert!(waits.stderr.contains("was queued, and is called off"), "{waits:?}");
    assert_eq!(muster.get("/api/v1/tasks?pool_name=p&state=cancelled").body["items"].as_array().map(Vec::len), Some(1));
    assert_eq!(muster.spawn("p").status, 201);
    let well = muster.command(&["check", "--pool", "p"]).expect(0);
    for name in ["api", "command_path", "registry", "store"] {
        assert!(well.stdout.lines().any(|line| line.starts_with(name) && line.contains("yes")), "{name}: {well:?}");
    }
    assert!(server.join().expect("a request").contains(concat!("user-agent: muster/", env!("CARGO_PKG_VERSION"))));
    muster.command(&["check", "--pool", "nobody"]).expect(4);
}

#[test]
fn a_skip_phrase_makes_a_check_of_a_task() {
    let pool = |name: &str, more: &str| format!("[pools.{name}]\nrole_type = \"developer\"\n{more}\n");
    let config = pool("p", "skip_phrase = \"only a \\\"test\\\"\"") + &pool("q", "");
    let muster = Muster::start(Options::config(config).env("AGENT_SKIP_PHRASE", "skip me"));
    for pool in ["p", "q"] {
        assert_eq!(muster.spawn(pool).status, 201);
    }
    for (pool, input, is_check) in [
        ("p", json!({"deep": ["this is only a \"test\", really"]}), true),
        ("p", json!("only a test"), false),
        ("p", json!("skip me"), false),
        ("q", json!("please skip me"), true),
        ("q", json!("only a \"test\""), false),
    ] {
        let task = muster.finished(&muster.submit_with(&json!({"pool_name": pool, "input": input})));
        assert_eq!((&task["check"], &task["input"]), (&json!(is_check), &input), "{task}");
        assert_eq!(task["output"]["skipped"] == true, is_check, "{task}");
    }
}
