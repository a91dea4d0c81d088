use std::collections::BTreeMap;

use muster_domain::Words;
use proptest::prelude::*;
use uuid::Uuid;

use super::SlotChoice::{NewWorker as New, Worker as At};
use super::*;

fn worker(n: u128) -> ProcessId {
    ProcessId::from_uuid(Uuid::from_u128(n))
}

/// Ready workers with so many free and taken slots.
fn ready(slots: &[(u32, u32)]) -> Vec<PlacementCandidate> {
    let candidate = |(n, (free, taken)): (usize, &(u32, u32))| PlacementCandidate {
        process_id: worker(n as u128),
        is_ready: true,
        free: *free,
        taken: *taken,
    };
    slots.iter().enumerate().map(candidate).collect()
}

const BOUNDS: PlacementLimits =
    PlacementLimits { capacity: 10, open_workers: 0, max_workers: 20, room: u32::MAX, may_start: true };
const PACK: PlacementRule<'_> =
    PlacementRule { strategy: PlacementStrategy::Pack, loads: None, affinity: None, spare_workers: 0 };
const SPREAD: PlacementRule<'_> = PlacementRule { strategy: PlacementStrategy::Spread, ..PACK };
const LEAST_LOADED: PlacementRule<'_> = PlacementRule { strategy: PlacementStrategy::LeastLoaded, ..PACK };

/// How many agents each slot's worker got.
fn counts(plan: &Placement) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for slot in &plan.slots {
        *counts.entry(format!("{slot:?}")).or_default() += 1;
    }
    counts
}

fn on(plan: &Placement, slot: SlotChoice) -> usize {
    plan.slots.iter().filter(|one| **one == slot).count()
}

#[test]
fn fifteen_agents_make_ten_and_five() {
    let plan = place(15, [], &PACK, BOUNDS);
    assert_eq!((plan.new_workers, on(&plan, New(0)), on(&plan, New(1))), (2, 10, 5));
}

#[test]
fn five_agents_on_workers_of_two_make_two_two_one() {
    let plan = place(5, [], &PACK, PlacementLimits { capacity: 2, ..BOUNDS });
    assert_eq!(plan.slots, [New(0), New(0), New(1), New(1), New(2)]);
}

#[test]
fn free_slots_go_first_in_the_order_given() {
    let plan = place(4, ready(&[(1, 9), (2, 8)]), &PACK, BOUNDS);
    assert_eq!(plan.slots, [At(worker(0)), At(worker(1)), At(worker(1)), New(0)]);
    assert_eq!(plan.reason, "1 agent found no free slot: 1 new worker of 10");
}

#[test]
fn past_the_bound_agents_are_turned_away_and_while_starts_fail_they_wait() {
    for rule in [PACK, SPREAD, LEAST_LOADED] {
        let full = place(1, [], &rule, PlacementLimits { open_workers: 20, ..BOUNDS });
        assert_eq!(full.slots, [SlotChoice::Full]);
        let wait = place(1, [], &rule, PlacementLimits { may_start: false, ..BOUNDS });
        assert_eq!(wait.slots, [SlotChoice::Wait]);
        let some = place(3, [], &rule, PlacementLimits { may_start: false, capacity: 2, open_workers: 19, ..BOUNDS });
        assert_eq!(
            some.slots,
            [SlotChoice::Wait, SlotChoice::Wait, SlotChoice::Full],
            "no more wait than there will be slots"
        );
        let both = place(1, [], &rule, PlacementLimits { may_start: false, open_workers: 20, ..BOUNDS });
        assert_eq!(both.slots, [SlotChoice::Full]);
    }
}

#[test]
fn spread_goes_round_the_workers_from_the_emptiest_on() {
    let plan = place(4, ready(&[(7, 3), (8, 2), (10, 0)]), &SPREAD, BOUNDS);
    assert_eq!(plan.slots, [2, 2, 1, 2].map(|n| At(worker(n))));
    let mut starting = ready(&[(1, 9), (8, 2)]);
    starting[1].is_ready = false;
    let plan = place(10, starting, &SPREAD, BOUNDS);
    assert_eq!(plan.slots[..2], [At(worker(0)), New(0)], "a ready one first, then the emptiest of those that start");
    assert_eq!((on(&plan, At(worker(1))), on(&plan, New(0))), (4, 5));
}

