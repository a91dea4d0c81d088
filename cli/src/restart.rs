//! `muster restart`: starts agents anew.

use muster_domain::Timestamp;
use serde_json::json;

use super::agents::agents_table;
use super::asking::{each, outcome, seconds, waiting};
use super::failure::CommandFailure;
use super::id::{AgentArg, resolve_all};
use super::{CliContext, Done};

/// Arguments of `muster restart`.
#[derive(Debug, clap::Args)]
pub(super) struct RestartArgs {
    /// The agents, by their ids or beginnings of them
    #[arg(required = true)]
    agents: Vec<AgentArg>,
    /// Seconds to wait until an agent runs; 0 asks only [default: 10]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    wait: Option<f64>,
}

/// Restarts them, several at a time.
pub(super) fn run(args: &RestartArgs, context: &CliContext<'_>) -> Result<Done, CommandFailure> {
    let client = context.server()?.client;
    let (query, wait) = waiting(args.wait);
    let answers = each(&resolve_all(&client, &args.agents)?, |id| {
        client.post(&format!("/api/v1/agents/{id}/restart"), &query, &json!({}), wait)
    });
    outcome(answers, context.global.json, |agents| agents_table(agents, Timestamp::now()))
}
