//! `muster cancel`: calls tasks off.

use std::io::Write;
use std::time::{Duration, Instant};

use muster_domain::{TaskId, TaskState, Timestamp};
use serde_json::{Value, json};

use crate::client::{ApiClient, ClientError};

use super::asking::{each, outcome, seconds_if_any};
use super::failure::CommandFailure;
use super::id::{TaskArg, resolve_all};
use super::table::field;
use super::task::PATH;
use super::tasks::tasks_table;
use super::{CliContext, Done};

/// The longest that one request waits; who waits longer asks again, which is no error.
const ONE_WAIT: Duration = Duration::from_secs(60);

/// Arguments of `muster cancel`.
#[derive(Debug, clap::Args)]
pub(super) struct CancelArgs {
    /// The tasks, by their ids or beginnings of them
    #[arg(required = true)]
    tasks: Vec<TaskArg>,
    /// Wait until their work has stopped, at most so many seconds where they are given; a task that has not stopped by then is
    /// exit code 1. Without seconds it stands behind the tasks. Without it, and with 0, the command only asks
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, value_parser = seconds_if_any)]
    wait: Option<Option<f64>>,
}

/// Calls them off, several at a time.
pub(super) fn run(args: &CancelArgs, context: &CliContext<'_>) -> Result<Done, CommandFailure> {
    let client = context.server()?.client;
    let patience = match args.wait {
        None => Some(Duration::ZERO),
        Some(None) => None,
        Some(Some(seconds)) => Some(Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)),
    };
    let answers = each(&resolve_all(&client, &args.tasks)?, |id| call_off(&client, *id, patience));
    let tasks: Vec<&Value> = answers.iter().flatten().collect();
    for task in tasks.iter().filter(|task| is_late(task)) {
        // There is nowhere left to say that stderr is closed; the table tells.
        let _ = writeln!(std::io::stderr(), "muster: {}", came_too_late(task));
    }
    let unstopped = tasks.iter().find(|task| !is_over(task)).map(|task| still_runs(task));
    let unstopped = unstopped.filter(|_| patience != Some(Duration::ZERO));
    let done = outcome(answers, context.global.json, |tasks| tasks_table(tasks, Timestamp::now()))?;
    Ok(Done { failure: done.failure.or(unstopped), ..done })
}

/// Calls one off, and waits so long until its work has stopped; without a bound as long as it takes.
fn call_off(client: &ApiClient, task: TaskId, patience: Option<Duration>) -> Result<Value, ClientError> {
    let begun = Instant::now();
    let mut asks = 0;
    loop {
        let left = patience.map(|patience| patience.saturating_sub(begun.elapsed()));
        let wait = left.map_or(ONE_WAIT, |left| left.min(ONE_WAIT));
        let query = [("wait", wait.as_secs_f64().to_string())];
        let mut answer = client.post(&format!("{PATH}/{task}/cancel"), &query, &json!({}), wait)?;
        asks += 1;
        if asks > 1 && answer["was_over"] == Value::Bool(true) {
            // By what was asked first.
            answer["was_over"] = Value::Bool(false);
        }
        if is_over(&answer) || left.is_some_and(|left| left <= wait) {
            return Ok(answer);
        }
    }
}

fn is_over(task: &Value) -> bool {
    task["state"].as_str().and_then(|state| state.parse::<TaskState>().ok()).is_some_and(TaskState::is_final)
}

/// Whether it was over before it was called off: where it ended otherwise, or was called off earlier.
fn is_late(task: &Value) -> bool {
    is_over(task) && (task["state"] != TaskState::Cancelled.as_str() || task["was_over"] == Value::Bool(true))
}

/// What is said of a task that was over before. Calling it off changed nothing, which is no error.
fn came_too_late(task: &Value) -> String {
    format!("task {} was over already: {}", field(task, "task_id"), field(task, "state"))
}

fn still_runs(task: &Value) -> CommandFailure {
    let id = field(task, "task_id");
    CommandFailure::Failed(format!("task {id} has not stopped yet; `muster task {id} --follow` goes on"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_already_is_said() {
        let over = json!({"task_id": "t", "state": "succeeded"});
        assert!(is_over(&over) && !is_over(&json!({"state": "running"})) && !is_over(&json!({})));
        assert_eq!(came_too_late(&over), "task t was over already: succeeded");
        let called_off = |was_over: bool| json!({"task_id": "t", "state": "cancelled", "was_over": was_over});
        assert!(is_late(&over) && is_late(&called_off(true)) && !is_late(&called_off(false)));
        assert_eq!(came_too_late(&called_off(true)), "task t was over already: cancelled");
    }
}
