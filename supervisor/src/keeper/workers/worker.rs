//! One worker in the keeper's model.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use muster_domain::tiers::WorkerSource;
use muster_domain::{
    AgentId, Clocks, Heartbeat, PoolName, ProcessId, TierName, Timestamp, WorkerIdentity, WorkerStatus,
};
use muster_policy::starts::EarlyEnd;
use muster_policy::worker::{Kill, WorkerFacts};
use muster_store::WorkerSpec;

use super::interrupting::Interrupted;
use super::probing::Probing;
use super::way::{Unreachable, Way};
use crate::view::{WorkerView, share};

/// When it was heard, and what its latest heartbeat said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pulse {
    pub(crate) heard: Instant,
    /// None where only a report was heard so far, which says nothing about it.
    used: Option<Used>,
}

/// What it uses of the machine.
#[derive(Clone, Copy, Debug)]
struct Used {
    cpu_percent: f32,
    rss_bytes: u64,
}

pub(crate) struct PoolWorker {
    pub(crate) process_id: ProcessId,
    pub(crate) capacity: u32,
    pub(crate) status: WorkerStatus,
    pub(crate) origin: WorkerOrigin,
    pub(crate) process: Process,
    pub(crate) contact: WorkerContact,
    /// Agents with an open assignment to it.
    pub(crate) held: BTreeSet<AgentId>,
    pub(crate) empty_since: Option<Instant>,
    pub(crate) reports: SettledReports,
    /// Whether its end is decided: that is on its way into the store.
    pub(crate) is_over: bool,
    /// Whether it is to end when it is empty, since there are to be fewer: nobody is placed on it any more.
    pub(crate) leaves: bool,
    /// That the capacity under it will be taken away, where that is known.
    pub(crate) interrupted: Option<Interrupted>,
    /// When it was last seen with work, or began.
    pub(crate) worked_at: Instant,
}

/// How a worker came to be.
pub(crate) struct WorkerOrigin {
    pub(crate) started_at: Timestamp,
    /// When this supervisor started it; `None` for one that it found.
    pub(crate) begun: Option<Instant>,
    /// Whether it starts programs by another definition of the runtime than the configuration's: no agent is placed on it.
    pub(crate) outdated: bool,
    /// From where it comes.
    pub(crate) source: WorkerSource,
    /// Of which tier of its pool's capacity it is.
    pub(crate) tier: Option<TierName>,
    /// Whether its messages are signed. One of a version that had no keys is replaced as its agents end.
    pub(crate) has_key: bool,
}

/// What is known of a worker's process.
pub(crate) struct Process {
    pub(crate) identity: Option<WorkerIdentity>,
    /// Whether this supervisor still led after the process began: who it is was stored under this lead, or it was found. Nothing
    /// is told to it before. Else one that was started while another supervisor took over, which did not see it and has
    /// placed its agents elsewhere, would run them a second time.
    pub(crate) confirmed: bool,
    pub(crate) way: Way,
    pub(crate) kill: Kill,
}

impl Default for Process {
    fn default() -> Self {
        Self { identity: None, confirmed: false, way: Way::Starting, kill: Kill::NotSent }
    }
}

/// What is heard of a worker.
#[derive(Default)]
pub(crate) struct WorkerContact {
    pub(crate) pulse: Option<Pulse>,
    /// Between two of its beats, by its own word.
    interval: Option<Duration>,
    pub(crate) probing: Probing,
    /// Whether it was found to live and not to be heard.
    pub(crate) unheard: bool,
    /// Whether it may be dead, and nobody can ask or kill it.
    pub(crate) unreachable: Option<Unreachable>,
}

impl PoolWorker {
    pub(crate) fn new(
        process_id: ProcessId,
        capacity: u32,
        spec: &WorkerSpec,
        started_at: Timestamp,
        now: Instant,
    ) -> Self {
        let (source, tier) = (spec.source.clone(), spec.tier);
        Self {
            process_id,
            capacity,
            status: WorkerStatus::Starting { since: now },
            origin: WorkerOrigin { started_at, begun: Some(now), outdated: false, source, tier, has_key: true },
            process: Process::default(),
            contact: WorkerContact::default(),
            held: BTreeSet::new(),
            empty_since: Some(now),
            reports: SettledReports::default(),
            is_over: false,
            leaves: false,
            interrupted: None,
            worked_at: now,
        }
    }

