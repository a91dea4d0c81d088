use muster_domain::Executions;
use muster_domain::pool_metrics::{AgentFigures, QueueFigures, SlotFigures};
use muster_process::host::{Granted, Pressure};

use super::super::host_use::AgentUse;
use super::*;

const SECOND: Duration = Duration::from_secs(1);

/// Of one worker, whose keeper has counted this many attempts.
fn picture(kept_since: Instant, worker: ProcessId, attempts: u64) -> PoolPicture {
    let attempts = Executions { total: attempts, succeeded: attempts, failed: 0 };
    PoolPicture {
        pool_name: "p".parse().expect("a name"),
        kept_since,
        slots: SlotFigures { workers: 1, slots: 10, taken: 2, busy: 1, health: 1_000_000 },
        agents: AgentFigures::default(),
        queue: QueueFigures { depth: 7, ..QueueFigures::default() },
        work: WorkFigures { attempts, ..WorkFigures::default() },
        workers: vec![WorkerPicture { process_id: worker, is_ready: true, identity: None, agents: Vec::new() }],
    }
}

/// Of one worker with this processor time, and of trees of one agent: pid, seconds.
fn host(taken_at: u64, worker: ProcessId, cpu: Duration, agent: AgentId, trees: &[(u32, u64)]) -> HostUse {
    let cpu_of = |tree: ProcessKey, total: Duration| TreeCpu { tree, total, members: vec![(tree, total)] };
    let of_tree = |(pid, seconds): &(u32, u64)| AgentUse {
        agent_id: agent,
        cpu: cpu_of((*pid, u64::from(*pid)), Duration::from_secs(*seconds)),
        memory: 100,
    };
    HostUse {
        taken_at,
        granted: Some(Granted { cpu: 2_000_000, memory: 1_000 }),
        pressure: Some(Pressure { cpu: 5, memory: 0, io: 0 }),
        workers: vec![WorkerUse {
            process_id: worker,
            cpu: vec![cpu_of((1, 1), cpu)],
            memory: 500,
            agents: trees.iter().map(of_tree).collect(),
        }],
    }
}

struct World {
    start: Instant,
    worker: ProcessId,
    agent: AgentId,
}

impl World {
    fn new() -> Self {
        Self { start: Instant::now(), worker: ProcessId::generate(), agent: AgentId::generate() }
    }

    /// Two looks ten seconds apart.
    fn compare(&self, then: (&PoolPicture, Option<&HostUse>), now: (&PoolPicture, Option<&HostUse>)) -> Look {
        let before = Before::of(std::slice::from_ref(then.0), then.1, self.start);
        let after = Before::of(std::slice::from_ref(now.0), now.1, self.start + SECOND * 10);
        let at = Timestamp::from_millis(10_000);
        compare(&before, &after, std::slice::from_ref(now.0), now.1, true, at)
    }
}

#[test]
fn figures_are_of_the_time_between_two_looks() {
    let world = World::new();
    let (then, now) = (picture(world.start, world.worker, 5), picture(world.start, world.worker, 8));
    let used =
        |seconds, trees: &[(u32, u64)]| host(100, world.worker, Duration::from_secs(seconds), world.agent, trees);
    let look = world.compare((&then, Some(&used(20, &[(50, 3)]))), (&now, Some(&used(25, &[(50, 4), (120, 1)]))));
    let pool = &look.pools[0];
    assert_eq!((pool.covers, pool.looks, pool.work.attempts.total), (SECOND * 10, 1, 3));
    assert_eq!((pool.cpu_usage(), pool.memory_usage()), (Some(25.0), Some(50.0)), "half a core of two");
    assert_eq!((pool.mean(pool.queue.depth), pool.resources.pressure.cpu), (Some(7.0), 5));
    assert_eq!(look.workers, [(world.worker, TreeUse { cpu: 500_000, memory: 500 })]);
    let [(_, loads)] = &look.loads[..] else { panic!("one pool: {:?}", look.loads) };
    assert_eq!(loads.expected(world.worker, 0), 500_000, "half of the memory is more than a quarter of the processors");
    // The tree with pid 120 began at 120 ticks, after the look at 100.
    assert_eq!(look.agents, [(world.agent, TreeUse { cpu: 200_000, memory: 200 })]);
}

