use super::*;

#[test]
fn what_holds_a_pool_is_told_and_nothing_changes() {
    let config = preset(ScalingPreset::Step);
    let held = |holds| Picture { holds, ..queue(6, 15) };
    let rows = [
        (held(PictureHolds { paused: true, ..PictureHolds::default() }), HoldKind::Paused, "the pool is paused"),
        (held(PictureHolds { breaker: true, ..PictureHolds::default() }), HoldKind::Breaker, "tasks wait since"),
        (
            held(PictureHolds { draining: true, ..PictureHolds::default() }),
            HoldKind::Draining,
            "the pool is being removed",
        ),
        (Picture { age: None, ..queue(6, 15) }, HoldKind::NoPicture, "nothing could be measured"),
        (
            Picture { age: Some(Duration::from_secs(121)), ..queue(6, 15) },
            HoldKind::NoPicture,
            "the latest figures are 121 s old, more than two checks",
        ),
        (
            Picture { progress: PictureProgress { unfinished: true, drains: 0 }, ..queue(6, 15) },
            HoldKind::NotCarriedOut,
            "the last decision is being carried out: 0 starting, 0 leaving",
        ),
        (Picture { host_memory: Some(0.09), ..queue(6, 15) }, HoldKind::HostMemory, "only 9% of the host's memory"),
    ];
    for (seen, kind, words) in rows {
        for seen in [seen, Picture { queue: Some(0), cpu: Some(0.0), ..seen }] {
            let decision = first(&config, &seen);
            if kind == HoldKind::HostMemory && seen.queue == Some(0) {
                is(&decision, 4, Outcome::In);
                continue;
            }
            is(&decision, 6, Outcome::Hold(kind));
            assert!(decision.reason.starts_with(&format!("stays at 6 workers (60 slots): {words}")), "{decision:?}");
        }
    }
    let fresh = Picture { age: Some(Duration::from_secs(120)), ..queue(6, 15) };
    is(&first(&config, &fresh), 8, Outcome::Out);
}

#[test]
fn a_persons_decision_holds_the_policies_until_its_time_is_over() {
    let config = preset(ScalingPreset::Step);
    let history = ScalingHistory { person_until: Some(at("12:05:00")), ..ScalingHistory::default() };
    let decision = decide(&config, &queue(6, 15), &history, at("12:04:59"));
    is(&decision, 6, Outcome::Hold(HoldKind::Person));
    assert!(decision.reason.contains("policies wait until 2026-11-28T12:05:00.000Z (step: queue 15"), "{decision:?}");
    is(&decide(&config, &queue(6, 15), &history, at("12:05:00")), 8, Outcome::Out);
}

#[test]
fn a_figure_that_is_missing_never_takes_a_worker() {
    let config = preset(ScalingPreset::Step);
    for seen in [Picture { cpu: None, ..picture(8) }, Picture { queue: None, ..picture(8) }] {
        let decision = first(&config, &seen);
        is(&decision, 8, Outcome::Hold(HoldKind::MissingMetric));
    }
    let out = Picture { cpu: None, ..queue(6, 15) };
    is(&first(&config, &out), 8, Outcome::Out);
    for metric in [TargetMetric::QueuePerWorker, TargetMetric::Utilization, TargetMetric::Cpu] {
        let seen = Picture { queue: None, slots: None, cpu: None, ..picture(8) };
        holds(&first(&with_policy(target(metric, 10.0)), &seen), HoldKind::MissingMetric);
    }
    let starting = Picture { slots: Some(SlotUse::default()), ..picture(8) };
    holds(&first(&with_policy(target(TargetMetric::Utilization, 70.0)), &starting), HoldKind::MissingMetric);
    let mut both = preset(ScalingPreset::Step);
    both.policies = vec![target(TargetMetric::Utilization, 70.0)];
    is(&first(&both, &Picture { slots: None, ..picture(8) }), 8, Outcome::Hold(HoldKind::MissingMetric));
}

#[test]
fn out_takes_back_what_is_leaving_while_the_last_decision_is_carried_out() {
    let config = preset(ScalingPreset::Target);
    let progress = PictureProgress { unfinished: true, drains: 2 };
    let decision = first(&config, &Picture { progress, ..queue(6, 120) });
    is(&decision, 8, Outcome::Out);
    assert_eq!((decision.take_back, decision.limit), (2, Some(HoldKind::NotCarriedOut)));
    assert!(decision.reason.ends_with("; 2 workers that were leaving are taken back"), "{decision:?}");
    let one = first(&config, &Picture { progress, ..queue(6, 70) });
    is(&one, 7, Outcome::Out);
    assert_eq!((one.take_back, one.limit), (1, None));
    let fewer = first(&config, &Picture { progress, ..queue(6, 0) });
    is(&fewer, 6, Outcome::Hold(HoldKind::NotCarriedOut));
    let done = PictureProgress { unfinished: false, drains: 2 };
    let further = first(&config, &Picture { progress: done, ..queue(6, 120) });
    assert_eq!((further.target, further.take_back), (12, 2), "the rest is started");
}

#[test]
fn policies_without_an_opinion_leave_it_to_the_others() {
    let only_out = ScalingPolicy::Step(StepPolicy { queue_above: Some(10), ..StepPolicy::default() });
    let alone = first(&with_policy(only_out.clone()), &picture(8));
    is(&alone, 8, Outcome::Hold(HoldKind::NothingToChange));
    assert_eq!(alone.votes[0].workers, None);
    let mut both = preset(ScalingPreset::Step);
    both.policies = vec![only_out];
    is(&first(&both, &picture(8)), 6, Outcome::In);
    let none = first(&ScalingConfig::default(), &picture(8));
    is(&none, 8, Outcome::Hold(HoldKind::NothingToChange));
    assert_eq!(none.reason, "stays at 8 workers (80 slots): no policy has an opinion");
}
