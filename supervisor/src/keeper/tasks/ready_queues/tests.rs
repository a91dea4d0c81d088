//! What is in memory of queues, and what is chosen from it.

use std::collections::{BTreeMap, BTreeSet};

use muster_domain::Payload;
use muster_policy::dispatch::{self, DispatchInput, IdleAgent, Tenant};
use muster_store::{AttemptTotals, SHORT_INPUT};
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
        totals: AttemptTotals::default(),
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

fn any(_: &str) -> TenantShare {
    TenantShare::ANY
}

fn shown(queues: &ReadyQueues) -> Vec<u128> {
    let heads = queues.heads(usize::MAX, &RoundRobin::default(), any);
    heads.queues.iter().flat_map(|(_, _, tasks)| tasks.iter().map(|task| number(task.task_id))).collect()
}

/// The ready tasks of a store.
type StoredQueues = BTreeMap<QueueKey, BTreeSet<u128>>;

fn shelf(tasks: impl IntoIterator<Item = u128>) -> StoredQueues {
    BTreeMap::from([(key_of(&task(1)), tasks.into_iter().collect())])
}

/// Reads what is missing, and says how many reads that took.
fn refill(queues: &mut ReadyQueues, starts: usize, round_robin: &RoundRobin, shelf: &StoredQueues) -> usize {
    read(queues, starts, round_robin, any, shelf)
}

fn read(
    queues: &mut ReadyQueues,
    starts: usize,
    round_robin: &RoundRobin,
    share: impl Fn(&str) -> TenantShare,
    shelf: &StoredQueues,
) -> usize {
    let gaps = queues.gaps(starts, round_robin, share, |_| Some(1));
    for gap in &gaps {
        let after = gap.after.map_or(0, number);
        let tasks = shelf.get(&gap.queue).into_iter().flatten().filter(|n| **n > after).take(gap.limit as usize);
        let row = |n: &u128| match &gap.queue {
            QueueKey::Shared { tenant, priority } => {
                QueuedTask { tenant: tenant.clone(), priority: *priority, ..task(*n) }
            }
            QueueKey::Own(agent) => QueuedTask { agent_id: Some(*agent), ..task(*n) },
        };
        queues.fill(gap, tasks.map(row).collect());
    }
    gaps.len()
}

/// What the policy chooses, for so many idle agents.
fn choose(
    heads: &QueueHeads,
    agents: usize,
    round_robin: &mut RoundRobin,
    share: impl Fn(&str) -> TenantShare,
) -> Vec<(QueueKey, TaskId)> {
    let names: BTreeSet<&String> = heads.queues.iter().map(|(_, tenant, _)| tenant).collect();
    let names: Vec<&String> = names.into_iter().collect();
    let tenants = names.iter().map(|name| {
        let TenantShare { weight, allowance } = share(name);
        Tenant { name, weight, allowance }
    });
    let queues = heads.queues.iter().map(|(priority, tenant, tasks)| dispatch::QueueHead {
        priority: *priority,
        tenant: names.binary_search(&tenant).expect("a name"),
        tasks,
    });
    let idle = (0..agents).map(|n| IdleAgent {
        agent_id: AgentId::from_uuid(Uuid::from_u128(n as u128)),
        project_id: "p",
        room: 1,
        own: &[],
    });
    let queue =
        DispatchInput { tenants: tenants.collect(), queues: queues.collect(), idle: idle.collect(), most: u32::MAX };
    let chosen = dispatch::dispatch(&queue, round_robin).into_iter();
    chosen.map(|choice| (heads.key(choice.queue.expect("a shared line")).expect("a line"), choice.task_id)).collect()
}

#[test]
fn what_is_ready_is_in_the_order_of_age() {
    let mut queues = ReadyQueues::default();
    [3, 1, 2].into_iter().for_each(|n| queues.add(task(n)));
    assert_eq!(shown(&queues), [1, 2, 3]);
    let key = key_of(&task(1));
    assert!(queues.take(&key, id(2)).is_some() && queues.take(&key, id(1)).is_some());
    assert!(queues.take(&key, id(9)).is_none() && queues.take(&key, id(3)).is_some());
    assert!(queues.is_empty() && queues.held == 0);
}

#[test]
fn a_long_queue_is_held_in_part_and_nothing_of_it_is_lost_or_doubled() {
    let mut queues = ReadyQueues::default();
    let all: Vec<u128> = (1..=10_000).collect();
    all.iter().for_each(|n| queues.add(task(*n)));
    let mut seen = Vec::new();
    let mut store = shelf(all.clone());
    while !queues.is_empty() {
        refill(&mut queues, 100, &RoundRobin::default(), &store);
        let head = shown(&queues);
        assert!(head.len() <= 2 * HEAD.end(), "{} in memory", head.len());
        for n in head.into_iter().take(100) {
            assert!(queues.take(&key_of(&task(n)), id(n)).is_some());
            store.values_mut().for_each(|queue| queue.retain(|other| *other != n));
            seen.push(n);
        }
    }
    assert_eq!(seen, all);
}