#[test]
fn what_a_tree_used_before_it_was_seen_counts_only_if_it_is_young() {
    let world = World::new();
    let pool = picture(world.start, world.worker, 0);
    let none = host(100, world.worker, Duration::ZERO, world.agent, &[]);
    let old = host(200, world.worker, Duration::ZERO, world.agent, &[(50, 9)]);
    let look = world.compare((&pool, Some(&none)), (&pool, Some(&old)));
    assert_eq!(look.agents, [(world.agent, TreeUse { cpu: 0, memory: 100 })], "nobody knows when it used that");
}

#[test]
fn a_host_that_was_not_measured_leaves_a_gap() {
    let world = World::new();
    let pool = picture(world.start, world.worker, 0);
    let measured = host(100, world.worker, SECOND, world.agent, &[]);
    for (then, now) in [(None, Some(&measured)), (Some(&measured), None), (None, None)] {
        let look = world.compare((&pool, then), (&pool, now));
        assert_eq!((look.pools[0].cpu_usage(), look.pools[0].memory_usage()), (None, None));
        assert_eq!((look.pools[0].mean(7), look.workers.len()), (Some(7.0), 0), "the rest is known");
    }
}

#[test]
fn a_keeper_that_began_since_counts_from_its_beginning() {
    let world = World::new();
    let then = picture(world.start - SECOND, world.worker, 50);
    let now = picture(world.start + SECOND * 4, world.worker, 2);
    let look = world.compare((&then, None), (&now, None));
    assert_eq!((look.pools[0].covers, look.pools[0].work.attempts.total), (SECOND * 6, 2));
}

#[test]
fn a_keeper_that_missed_a_look_is_measured_over_both() {
    let world = World::new();
    let (then, now) = (picture(world.start, world.worker, 5), picture(world.start, world.worker, 8));
    let mut before = Before::of(&[], None, world.start + SECOND * 10);
    let at = Timestamp::from_millis(20_000);
    let later = |pictures: &[PoolPicture]| Before::of(pictures, None, world.start + SECOND * 20);
    let compared = |before: &Before| {
        let now = std::slice::from_ref(&now);
        compare(before, &later(now), now, None, true, at)
    };
    let unknown = compared(&before);
    assert!(unknown.pools.is_empty() && !unknown.is_whole, "nobody knows when its work was done");
    before.work = Before::of(&[then], None, world.start).work;
    let pool = &compared(&before).pools[0];
    assert_eq!((pool.covers, pool.work.attempts.total), (SECOND * 20, 3));
}

#[test]
fn what_ends_without_anybody_waiting_takes_no_time_from_others() {
    let world = World::new();
    let pool = picture(world.start, world.worker, 0);
    let member = |pid: u32, seconds: u64| ((pid, 1), Duration::from_secs(seconds));
    let of = |total, members: Vec<(ProcessKey, Duration)>| {
        let mut host = host(100, world.worker, SECOND * total, world.agent, &[]);
        host.workers[0].cpu[0].members = members;
        host
    };
    // One with 40 s is gone, and the other went from 10 to 15.
    let (then, now) = (of(50, vec![member(1, 10), member(2, 40)]), of(15, vec![member(1, 15)]));
    let look = world.compare((&pool, Some(&then)), (&pool, Some(&now)));
    assert_eq!(look.workers, [(world.worker, TreeUse { cpu: 500_000, memory: 500 })]);
}

#[test]
fn a_worker_that_could_not_be_measured_leaves_a_gap() {
    let world = World::new();
    let mut pool = picture(world.start, world.worker, 0);
    let other = WorkerPicture { process_id: ProcessId::generate(), is_ready: true, identity: None, agents: Vec::new() };
    pool.workers.push(other);
    let measured = host(100, world.worker, SECOND, world.agent, &[]);
    let look = world.compare((&pool, Some(&measured)), (&pool, Some(&measured)));
    assert_eq!((look.pools[0].cpu_usage(), look.workers.len()), (None, 1), "a part is not the whole");
}
