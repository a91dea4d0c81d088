//! `muster pools`: lists, makes, changes and removes pools.

use std::time::Duration;

use muster_domain::{PoolName, counted};
use serde_json::{Value, json};

use super::bounds::{self, BoundsPatch};
use super::failure::CommandFailure;
use super::table::{field, percent, pretty, table};
use super::{CliContext, Done};

const PATH: &str = "/api/v1/agents/pools";

/// Arguments of `muster pools`.
#[derive(Debug, clap::Args)]
pub(super) struct PoolsArgs {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List the pools with their figures; this is what happens without a word
    List,
    /// Make a pool
    #[command(after_long_help = bounds::help())]
    Create {
        /// Its name: 1 to 64 characters of a-z, 0-9, '-' and '_'
        pool: PoolName,
        /// The role of its agents
        #[arg(long, value_name = "ROLE")]
        role: String,
        /// What its agents run: a runtime of the configuration [default: echo]
        #[arg(long, value_name = "NAME")]
        runtime: Option<String>,
        #[command(flatten)]
        bounds: BoundsPatch,
    },
    /// Change the bounds of a pool; what is not given keeps its value
    #[command(after_long_help = bounds::help())]
    Set {
        /// The pool
        pool: PoolName,
        #[command(flatten)]
        bounds: BoundsPatch,
    },
    /// Remove a pool; its agents are stopped first
    Rm {
        /// The pool
        pool: PoolName,
        /// Kill its agents at once, without asking them to stop
        #[arg(long, short)]
        force: bool,
    },
}

/// Does what the word says.
pub(super) fn run(args: PoolsArgs, context: &CliContext<'_>) -> Result<Done, CommandFailure> {
    let client = context.server()?.client;
    let answer = match args.action.unwrap_or(Action::List) {
        Action::List => client.get_list(PATH)?,
        Action::Create { pool, role, runtime, bounds } => {
            let mut body = json!({"pool_name": pool, "role_type": role, "config": bounds.into_json()});
            if let Some(runtime) = runtime {
                body["runtime"] = json!(runtime);
            }
            client.post(PATH, &[], &body, Duration::ZERO)?
        }
        Action::Set { pool, bounds } => {
            if bounds.is_empty() {
                return Err(CommandFailure::Usage("nothing to change: see muster pools set --help".to_owned()));
            }
            client.patch(&format!("{PATH}/{pool}"), &json!({"config": bounds.into_json()}))?
        }
        Action::Rm { pool, force } => {
            let query = [("graceful", (!force).to_string())];
            let answer = client.delete(&format!("{PATH}/{pool}"), &query)?;
            let text = if context.global.json { pretty(&answer) } else { format!("{pool} is removed\n") };
            return Ok(text.into());
        }
    };
    if context.global.json {
        return Ok(pretty(&answer).into());
    }
    Ok(match answer {
        Value::Array(pools) => pools_table(&pools),
        pool => pools_table(&[pool]),
    }
    .into())
}

/// Why a pool does not do work as usual, in words; empty where it does. The pool may be told of by its queue.
pub(super) fn holds(pool: &Value) -> String {
    let is = |name: &str| pool[name] == json!(true);
    let breaker = match pool["breaker"]["state"].as_str() {
        Some("open") => Some("breaker open"),
        Some("half_open") => Some("breaker half open"),
        _ => None,
    };
    let lacks = match pool["lacks"].as_str() {
        Some("agents_failing") => Some("agents failing"),
        Some("no_agent") => Some("no agent"),
        Some("target_workers") => Some("scaled, and full"),
        Some("old_runtime") => Some("workers of an old runtime"),
        _ => None,
    };
    let holds = [
        is("being_removed").then_some("being removed"),
        is("all_paused").then_some("all paused"),
        is("intake_closed").then_some("drained"),
        // A drain pauses too.
        (is("paused") && !is("intake_closed")).then_some("paused"),
        breaker,
        lacks,
    ];
    let unreachable = pool["unreachable_workers"].as_u64().filter(|count| *count > 0);
    let unreachable = unreachable.map(|count| format!("{} unreachable", counted(count, "worker")));
    let holds = holds.into_iter().flatten().map(str::to_owned);
    holds.chain(unreachable).collect::<Vec<_>>().join(", ")
}

/// A table of pools.
pub(super) fn pools_table(pools: &[Value]) -> String {
    let row = |pool: &Value| {
        let mut row: Vec<String> = [
            "pool_name",
            "role_type",
            "runtime",
            "process_count",
            "agent_count",
            "used_capacity",
            "available_capacity",
            "total_capacity",
        ]
        .iter()
        .map(|name| field(pool, name))
        .collect();
        if !pool["target_workers"].is_null() {
            // What is there, of what is to be.
            row[3] = format!("{}/{}", row[3], field(pool, "target_workers"));
        }
        row.push(percent(pool, "utilization"));
        row.push(holds(pool));
        row
    };
    let head = ["POOL", "ROLE", "RUNTIME", "WORKERS", "AGENTS", "USED", "FREE", "SLOTS", "LOAD", ""];
    let right = ["WORKERS", "AGENTS", "USED", "FREE", "SLOTS", "LOAD"];
    table(&head, &right, pools.iter().map(row).collect())
}
