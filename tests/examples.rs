//! The example agents keep the contract that they show: ready at once, deaf to what they don't know, gone when told.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

/// A running example; killed if a test fails half way.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Starts it, waits for `ready`, says `messages`, closes its stdin, and gives its log and its exit code.
fn play(program: &str, script: &str, messages: &[&str]) -> (Vec<String>, Option<i32>) {
    let child = Command::new(program)
        .arg(script)
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/examples"))
        .env("MUSTER_AGENT_ID", "a-1")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("it starts");
    let mut agent = Agent(child);
    let mut stdin = agent.0.stdin.take().expect("a pipe");
    let mut lines = BufReader::new(agent.0.stdout.take().expect("a pipe")).lines().map(|line| line.expect("text"));
    let is_ready = |line: &String| serde_json::from_str::<Value>(line).is_ok_and(|message| message["type"] == "ready");
    // It is ready while its stdin is open and silent, so what it said was not kept back in a buffer.
    let mut log: Vec<String> = lines.by_ref().take_while(|line| !is_ready(line)).collect();
    for message in messages {
        writeln!(stdin, "{message}").expect("it listens");
    }
    // Without this end an agent that overheard "stop" would hang here for ever.
    drop(stdin);
    log.extend(lines);
    (log, agent.0.wait().expect("it ends").code())
}

#[test]
fn the_examples_get_ready_and_stop() {
    for (program, script) in [("python3", "agent.py"), ("sh", "agent.sh")] {
        let messages = [r#"{"type":"news"}"#, "rubbish", "[1]", r#"{"type":"stop"}"#];
        let (log, code) = play(program, script, &messages);
        assert_eq!(log[0], "agent a-1 of ? starts", "{script}");
        assert_eq!(log.last().map(String::as_str), Some("told to stop"), "{script}: {log:?}");
        assert_eq!(code, Some(0), "{script}");
    }
}

#[test]
fn the_examples_end_with_their_supervisor() {
    for (program, script) in [("python3", "agent.py"), ("sh", "agent.sh")] {
        let (log, _) = play(program, script, &[]);
        assert_eq!(log, ["agent a-1 of ? starts"], "{script}: the end of its stdin is an end too");
    }
}