    /// Whether commands reach it: it has subscribed, and was not told to end for good.
    pub(crate) const fn listens(&self) -> bool {
        self.status.listens() && self.process.confirmed
    }

    pub(crate) const fn is_open(&self) -> bool {
        self.status.is_open()
    }

    pub(crate) fn used(&self) -> u32 {
        u32::try_from(self.held.len()).unwrap_or(u32::MAX)
    }

    /// Whether it stays, with the runtime's definition of today, and is within reach.
    pub(crate) const fn takes_agents(&self) -> bool {
        let stays = !self.origin.outdated && !self.leaves && !self.is_interrupted();
        self.status.takes_agents() && stays && !self.is_unreachable()
    }

    /// Whether it takes no agents whatever comes, and ends as soon as it is empty.
    pub(crate) const fn is_on_its_way_out(&self) -> bool {
        self.is_of_before() || self.leaves || self.is_interrupted()
    }

    /// Whether it may be dead, and nobody can ask or kill it.
    pub(crate) const fn is_unreachable(&self) -> bool {
        self.contact.unreachable.is_some()
    }

    /// Whether one without a way to it was heard since it was noticed to be unreachable. One that is to end is within reach again only
    /// when there is a way to it.
    pub(crate) fn is_heard_again(&self) -> bool {
        let noticed = self.contact.unreachable.as_ref().map(|unreachable| unreachable.noticed);
        let heard = self.contact.pulse.map(|pulse| pulse.heard);
        let may_be = matches!(self.process.way, Way::None(_)) && !self.status.is_ending();
        may_be && noticed.zip(heard).is_some_and(|(noticed, heard)| heard > noticed)
    }

    /// Slots that may be given out.
    pub(crate) fn free(&self) -> u32 {
        if self.takes_agents() && !self.contact.unheard { self.capacity.saturating_sub(self.used()) } else { 0 }
    }

    /// Whether new agents are to be placed on it.
    pub(crate) const fn is_wanted(&self) -> bool {
        self.origin.has_key && self.takes_agents()
    }

    /// Whether it is of an earlier definition of the runtime, or of a version without keys.
    pub(crate) const fn is_of_before(&self) -> bool {
        self.origin.outdated || !self.origin.has_key
    }

    /// What its end says about starts, where it was not told to end.
    pub(crate) fn loss(&self) -> Option<EarlyEnd> {
        // It was heard before it was ready, and is ready as soon as it is heard.
        Some(EarlyEnd { begun: self.origin.begun?, ready: self.contact.pulse.is_some() })
    }

    /// The clocks by which it is judged. Its pool's interval may have changed since it was started, and it does not know.
    pub(crate) fn clocks(&self, pool: &Clocks) -> Clocks {
        self.contact.interval.map_or_else(|| pool.clone(), |interval| pool.beating_every(interval.max(pool.heartbeat)))
    }

    pub(crate) fn facts(&self) -> WorkerFacts {
        WorkerFacts {
            status: self.status,
            heard: self.contact.pulse.map(|pulse| pulse.heard),
            used: self.used(),
            empty_since: self.empty_since,
            outdated: self.origin.outdated,
            has_way: !matches!(self.process.way, Way::None(_)),
            kill: self.process.kill,
            probe: self.contact.probing.state,
        }
    }

    pub(crate) fn hear(&mut self, heard: Instant, beat: Option<&Heartbeat>) {
        let used = beat.map(|beat| Used { cpu_percent: beat.cpu_percent, rss_bytes: beat.rss_bytes });
        self.contact.pulse = Some(Pulse { heard, used: used.or(self.machine_use()) });
        if let Some(beat) = beat {
            self.reports.dropped(beat.dropped);
            self.contact.interval = beat.interval;
            if self.process.identity.is_none() {
                self.process.identity = Some(beat.identity.clone());
            }
        }
    }

    fn machine_use(&self) -> Option<Used> {
        self.contact.pulse?.used
    }

