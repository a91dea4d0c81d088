use muster_domain::{CapacityTier, CapacityTiers};
use muster_policy::scaling::Picture;

use super::*;
use crate::scaler::{Departure, FixedScaler, KedaScaler};

/// Answers by a list, check by check, the last for ever.
struct Script(Vec<u32>, Departure);

impl Scaler for Script {
    fn name(&self) -> String {
        "script".to_owned()
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(60)
    }

    fn target(&mut self, _: &Picture, _: Timestamp) -> u32 {
        if self.0.len() > 1 { self.0.remove(0) } else { self.0[0] }
    }

    fn departure(&self) -> Departure {
        self.1
    }
}

fn trace(rows: &[(u32, u32, u32)]) -> TaskLoad {
    let lines: Vec<String> = rows.iter().map(|(at, run, count)| format!("{at},{run},{count}")).collect();
    TaskLoad::recorded("trace", &format!("at,run_seconds,count\n{}\n", lines.join("\n"))).expect("a trace")
}

fn setup(slots: u16, tier: CapacityTier) -> Setup {
    Setup { slots, tiers: CapacityTiers::only_base(tier), reclaims_per_hour: 0.0, ..Setup::default() }
}

fn tier(price_per_hour: f64, start_time: u64) -> CapacityTier {
    CapacityTier { price_per_hour, start_time: Duration::from_secs(start_time), ..CapacityTier::default() }
}

fn near(one: f64, other: f64) {
    assert!((one - other).abs() <= 0.07 * other.abs() + 1e-6, "{one} is not about {other}");
}

#[test]
fn tasks_wait_for_slots_and_workers_cost_their_time() {
    // One worker of two slots; four tasks of 100 s; the worker is ready after 10 s. The last two end at 210 s.
    let load = trace(&[(0, 100, 4), (1_000, 100, 1)]);
    let report = simulate(&setup(2, tier(3.6, 10)), &load, &mut FixedScaler(1));
    assert_eq!((report.tasks.finished, report.tasks.peak_running, report.workers.peak), (5, 2, 1));
    near(report.wait.p50_seconds, 10.0);
    near(report.wait.p95_seconds, 110.0);
    assert_eq!((report.wait.late, report.tasks.killed_runs), (2, 0));
    near(report.cost, 3.6 * 1_100.1 / 3_600.0);
    near(report.workers.used, 500.0 / 2_200.2);
    near(report.load.mean_concurrency, 500.0 / 1_100.1);
}

#[test]
fn busy_workers_are_spared_or_killed_as_the_scaler_says() {
    let load = trace(&[(0, 600, 4), (2_000, 1, 1)]);
    let run = |departure| {
        let script = &mut Script(vec![2, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], departure);
        simulate(&setup(2, tier(1.0, 1)), &load, script)
    };
    let spared = run(Departure::WhenEmpty);
    assert_eq!((spared.tasks.killed_runs, spared.tasks.finished), (0, 5));
    near(spared.wait.p99_seconds, 1.0);
    let killed = run(Departure::After(Duration::from_secs(30)));
    assert_eq!((killed.tasks.killed_runs, killed.tasks.finished), (4, 5), "they run again");
    let none_over = run(Departure::After(Duration::from_secs(900)));
    assert_eq!((none_over.tasks.killed_runs, none_over.tasks.finished), (0, 5), "they end within the grace");
}

#[test]
fn what_is_still_there_at_the_end_is_counted() {
    let mut load = trace(&[(0, 10, 1), (100, 10_000, 1), (100, 50, 9)]);
    (load.span, load.until_done) = (Duration::from_secs(400), false);
    let report = simulate(&setup(1, tier(0.0, 1)), &load, &mut FixedScaler(1));
    let TaskReport { finished, running, waiting, .. } = report.tasks;
    assert_eq!((finished, running, waiting), (1, 1, 9));
    near(report.wait.p95_seconds, 300.0);
    assert_eq!((report.wait.late, report.timeline.last().map(|point| point.waiting)), (9, Some(9)));
}

