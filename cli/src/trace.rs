//! `muster trace`: the tasks of a pool as its metrics remember them, for `muster simulate`.

use std::time::Duration;

use clap::Subcommand;
use muster_domain::{PoolName, Timestamp};
use serde_json::{Value, json};

use super::failure::CommandFailure;
use super::table::pretty;
use super::{CliContext, Done};

/// Arguments of `muster trace`.
#[derive(Debug, clap::Args)]
pub(super) struct TraceArgs {
    #[command(subcommand)]
    command: TraceCommand,
}

#[derive(Debug, Subcommand)]
enum TraceCommand {
    /// Print a pool's tasks as CSV: at, run_seconds, count
    #[command(
        after_help = "A row is a measurement: the tasks that came in its time (those that ended, and by how many more wait and run), \
and the median time of an attempt.\n\nExample: muster trace export developer_pool > day.csv && muster simulate --trace day.csv"
    )]
    Export(ExportArgs),
}

/// Arguments of `muster trace export`.
#[derive(Debug, clap::Args)]
struct ExportArgs {
    /// The pool
    pool: PoolName,
    /// The latest measurements, at most so many (one each 30 s, unless metrics.interval says otherwise)
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u32).range(2..=1000))]
    limit: u32,
}

/// Asks and prints.
pub(super) fn run(args: &TraceArgs, context: &CliContext<'_>) -> Result<Done, CommandFailure> {
    let TraceCommand::Export(ExportArgs { pool, limit }) = &args.command;
    let path = format!("/api/v1/agents/pools/{pool}/metrics?limit={limit}");
    let mut rows = context.server()?.client.get_list(&path)?;
    // The newest come first.
    let measured = rows.as_array_mut().map(std::mem::take).unwrap_or_default();
    let trace = rows_of(measured.iter().rev());
    if trace.is_empty() {
        return Err(CommandFailure::NotFound(format!("{pool} has no measurement of a task that ran yet")));
    }
    if context.global.json {
        let row = |(at, run, count): &(Timestamp, f64, u64)| json!({"at": at, "run_seconds": run, "count": count});
        return Ok(pretty(&trace.iter().map(row).collect()).into());
    }
    let line = |(at, run, count): &(Timestamp, f64, u64)| format!("{at},{run},{count}\n");
    Ok(format!("at,run_seconds,count\n{}", trace.iter().map(line).collect::<String>()).into())
}

/// A row for each measurement in which tasks came; what was open at the first one counts to that. One without an attempt that ended has the time of the one before it, and the first ones that
/// of the first that is known.
fn rows_of<'v>(measured: impl Iterator<Item = &'v Value>) -> Vec<(Timestamp, f64, u64)> {
    let (mut rows, mut first, mut known, mut before) = (Vec::new(), None, None, 0.0);
    for row in measured {
        let figure = |name: &str| row[name].as_f64().unwrap_or_default();
        let open = figure("queue_depth") + figure("running_tasks");
        let came = (figure("executions") + open - before).round().max(0.0);
        before = open;
        let run = row["run_p50_seconds"].as_f64().filter(|run| *run > 0.0);
        (first, known) = (first.or(run), run.or(known));
        let Some(end) = row["timestamp"].as_str().and_then(|at| at.parse::<Timestamp>().ok()) else { continue };
        if came >= 1.0 {
            let begin = end.before(Duration::try_from_secs_f64(figure("covers_seconds")).unwrap_or_default());
            rows.push((begin, known, came as u64));
        }
    }
    rows.into_iter().filter_map(|(at, run, count): (_, Option<f64>, _)| Some((at, run.or(first)?, count))).collect()
}

#[cfg(test)]
mod tests {
    use super::super::tests::run;

    const ROWS: &str = r#"[
        {"timestamp": "2025-11-21T03:21:30.000Z", "covers_seconds": 30.0, "queue_depth": 0.0, "running_tasks": 2.0,
         "executions": 9, "run_p50_seconds": 60.5},
        {"timestamp": "2025-11-21T03:21:00.000Z", "covers_seconds": 30.0, "queue_depth": 4.0, "running_tasks": 3.0,
         "executions": 3, "run_p50_seconds": null},
        {"timestamp": "2025-11-21T03:20:30.000Z", "covers_seconds": 30.0, "queue_depth": 1.0, "running_tasks": 2.0,
         "executions": 0, "run_p50_seconds": null}]"#;

    #[test]
    fn a_row_has_the_tasks_that_came_in_its_time() {
        let ran = run("trace export p", vec![(200, ROWS)]);
        assert_eq!(ran.lines(), ["GET /api/v1/agents/pools/p/metrics?limit=1000"]);
        let expected = "at,run_seconds,count\n2025-11-21T03:20:00.000Z,60.5,3\n2025-11-21T03:20:30.000Z,60.5,7\n2025-11-21T03:21:00.000Z,60.5,4\n";
        assert_eq!(ran.text(), expected);
        let json = run("trace export p --json", vec![(200, ROWS)]);
        assert!(json.text().contains("\"run_seconds\": 60.5"), "{}", json.text());
    }

    #[test]
    fn tasks_that_all_came_at_first_have_the_time_that_is_known_later() {
        let rows = r#"[
            {"timestamp": "2025-11-21T03:21:00.000Z", "covers_seconds": 30.0, "queue_depth": 0.0, "running_tasks": 0.0,
             "executions": 4, "run_p50_seconds": 3.5},
            {"timestamp": "2025-11-21T03:20:30.000Z", "covers_seconds": 30.0, "queue_depth": 3.0, "running_tasks": 1.0,
             "executions": 0, "run_p50_seconds": null}]"#;
        let ran = run("trace export p", vec![(200, rows)]);
        assert_eq!(ran.text(), "at,run_seconds,count\n2025-11-21T03:20:00.000Z,3.5,4\n");
    }

    #[test]
    fn a_pool_without_tasks_has_no_trace() {
        let ran = run("trace export p --limit 2", vec![(200, "[]")]);
        assert_eq!(ran.code(), 4);
    }
}
