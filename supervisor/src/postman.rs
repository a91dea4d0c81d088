//! What goes out to the registry. Keepers never wait for it: commands are sent again until they are acknowledged, mirrors
//! of free slots are written until that succeeds, and so are errands, each by itself: what the registry shows never stays
//! wrong.
//!
//! Commands take the mirrors along, and go first: what else came with them follows when they are out.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use muster_domain::{Envelope, PoolName, ProcessId};
use muster_registry::{Bus, FreeSlots, Registry, RegistryError, ReportPost};
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::crew::Crew;

type Batch = Vec<(ProcessId, Envelope)>;

/// Letters taken at once at the most.
const LARGEST_BAG: usize = 1_024;

/// Before errands that failed are run again.
const RETRY: Duration = Duration::from_millis(250);

/// How long a supervisor that ends waits for its last letters.
const LAST_ROUND: Duration = Duration::from_secs(2);

pub(crate) struct Postman {
    letters: mpsc::UnboundedSender<Letter>,
}

enum Letter {
    Commands(Batch),
    Mirror(PoolName, Vec<(ProcessId, u32)>),
    ForgetPool(PoolName),
    Errand(Errand),
    Last(oneshot::Sender<()>),
}

/// What goes down the line of errands.
enum Job {
    Run(Errand),
    /// All before this were run once.
    Tell(oneshot::Sender<()>),
}

#[derive(Clone, Debug, PartialEq)]
enum Errand {
    Settle(Vec<ReportPost>, Vec<(ProcessId, u64)>),
    Forget(PoolName, ProcessId),
    Condemn(ProcessId),
    GiveUp(PoolName, ProcessId),
}

impl Postman {
    /// Starts both lines. They end when the postman is dropped and its last letters are out, also in a shutdown; till then
    /// the crew watches them.
    pub(crate) fn start(
        registry: Arc<dyn Registry>,
        bus: Arc<dyn Bus>,
        fenced: CancellationToken,
        crew: &mut Crew,
    ) -> Self {
        let (letters, letter_line) = mpsc::unbounded_channel();
        let (errands, errand_line) = mpsc::unbounded_channel();
        crew.watch(
            "commands",
            tokio::spawn(carry_commands(registry.clone(), bus.clone(), fenced.clone(), letter_line, errands)),
        );
        crew.watch("errands", tokio::spawn(run_errands(registry, bus, fenced, errand_line)));
        Self { letters }
    }

    pub(crate) fn send(&self, batch: Batch) {
        if !batch.is_empty() {
            drop(self.letters.send(Letter::Commands(batch)));
        }
    }

    pub(crate) fn mirror(&self, pool: &PoolName, slots: Vec<(ProcessId, u32)>) {
        if !slots.is_empty() {
            drop(self.letters.send(Letter::Mirror(pool.clone(), slots)));
        }
    }

    pub(crate) fn settle(&self, entries: Vec<ReportPost>, settled: Vec<(ProcessId, u64)>) {
        self.run(Errand::Settle(entries, settled));
    }

    pub(crate) fn forget(&self, pool: PoolName, worker: ProcessId) {
        self.run(Errand::Forget(pool, worker));
    }

    pub(crate) fn forget_pool(&self, pool: PoolName) {
        drop(self.letters.send(Letter::ForgetPool(pool)));
    }

    /// Waits until all that was handed in so far was carried out, or tried in vain: the registry may end with the supervisor.
    pub(crate) async fn last_round(&self) {
        let (reply, over) = oneshot::channel();
        drop(self.letters.send(Letter::Last(reply)));
        // Where the lines are gone, so are the letters.
        let _ = tokio::time::timeout(LAST_ROUND, over).await;
    }

    fn run(&self, errand: Errand) {
        drop(self.letters.send(Letter::Errand(errand)));
    }

    /// A worker is over for us, and may live: nothing is left of it but the word that it is to end.
    pub(crate) fn give_up(&self, pool: PoolName, worker: ProcessId) {
        self.run(Errand::GiveUp(pool, worker));
    }