#[test]
fn a_batch_for_new_workers_is_even_on_them_and_on_spare_ones() {
    let plan = place(15, [], &SPREAD, BOUNDS);
    assert_eq!((plan.new_workers, on(&plan, New(0)), on(&plan, New(1))), (2, 8, 7));
    let plan = place(6, [], &PlacementRule { spare_workers: 2, ..SPREAD }, BOUNDS);
    assert_eq!((plan.new_workers, on(&plan, New(0)), on(&plan, New(1)), on(&plan, New(2))), (1, 2, 2, 2));
    let plan = place(6, [], &PlacementRule { spare_workers: 2, ..PACK }, BOUNDS);
    assert_eq!((plan.new_workers, on(&plan, New(0))), (1, 6), "packed, they stay empty");
}

fn share(percent: u64) -> Share {
    Share { used: percent, granted: 100 }
}

/// Workers whose processors are in use to so many percent by so many agents each.
fn loads(workers: &[(u64, u32)]) -> PoolLoads {
    let load = |(n, (percent, agents)): (usize, &(u64, u32))| {
        (worker(n as u128), MeasuredLoad::new(share(*percent), share(0), *agents))
    };
    workers.iter().enumerate().map(load).collect()
}

#[test]
fn the_least_loaded_is_next_whether_processors_or_memory_run_short() {
    let measured: PoolLoads = [
        (worker(0), MeasuredLoad::new(share(30), share(5), 1)),
        (worker(1), MeasuredLoad::new(share(5), share(40), 1)),
        (worker(2), MeasuredLoad::new(share(20), share(20), 1)),
    ]
    .into_iter()
    .collect();
    // An agent counts 30% on average.
    let rule = PlacementRule { loads: Some(&measured), ..LEAST_LOADED };
    let plan = place(4, ready(&[(9, 1), (9, 1), (9, 1)]), &rule, BOUNDS);
    assert_eq!(plan.slots, [2, 0, 1, 2].map(|n| At(worker(n))));
}

#[test]
fn a_batch_does_not_all_go_to_the_one_that_was_idle() {
    let measured = loads(&[(8, 4), (8, 4), (0, 4)]);
    let rule = PlacementRule { loads: Some(&measured), ..LEAST_LOADED };
    let plan = place(12, ready(&[(26, 4), (26, 4), (26, 4)]), &rule, BOUNDS);
    // Twelve agents have 16%, so one more counts 1.33%: six make up for the 8%, and the others go round.
    assert_eq!([0, 1, 2].map(|n| on(&plan, At(worker(n)))), [2, 2, 8]);
    // The same, when they come one after the other and nobody measures in between.
    let mut slots = [(26, 4), (26, 4), (26, 4)];
    for _ in 0..12 {
        let At(next) = place(1, ready(&slots), &rule, BOUNDS).slots[0] else { panic!("there is room") };
        let slot = &mut slots[next.as_uuid().as_u128() as usize];
        *slot = (slot.0 - 1, slot.1 + 1);
    }
    assert_eq!(slots.map(|(_, taken)| taken - 4), [2, 2, 8]);
}

#[test]
fn a_worker_counts_by_its_agents_where_it_was_not_measured_and_less_when_some_have_gone() {
    let measured = loads(&[(40, 4), (20, 2)]);
    let millionths = |n: u128, taken: u32| measured.expected(worker(n), taken);
    assert_eq!(
        (millionths(0, 4), millionths(0, 5), millionths(0, 1), millionths(0, 0)),
        (400_000, 500_000, 100_000, 0)
    );
    assert_eq!((millionths(7, 0), millionths(7, 3)), (0, 300_000), "nobody has measured it");
    assert_eq!(PoolLoads::default().expected(worker(0), 2), 2_000);
    let idle: PoolLoads = [(worker(0), MeasuredLoad::new(share(0), share(0), 3))].into_iter().collect();
    assert_eq!(idle.expected(worker(0), 5), 2_000, "who rests counts a little too");
    let nothing_granted = Share { used: u64::MAX, granted: 0 };
    let wrong: PoolLoads = [(worker(0), MeasuredLoad::new(nothing_granted, share(1), 1))].into_iter().collect();
    assert_eq!(wrong.expected(worker(0), 9), u64::MAX);
}