    /// As it is shown. `at` is the moment `now` by the wall clock.
    pub(crate) fn view(&self, pool: &PoolName, now: Instant, at: Timestamp) -> WorkerView {
        let age = self.contact.pulse.map(|pulse| now.saturating_duration_since(pulse.heard));
        let (agent_count, max_agents) = (self.used(), self.capacity);
        WorkerView {
            process_id: self.process_id,
            pool_name: pool.clone(),
            pid: self.process.identity.as_ref().and_then(WorkerIdentity::pid),
            host: self.process.identity.as_ref().map(|identity| identity.host().to_owned()),
            status: self.status.state(),
            tier: self.origin.tier,
            outdated: self.origin.outdated,
            interruption: self.interrupted.map(|interrupted| interrupted.notice.into()),
            unreachable: self.contact.unreachable.as_ref().map(|unreachable| unreachable.words.clone()),
            agent_count,
            max_agents,
            utilization: share(agent_count, max_agents),
            cpu_percent: self.machine_use().map(|used| used.cpu_percent),
            rss_bytes: self.machine_use().map(|used| used.rss_bytes),
            started_at: self.origin.started_at,
            last_heartbeat: age.map(|age| at.before(age)),
        }
    }
}

/// Which of a worker's reports are settled. They may come twice and with gaps; the number that the worker is told is
/// the one below which none is missing.
#[derive(Debug, Default)]
pub(crate) struct SettledReports {
    settled: u64,
    ahead: BTreeSet<u64>,
}

impl SettledReports {
    /// The worker has dropped its reports up to `number`: they were settled with an earlier master.
    pub(crate) fn dropped(&mut self, number: u64) {
        self.settled = self.settled.max(number);
        self.close_gaps();
    }

    /// A report was settled; returns the number up to which all are.
    pub(crate) fn settle(&mut self, number: u64) -> u64 {
        if number > self.settled {
            self.ahead.insert(number);
        }
        self.close_gaps();
        self.settled
    }

    /// Whether this report was taken.
    pub(crate) fn was_taken(&self, number: u64) -> bool {
        number <= self.settled || self.ahead.contains(&number)
    }

    /// The number up to which every report was taken.
    pub(crate) const fn taken(&self) -> u64 {
        self.settled
    }

    fn close_gaps(&mut self) {
        while let Some(first) = self.ahead.first().copied() {
            if first > self.settled + 1 {
                break;
            }
            self.settled = self.settled.max(first);
            self.ahead.remove(&first);
        }
    }
}

#[cfg(test)]
mod tests {
    use muster_domain::{Fence, LocalIdentity, WorkerState};

    use super::*;

    fn beat(worker: &PoolWorker, pool: &PoolName) -> Heartbeat {
        let identity = LocalIdentity {
            pid: 1,
            start_time: 1,
            boot_id: "b".into(),
            pid_namespace: 1,
            host: "h".into(),
            machine_id: None,
        };
        Heartbeat {
            v: 1,
            process_id: worker.process_id,
            pool_name: pool.clone(),
            identity: identity.into(),
            capacity: 1,
            status: WorkerState::Ready,
            started_at: worker.origin.started_at,
            number: 1,
            reported: 0,
            dropped: 0,
            fence: Fence(1),
            tampering: muster_domain::Tampering::default(),
            cpu_percent: 0.5,
            rss_bytes: 4096,
            deaf: None,
            interval: None,
            agents: Vec::new(),
        }
    }

    #[test]
    fn one_that_was_only_heard_by_a_report_has_no_figures_yet() {
        let (now, pool) = (Instant::now(), "p".parse::<PoolName>().expect("a name"));
        let mut worker = PoolWorker::new(ProcessId::generate(), 1, &WorkerSpec::local(), Timestamp::now(), now);
        let figures = |worker: &PoolWorker| {
            let view = worker.view(&pool, now, Timestamp::now());
            (view.last_heartbeat.is_some(), view.cpu_percent, view.rss_bytes)
        };
        assert_eq!(figures(&worker), (false, None, None));
        worker.hear(now, None);
        assert_eq!(figures(&worker), (true, None, None), "not that it uses nothing");
        worker.hear(now, Some(&beat(&worker, &pool)));
        assert_eq!(figures(&worker), (true, Some(0.5), Some(4096)));
        worker.hear(now, None);
        assert_eq!(figures(&worker), (true, Some(0.5), Some(4096)), "a report takes none away");
    }

    #[test]
    fn the_settled_number_waits_for_gaps() {
        let mut reports = SettledReports::default();
        assert_eq!(reports.settle(1), 1);
        assert_eq!(reports.settle(3), 1);
        assert_eq!(reports.settle(3), 1, "twice is once");
        assert_eq!(reports.settle(2), 3);
    }

    #[test]
    fn an_adopted_worker_starts_where_it_dropped() {
        let mut reports = SettledReports::default();
        assert_eq!(reports.settle(8), 0, "1 to 7 may be missing");
        reports.dropped(7);
        assert_eq!(reports.settle(9), 9);
    }
}
