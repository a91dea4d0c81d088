//! What goes out to the registry. Keepers never wait for it: commands are sent again until they are acknowledged, mirrors
//! of free slots are written until that succeeds, and so are updates, each by itself: what the registry shows never stays
//! wrong.
//!
//! Commands take the mirrors along, and go first: what else came with them follows when they are out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use muster_domain::{Envelope, PoolName, ProcessId};
use muster_registry::{Bus, FreeSlots, Registry, RegistryError, ReportDelivery};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::task_set::TaskSet;

type CommandBatch = Vec<(ProcessId, Envelope)>;

/// Messages taken at once at the most.
const LARGEST_BAG: usize = 1_024;

/// Before updates that failed are run again.
const RETRY: Duration = Duration::from_millis(250);

/// How long a supervisor that ends waits for its last messages.
const LAST_ROUND: Duration = Duration::from_secs(2);

pub(crate) struct CommandSender {
    messages: mpsc::UnboundedSender<OutgoingMessage>,
}

enum OutgoingMessage {
    Commands(CommandBatch),
    Mirror(PoolName, Vec<(ProcessId, u32)>),
    ForgetPool(PoolName),
    Update(RegistryUpdate),
    Last(oneshot::Sender<()>),
}

/// What goes down the queue of updates.
enum UpdateJob {
    Run(RegistryUpdate),
    /// All before this were run once.
    Tell(oneshot::Sender<()>),
}

#[derive(Clone, Debug, PartialEq)]
enum RegistryUpdate {
    Settle(Vec<ReportDelivery>, Vec<(ProcessId, u64)>),
    Forget(PoolName, ProcessId),
    Condemn(ProcessId),
    GiveUp(PoolName, ProcessId),
}

impl CommandSender {
    /// Starts both queues. They end when the sender is dropped and its last messages are out, also in a shutdown; till then
    /// the task set watches them.
    pub(crate) fn start(
        registry: Arc<dyn Registry>,
        bus: Arc<dyn Bus>,
        fenced: CancellationToken,
        task_set: &mut TaskSet,
    ) -> Self {
        let (messages, message_line) = mpsc::unbounded_channel();
        let (updates, update_line) = mpsc::unbounded_channel();
        task_set.watch(
            "commands",
            tokio::spawn(carry_commands(registry.clone(), bus.clone(), fenced.clone(), message_line, updates)),
        );
        task_set.watch("registry updates", tokio::spawn(run_updates(registry, bus, fenced, update_line)));
        Self { messages }
    }

    pub(crate) fn send(&self, batch: CommandBatch) {
        if !batch.is_empty() {
            drop(self.messages.send(OutgoingMessage::Commands(batch)));
        }
    }

    pub(crate) fn mirror(&self, pool: &PoolName, slots: Vec<(ProcessId, u32)>) {
        if !slots.is_empty() {
            drop(self.messages.send(OutgoingMessage::Mirror(pool.clone(), slots)));
        }
    }

    pub(crate) fn settle(&self, entries: Vec<ReportDelivery>, settled: Vec<(ProcessId, u64)>) {
        self.run(RegistryUpdate::Settle(entries, settled));
    }

    pub(crate) fn forget(&self, pool: PoolName, worker: ProcessId) {
        self.run(RegistryUpdate::Forget(pool, worker));
    }

    pub(crate) fn forget_pool(&self, pool: PoolName) {
        drop(self.messages.send(OutgoingMessage::ForgetPool(pool)));
    }

    /// Waits until all that was handed in so far was carried out, or tried in vain: the registry may end with the supervisor.
    pub(crate) async fn flush(&self) {
        let (reply, over) = oneshot::channel();
        drop(self.messages.send(OutgoingMessage::Last(reply)));
        // Where the queues are gone, so are the messages.
        let _ = tokio::time::timeout(LAST_ROUND, over).await;
    }

