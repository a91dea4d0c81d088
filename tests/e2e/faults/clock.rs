//! The clock is set while the server runs: its own picture of the clock, by libfaketime, never the host's.

use std::path::{Path, PathBuf};

use serde_json::json;

use super::row::{Mend, Row, Skip};
use super::site::{Plan, Site};
use crate::harness::host::faketime;

/// Steps, in seconds.
const STEPS: [(&str, i64); 3] = [("an hour", 3600), ("a day", 86_400), ("ten years", 10 * 365 * 86_400)];

pub(super) fn rows() -> Vec<Row> {
    let row = |name: &str, way: &str, step: i64| {
        Row::new(format!("clock: {name} {way}"), move |site| set(site, step)).prepare(faked)
    };
    let both = |(name, step): (&'static str, i64)| [row(name, "forth", step), row(name, "back", -step)];
    STEPS.into_iter().flat_map(both).collect()
}

fn moment(folder: &Path) -> PathBuf {
    folder.join("clock")
}

/// Durations are real ones; files, databases and timers are left alone.
fn faked(plan: &mut Plan) -> Result<(), Skip> {
    let library = faketime().ok_or_else(|| Skip("there is no libfaketime: apt-get install faketime".to_owned()))?;
    let file = moment(plan.folder.path());
    std::fs::write(&file, "+0").expect("a file");
    plan.set("LD_PRELOAD", library.display().to_string());
    plan.set("FAKETIME_TIMESTAMP_FILE", file.display().to_string());
    for switch in ["FAKETIME_NO_CACHE", "FAKETIME_DONT_FAKE_MONOTONIC", "DONT_FAKE_MONOTONIC", "NO_FAKE_STAT"] {
        plan.set(switch, "1");
    }
    Ok(())
}

fn set(site: &mut Site, step: i64) -> Result<Mend, Skip> {
    let write = |site: &Site, seconds: i64| {
        let new = site.plan.folder.path().join("clock.new");
        std::fs::write(&new, format!("{seconds:+}")).expect("a file");
        std::fs::rename(new, moment(site.plan.folder.path())).expect("a file");
    };
    let before = now(site);
    write(site, step);
    let seen = now(site).duration_since(before).as_secs() - step;
    assert!((0..60).contains(&seen), "the server sees another clock, {seen} s from what was set");
    Ok(Box::new(move |site| write(site, 0)))
}

/// What the server takes for now.
fn now(site: &Site) -> jiff::Timestamp {
    let task = site.muster.post("/api/v1/tasks", &json!({"pool_name": "p", "input": 1}));
    task.text("created_at").parse().unwrap_or_else(|error| panic!("no moment ({error}): {task:?}"))
}
