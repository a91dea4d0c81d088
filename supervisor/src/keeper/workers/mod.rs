//! The workers of a pool: one part of its keeper.
//!
//! It takes facts (launches, heartbeats, deaths), and puts what follows into the [`Turn`]: transitions for the controller to commit
//! and commands for it to send. Processes are its own business: it starts them, asks them how they are, and ends them.
//!
//! | file | what |
//! |---|---|
//! | [`worker`] | one worker |
//! | [`launching`] | a worker is started, and who it is becomes known |
//! | [`adopting`] | a worker of an earlier supervisor is taken over |
//! | [`leaving`] | it ends when it is empty, since there are to be fewer |
//! | [`interrupting`] | the capacity under it will be taken away |
//! | [`judging`] | what is heard of it, and what is not |
//! | [`probing`] | it is asked past the registry; what is said where that can't be |
//! | [`way`] | whether there is a way to it past the registry |
//! | [`reach`] | what is told on that way, and said where there is none |
//! | [`death`] | it ends, or has ended |
//! | [`tiering`] | of which tier of the pool's capacity the next ones are |
//! | [`totals`] | how many there are of each sort |

mod adopting;
mod death;
mod interrupting;
mod judging;
mod launching;
mod leaving;
mod probing;
mod reach;
mod tiering;
mod totals;
mod way;
pub(crate) mod worker;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Instant;

use muster_domain::worker::WorkerEvent;
use muster_domain::{AgentId, Fence, ProcessId, WorkerStatus};
use muster_policy::placement::PlacementCandidate;
use muster_policy::starts::Starts;
use muster_registry::Bus;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

pub(crate) use self::adopting::FoundWorker;
pub(super) use self::death::{AgentFollowUps, WorkerEnded};
pub(super) use self::interrupting::Interrupted;
pub(super) use self::launching::{NewWorker, kill_unheard};
pub(super) use self::reach::Order;
use self::tiering::TierState;
use self::totals::WorkerTotals;
use self::worker::PoolWorker;
use super::Turn;
use super::agents::SlotChange;
use super::model::Pool;
use crate::alerts::Alerts;
use crate::command_sender::CommandSender;
use crate::context::Settings;
use crate::directory::Mailbox;
use crate::error::SupervisorError;
use crate::health_board::HealthBoard;
use crate::heartbeat_reader::HeartbeatReader;
use crate::launch::Launchers;

/// Where it is told that a worker that was declared dead is over.
pub(crate) type DeclarationReply = oneshot::Sender<Result<(), SupervisorError>>;

/// What this part needs of the supervisor.
pub(crate) struct PoolWorkersDeps {
    pub(crate) fence: Fence,
    pub(crate) settings: Arc<Settings>,
    pub(crate) launchers: Launchers,
    /// To say from whom messages may come.
    pub(crate) bus: Arc<dyn Bus>,
    /// To say whose heartbeats are wanted.
    pub(crate) listener: HeartbeatReader,
    /// To say whose commands are not to be sent any more.
    pub(crate) command_sender: Arc<CommandSender>,
    pub(crate) health: Arc<HealthBoard>,
    pub(crate) alerts: Arc<Alerts>,
    pub(crate) fenced: CancellationToken,
    /// Where news of a worker's process are told.
    pub(crate) keeper: Mailbox,
}

/// The workers of a pool.
pub(crate) struct PoolWorkers {
    deps: Arc<PoolWorkersDeps>,
    by_id: BTreeMap<ProcessId, PoolWorker>,
    totals: WorkerTotals,
    tiers: TierState,
    /// Those with a free slot in the order in which packing fills them: ready ones first, then the fullest, then the oldest.
    free: BTreeSet<(bool, u32, ProcessId)>,
    /// Those that are open, and under which the capacity will be taken away.
    interrupted: BTreeSet<ProcessId>,
    /// Those whose free slots changed since they were mirrored.
    changed_slots: BTreeSet<ProcessId>,
    /// Starts that failed, and when the next may be tried.
    starts: Starts,
    /// Those that were declared dead and whose end is not stored yet, with who waits for that.
    declared: BTreeMap<ProcessId, Vec<DeclarationReply>>,
    /// Those that were ever started, and that have ended.
    pub(super) spawned: u64,
    pub(super) terminated: u64,
}

impl PoolWorkers {
    pub(super) fn new(deps: PoolWorkersDeps, spawned: u64, terminated: u64) -> Self {
        Self {
            deps: Arc::new(deps),
            by_id: BTreeMap::new(),
            totals: WorkerTotals::default(),
            tiers: TierState::default(),
            free: BTreeSet::new(),
            interrupted: BTreeSet::new(),
            changed_slots: BTreeSet::new(),
            starts: Starts::default(),
            declared: BTreeMap::new(),
            spawned,
            terminated,
        }
    }

    pub(crate) fn get(&self, id: &ProcessId) -> Option<&PoolWorker> {
        self.by_id.get(id)
    }

