//! Measures: asks every keeper for a picture of its pool and the kernel for what their workers use, and makes figures of the time since the
//! last look.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use muster_domain::pool_metrics::{PressureFigures, ResourceFigures, WorkFigures};
use muster_domain::{AgentId, PoolMetrics, PoolName, ProcessId, Timestamp};
use muster_policy::placement::{MeasuredLoad, PoolLoads, Share};
use muster_process::host::Granted;

use super::host_use::{HostUse, ProcessKey, TreeCpu, WorkerUse, measure};
use super::picture::{PoolPicture, WorkerPicture};
use crate::blocking::{self, Undone};
use crate::clock;
use crate::context::Context;
use crate::directory::{Mailbox, read_at_turn_end};
use crate::error::SupervisorError;
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
    work: HashMap<PoolName, WorkBefore>,
    host: Option<HostBefore>,
}

/// All work of a pool up to a look, of which the next figures are the difference: the last one to which its keeper has answered.
#[derive(Clone)]
struct WorkBefore {
    at: Instant,
    /// Since when the keeper has counted.
    kept_since: Instant,
    work: WorkFigures,
}

/// The same of the host, where it could be measured.
struct HostBefore {
    at: Instant,
    /// In clock ticks since boot: a process that began later has used all its time since.
    taken_at: u64,
    /// Of whole trees, by their roots.
    trees: HashMap<ProcessKey, Duration>,
    /// Of each process itself.
    processes: HashMap<ProcessKey, Duration>,
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
    /// Of each pool whose workers could be measured.
    pub(crate) loads: Vec<(PoolName, PoolLoads)>,
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

    /// Looks at all pools. None at the first time: there is nothing since when it could be told.
    pub(crate) async fn look(&mut self) -> Option<Look> {
        self.look_at(self.context.directory.all()).await
    }

    /// The same of these pools.
    pub(crate) async fn look_at(&mut self, pools: Vec<(PoolName, Mailbox)>) -> Option<Look> {
        let sampler = &*self;
        let asked = pools.into_iter().map(|(pool, keeper)| async move {
            (pool, tokio::time::timeout(PATIENCE, sampler.picture_of(&keeper)).await)
        });
        let (mut pictures, mut silent) = (Vec::new(), Vec::new());
        for (pool, answer) in join_all(asked).await {
            match answer {
                Ok(Ok(Some(picture))) => pictures.push(picture),
                // One that ends meanwhile is a pool that is gone.
                Ok(Err(_)) => {}
                Ok(Ok(None)) | Err(_) => silent.push(pool),
            }
        }
        let host = self.host_use(&pictures).await;
        let (now, at) = (clock::now(), self.context.settings.wall.now());
        let mut now = Before::of(&pictures, host.as_ref(), now);
        for pool in &silent {
            let known = self.before.as_ref().and_then(|before| before.work.get(pool));
            now.work.extend(known.map(|known| (pool.clone(), known.clone())));
        }
        let before = self.before.replace(now)?;
        let now = self.before.as_ref()?;
        Some(compare(&before, now, &pictures, host.as_ref(), silent.is_empty(), at))
    }

    /// What a keeper knows of its pool; none while it does not know its tasks, or the store does not answer. Tasks that wait for their
    /// time are no queue, and how many these are only the store knows.
    async fn picture_of(&self, keeper: &Mailbox) -> Result<Option<PoolPicture>, SupervisorError> {
        let Some(mut picture) = read_at_turn_end(keeper, Keeper::picture).await? else { return Ok(None) };
        if picture.queue.depth > 0 {
            let Ok(counts) = self.context.store.queue_counts(&picture.pool_name).await else { return Ok(None) };
            picture.queue.depth = picture.queue.depth.saturating_sub(counts.delayed);
        }
        Ok(Some(picture))
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
        let of_pool = |picture: &PoolPicture| {
            let work = WorkBefore { at, kept_since: picture.kept_since, work: picture.work.clone() };
            (picture.pool_name.clone(), work)
        };
        let host = host.map(|host| HostBefore {
            at,
            taken_at: host.taken_at,
            trees: host.workers.iter().flat_map(trees).map(|cpu| (cpu.tree, cpu.total)).collect(),
            processes: host.workers.iter().flat_map(trees).flat_map(|cpu| cpu.members.iter().copied()).collect(),
        });
        Self { at, work: pictures.iter().map(of_pool).collect(), host }
    }
}

