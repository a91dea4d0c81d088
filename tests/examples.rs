//! The example agents keep the contract that they show: ready at once, one answer per task, deaf to what they don't know, gone
//! when told.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};

/// A running example; killed if a test fails half way.
struct Agent(Child);

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Whether a line is the end of a task.
fn is_answer(line: &str) -> bool {
    serde_json::from_str::<Value>(line)
        .is_ok_and(|message| ["result", "error"].iter().any(|end| message["type"] == *end))
}

/// Starts it, waits for `ready`, says `messages`, waits for the answer to each that is a task, closes its stdin, and gives what it
/// printed but for `ready`, and its exit code.
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
        while message.contains(r#""type":"task""#) && !log.last().is_some_and(|line| is_answer(line)) {
            log.push(lines.next().expect("it answers"));
        }
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

#[test]
fn the_examples_do_tasks() {
    // An input may hold whatever else is said to an agent.
    let task = r#"{"type":"task","id":"t-1","attempt":1,"input":"say \"type\":\"stop\" twice"}"#;
    for (program, script, output) in
        [("python3", "agent.py", json!({"words": 3})), ("sh", "agent.sh", json!({"length": task.len()}))]
    {
        let (said, code) = play(program, script, &[task, r#"{"type":"cancel","id":"t-1"}"#, r#"{"type":"stop"}"#]);
        let answers: Vec<&String> = said.iter().filter(|line| is_answer(line)).collect();
        assert_eq!(answers.len(), 1, "{script}: {said:?}");
        let answer: Value = serde_json::from_str(answers[0]).expect("an object");
        assert_eq!(answer, json!({"type": "result", "id": "t-1", "output": output}), "{script}");
        assert_eq!((said.last().map(String::as_str), code), (Some("told to stop"), Some(0)), "{script}");
    }
}

#[test]
fn the_python_example_says_what_is_wrong_and_heeds_a_cancel() {
    let wrong = r#"{"type":"task","id":"t-1","attempt":1,"input":7}"#;
    let (said, _) = play("python3", "agent.py", &[wrong, r#"{"type":"stop"}"#]);
    let error = said.iter().find(|line| is_answer(line)).expect("an answer");
    assert_eq!(serde_json::from_str::<Value>(error).expect("an object")["retryable"], false, "{error}");
    let long = format!(r#"{{"type":"task","id":"t-2","attempt":1,"input":"{}"}}"#, "word ".repeat(100_000));
    // In one piece, so that nothing is waited for in between.
    let both = format!("{long}\n{}", r#"{"type":"cancel","id":"t-2"}"#);
    let (said, _) = play("python3", "agent.py", &[&both, r#"{"type":"stop"}"#]);
    let error = said.iter().find(|line| is_answer(line)).expect("an answer");
    assert_eq!(serde_json::from_str::<Value>(error).expect("an object")["message"], "cancelled", "{error}");
}
