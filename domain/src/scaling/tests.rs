use serde_json::json;

use super::*;
use crate::schema::{Described, ValueKind, components};
use crate::{Tables, Words, plain};

fn read(json: serde_json::Value) -> Result<ScalingConfig, String> {
    serde_path_to_error::deserialize(Tables(json))
        .map_err(|error| format!("{}: {}", error.path(), plain(&error.inner().to_string())))
}

fn with_policy(policy: serde_json::Value) -> Result<ScalingConfig, String> {
    read(json!({"policies": [policy]}))
}

/// What is wrong with it, whoever finds it.
fn wrong(policy: serde_json::Value) -> String {
    match with_policy(policy.clone()).and_then(|config| config.validate()) {
        Err(words) => words,
        Ok(()) => panic!("{policy} has a mistake"),
    }
}

#[test]
fn nothing_has_to_be_said() {
    let config = read(json!({})).expect("defaults");
    assert_eq!(config, ScalingConfig::default());
    assert_eq!((config.mode, config.check_interval.as_secs(), config.max_change), (ScalingMode::Off, 60, 0));
    assert_eq!(
        (config.windows(), config.all_policies(), config.validate()),
        (Stabilization::default(), vec![], Ok(()))
    );
    assert_eq!(config.person_hold(), PERSON_HOLD);
    let keys: Vec<&str> = ScalingConfig::settings().iter().map(|setting| setting.key.as_str()).collect();
    let expected = [
        "mode",
        "check_interval",
        "stabilization.out",
        "stabilization.in",
        "max_change",
        "max_cost_per_hour",
        "preset",
        "policies",
    ];
    assert_eq!(keys, expected);
}

#[test]
fn the_schemas_of_all_policies_are_part_of_the_document() {
    let names: Vec<String> = components::<ScalingConfig>().into_iter().map(|(name, _)| name).collect();
    for name in ["ScalingConfig", "ScalingPolicy", "StepPolicy", "QueueStep", "Amount", "SchedulePolicy", "Season"] {
        assert!(names.iter().any(|known| known == name), "{name}: {names:?}");
    }
    let preset = ScalingConfig::settings().iter().find(|setting| setting.key == "preset").expect("a setting");
    assert_eq!(preset.kind, ValueKind::Choice(ScalingPreset::words().into_iter().map(str::to_owned).collect()));
    assert!(preset.nullable);
}

#[test]
fn a_config_is_written_as_it_is_read() {
    let policies = json!([
        {"kind": "step", "queue_above": 10, "out": "20%", "queue_below": 2, "in": 1, "thresholds": [{"queue_above": 100, "out": 10}]},
        {"kind": "target", "metric": "cpu", "out_above": 70, "in_below": 30},
        {"kind": "proactive", "used_above": 0.8, "spare_workers": 1},
        {"kind": "schedule", "cron": "cron(0 13 ? * MON-FRI *)", "timezone": "America/Los_Angeles", "min_workers": 50},
        {"kind": "predictive", "seasons": ["day", "week"]},
    ]);
    let config = read(json!({"mode": "on", "stabilization": {"in": 300}, "policies": policies})).expect("a config");
    assert_eq!(config.validate(), Ok(()));
    let written = serde_json::to_value(&config).expect("JSON");
    assert_eq!(read(written), Ok(config.clone()));
    let labels: Vec<String> = config.policies.iter().map(ScalingPolicy::label).collect();
    let expected = ["step", "target cpu", "proactive", "schedule cron(0 13 ? * MON-FRI *)", "predictive"];
    assert_eq!(labels, expected);
    let queue: Vec<bool> = config.policies.iter().map(ScalingPolicy::uses_queue).collect();
    assert_eq!(queue, [true, false, false, false, false]);
    assert_eq!((config.windows().scale_in.as_secs(), config.person_hold().as_secs()), (300, 300));
}