#[test]
fn spot_is_taken_away_and_its_runs_start_again() {
    let tiers = CapacityTiers { spot: Some(tier(0.1, 1)), burst: Some(tier(1.0, 1)), ..CapacityTiers::default() };
    let setup = Setup { slots: 4, tiers, reclaims_per_hour: 0.5, max_attempts: 20, ..Setup::default() };
    let rows: Vec<(u32, u32, u32)> = (0..600).map(|minute| (60 * minute, 900, 4)).collect();
    let load = trace(&rows);
    let report = simulate(&setup, &load, &mut FixedScaler(20));
    let taken = report.interruptions;
    assert!(taken.workers > 50 && taken.survived == taken.workers, "{taken:?}");
    assert!(taken.requeued_runs > 100 && report.tasks.lost == 0, "{taken:?}");
    assert_eq!(report.tasks.finished + report.tasks.running + report.tasks.waiting, 2_400);
    let hours = |tier| report.tiers.iter().find(|cost| cost.tier == tier).map_or(0.0, |cost| cost.worker_hours);
    assert!(hours(TierName::Burst) > 1.0 && hours(TierName::Spot) > hours(TierName::Burst), "burst stands in");
    let once = simulate(&Setup { max_attempts: 1, ..setup }, &load, &mut FixedScaler(20));
    assert!(once.tasks.lost > 100 && once.interruptions.survived < once.interruptions.workers, "{once:?}");
    assert_eq!(once.tasks.finished + once.tasks.running + once.tasks.waiting + once.tasks.lost, 2_400);
}

#[test]
fn a_simulation_is_the_same_each_time() {
    let load = trace(&[(0, 30, 100), (400, 60, 300), (900, 10, 500)]);
    let run = || simulate(&Setup::default(), &load, &mut KedaScaler::default());
    assert_eq!(run(), run());
    let TaskReport { finished, running, waiting, .. } = run().tasks;
    assert_eq!((finished, running + waiting), (900, 0), "a recorded load is looked at until it is done");
    let mut stuck = FixedScaler(0);
    let report = simulate(&Setup::default(), &load, &mut stuck);
    assert_eq!((report.tasks.waiting, report.load.seconds), (900, 2.0 * 910.1), "but not for ever");
}

proptest::proptest! {
    #[test]
    fn no_task_is_forgotten_and_no_hour_unpaid(
        rows in proptest::collection::vec((0..3_000_u32, 1..900_u32, 1..40_u32), 1..30),
        targets in proptest::collection::vec(0..12_u32, 1..40),
        slots in 1..6_u16,
        spares in proptest::bool::ANY,
        reclaims_per_hour in 0.0..20.0_f64,
        max_attempts in 1..4_u8,
    ) {
        let spot = CapacityTier { max_workers: 6, ..tier(1.0, 7) };
        let tiers = CapacityTiers { base: Some(tier(1.0, 3)), spot: Some(spot), ..CapacityTiers::default() };
        let setup = Setup { slots, tiers, reclaims_per_hour, max_attempts, ..Setup::default() };
        let departure = if spares { Departure::WhenEmpty } else { Departure::After(Duration::from_secs(30)) };
        let report = simulate(&setup, &trace(&rows), &mut Script(targets, departure));
        let TaskReport { finished, running, waiting, lost, killed_runs, .. } = report.tasks;
        let came: u64 = rows.iter().map(|(_, _, count)| u64::from(*count)).sum();
        proptest::prop_assert_eq!((report.load.tasks, finished + running + waiting + lost), (came, came));
        proptest::prop_assert!(!spares || killed_runs == 0);
        proptest::prop_assert!(report.workers.used <= 1.0 + 1e-9, "{:?}", report.workers);
        proptest::prop_assert!(report.interruptions.survived <= report.interruptions.workers);
        let hours: f64 = report.tiers.iter().map(|tier| tier.worker_hours).sum();
        proptest::prop_assert!((report.cost - hours).abs() < 1e-6, "a dollar an hour");
        proptest::prop_assert!((report.workers.mean * report.load.seconds / 3_600.0 - hours).abs() < 1e-6);
    }
}
