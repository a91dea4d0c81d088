//! `muster why`: why a pool has as many workers as it has.

use muster_domain::{PoolName, counted};
use serde_json::Value;

use super::failure::CommandFailure;
use super::table::{field, pretty};
use super::{CliContext, Done};

/// The figures that `--if` may change.
const FIGURES: [&str; 6] = ["queue", "running", "cpu", "memory", "busy", "workers"];

/// Arguments of `muster why`.
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  muster why developer_pool\n  muster why developer_pool --if queue=15,cpu=85")]
pub(super) struct WhyArgs {
    /// The pool
    pool: PoolName,
    /// Tell what its policies would decide if these figures were so: queue, running, cpu, memory, busy, workers. Nothing follows from it
    #[arg(long = "if", value_name = "FIGURE=NUMBER,...", value_delimiter = ',', value_parser = figure)]
    figures: Vec<(String, f64)>,
    /// Decisions that are shown, 1 to 1000
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    limit: u32,
}

fn figure(text: &str) -> Result<(String, f64), String> {
    let (name, number) = text
        .split_once('=')
        .ok_or_else(|| format!("a figure and its number are expected, as in queue=15, not {text:?}"))?;
    if !FIGURES.contains(&name) {
        return Err(format!("the figures are {}, not {name:?}", FIGURES.join(", ")));
    }
    let number: f64 = number.parse().map_err(|_| format!("{name} is a number, not {number:?}"))?;
    let is_whole = matches!(name, "cpu" | "memory") || number.fract() == 0.0;
    if number >= 0.0 && is_whole {
        Ok((name.to_owned(), number))
    } else {
        Err(format!("{name} is a number from 0, not {number}"))
    }
}

/// Asks and shows.
pub(super) fn run(args: &WhyArgs, context: &CliContext<'_>) -> Result<Done, CommandFailure> {
    let client = context.server()?.client;
    let base = format!("/api/v1/agents/pools/{}/scaling", args.pool);
    let pairs: Vec<(&str, String)> =
        args.figures.iter().map(|(name, number)| (name.as_str(), number.to_string())).collect();
    let would = client.get(&format!("{base}/what-if"), &pairs)?;
    if !pairs.is_empty() {
        return Ok(if context.global.json { pretty(&would) } else { would_words(&would, true) }.into());
    }
    let scaling = client.get(&base, &[("limit", args.limit.to_string())])?;
    if context.global.json {
        return Ok(pretty(&scaling).into());
    }
    Ok(format!("{}{}{}", state_words(&scaling), would_words(&would, false), decision_words(&scaling)).into())
}

fn state_words(scaling: &Value) -> String {
    let number = |name: &str| scaling[name].as_u64();
    let current = counted(number("current_workers").unwrap_or_default(), "worker");
    let target = number("target_workers").map_or_else(
        || "nobody says how many there are to be".to_owned(),
        |target| format!("{target} are to be there (target_workers)"),
    );
    let mode = match field(scaling, "mode").as_str() {
        "on" => "its policies act",
        "advise" => "its policies only advise",
        _ => "no policies act (scaling.mode is off, or no autoscaler runs)",
    };
    let held = scaling["held"].as_str().map(|held| format!("; held: {held}")).unwrap_or_default();
    format!("{}: {current}, {target}; {}{held}; {mode}\n", field(scaling, "pool_name"), field(scaling, "status"))
}

fn would_words(would: &Value, is_asked: bool) -> String {
    let head = if is_asked { "then" } else { "now" };
    let mut text = format!("{head}: {}\n", field(would, "reason"));
    for vote in would["votes"].as_array().into_iter().flatten() {
        let workers =
            vote["workers"].as_u64().map_or_else(|| "no opinion".to_owned(), |workers| counted(workers, "worker"));
        text.push_str(&format!("  {}: {workers} ({})\n", field(vote, "policy"), field(vote, "reason")));
    }
    text
}

fn decision_words(scaling: &Value) -> String {
    let decisions = scaling["decisions"].as_array().map(Vec::as_slice).unwrap_or_default();
    if decisions.is_empty() {
        return "nothing was decided yet\n".to_owned();
    }
    let mut text = "decided before, the latest first:\n".to_owned();
    for decision in decisions {
        let advised = if decision["advised"] == true { ", advice" } else { "" };
        let came = match (decision["state"].as_str(), decision["result"].as_str()) {
            (Some("noted") | None, _) => String::new(),
            (Some(state), Some(result)) => format!("; {state}: {result}"),
            (Some(state), None) => format!("; {state}"),
        };
        let (at, actor, reason) = (field(decision, "at"), field(decision, "actor"), field(decision, "reason"));
        text.push_str(&format!("  {at} {actor}{advised}: {reason}{came}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::tests::run;

    const WOULD: &str = r#"{"reason": "from 6 to 8 workers (80 slots): step: the queue is 15",
        "votes": [{"policy": "step", "workers": 8, "reason": "the queue is 15"}, {"policy": "schedule", "workers": null, "reason": "it is over"}]}"#;

    #[test]
    fn what_would_be_is_told_with_each_vote() {
        let ran = run("why p --if queue=15,cpu=85.5", vec![(200, WOULD)]);
        assert_eq!(
            ran.text(),
            "then: from 6 to 8 workers (80 slots): step: the queue is 15\n  step: 8 workers (the queue is 15)\n  \
             schedule: no opinion (it is over)\n"
        );
        assert_eq!(ran.lines(), ["GET /api/v1/agents/pools/p/scaling/what-if?queue=15&cpu=85.5"]);
    }

    #[test]
    fn why_is_told_in_words() {
        let scaling = r#"{"pool_name": "p", "mode": "on", "status": "held", "held": "cost", "current_workers": 1, "target_workers": 1,
            "decisions": [{"at": "2026-01-01T00:00:00.000Z", "actor": "policies", "advised": false, "reason": "from 0 to 1 worker",
            "state": "done", "result": "1 worker is ready"}]}"#;
        let ran = run("why p", vec![(200, WOULD), (200, scaling)]);
        let text = ran.text();
        assert!(
            text.starts_with(
                "p: 1 worker, 1 are to be there (target_workers); held; held: cost; its policies act\nnow: "
            ),
            "{text}"
        );
        assert!(
            text.ends_with("  2026-01-01T00:00:00.000Z policies: from 0 to 1 worker; done: 1 worker is ready\n"),
            "{text}"
        );
        assert_eq!(ran.lines()[1], "GET /api/v1/agents/pools/p/scaling?limit=5");
    }

    #[test]
    fn a_figure_that_is_none_is_wrong_usage() {
        for wrong in ["queue", "queues=1", "queue=x", "queue=1.5", "cpu=-1"] {
            assert!(super::figure(wrong).is_err(), "{wrong}");
        }
    }
}
