use muster_domain::scaling::{Amount, PredictivePolicy, ProactivePolicy, SchedulePolicy, Stabilization};
use proptest::prelude::*;

use super::super::super::FLAP_BUDGET;
use super::*;

/// Any policy, with cooldowns or without.
fn policies() -> impl Strategy<Value = ScalingPolicy> {
    let step = ScalingPreset::Step.policies().remove(0);
    let only_out = StepPolicy { cpu_above: Some(60.0), out: Amount::Workers(3), ..StepPolicy::default() };
    let hourly: SchedulePolicy =
        serde_json::from_str(r#"{"cron": "30 * * * *", "min_workers": 3}"#).expect("a schedule");
    prop_oneof![
        Just(step),
        Just(ScalingPolicy::Step(only_out)),
        Just(target(TargetMetric::QueuePerWorker, 10.0)),
        Just(target(TargetMetric::Utilization, 70.0)),
        Just(ScalingPolicy::Target(TargetPolicy { metric: TargetMetric::Cpu, ..TargetPolicy::default() })),
        Just(ScalingPreset::Hpa.policies().remove(0)),
        Just(ScalingPolicy::Proactive(ProactivePolicy::default())),
        Just(ScalingPolicy::Schedule(hourly)),
        Just(ScalingPolicy::Predictive(PredictivePolicy::default())),
    ]
}

fn configs() -> impl Strategy<Value = ScalingConfig> {
    let windows = (0..3_u64, 0..3_u64).prop_map(|(out, scale_in)| Stabilization {
        out: Duration::from_secs(60 * out),
        scale_in: Duration::from_secs(150 * scale_in),
    });
    (prop::collection::vec(policies(), 0..4), windows, 0..4_u32).prop_map(|(policies, stabilization, max_change)| {
        ScalingConfig { policies, stabilization, max_change, ..ScalingConfig::default() }
    })
}

/// Any figures of a pool, which is within its bounds.
fn pictures() -> impl Strategy<Value = Picture> {
    let workers = (0..8_u32, 0..12_u32, 0..12_u32, 0..24_u32).prop_map(|(min, more, place, needed)| {
        let max = (min + more).max(1);
        PictureWorkers { current: min + place.min(max - min), min, max, starting: 0, max_agents: 10, needed }
    });
    let measured = (
        prop::option::weighted(0.9, 0..300_u32),
        prop::option::weighted(0.9, 0.0..100.0_f64),
        prop::option::weighted(0.9, 0..=100_u32),
        prop::option::weighted(0.9, 0.0..1.0_f64),
        prop::option::weighted(0.9, 0..60_u32),
    );
    let state = (prop::option::weighted(0.9, 0..200_u64), any::<[bool; 3]>(), 0..3_u32);
    (workers, measured, state).prop_map(|(workers, (queue, cpu, used, host_memory, on_demand_max_agents), state)| {
        let (age, [paused, breaker, unfinished], drains) = state;
        let all = workers.current * 10;
        let busy = |percent: u32| SlotUse { all, taken: all * percent / 100, busy: all * percent / 100 };
        Picture {
            age: age.map(Duration::from_secs),
            workers,
            queue,
            cpu,
            slots: used.map(busy),
            host_memory,
            on_demand_max_agents,
            holds: PictureHolds { paused: paused && breaker, breaker: breaker && unfinished, draining: false },
            progress: PictureProgress { unfinished: unfinished && paused, drains },
            ..picture(0)
        }
    })
}

fn histories() -> impl Strategy<Value = ScalingHistory> {
    let moves = prop::collection::vec((0..4_000_u64, 0..10_u32, 0..10_u32), 0..6);
    (moves, prop::option::weighted(0.1, 0..600_u64)).prop_map(|(mut moves, person)| {
        moves.sort_unstable_by(|one, other| other.cmp(one));
        let moves = moves.into_iter().map(|(ago, from, to)| moved(noon().before(Duration::from_secs(ago)), from, to));
        let person_until = person.map(|rest| noon().after(Duration::from_secs(rest)));
        ScalingHistory { moves: moves.collect(), person_until, ..ScalingHistory::default() }
    })
}

/// Runs a pool for as long as figures come, and hands each decision on with the workers before it.
fn run(
    config: &ScalingConfig,
    start: Picture,
    every: Duration,
    figures: impl Iterator<Item = Picture>,
) -> Vec<(Timestamp, u32, Decision)> {
    let (mut history, mut current, mut now) = (ScalingHistory::default(), start.workers.current, noon());
    let check = |figures: Picture| {
        let seen = Picture { workers: PictureWorkers { current, ..start.workers }, ..figures };
        let decision = decide(config, &seen, &history, now);
        history.record(&decision, current, now);
        let row = (now, current, decision);
        (current, now) = (row.2.target, now.after(every));
        row
    };
    figures.map(check).collect()
}

proptest! {
    #[test]
    fn a_decision_is_within_bounds(config in configs(), seen in pictures(), history in histories()) {
        let decision = decide(&config, &seen, &history, noon());
        let PictureWorkers { current, min, max, needed, .. } = seen.workers;
        prop_assert!((min..=max).contains(&decision.target), "{decision:?}");
        // A person may say fewer: those with work stay until it is done.
        let is_persons = decision.outcome.hold() == Some(HoldKind::Person);
        prop_assert!(is_persons || decision.target >= needed.min(max), "{decision:?}");
        prop_assert!(is_persons || decision.target >= current.min(needed), "{decision:?}");
        let raised = min.max(needed).min(max).max(current);
        if config.max_change > 0 && decision.target > raised {
            prop_assert!(decision.target - current <= config.max_change.max(1), "{decision:?}");
        }
        prop_assert_eq!(decision.outcome.hold().is_some(), decision.target == current);
        prop_assert!(!decision.reason.is_empty());
    }

    #[test]
    fn nothing_is_taken_where_a_figure_is_missing(config in configs(), seen in pictures(), history in histories()) {
        let blind = [
            Picture { age: None, ..seen },
            Picture { age: Some(Duration::from_secs(121)), ..seen },
        ];
        for seen in blind {
            let decision = decide(&config, &seen, &history, noon());
            prop_assert!(decision.target >= seen.workers.current, "{decision:?}");
        }
        let uses = |metric| config.policies.iter().any(|policy| match policy {
            ScalingPolicy::Target(target) => target.metric == metric,
            _ => false,
        });
        let missing = (seen.queue.is_none() && uses(TargetMetric::QueuePerWorker))
            || (seen.cpu.is_none() && uses(TargetMetric::Cpu))
            || (seen.slots.is_none() && uses(TargetMetric::Utilization));
        if missing {
            let decision = decide(&config, &seen, &history, noon());
            prop_assert!(decision.target >= seen.workers.current, "{decision:?}");
        }
    }

    #[test]
    fn more_that_waits_is_never_answered_by_fewer_workers(
        config in configs(),
        seen in pictures(),
        history in histories(),
        queues in prop::collection::vec(0..2_000_u32, 2..8),
    ) {
        let mut queues = queues;
        queues.sort_unstable();
        let target = |queue: &u32| decide(&config, &Picture { queue: Some(*queue), ..seen }, &history, noon()).target;
        let targets: Vec<u32> = queues.iter().map(target).collect();
        prop_assert!(targets.is_sorted(), "{queues:?} {targets:?}");
    }

    #[test]
    fn cooldowns_are_kept(loads in prop::collection::vec((0..40_u32, 0.0..100.0_f64), 1..60)) {
        let mut start = picture(5);
        start.workers.min = 1;
        let figures = loads.into_iter().map(|(queue, cpu)| Picture { queue: Some(queue), cpu: Some(cpu), ..start });
        let rows = run(&preset(ScalingPreset::Step), start, Duration::from_secs(47), figures);
        let moves: Vec<Timestamp> =
            rows.iter().filter(|(_, from, decision)| decision.target != *from).map(|(at, ..)| *at).collect();
        prop_assert!(moves.windows(2).all(|pair| pair[1].since(pair[0]) >= Duration::from_secs(300)), "{moves:?}");
    }

    #[test]
    fn noise_around_a_target_changes_nothing(
        metric in prop_oneof![Just(TargetMetric::QueuePerWorker), Just(TargetMetric::Utilization), Just(TargetMetric::Cpu)],
        noise in prop::collection::vec(0.95..1.05_f64, 1..50),
    ) {
        let start = picture(10);
        let config = with_policy(target(metric, 50.0));
        let figures = noise.into_iter().map(|noise| {
            let busy = (50.0 * noise).round() as u32;
            let slots = Some(SlotUse { all: 100, taken: busy, busy });
            Picture { queue: Some((500.0 * noise).round() as u32), cpu: Some(50.0 * noise), slots, ..start }
        });
        for (_, _, decision) in run(&config, start, Duration::from_secs(60), figures) {
            prop_assert_eq!(decision.outcome, Outcome::Hold(HoldKind::WithinTolerance));
        }
    }

    #[test]
    fn a_load_that_flips_turns_the_pool_a_few_times_an_hour(
        loads in prop::collection::vec(any::<bool>(), 1..500),
        flips in any::<bool>(),
    ) {
        let start = picture(5);
        let eager = TargetPolicy { metric: TargetMetric::Cpu, target: Some(50.0), ..TargetPolicy::default() };
        let eager = TargetPolicy { cooldown_out: Duration::ZERO, cooldown_in: Duration::ZERO, ..eager };
        let mut start = Picture { queue: Some(1), ..start };
        start.workers.min = 1;
        let figures = loads.iter().enumerate().map(|(place, load)| {
            let high = if flips { place % 2 == 0 } else { *load };
            Picture { cpu: Some(if high { 100.0 } else { 5.0 }), ..start }
        });
        let rows = run(&with_policy(ScalingPolicy::Target(eager)), start, Duration::from_secs(10), figures);
        let ways: Vec<(Timestamp, bool)> = rows
            .iter()
            .filter(|(_, from, decision)| decision.target != *from)
            .map(|(at, from, decision)| (*at, decision.target > *from))
            .collect();
        let turns: Vec<Timestamp> =
            ways.windows(2).filter(|pair| pair[0].1 != pair[1].1).map(|pair| pair[1].0).collect();
        let within = |from: &Timestamp| turns.iter().filter(|at| *at >= from && at.since(*from) < Duration::from_secs(3_600)).count();
        prop_assert!(turns.iter().all(|from| within(from) <= FLAP_BUDGET as usize), "{turns:?}");
    }
}