    fn run(&self, update: RegistryUpdate) {
        drop(self.messages.send(OutgoingMessage::Update(update)));
    }

    /// A worker is over for us, and may live: nothing is left of it but the word that it is to end.
    pub(crate) fn give_up(&self, pool: PoolName, worker: ProcessId) {
        self.run(RegistryUpdate::GiveUp(pool, worker));
    }

    pub(crate) fn condemn(&self, worker: ProcessId) {
        self.run(RegistryUpdate::Condemn(worker));
    }
}

async fn carry_commands(
    registry: Arc<dyn Registry>,
    bus: Arc<dyn Bus>,
    fenced: CancellationToken,
    mut line: mpsc::UnboundedReceiver<OutgoingMessage>,
    updates: mpsc::UnboundedSender<UpdateJob>,
) {
    let (mut mirrors, mut bag) = (SlotMirrors::default(), Vec::new());
    loop {
        let taken = tokio::select! {
            biased;
            taken = line.recv_many(&mut bag, LARGEST_BAG) => Some(taken),
            // As for updates: nothing is written again under a lead that is over.
            () = tokio::time::sleep(RETRY), if !mirrors.is_empty() && !fenced.is_cancelled() => None,
        };
        let (mut batch, mut others) = (CommandBatch::new(), Vec::new());
        for message in bag.drain(..) {
            match message {
                OutgoingMessage::Commands(commands) => batch.extend(commands),
                OutgoingMessage::Mirror(pool, slots) => mirrors.add(pool, slots),
                // At once, since what follows may be of a pool with that name again.
                // Not under a lead that is over: a later leader may have made that pool again.
                OutgoingMessage::ForgetPool(_) if fenced.is_cancelled() => {}
                OutgoingMessage::ForgetPool(pool) => forget_pool(registry.as_ref(), &mut mirrors, &pool).await,
                OutgoingMessage::Update(update) => {
                    mirrors.heed(&update);
                    others.push(UpdateJob::Run(update));
                }
                OutgoingMessage::Last(reply) => others.push(UpdateJob::Tell(reply)),
            }
        }
        mirrors.send(bus.as_ref(), &batch).await;
        for job in others {
            // The queue of updates ends with this one.
            let _ = updates.send(job);
        }
        if taken == Some(0) {
            return;
        }
    }
}

/// Removes the traces of a pool that is gone. Where that fails the pruner finds them.
async fn forget_pool(registry: &dyn Registry, mirrors: &mut SlotMirrors, pool: &PoolName) {
    mirrors.slots.remove(pool);
    if let Err(error) = registry.forget_pool(pool).await {
        tracing::debug!(pool.name = %pool, %error, "traces of a pool that is gone stay in the registry for now");
    }
}

/// Free slots that the registry is to show. What comes later overrides what could not be written before.
#[derive(Default)]
struct SlotMirrors {
    slots: BTreeMap<PoolName, BTreeMap<ProcessId, u32>>,
}

impl SlotMirrors {
    fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    fn add(&mut self, pool: PoolName, slots: impl IntoIterator<Item = (ProcessId, u32)>) {
        self.slots.entry(pool).or_default().extend(slots);
    }

    /// Nothing of a worker may be written after it is forgotten.
    fn heed(&mut self, update: &RegistryUpdate) {
        if let RegistryUpdate::Forget(pool, worker) | RegistryUpdate::GiveUp(pool, worker) = update
            && let Some(slots) = self.slots.get_mut(pool)
        {
            slots.remove(worker);
        }
    }

    /// Sends all of it with these commands; what does not go out stays for the next time.
    async fn send(&mut self, bus: &dyn Bus, batch: &[(ProcessId, Envelope)]) {
        if self.is_empty() && batch.is_empty() {
            return;
        }
        let slots = std::mem::take(&mut self.slots);
        let slots: Vec<FreeSlots> =
            slots.into_iter().map(|(pool, slots)| (pool, slots.into_iter().collect())).collect();
        if let Err(error) = bus.send(&slots, batch).await {
            tracing::debug!(commands = batch.len(), %error, "commands did not go out; they are sent again");
            slots.into_iter().for_each(|(pool, slots)| self.add(pool, slots));
        }
    }
}

