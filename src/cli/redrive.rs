//! `muster redrive`: sends dead tasks to the queue again.

use std::time::Duration;

use muster_domain::{PoolName, TaskId, Timestamp, counted};
use serde_json::{Value, json};

use super::asking::{each, outcome};
use super::failure::Failure;
use super::id::{TaskArg, resolve_all};
use super::table::pretty;
use super::task::PATH;
use super::tasks::tasks_table;
use super::{Context, Done};

/// Arguments of `muster redrive`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// These tasks, by their ids or beginnings of them, be they dead or failed; without them all that are dead
    #[arg(conflicts_with = "pool")]
    tasks: Vec<TaskArg>,
    /// All dead tasks of this pool
    #[arg(long, value_name = "POOL")]
    pool: Option<PoolName>,
}

/// Sends them.
pub(super) fn run(args: &Args, context: &Context) -> Result<Done, Failure> {
    let client = context.server()?.client;
    if !args.tasks.is_empty() {
        let again = |id: &TaskId| client.post(&format!("{PATH}/{id}/retry"), &[], &json!({}), Duration::ZERO);
        return outcome(each(&resolve_all(&client, &args.tasks)?, again), context.global.json, |tasks| {
            tasks_table(tasks, Timestamp::now())
        });
    }
    let body = args.pool.as_ref().map_or_else(|| json!({}), |pool| json!({"pool_name": pool}));
    let answer = client.post(&format!("{PATH}/dead/redrive"), &[], &body, Duration::ZERO)?;
    let text = match context.global.json {
        true => pretty(&answer),
        false => again(&answer),
    };
    Ok(text.into())
}

/// How many wait again.
fn again(answer: &Value) -> String {
    let redriven = answer["redriven"].as_u64().unwrap_or_default();
    let wait = if redriven == 1 { "waits" } else { "wait" };
    format!("{} {wait} again\n", counted(redriven, "task"))
}
