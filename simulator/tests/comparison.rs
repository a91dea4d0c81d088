//! Muster beside a backlog-only peer, on three loads of fixed seeds: what is promised of it, and the figures of
//! docs/scaling-comparison.md. `make docs` writes them.

use std::path::Path;
use std::time::Duration;

use muster_domain::scaling::ScalingPreset;
use muster_domain::{ScalingConfig, Words};
use muster_simulator::presets::{COMPARED, COMPARED_SEED, compared_setup, lean};
use muster_simulator::report::SimulationReport;
use muster_simulator::{KedaScaler, MusterScaler, TaskLoad, simulate};

const MINUTE: Duration = Duration::from_secs(60);

fn peer(load: &TaskLoad) -> SimulationReport {
    simulate(&compared_setup(), load, &mut KedaScaler::default())
}

fn muster(name: &str, config: ScalingConfig, load: &TaskLoad) -> SimulationReport {
    simulate(&compared_setup(), load, &mut MusterScaler::new(name, config))
}

fn loads(minutes: u32, phases: u8) -> [TaskLoad; 3] {
    COMPARED.map(|compared| compared.load(minutes * MINUTE, phases, COMPARED_SEED))
}

#[test]
fn half_the_wait_at_no_more_cost_and_no_run_killed() {
    for seed in [COMPARED_SEED, COMPARED_SEED + 1, COMPARED_SEED + 2] {
        for compared in COMPARED {
            let load = compared.load(2 * MINUTE, 4, seed);
            let (peer, muster) = (peer(&load), muster("lean", lean(), &load));
            let told = format!("{}: {:?} {:?}", load.name, muster.wait, peer.wait);
            assert_eq!((muster.tasks.killed_runs, muster.tasks.waiting + muster.tasks.running), (0, 0), "{told}");
            assert!(muster.wait.p95_seconds <= peer.wait.p95_seconds / 2.0, "{told}");
            assert!(muster.cost <= peer.cost, "{told}: {} {}", muster.cost, peer.cost);
            assert!(peer.tasks.killed_runs > 1_000, "the peer kills: {told}");
        }
    }
}

#[test]
fn longer_runs_cost_more_where_none_is_killed() {
    for load in loads(10, 4) {
        let (peer, muster) = (peer(&load), muster("lean", lean(), &load));
        assert_eq!(muster.tasks.killed_runs, 0);
        assert!(muster.wait.p95_seconds <= peer.wait.p95_seconds / 2.0, "{}", load.name);
        assert!(muster.cost <= 1.1 * peer.cost, "{}: {} {}", load.name, muster.cost, peer.cost);
    }
}

#[test]
fn every_preset_spares_what_runs() {
    for preset in ScalingPreset::all() {
        let config = ScalingConfig { preset: Some(preset), ..ScalingConfig::default() };
        for load in loads(2, 4) {
            assert_eq!(muster(preset.as_str(), config.clone(), &load).tasks.killed_runs, 0, "{preset:?}");
        }
    }
}

fn row(report: &SimulationReport, peer: &SimulationReport) -> String {
    format!(
        "| {} | {} | {:.0} s | {:.0} s | {:.0} s | {} | ${:.0} | {:.2} | {:.3} |\n",
        report.load.name,
        report.name,
        report.wait.p50_seconds,
        report.wait.p95_seconds,
        report.wait.p99_seconds,
        report.tasks.killed_runs,
        report.cost,
        report.wait.p95_seconds / peer.wait.p95_seconds,
        report.cost / peer.cost,
    )
}

fn table(minutes: u32, phases: u8) -> String {
    let mut text = "| load | scaled by | wait, median | wait, 95% | wait, 99% | killed runs | cost | 95% beside the peer's | cost beside the peer's |\n\
                    |---|---|---|---|---|---|---|---|---|\n"
        .to_owned();
    for load in loads(minutes, phases) {
        let peer = peer(&load);
        text.push_str(&row(&peer, &peer));
        text.push_str(&row(&muster("Muster, lean", lean(), &load), &peer));
        for preset in [ScalingPreset::Target, ScalingPreset::Step] {
            let config = ScalingConfig { preset: Some(preset), ..ScalingConfig::default() };
            text.push_str(&row(&muster(&format!("Muster, preset {}", preset.as_str()), config, &load), &peer));
        }
    }
    text
}

#[test]
fn the_page_has_these_figures() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/scaling-comparison.md");
    let written = std::fs::read_to_string(&path).expect("the page");
    let mut page = written.clone();
    for (name, minutes, phases) in [("two", 2, 4), ("ten", 10, 4), ("wild", 2, 1)] {
        let [begins, ends] = [format!("<!-- {name} -->\n"), format!("<!-- end of {name} -->")];
        let from = page.find(&begins).expect("the table's beginning") + begins.len();
        let to = page.find(&ends).expect("the table's end");
        page.replace_range(from..to, &table(minutes, phases));
    }
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, page).expect("the page is written");
    } else {
        assert!(page == written, "`make docs` writes docs/scaling-comparison.md");
    }
}
