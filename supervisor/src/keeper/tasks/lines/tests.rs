//! What is in memory of lines, and what is chosen from it.

use std::collections::{BTreeMap, BTreeSet};

use muster_domain::{Payload, Tally, Usage};
use muster_policy::dispatch::{self, Idle, Queue, Tenant};
use muster_store::SHORT_INPUT;
use uuid::Uuid;

use super::*;

fn task(n: u128) -> QueuedTask {
    QueuedTask {
        task_id: id(n),
        tenant: "t".to_owned(),
        priority: Priority::NORMAL,
        project_id: None,
        agent_id: None,
        check: false,
        max_attempts: 3,
        timeout: None,
        expires_at: None,
        attempt: 0,
        tally: Tally::default(),
        usage: Usage::default(),
        created_at: Timestamp::from_millis(0),
        input: None,
    }
}

fn of(tenant: usize, priority: u8, n: u128) -> QueuedTask {
    QueuedTask { tenant: name(tenant), priority: level(priority), ..task(n) }
}

fn name(tenant: usize) -> String {
    format!("tenant-{tenant:04}")
}

fn level(priority: u8) -> Priority {
    priority.try_into().expect("a priority")
}

fn id(n: u128) -> TaskId {
    TaskId::from_uuid(Uuid::from_u128(n))
}

fn number(id: TaskId) -> u128 {
    id.as_uuid().as_u128()
}

fn any(_: &str) -> Share {
    Share::ANY
}

fn shown(lines: &Lines) -> Vec<u128> {
    let heads = lines.heads(usize::MAX, &Rota::default(), any);
    heads.lines.iter().flat_map(|(_, _, tasks)| tasks.iter().map(|task| number(task.task_id))).collect()
}

/// The ready tasks of a store.
type Shelf = BTreeMap<LineKey, BTreeSet<u128>>;

fn shelf(tasks: impl IntoIterator<Item = u128>) -> Shelf {
    BTreeMap::from([(key_of(&task(1)), tasks.into_iter().collect())])
}

/// Reads what is missing, and says how many reads that took.
fn refill(lines: &mut Lines, seats: usize, rota: &Rota, shelf: &Shelf) -> usize {
    read(lines, seats, rota, any, shelf)
}

fn read(lines: &mut Lines, seats: usize, rota: &Rota, share: impl Fn(&str) -> Share, shelf: &Shelf) -> usize {
    let gaps = lines.gaps(seats, rota, share, |_| Some(1));
    for gap in &gaps {
        let after = gap.after.map_or(0, number);
        let tasks = shelf.get(&gap.line).into_iter().flatten().filter(|n| **n > after).take(gap.limit as usize);
        let row = |n: &u128| match &gap.line {
            LineKey::Shared { tenant, priority } => {
                QueuedTask { tenant: tenant.clone(), priority: *priority, ..task(*n) }
            }
            LineKey::Own(agent) => QueuedTask { agent_id: Some(*agent), ..task(*n) },
        };
        lines.fill(gap, tasks.map(row).collect());
    }
    gaps.len()
}

/// What the policy chooses, for so many idle agents.
fn choose(heads: &Heads, agents: usize, rota: &mut Rota, share: impl Fn(&str) -> Share) -> Vec<(LineKey, TaskId)> {
    let names: BTreeSet<&String> = heads.lines.iter().map(|(_, tenant, _)| tenant).collect();
    let names: Vec<&String> = names.into_iter().collect();
    let tenants = names.iter().map(|name| {
        let Share { weight, allowance } = share(name);
        Tenant { name, weight, allowance }
    });
    let lines = heads.lines.iter().map(|(priority, tenant, tasks)| dispatch::Line {
        priority: *priority,
        tenant: names.binary_search(&tenant).expect("a name"),
        tasks,
    });
    let idle = (0..agents).map(|n| Idle {
        agent_id: AgentId::from_uuid(Uuid::from_u128(n as u128)),
        project_id: "p",
        room: 1,
        own: &[],
    });
    let queue = Queue { tenants: tenants.collect(), lines: lines.collect(), idle: idle.collect(), most: u32::MAX };
    let chosen = dispatch::dispatch(&queue, rota).into_iter();
    chosen.map(|choice| (heads.key(choice.line.expect("a shared line")).expect("a line"), choice.task_id)).collect()
}

