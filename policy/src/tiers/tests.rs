use muster_domain::CapacityTier;
use proptest::prelude::*;

use super::*;

fn tier(min_workers: u32, max_workers: u32, price_per_hour: f64) -> CapacityTier {
    let instance_types = vec!["a".to_owned(), "b".to_owned()];
    CapacityTier { min_workers, max_workers, price_per_hour, instance_types, ..CapacityTier::default() }
}

/// Base 30 to 50, spot 0 to 200, burst above a queue of 1000.
fn sample() -> CapacityTiers {
    CapacityTiers {
        base: Some(tier(30, 50, 0.8)),
        spot: Some(tier(0, 200, 0.24)),
        burst: Some(tier(0, 100, 1.2)),
        ..CapacityTiers::default()
    }
}

fn failed(tier: TierName, instance_type: &str) -> FailedSource {
    let source = WorkerSource { launcher: "local".to_owned(), instance_type: Some(instance_type.to_owned()) };
    FailedSource { tier, source }
}

fn no_spot() -> Vec<FailedSource> {
    vec![failed(TierName::Spot, "a"), failed(TierName::Spot, "b")]
}

fn demand(target: u32, queue: u32) -> CapacityDemand<'static> {
    CapacityDemand { target, queue, is_stranded: false, running: TierCounts::default(), failed: &[] }
}

fn counts(plan: &CapacityPlan) -> [u32; 4] {
    [plan.workers.base, plan.workers.spot, plan.workers.burst, plan.unmet]
}

#[test]
fn a_target_is_divided_base_first_then_by_the_share() {
    for (target, queue, expected) in [
        (0, 0, [30, 0, 0, 0]),
        (30, 0, [30, 0, 0, 0]),
        (31, 0, [31, 0, 0, 0]),
        (40, 0, [33, 7, 0, 0]),
        (100, 0, [50, 50, 0, 0]),
        (250, 0, [50, 200, 0, 0]),
        (300, 1_000, [50, 200, 0, 50]),
        (300, 1_001, [50, 200, 50, 0]),
        (400, 5_000, [50, 200, 100, 50]),
    ] {
        let planned = plan(&sample(), &demand(target, queue));
        assert_eq!(counts(&planned), expected, "{target} {queue}: {}", planned.reason);
    }
    let planned = plan(&sample(), &demand(100, 0));
    assert_eq!(planned.reason, "100 workers: 50 base, 50 spot, 0 burst; burst is shut: queue 0 is not above 1000");
    assert!((cost_per_hour(&sample(), planned.workers) - (50.0 * 0.8 + 50.0 * 0.24)).abs() < 1e-9);
}

#[test]
fn while_spot_fails_it_keeps_what_it_has_and_the_others_take_its_part() {
    let (tiers, failed) = (sample(), no_spot());
    let running = TierCounts { base: 30, spot: 20, burst: 0 };
    let planned = plan(&tiers, &CapacityDemand { running, failed: &failed, ..demand(100, 0) });
    assert_eq!(counts(&planned), [50, 20, 30, 0], "{}", planned.reason);
    assert!(
        planned.reason.contains("no spot worker is to be had now; burst is open: spot fails"),
        "{}",
        planned.reason
    );
}

#[test]
fn burst_that_runs_stays_while_the_target_needs_it() {
    let running = TierCounts { base: 50, spot: 200, burst: 30 };
    let at = |target| counts(&plan(&sample(), &CapacityDemand { running, ..demand(target, 10) }));
    assert_eq!(at(300), [50, 200, 30, 20], "no more of it start");
    assert_eq!(at(260), [50, 200, 10, 0]);
}

#[test]
fn sources_are_tried_in_order() {
    let tiers = sample();
    let next = |failed: &[FailedSource]| next_source(&tiers, TierName::Spot, failed).map(|source| source.to_string());
    assert_eq!(next(&[]).as_deref(), Some("local/a"));
    assert_eq!(next(&[failed(TierName::Spot, "a")]).as_deref(), Some("local/b"));
    assert_eq!(next(&[failed(TierName::Base, "a")]).as_deref(), Some("local/a"), "that is another tier's");
    assert_eq!(next(&no_spot()), None);
    assert_eq!(next_source(&CapacityTiers { spot: None, ..sample() }, TierName::Spot, &[]), None);
}

