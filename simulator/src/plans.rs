//! Published plans of capacity, checked: does what a plan claims to run fit on what it has, and what does that cost?
//!
//! A plan is a number of instances of each tier, the concurrent runs that it claims, and the dollars a month that it claims. Each is run
//! as it stands, with the least and the most that it claims, for five hours that begin with nothing to do and in which every instance is
//! there all the time, but for spot that is taken away. It holds if there are more slots than runs, and 95% of the tasks start within a
//! minute.
//!
//! Two costs stand beside the claimed one: by the instances' prices, and by what a task-hour of each tier costs in the published sample.
//! They are far apart, and neither is invented here.

use std::time::Duration;

use muster_domain::{CapacityTier, CapacityTiers, TierName, Words};
use serde::Serialize;

use crate::catalogue::{CATALOGUE, InstanceType, find};
use crate::load::{GeneratedLoad, LoadShape, TaskLoad};
use crate::report::SimulationReport;
use crate::scaler::FixedScaler;
use crate::setup::Setup;
use crate::world::simulate;

/// Hours of a month, as clouds count them.
pub const MONTH_HOURS: f64 = 730.0;

/// What a task-hour costs in the sample, in US dollars: base, spot, burst.
pub const TASK_HOUR_PRICES: [(TierName, f64); 3] =
    [(TierName::Base, 0.10), (TierName::Spot, 0.03), (TierName::Burst, 0.15)];

/// The share of the task-hours that each tier has in the sample.
pub const TIER_SHARES: [(TierName, f64); 3] = [(TierName::Base, 0.2), (TierName::Spot, 0.7), (TierName::Burst, 0.1)];

/// The instance type of the plans.
const INSTANCE: &str = "c6g.2xlarge";

/// How long a run takes in the mean.
const MEAN_RUN: Duration = Duration::from_secs(600);

/// How long a plan is looked at.
const SPAN: Duration = Duration::from_secs(5 * 3_600);

/// A task may wait so long.
const WAIT: Duration = Duration::from_secs(60);

/// A published plan.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct CapacityClaim {
    /// Its name.
    pub name: &'static str,
    /// Instances of the base tier.
    pub base: u32,
    /// Instances of the spot tier.
    pub spot: u32,
    /// Instances of the burst tier.
    pub burst: u32,
    /// Concurrent runs that it claims, at the least and at the most.
    pub concurrent_runs: [u32; 2],
    /// What it claims to cost a month, in US dollars.
    pub dollars_a_month: f64,
}

impl CapacityClaim {
    /// Instances of all tiers.
    pub const fn instances(&self) -> u32 {
        self.base + self.spot + self.burst
    }
}

/// All plans.
pub const PLANS: [CapacityClaim; 3] = [
    CapacityClaim {
        name: "plan-2000",
        base: 10,
        spot: 20,
        burst: 0,
        concurrent_runs: [1_000, 2_000],
        dollars_a_month: 2_500.0,
    },
    CapacityClaim {
        name: "plan-5000",
        base: 20,
        spot: 80,
        burst: 50,
        concurrent_runs: [5_000, 5_000],
        dollars_a_month: 8_000.0,
    },
    CapacityClaim {
        name: "plan-10000",
        base: 30,
        spot: 150,
        burst: 200,
        concurrent_runs: [10_000, 10_000],
        dollars_a_month: 20_000.0,
    },
];

/// A plan by its name.
pub fn plan(name: &str) -> Option<&'static CapacityClaim> {
    PLANS.iter().find(|plan| plan.name == name)
}

/// What was claimed beside what was simulated.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PlanReport {
    /// The plan.
    pub plan: CapacityClaim,
    /// The type of its instances.
    pub instance_type: &'static str,
    /// Tasks that all of its instances run at a time.
    pub slots: u32,
    /// The same month by the price of its instances, in US dollars.
    pub instance_dollars_a_month: f64,
    /// Each claimed load.
    pub loads: Vec<ClaimedLoad>,
    /// Of the published plans the cheapest that holds the most that this one claims.
    pub published: Option<CapacityClaim>,
    /// Instances of one type that hold the most that is claimed, the cheapest first; both ends of what a type runs at a time.
    pub alternatives: Vec<Alternative>,
}