#[test]
fn agents_go_where_their_project_is_while_there_is_room() {
    let mut affinity = ProjectAffinity { projects: vec![Some("shop"); 3], ..ProjectAffinity::default() };
    affinity.workers.insert("shop", vec![worker(1), worker(9)]);
    let workers = ready(&[(1, 9), (2, 8), (10, 0)]);
    let slots = |rule: PlacementRule<'_>| place(3, workers.clone(), &rule, BOUNDS).slots;
    assert_eq!(slots(PACK), [0, 1, 1].map(|n| At(worker(n))), "nobody asks");
    let with = |rule| slots(PlacementRule { affinity: Some(&affinity), ..rule });
    assert_eq!(with(PACK), [1, 1, 0].map(|n| At(worker(n))), "then the fullest");
    assert_eq!(with(SPREAD), [1, 1, 2].map(|n| At(worker(n))), "then the emptiest");
}

#[test]
fn agents_of_a_project_stay_together_on_new_workers_too() {
    let projects: Vec<_> = (0..8).map(|n| if n == 7 { None } else { Some(["shop", "blog"][n % 2]) }).collect();
    let affinity = ProjectAffinity { projects, ..ProjectAffinity::default() };
    let rule = PlacementRule { affinity: Some(&affinity), ..SPREAD };
    let plan = place(8, [], &rule, PlacementLimits { capacity: 4, ..BOUNDS });
    assert_eq!(plan.slots, [0, 1, 0, 1, 0, 1, 0, 1].map(New));
}

#[test]
fn a_thousand_workers_and_ten_thousand_agents_are_arranged_without_looking_at_each_for_each() {
    let workers = ready(&vec![(20, 0); 1_000]);
    let names: Vec<String> = (0..100).map(|n| format!("project {n}")).collect();
    let ten = |n: usize| (0..10).map(|k| worker((n * 10 + k) as u128)).collect();
    let affinity = ProjectAffinity {
        projects: (0..10_000).map(|n| Some(names[n % 100].as_str())).collect(),
        workers: names.iter().enumerate().map(|(n, name)| (name.as_str(), ten(n))).collect(),
    };
    let begun = std::time::Instant::now();
    let spread = place(10_000, workers.clone(), &SPREAD, BOUNDS);
    let together = place(10_000, workers, &PlacementRule { affinity: Some(&affinity), ..LEAST_LOADED }, BOUNDS);
    let took = begun.elapsed();
    assert!(counts(&spread).values().chain(counts(&together).values()).all(|count| *count == 10));
    // A few milliseconds, optimized; ten million looks would take seconds as the tests are built.
    assert!(took < std::time::Duration::from_secs(2), "{took:?}");
}

/// A batch as a property test makes it.
#[derive(Clone, Debug)]
struct Batch {
    agents: usize,
    candidates: Vec<PlacementCandidate>,
    measured: Option<PoolLoads>,
    projects: Vec<Option<&'static str>>,
    homes: HashMap<&'static str, Vec<ProcessId>>,
    asks_projects: bool,
    spare_workers: usize,
    limits: PlacementLimits,
}

const PROJECTS: [&str; 3] = ["shop", "blog", "game"];