fn a_tier() -> impl Strategy<Value = Option<CapacityTier>> {
    let bounds = (0..20_u32, 0..40_u32).prop_map(|(min, more)| tier(min, (min + more).max(1), 0.1));
    prop::option::weighted(0.8, bounds)
}

fn all_tiers() -> impl Strategy<Value = CapacityTiers> {
    (a_tier(), a_tier(), a_tier(), 0.0..=1.0_f64).prop_map(|(base, spot, burst, spot_share)| CapacityTiers {
        base,
        spot,
        burst,
        spot_share,
        burst_queue_above: 100,
    })
}

fn failures() -> impl Strategy<Value = Vec<FailedSource>> {
    let names: Vec<TierName> = TierName::all().collect();
    let one = (prop::sample::select(names), prop::sample::select(vec!["a", "b"]));
    prop::collection::vec(one.prop_map(|(tier, name)| failed(tier, name)), 0..6)
}

fn runnings() -> impl Strategy<Value = TierCounts> {
    (0..60_u32, 0..60_u32, 0..60_u32).prop_map(|(base, spot, burst)| TierCounts { base, spot, burst })
}

proptest! {
    #[test]
    fn every_worker_is_in_bounds_and_accounted_for(
        tiers in all_tiers(), target in 0..200_u32, queue in 0..200_u32, running in runnings(), failed in failures(),
    ) {
        let planned = plan(&tiers, &CapacityDemand { target, queue, is_stranded: false, running, failed: &failed });
        for name in TierName::all() {
            let workers = planned.workers.get(name);
            prop_assert!(workers <= tiers.get(name).map_or(0, CapacityTier::ceiling), "{planned:?}");
            if next_source(&tiers, name, &failed).is_none() {
                prop_assert!(workers <= running.get(name), "a tier that fails starts none: {planned:?}");
            } else {
                prop_assert!(workers >= tiers.get(name).map_or(0, |tier| tier.min_workers), "{planned:?}");
            }
        }
        let total = planned.workers.total();
        prop_assert!(planned.unmet == target.saturating_sub(total), "{planned:?}");
        let floors: u32 = tiers.used().map(|(_, tier)| tier.min_workers).sum();
        prop_assert!(total <= target.max(floors), "{planned:?}");
    }

    #[test]
    fn a_higher_target_takes_from_no_tier(
        tiers in all_tiers(), target in 0..200_u32, queue in 0..200_u32, running in runnings(), failed in failures(),
    ) {
        let at = |target| plan(&tiers, &CapacityDemand { target, queue, is_stranded: false, running, failed: &failed });
        let (less, more) = (at(target), at(target + 1));
        for name in TierName::all() {
            prop_assert!(more.workers.get(name) >= less.workers.get(name), "{less:?} {more:?}");
        }
    }

    #[test]
    fn a_longer_queue_leaves_no_more_unmet(
        tiers in all_tiers(), target in 0..200_u32, queue in 0..200_u32, running in runnings(), failed in failures(),
    ) {
        let at = |queue| plan(&tiers, &CapacityDemand { target, queue, is_stranded: false, running, failed: &failed });
        prop_assert!(at(queue + 1).unmet <= at(queue).unmet);
    }

    #[test]
    fn burst_starts_only_for_a_long_queue_or_while_spot_fails(
        tiers in all_tiers(), target in 0..200_u32, queue in 0..200_u32, running in runnings(), failed in failures(),
    ) {
        let planned = plan(&tiers, &CapacityDemand { target, queue, is_stranded: false, running, failed: &failed });
        let spot_fails = tiers.spot.is_some() && next_source(&tiers, TierName::Spot, &failed).is_none();
        let least = tiers.burst.as_ref().map_or(0, |tier| tier.min_workers);
        if queue <= tiers.burst_queue_above && !spot_fails {
            prop_assert!(planned.workers.burst <= running.burst.max(least), "{planned:?}");
        }
        // It is the last resort: whoever else has room is full.
        if planned.workers.burst > least {
            for name in [TierName::Base, TierName::Spot] {
                let Some(tier) = tiers.get(name) else { continue };
                let fails = next_source(&tiers, name, &failed).is_none();
                prop_assert!(fails || planned.workers.get(name) == tier.ceiling(), "{planned:?}");
            }
        }
    }
}

