//! What a flush loses, and how it changes. Nothing here waits or reads a clock.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use muster_domain::{AgentId, AgentSnapshot, Generation, Heartbeat, HeartbeatReply, PoolName, ProcessId, Report};
use tokio::time::Instant;
use uuid::Uuid;

use crate::written_state::PendingChanges;
use crate::{HeartbeatReading, LeaderMirror};

/// Everything that the registry holds.
pub(super) struct RegistryContent {
    generation: Generation,
    workers: HashMap<ProcessId, StoredWorker>,
    agents: HashMap<AgentId, StoredAgent>,
    slots: HashMap<PoolName, BTreeMap<ProcessId, u32>>,
    condemned: HashSet<ProcessId>,
    leader: Option<(LeaderMirror, Instant)>,
    reports: HashMap<PoolName, BTreeMap<u64, Report>>,
    /// The number of the latest entry of any pool.
    latest_entry: u64,
}

struct StoredWorker {
    beat: Heartbeat,
    reading: Instant,
    settled: u64,
}

struct StoredAgent {
    process_id: ProcessId,
    pool_name: PoolName,
    picture: AgentSnapshot,
}

impl Default for RegistryContent {
    fn default() -> Self {
        Self {
            generation: Generation(Uuid::new_v4()),
            workers: HashMap::new(),
            agents: HashMap::new(),
            slots: HashMap::new(),
            condemned: HashSet::new(),
            leader: None,
            reports: HashMap::new(),
            latest_entry: 0,
        }
    }
}

impl RegistryContent {
    /// This life of the content: made with it, so that a flush can't forget to change it.
    pub(super) const fn generation(&self) -> Generation {
        self.generation
    }

    /// Takes a worker's picture. What was settled stays: it is the leader's to say.
    pub(super) fn beat(&mut self, beat: &Heartbeat, now: Instant) -> HeartbeatReply {
        let settled = self.workers.get(&beat.process_id).map_or(0, |worker| worker.settled);
        self.workers.insert(beat.process_id, StoredWorker { beat: beat.clone(), reading: now, settled });
        HeartbeatReply {
            settled,
            fenced: self.condemned.contains(&beat.process_id),
            leader_present: self.leader(now).is_some(),
            number: beat.number,
            generation: self.generation,
        }
    }

    /// Writes what changed of a worker's agents. An agent that was assigned anew since is not touched by its former
    /// worker, neither written nor removed.
    pub(super) fn write_agents(&mut self, worker: ProcessId, pool: &PoolName, changes: &PendingChanges<'_>) {
        for agent in &changes.gone {
            if self.agents.get(agent).is_some_and(|held| held.process_id == worker) {
                self.agents.remove(agent);
            }
        }
        for picture in &changes.changed {
            if self.agents.get(&picture.agent_id).is_none_or(|held| held.picture.epoch <= picture.epoch) {
                let picture = (*picture).clone();
                let agent = StoredAgent { process_id: worker, pool_name: pool.clone(), picture };
                self.agents.insert(agent.picture.agent_id, agent);
            }
        }
    }

    /// The latest beat of a worker, without its picture where its number is known.
    pub(super) fn reading(&self, worker: ProcessId, known: u64, now: Instant) -> Option<HeartbeatReading> {
        let StoredWorker { beat, reading, .. } = self.workers.get(&worker)?;
        Some(HeartbeatReading {
            process_id: worker,
            number: beat.number,
            age: now.saturating_duration_since(*reading),
            beat: (beat.number != known).then(|| Box::new(beat.clone())),
        })
    }

    /// The workers that have beaten, the oldest first.
    pub(super) fn present(&self) -> Vec<ProcessId> {
        let mut present: Vec<ProcessId> = self.workers.keys().copied().collect();
        present.sort_unstable();
        present
    }

    pub(super) fn agent(&self, agent: AgentId) -> Option<(ProcessId, AgentSnapshot)> {
        self.agents.get(&agent).map(|agent| (agent.process_id, agent.picture.clone()))
    }

    /// Writes the free slots of these workers; others keep theirs.
    pub(super) fn mirror_slots(&mut self, pool: &PoolName, slots: &[(ProcessId, u32)]) {
        if !slots.is_empty() {
            self.slots.entry(pool.clone()).or_default().extend(slots.iter().copied());
        }
    }

    pub(super) fn slots(&self, pool: &PoolName) -> Vec<(ProcessId, u32)> {
        self.slots.get(pool).into_iter().flatten().map(|(worker, free)| (*worker, *free)).collect()
    }

    /// Removes a worker with its agents. An agent that names another worker by now is that one's.
    pub(super) fn forget(&mut self, pool: &PoolName, worker: ProcessId) {
        self.workers.remove(&worker);
        self.condemned.remove(&worker);
        self.agents.retain(|_, agent| agent.process_id != worker);
        if let Some(slots) = self.slots.get_mut(pool) {
            slots.remove(&worker);
            if slots.is_empty() {
                self.slots.remove(pool);
            }
        }
    }

    /// The pools of which anything is kept, by name.
    pub(super) fn pools(&self) -> Vec<PoolName> {
        let of_agents = self.agents.values().map(|agent| &agent.pool_name);
        let pools: BTreeSet<&PoolName> = self.slots.keys().chain(self.reports.keys()).chain(of_agents).collect();
        pools.into_iter().cloned().collect()
    }

    /// Removes what is kept by pool. Workers are forgotten one by one.
    pub(super) fn forget_pool(&mut self, pool: &PoolName) {
        self.slots.remove(pool);
        self.reports.remove(pool);
        self.agents.retain(|_, agent| agent.pool_name != *pool);
    }

    pub(super) fn condemn(&mut self, worker: ProcessId) {
        self.condemned.insert(worker);
    }

    pub(super) fn announce(&mut self, leader: LeaderMirror, until: Instant) {
        self.leader = Some((leader, until));
    }

    /// Who leads, until its lease is over.
    pub(super) fn leader(&self, now: Instant) -> Option<&LeaderMirror> {
        self.leader.as_ref().filter(|(_, until)| now < *until).map(|(leader, _)| leader)
    }

    /// Entries are numbered over all pools, so that a number is never used twice in one life.
    pub(super) fn add_report(&mut self, report: &Report) {
        self.latest_entry += 1;
        self.reports.entry(report.pool_name.clone()).or_default().insert(self.latest_entry, report.clone());
    }

    /// A pool's reports behind this entry, the oldest first.
    pub(super) fn reports_after(&self, pool: &PoolName, entry: u64) -> impl Iterator<Item = (u64, &Report)> {
        self.reports.get(pool).into_iter().flat_map(move |reports| reports.range(entry + 1..)).map(|(at, r)| (*at, r))
    }

    /// Removes a settled entry; removing it twice is no error.
    pub(super) fn remove_report(&mut self, pool: &PoolName, entry: u64) {
        if let Some(reports) = self.reports.get_mut(pool) {
            reports.remove(&entry);
            if reports.is_empty() {
                self.reports.remove(pool);
            }
        }
    }

    /// Lets the worker's next beat know; a number never falls, and a worker without a hash gets none.
    pub(super) fn settle(&mut self, worker: ProcessId, settled: u64) {
        if let Some(worker) = self.workers.get_mut(&worker) {
            worker.settled = worker.settled.max(settled);
        }
    }

    /// Whether nothing is left; the leader's mirror fades by itself and does not count.
    pub(super) fn is_empty(&self) -> bool {
        self.workers.is_empty()
            && self.agents.is_empty()
            && self.slots.is_empty()
            && self.condemned.is_empty()
            && self.reports.is_empty()
    }
}
