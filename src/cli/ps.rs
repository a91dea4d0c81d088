//! `muster ps`: lists agents, or workers.

use muster_domain::{AgentState, PoolName, Timestamp};
use serde_json::{Value, json};

use super::agents::{Filter, agents_table};
use super::failure::Failure;
use super::table::{age, bytes, field, pretty, table};
use super::{Context, Done};

/// Arguments of `muster ps`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "muster ps [--pool <POOL>] [--project <PROJECT>] [--all | --state <STATE>]\n       \
                            muster ps --workers [--pool <POOL>]")]
pub(super) struct Args {
    /// Only this pool's
    #[arg(long, value_name = "POOL")]
    pool: Option<PoolName>,
    /// Only this project's agents
    #[arg(long, short, value_name = "PROJECT", conflicts_with = "workers")]
    project: Option<String>,
    /// Only agents in this state
    #[arg(long, value_name = "STATE", conflicts_with = "workers")]
    state: Option<AgentState>,
    /// Also agents that have ended
    #[arg(long, short, conflicts_with_all = ["workers", "state"])]
    all: bool,
    /// List worker processes instead of agents
    #[arg(long, short)]
    workers: bool,
}

/// Lists them.
pub(super) fn run(args: &Args, context: &Context) -> Result<Done, Failure> {
    let client = context.server()?.client;
    let pool = args.pool.as_ref().map(ToString::to_string);
    if args.workers {
        let mut answer = client.get("/api/v1/agents/metrics/processes", &[])?;
        if let (Some(pool), Some(processes)) = (&pool, answer.get_mut("processes").and_then(Value::as_array_mut)) {
            processes.retain(|process| process["pool_name"] == json!(pool));
            if processes.is_empty() {
                // Without workers, or without existence?
                client.get(&format!("/api/v1/agents/pools/{pool}"), &[])?;
            }
        }
        let processes = answer["processes"].as_array().map_or(&[][..], Vec::as_slice);
        return Ok(if context.global.json { pretty(&answer) } else { workers(processes, Timestamp::now()) }.into());
    }
    let filter = Filter { pool, project: args.project.clone() };
    let agents = match args.state {
        Some(state) => filter.list(&client, &[state])?,
        None if args.all => filter.list(&client, &[])?,
        None => filter.live(&client)?,
    };
    let json = || pretty(&json!({"items": agents, "next_cursor": null}));
    Ok(if context.global.json { json() } else { agents_table(&agents, Timestamp::now()) }.into())
}

/// A table of workers.
pub(super) fn workers(processes: &[Value], now: Timestamp) -> String {
    let row = |process: &Value| {
        vec![
            field(process, "process_id"),
            field(process, "pool_name"),
            field(process, "pid"),
            field(process, "host"),
            format!("{}/{}", field(process, "agent_count"), field(process, "max_agents")),
            process["cpu"].as_f64().map_or_else(|| "-".to_owned(), |cpu| format!("{cpu:.0}%")),
            bytes(process, "rss_bytes"),
            worker_status(process),
            age(process, "started_at", now),
            age(process, "last_heartbeat", now),
        ]
    };
    let head = ["WORKER", "POOL", "PID", "HOST", "AGENTS", "CPU", "MEMORY", "STATUS", "AGE", "HEARD"];
    let right = ["PID", "AGENTS", "CPU", "MEMORY", "AGE", "HEARD"];
    table(&head, &right, processes.iter().map(row).collect())
}

/// Its status, and whether it starts programs as the configuration said once.
fn worker_status(process: &Value) -> String {
    let status = field(process, "status");
    if process["outdated"] == json!(true) { format!("{status}, old runtime") } else { status }
}