#[test]
fn what_is_ready_is_in_the_order_of_age() {
    let mut lines = Lines::default();
    [3, 1, 2].into_iter().for_each(|n| lines.add(task(n)));
    assert_eq!(shown(&lines), [1, 2, 3]);
    let key = key_of(&task(1));
    assert!(lines.take(&key, id(2)).is_some() && lines.take(&key, id(1)).is_some());
    assert!(lines.take(&key, id(9)).is_none() && lines.take(&key, id(3)).is_some());
    assert!(lines.is_empty() && lines.held == 0);
}

#[test]
fn a_long_line_is_held_in_part_and_nothing_of_it_is_lost_or_doubled() {
    let mut lines = Lines::default();
    let all: Vec<u128> = (1..=10_000).collect();
    all.iter().for_each(|n| lines.add(task(*n)));
    let mut seen = Vec::new();
    let mut store = shelf(all.clone());
    while !lines.is_empty() {
        refill(&mut lines, 100, &Rota::default(), &store);
        let head = shown(&lines);
        assert!(head.len() <= 2 * HEAD.end(), "{} in memory", head.len());
        for n in head.into_iter().take(100) {
            assert!(lines.take(&key_of(&task(n)), id(n)).is_some());
            store.values_mut().for_each(|line| line.retain(|other| *other != n));
            seen.push(n);
        }
    }
    assert_eq!(seen, all);
}

#[test]
fn a_task_behind_the_head_is_left_to_the_store_and_one_within_it_is_not() {
    let mut lines = Lines::default();
    lines.expect(&key_of(&task(1)), id(1));
    lines.add(task(5));
    assert_eq!(shown(&lines), [0_u128; 0], "nothing was read yet, so its place is not known");
    refill(&mut lines, 1, &Rota::default(), &shelf((1..=3_000).filter(|n| *n != 7)));
    assert_eq!(shown(&lines).len(), *HEAD.end());
    lines.add(task(7));
    lines.add(task(5_000));
    let head = shown(&lines);
    assert!(head.contains(&7) && !head.contains(&5_000));
}

#[test]
fn an_expected_line_that_turns_out_empty_is_gone() {
    let mut lines = Lines::default();
    let agent = AgentId::generate();
    lines.expect(&key_of(&task(1)), id(1));
    lines.expect(&LineKey::Own(agent), id(2));
    assert!(lines.is_short(agent, 1) && lines.heads(1, &Rota::default(), any).is_short);
    refill(&mut lines, 1, &Rota::default(), &Shelf::new());
    assert!(lines.is_empty());
}

#[test]
fn the_age_of_the_oldest_is_known_before_it_is_read() {
    let at = Timestamp::from_millis(1_700_000_000_000);
    let mut lines = Lines::default();
    lines.expect(&key_of(&task(1)), TaskId::first_at(at));
    assert_eq!(lines.oldest(), Some(at));
}

#[test]
fn only_the_lines_whose_turn_is_next_are_read_and_shown() {
    let mut lines = Lines::default();
    let mut store = Shelf::new();
    for tenant in 0..5_000 {
        let task = of(tenant, 5, tenant as u128 + 1);
        lines.expect(&key_of(&task), task.task_id);
        store.insert(key_of(&task), [number(task.task_id)].into());
    }
    let mut rota = Rota::default();
    let mut served = Vec::new();
    while !lines.is_empty() {
        assert!(refill(&mut lines, 100, &rota, &store) <= 100);
        let heads = lines.heads(10, &rota, any);
        assert!(heads.lines.len() == 10 && !heads.is_short);
        for (key, id) in choose(&heads, 10, &mut rota, any) {
            assert!(lines.take(&key, id).is_some());
            served.push(number(id));
        }
    }
    assert_eq!(served, (1..=5_000).collect::<Vec<u128>>());
}

