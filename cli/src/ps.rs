//! `muster ps`: lists agents, or workers.

use muster_domain::{AgentState, PoolName, Timestamp};
use serde_json::{Value, json};

use crate::client::ApiClient;

use super::agents::{Filter, agents_table};
use super::failure::CommandFailure;
use super::table::{age, bytes, field, pretty, table};
use super::{CliContext, Done};

/// Where workers are.
pub(super) const PROCESSES: &str = "/api/v1/agents/metrics/processes";

/// Arguments of `muster ps`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "muster ps [--pool <POOL>] [--project <PROJECT>] [--all | --state <STATE>]\n       \
                            muster ps --workers [--pool <POOL>] [--all]")]
pub(super) struct PsArgs {
    /// Only this pool's
    #[arg(long, value_name = "POOL")]
    pool: Option<PoolName>,
    /// Only this project's agents
    #[arg(long, short, value_name = "PROJECT", conflicts_with = "workers")]
    project: Option<String>,
    /// Only agents in this state
    #[arg(long, value_name = "STATE", conflicts_with = "workers")]
    state: Option<AgentState>,
    /// Also agents that have ended; with --workers, also workers that have, and how
    #[arg(long, short, conflicts_with = "state")]
    all: bool,
    /// List worker processes instead of agents
    #[arg(long, short)]
    workers: bool,
}

/// Lists them.
pub(super) fn run(args: &PsArgs, context: &CliContext<'_>) -> Result<Done, CommandFailure> {
    let client = context.server()?.client;
    let pool = args.pool.as_ref().map(ToString::to_string);
    if args.workers {
        return list_workers(&client, pool, args.all, context.global.json);
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

fn list_workers(client: &ApiClient, pool: Option<String>, all: bool, is_json: bool) -> Result<Done, CommandFailure> {
    let mut answer = client.get(PROCESSES, &[])?;
    if all {
        let query: Vec<_> = pool.iter().map(|pool| ("pool_name", pool.clone())).collect();
        let mut ended = client.list(&format!("{PROCESSES}/ended"), &query)?;
        ended.sort_by_key(|worker| std::cmp::Reverse(field(worker, "ended_at")));
        answer["ended"] = Value::Array(ended);
    }
    if let (Some(pool), Some(processes)) = (&pool, answer["processes"].as_array_mut()) {
        processes.retain(|process| process["pool_name"] == json!(pool));
        if processes.is_empty() && !all {
            // Without workers, or without existence?
            client.get(&format!("/api/v1/agents/pools/{pool}"), &[])?;
        }
    }
    if is_json {
        return Ok(pretty(&answer).into());
    }
    let rows = |name: &str| answer[name].as_array().map_or(&[][..], Vec::as_slice);
    let (living, ended, now) = (rows("processes"), rows("ended"), Timestamp::now());
    let mut text = workers(living, now);
    for words in living.iter().filter_map(|worker| worker["unreachable"].as_str()) {
        text = format!("{text}{words}\n");
    }
    if !ended.is_empty() {
        text = format!("{text}\n{}", ended_workers(ended, now));
    }
    Ok(text.into())
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

/// A table of workers that ended.
pub(super) fn ended_workers(processes: &[Value], now: Timestamp) -> String {
    let row = |process: &Value| {
        let mut row: Vec<String> =
            ["process_id", "pool_name", "pid", "host", "status"].iter().map(|name| field(process, name)).collect();
        row.extend([age(process, "started_at", now), age(process, "ended_at", now), how_it_ended(&process["ending"])]);
        row
    };
    let head = ["WORKER", "POOL", "PID", "HOST", "STATUS", "AGE", "ENDED", "HOW"];
    table(&head, &["PID", "AGE", "ENDED"], processes.iter().map(row).collect())
}

/// Why, what followed, and what it said last.
fn how_it_ended(ending: &Value) -> String {
    let words = ending["last_words"].as_str().unwrap_or_default();
    match (ending, words) {
        (Value::Null, _) => "not kept".to_owned(),
        (_, "") => format!("{}; {}", field(ending, "summary"), field(ending, "follows")),
        (_, words) => format!("{}; {}; it said last: {words}", field(ending, "summary"), field(ending, "follows")),
    }
}

/// Its status, and why it gets no agents though it is there.
fn worker_status(process: &Value) -> String {
    let mut words = vec![field(process, "status")];
    let is_unreachable = process["unreachable"].is_string();
    words.extend((process["outdated"] == json!(true)).then(|| "old runtime".to_owned()));
    let interrupted = || format!("interrupted until {}", field(&process["interruption"], "deadline"));
    words.extend(process["interruption"].is_object().then(interrupted));
    words.extend(is_unreachable.then(|| "unreachable".to_owned()));
    words.join(", ")
}
