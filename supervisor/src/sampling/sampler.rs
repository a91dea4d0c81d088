//! Measures: asks every keeper for a picture of its pool and the kernel for what their workers use, and makes figures of the time since the
//! last look.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use muster_domain::pool_metrics::{PressureFigures, ResourceFigures, WorkFigures};
use muster_domain::{AgentId, PoolMetrics, PoolName, ProcessId, Timestamp};

use super::host_use::{HostUse, ProcessKey, WorkerUse, measure};
use super::picture::{PoolPicture, WorkerPicture};
use crate::blocking::{self, Undone};
use crate::clock;
use crate::context::Context;
use crate::directory::read_at_turn_end;
use crate::keeper::Keeper;

/// How long a keeper and the kernel are waited for: what does not answer in time is missing in this look.
const PATIENCE: Duration = Duration::from_secs(2);

/// On the board.
const MEASURING: &str = "metrics";

/// Looks again and again.
pub(crate) struct Sampler {
    context: Arc<Context>,
    before: Option<Before>,
}

/// What is needed of the look before.
struct Before {
    at: Instant,
    /// All work so far of each pool, and since when its keeper has counted.
    work: HashMap<PoolName, (Instant, WorkFigures)>,
    host: Option<HostBefore>,
}

/// The same of the host, where it could be measured.
struct HostBefore {
    at: Instant,
    /// In clock ticks since boot: a process that began later has used all its time since.
    taken_at: u64,
    cpu: HashMap<ProcessKey, Duration>,
}

/// What was measured.
#[derive(Debug)]
pub(crate) struct Look {
    pub(crate) at: Timestamp,
    /// One for each pool whose keeper answered.
    pub(crate) pools: Vec<PoolMetrics>,
    /// Whether all did.
    pub(crate) is_whole: bool,
    pub(crate) workers: Vec<(ProcessId, TreeUse)>,
    pub(crate) agents: Vec<(AgentId, TreeUse)>,
}

/// What a worker or an agent with all that it has started used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TreeUse {
    /// Since the look before, in millionths of a core.
    pub(crate) cpu: u64,
    /// Now, in bytes (PSS).
    pub(crate) memory: u64,
}

impl Sampler {
    pub(crate) const fn new(context: Arc<Context>) -> Self {
        Self { context, before: None }
    }

    /// Looks. None at the first time: there is nothing since when it could be told.
    pub(crate) async fn look(&mut self) -> Option<Look> {
        let asked = self.context.directory.all().into_iter().map(|(_, keeper)| async move {
            tokio::time::timeout(PATIENCE, read_at_turn_end(&keeper, Keeper::picture)).await
        });
        let (mut pictures, mut is_whole) = (Vec::new(), true);
        for answer in join_all(asked).await {
            match answer {
                Ok(Ok(picture)) => pictures.push(picture),
                // One that ends meanwhile is a pool that is gone.
                Ok(Err(_)) => {}
                Err(_) => is_whole = false,
            }
        }
        let host = self.host_use(&pictures).await;
        let (now, at) = (clock::now(), self.context.settings.wall.now());
        let now = Before::of(&pictures, host.as_ref(), now);
        let before = self.before.replace(now)?;
        let now = self.before.as_ref()?;
        Some(compare(&before, now, &pictures, host.as_ref(), is_whole, at))
    }

    /// What the kernel says, if it does in time: reading the memory of a process waits for whoever holds it.
    async fn host_use(&self, pictures: &[PoolPicture]) -> Option<HostUse> {
        let workers: Vec<WorkerPicture> = pictures.iter().flat_map(|picture| picture.workers.clone()).collect();
        let measured = blocking::run_within(PATIENCE, &blocking::CENSUS, move || measure(&workers));
        let health = &self.context.reporting.health;
        let failed = match tokio::time::timeout(PATIENCE, measured).await {
            Ok(Ok(Ok(host))) => {
                health.recover(MEASURING);
                return Some(host);
            }
            Ok(Ok(Err(error))) => format!("the processes of this host can't be counted: {error}"),
            Ok(Err(Undone::Broken(error))) => format!("counting the processes of this host broke: {error}"),
            Ok(Err(Undone::Full)) | Err(_) => {
                "the processes of this host are not counted in time: one of them, or /proc, does not answer".to_owned()
            }
        };
        health.degrade(MEASURING, format!("{failed}; figures of processors and memory are missing meanwhile"));
        None
    }
}

impl Before {
    fn of(pictures: &[PoolPicture], host: Option<&HostUse>, at: Instant) -> Self {
        let of_pool = |picture: &PoolPicture| (picture.pool_name.clone(), (picture.kept_since, picture.work.clone()));
        let host = host.map(|host| HostBefore {
            at,
            taken_at: host.taken_at,
            cpu: host.workers.iter().flat_map(trees).collect(),
        });
        Self { at, work: pictures.iter().map(of_pool).collect(), host }
    }
}