#[test]
fn a_mistake_is_named_with_its_key() {
    let rows = [
        (json!({"kind": "step"}), "scaling.policies[0].queue_above is missing"),
        (json!({"kind": "step", "cpu_above": 101}), "scaling.policies[0].cpu_above must be 0 to 100, not 101"),
        (json!({"kind": "step", "queue_above": 1, "in": "20%"}), "scaling.policies[0].in needs at least one of"),
        (json!({"kind": "step", "queue_above": 1, "queue_below": 2}), "scaling.policies[0].queue_below (2) is above"),
        (json!({"kind": "step", "queue_above": 1, "out": "0%"}), "policies[0]: a percentage as in"),
        (json!({"kind": "step", "queue_abov": 1}), "policies[0]: there is no field queue_abov"),
        (json!({"kind": "target", "target": 0}), "scaling.policies[0].target must be above 0, not 0"),
        (json!({"kind": "target", "in_below": 3}), "scaling.policies[0].in_below is for the metric cpu"),
        (json!({"kind": "target", "metric": "cpu", "in_below": 80}), "scaling.policies[0].in_below (80) is not below"),
        (
            json!({"kind": "target", "metric": "cpu", "target": 5, "in_below": 3}),
            "scaling.policies[0].in_below and target exclude each other",
        ),
        (
            json!({"kind": "target", "metric": "utilization", "target": 200}),
            "scaling.policies[0].target must be at most",
        ),
        (json!({"kind": "proactive", "used_above": 0}), "scaling.policies[0].used_above must be"),
        (
            json!({"kind": "schedule", "cron": "* * *", "min_workers": 1}),
            "policies[0]: cron \"* * *\" is no schedule: it has",
        ),
        (
            json!({"kind": "schedule", "cron": "* * * * *", "timezone": "Moon", "min_workers": 1}),
            "policies[0]: timezone \"Moon\" is not known",
        ),
        (json!({"kind": "schedule", "cron": "* * * * *"}), "policies[0]: min_workers is missing"),
        (json!({"kind": "predictive", "seasons": []}), "scaling.policies[0].seasons is empty"),
        (json!({"kind": "predictive", "seasons": ["day", "day"]}), "scaling.policies[0].seasons has day twice"),
        (json!({"kind": "magic"}), "policies[0].kind: \"magic\" is not known; it is one of: step, target"),
    ];
    for (policy, words) in rows {
        let told = wrong(policy);
        assert!(told.starts_with(words), "{told}");
    }
    let short = ScalingConfig { check_interval: Duration::ZERO, ..ScalingConfig::default() };
    assert_eq!(short.validate(), Err("scaling.check_interval must be at least 0.1 s, not 0 s".to_owned()));
}

#[test]
fn what_contradicts_the_pool_is_named() {
    let on_demand = OnDemand::default();
    let schedule = json!({"kind": "schedule", "cron": "0 13 * * *", "min_workers": 50});
    let config = with_policy(schedule).expect("a schedule");
    assert_eq!(config.check_within(50, None), Ok(()));
    assert_eq!(config.check_within(0, None), Ok(()), "0 is no bound");
    let told = config.check_within(20, Some(&on_demand));
    assert_eq!(told, Err("scaling.policies[0].min_workers (50) is above max_workers (20)".to_owned()));
    for (queue, policy) in [
        (true, json!({"kind": "step", "queue_above": 10})),
        (true, json!({"kind": "step", "thresholds": [{"queue_above": 10, "out": 1}]})),
        (true, json!({"kind": "target"})),
        (false, json!({"kind": "step", "cpu_above": 80})),
        (false, json!({"kind": "target", "metric": "utilization"})),
    ] {
        let config = with_policy(policy).expect("a policy");
        assert_eq!(config.check_within(0, Some(&on_demand)), Ok(()));
        assert_eq!(config.check_within(0, None).is_err(), queue, "{config:?}");
    }
    for (preset, queue) in [("step", true), ("ecs", true), ("hpa", false), ("target", true)] {
        let config = read(json!({ "preset": preset })).expect(preset);
        assert_eq!(config.check_within(0, None).is_err(), queue, "{preset}");
    }
}

#[test]
fn presets_are_policies_that_one_could_write() {
    for preset in ScalingPreset::all() {
        let config = ScalingConfig { policies: preset.policies(), ..ScalingConfig::default() };
        assert_eq!(config.validate(), Ok(()), "{preset:?}");
    }
    let hpa = ScalingConfig { preset: Some(ScalingPreset::Hpa), ..ScalingConfig::default() };
    assert_eq!((hpa.windows().scale_in.as_secs(), hpa.person_hold()), (300, PERSON_HOLD));
    let own = PredictivePolicy::default();
    let both = ScalingConfig { policies: vec![ScalingPolicy::Predictive(own)], ..hpa };
    assert_eq!(both.all_policies().len(), 2, "those of the pool come on top");
}

#[test]
fn the_highest_threshold_that_is_exceeded_counts() {
    let step = |queue_above, workers| QueueStep { queue_above, out: Amount::Workers(workers) };
    let policy =
        StepPolicy { thresholds: vec![step(500, 50), step(100, 10), step(1_000, 100)], ..StepPolicy::default() };
    let out = |queue| policy.threshold(queue).map(|step| step.out.added_to(0));
    assert_eq!([100, 101, 500, 501, 1_001].map(out), [None, Some(10), Some(10), Some(50), Some(100)]);
}

#[test]
fn what_a_policy_aims_at_has_a_default_by_its_figure() {
    let aim = |metric| TargetPolicy { metric, ..TargetPolicy::default() }.aim();
    assert_eq!(aim(TargetMetric::QueuePerWorker), Aim::At(10.0));
    assert_eq!(aim(TargetMetric::Utilization), Aim::At(70.0));
    assert_eq!(aim(TargetMetric::Cpu), Aim::Between { in_below: 30.0, out_above: 70.0 });
}
