//! `muster check --pool`: sends a task that only tests the way to an agent, and shows what its worker reaches.

use std::time::Duration;

use muster_domain::check::{COMMAND_PATH, PROGRAM, REGISTRY, STORE};
use muster_domain::{Connectivity, PoolName, TaskId};
use serde_json::json;
use serde_json::value::RawValue;

use crate::client::ApiClient;

use super::failure::CommandFailure;
use super::submit::last_word;
use super::table::{faithful, field, table};
use super::task::{PATH, TaskResult};
use super::{CliContext, Done};

/// Sends the check, and waits so many seconds for its answer; fails where something was not reached.
pub(super) fn run(pool: &PoolName, wait: f64, context: &CliContext<'_>) -> Result<Done, CommandFailure> {
    let client = context.server()?.client;
    let taken = client.post(PATH, &[], &json!({"pool_name": pool, "check": true}), Duration::ZERO)?;
    let id = field(&taken, "task_id");
    let task_id =
        id.parse().map_err(|_| CommandFailure::Failed(format!("the server gave an id that is none: {id}")))?;
    let text = last_word(&client, task_id, Some(wait))?;
    let ended: TaskResult<'_> = client.parse(&text)?;
    let in_json = |shown: String| if context.global.json { faithful(&text) } else { shown };
    if !ended.state.is_final() {
        call_off(&client, task_id);
        let words = format!(
            "no answer within {wait} s: task {task_id} was {}, and is called off; it needs an agent of {pool} that is \
             idle, as `muster ps` shows them",
            ended.state
        );
        return Ok(Done { text: in_json(String::new()), failure: Some(CommandFailure::Failed(words)) });
    }
    if let failure @ Some(_) = ended.failure(task_id) {
        return Ok(Done { text: in_json(String::new()), failure });
    }
    let found: Connectivity = client.parse(ended.output.map_or("null", RawValue::get))?;
    Ok(Done { text: in_json(lines(&found)), failure: failure(&found) })
}

/// Nobody waits for its answer any more. Where it can't be called off it only does what it was asked.
fn call_off(client: &ApiClient, task: TaskId) {
    drop(client.post(&format!("{PATH}/{task}/cancel"), &[], &json!({}), Duration::ZERO));
}

fn failure(found: &Connectivity) -> Option<CommandFailure> {
    let missed = found.connectivity.values().filter(|reach| !reach.ok).count();
    (!found.success).then(|| CommandFailure::Failed(format!("{missed} of {} failed", found.connectivity.len())))
}

/// A line for each thing that was tried.
fn lines(found: &Connectivity) -> String {
    let rows = found.connectivity.iter().map(|(name, reach)| {
        let ok = if reach.ok { "yes" } else { "NO" };
        let error = reach.error.clone().unwrap_or_default();
        vec![name.clone(), ok.to_owned(), format!("{:.1}", reach.ms), meaning(name).to_owned(), error]
    });
    table(&["NAME", "OK", "MS", "WHAT", "ERROR"], &["MS"], rows.collect())
}

/// What was tried, for people.
fn meaning(name: &str) -> &'static str {
    match name {
        REGISTRY => "the worker reaches the registry",
        COMMAND_PATH => "commands reach the worker",
        PROGRAM => "the agent's program can be run",
        STORE => "the master reaches the database",
        _ => "the worker reaches a dependency",
    }
}