fn batches() -> impl Strategy<Value = Batch> {
    let workers = prop::collection::vec((0_u32..8, 0_u32..6, any::<bool>(), 0_u64..100, 0_u32..6, 0_u8..8), 0..8);
    let limits = (1_u32..8, 0_u32..12, any::<bool>());
    let agents = prop::collection::vec(0_usize..4, 0..60);
    let rule = (any::<bool>(), any::<bool>(), 0_usize..3);
    (workers, limits, agents, rule).prop_map(
        |(workers, limits, agents, (is_measured, asks_projects, spare_workers))| {
            let mut batch = Batch {
                agents: agents.len(),
                candidates: Vec::new(),
                measured: None,
                projects: agents.iter().map(|n| PROJECTS.get(*n).copied()).collect(),
                homes: HashMap::new(),
                asks_projects,
                spare_workers,
                limits: PlacementLimits {
                    capacity: limits.0,
                    open_workers: workers.len() as u32,
                    max_workers: limits.1,
                    room: u32::MAX,
                    may_start: limits.2,
                },
            };
            let mut measured = Vec::new();
            for (n, (free, taken, is_ready, percent, agents, projects)) in workers.into_iter().enumerate() {
                let process_id = worker(n as u128);
                batch.candidates.push(PlacementCandidate { process_id, is_ready, free, taken });
                measured
                    .extend((n % 3 != 2).then(|| (process_id, MeasuredLoad::new(share(percent), share(3), agents))));
                for (_, project) in PROJECTS.into_iter().enumerate().filter(|(bit, _)| projects & (1 << bit) != 0) {
                    batch.homes.entry(project).or_default().push(process_id);
                }
            }
            batch.candidates.sort_by_key(|worker| (!worker.is_ready, worker.free, worker.process_id));
            batch.measured = is_measured.then(|| measured.into_iter().collect());
            batch
        },
    )
}

impl Batch {
    fn place(&self, strategy: PlacementStrategy) -> Placement {
        let affinity = ProjectAffinity { projects: self.projects.clone(), workers: self.homes.clone() };
        let rule = PlacementRule {
            strategy,
            loads: self.measured.as_ref(),
            affinity: self.asks_projects.then_some(&affinity),
            spare_workers: self.spare_workers,
        };
        place(self.agents, self.candidates.clone(), &rule, self.limits)
    }

    /// The agents in the order in which they are placed: those of a project where its first one stands.
    fn order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.agents).collect();
        if self.asks_projects {
            let first = |agent: &usize| self.projects.iter().position(|one| *one == self.projects[*agent]);
            order.sort_by_key(first);
        }
        order
    }
}

/// A worker while a plan is followed step by step.
#[derive(Clone, Debug)]
struct Followed {
    slot: SlotChoice,
    stage: u8,
    free: u32,
    taken: u32,
    added: u64,
    projects: Vec<&'static str>,
}

fn followed(batch: &Batch, plan: &Placement, strategy: PlacementStrategy) -> Vec<Followed> {
    let of = |candidate: &PlacementCandidate| Followed {
        slot: At(candidate.process_id),
        stage: u8::from(!candidate.is_ready),
        free: candidate.free,
        taken: candidate.taken,
        added: 0,
        projects: batch
            .homes
            .iter()
            .filter(|(_, at)| at.contains(&candidate.process_id))
            .map(|(name, _)| *name)
            .collect(),
    };
    let stage = if strategy == PlacementStrategy::Pack { 2 } else { 1 };
    let capacity = batch.limits.capacity;
    let new = |n| Followed { slot: New(n), stage, free: capacity, taken: 0, added: 0, projects: vec![] };
    batch.candidates.iter().map(of).chain((0..plan.new_workers + batch.spare_workers).map(new)).collect()
}

/// What counts for this worker under the strategy; the least is next.
fn weight(one: &Followed, strategy: PlacementStrategy, loads: &PoolLoads) -> (u8, u64) {
    let weight = match strategy {
        PlacementStrategy::Pack => one.free.into(),
        PlacementStrategy::Spread => one.taken.into(),
        PlacementStrategy::LeastLoaded => {
            let began = match one.slot {
                At(id) => loads.expected(id, one.taken - one.added as u32),
                _ => 0,
            };
            began + one.added * loads.of_an_agent()
        }
    };
    (one.stage, weight)
}

