//! `muster declare-dead`: says that workers are dead which nobody can reach.

use std::time::Duration;

use muster_domain::ProcessId;
use serde_json::json;

use super::asking::{each, outcome};
use super::failure::CommandFailure;
use super::id::{WorkerArg, resolve_all};
use super::table::{field, table};
use super::{CliContext, Done};

/// Arguments of `muster declare-dead`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Its agents are started elsewhere at once. If it lives all the same, they run twice until it hears \
                        that it is to end: so look first whether its host or container is really gone. One that was heard \
                        lately, or whose end would be seen, is not declared dead."
)]
pub(super) struct Args {
    /// The workers, by their ids or beginnings of them
    #[arg(required = true)]
    workers: Vec<WorkerArg>,
}

/// Declares them dead.
pub(super) fn run(args: &Args, context: &CliContext<'_>) -> Result<Done, CommandFailure> {
    let client = context.server()?.client;
    let declare = |worker: &ProcessId| {
        client.post(&format!("/api/v1/workers/{worker}/declare-dead"), &[], &json!({}), Duration::ZERO)
    };
    outcome(each(&resolve_all(&client, &args.workers)?, declare), context.global.json, |ended| {
        let row = |worker: &serde_json::Value| {
            let how = format!("{}; {}", field(&worker["ending"], "summary"), field(&worker["ending"], "follows"));
            vec![field(worker, "process_id"), field(worker, "pool_name"), field(worker, "host"), how]
        };
        table(&["WORKER", "POOL", "HOST", "HOW"], &[], ended.iter().map(row).collect())
    })
}
