//! `muster check`: tests the installation, with a remedy per line that fails, or with `--pool` what a worker reaches.

use muster_domain::PoolName;
use serde_json::Value;

use super::asking::seconds;
use super::failure::CommandFailure;
use super::reach;
use super::table::{field, pretty, table};
use super::terminal::printable;
use super::{CliContext, Done};

/// Arguments of `muster check`.
#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// Ask a worker of this pool what it reaches: by a task that goes the whole way of a task and is answered before the agent.
    /// Where no agent of the pool is idle it waits for one. Fails where something is not reached
    #[arg(long, value_name = "POOL")]
    pool: Option<PoolName>,
    /// Seconds to wait for that answer
    #[arg(long, value_name = "SECONDS", value_parser = seconds, default_value = "30", requires = "pool")]
    wait: f64,
}

/// Asks and shows; fails where one check fails.
pub(super) fn run(args: &CheckArgs, context: &CliContext<'_>) -> Result<Done, CommandFailure> {
    if let Some(pool) = &args.pool {
        return reach::run(pool, args.wait, context);
    }
    let answer = context.server()?.client.get("/api/v1/system/check", &[])?;
    let checks = answer["checks"].as_array().map_or(&[][..], Vec::as_slice);
    let failed = checks.iter().filter(|check| check["ok"] != Value::Bool(true)).count();
    let failure = match (failed, answer["ok"].as_bool()) {
        (0, Some(true)) => None,
        (0, _) => Some(CommandFailure::Failed("the server says that it is not well".to_owned())),
        (failed, _) => Some(CommandFailure::Failed(format!("{failed} of {} checks failed", checks.len()))),
    };
    let text = if context.global.json { pretty(&answer) } else { lines(checks) };
    Ok(Done { text, failure })
}

/// A line per check, and under those that failed what to do.
pub(super) fn lines(checks: &[Value]) -> String {
    let rows = checks.iter().map(|check| {
        let mark = if check["ok"] == Value::Bool(true) { "ok" } else { "FAILED" };
        let took = check["took_ms"].as_f64().map_or_else(|| "-".to_owned(), |ms| format!("{ms:.1} ms"));
        vec![mark.to_owned(), field(check, "name"), took, field(check, "detail")]
    });
    let table = table(&["", "CHECK", "TOOK", "FOUND"], &["TOOK"], rows.collect());
    let mut lines = table.lines();
    let mut out = format!("{}\n", lines.next().unwrap_or_default());
    for (line, check) in lines.zip(checks) {
        out.push_str(line);
        out.push('\n');
        if let Some(remedy) = check["remedy"].as_str().filter(|_| check["ok"] != Value::Bool(true)) {
            out.push_str(&format!("        remedy: {}\n", printable(remedy)));
        }
    }
    out
}