#[test]
fn a_heavy_tenant_has_its_whole_turn_in_memory() {
    let mut lines = Lines::default();
    let mut store = Shelf::new();
    for n in 0..10_000 {
        let task = of(if n < 5_000 { 0 } else { n }, 5, n as u128 + 1);
        lines.expect(&key_of(&task), task.task_id);
        store.entry(key_of(&task)).or_default().insert(number(task.task_id));
    }
    let weights = |tenant: &str| Share { weight: if tenant == name(0) { 300 } else { 1 }, ..Share::ANY };
    for gap in lines.gaps(1_000, &Rota::default(), weights, |_| Some(1)) {
        let rows = store[&gap.line].iter().take(gap.limit as usize).map(|n| task(*n)).collect();
        lines.fill(&gap, rows);
    }
    let heads = lines.heads(400, &Rota::default(), weights);
    let chosen = choose(&heads, 400, &mut Rota::default(), weights);
    assert_eq!(chosen.iter().filter(|(_, id)| number(*id) <= 5_000).count(), 300);
}

#[test]
fn large_tasks_of_many_tenants_are_not_read_again_and_again() {
    let mut lines = Lines::default();
    let large = "x".repeat(SHORT_INPUT as usize - 2);
    let input = Payload::trusted(format!("\"{large}\""));
    for n in 0..1_000 {
        lines.expect(&key_of(&of(n, 5, 1)), id(1));
    }
    for gap in lines.gaps(1_000, &Rota::default(), any, |_| Some(1)) {
        let rows = (1..=u128::from(gap.limit)).map(|n| QueuedTask { input: Some(input.clone()), ..task(n) }).collect();
        lines.fill(&gap, rows);
    }
    assert!(lines.gaps(1_000, &Rota::default(), any, |_| Some(1)).is_empty(), "{} bytes in memory", lines.held);
}

/// The policy sees a few lines, of which little is in memory, and what it starts is as urgent and as much as if it saw them all.
#[test]
fn what_is_shown_decides_as_everything_would() {
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let tenants = random.usize(1..40);
        let shares: BTreeMap<String, Share> = (0..tenants)
            .map(|tenant| {
                let allowance = if random.bool() { u32::MAX } else { random.u32(0..4) };
                (name(tenant), Share { weight: random.u32(1..4), allowance })
            })
            .collect();
        let share = |tenant: &str| shares[tenant];
        // Half of them have all in memory: then even the order is the same.
        let (most, is_all) = if random.bool() { (IN_MEMORY, true) } else { (task(1).size(), false) };
        let (mut lines, mut everything, mut store) = (Lines::of(most), Lines::default(), Shelf::new());
        for n in 1..random.u128(2..300) {
            let task = of(random.usize(0..tenants), random.u8(3..6), n);
            store.entry(key_of(&task)).or_default().insert(n);
            lines.add(task.clone());
            everything.add(task);
        }
        let mut rota = Rota::default();
        for turn in 0..20 {
            let agents = random.usize(1..12);
            let mut theirs = rota.clone();
            let expected = choose(&everything.heads(usize::MAX, &rota, any), agents, &mut theirs, share);
            let chosen = choose_in_turns(&mut lines, &store, agents, &mut rota, share);
            let urgency = |chosen: &[(LineKey, TaskId)]| {
                let of = |key: &LineKey| match key {
                    LineKey::Shared { priority, .. } => priority.get(),
                    LineKey::Own(_) => panic!("there are none"),
                };
                chosen.iter().map(|(key, _)| of(key)).collect::<Vec<u8>>()
            };
            assert_eq!(urgency(&chosen), urgency(&expected), "seed {seed}, turn {turn}");
            assert!(!is_all || (&chosen, &rota) == (&expected, &theirs), "seed {seed}, turn {turn}");
            for (key, id) in chosen {
                assert!(everything.take(&key, id).is_some(), "it is the store's");
                store.get_mut(&key).expect("a line").remove(&number(id));
            }
        }
    }
}

