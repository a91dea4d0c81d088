//! `muster redrive`: sends dead tasks to the queue again.

use std::time::Duration;

use muster_domain::{PoolName, TaskId, Timestamp, counted};
use serde_json::{Value, json};

use super::asking::{each, outcome};
use super::failure::CommandFailure;
use super::id::{TaskArg, resolve_all};
use super::pools::holds;
use super::table::pretty;
use super::task::PATH;
use super::tasks::tasks_table;
use super::terminal::printable;
use super::{CliContext, Done};

/// Arguments of `muster redrive`.
#[derive(Debug, clap::Args)]
pub(super) struct RedriveArgs {
    /// These tasks, by their ids or beginnings of them, be they dead or failed; without them all that are dead
    #[arg(conflicts_with = "pool")]
    tasks: Vec<TaskArg>,
    /// All dead tasks of this pool
    #[arg(long, value_name = "POOL")]
    pool: Option<PoolName>,
}

/// Sends them.
pub(super) fn run(args: &RedriveArgs, context: &CliContext<'_>) -> Result<Done, CommandFailure> {
    let client = context.server()?.client;
    if !args.tasks.is_empty() {
        let again = |id: &TaskId| client.post(&format!("{PATH}/{id}/retry"), &[], &json!({}), Duration::ZERO);
        return outcome(each(&resolve_all(&client, &args.tasks)?, again), context.global.json, |tasks| {
            tasks_table(tasks, Timestamp::now())
        });
    }
    let body = args.pool.as_ref().map_or_else(|| json!({}), |pool| json!({"pool_name": pool}));
    let answer = client.post(&format!("{PATH}/dead/redrive"), &[], &body, Duration::ZERO)?;
    if context.global.json {
        return Ok(pretty(&answer).into());
    }
    let redriven = answer["redriven"].as_u64().unwrap_or_default();
    let wait = if redriven == 1 { "waits" } else { "wait" };
    let mut text = format!("{} {wait} again\n", counted(redriven, "task"));
    if redriven > 0 {
        // What was asked for is done, whether this can be read or not.
        let queues = client.get("/api/metrics/queue", &[]).unwrap_or_default();
        text.push_str(&held(&queues, args.pool.as_ref()));
    }
    Ok(text.into())
}

/// A line for each pool where tasks wait and something holds them up.
fn held(queues: &Value, pool: Option<&PoolName>) -> String {
    let is_meant = |name: &str| pool.is_none_or(|pool| pool.as_str() == name);
    let waits = |queue: &Value| queue["depth"] != 0 || queue["delayed"] != 0;
    let line = |(name, queue): (&String, &Value)| {
        let (holds, until) = (holds(queue), queue["breaker"]["next_probe_at"].as_str());
        let until = until.map_or_else(String::new, |at| format!(" (a task is tried at {at})"));
        let is_held = is_meant(name) && waits(queue) && !holds.is_empty();
        is_held.then(|| format!("the tasks of {} wait: {}{}\n", printable(name), holds, printable(&until)))
    };
    queues["pools"].as_object().into_iter().flatten().filter_map(line).collect()
}
