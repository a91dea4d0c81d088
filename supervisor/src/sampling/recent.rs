//! The latest hour of workers and agents: what each has used, in memory. It is gone with this supervisor's lead.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use muster_domain::{AgentId, PoolMetrics, ProcessId, Timestamp};

use super::sampler::{Look, TreeUse};

/// How long it is kept.
const KEPT: Duration = Duration::from_hours(1);

/// What was used at a look, in half the room: thousands of agents have a hundred of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct UsePoint {
    /// The number of the look.
    look: u32,
    /// In thousandths of a core.
    cpu: u32,
    /// In KiB.
    memory: u32,
}

/// What was used, and when.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct UsedAt {
    pub(crate) at: Timestamp,
    /// In percent of one core, since the look before.
    pub(crate) cpu_percent: f64,
    pub(crate) memory_bytes: u64,
}

/// The latest hour.
#[derive(Default)]
pub(crate) struct RecentUse(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    /// When the kept looks were, and the number of the first of them.
    looks: VecDeque<Timestamp>,
    first: u32,
    workers: HashMap<ProcessId, VecDeque<UsePoint>>,
    agents: HashMap<AgentId, VecDeque<UsePoint>>,
    /// The pools at the latest look.
    pools: Vec<PoolMetrics>,
}

impl RecentUse {
    /// Keeps what was seen, and lets go of what is older than an hour.
    pub(crate) fn add(&self, look: &Look) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.looks.back().is_some_and(|at| *at > look.at) {
            // The clock was set back: what is from another time can't be put in order.
            *kept = Kept::default();
        }
        while kept.looks.front().is_some_and(|at| *at < look.at.before(KEPT)) {
            kept.looks.pop_front();
            kept.first = kept.first.wrapping_add(1);
        }
        let (first, number) = (kept.first, kept.first.wrapping_add(u32::try_from(kept.looks.len()).unwrap_or(0)));
        kept.looks.push_back(look.at);
        kept.pools.clone_from(&look.pools);
        put(&mut kept.workers, &look.workers, first, number);
        put(&mut kept.agents, &look.agents, first, number);
    }

    /// The pools at the latest look, and when that was; none before the first one.
    pub(crate) fn of_pools(&self) -> Option<(Timestamp, Vec<PoolMetrics>)> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Some((*kept.looks.back()?, kept.pools.clone()))
    }

    /// Of a worker, the newest first.
    pub(crate) fn of_worker(&self, worker: ProcessId) -> Vec<UsedAt> {
        self.read(|kept| kept.workers.get(&worker))
    }

    /// Of an agent, the newest first.
    pub(crate) fn of_agent(&self, agent: AgentId) -> Vec<UsedAt> {
        self.read(|kept| kept.agents.get(&agent))
    }

    fn read(&self, of: impl Fn(&Kept) -> Option<&VecDeque<UsePoint>>) -> Vec<UsedAt> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let at = |look: u32| kept.looks.get(look.wrapping_sub(kept.first) as usize).copied();
        let shown = |point: &UsePoint| {
            let memory_bytes = u64::from(point.memory) * 1024;
            Some(UsedAt { at: at(point.look)?, cpu_percent: f64::from(point.cpu) / 10.0, memory_bytes })
        };
        of(&kept).into_iter().flatten().rev().filter_map(shown).collect()
    }
}

fn put<Id: Copy + Eq + Hash>(
    points: &mut HashMap<Id, VecDeque<UsePoint>>,
    used: &[(Id, TreeUse)],
    first: u32,
    number: u32,
) {
    for (id, TreeUse { cpu, memory }) in used {
        let small = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
        let point = UsePoint { look: number, cpu: small(cpu / 1_000), memory: small(memory / 1024) };
        points.entry(*id).or_default().push_back(point);
    }
    points.retain(|_, points| {
        while points.front().is_some_and(|point| point.look.wrapping_sub(first) > u32::MAX / 2) {
            points.pop_front();
        }
        !points.is_empty()
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(at: i64, workers: Vec<(ProcessId, TreeUse)>) -> Look {
        let at = Timestamp::from_millis(at * 60_000);
        Look { at, pools: Vec::new(), is_whole: true, workers, agents: Vec::new(), loads: Vec::new() }
    }

    #[test]
    fn an_hour_is_kept_the_newest_first() {
        let (recent, worker, other) = (RecentUse::default(), ProcessId::generate(), ProcessId::generate());
        let used = |cpu| TreeUse { cpu: cpu * 10_000, memory: 4096 };
        recent.add(&look(0, vec![(worker, used(1)), (other, used(9))]));
        for minute in 1..=90 {
            recent.add(&look(minute, vec![(worker, used(minute as u64))]));
        }
        let read = recent.of_worker(worker);
        assert_eq!(read.len(), 61);
        assert_eq!(read[0], UsedAt { at: look(90, vec![]).at, cpu_percent: 90.0, memory_bytes: 4096 });
        assert_eq!(read[60].at, look(30, vec![]).at);
        assert!(recent.of_worker(other).is_empty(), "one that is gone leaves nothing");
    }

    #[test]
    fn a_clock_that_was_set_back_begins_anew() {
        let (recent, worker) = (RecentUse::default(), ProcessId::generate());
        recent.add(&look(100, vec![(worker, TreeUse::default())]));
        recent.add(&look(10, vec![(worker, TreeUse::default())]));
        assert_eq!(recent.of_worker(worker).len(), 1);
    }
}
