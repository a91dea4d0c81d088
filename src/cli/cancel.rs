//! `muster cancel`: calls tasks off.

use muster_domain::{TaskId, Timestamp};
use serde_json::json;

use super::asking::{each, outcome, seconds, waiting};
use super::failure::Failure;
use super::task::{PATH, task_id};
use super::tasks::tasks_table;
use super::{Context, Done};

/// Arguments of `muster cancel`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The tasks, by their ids
    #[arg(required = true, value_parser = task_id)]
    tasks: Vec<TaskId>,
    /// Seconds to wait until a task's work has stopped; without it, and with 0, the command only asks
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    wait: Option<f64>,
}

/// Calls them off, several at a time.
pub(super) fn run(args: &Args, context: &Context) -> Result<Done, Failure> {
    let client = context.server()?.client;
    let (query, wait) = waiting(args.wait);
    let answers = each(&args.tasks, |id| client.post(&format!("{PATH}/{id}/cancel"), &query, &json!({}), wait));
    outcome(answers, context.global.json, |tasks| tasks_table(tasks, Timestamp::now()))
}
