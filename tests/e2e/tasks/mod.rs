//! Tasks: from the request to the result in the store, through everything that may go wrong on the way.

mod bounds;
mod chaos;
mod check;
mod cli;
mod deep;
mod faults;
mod held;
mod http;
mod running;
mod words;

use serde_json::{Value, json};

use crate::harness::{Muster, Options};

/// An agent in Python that does tasks as the contract says: it answers with its input, or does what the input says.
const AGENT: &str = r#"
import json, os, subprocess, sys, time
def say(**words):
    print(json.dumps(words), flush=True)
say(type="ready")
held = set()
for line in sys.stdin:
    told = json.loads(line)
    if told["type"] == "stop":
        break
    if told["type"] == "cancel":
        if told["id"] in held:
            held.discard(told["id"])
            say(type="error", id=told["id"], message="cancelled", retryable=True)
        continue
    task, do = told["id"], told["input"]
    do = do if isinstance(do, dict) else {}
    if do.get("usage"):
        say(type="usage", id=task, **do["usage"])
    if do.get("progress"):
        say(type="progress", id=task, message=do["progress"], percent=40)
    time.sleep(do.get("before", 0))
    if do.get("print"):
        print(do["print"], flush=True)
    if do.get("note"):
        say(level="info", id=task, note=do["note"])
    if do.get("child"):
        subprocess.Popen(["sleep", "1000"], start_new_session=True)
    if do.get("exit") is not None:
        print("last words", flush=True)
        os._exit(do["exit"])
    if do.get("hold"):
        held.add(task)
        continue
    if do.get("hang"):
        time.sleep(1000)
    time.sleep(do.get("sleep", 0))
    while "until" in do and not os.path.exists(do["until"]):
        time.sleep(0.01)
    if do.get("fail"):
        say(type="error", id=task, message=do["fail"], retryable=do.get("retryable", True))
    else:
        did = None if do.get("quiet") else told["input"]
        say(type="result", id=task, output={"did": did, "attempt": told["attempt"]})
    if "then" in do:
        open(do["then"], "w").close()
"#;

/// A pool `p` of such agents; `more` are further lines of the pool.
fn python(more: &str) -> Options {
    Options::config(format!(
        "[runtimes.python]\nkind = \"exec\"\ncommand = [\"python3\", \"-u\", \"-c\", '''{AGENT}''']\nstop_deadline = 1\n\
         [pools.p]\nrole_type = \"developer\"\nruntime = \"python\"\nbreaker.enabled = false\nretry.backoff_min = 0.01\n{more}\n"
    ))
}

impl Muster {
    /// Submits a task to the pool `p`, and says its id.
    fn submit(&self, input: &Value) -> String {
        self.submit_with(&json!({"input": input}))
    }

    /// The same, with other fields too.
    fn submit_with(&self, fields: &Value) -> String {
        let mut body = json!({"pool_name": "p"});
        for (name, value) in fields.as_object().into_iter().flatten() {
            body[name] = value.clone();
        }
        let answer = self.post("/api/v1/tasks", &body);
        assert_eq!((answer.status, answer.text("state")), (202, "queued"), "{answer:?}");
        answer.text("task_id").to_owned()
    }

    fn task(&self, id: &str) -> Value {
        let answer = self.get(&format!("/api/v1/tasks/{id}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    /// The task, once it is over.
    fn finished(&self, id: &str) -> Value {
        let answer = self.get(&format!("/api/v1/tasks/{id}?wait=60"));
        assert_eq!(answer.status, 200, "{answer:?}");
        let state = answer.text("state");
        assert!(!matches!(state, "queued" | "running"), "it never ended: {answer:?}");
        answer.body
    }
}

/// How the attempts of a task ended.
fn ends(task: &Value) -> Vec<&str> {
    let attempts = task["attempts"].as_array().expect("a list");
    attempts.iter().map(|attempt| attempt["end"].as_str().expect("a word")).collect()
}
