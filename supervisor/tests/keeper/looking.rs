//! A worker of an earlier supervisor that can't be looked for is looked for again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use async_trait::async_trait;
use muster_domain::{Activity, AgentId, AgentState, ProcessId, WorkerOrders};
use muster_store::WorkerRow;
use muster_supervisor::AgentLog;
use muster_supervisor::launch::{Adoption, LaunchError, Launched, Launcher, Launchers, LookError};

use crate::launcher::FakeLauncher;
use crate::unreachable::{beats, declare, strict, wait_unreachable};
use crate::world::{World, wait_until};

/// Fails to look for workers, so many times; then sees what there is.
struct Blind {
    inner: Arc<FakeLauncher>,
    times: AtomicU32,
}

#[async_trait]
impl Launcher for Blind {
    async fn launch(&self, orders: WorkerOrders) -> Result<Launched, LaunchError> {
        self.inner.launch(orders).await
    }
    async fn adopt(&self, row: &WorkerRow) -> Result<Adoption, LookError> {
        let seen = self.times.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |times| times.checked_sub(1)).is_err();
        if seen { self.inner.adopt(row).await } else { Err(LookError("too many open files".to_owned())) }
    }
    async fn marked(&self) -> Vec<ProcessId> {
        self.inner.marked().await
    }
    async fn sweep(&self, worker: &WorkerRow) {
        self.inner.sweep(worker).await;
    }
    fn agent_log(&self, agent: AgentId) -> Box<dyn AgentLog> {
        self.inner.agent_log(agent)
    }
    async fn leave(&self) {
        self.inner.leave().await;
    }
}

#[tokio::test]
async fn a_worker_that_could_not_be_looked_for_is_found_dead_or_alive() {
    for dies in [true, false] {
        let world = World::new().await;
        let agent = world.spawn().await;
        let worker = world.worker_of(agent).await;
        let ground = world.ground.clone();
        world.shut_down(true).await;
        if dies {
            worker.die();
        }
        let blind = Arc::new(Blind { inner: ground.launcher.clone(), times: AtomicU32::new(3) });
        let world = ground.lead_with(|parts| parts.launchers = Launchers::local(blind.clone())).await;
        wait_until("it is looked for again", async || blind.times.load(Ordering::SeqCst) == 0).await;
        if !dies {
            world.wait_state(agent, AgentState::Running(Activity::Idle)).await;
            assert_eq!(world.agent(agent).await.epoch, 1);
            // Its process is known now, so its death is too.
            worker.die();
        }
        world.wait_epoch(agent, 2).await;
        world.end().await;
    }
}

#[tokio::test]
async fn one_that_is_found_alive_after_it_was_declared_dead_is_killed() {
    let world = World::with(strict, |_| {}).await;
    let agent = world.spawn().await;
    let worker = world.worker_of(agent).await;
    let ground = world.ground.clone();
    world.shut_down(true).await;
    beats(&worker, false).await;
    let blind = Arc::new(Blind { inner: ground.launcher.clone(), times: AtomicU32::new(u32::MAX) });
    let world = ground.lead_with(|parts| parts.launchers = Launchers::local(blind.clone())).await;
    wait_unreachable(&world, worker.id()).await;
    declare(&world, worker.id()).await.expect("nobody can reach it");
    world.wait_epoch(agent, 2).await;
    assert!(!worker.is_dead(), "nothing was told to it");
    blind.times.store(0, Ordering::SeqCst);
    wait_until("it is killed", async || worker.is_dead()).await;
    // It ran twice until then, by the word of the person who was wrong.
    world.shut_down(false).await;
    assert!(ground.launcher.living().is_empty(), "workers are left");
}
