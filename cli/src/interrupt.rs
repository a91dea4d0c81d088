//! `muster interrupt`: says that the capacity under workers will be taken away.

use std::time::Duration;

use muster_domain::ProcessId;
use muster_domain::interruption::{DEFAULT_NOTICE, LONGEST_NOTICE};
use serde_json::{Value, json};

use super::asking::{each, outcome};
use super::failure::CommandFailure;
use super::id::{WorkerArg, resolve_all};
use super::table::{field, table};
use super::{CliContext, Done};

/// Arguments of `muster interrupt`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "For whoever hears that a spot instance ends or a host is to be maintained. Another worker is started in its \
                        place at once. It gets no more agents and tasks, uses the whole notice for what it has begun, and at its \
                        end what still runs goes back to the queue at no cost of an attempt, and its agents move. A second notice \
                        can only bring the end forward."
)]
pub(super) struct InterruptArgs {
    /// The workers, by their ids or beginnings of them
    #[arg(required = true)]
    workers: Vec<WorkerArg>,
    /// After which time the capacity goes: seconds, or with a unit as 120s, 2m, 1h; at most a day. Without it 120 s
    #[arg(long = "in", value_name = "TIME", value_parser = span)]
    within: Option<Duration>,
}

/// Gives the notice.
pub(super) fn run(args: &InterruptArgs, context: &CliContext<'_>) -> Result<Done, CommandFailure> {
    let client = context.server()?.client;
    let body = json!({"notice": args.within.unwrap_or(DEFAULT_NOTICE).as_secs_f64()});
    let interrupt =
        |worker: &ProcessId| client.post(&format!("/api/v1/workers/{worker}/interrupt"), &[], &body, Duration::ZERO);
    outcome(each(&resolve_all(&client, &args.workers)?, interrupt), context.global.json, |workers| {
        let row = |worker: &Value| {
            let agents = format!("{}/{}", field(worker, "agent_count"), field(worker, "max_agents"));
            vec![
                field(worker, "process_id"),
                field(worker, "pool_name"),
                agents,
                field(&worker["interruption"], "deadline"),
            ]
        };
        table(&["WORKER", "POOL", "AGENTS", "UNTIL"], &["AGENTS"], workers.iter().map(row).collect())
    })
}

/// A time as people write it.
fn span(text: &str) -> Result<Duration, String> {
    let (number, unit) = match text.char_indices().next_back() {
        Some((at, 's')) => (&text[..at], 1.0),
        Some((at, 'm')) => (&text[..at], 60.0),
        Some((at, 'h')) => (&text[..at], 3_600.0),
        _ => (text, 1.0),
    };
    let span = number.parse::<f64>().ok().and_then(|number| Duration::try_from_secs_f64(number * unit).ok());
    let span = span.ok_or("write seconds, or a number with a unit as 120s, 2m or 1h")?;
    if span > LONGEST_NOTICE { Err("at most a day (24h)".to_owned()) } else { Ok(span) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_a_unit_or_is_seconds() {
        for (text, seconds) in [("120s", 120), ("120", 120), ("2m", 120), ("0", 0), ("24h", 86_400), ("0.5m", 30)] {
            assert_eq!(span(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in ["", "s", "-1s", "nan", "1d", "25h", "inf", "1e30h", "２m"] {
            assert!(span(text).is_err(), "{text}");
        }
    }
}
