//! `muster tasks`: lists tasks.

use std::io::Write;

use muster_domain::{PoolName, TaskState, Timestamp};
use serde_json::{Value, json};

use super::failure::CommandFailure;
use super::table::{age, field, pretty, span_field, table};
use super::task::PATH;
use super::{CliContext, Done};

/// Arguments of `muster tasks`.
#[derive(Debug, clap::Args)]
pub(super) struct TasksArgs {
    /// Only this pool's
    #[arg(long, value_name = "POOL")]
    pool: Option<PoolName>,
    /// Only this project's
    #[arg(long, short, value_name = "PROJECT")]
    project: Option<String>,
    /// Only this tenant's
    #[arg(long, value_name = "TENANT")]
    tenant: Option<String>,
    /// Only tasks in this state, or in one of several with commas between them: queued, running, succeeded, failed, cancelled
    /// or dead
    #[arg(long, value_name = "STATES", value_delimiter = ',')]
    state: Vec<TaskState>,
    /// The oldest first, not the newest
    #[arg(long)]
    oldest: bool,
    /// At most this many
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

/// Lists them.
pub(super) fn run(args: &TasksArgs, context: &CliContext<'_>) -> Result<Done, CommandFailure> {
    let client = context.server()?.client;
    let mut query = Vec::new();
    query.extend(args.pool.iter().map(|pool| ("pool_name", pool.to_string())));
    query.extend(args.project.iter().map(|project| ("project_id", project.clone())));
    query.extend(args.tenant.iter().map(|tenant| ("tenant", tenant.clone())));
    if !args.state.is_empty() {
        let states: Vec<&str> = args.state.iter().map(|state| state.as_str()).collect();
        query.push(("state", states.join(",")));
    }
    query.push(("order", if args.oldest { "asc" } else { "desc" }.to_owned()));
    let (tasks, rest) = client.list_first(PATH, &query, usize::try_from(args.limit).unwrap_or(usize::MAX))?;
    if context.global.json {
        return Ok(pretty(&json!({"items": tasks, "next_cursor": rest})).into());
    }
    if rest.is_some() {
        // Not in the table, which programs may read too.
        let _ = writeln!(std::io::stderr(), "muster: {}", more(tasks.len(), args.oldest));
    }
    Ok(tasks_table(&tasks, Timestamp::now()).into())
}

/// What is said where a list is cut off.
fn more(shown: usize, oldest: bool) -> String {
    let which = if oldest { "oldest" } else { "newest" };
    match shown {
        1 => format!("only the {which} task is shown; a higher --limit shows more"),
        shown => format!("only the {which} {shown} tasks are shown; a higher --limit shows more"),
    }
}

/// A table of tasks.
pub(super) fn tasks_table(tasks: &[Value], now: Timestamp) -> String {
    let row = |task: &Value| {
        let mut row: Vec<String> = ["task_id", "pool_name", "project_id", "tenant", "state", "attempt", "priority"]
            .iter()
            .map(|name| field(task, name))
            .collect();
        row.extend([age(task, "created_at", now), span_field(task, "wait_seconds"), span_field(task, "run_seconds")]);
        // Most tasks have nothing to explain.
        let why = task["error"]["message"].as_str().or_else(|| task["halting"].as_str()).map(str::to_owned);
        let why = why.or_else(|| Some(format!("waits for {}", task["waiting_for"]["message"].as_str()?)));
        row.push(why.unwrap_or_default());
        row
    };
    let head = ["TASK", "POOL", "PROJECT", "TENANT", "STATE", "ATTEMPT", "PRIORITY", "AGE", "WAITED", "RAN", "WHY"];
    let right = ["ATTEMPT", "PRIORITY", "AGE", "WAITED", "RAN"];
    table(&head, &right, tasks.iter().map(row).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_that_is_cut_off_says_how_to_go_on() {
        assert_eq!(more(3, false), "only the newest 3 tasks are shown; a higher --limit shows more");
        assert!(more(1, true).starts_with("only the oldest task is shown"));
    }
}
