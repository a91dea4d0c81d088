//! `muster simulate`: how a pool's policies would do, without starting anything. The binary does it; here are its arguments.

use std::path::PathBuf;

use muster_domain::PoolName;

use super::failure::CommandFailure;
use super::table::pretty;
use super::{CliContext, Done};

/// Arguments of `muster simulate`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Without --trace, --load and --preset it is --load wave. docs/simulator.md says what is simulated and what is not.

Examples:
  muster simulate --load spike --peer
  muster simulate --config muster.toml --trace day.csv --against other.toml --html day.html
  muster simulate --preset plan-2000"
)]
pub(super) struct SimulateArgs {
    /// Tasks as they were recorded: CSV with the head at,run_seconds,count (`muster trace export` writes one)
    #[arg(long, value_name = "FILE", conflicts_with_all = ["load", "preset"])]
    trace: Option<PathBuf>,
    /// Tasks that are made up
    #[arg(long, value_name = "SHAPE", value_parser = SHAPES, conflicts_with = "preset")]
    load: Option<String>,
    /// A week of 10,000 concurrent runs, or a published plan of capacity, checked against what it claims
    #[arg(long, value_name = "NAME", value_parser = PRESETS)]
    preset: Option<String>,
    /// Another configuration to show beside; may be said several times
    #[arg(long, value_name = "FILE")]
    against: Vec<PathBuf>,
    /// Show backlog-only scaling beside, as KEDA does it by default
    #[arg(long)]
    peer: bool,
    /// The pool of the configuration [default: the first that has scaling]
    #[arg(long, value_name = "POOL")]
    pool: Option<PoolName>,
    /// With --load: tasks that run at a time at the ordinary level
    #[arg(long, value_name = "TASKS", default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    concurrency: u32,
    /// With --load: seconds that a task runs in the mean
    #[arg(long, value_name = "SECONDS", default_value_t = 600, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    run: u32,
    /// With --load: for how many hours tasks come
    #[arg(long, value_name = "HOURS", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=8_760))]
    hours: u32,
    /// What chance begins with
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    seed: u64,
    /// Write a page with charts here, too
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
}

/// The loads that are made up. The simulator is not seen here, so who sees both compares them.
pub const SHAPES: [&str; 4] = ["constant", "steps", "wave", "spike"];

/// The presets, likewise.
pub const PRESETS: [&str; 4] = ["week-10000", "plan-2000", "plan-5000", "plan-10000"];

/// What there is to do in a simulation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SimulatedLoad {
    /// Tasks as this file has them.
    Trace(PathBuf),
    /// A preset of this name.
    Preset(String),
    /// Tasks that are made up.
    Shape {
        /// How much comes when.
        shape: String,
        /// Tasks that run at a time at the ordinary level.
        concurrency: u32,
        /// How long one runs in the mean, in seconds.
        run: u32,
        /// For how many hours they come.
        hours: u32,
    },
}

/// A simulation that is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SimulationRequest {
    /// What there is to do.
    pub load: SimulatedLoad,
    /// Other configurations.
    pub against: Vec<PathBuf>,
    /// Whether the peer is to stand beside.
    pub peer: bool,
    /// The pool.
    pub pool: Option<PoolName>,
    /// What chance begins with.
    pub seed: u64,
    /// Where a page goes.
    pub html: Option<PathBuf>,
}

/// What came of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Simulated {
    /// For people.
    pub text: String,
    /// For programs.
    pub json: serde_json::Value,
}

impl SimulateArgs {
    fn request(self) -> SimulationRequest {
        let load = match (self.trace, self.preset) {
            (Some(path), _) => SimulatedLoad::Trace(path),
            (None, Some(preset)) => SimulatedLoad::Preset(preset),
            (None, None) => SimulatedLoad::Shape {
                shape: self.load.unwrap_or_else(|| "wave".to_owned()),
                concurrency: self.concurrency,
                run: self.run,
                hours: self.hours,
            },
        };
        let Self { against, peer, pool, seed, html, .. } = self;
        SimulationRequest { load, against, peer, pool, seed, html }
    }
}

/// Has it simulated, and shows what came of it.
pub(super) fn run(args: SimulateArgs, context: &CliContext<'_>) -> Result<Done, CommandFailure> {
    let simulated = context.roles.simulate(&context.given(), &args.request())?;
    Ok(if context.global.json { pretty(&simulated.json) } else { simulated.text }.into())
}

#[cfg(test)]
mod tests {
    use super::super::tests::run;

    #[test]
    fn what_is_asked_reaches_the_binary() {
        let asked = |words: &str| run(words, Vec::new()).text().to_owned();
        let told = asked("simulate");
        assert!(told.contains(r#"Shape { shape: "wave", concurrency: 100, run: 600, hours: 24 }"#), "{told}");
        let told =
            asked("simulate --trace day.csv --against a.toml --against b.toml --peer --pool p --seed 7 --html x");
        for words in
            [r#"Trace("day.csv")"#, r#"["a.toml", "b.toml"]"#, "peer: true", r#"Some("p")"#, "seed: 7", r#"Some("x")"#]
        {
            assert!(told.contains(words), "{words}: {told}");
        }
        assert!(asked("simulate --preset plan-2000").contains(r#"Preset("plan-2000")"#));
        assert_eq!(asked("simulate --json"), "{\n  \"simulated\": true\n}\n");
    }
}