#[test]
fn a_task_behind_the_head_is_left_to_the_store_and_one_within_it_is_not() {
    let mut queues = ReadyQueues::default();
    queues.expect(&key_of(&task(1)), id(1));
    queues.add(task(5));
    assert_eq!(shown(&queues), [0_u128; 0], "nothing was read yet, so its place is not known");
    refill(&mut queues, 1, &RoundRobin::default(), &shelf((1..=3_000).filter(|n| *n != 7)));
    assert_eq!(shown(&queues).len(), *HEAD.end());
    queues.add(task(7));
    queues.add(task(5_000));
    let head = shown(&queues);
    assert!(head.contains(&7) && !head.contains(&5_000));
}

#[test]
fn an_expected_queue_that_turns_out_empty_is_gone() {
    let mut queues = ReadyQueues::default();
    let agent = AgentId::generate();
    queues.expect(&key_of(&task(1)), id(1));
    queues.expect(&QueueKey::Own(agent), id(2));
    assert!(queues.is_short(agent, 1) && queues.heads(1, &RoundRobin::default(), any).is_short);
    refill(&mut queues, 1, &RoundRobin::default(), &StoredQueues::new());
    assert!(queues.is_empty());
}

#[test]
fn the_age_of_the_oldest_is_known_before_it_is_read() {
    let at = Timestamp::from_millis(1_700_000_000_000);
    let mut queues = ReadyQueues::default();
    queues.expect(&key_of(&task(1)), TaskId::first_at(at));
    assert_eq!(queues.oldest(), Some(at));
}

#[test]
fn only_the_queues_whose_turn_is_next_are_read_and_shown() {
    let mut queues = ReadyQueues::default();
    let mut store = StoredQueues::new();
    for tenant in 0..5_000 {
        let task = of(tenant, 5, tenant as u128 + 1);
        queues.expect(&key_of(&task), task.task_id);
        store.insert(key_of(&task), [number(task.task_id)].into());
    }
    let mut round_robin = RoundRobin::default();
    let mut served = Vec::new();
    while !queues.is_empty() {
        assert!(refill(&mut queues, 100, &round_robin, &store) <= 100);
        let heads = queues.heads(10, &round_robin, any);
        assert!(heads.queues.len() == 10 && !heads.is_short);
        for (key, id) in choose(&heads, 10, &mut round_robin, any) {
            assert!(queues.take(&key, id).is_some());
            served.push(number(id));
        }
    }
    assert_eq!(served, (1..=5_000).collect::<Vec<u128>>());
}

#[test]
fn a_heavy_tenant_has_its_whole_turn_in_memory() {
    let mut queues = ReadyQueues::default();
    let mut store = StoredQueues::new();
    for n in 0..10_000 {
        let task = of(if n < 5_000 { 0 } else { n }, 5, n as u128 + 1);
        queues.expect(&key_of(&task), task.task_id);
        store.entry(key_of(&task)).or_default().insert(number(task.task_id));
    }
    let weights = |tenant: &str| TenantShare { weight: if tenant == name(0) { 300 } else { 1 }, ..TenantShare::ANY };
    for gap in queues.gaps(1_000, &RoundRobin::default(), weights, |_| Some(1)) {
        let rows = store[&gap.queue].iter().take(gap.limit as usize).map(|n| task(*n)).collect();
        queues.fill(&gap, rows);
    }
    let heads = queues.heads(400, &RoundRobin::default(), weights);
    let chosen = choose(&heads, 400, &mut RoundRobin::default(), weights);
    assert_eq!(chosen.iter().filter(|(_, id)| number(*id) <= 5_000).count(), 300);
}

#[test]
fn large_tasks_of_many_tenants_are_not_read_again_and_again() {
    let mut queues = ReadyQueues::default();
    let large = "x".repeat(SHORT_INPUT as usize - 2);
    let input = Payload::trusted(format!("\"{large}\""));
    for n in 0..1_000 {
        queues.expect(&key_of(&of(n, 5, 1)), id(1));
    }
    for gap in queues.gaps(1_000, &RoundRobin::default(), any, |_| Some(1)) {
        let rows = (1..=u128::from(gap.limit)).map(|n| QueuedTask { input: Some(input.clone()), ..task(n) }).collect();
        queues.fill(&gap, rows);
    }
    assert!(queues.gaps(1_000, &RoundRobin::default(), any, |_| Some(1)).is_empty(), "{} bytes in memory", queues.held);
}

