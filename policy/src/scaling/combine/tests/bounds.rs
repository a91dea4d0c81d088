use super::super::super::{FLAP_BUDGET, Recommendation};
use super::*;

/// A pool that wants to double.
fn doubling() -> (ScalingConfig, Picture) {
    (preset(ScalingPreset::Target), queue(6, 120))
}

#[test]
fn a_change_goes_as_far_as_each_bound_allows() {
    let (config, seen) = doubling();
    let with_max = |max| Picture { workers: PictureWorkers { max, ..seen.workers }, ..seen };
    let cost = ScalingConfig { max_cost_per_hour: 1.0, ..config.clone() };
    let change = ScalingConfig { max_change: 2, ..config.clone() };
    let priced = |price| Picture { price: Some(price), ..seen };
    let on_demand = |agents| Picture { on_demand_max_agents: Some(agents), ..seen };
    let rows = [
        (&config, seen, 12, None),
        (&config, with_max(8), 8, Some(HoldKind::MaxWorkers)),
        (&config, with_max(6), 6, Some(HoldKind::MaxWorkers)),
        (&change, seen, 8, Some(HoldKind::MaxChange)),
        (&cost, priced(0.1), 10, Some(HoldKind::Cost)),
        (&cost, priced(0.5), 6, Some(HoldKind::Cost)),
        (&cost, seen, 12, None),
        (&config, on_demand(95), 10, None),
        (&config, on_demand(41), 6, Some(HoldKind::OnDemand)),
        (&change, Picture { queue: Some(0), ..seen }, 4, Some(HoldKind::MaxChange)),
    ];
    for (config, seen, target, limit) in rows {
        let decision = first(config, &seen);
        let told = decision.outcome.hold().or(decision.limit);
        assert_eq!((decision.target, told), (target, limit), "{decision:?}");
    }
    let told = first(&cost, &priced(0.1)).reason;
    assert!(
        told.contains("max_cost_per_hour (1) pays for 10 workers at 0.1 each (target queue_per_worker: "),
        "{told}"
    );
}

#[test]
fn a_pool_never_goes_below_its_minimum_or_what_agents_need() {
    let config = preset(ScalingPreset::Target);
    let with = |current, min, needed| {
        let seen = picture(current);
        Picture { workers: PictureWorkers { min, needed, ..seen.workers }, ..seen }
    };
    let rows = [
        (with(6, 4, 0), 4, Outcome::In, Some(HoldKind::MinWorkers)),
        (with(4, 4, 0), 4, Outcome::Hold(HoldKind::MinWorkers), None),
        (with(6, 1, 5), 5, Outcome::In, Some(HoldKind::Needed)),
        (with(6, 1, 6), 6, Outcome::Hold(HoldKind::Needed), None),
        (with(2, 4, 0), 4, Outcome::Out, Some(HoldKind::MinWorkers)),
        (with(2, 1, 4), 4, Outcome::Out, Some(HoldKind::Needed)),
        (with(25, 0, 25), 25, Outcome::Hold(HoldKind::Needed), None),
    ];
    for (seen, target, outcome, limit) in rows {
        let decision = first(&config, &seen);
        is(&decision, target, outcome);
        assert_eq!(decision.limit, limit, "{decision:?}");
    }
}

#[test]
fn a_pool_outside_of_its_bounds_comes_back_without_a_vote() {
    let config = ScalingConfig::default();
    let over = picture(25);
    let decision = first(&config, &over);
    is(&decision, 20, Outcome::In);
    assert_eq!(decision.decided_by, None);
    assert_eq!(decision.reason, "from 25 to 20 workers (200 slots): max_workers (20) is exceeded");
    is(&first(&config, &Picture { age: None, ..over }), 25, Outcome::Hold(HoldKind::NoPicture));
    let under = Picture { workers: PictureWorkers { min: 3, ..over.workers }, age: None, ..picture(1) };
    let under = Picture { workers: PictureWorkers { current: 1, ..under.workers }, ..under };
    is(&first(&config, &under), 3, Outcome::Out);
    let paused = PictureHolds { paused: true, ..PictureHolds::default() };
    is(&first(&config, &Picture { holds: paused, ..over }), 20, Outcome::In);
}

#[test]
fn a_task_that_could_start_gets_the_first_worker_at_once() {
    let config = ScalingConfig { stabilization: preset(ScalingPreset::Hpa).windows(), ..preset(ScalingPreset::Step) };
    let just_now = after_move(at("11:59:59"), 1, 0);
    let decision = decide(&config, &queue(0, 1), &just_now, noon());
    is(&decision, 1, Outcome::Out);
    assert_eq!(decision.reason, "from 0 to 1 worker (10 slots): a task could start, and there is no worker");
    is(&first(&ScalingConfig::default(), &queue(0, 1)), 1, Outcome::Out);
    holds(&first(&config, &queue(0, 0)), HoldKind::NothingToChange);
    holds(&first(&config, &Picture { age: None, ..queue(0, 1) }), HoldKind::NoPicture);
    holds(&first(&config, &Picture { host_memory: Some(0.05), ..queue(0, 1) }), HoldKind::HostMemory);
}

