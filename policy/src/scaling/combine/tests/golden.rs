use super::*;

#[test]
fn a_step_is_a_fifth_of_the_workers() {
    let config = preset(ScalingPreset::Step);
    let idle = picture(8);
    for (seen, target, outcome, reason) in [
        (queue(6, 15), 8, Outcome::Out, "from 6 to 8 workers (80 slots): step: queue 15 is above 10: 20% more"),
        (queue(3, 11), 4, Outcome::Out, "from 3 to 4 workers (40 slots): step: queue 11 is above 10: 20% more"),
        (
            idle,
            6,
            Outcome::In,
            "from 8 to 6 workers (60 slots): step: queue 0 is below 2 and cpu 5% is below 20%: 20% fewer",
        ),
        (
            Picture { cpu: Some(81.0), ..idle },
            10,
            Outcome::Out,
            "from 8 to 10 workers (100 slots): step: cpu 81% is above 80%: 20% more",
        ),
        (
            queue(8, 0),
            8,
            Outcome::Hold(HoldKind::NothingToChange),
            "stays at 8 workers (80 slots): step: queue 0 is below 2 and cpu 50%: no step",
        ),
    ] {
        let decision = first(&config, &seen);
        is(&decision, target, outcome);
        assert_eq!(decision.reason, reason);
    }
}

#[test]
fn a_cooldown_is_kept_to_the_second() {
    let config = preset(ScalingPreset::Step);
    let history = after_move(at("21:50:00"), 6, 8);
    for (time, held) in [("21:50:05", true), ("21:54:59", true), ("21:55:00", false), ("21:55:05", false)] {
        let decision = decide(&config, &picture(8), &history, at(time));
        match held {
            true => is(&decision, 8, Outcome::Hold(HoldKind::Cooldown)),
            false => is(&decision, 6, Outcome::In),
        }
        assert_eq!(decision.recommended, 6);
        let more = decide(&config, &queue(8, 15), &history, at(time));
        assert_eq!(more.outcome.hold().is_some(), held, "both ways");
    }
    let told = decide(&config, &picture(8), &history, at("21:50:05")).reason;
    assert!(told.ends_with("cpu 5% is below 20%: 20% fewer, but it cools down for 295 s more"), "{told}");
    let free = decide(&config, &queue(8, 5), &history, at("21:55:00"));
    is(&free, 8, Outcome::Hold(HoldKind::NothingToChange));
}

#[test]
fn a_clock_that_is_put_back_holds_nothing() {
    let ahead = after_move(at("21:50:00"), 6, 8);
    is(&decide(&preset(ScalingPreset::Step), &picture(8), &ahead, at("09:00:00")), 6, Outcome::In);
}

#[test]
fn each_direction_of_a_target_cools_down_by_itself() {
    let config = preset(ScalingPreset::Target);
    let history = after_move(at("21:50:00"), 6, 8);
    for (time, out, scale_in) in [("21:50:29", 8, 8), ("21:50:30", 16, 8), ("21:54:59", 16, 8), ("21:55:00", 16, 4)] {
        assert_eq!(decide(&config, &queue(8, 160), &history, at(time)).target, out, "{time}");
        assert_eq!(decide(&config, &queue(8, 40), &history, at(time)).target, scale_in, "{time}");
    }
}

#[test]
fn longer_queues_take_larger_steps() {
    let thresholds = serde_json::json!([
        {"queue_above": 100, "out": 10}, {"queue_above": 500, "out": 50}, {"queue_above": 1000, "out": 100},
    ]);
    let thresholds = serde_json::from_value(thresholds).expect("steps");
    let config = with_policy(ScalingPolicy::Step(StepPolicy { thresholds, ..StepPolicy::default() }));
    for (tasks, target) in [(100, 5), (101, 15), (500, 15), (501, 55), (1_001, 105)] {
        let mut seen = queue(5, tasks);
        seen.workers.max = 0;
        assert_eq!(first(&config, &seen).target, target, "{tasks}");
    }
}

#[test]
fn a_target_is_met_in_proportion_and_missed_by_a_tenth_at_most() {
    let rows = [
        (TargetMetric::QueuePerWorker, 10.0, queue(4, 80), 8),
        (TargetMetric::QueuePerWorker, 10.0, queue(4, 44), 4),
        (TargetMetric::QueuePerWorker, 10.0, queue(4, 45), 5),
        (TargetMetric::QueuePerWorker, 10.0, queue(4, 36), 4),
        (TargetMetric::QueuePerWorker, 10.0, queue(4, 0), 0),
        (TargetMetric::QueuePerWorker, 10.0, queue(0, 25), 3),
        (
            TargetMetric::Utilization,
            70.0,
            Picture { slots: Some(SlotUse { all: 40, taken: 40, busy: 40 }), ..picture(4) },
            6,
        ),
        (
            TargetMetric::Utilization,
            70.0,
            Picture { slots: Some(SlotUse { all: 40, taken: 40, busy: 7 }), ..picture(4) },
            1,
        ),
        (TargetMetric::Cpu, 80.0, Picture { cpu: Some(100.0), ..picture(4) }, 5),
        (TargetMetric::Cpu, 80.0, Picture { cpu: Some(75.0), ..picture(4) }, 4),
        (TargetMetric::Cpu, 80.0, Picture { cpu: Some(20.0), ..picture(4) }, 1),
    ];
    for (metric, aim, seen, expected) in rows {
        let decision = first(&with_policy(target(metric, aim)), &seen);
        assert_eq!(decision.target, expected, "{decision:?}");
    }
    let near = first(&preset(ScalingPreset::Target), &queue(4, 44));
    is(&near, 4, Outcome::Hold(HoldKind::WithinTolerance));
    assert_eq!(
        near.reason,
        "stays at 4 workers (40 slots): target queue_per_worker: queue_per_worker is 11.0, and the target is 10"
    );
}

#[test]
fn cpu_without_a_target_is_kept_in_its_band() {
    let policy = TargetPolicy { metric: TargetMetric::Cpu, ..TargetPolicy::default() };
    let config = with_policy(ScalingPolicy::Target(policy));
    for (cpu, target) in [(70.0, 4), (71.0, 5), (100.0, 6), (30.0, 4), (29.0, 4), (15.0, 2), (0.0, 0)] {
        assert_eq!(first(&config, &Picture { cpu: Some(cpu), ..picture(4) }).target, target, "{cpu}");
    }
}

#[test]
fn memory_is_a_signal_like_processors() {
    let config = preset(ScalingPreset::Ecs);
    let seen = Picture { memory: Some(91.0), cpu: Some(50.0), ..picture(5) };
    is(&first(&config, &seen), 6, Outcome::Out);
    is(&first(&config, &Picture { memory: None, ..picture(5) }), 5, Outcome::Hold(HoldKind::MissingMetric));
}