    pub(crate) fn condemn(&self, worker: ProcessId) {
        self.run(Errand::Condemn(worker));
    }
}

async fn carry_commands(
    registry: Arc<dyn Registry>,
    bus: Arc<dyn Bus>,
    fenced: CancellationToken,
    mut line: mpsc::UnboundedReceiver<Letter>,
    errands: mpsc::UnboundedSender<Job>,
) {
    let (mut mirrors, mut bag) = (Mirrors::default(), Vec::new());
    loop {
        let taken = tokio::select! {
            biased;
            taken = line.recv_many(&mut bag, LARGEST_BAG) => Some(taken),
            // As for errands: nothing is written again under a lead that is over.
            () = tokio::time::sleep(RETRY), if !mirrors.is_empty() && !fenced.is_cancelled() => None,
        };
        let (mut batch, mut others) = (Batch::new(), Vec::new());
        for letter in bag.drain(..) {
            match letter {
                Letter::Commands(commands) => batch.extend(commands),
                Letter::Mirror(pool, slots) => mirrors.add(pool, slots),
                // At once, since what follows may be of a pool with that name again.
                // Not under a lead that is over: a later leader may have made that pool again.
                Letter::ForgetPool(_) if fenced.is_cancelled() => {}
                Letter::ForgetPool(pool) => forget_pool(registry.as_ref(), &mut mirrors, &pool).await,
                Letter::Errand(errand) => {
                    mirrors.heed(&errand);
                    others.push(Job::Run(errand));
                }
                Letter::Last(reply) => others.push(Job::Tell(reply)),
            }
        }
        mirrors.send(bus.as_ref(), &batch).await;
        for job in others {
            // The line of errands ends with this one.
            let _ = errands.send(job);
        }
        if taken == Some(0) {
            return;
        }
    }
}

/// Removes the traces of a pool that is gone. Where that fails the collector finds them.
async fn forget_pool(registry: &dyn Registry, mirrors: &mut Mirrors, pool: &PoolName) {
    mirrors.slots.remove(pool);
    if let Err(error) = registry.forget_pool(pool).await {
        tracing::debug!(pool.name = %pool, %error, "traces of a pool that is gone stay in the registry for now");
    }
}

/// Free slots that the registry is to show. What comes later overrides what could not be written before.
#[derive(Default)]
struct Mirrors {
    slots: HashMap<PoolName, HashMap<ProcessId, u32>>,
}

impl Mirrors {
    fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    fn add(&mut self, pool: PoolName, slots: impl IntoIterator<Item = (ProcessId, u32)>) {
        self.slots.entry(pool).or_default().extend(slots);
    }