/// A claimed load, as it was simulated.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClaimedLoad {
    /// Concurrent runs.
    pub concurrent_runs: u32,
    /// Whether the plan holds it.
    pub holds: bool,
    /// A month of these runs by the tiers' prices of a task-hour, in US dollars.
    pub tier_dollars_a_month: f64,
    /// What came of it.
    pub simulation: SimulationReport,
}

/// Instances of one type that hold the load.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Alternative {
    /// Which type.
    pub instance_type: &'static str,
    /// Tasks that each is taken to run at a time.
    pub tasks_each: u16,
    /// So many hold it: none fewer does.
    pub instances: u32,
    /// A month of them, in US dollars.
    pub dollars_a_month: f64,
}

/// Checks a plan. None if its instance type has no price.
pub fn check(plan: &CapacityClaim, seed: u64) -> Option<PlanReport> {
    let instance = find(INSTANCE)?;
    let price = instance.price_per_hour?;
    let (instances, slots) = (plan.instances(), plan.instances() * u32::from(instance.least_tasks));
    let mut claimed = plan.concurrent_runs.to_vec();
    claimed.dedup();
    let load = |runs: u32| {
        let simulation = run(&setup(plan, instance, price), runs, instances, seed);
        let tier_dollars_a_month = tier_dollars(runs);
        ClaimedLoad { concurrent_runs: runs, holds: holds(&simulation, slots, runs), tier_dollars_a_month, simulation }
    };
    Some(PlanReport {
        plan: *plan,
        instance_type: instance.name,
        slots,
        instance_dollars_a_month: f64::from(instances) * price * MONTH_HOURS,
        loads: claimed.into_iter().map(load).collect(),
        published: published(plan.concurrent_runs[1], instance, price, seed),
        alternatives: alternatives(plan.concurrent_runs[1], seed),
    })
}

/// The cheapest of the published plans that holds so many runs.
fn published(runs: u32, instance: &InstanceType, price: f64, seed: u64) -> Option<CapacityClaim> {
    let hold = |plan: &&CapacityClaim| {
        let instances = plan.instances();
        let simulation = run(&setup(plan, instance, price), runs, instances, seed);
        holds(&simulation, instances * u32::from(instance.least_tasks), runs)
    };
    PLANS.iter().filter(hold).min_by(|one, other| one.dollars_a_month.total_cmp(&other.dollars_a_month)).copied()
}

/// A month of so many concurrent runs by the tiers' prices.
fn tier_dollars(runs: u32) -> f64 {
    let price_of = |tier| TASK_HOUR_PRICES.iter().find(|(priced, _)| *priced == tier).map_or(0.0, |(_, price)| *price);
    let task_hour: f64 = TIER_SHARES.iter().map(|(tier, share)| share * price_of(*tier)).sum();
    f64::from(runs) * MONTH_HOURS * task_hour
}

/// Whether so many slots hold so many runs: with no more slots than runs the queue grows, be it slowly.
fn holds(simulation: &SimulationReport, slots: u32, runs: u32) -> bool {
    slots > runs && simulation.wait.p95_seconds <= WAIT.as_secs_f64()
}

/// The instances of a plan, all of them all the time.
fn setup(plan: &CapacityClaim, instance: &InstanceType, price: f64) -> Setup {
    let tier = |workers: u32| {
        (workers > 0).then(|| CapacityTier {
            min_workers: workers,
            max_workers: workers,
            price_per_hour: price,
            instance_types: vec![instance.name.to_owned()],
            ..CapacityTier::default()
        })
    };
    let (base, spot, burst) = (tier(plan.base), tier(plan.spot), tier(plan.burst));
    let tiers = CapacityTiers { base, spot, burst, ..CapacityTiers::default() };
    Setup { slots: instance.least_tasks, tiers, late_after: WAIT, ..Setup::default() }
}

fn run(setup: &Setup, runs: u32, instances: u32, seed: u64) -> SimulationReport {
    let load = GeneratedLoad {
        shape: LoadShape::Constant,
        concurrency: runs,
        mean_run: MEAN_RUN,
        phases: 4,
        span: SPAN,
        seed,
    };
    let load = TaskLoad::generated(format!("{runs} concurrent runs"), load);
    simulate(setup, &load, &mut FixedScaler(instances))
}

