//! What is said to somebody who waits for a task: what it waits for.

use std::io::Write;
use std::time::Duration;

use muster_domain::{TaskId, TaskState};
use serde::Deserialize;

use super::terminal::printable;

/// The longest that one request waits; who waits longer asks again. Short enough to hear of a fault of the server in time.
const ONE_WAIT: Duration = Duration::from_secs(10);
/// The same while the task is queued, or may be: whoever waits is to hear soon what for.
const ONE_LOOK: Duration = Duration::from_secs(2);

/// Who waits for a task, and what was said so far.
pub(super) struct Patience<Err> {
    task: TaskId,
    err: Err,
    /// Whether it may be in the queue.
    may_be_queued: bool,
    /// The reason that was said last.
    said: Option<String>,
}

/// A task, as far as it matters here.
#[derive(Deserialize)]
struct TaskSeen {
    state: TaskState,
    waiting_for: Option<WaitReason>,
}

#[derive(Deserialize)]
struct WaitReason {
    message: String,
}

impl<Err: Write> Patience<Err> {
    /// For a task that was asked for just now.
    pub(super) const fn new(task: TaskId, err: Err) -> Self {
        Self { task, err, may_be_queued: true, said: None }
    }

    /// How long the next request waits.
    pub(super) const fn next_wait(&self) -> Duration {
        if self.may_be_queued { ONE_LOOK } else { ONE_WAIT }
    }

    /// Says what the task waits for by this answer of the server, once for each reason.
    pub(super) fn look(&mut self, answer: &str) {
        let Ok(seen) = serde_json::from_str::<TaskSeen>(answer) else { return };
        self.may_be_queued = seen.state == TaskState::Queued;
        let reason = seen.waiting_for;
        if let Some(WaitReason { message }) = &reason
            && self.said.as_ref() != Some(message)
        {
            // There is nowhere left to say that stderr is closed.
            let _ = writeln!(self.err, "muster: task {} waits for {}", self.task, printable(message));
        }
        self.said = reason.map(|reason| reason.message);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_said_once_and_again_when_it_changes() {
        let task: TaskId = "019aa000-0000-7000-8000-000000000001".parse().expect("an id");
        let mut err = Vec::new();
        let mut patience = Patience::new(task, &mut err);
        let queued = |code: &str, message: &str| {
            format!(r#"{{"state": "queued", "waiting_for": {{"code": "{code}", "message": "{message}"}}}}"#)
        };
        let running = r#"{"state": "running", "waiting_for": null}"#.to_owned();
        let mut waits = vec![patience.next_wait()];
        for answer in [
            queued("breaker_open", "the circuit breaker, until 10"),
            queued("breaker_open", "the circuit breaker, until 10"),
            queued("breaker_open", "the circuit breaker, until 11"),
            queued("its_turn", "its turn"),
            running,
            r#"{"state": "running", "waiting_for": {"code": "server_degraded", "message": "the server"}}"#.to_owned(),
            queued("its_turn", "its turn"),
            r#"{"state": "queued"}"#.to_owned(),
            "no JSON".to_owned(),
        ] {
            patience.look(&answer);
            waits.push(patience.next_wait());
        }
        let text = String::from_utf8(err).expect("text");
        let said: Vec<&str> =
            text.lines().filter_map(|line| line.split_once(" waits for ")).map(|said| said.1).collect();
        let expected =
            ["the circuit breaker, until 10", "the circuit breaker, until 11", "its turn", "the server", "its turn"];
        assert_eq!(said, expected, "{text}");
        assert!(text.starts_with(&format!("muster: task {task} waits for ")), "{text}");
        let waits: Vec<u64> = waits.iter().map(Duration::as_secs).collect();
        assert_eq!(waits, [2, 2, 2, 2, 2, 10, 10, 2, 2, 2]);
    }
}
