//! `muster queue`: how much work waits, and how fast it goes.

use serde_json::{Value, json};

use super::failure::CommandFailure;
use super::pools::holds;
use super::table::{field, pretty, span_field, table};
use super::{CliContext, Done};

/// Asks and shows.
pub(super) fn run(context: &CliContext<'_>) -> Result<Done, CommandFailure> {
    let answer = context.server()?.client.get("/api/metrics/queue", &[])?;
    Ok(if context.global.json { pretty(&answer) } else { queues(&answer) }.into())
}

/// A table of the queues.
pub(super) fn queues(answer: &Value) -> String {
    let rate =
        |queue: &Value, name: &str| queue[name].as_f64().map_or_else(|| "-".to_owned(), |rate| format!("{rate:.1}"));
    let row = |(pool, queue): (&String, &Value)| {
        let mut row = vec![pool.clone()];
        row.extend(["depth", "delayed", "running", "dead"].map(|name| field(queue, name)));
        row.push(span_field(queue, "oldest_wait_seconds"));
        row.extend(["rate_in", "rate_out"].map(|name| rate(queue, name)));
        for pair in [["wait_p50_seconds", "wait_p99_seconds"], ["run_p50_seconds", "run_p99_seconds"]] {
            let known = pair.iter().any(|name| queue[*name] != json!(null));
            row.push(if known { pair.map(|name| span_field(queue, name)).join(" / ") } else { "-".to_owned() });
        }
        row.push(holds(queue));
        row
    };
    let head =
        ["POOL", "WAITING", "DELAYED", "RUNNING", "DEAD", "OLDEST", "IN/S", "OUT/S", "WAIT P50/P99", "RUN P50/P99", ""];
    let pools = answer["pools"].as_object();
    table(&head, &head[1..head.len() - 1], pools.into_iter().flatten().map(row).collect())
}