/// For each type with a price, and both ends of what it runs at a time, the fewest instances that hold the load.
fn alternatives(runs: u32, seed: u64) -> Vec<Alternative> {
    let priced = CATALOGUE.iter().filter_map(|instance| Some((instance, instance.price_per_hour?)));
    let ends = priced.flat_map(|(instance, price)| {
        let mut ends = vec![instance.least_tasks, instance.most_tasks];
        ends.dedup();
        ends.into_iter().map(move |tasks| (instance, price, tasks))
    });
    let mut found: Vec<Alternative> = ends
        .map(|(instance, price, tasks_each)| {
            let instances = fewest(runs, tasks_each, seed);
            let dollars_a_month = f64::from(instances) * price * MONTH_HOURS;
            Alternative { instance_type: instance.name, tasks_each, instances, dollars_a_month }
        })
        .collect();
    found.sort_by(|one, other| one.dollars_a_month.total_cmp(&other.dollars_a_month));
    found
}

/// The fewest instances that hold a load: found by halving, since more of them never make tasks wait longer.
fn fewest(runs: u32, tasks_each: u16, seed: u64) -> u32 {
    let exact = runs.div_ceil(u32::from(tasks_each));
    let (mut too_few, mut enough) = (exact - 1, exact + exact / 5 + 4);
    while enough - too_few > 1 {
        let middle = too_few.midpoint(enough);
        let base = CapacityTier { min_workers: middle, max_workers: middle, ..CapacityTier::default() };
        let setup = Setup { slots: tasks_each, tiers: CapacityTiers::only_base(base), ..Setup::default() };
        let slots = middle * u32::from(tasks_each);
        if holds(&run(&setup, runs, middle, seed), slots, runs) { enough = middle } else { too_few = middle }
    }
    enough
}

/// The names of all plans.
pub fn names() -> impl Iterator<Item = &'static str> {
    PLANS.iter().map(|plan| plan.name)
}

/// The tiers with their prices of a task-hour, in words.
pub fn tier_words() -> String {
    let words = TierName::all().filter_map(|tier| {
        let (_, price) = TASK_HOUR_PRICES.iter().find(|(priced, _)| *priced == tier)?;
        let (_, share) = TIER_SHARES.iter().find(|(shared, _)| *shared == tier)?;
        Some(format!("{} {:.0}% at ${price:.2}", tier.as_str(), 100.0 * share))
    });
    words.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_measured_by_what_it_claims() {
        let report = check(plan("plan-2000").expect("a plan"), 1).expect("a price");
        assert_eq!((report.slots, report.loads.len()), (240, 2), "30 instances of 8 tasks");
        for load in &report.loads {
            assert!(!load.holds && load.simulation.tasks.peak_running <= 240, "{load:?}");
            assert!(load.simulation.tasks.waiting > 1_000);
        }
        assert_eq!(report.published.map(|plan| plan.name), Some("plan-10000"), "3040 slots");
        assert!((report.instance_dollars_a_month - 30.0 * 0.068 * 730.0).abs() < 1e-6);
        let task_hour = 0.7 * 0.03 + 0.2 * 0.10 + 0.1 * 0.15;
        assert!((report.loads[1].tier_dollars_a_month - 2_000.0 * 730.0 * task_hour).abs() < 1e-6);
    }

    #[test]
    fn the_cheapest_that_holds_is_found_at_both_ends_of_a_range() {
        let found = alternatives(1_000, 1);
        assert_eq!(found.len(), 8, "five types with a price, three of them with a range");
        assert!(found.is_sorted_by(|one, other| one.dollars_a_month <= other.dollars_a_month));
        let first = &found[0];
        assert_eq!((first.instance_type, first.tasks_each), ("r6g.xlarge", 16));
        assert!((63..75).contains(&first.instances), "{first:?}");
        let base = |workers| CapacityTier { min_workers: workers, max_workers: workers, ..CapacityTier::default() };
        let with = |workers| {
            let tiers = CapacityTiers::only_base(base(workers));
            let simulation = run(&Setup { slots: 16, tiers, ..Setup::default() }, 1_000, workers, 1);
            holds(&simulation, 16 * workers, 1_000)
        };
        assert!(with(first.instances) && !with(first.instances - 1));
    }
}
