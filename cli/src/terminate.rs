//! `muster terminate`: ends agents for good.

use muster_domain::PoolName;
use serde_json::{Value, json};

use super::agents::{Filter, read};
use super::asking::{each, outcome, seconds, waiting};
use super::failure::CommandFailure;
use super::id::{AgentArg, resolve_all};
use super::table::{field, table};
use super::{CliContext, Done};

/// Arguments of `muster terminate`.
#[derive(Debug, clap::Args)]
#[command(
    override_usage = "muster terminate [OPTIONS] <AGENTS>...\n       muster terminate [OPTIONS] --pool <POOL>\n       \
                            muster terminate [OPTIONS] --project <PROJECT> [--pool <POOL>]"
)]
pub(super) struct TerminateArgs {
    /// The agents, by their ids or beginnings of them
    #[arg(required_unless_present_any = ["pool", "project"], conflicts_with_all = ["pool", "project"])]
    agents: Vec<AgentArg>,
    /// All agents of this pool
    #[arg(long, value_name = "POOL")]
    pool: Option<PoolName>,
    /// All agents of this project
    #[arg(long, short, value_name = "PROJECT")]
    project: Option<String>,
    /// Kill at once, without asking them to stop
    #[arg(long, short)]
    force: bool,
    /// Seconds to wait until an agent is gone; 0 asks only [default: 10]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    wait: Option<f64>,
}

/// Ends them, several at a time.
pub(super) fn run(args: &TerminateArgs, context: &CliContext<'_>) -> Result<Done, CommandFailure> {
    let client = context.server()?.client;
    let (query, wait) = waiting(args.wait);
    let end = |agent: &Value| {
        let body = json!({"pool_name": agent["pool_name"], "agent_id": agent["agent_id"], "graceful": !args.force});
        client.post("/api/v1/agents/terminate", &query, &body, wait)
    };
    let answers = if args.agents.is_empty() {
        let pool = args.pool.as_ref().map(ToString::to_string);
        each(&Filter { pool, project: args.project.clone() }.live(&client)?, end)
    } else {
        // The server wants to hear the pool too, so that an id of another pool is never hit by mistake.
        each(&resolve_all(&client, &args.agents)?, |id| end(&read(&client, id)?))
    };
    outcome(answers, context.global.json, |ended| {
        let rows = ended.iter().map(|end| vec![field(end, "agent_id"), field(end, "pool_name"), field(end, "state")]);
        table(&["AGENT", "POOL", "STATE"], &[], rows.collect())
    })
}
