//! `muster pause`, `muster drain` and `muster resume`: hold work up, and let it go on.

use std::time::Duration;

use muster_domain::PoolName;
use serde_json::{Value, json};

use super::failure::CommandFailure;
use super::pools::pools_table;
use super::table::pretty;
use super::{CliContext, Done};

/// Arguments of `muster pause`.
#[derive(Debug, clap::Args)]
pub(super) struct Pause {
    #[command(flatten)]
    what: What,
    /// With --all: stop the tasks that run, and hand them back to the queue; without it they go on to their end. Of a single
    /// pool only `muster drain POOL --hand-back` does so
    #[arg(long)]
    hand_back: bool,
}

/// Arguments of `muster resume`.
#[derive(Debug, clap::Args)]
pub(super) struct Resume {
    #[command(flatten)]
    what: What,
}

/// Arguments of `muster drain`.
#[derive(Debug, clap::Args)]
pub(super) struct Drain {
    /// The pool
    #[arg(required_unless_present = "all")]
    pool: Option<PoolName>,
    /// Known, so that whoever asks for it hears what is to be used
    #[arg(long, hide = true)]
    all: bool,
    /// Stop the tasks that run, and hand them back to the queue; without it they go on to their end
    #[arg(long)]
    hand_back: bool,
}

/// What is meant: a pool, or all of them together.
#[derive(Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct What {
    /// The pool
    pool: Option<PoolName>,
    /// The whole system; what was done to single pools stays
    #[arg(long)]
    all: bool,
}

/// Gives agents no more tasks.
pub(super) fn pause(args: &Pause, context: &CliContext<'_>) -> Result<Done, CommandFailure> {
    match &args.what.pool {
        Some(pool) if args.hand_back => Err(CommandFailure::Usage(format!(
            "the tasks of a single pool are handed back by a drain only: `muster drain {pool} --hand-back`"
        ))),
        Some(pool) => of_pool(pool, "pause", &json!({}), context),
        None => {
            of_system("pause", &json!({"hand_back": args.hand_back}), "paused: tasks are taken in and wait", context)
        }
    }
}

/// Gives agents tasks again.
pub(super) fn resume(args: &Resume, context: &CliContext<'_>) -> Result<Done, CommandFailure> {
    match &args.what.pool {
        Some(pool) => of_pool(pool, "resume", &json!({}), context),
        None => of_system("resume", &json!({}), "resumed", context),
    }
}

/// Takes no more tasks either.
pub(super) fn drain(args: &Drain, context: &CliContext<'_>) -> Result<Done, CommandFailure> {
    match (&args.pool, args.all) {
        (Some(pool), false) => of_pool(pool, "drain", &json!({"hand_back": args.hand_back}), context),
        _ => Err(CommandFailure::Usage(
            "a drain is of one pool: `muster drain POOL`; `muster pause --all` holds up the whole system, and with --hand-back \
             stops the tasks that run"
                .to_owned(),
        )),
    }
}

fn of_pool(pool: &PoolName, verb: &str, body: &Value, context: &CliContext<'_>) -> Result<Done, CommandFailure> {
    let client = context.server()?.client;
    let answer = client.post(&format!("/api/v1/agents/pools/{pool}/{verb}"), &[], body, Duration::ZERO)?;
    Ok(if context.global.json { pretty(&answer) } else { pools_table(&[answer]) }.into())
}

fn of_system(verb: &str, body: &Value, words: &str, context: &CliContext<'_>) -> Result<Done, CommandFailure> {
    let client = context.server()?.client;
    let answer = client.post(&format!("/api/v1/system/{verb}"), &[], body, Duration::ZERO)?;
    Ok(if context.global.json { pretty(&answer) } else { format!("the system is {words}\n") }.into())
}
