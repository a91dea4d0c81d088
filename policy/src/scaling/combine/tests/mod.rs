//! Decisions over whole pictures: golden ones, holds and bounds, properties.

mod bounds;
mod golden;
mod holds;
mod properties;
mod schedules;

use std::time::Duration;

use muster_domain::scaling::{HoldKind, ScalingPolicy, ScalingPreset, StepPolicy, TargetMetric, TargetPolicy};
use muster_domain::{ScalingConfig, Timestamp};

use super::super::{
    Decision, Move, Outcome, Picture, PictureHolds, PictureProgress, PictureWorkers, ScalingHistory, SlotUse,
};
use super::decide;

/// A pool of so many workers of ten slots, in which nothing happens; everything is measured.
fn picture(current: u32) -> Picture {
    Picture {
        age: Some(Duration::ZERO),
        workers: PictureWorkers { current, min: 0, max: 20, starting: 0, max_agents: 10, needed: 0 },
        queue: Some(0),
        running: Some(0),
        on_demand_max_agents: Some(0),
        slots: Some(SlotUse { all: current * 10, taken: 0, busy: 0 }),
        cpu: Some(5.0),
        memory: Some(5.0),
        host_memory: Some(0.5),
        price: None,
        holds: PictureHolds::default(),
        progress: PictureProgress::default(),
    }
}

fn queue(current: u32, queue: u32) -> Picture {
    Picture { queue: Some(queue), cpu: Some(50.0), ..picture(current) }
}

fn preset(preset: ScalingPreset) -> ScalingConfig {
    ScalingConfig { preset: Some(preset), ..ScalingConfig::default() }
}

fn with_policy(policy: ScalingPolicy) -> ScalingConfig {
    ScalingConfig { policies: vec![policy], ..ScalingConfig::default() }
}

fn target(metric: TargetMetric, target: f64) -> ScalingPolicy {
    ScalingPolicy::Target(TargetPolicy { metric, target: Some(target), ..TargetPolicy::default() })
}

fn at(text: &str) -> Timestamp {
    format!("2026-11-28T{text}Z").parse().expect(text)
}

fn noon() -> Timestamp {
    at("12:00:00")
}

fn moved(at: Timestamp, from: u32, to: u32) -> Move {
    Move { at, by: "step".to_owned(), voted: true, from, to }
}

fn after_move(at: Timestamp, from: u32, to: u32) -> ScalingHistory {
    ScalingHistory { moves: vec![moved(at, from, to)], ..ScalingHistory::default() }
}

/// What is decided at noon without any history.
fn first(config: &ScalingConfig, picture: &Picture) -> Decision {
    decide(config, picture, &ScalingHistory::default(), noon())
}

fn is(decision: &Decision, target: u32, outcome: Outcome) {
    assert_eq!((decision.target, decision.outcome), (target, outcome), "{decision:?}");
}

fn holds(decision: &Decision, kind: HoldKind) {
    assert_eq!(decision.outcome, Outcome::Hold(kind), "{decision:?}");
}

#[test]
fn a_decision_is_read_as_it_was_written() {
    let (config, picture) = (preset(ScalingPreset::Step), queue(6, 15));
    let decision = first(&config, &picture);
    let json = serde_json::to_value(&decision).expect("JSON");
    assert_eq!((&json["outcome"]["kind"], &json["target"]), (&"out".into(), &8.into()));
    assert_eq!(serde_json::from_value::<Decision>(json).expect("its own output"), decision);
    let json = serde_json::to_value(picture).expect("JSON");
    assert_eq!(serde_json::from_value::<Picture>(json).expect("its own output"), picture);
}
