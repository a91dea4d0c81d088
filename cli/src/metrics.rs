//! `muster metrics`: what a pool was and did lately.

use std::io::IsTerminal;

use muster_domain::PoolName;
use serde_json::Value;

use super::failure::CommandFailure;
use super::table::{bytes, field, percent, pretty, span_field, table};
use super::{CliContext, Done};

/// Arguments of `muster metrics`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "SLOTS is taken/all, CPU is in percent of one core, PER MIN are tasks that ended; docs/metrics.md says how each \
figure is made.\n\nExample: muster metrics developer_pool --limit 20"
)]
pub(super) struct MetricsArgs {
    /// The pool
    pool: PoolName,
    /// Show so many measurements, the newest last
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

/// Curves of the last hour that a terminal shows: what each is called, and the figure.
const CURVES: [(&str, &str); 3] = [("queue", "queue_depth"), ("slots", "utilization"), ("host cpu", "cpu")];

/// Asks and shows.
pub(super) fn run(args: &MetricsArgs, context: &CliContext<'_>) -> Result<Done, CommandFailure> {
    let MetricsArgs { pool, limit } = args;
    let server = context.server()?;
    let rows = server.client.get_list(&format!("/api/v1/agents/pools/{pool}/metrics?limit={limit}"))?;
    if context.global.json {
        return Ok(pretty(&rows).into());
    }
    if rows.as_array().is_some_and(Vec::is_empty) {
        return Ok(format!(
            "{pool} was not measured yet: it is once each metrics.interval (30 s), unless metrics.enabled is false\n"
        )
        .into());
    }
    let mut text = measurements(&rows);
    if std::io::stdout().is_terminal() {
        for (name, kind) in CURVES {
            let query = [("metric_type", kind), ("pool_name", pool.as_str()), ("time_range", "1h")];
            let query = query.map(|(name, value)| (name, value.to_owned()));
            text.push_str(&curve(name, &server.client.get("/api/v1/agents/metrics/timeseries", &query)?));
        }
    }
    Ok(text.into())
}

/// A table of measurements, which come the newest first.
pub(super) fn measurements(rows: &Value) -> String {
    let pair = |row: &Value, kind: &str| {
        let names = ["p50", "p99"].map(|share| format!("{kind}_{share}_seconds"));
        let known = names.iter().any(|name| !row[name.as_str()].is_null());
        if known { names.map(|name| span_field(row, &name)).join("/") } else { "-".to_owned() }
    };
    let number =
        |row: &Value, name: &str| row[name].as_f64().map_or_else(|| "-".to_owned(), |value| format!("{value:.0}"));
    let row = |row: &Value| {
        // Of `2025-11-21T03:20:00.000Z` the time of the day.
        let time = field(row, "timestamp").get(11..19).unwrap_or("-").to_owned();
        let slots = ["used_capacity", "total_capacity"].map(|name| number(row, name)).join("/");
        let mut cells = vec![time, slots];
        cells.extend(["busy_agents", "queue_depth"].map(|name| number(row, name)));
        cells.push(number(row, "tasks_per_minute"));
        cells.push(pair(row, "wait"));
        cells.push(percent(row, "error_rate"));
        cells.push(row["cpu_percent"].as_f64().map_or_else(|| "-".to_owned(), |percent| format!("{percent:.0}%")));
        cells.push(bytes(row, "memory_bytes"));
        cells
    };
    let head = ["UTC", "SLOTS", "BUSY", "QUEUE", "PER MIN", "WAIT P50/P99", "ERRORS", "CPU", "MEMORY"];
    table(&head, &head[1..], rows.as_array().into_iter().flatten().rev().map(row).collect())
}

/// Eight heights, from the least to the most.
const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// A figure of the last hour in one line, three points a character; a time without measurements is blank.
fn curve(name: &str, series: &Value) -> String {
    let values: Vec<Option<f64>> =
        series["points"].as_array().into_iter().flatten().map(|point| point["value"].as_f64()).collect();
    let most = values.iter().flatten().copied().fold(0.0, f64::max);
    let line: String =
        values.chunks(3).map(|pair| height(pair.iter().flatten().copied().reduce(f64::max), most)).collect();
    let last = values.iter().rev().flatten().next();
    let figure = |value: f64| match name {
        "slots" => format!("{:.0}%", value * 100.0),
        "host cpu" => format!("{value:.0}%"),
        _ => format!("{value:.0}"),
    };
    match last {
        Some(last) => format!("{name:<8} {line}  now {}, most {}\n", figure(*last), figure(most)),
        None => String::new(),
    }
}

fn height(value: Option<f64>, most: f64) -> char {
    let Some(value) = value else { return ' ' };
    let share = if most > 0.0 { value / most } else { 0.0 };
    HEIGHTS[((share * 7.0).round() as usize).min(7)]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::run;
    use super::*;

    #[test]
    fn measurements_are_a_table_the_newest_last() {
        let rows = json!([
            {"timestamp": "2025-11-21T03:20:30.000Z", "workers": 2.0, "used_capacity": 15.0, "total_capacity": 20.0,
             "busy_agents": 3.0, "queue_depth": 7.0, "tasks_per_minute": 120.4, "wait_p50_seconds": 0.25, "wait_p99_seconds": 2.0,
             "error_rate": 0.125, "cpu_percent": 51.2, "memory_bytes": 104857600.0},
            {"timestamp": "2025-11-21T03:20:00.000Z", "workers": 0.0, "used_capacity": 0.0, "total_capacity": 0.0,
             "busy_agents": 0.0, "queue_depth": 0.0, "tasks_per_minute": 0.0, "wait_p50_seconds": null, "wait_p99_seconds": null,
             "error_rate": null, "cpu_percent": null, "memory_bytes": null}]);
        let expected = "\
UTC       SLOTS  BUSY  QUEUE  PER MIN  WAIT P50/P99  ERRORS  CPU   MEMORY
03:20:00    0/0     0      0        0             -       -    -        -
03:20:30  15/20     3      7      120    250ms/2.0s     12%  51%  100 MiB
";
        assert_eq!(measurements(&rows), expected);
        let ran = run("metrics p --limit 2", vec![(200, "[]")]);
        assert_eq!(ran.lines(), ["GET /api/v1/agents/pools/p/metrics?limit=2"]);
        assert!(ran.text().starts_with("p was not measured yet"), "{}", ran.text());
    }

    #[test]
    fn a_curve_has_gaps_where_nothing_was_measured() {
        let point = |value: Value| json!({"value": value});
        let values = [
            json!(0.0),
            json!(1.0),
            json!(0.0),
            Value::Null,
            Value::Null,
            Value::Null,
            json!(8.0),
            Value::Null,
            json!(4.0),
            json!(4.0),
        ];
        let points: Vec<Value> = values.map(point).to_vec();
        let line = curve("queue", &json!({"points": points}));
        assert_eq!(line, "queue    ▂ █▅  now 4, most 8\n");
        assert_eq!(curve("host cpu", &json!({"points": [point(Value::Null)]})), "");
        assert_eq!(curve("slots", &json!({"points": [point(json!(0.5))]})), "slots    █  now 50%, most 50%\n");
    }
}