    /// For all but the status and what decides over free slots.
    fn get_mut(&mut self, id: ProcessId) -> Option<&mut PoolWorker> {
        self.by_id.get_mut(&id)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &PoolWorker> {
        self.by_id.values()
    }

    pub(super) fn ids(&self) -> Vec<ProcessId> {
        self.by_id.keys().copied().collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Every change of what decides over a worker's free slots and its sort goes through here, so that neither index nor totals lag.
    fn change(&mut self, id: ProcessId, change: impl FnOnce(&mut PoolWorker)) {
        let Some(worker) = self.by_id.get_mut(&id) else { return };
        self.free.remove(&packing_order(worker));
        self.totals.remove(worker);
        change(worker);
        self.totals.add(worker);
        if worker.free() > 0 {
            self.free.insert(packing_order(worker));
        }
        if worker.is_open() && worker.is_interrupted() {
            self.interrupted.insert(id);
        } else {
            self.interrupted.remove(&id);
        }
        self.changed_slots.insert(id);
    }

    fn put(&mut self, worker: PoolWorker) {
        let id = worker.process_id;
        self.take(id);
        self.totals.add(&worker);
        self.by_id.insert(id, worker);
        self.change(id, |_| {});
    }

    fn take(&mut self, id: ProcessId) {
        let Some(worker) = self.by_id.remove(&id) else { return };
        self.totals.remove(&worker);
        self.free.remove(&packing_order(&worker));
        self.interrupted.remove(&id);
        self.changed_slots.remove(&id);
    }

    /// Gives and takes slots as an agent has moved.
    pub(super) fn follow(&mut self, agent: AgentId, change: SlotChange, now: Instant) {
        if let Some(at) = change.left {
            self.change(at.process_id, |worker| {
                worker.held.remove(&agent);
                if worker.held.is_empty() {
                    worker.empty_since = Some(now);
                }
            });
        }
        if let Some(at) = change.taken {
            self.change(at.process_id, |worker| {
                worker.held.insert(agent);
                worker.empty_since = None;
            });
        }
    }

    /// Moves a worker's status; false where the event changes nothing.
    pub(super) fn apply(&mut self, id: ProcessId, event: WorkerEvent) -> bool {
        let Some(after) = self.by_id.get(&id).and_then(|worker| worker.status.after(event)) else { return false };
        self.change(id, |worker| worker.status = after);
        true
    }

    pub(crate) fn listens(&self, id: ProcessId) -> bool {
        self.get(&id).is_some_and(PoolWorker::listens)
    }

    /// Those with room, in the order in which packing fills them. One without a key only where no other worker can be had. `most` is the
    /// pool's bound of workers.
    pub(super) fn with_room(&self, most: u32) -> impl Iterator<Item = PlacementCandidate> {
        let is_all = most > 0 && self.open() >= most;
        self.free.iter().filter_map(move |(is_coming, free, id)| {
            let worker = self.get(id).filter(|worker| is_all || worker.is_wanted())?;
            Some(PlacementCandidate { process_id: *id, is_ready: !is_coming, free: *free, taken: worker.used() })
        })
    }

    /// Whether a slot is free.
    pub(super) fn have_room(&self) -> bool {
        !self.free.is_empty()
    }

    /// Whether all slots are taken, and no worker may be started beside those that there are.
    pub(super) fn leave_no_room(&self, most: u32) -> bool {
        most > 0 && self.open() >= most && self.free.is_empty()
    }

    pub(super) const fn open(&self) -> u32 {
        self.totals.open
    }

    /// Those that start programs by an older definition of the runtime.
    pub(super) const fn outdated(&self) -> u32 {
        self.totals.outdated
    }

    /// Those that may be dead or do not end, while nobody here can see or bring about their end.
    pub(super) const fn unreachable(&self) -> u32 {
        self.totals.unreachable
    }

    /// Those of them that are not interrupted.
    pub(super) const fn unreachable_staying(&self) -> u32 {
        self.totals.unreachable_staying
    }

    /// Which ones, the oldest first.
    pub(super) fn unreachable_ids(&self) -> impl Iterator<Item = ProcessId> {
        // Almost always there is none, and nobody looks for it.
        let all = self.values().filter(|worker| worker.is_open() && worker.is_unreachable());
        all.map(|worker| worker.process_id).take(self.totals.unreachable as usize)
    }

    /// The free slots that changed since the last call, for the mirror.
    pub(super) fn take_changed_slots(&mut self) -> Vec<(ProcessId, u32)> {
        let changed = std::mem::take(&mut self.changed_slots);
        changed.into_iter().filter_map(|id| self.get(&id).map(|worker| (id, worker.free()))).collect()
    }

    /// Marks all slots as changed: the mirror was lost.
    pub(super) fn forget_mirror(&mut self) {
        self.changed_slots = self.by_id.keys().copied().collect();
    }
}

fn packing_order(worker: &PoolWorker) -> (bool, u32, ProcessId) {
    (worker.status != WorkerStatus::Ready, worker.free(), worker.process_id)
}

pub(crate) fn count<T>(items: impl Iterator<Item = T>) -> u32 {
    u32::try_from(items.count()).unwrap_or(u32::MAX)
}