async fn run_updates(
    registry: Arc<dyn Registry>,
    bus: Arc<dyn Bus>,
    fenced: CancellationToken,
    mut line: mpsc::UnboundedReceiver<UpdateJob>,
) {
    let (mut updates, mut bag) = (PendingUpdates::default(), Vec::new());
    let mut failing = false;
    loop {
        let mut waiting = Vec::new();
        let taken = tokio::select! {
            biased;
            taken = line.recv_many(&mut bag, LARGEST_BAG) => Some(taken),
            // When the lead is over what is in the line is run, but nothing again: a later leader writes the same by then.
            () = tokio::time::sleep(RETRY), if !updates.is_empty() && !fenced.is_cancelled() => None,
        };
        for job in bag.drain(..) {
            match job {
                UpdateJob::Run(update) => updates.add(update),
                UpdateJob::Tell(reply) => waiting.push(reply),
            }
        }
        let error = updates.run(registry.as_ref(), bus.as_ref()).await;
        waiting.into_iter().for_each(|reply| _ = reply.send(()));
        // Under a lead that is over it is not run again, and nobody misses it: whoever leads next writes the same.
        if let Some(error) = error.as_ref().filter(|_| !failing && !fenced.is_cancelled()) {
            tracing::warn!(%error, "an update of the registry failed; it is run again");
        }
        failing = error.is_some();
        if taken == Some(0) {
            // Nobody sends any more: these were the last.
            return;
        }
    }
}

/// Updates that wait to be run, those of a kind together. What comes later overrides what it makes void; so an update that
/// failed can wait beside those that came after it.
#[derive(Default)]
struct PendingUpdates {
    entries: Vec<ReportDelivery>,
    settled: BTreeMap<ProcessId, u64>,
    condemned: BTreeSet<ProcessId>,
    forgotten: BTreeMap<ProcessId, PoolName>,
    given_up: BTreeMap<ProcessId, PoolName>,
}

impl PendingUpdates {
    fn add(&mut self, update: RegistryUpdate) {
        match update {
            RegistryUpdate::Settle(entries, settled) => {
                self.entries.extend(entries);
                // One that failed comes back behind a later one.
                for (worker, number) in settled {
                    let known = self.settled.entry(worker).or_default();
                    *known = number.max(*known);
                }
            }
            RegistryUpdate::Condemn(worker) => drop(self.condemned.insert(worker)),
            RegistryUpdate::Forget(pool, worker) => {
                // Nothing that was to be written of it earlier may come back after it is forgotten.
                self.settled.remove(&worker);
                self.condemned.remove(&worker);
                self.forgotten.insert(worker, pool);
            }
            RegistryUpdate::GiveUp(pool, worker) => {
                self.settled.remove(&worker);
                self.condemned.remove(&worker);
                self.given_up.insert(worker, pool);
            }
        }
    }

    fn is_empty(&self) -> bool {
        let settled = self.entries.is_empty() && self.settled.is_empty();
        settled && self.condemned.is_empty() && self.forgotten.is_empty() && self.given_up.is_empty()
    }

    /// Takes all, each to be run by itself. None of them depends on another.
    fn take(&mut self) -> Vec<RegistryUpdate> {
        let Self { entries, settled, condemned, forgotten, given_up } = std::mem::take(self);
        let mut all = Vec::new();
        if !entries.is_empty() || !settled.is_empty() {
            all.push(RegistryUpdate::Settle(entries, settled.into_iter().collect()));
        }
        all.extend(condemned.into_iter().map(RegistryUpdate::Condemn));
        all.extend(forgotten.into_iter().map(|(worker, pool)| RegistryUpdate::Forget(pool, worker)));
        all.extend(given_up.into_iter().map(|(worker, pool)| RegistryUpdate::GiveUp(pool, worker)));
        all
    }