/// The policy sees a few queues, of which little is in memory, and what it starts is as urgent and as much as if it saw them all.
#[test]
fn what_is_shown_decides_as_everything_would() {
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let tenants = random.usize(1..40);
        let shares: BTreeMap<String, TenantShare> = (0..tenants)
            .map(|tenant| {
                let allowance = if random.bool() { u32::MAX } else { random.u32(0..4) };
                (name(tenant), TenantShare { weight: random.u32(1..4), allowance })
            })
            .collect();
        let share = |tenant: &str| shares[tenant];
        // Half of them have all in memory: then even the order is the same.
        let (most, is_all) = if random.bool() { (IN_MEMORY, true) } else { (task(1).size(), false) };
        let (mut queues, mut everything, mut store) =
            (ReadyQueues::of(most), ReadyQueues::default(), StoredQueues::new());
        for n in 1..random.u128(2..300) {
            let task = of(random.usize(0..tenants), random.u8(3..6), n);
            store.entry(key_of(&task)).or_default().insert(n);
            queues.add(task.clone());
            everything.add(task);
        }
        let mut round_robin = RoundRobin::default();
        for turn in 0..20 {
            let agents = random.usize(1..12);
            let mut theirs = round_robin.clone();
            let expected = choose(&everything.heads(usize::MAX, &round_robin, any), agents, &mut theirs, share);
            let chosen = choose_in_turns(&mut queues, &store, agents, &mut round_robin, share);
            let urgency = |chosen: &[(QueueKey, TaskId)]| {
                let of = |key: &QueueKey| match key {
                    QueueKey::Shared { priority, .. } => priority.get(),
                    QueueKey::Own(_) => panic!("there are none"),
                };
                chosen.iter().map(|(key, _)| of(key)).collect::<Vec<u8>>()
            };
            assert_eq!(urgency(&chosen), urgency(&expected), "seed {seed}, turn {turn}");
            assert!(!is_all || (&chosen, &round_robin) == (&expected, &theirs), "seed {seed}, turn {turn}");
            for (key, id) in chosen {
                assert!(everything.take(&key, id).is_some(), "it is the store's");
                store.get_mut(&key).expect("a line").remove(&number(id));
            }
        }
    }
}

/// What the policy chooses, looking again as long as more has to be read.
fn choose_in_turns(
    queues: &mut ReadyQueues,
    shelf: &StoredQueues,
    agents: usize,
    round_robin: &mut RoundRobin,
    share: impl Fn(&str) -> TenantShare,
) -> Vec<(QueueKey, TaskId)> {
    let (mut chosen, mut spent) = (Vec::new(), BTreeMap::<String, u32>::new());
    let mut shelf = shelf.clone();
    loop {
        let left = |tenant: &str| {
            let TenantShare { weight, allowance } = share(tenant);
            TenantShare { weight, allowance: allowance.saturating_sub(spent.get(tenant).copied().unwrap_or(0)) }
        };
        let free = agents - chosen.len();
        read(queues, agents, round_robin, left, &shelf);
        let heads = queues.heads(free, round_robin, left);
        let some = choose(&heads, free, round_robin, left);
        for (key, id) in &some {
            assert!(queues.take(key, *id).is_some());
            let QueueKey::Shared { tenant, .. } = key else { panic!("there are none") };
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
fn queues_that_start_nothing_shorten_nobodys_head() {
    for others in [10, 5_000] {
        let (mut queues, mut store) = (ReadyQueues::default(), StoredQueues::new());
        for n in 0..others + 5_000 {
            // Of other tenants, which are less urgent or may start nothing; and of one.
            let task =
                if n < others { of(n + 1, 3 + (n % 2) as u8 * 2, n as u128 + 1) } else { of(0, 5, n as u128 + 1) };
            queues.expect(&key_of(&task), task.task_id);
            store.entry(key_of(&task)).or_default().insert(n as u128 + 1);
        }
        let is_low = |tenant: &str| tenant != name(0);
        let share = |tenant: &str| TenantShare { weight: 1, allowance: if is_low(tenant) { 0 } else { u32::MAX } };
        for shares in [&any as &dyn Fn(&str) -> TenantShare, &share] {
            let chosen = choose_in_turns(&mut queues, &store, 400, &mut RoundRobin::default(), shares);
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
        let mut queues = ReadyQueues::of(32 * task(1).size());
        let (mut round_robin, mut store, mut next) = (RoundRobin::default(), StoredQueues::new(), 0);
        let mut seen = BTreeSet::new();
        for turn in 0.. {
            refill(&mut queues, 8, &round_robin, &store);
            if turn < 60 {
                for _ in 0..random.usize(0..20) {
                    next += 1;
                    let task = of(random.usize(0..100), random.u8(4..6), next);
                    store.entry(key_of(&task)).or_default().insert(next);
                    queues.add(task);
                }
            }
            // What there may be, one task more, and what a turn reads.
            assert!(queues.held <= (33 + 8 * HEAD.start()) * of(0, 5, 1).size(), "{} bytes in memory", queues.held);
            assert_eq!(queues.held, queues.queues().flat_map(ReadyQueue::tasks).map(QueuedTask::size).sum::<usize>());
            let agents = random.usize(0..8);
            let heads = queues.heads(agents, &round_robin, any);
            for (key, id) in choose(&heads, agents, &mut round_robin, any) {
                let oldest = store[&key].first().copied();
                assert_eq!(oldest, Some(number(id)), "seed {seed}: the oldest of its line");
                assert!(queues.take(&key, id).is_some() && seen.insert(number(id)));
                store.get_mut(&key).expect("a line").remove(&number(id));
            }
            if turn >= 60 && queues.is_empty() {
                break;
            }
            assert!(turn < 2_000, "seed {seed}: {} of {next} were chosen", seen.len());
        }
        assert_eq!(seen.len() as u128, next, "seed {seed}");
    }
}