proptest! {
    /// No worker gets more than its free slots, no new one more than its capacity, no pool more than its bound, and nobody is turned away
    /// while there is room.
    #[test]
    fn never_too_many_and_never_too_few(batch in batches()) {
        for strategy in PlacementStrategy::all() {
            let plan = batch.place(strategy);
            prop_assert_eq!(plan.slots.len(), batch.agents);
            for candidate in &batch.candidates {
                prop_assert!(on(&plan, At(candidate.process_id)) <= candidate.free as usize);
            }
            let limits = batch.limits;
            for n in 0..plan.new_workers {
                let taken = on(&plan, New(n));
                prop_assert!(taken <= limits.capacity as usize && (taken > 0 || batch.spare_workers > 0));
            }
            if limits.max_workers > 0 {
                prop_assert!(plan.new_workers as u32 <= limits.max_workers.saturating_sub(limits.open_workers));
            }
            let placed = plan.slots.iter().filter(|slot| matches!(slot, At(_) | New(_))).count();
            let slots: u32 = batch.candidates.iter().map(|candidate| candidate.free).sum();
            prop_assert!(placed >= batch.agents.min(slots as usize));
            let is_at_bound =
                limits.max_workers > 0 && plan.new_workers as u32 + limits.open_workers >= limits.max_workers;
            prop_assert!(placed == batch.agents || !limits.may_start || is_at_bound);
        }
    }

    /// A strategy says who goes where, and nothing else: as many are placed, wait and are turned away, the same ones, and as many workers
    /// are started for the same reason.
    #[test]
    fn every_strategy_finds_as_much_room(batch in batches()) {
        let plain = Batch { asks_projects: false, ..batch.clone() }.place(PlacementStrategy::Pack);
        let sort = |slot: &SlotChoice| match slot {
            At(_) | New(_) => "placed",
            SlotChoice::Wait => "waits",
            SlotChoice::Full => "full",
        };
        let sorts = |plan: &Placement| plan.slots.iter().map(sort).collect::<Vec<_>>();
        for strategy in PlacementStrategy::all() {
            let plan = batch.place(strategy);
            prop_assert_eq!((plan.new_workers, &plan.reason), (plain.new_workers, &plain.reason));
            prop_assert_eq!(sorts(&plan), sorts(&plain));
        }
    }

    /// Each agent goes to a worker than which no other with room is preferred: by affinity first, then by how far it is, then by the
    /// strategy.
    #[test]
    fn nobody_goes_to_one_while_a_better_one_has_room(batch in batches()) {
        let unmeasured = PoolLoads::default();
        let loads = batch.measured.as_ref().unwrap_or(&unmeasured);
        for strategy in PlacementStrategy::all() {
            let plan = batch.place(strategy);
            let mut workers = followed(&batch, &plan, strategy);
            for agent in batch.order() {
                let project = batch.projects[agent].filter(|_| batch.asks_projects);
                let is_home = |one: &Followed| project.is_some_and(|project| one.projects.contains(&project));
                let key = |one: &Followed| (!is_home(one), weight(one, strategy, loads));
                let slot = plan.slots[agent];
                let best = workers.iter().filter(|one| one.free > 0).map(key).min();
                let Some(chosen) = workers.iter_mut().find(|one| one.slot == slot) else {
                    prop_assert!(matches!(slot, SlotChoice::Wait | SlotChoice::Full));
                    continue;
                };
                prop_assert_eq!(Some(key(chosen)), best, "{:?} {:?}", strategy, plan);
                (chosen.free, chosen.taken, chosen.added) = (chosen.free - 1, chosen.taken + 1, chosen.added + 1);
                chosen.projects.extend(project);
            }
        }
    }

    /// Of workers that are equal at the beginning none with room has two more than another one.
    #[test]
    fn spread_is_even(agents in 0_usize..80, workers in 1_usize..8, taken in 0_u32..4, capacity in 1_u32..12) {
        let limits = PlacementLimits { capacity, open_workers: workers as u32, ..BOUNDS };
        let plan = place(agents, ready(&vec![(capacity, taken); workers]), &SPREAD, limits);
        let even = |slots: Vec<SlotChoice>| {
            let (least, most) = slots.iter().fold((usize::MAX, 0), |(least, most), slot| {
                let count = on(&plan, *slot);
                (least.min(count), most.max(count))
            });
            most - least.min(most) <= 1
        };
        prop_assert!(even((0..workers).map(|n| At(worker(n as u128))).collect()));
        prop_assert!(even((0..plan.new_workers).map(New).collect()));
    }
}