    /// Runs them side by side, so that in an outage all of them together wait as long as one. Those that fail stay, and
    /// one of the errors is returned.
    async fn run(&mut self, registry: &dyn Registry, bus: &dyn Bus) -> Option<RegistryError> {
        let runs = self.take().into_iter().map(|update| async move {
            let result = update.run(registry, bus).await;
            (update, result)
        });
        let mut failure = None;
        for (update, result) in futures_util::future::join_all(runs).await {
            if let Err(error) = result {
                failure = Some(error);
                self.add(update);
            }
        }
        failure
    }
}

impl RegistryUpdate {
    async fn run(&self, registry: &dyn Registry, bus: &dyn Bus) -> Result<(), RegistryError> {
        match self {
            Self::Settle(entries, settled) => bus.settle(entries, settled).await,
            Self::Condemn(worker) => registry.condemn(*worker).await,
            Self::Forget(pool, worker) => registry.forget(pool, *worker).await,
            // In this order: forgetting removes the mark too.
            Self::GiveUp(pool, worker) => {
                registry.forget(pool, *worker).await?;
                registry.condemn(*worker).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use muster_registry::memory::MemoryRegistry;

    use super::*;

    fn pool() -> PoolName {
        "crew".parse().expect("a name")
    }

    fn waiting(updates: impl IntoIterator<Item = RegistryUpdate>) -> Vec<RegistryUpdate> {
        let mut waiting = PendingUpdates::default();
        for update in updates {
            waiting.add(update);
        }
        let all = waiting.take();
        assert!(waiting.is_empty());
        all
    }

    fn mirrored(mirrors: &SlotMirrors) -> Vec<(ProcessId, u32)> {
        mirrors.slots.get(&pool()).into_iter().flatten().map(|(worker, free)| (*worker, *free)).collect()
    }

    #[test]
    fn of_two_mirrors_of_one_worker_the_later_one_counts() {
        let (worker, mut mirrors) = (ProcessId::generate(), SlotMirrors::default());
        mirrors.add(pool(), [(worker, 2)]);
        mirrors.add(pool(), [(worker, 1)]);
        assert_eq!(mirrored(&mirrors), [(worker, 1)]);
    }

    #[test]
    fn nothing_of_a_worker_is_written_after_it_is_forgotten() {
        let (worker, other) = (ProcessId::generate(), ProcessId::generate());
        let forget = RegistryUpdate::Forget(pool(), worker);
        let settle = RegistryUpdate::Settle(Vec::new(), vec![(worker, 3)]);
        assert_eq!(waiting([settle, RegistryUpdate::Condemn(worker), forget.clone()]), std::slice::from_ref(&forget));
        let mut mirrors = SlotMirrors::default();
        mirrors.add(pool(), [(worker, 2), (other, 1)]);
        mirrors.heed(&forget);
        assert_eq!(mirrored(&mirrors), [(other, 1)]);
    }

    #[tokio::test]
    async fn of_a_worker_that_is_given_up_only_the_word_stays_that_it_is_to_end() {
        let worker = ProcessId::generate();
        let give_up = RegistryUpdate::GiveUp(pool(), worker);
        let settle = RegistryUpdate::Settle(Vec::new(), vec![(worker, 3)]);
        assert_eq!(waiting([settle, RegistryUpdate::Condemn(worker), give_up.clone()]), std::slice::from_ref(&give_up));
        let mut mirrors = SlotMirrors::default();
        mirrors.add(pool(), [(worker, 2)]);
        mirrors.heed(&give_up);
        assert_eq!(mirrored(&mirrors), []);
        let registry = MemoryRegistry::new();
        give_up.run(&registry, &registry).await.expect("memory answers");
        assert!(!registry.is_empty(), "the mark is written after all else was removed");
    }
}