#[test]
fn windows_take_the_lowest_way_out_and_the_highest_way_in() {
    let mut config = preset(ScalingPreset::Target);
    (config.stabilization.out, config.stabilization.scale_in) = (Duration::from_secs(60), Duration::from_secs(300));
    let recommended = |at: Timestamp, workers| Recommendation { at, workers };
    let earlier = |list: Vec<Recommendation>| ScalingHistory { recommendations: list, ..ScalingHistory::default() };
    let history = earlier(vec![recommended(at("11:59:30"), 7)]);
    let decision = decide(&config, &queue(6, 120), &history, noon());
    is(&decision, 7, Outcome::Out);
    assert_eq!((decision.limit, decision.recommended), (Some(HoldKind::Stabilization), 12));
    is(&decide(&config, &queue(6, 120), &history, at("12:00:30")), 12, Outcome::Out);
    let history = earlier(vec![recommended(at("11:56:00"), 5), recommended(at("11:58:00"), 4)]);
    is(&decide(&config, &queue(6, 0), &history, noon()), 5, Outcome::In);
    is(&decide(&config, &queue(6, 0), &history, at("12:01:00")), 4, Outcome::In);
    let history = earlier(vec![recommended(at("11:58:00"), 9)]);
    holds(&decide(&config, &queue(6, 0), &history, noon()), HoldKind::Stabilization);
}

#[test]
fn a_pool_that_turns_too_often_stays_large() {
    let config = with_policy(target(TargetMetric::Utilization, 70.0));
    let slots = |current: u32, busy| Some(SlotUse { all: current * 10, taken: busy, busy });
    let mut moves: Vec<Move> = Vec::new();
    for minute in 0..=FLAP_BUDGET - 2 {
        let (from, to) = if minute % 2 == 0 { (4, 8) } else { (8, 4) };
        moves.push(moved(at(&format!("11:{:02}:00", 20 + minute)), from, to));
    }
    let history = ScalingHistory { moves, ..ScalingHistory::default() };
    assert_eq!(history.direction_changes(noon()), FLAP_BUDGET - 2);
    is(&decide(&config, &Picture { slots: slots(8, 0), ..picture(8) }, &history, noon()), 0, Outcome::In);
    let mut spent = history.clone();
    spent.moves.push(moved(at("11:40:00"), 8, 4));
    spent.moves.push(moved(at("11:41:00"), 4, 8));
    let decision = decide(&config, &Picture { slots: slots(8, 0), ..picture(8) }, &spent, noon());
    is(&decision, 8, Outcome::Hold(HoldKind::FlapBudget));
    assert!(decision.reason.contains("the direction has changed 6 times within an hour"), "{decision:?}");
    is(&decide(&config, &Picture { slots: slots(8, 80), ..picture(8) }, &spent, noon()), 12, Outcome::Out);
    let later = decide(&config, &Picture { slots: slots(8, 0), ..picture(8) }, &spent, at("12:22:00"));
    assert_eq!(later.outcome, Outcome::In, "an hour later they are forgotten");
}

#[test]
fn a_first_worker_that_was_needed_at_once_holds_up_no_policy_on_the_way_out() {
    let config = with_policy(target(TargetMetric::QueuePerWorker, 10.0));
    let first = Move { by: "first_task".to_owned(), voted: false, ..moved(at("11:59:59"), 0, 1) };
    let history = ScalingHistory { moves: vec![first], ..ScalingHistory::default() };
    is(&decide(&config, &queue(1, 40), &history, noon()), 4, Outcome::Out);
    // On the way in it counts: it is there for a while.
    let idle = Picture { slots: Some(SlotUse { all: 10, taken: 0, busy: 0 }), ..queue(1, 0) };
    holds(&decide(&config, &idle, &history, noon()), HoldKind::Cooldown);
    assert_eq!(history.direction_changes(noon()), 0);
}

#[test]
fn history_keeps_what_still_counts() {
    let mut history = ScalingHistory::default();
    let (config, seen) = doubling();
    for time in ["08:00:00", "09:00:00", "10:00:00", "10:30:00"] {
        let decision = decide(&config, &seen, &history, at(time));
        assert_eq!(decision.target, 12);
        history.record(&decision, 6, at(time));
    }
    let kept: Vec<Timestamp> = history.moves.iter().map(|change| change.at).collect();
    assert_eq!(kept, [at("09:00:00"), at("10:00:00"), at("10:30:00")], "those of the hour, and the one before them");
    assert_eq!(history.last_move(at("10:30:00")).map(|last| last.by.as_str()), Some("target queue_per_worker"));
    assert_eq!(history.recommendations.len(), 2);
}