/// Every tree that time was read of.
fn trees(worker: &WorkerUse) -> impl Iterator<Item = &TreeCpu> {
    worker.cpu.iter().chain(worker.agents.iter().map(|agent| &agent.cpu))
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
    let mut look = Look { at, pools: Vec::new(), is_whole, workers: Vec::new(), agents: Vec::new(), loads: Vec::new() };
    let uses: HashMap<ProcessId, &WorkerUse> =
        host.map(|host| host.workers.iter().map(|worker| (worker.process_id, worker)).collect()).unwrap_or_default();
    for picture in pictures {
        let mut metrics = PoolMetrics::new(Some(picture.pool_name.clone()), at);
        metrics.looks = 1;
        (metrics.slots, metrics.agents, metrics.queue) = (picture.slots, picture.agents, picture.queue);
        let Some(done) = work_since(before, now.at, picture) else {
            // Nobody knows when it was done.
            look.is_whole = false;
            continue;
        };
        (metrics.covers, metrics.work) = done;
        if let (Some(span), Some(host)) = (&span, host) {
            let of_pool: Vec<&WorkerUse> =
                picture.workers.iter().filter_map(|worker| uses.get(&worker.process_id).copied()).collect();
            let used: Vec<(ProcessId, TreeUse)> =
                of_pool.iter().map(|worker| (worker.process_id, span.used(&worker.cpu, worker.memory))).collect();
            // A part of them is not the whole.
            let mut ready = picture.workers.iter().filter(|worker| worker.is_ready);
            if ready.all(|worker| uses.contains_key(&worker.process_id)) {
                metrics.resources = resources(used.iter().map(|(_, used)| *used), host);
            }
            let granted = host.granted;
            look.loads.extend(granted.map(|granted| (picture.pool_name.clone(), loads(picture, &used, granted))));
            look.workers.extend(used);
            look.agents.extend(of_pool.iter().flat_map(|worker| span.agents(worker)));
        }
        look.pools.push(metrics);
    }
    look
}

/// What a pool did since its keeper was last read, and how long that is: all that a keeper which has begun since the look before has
/// done. None of one that was there before, and was never read.
fn work_since(before: &Before, now: Instant, picture: &PoolPicture) -> Option<(Duration, WorkFigures)> {
    match before.work.get(&picture.pool_name) {
        Some(known) if known.kept_since == picture.kept_since => {
            Some((now.saturating_duration_since(known.at), picture.work.since(&known.work)))
        }
        _ if picture.kept_since >= before.at => {
            Some((now.saturating_duration_since(picture.kept_since), picture.work.clone()))
        }
        _ => None,
    }
}

fn resources(used: impl Iterator<Item = TreeUse>, host: &HostUse) -> ResourceFigures {
    let Some(granted) = host.granted else { return ResourceFigures::default() };
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

/// What the workers of a pool use of what is granted, each with all of its agents.
fn loads(picture: &PoolPicture, used: &[(ProcessId, TreeUse)], granted: Granted) -> PoolLoads {
    let held: HashMap<ProcessId, usize> =
        picture.workers.iter().map(|worker| (worker.process_id, worker.agents.len())).collect();
    let load = |(worker, TreeUse { cpu, memory }): &(ProcessId, TreeUse)| {
        let agents = held.get(worker).and_then(|agents| u32::try_from(*agents).ok()).unwrap_or(0);
        let cpu = Share { used: *cpu, granted: granted.cpu };
        let memory = Share { used: *memory, granted: granted.memory };
        (*worker, MeasuredLoad::new(cpu, memory, agents))
    };
    used.iter().map(load).collect()
}

/// From one measurement of the host to the next.
struct HostSpan<'a> {
    before: &'a HostBefore,
    now: &'a HostBefore,
}

impl HostSpan<'_> {
    fn used<'b>(&self, cpu: impl IntoIterator<Item = &'b TreeCpu>, memory: u64) -> TreeUse {
        let cpu: Duration = cpu.into_iter().map(|cpu| self.since(cpu)).sum();
        let wall = (self.now.at - self.before.at).as_secs_f64();
        let cpu = if wall > 0.0 { (cpu.as_secs_f64() / wall * 1e6).round() as u64 } else { 0 };
        TreeUse { cpu, memory }
    }

    /// What a tree used in it. Where something of it ended and nobody waited for it, the whole has lost that time: then what is left has
    /// used so much at the least.
    fn since(&self, cpu: &TreeCpu) -> Duration {
        let whole = self.grown(&self.before.trees, cpu.tree, cpu.total);
        let living = cpu.members.iter().map(|(process, own)| self.grown(&self.before.processes, *process, *own)).sum();
        whole.max(living)
    }

    /// What is more than before. One that was not there before has used all of it, where it began since; else nobody knows.
    fn grown(&self, before: &HashMap<ProcessKey, Duration>, key: ProcessKey, cpu: Duration) -> Duration {
        match before.get(&key) {
            Some(before) => cpu.saturating_sub(*before),
            None if key.1 >= self.before.taken_at => cpu,
            None => Duration::ZERO,
        }
    }

    /// Agents with all their trees.
    fn agents(&self, worker: &WorkerUse) -> Vec<(AgentId, TreeUse)> {
        let mut agents: HashMap<AgentId, TreeUse> = HashMap::new();
        for agent in &worker.agents {
            let used = self.used([&agent.cpu], agent.memory);
            let sum = agents.entry(agent.agent_id).or_default();
            (sum.cpu, sum.memory) = (sum.cpu + used.cpu, sum.memory + used.memory);
        }
        agents.into_iter().collect()
    }
}

#[cfg(test)]
mod tests;
