//! `muster pools`: lists, makes, changes and removes pools.

use std::time::Duration;

use clap::builder::PossibleValuesParser;
use muster_domain::PoolName;
use serde_json::{Value, json};

use super::asking::seconds;
use super::failure::Failure;
use super::table::{field, percent, pretty, table};
use super::{Context, Done};

const PATH: &str = "/api/v1/agents/pools";

/// Arguments of `muster pools`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List the pools with their figures; this is what happens without a word
    List,
    /// Make a pool
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
        bounds: Bounds,
    },
    /// Change the bounds of a pool
    Set {
        /// The pool
        pool: PoolName,
        #[command(flatten)]
        bounds: Bounds,
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

/// The bounds of a pool. What is not given keeps its value.
#[derive(Debug, clap::Args)]
struct Bounds {
    /// Agents that one worker holds
    #[arg(long, value_name = "N")]
    max_agents: Option<u32>,
    /// Workers at the most; 0 is no bound
    #[arg(long, value_name = "N")]
    max_workers: Option<u32>,
    /// Workers kept ready even when they are empty
    #[arg(long, value_name = "N")]
    min_workers: Option<u32>,
    /// Seconds between a worker's heartbeats
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    health_check_interval: Option<f64>,
    /// An empty worker ends after this many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    worker_idle_timeout: Option<f64>,
    /// An agent that is idle for longer ends, in seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    max_idle_time: Option<f64>,
    /// Which endings are followed by a restart
    #[arg(long, value_name = "KIND", value_parser = PossibleValuesParser::new(["permanent", "transient", "temporary"]))]
    restart: Option<String>,
    /// Restarts within the window; one more and the agent is quarantined
    #[arg(long, value_name = "N")]
    max_restarts: Option<u32>,
    /// Tasks that one agent has at a time; more than 1 is for agents that keep ids apart
    #[arg(long, value_name = "N")]
    tasks_per_agent: Option<u32>,
    /// Start agents for tasks that wait, as long as there are fewer than this; 0 is no bound but the pool's
    #[arg(long, value_name = "N", conflicts_with = "no_on_demand")]
    on_demand: Option<u32>,
    /// Start no agents for tasks that wait
    #[arg(long)]
    no_on_demand: bool,
    /// Tasks that may wait; 0 is no bound
    #[arg(long, value_name = "N")]
    max_queued: Option<u64>,
    /// Attempts at a task that does not say otherwise
    #[arg(long, value_name = "N")]
    max_attempts: Option<u32>,
    /// Seconds that one attempt may take, where the task does not say otherwise
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    task_timeout: Option<f64>,
}

impl Bounds {
    /// What was given, as the API reads it.
    fn to_json(&self) -> Value {
        let given = |pairs: Vec<(&str, Option<Value>)>| -> Value {
            pairs.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
        };
        let restart = given(vec![
            ("kind", self.restart.as_ref().map(|kind| json!(kind))),
            ("max_restarts", self.max_restarts.map(Value::from)),
        ]);
        let on_demand = match self.on_demand {
            _ if self.no_on_demand => Some(json!(null)),
            agents => agents.map(|agents| json!({"max_agents": agents})),
        };
        given(vec![
            ("max_agents", self.max_agents.map(Value::from)),
            ("max_workers", self.max_workers.map(Value::from)),
            ("min_workers", self.min_workers.map(Value::from)),
            ("health_check_interval", self.health_check_interval.map(Value::from)),
            ("worker_idle_timeout", self.worker_idle_timeout.map(Value::from)),
            ("max_idle_time", self.max_idle_time.map(Value::from)),
            ("restart", Some(restart).filter(|restart| restart != &json!({}))),
            ("tasks_per_agent", self.tasks_per_agent.map(Value::from)),
            ("on_demand", on_demand),
            ("max_queued", self.max_queued.map(Value::from)),
            ("max_attempts", self.max_attempts.map(Value::from)),
            ("task_timeout", self.task_timeout.map(Value::from)),
        ])
    }
}

/// Does what the word says.
pub(super) fn run(args: Args, context: &Context) -> Result<Done, Failure> {
    let client = context.server()?.client;
    let answer = match args.action.unwrap_or(Action::List) {
        Action::List => client.get_list(PATH)?,
        Action::Create { pool, role, runtime, bounds } => {
            let mut body = json!({"pool_name": pool, "role_type": role, "config": bounds.to_json()});
            if let Some(runtime) = runtime {
                body["runtime"] = json!(runtime);
            }
            client.post(PATH, &[], &body, Duration::ZERO)?
        }
        Action::Set { pool, bounds } => {
            let config = bounds.to_json();
            if config == json!({}) {
                return Err(Failure::Usage("nothing to change: see muster pools set --help".to_owned()));
            }
            client.patch(&format!("{PATH}/{pool}"), &json!({"config": config}))?
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
    holds.into_iter().flatten().collect::<Vec<_>>().join(", ")
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
        row.push(percent(pool, "utilization"));
        row.push(holds(pool));
        row
    };
    let head = ["POOL", "ROLE", "RUNTIME", "WORKERS", "AGENTS", "USED", "FREE", "SLOTS", "LOAD", ""];
    let right = ["WORKERS", "AGENTS", "USED", "FREE", "SLOTS", "LOAD"];
    table(&head, &right, pools.iter().map(row).collect())
}
