//! `muster scale`: how many workers a pool is to have.

use std::time::Duration;

use muster_domain::{PoolName, counted};
use serde_json::{Value, json};

use super::failure::CommandFailure;
use super::table::{field, pretty};
use super::{CliContext, Done};

/// Arguments of `muster scale`.
#[derive(Debug, clap::Args)]
#[command(override_usage = "muster scale <POOL> <WORKERS | --release>")]
#[command(after_help = "Examples:\n  muster scale developer_pool 5\n  muster scale developer_pool --release")]
pub(super) struct ScaleArgs {
    /// The pool
    pool: PoolName,
    /// So many workers, within its min_workers and max_workers; those above end as they become empty. It holds over restarts; a spawn
    /// that needs one more raises it
    #[arg(required_unless_present = "release", conflicts_with = "release")]
    workers: Option<u32>,
    /// Start workers as agents need them again
    #[arg(long)]
    release: bool,
}

/// Asks and shows.
pub(super) fn run(args: &ScaleArgs, context: &CliContext<'_>) -> Result<Done, CommandFailure> {
    let path = format!("/api/v1/agents/pools/{}/scale", args.pool);
    let answer = context.server()?.client.post(&path, &[], &json!({"target_workers": args.workers}), Duration::ZERO)?;
    Ok(if context.global.json { pretty(&answer) } else { words(&answer) }.into())
}

fn words(pool: &Value) -> String {
    let number = |name: &str| pool[name].as_u64();
    let (name, current) = (field(pool, "pool_name"), number("current_workers").unwrap_or_default());
    let Some(target) = number("target_workers") else {
        return format!("{name}: {}; more are started as agents need them\n", counted(current, "worker"));
    };
    let more = match field(pool, "status").as_str() {
        "scaling_up" => "; the others are being started",
        "scaling_down" => "; those above end as they become empty",
        _ => "",
    };
    format!("{name}: {current} of {}{more}\n", counted(target, "worker"))
}

#[cfg(test)]
mod tests {
    use super::super::tests::run;

    #[test]
    fn a_pool_is_scaled_and_released() {
        let scaled = r#"{"pool_name": "p", "current_workers": 2, "target_workers": 5, "status": "scaling_up"}"#;
        let ran = run("scale p 5", vec![(200, scaled)]);
        assert_eq!(ran.text(), "p: 2 of 5 workers; the others are being started\n");
        assert_eq!(ran.lines(), ["POST /api/v1/agents/pools/p/scale"]);
        let released = r#"{"pool_name": "p", "current_workers": 2, "target_workers": null, "status": "active"}"#;
        assert_eq!(
            run("scale p --release", vec![(200, released)]).text(),
            "p: 2 workers; more are started as agents need them\n"
        );
    }
}
