//! `muster spawn`: starts agents.

use muster_domain::{PoolName, Timestamp};
use serde_json::{Value, json};

use super::agents::agents_table;
use super::asking::{each, outcome, seconds, waiting};
use super::failure::CommandFailure;
use super::{CliContext, Done};

/// Arguments of `muster spawn`.
#[derive(Debug, clap::Args)]
pub(super) struct SpawnArgs {
    /// The pool
    pool: PoolName,
    /// The project that the agents work for
    #[arg(long, short, value_name = "PROJECT", default_value = "default")]
    project: String,
    /// Their role [default: the pool's]
    #[arg(long, value_name = "ROLE")]
    role: Option<String>,
    /// How many
    #[arg(long, short = 'n', value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    count: u32,
    /// Seconds to wait until an agent runs; 0 asks only [default: 10]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    wait: Option<f64>,
    /// An agent that is idle for longer ends, in seconds [default: the pool's]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    max_idle_time: Option<f64>,
}

/// Starts them, several at a time.
pub(super) fn run(args: &SpawnArgs, context: &CliContext<'_>) -> Result<Done, CommandFailure> {
    let client = context.server()?.client;
    let role = match &args.role {
        Some(role) => json!(role),
        None => client.get(&format!("/api/v1/agents/pools/{}", args.pool), &[])?["role_type"].clone(),
    };
    let mut body = json!({"pool_name": args.pool, "role_type": role, "project_id": args.project});
    if let Some(seconds) = args.max_idle_time {
        body["max_idle_time"] = json!(seconds);
    }
    let (query, wait) = waiting(args.wait);
    let bodies: Vec<Value> = (0..args.count).map(|_| body.clone()).collect();
    let answers = each(&bodies, |body| client.post("/api/v1/agents/spawn", &query, body, wait));
    outcome(answers, context.global.json, |agents| agents_table(agents, Timestamp::now()))
}