/// What the policy chooses, looking again as long as more has to be read.
fn choose_in_turns(
    lines: &mut Lines,
    shelf: &Shelf,
    agents: usize,
    rota: &mut Rota,
    share: impl Fn(&str) -> Share,
) -> Vec<(LineKey, TaskId)> {
    let (mut chosen, mut spent) = (Vec::new(), BTreeMap::<String, u32>::new());
    let mut shelf = shelf.clone();
    loop {
        let left = |tenant: &str| {
            let Share { weight, allowance } = share(tenant);
            Share { weight, allowance: allowance.saturating_sub(spent.get(tenant).copied().unwrap_or(0)) }
        };
        let free = agents - chosen.len();
        read(lines, agents, rota, left, &shelf);
        let heads = lines.heads(free, rota, left);
        let some = choose(&heads, free, rota, left);
        for (key, id) in &some {
            assert!(lines.take(key, *id).is_some());
            let LineKey::Shared { tenant, .. } = key else { panic!("there are none") };
            if share(tenant).allowance < u32::MAX {
                *spent.entry(tenant.clone()).or_default() += 1;
            }
            shelf.get_mut(key).expect("a line").remove(&number(*id));
        }
        chosen.extend(some);
        if !heads.is_short {
            return chosen;
        }
    }
}

#[test]
fn lines_that_start_nothing_shorten_nobodys_head() {
    for others in [10, 5_000] {
        let (mut lines, mut store) = (Lines::default(), Shelf::new());
        for n in 0..others + 5_000 {
            // Of other tenants, which are less urgent or may start nothing; and of one.
            let task =
                if n < others { of(n + 1, 3 + (n % 2) as u8 * 2, n as u128 + 1) } else { of(0, 5, n as u128 + 1) };
            lines.expect(&key_of(&task), task.task_id);
            store.entry(key_of(&task)).or_default().insert(n as u128 + 1);
        }
        let is_low = |tenant: &str| tenant != name(0);
        let share = |tenant: &str| Share { weight: 1, allowance: if is_low(tenant) { 0 } else { u32::MAX } };
        for shares in [&any as &dyn Fn(&str) -> Share, &share] {
            let chosen = choose_in_turns(&mut lines, &store, 400, &mut Rota::default(), shares);
            assert_eq!(chosen.len(), 400);
            let of_one = chosen.iter().filter(|(_, id)| number(*id) > others as u128).count();
            let fair = 400 / (1 + others / 2).min(400);
            assert!(of_one >= if shares(&name(1)).allowance == 0 { 400 } else { fair }, "{of_one} beside {others}");
            for (key, id) in chosen {
                store.get_mut(&key).expect("a line").remove(&number(id));
            }
        }
    }
}

/// However little memory there is, and whatever comes and goes: each task is chosen once, and nothing is forgotten.
#[test]
fn a_small_memory_loses_nothing() {
    for seed in 0..50 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut lines = Lines::of(32 * task(1).size());
        let (mut rota, mut store, mut next) = (Rota::default(), Shelf::new(), 0);
        let mut seen = BTreeSet::new();
        for turn in 0.. {
            refill(&mut lines, 8, &rota, &store);
            if turn < 60 {
                for _ in 0..random.usize(0..20) {
                    next += 1;
                    let task = of(random.usize(0..100), random.u8(4..6), next);
                    store.entry(key_of(&task)).or_default().insert(next);
                    lines.add(task);
                }
            }
            // What there may be, one task more, and what a turn reads.
            assert!(lines.held <= (33 + 8 * HEAD.start()) * of(0, 5, 1).size(), "{} bytes in memory", lines.held);
            assert_eq!(lines.held, lines.lines().flat_map(Line::tasks).map(QueuedTask::size).sum::<usize>());
            let agents = random.usize(0..8);
            let heads = lines.heads(agents, &rota, any);
            for (key, id) in choose(&heads, agents, &mut rota, any) {
                let oldest = store[&key].first().copied();
                assert_eq!(oldest, Some(number(id)), "seed {seed}: the oldest of its line");
                assert!(lines.take(&key, id).is_some() && seen.insert(number(id)));
                store.get_mut(&key).expect("a line").remove(&number(id));
            }
            if turn >= 60 && lines.is_empty() {
                break;
            }
            assert!(turn < 2_000, "seed {seed}: {} of {next} were chosen", seen.len());
        }
        assert_eq!(seen.len() as u128, next, "seed {seed}");
    }
}
