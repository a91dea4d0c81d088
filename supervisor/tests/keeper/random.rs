//! Random lives: whatever happens in whatever order, the promises hold and it comes to rest as it should.
//!
//! Each life is told by its seed. `MUSTER_SEED=17 cargo test -p muster-supervisor random` plays one again.

use std::collections::BTreeSet;
use std::time::Duration;

use fastrand::Rng;
use muster_domain::{Activity, AgentId, AgentState, Cause, CommandRefusal};
use muster_store::Store;
use muster_store::testing::Commit;
use muster_supervisor::{LeadEnd, Spawned, SupervisorError};
use tokio_util::sync::CancellationToken;

use crate::worker::{FakeWorker, Habits, OnSpawn};
use crate::world::{World, pool, wait_until};

/// Lives per test; there are four tests, which run side by side.
const LIVES: u64 = 60;
/// Things that happen in a life.
const LENGTH: usize = 40;

/// A life, and what was promised to its callers.
struct Life {
    rng: Rng,
    world: World,
    /// To run: acknowledged, and nobody ended it.
    wanted: BTreeSet<AgentId>,
    /// Ended: acknowledged.
    ended: BTreeSet<AgentId>,
    /// Told to end, and refused: either may be so.
    unknown: BTreeSet<AgentId>,
    /// Whether the pool has a bound on its workers.
    bounded: bool,
    /// The store has lied to this supervisor.
    lied: bool,
    /// It did so to one that is no more, and took its doubts with it: then the store is right, whatever callers heard.
    strangers: bool,
}

impl Life {
    async fn live(mut self) {
        for _ in 0..LENGTH {
            self.happen().await;
            for _ in 0..self.rng.u32(..4) {
                tokio::task::yield_now().await;
            }
        }
        self.calm_down().await;
        self.come_to_rest().await;
        self.world.end().await;
    }

    async fn happen(&mut self) {
        match self.rng.u32(..100) {
            0..35 => self.spawn_some().await,
            35..48 => self.terminate_one().await,
            48..55 => self.restart_one().await,
            55..67 => self.crash_one().await,
            67..73 => self.kill_a_worker(),
            73..76 => self.interrupt_a_worker().await,
            76..82 => self.change_a_worker().await,
            82..84 => self.world.launcher().fail(1),
            84..92 => self.trouble_the_store(),
            92..95 => self.world.ground.memory.flush(),
            95..97 => self.world.ground.registry.drop_commands(self.rng.bool()),
            _ => self.change_masters().await,
        }
    }

    async fn spawn_some(&mut self) {
        let count = self.rng.usize(1..6);
        let orders = (0..count).map(|_| self.world.try_spawn(Duration::ZERO));
        for order in futures_util::future::join_all(orders).await {
            match order {
                Ok(Spawned::Running(view) | Spawned::Accepted(view)) => drop(self.wanted.insert(view.agent_id)),
                Err(error) => {
                    let full = matches!(error, SupervisorError::PoolFull { .. });
                    assert!(!full || self.bounded, "{error}");
                }
            }
        }
    }

    fn pick(&mut self) -> Option<AgentId> {
        let wanted: Vec<AgentId> = self.wanted.iter().copied().collect();
        self.rng.choice(wanted)
    }

    async fn terminate_one(&mut self) {
        let Some(agent) = self.pick() else { return };
        let graceful = self.rng.bool();
        self.wanted.remove(&agent);
        match self.world.agents().terminate(None, agent, graceful, Duration::ZERO).await {
            Ok(_) => self.ended.insert(agent),
            Err(_) => self.unknown.insert(agent),
        };
    }

    async fn restart_one(&mut self) {
        let Some(agent) = self.pick() else { return };
        // Refused or not, it is to run.
        drop(self.world.agents().restart(agent, Duration::ZERO).await);
    }

    fn a_worker(&mut self) -> Option<FakeWorker> {
        let living = self.world.launcher().living();
        self.rng.choice(living)
    }

    async fn crash_one(&mut self) {
        let Some(worker) = self.a_worker() else { return };
        let Some(agent) = self.rng.choice(worker.holds().await) else { return };
        let report = worker.end_unsaid(agent, Cause::Exited { code: self.rng.i32(0..2) }).await;
        for _ in 0..self.rng.u32(..3) {
            worker.send(&report).await;
        }
    }

    fn kill_a_worker(&mut self) {
        if let Some(worker) = self.a_worker() {
            worker.die();
        }
    }

    async fn interrupt_a_worker(&mut self) {
        let within = Duration::from_millis(self.rng.u64(..200));
        if let Some(worker) = self.a_worker() {
            // Refused or not: it may end by itself meanwhile.
            drop(self.world.workers().interrupt(worker.id(), within).await);
        }
    }

    async fn change_a_worker(&mut self) {
        let habit = match self.rng.u32(..4) {
            0 => OnSpawn::Miss(self.rng.u32(1..4)),
            1 => OnSpawn::Refuse(CommandRefusal::Full { capacity: 2 }),
            _ => OnSpawn::Run,
        };
        if let Some(worker) = self.a_worker() {
            worker.change(|habits| habits.on_spawn = habit).await;
        }
    }