    /// Nothing of a worker may be written after it is forgotten.
    fn heed(&mut self, errand: &Errand) {
        if let Errand::Forget(pool, worker) = errand
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

async fn run_errands(
    registry: Arc<dyn Registry>,
    bus: Arc<dyn Bus>,
    fenced: CancellationToken,
    mut line: mpsc::UnboundedReceiver<Job>,
) {
    let (mut errands, mut bag) = (Errands::default(), Vec::new());
    let mut failing = false;
    loop {
        let mut waiting = Vec::new();
        let taken = tokio::select! {
            biased;
            taken = line.recv_many(&mut bag, LARGEST_BAG) => Some(taken),
            // When the lead is over what is in the line is run, but nothing again: a later leader writes the same by then.
            () = tokio::time::sleep(RETRY), if !errands.is_empty() && !fenced.is_cancelled() => None,
        };
        for job in bag.drain(..) {
            match job {
                Job::Run(errand) => errands.add(errand),
                Job::Tell(reply) => waiting.push(reply),
            }
        }
        let error = errands.run(registry.as_ref(), bus.as_ref()).await;
        waiting.into_iter().for_each(|reply| _ = reply.send(()));
        // Under a lead that is over it is not run again, and nobody misses it: whoever leads next writes the same.
        if let Some(error) = error.as_ref().filter(|_| !failing && !fenced.is_cancelled()) {
            tracing::warn!(%error, "an errand to the registry failed; it is run again");
        }
        failing = error.is_some();
        if taken == Some(0) {
            // Nobody sends any more: these were the last.
            return;
        }
    }
}

/// Errands that wait to be run, those of a kind together. What comes later overrides what it makes void; so an errand that
/// failed can wait beside those that came after it.
#[derive(Default)]
struct Errands {
    entries: Vec<ReportPost>,
    settled: HashMap<ProcessId, u64>,
    condemned: HashSet<ProcessId>,
    forgotten: HashMap<ProcessId, PoolName>,
    given_up: HashMap<ProcessId, PoolName>,
}

impl Errands {
    fn add(&mut self, errand: Errand) {
        match errand {
            Errand::Settle(entries, settled) => {
                self.entries.extend(entries);
                // One that failed comes back behind a later one.
                for (worker, number) in settled {
                    let known = self.settled.entry(worker).or_default();
                    *known = number.max(*known);
                }
            }
            Errand::Condemn(worker) => drop(self.condemned.insert(worker)),
            Errand::Forget(pool, worker) => {
                // Nothing that was to be written of it earlier may come back after it is forgotten.
                self.settled.remove(&worker);
                self.condemned.remove(&worker);
                self.forgotten.insert(worker, pool);
            }
            Errand::GiveUp(pool, worker) => {
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
    fn take(&mut self) -> Vec<Errand> {
        let Self { entries, settled, condemned, forgotten, given_up } = std::mem::take(self);
        let mut all = Vec::new();
        if !entries.is_empty() || !settled.is_empty() {
            all.push(Errand::Settle(entries, settled.into_iter().collect()));
        }
        all.extend(condemned.into_iter().map(Errand::Condemn));
        all.extend(forgotten.into_iter().map(|(worker, pool)| Errand::Forget(pool, worker)));
        all.extend(given_up.into_iter().map(|(worker, pool)| Errand::GiveUp(pool, worker)));
        all
    }

    /// Runs them side by side, so that in an outage all of them together wait as long as one. Those that fail stay, and
    /// one of the errors is returned.
    async fn run(&mut self, registry: &dyn Registry, bus: &dyn Bus) -> Option<RegistryError> {
        let runs = self.take().into_iter().map(|errand| async move {
            let result = errand.run(registry, bus).await;
            (errand, result)
        });
        let mut failure = None;
        for (errand, result) in futures_util::future::join_all(runs).await {
            if let Err(error) = result {
                failure = Some(error);
                self.add(errand);
            }
        }
        failure
    }
}

impl Errand {
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
    use super::*;

    fn pool() -> PoolName {
        "crew".parse().expect("a name")
    }

    fn waiting(errands: impl IntoIterator<Item = Errand>) -> Vec<Errand> {
        let mut waiting = Errands::default();
        for errand in errands {
            waiting.add(errand);
        }
        let all = waiting.take();
        assert!(waiting.is_empty());
        all
    }

    fn mirrored(mirrors: &Mirrors) -> Vec<(ProcessId, u32)> {
        mirrors.slots.get(&pool()).into_iter().flatten().map(|(worker, free)| (*worker, *free)).collect()
    }

    #[test]
    fn of_two_mirrors_of_one_worker_the_later_one_counts() {
        let (worker, mut mirrors) = (ProcessId::generate(), Mirrors::default());
        mirrors.add(pool(), [(worker, 2)]);
        mirrors.add(pool(), [(worker, 1)]);
        assert_eq!(mirrored(&mirrors), [(worker, 1)]);
    }

    #[test]
    fn nothing_of_a_worker_is_written_after_it_is_forgotten() {
        let (worker, other) = (ProcessId::generate(), ProcessId::generate());
        let forget = Errand::Forget(pool(), worker);
        let settle = Errand::Settle(Vec::new(), vec![(worker, 3)]);
        assert_eq!(waiting([settle, Errand::Condemn(worker), forget.clone()]), std::slice::from_ref(&forget));
        let mut mirrors = Mirrors::default();
        mirrors.add(pool(), [(worker, 2), (other, 1)]);
        mirrors.heed(&forget);
        assert_eq!(mirrored(&mirrors), [(other, 1)]);
    }
}