#[test]
fn the_next_workers_fill_the_tiers_in_their_order_from_their_first_source() {
    let there = |base, spot, burst| TierCounts { base, spot, burst };
    let next = |running, queue, failed: &[FailedSource], count| {
        let demand = CapacityDemand { target: 0, queue, is_stranded: false, running, failed };
        let chosen = next_workers(&sample(), &demand, count);
        let of = |name| chosen.iter().filter(|(tier, _)| *tier == name).count();
        [of(TierName::Base), of(TierName::Spot), of(TierName::Burst)]
    };
    assert_eq!(next(there(0, 0, 0), 0, &[], 40), [33, 7, 0]);
    assert_eq!(next(there(30, 0, 0), 0, &[], 1), [1, 0, 0]);
    assert_eq!(next(there(31, 0, 0), 0, &[], 3), [1, 2, 0], "each its share");
    // The one spot worker that was taken away has another tier's in its place where spot has none.
    assert_eq!(next(there(30, 6, 0), 0, &no_spot(), 1), [1, 0, 0]);
    assert_eq!(next(there(50, 10, 0), 0, &no_spot(), 2), [0, 0, 2], "and burst where base is full");
    assert_eq!(next(there(50, 200, 0), 0, &[], 5), [0, 0, 0], "burst is shut");
    let source = next_workers(
        &sample(),
        &CapacityDemand { failed: &[failed(TierName::Spot, "a")], running: there(50, 0, 0), ..demand(0, 0) },
        1,
    );
    assert_eq!(source[0].1.to_string(), "local/b", "the next type of instance");
    assert_eq!(next(there(50, 10, 98), 0, &no_spot(), 4), [0, 2, 2], "where nobody else has room, those that fail");
}

#[test]
fn burst_opens_for_an_agent_that_had_a_slot_and_finds_none() {
    let running = TierCounts { base: 50, spot: 200, burst: 0 };
    let planned = plan(&sample(), &CapacityDemand { is_stranded: true, running, ..demand(251, 0) });
    assert_eq!(counts(&planned), [50, 200, 1, 0]);
    assert!(planned.reason.ends_with("burst is open: an agent that had a slot finds none"), "{}", planned.reason);
}

#[test]
fn there_is_room_for_what_the_tiers_hold_beside_those_that_there_are() {
    let room_of = |running, queue, failed: &[FailedSource]| {
        room(&sample(), &CapacityDemand { target: 0, queue, is_stranded: false, running, failed })
    };
    let there = TierCounts { base: 40, spot: 150, burst: 0 };
    assert_eq!((room_of(there, 0, &[]), room_of(there, 2_000, &[])), (60, 160));
    assert_eq!(
        room_of(there, 0, &no_spot()),
        10 + 100 + 50,
        "burst stands in for spot, and then spot is asked all the same"
    );
    let fresh = room_of_sources(&sample(), &CapacityDemand { running: there, failed: &no_spot(), ..demand(0, 0) });
    assert_eq!(fresh, TierCounts { base: 10, spot: 0, burst: 100 });
    let unbounded = CapacityTiers::only_base(tier(0, 0, 1.0));
    assert_eq!(room(&unbounded, &demand(0, 0)), u32::MAX);
}

#[test]
fn a_worker_costs_what_those_that_there_are_cost_in_the_mean() {
    let there = TierCounts { base: 1, spot: 3, burst: 0 };
    assert!((mean_price(&sample(), there).expect("a price") - (0.8 + 3.0 * 0.24) / 4.0).abs() < 1e-9);
    assert_eq!(mean_price(&sample(), TierCounts::default()), Some(0.8));
    assert_eq!(mean_price(&CapacityTiers::only_base(tier(0, 0, 0.0)), there), None);
}

proptest! {
    /// The next workers are never more than there is room for, and never leave room that there is.
    #[test]
    fn the_next_workers_use_the_room(base in 0_u32..60, spot in 0_u32..210, burst in 0_u32..110, queue in 0_u32..2_000, count in 0_u32..400, fails: bool) {
        let failed = if fails { no_spot() } else { Vec::new() };
        let running = TierCounts { base, spot, burst };
        let demand = CapacityDemand { target: 0, queue, is_stranded: false, running, failed: &failed };
        let next = next_workers(&sample(), &demand, count);
        prop_assert_eq!(next.len() as u32, count.min(room(&sample(), &demand)));
    }
}
