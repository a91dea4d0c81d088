//! What the workers of a pool use: as it was measured, and as it is to be expected since.
//!
//! A measurement is older than what was placed after it. Whoever went by it alone would send a whole batch to the one worker that was idle
//! when it was taken. So each agent that came since counts as much as an agent of the pool uses on average, and with each that went a worker
//! loses its share. A worker that was not measured yet counts by its agents alone.

use std::collections::HashMap;

use muster_domain::ProcessId;

/// What an agent counts at the least, in millionths of the host: where all rest, what is measured says little, and agents go round.
const LEAST_OF_AN_AGENT: u64 = 1_000;

/// What is used of what there is, both in the same unit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Share {
    /// What is used.
    pub used: u64,
    /// What the host grants.
    pub granted: u64,
}

impl Share {
    fn millionths(self) -> u64 {
        let millionths = u128::from(self.used) * 1_000_000 / u128::from(self.granted.max(1));
        u64::try_from(millionths).unwrap_or(u64::MAX)
    }
}

/// The load of a worker with all that its agents have started, when it was measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MeasuredLoad {
    /// Its share of the host's processors or of its memory, whichever is larger, in millionths.
    millionths: u64,
    /// Agents that it held then.
    agents: u32,
}

impl MeasuredLoad {
    /// That of a worker with so many agents: what runs short first decides.
    pub fn new(cpu: Share, memory: Share, agents: u32) -> Self {
        Self { millionths: cpu.millionths().max(memory.millionths()), agents }
    }
}

/// The loads of a pool's workers that were measured.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PoolLoads {
    workers: HashMap<ProcessId, MeasuredLoad>,
    /// What an agent uses on average, in millionths of the host.
    an_agent: u64,
}

impl FromIterator<(ProcessId, MeasuredLoad)> for PoolLoads {
    fn from_iter<I: IntoIterator<Item = (ProcessId, MeasuredLoad)>>(measured: I) -> Self {
        let workers: HashMap<ProcessId, MeasuredLoad> = measured.into_iter().collect();
        let load = workers.values().map(|worker| worker.millionths).fold(0, u64::saturating_add);
        let agents: u64 = workers.values().map(|worker| u64::from(worker.agents)).sum();
        Self { workers, an_agent: load.checked_div(agents).unwrap_or(0) }
    }
}

impl PoolLoads {
    /// What an agent that was not measured counts, in millionths of the host.
    pub fn of_an_agent(&self) -> u64 {
        self.an_agent.max(LEAST_OF_AN_AGENT)
    }

    /// What this worker is to be expected to use with `taken` agents, in millionths of the host.
    pub fn expected(&self, worker: ProcessId, taken: u32) -> u64 {
        let Some(MeasuredLoad { millionths, agents }) = self.workers.get(&worker).copied() else {
            return self.of_an_agent().saturating_mul(taken.into());
        };
        match taken.checked_sub(agents) {
            Some(more) => millionths.saturating_add(self.of_an_agent().saturating_mul(more.into())),
            None => millionths.saturating_mul(taken.into()) / u64::from(agents),
        }
    }
}