    fn trouble_the_store(&mut self) {
        let mut rng = self.rng.fork();
        // An agent that a lie left behind takes a slot that somebody else was promised: only where there is no bound.
        let kinds = if self.bounded { 2 } else { 3 };
        match self.rng.u32(..kinds) {
            0 => self.world.store().heal(),
            1 => self.world.store().judge(move |_| if rng.u32(..4) == 0 { Commit::Refuse } else { Commit::Pass }),
            _ => {
                self.lied = true;
                self.world.store().judge(move |_| if rng.u32(..4) == 0 { Commit::Lie } else { Commit::Pass });
            }
        }
    }

    /// The next supervisor takes over from one that ended, or from one that does not know yet.
    async fn change_masters(&mut self) {
        self.world.store().heal();
        self.strangers |= self.lied;
        let next = self.world.ground.lead().await;
        let old = std::mem::replace(&mut self.world, next);
        if self.rng.bool() {
            old.supervisor.shut_down(LeadEnd::Fenced, CancellationToken::new()).await;
        }
    }

    async fn calm_down(&mut self) {
        self.world.store().heal();
        self.world.launcher().fail(0);
        self.world.ground.registry.drop_commands(false);
        for worker in self.world.launcher().living() {
            worker.change(|habits| *habits = Habits::default()).await;
        }
    }

    async fn come_to_rest(&self) {
        wait_until("what is wanted runs, and nothing else", async || {
            let running: BTreeSet<AgentId> = self.world.ground.ledger.running().into_iter().collect();
            let known = |agent: &AgentId| self.wanted.contains(agent) || self.unknown.contains(agent);
            let allowed = |agent: &AgentId| known(agent) || (self.strangers && !self.ended.contains(agent));
            self.wanted.is_subset(&running) && running.iter().all(allowed)
        })
        .await;
        wait_until("the figures say the same", async || {
            let view = self.world.pool().await;
            let running = self.world.ground.ledger.running().len();
            (view.used_capacity as usize, view.agent_count as usize, view.pending_agents) == (running, running, 0)
        })
        .await;
        wait_until("no row is left of a worker that never was", async || {
            let rows = self.world.store().open_workers().await.expect("rows").len();
            rows == self.world.pool().await.process_count as usize
        })
        .await;
        for agent in &self.ended {
            self.world.wait_state(*agent, AgentState::Terminated).await;
        }
        for agent in &self.wanted {
            self.world.wait_state(*agent, AgentState::Running(Activity::Idle)).await;
        }
    }
}

async fn live(seed: u64) {
    let bounded = seed.is_multiple_of(3);
    let world = World::with(|_| {}, |pool| pool.max_workers = if bounded { 12 } else { 0 }).await;
    let (wanted, ended, unknown) = (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
    let rng = Rng::with_seed(seed);
    Life { rng, world, wanted, ended, unknown, bounded, lied: false, strangers: false }.live().await;
}

/// Tells the seed of a life that did not end well.
struct Teller(u64);

impl Drop for Teller {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("this was the life of MUSTER_SEED={}", self.0);
        }
    }
}

async fn live_all(quarter: u64) {
    let one = std::env::var("MUSTER_SEED").ok().and_then(|seed| seed.parse().ok());
    let seeds = match one {
        Some(seed) => (quarter == 0).then_some(seed).into_iter().collect::<Vec<u64>>(),
        None => (0..LIVES).map(|n| n * 4 + quarter).collect(),
    };
    for seed in seeds {
        let _teller = Teller(seed);
        live(seed).await;
    }
}

#[tokio::test]
async fn the_first_quarter_of_the_lives() {
    live_all(0).await;
}

#[tokio::test]
async fn the_second_quarter_of_the_lives() {
    live_all(1).await;
}

#[tokio::test]
async fn the_third_quarter_of_the_lives() {
    live_all(2).await;
}

#[tokio::test]
async fn the_last_quarter_of_the_lives() {
    live_all(3).await;
}

#[tokio::test]
async fn two_hundred_spawns_at_once_while_workers_die() {
    let world = World::with(|_| {}, |pool| (pool.max_agents, pool.max_workers) = (10, 0)).await;
    let mut rng = Rng::with_seed(7);
    let spawns = futures_util::future::join_all((0..200).map(|_| world.order()));
    let deaths = async {
        for _ in 0..15 {
            wait_until("somebody lives", async || !world.launcher().living().is_empty()).await;
            rng.choice(world.launcher().living()).expect("it lives").die();
            tokio::task::yield_now().await;
        }
    };
    let (agents, ()) = tokio::join!(spawns, deaths);
    for agent in agents {
        world.wait_state(agent, AgentState::Running(Activity::Idle)).await;
    }
    let view = world.pools().get(&pool()).await.expect("a pool");
    assert_eq!((view.used_capacity, world.ground.ledger.running().len()), (200, 200));
    world.end().await;
}