/// Every tree that time was read of.
fn trees(worker: &WorkerUse) -> impl Iterator<Item = (ProcessKey, Duration)> {
    let of_agents = worker.agents.iter().map(|agent| (agent.tree, agent.cpu));
    worker.cpu.iter().copied().chain(of_agents)
}

fn compare(
    before: &Before,
    now: &Before,
    pictures: &[PoolPicture],
    host: Option<&HostUse>,
    is_whole: bool,
    at: Timestamp,
) -> Look {
    // Where one of both could not be measured, nothing is known of what was used in between.
    let span = before.host.as_ref().zip(now.host.as_ref()).map(|(before, now)| HostSpan { before, now });
    let mut look = Look { at, pools: Vec::new(), is_whole, workers: Vec::new(), agents: Vec::new() };
    let uses: HashMap<ProcessId, &WorkerUse> =
        host.map(|host| host.workers.iter().map(|worker| (worker.process_id, worker)).collect()).unwrap_or_default();
    for picture in pictures {
        let mut metrics = PoolMetrics::new(Some(picture.pool_name.clone()), at);
        metrics.looks = 1;
        (metrics.slots, metrics.agents, metrics.queue) = (picture.slots, picture.agents, picture.queue);
        (metrics.covers, metrics.work) = work_since(before, now.at, picture);
        if let (Some(span), Some(host)) = (&span, host) {
            let of_pool: Vec<&WorkerUse> =
                picture.workers.iter().filter_map(|worker| uses.get(&worker.process_id).copied()).collect();
            let used: Vec<(ProcessId, TreeUse)> =
                of_pool.iter().map(|worker| (worker.process_id, span.used(&worker.cpu, worker.memory))).collect();
            metrics.resources = resources(used.iter().map(|(_, used)| *used), host);
            look.workers.extend(used);
            look.agents.extend(of_pool.iter().flat_map(|worker| span.agents(worker)));
        }
        look.pools.push(metrics);
    }
    look
}

/// What a pool did since the look before, and how long that is: all that a keeper which has begun since then has done.
fn work_since(before: &Before, now: Instant, picture: &PoolPicture) -> (Duration, WorkFigures) {
    match before.work.get(&picture.pool_name) {
        Some((since, work)) if *since == picture.kept_since => (now - before.at, picture.work.since(work)),
        _ => (now.saturating_duration_since(picture.kept_since.max(before.at)), picture.work.clone()),
    }
}

fn resources(used: impl Iterator<Item = TreeUse>, host: &HostUse) -> ResourceFigures {
    let granted = host.granted.unwrap_or_default();
    let mut sum = ResourceFigures {
        looks: 1,
        cpu_granted: granted.cpu,
        memory_granted: granted.memory,
        pressure: host.pressure.map_or_else(PressureFigures::default, |pressure| PressureFigures {
            looks: 1,
            cpu: pressure.cpu,
            memory: pressure.memory,
            io: pressure.io,
        }),
        ..ResourceFigures::default()
    };
    for TreeUse { cpu, memory } in used {
        sum.cpu = sum.cpu.saturating_add(cpu);
        sum.memory = sum.memory.saturating_add(memory);
    }
    sum
}

/// From one measurement of the host to the next.
struct HostSpan<'a> {
    before: &'a HostBefore,
    now: &'a HostBefore,
}

impl HostSpan<'_> {
    fn used(&self, cpu: &[(ProcessKey, Duration)], memory: u64) -> TreeUse {
        let cpu: Duration = cpu.iter().map(|(tree, cpu)| self.since(*tree, *cpu)).sum();
        let wall = (self.now.at - self.before.at).as_secs_f64();
        let cpu = if wall > 0.0 { (cpu.as_secs_f64() / wall * 1e6).round() as u64 } else { 0 };
        TreeUse { cpu, memory }
    }

    /// What a tree used in it. One that was not there before has used all of it, where it began since; else nobody knows.
    fn since(&self, tree: ProcessKey, cpu: Duration) -> Duration {
        match self.before.cpu.get(&tree) {
            Some(before) => cpu.saturating_sub(*before),
            None if tree.1 >= self.before.taken_at => cpu,
            None => Duration::ZERO,
        }
    }

    /// Agents with all their trees.
    fn agents(&self, worker: &WorkerUse) -> Vec<(AgentId, TreeUse)> {
        let mut agents: HashMap<AgentId, TreeUse> = HashMap::new();
        for agent in &worker.agents {
            let used = self.used(&[(agent.tree, agent.cpu)], agent.memory);
            let sum = agents.entry(agent.agent_id).or_default();
            (sum.cpu, sum.memory) = (sum.cpu + used.cpu, sum.memory + used.memory);
        }
        agents.into_iter().collect()
    }
}

#[cfg(test)]
mod tests;
