//! What goes out to the registry. Keepers never wait for it: commands are sent again until they are acknowledged, and
//! errands are run until they succeed, each by itself, so that what the registry shows never stays wrong.
//!
//! Commands go first, and whatever else came with them follows when they are out: a command never waits behind a mirror.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use muster_domain::{Envelope, PoolName, ProcessId};
use muster_registry::{Bus, Registry, RegistryError, ReportPost};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use crate::crew::Crew;

type Batch = Vec<(ProcessId, Envelope)>;

/// Letters taken at once at the most.
const LARGEST_BAG: usize = 1_024;

/// Before errands that failed are run again.
const RETRY: Duration = Duration::from_millis(250);

pub(crate) struct Postman {
    letters: mpsc::UnboundedSender<Letter>,
}

enum Letter {
    Commands(Batch),
    Errand(Errand),
}

#[derive(Clone, Debug, PartialEq)]
enum Errand {
    Mirror(PoolName, Vec<(ProcessId, u32)>),
    Settle(Vec<ReportPost>, Vec<(ProcessId, u64)>),
    Forget(PoolName, ProcessId),
    ForgetPool(PoolName),
    Condemn(ProcessId),
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
        crew.watch("commands", tokio::spawn(carry_commands(bus.clone(), letter_line, errands)));
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
            self.run(Errand::Mirror(pool.clone(), slots));
        }
    }

    pub(crate) fn settle(&self, entries: Vec<ReportPost>, settled: Vec<(ProcessId, u64)>) {
        self.run(Errand::Settle(entries, settled));
    }

    pub(crate) fn forget(&self, pool: PoolName, worker: ProcessId) {
        self.run(Errand::Forget(pool, worker));
    }

    pub(crate) fn forget_pool(&self, pool: PoolName) {
        self.run(Errand::ForgetPool(pool));
    }

    fn run(&self, errand: Errand) {
        drop(self.letters.send(Letter::Errand(errand)));
    }

    pub(crate) fn condemn(&self, worker: ProcessId) {
        self.run(Errand::Condemn(worker));
    }
}

async fn carry_commands(
    bus: Arc<dyn Bus>,
    mut line: mpsc::UnboundedReceiver<Letter>,
    errands: mpsc::UnboundedSender<Errand>,
) {
    let mut bag = Vec::new();
    while line.recv_many(&mut bag, LARGEST_BAG).await > 0 {
        let (mut batch, mut others) = (Batch::new(), Vec::new());
        for letter in bag.drain(..) {
            match letter {
                Letter::Commands(commands) => batch.extend(commands),
                Letter::Errand(errand) => others.push(errand),
            }
        }
        if !batch.is_empty()
            && let Err(error) = bus.send(&batch).await
        {
            tracing::debug!(commands = batch.len(), %error, "commands did not go out; they are sent again");
        }
        for errand in others {
            // The line of errands ends with this one.
            let _ = errands.send(errand);
        }
    }
}

async fn run_errands(
    registry: Arc<dyn Registry>,
    bus: Arc<dyn Bus>,
    fenced: CancellationToken,
    mut line: mpsc::UnboundedReceiver<Errand>,
) {
    let (mut errands, mut bag) = (Errands::default(), Vec::new());
    let mut failing = false;
    loop {
        let taken = tokio::select! {
            taken = line.recv_many(&mut bag, LARGEST_BAG) => Some(taken),
            // When the lead is over what is in the line is run, but nothing again: a later leader writes the same by then.
            () = tokio::time::sleep(RETRY), if !errands.is_empty() && !fenced.is_cancelled() => None,
        };
        for errand in bag.drain(..) {
            errands.add(errand);
        }
        let error = errands.run(registry.as_ref(), bus.as_ref()).await;
        if let Some(error) = error.as_ref().filter(|_| !failing) {
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
    slots: HashMap<PoolName, HashMap<ProcessId, u32>>,
    entries: Vec<ReportPost>,
    settled: HashMap<ProcessId, u64>,
    condemned: HashSet<ProcessId>,
    forgotten: HashMap<ProcessId, PoolName>,
    forgotten_pools: HashSet<PoolName>,
}

impl Errands {
    fn add(&mut self, errand: Errand) {
        match errand {
            Errand::Mirror(pool, slots) => {
                // There is a pool of that name again, and what is in the registry is its own.
                self.forgotten_pools.remove(&pool);
                self.slots.entry(pool).or_default().extend(slots);
            }
            Errand::Settle(entries, settled) => {
                self.entries.extend(entries);
                self.settled.extend(settled);
            }
            Errand::Condemn(worker) => drop(self.condemned.insert(worker)),
            Errand::Forget(pool, worker) => {
                // Nothing that was to be written of it earlier may come back after it is forgotten.
                if let Some(slots) = self.slots.get_mut(&pool) {
                    slots.remove(&worker);
                }
                self.settled.remove(&worker);
                self.condemned.remove(&worker);
                self.forgotten.insert(worker, pool);
            }
            Errand::ForgetPool(pool) => {
                self.slots.remove(&pool);
                self.entries.retain(|post| post.pool != pool);
                self.forgotten_pools.insert(pool);
            }
        }
    }

    fn is_empty(&self) -> bool {
        let slots = self.slots.values().all(HashMap::is_empty);
        let settled = self.entries.is_empty() && self.settled.is_empty();
        slots && settled && self.condemned.is_empty() && self.forgotten.is_empty() && self.forgotten_pools.is_empty()
    }

    /// Takes all, each to be run by itself. None of them depends on another.
    fn take(&mut self) -> Vec<Errand> {
        let Self { slots, entries, settled, condemned, forgotten, forgotten_pools } = std::mem::take(self);
        let mut all = Vec::new();
        if !entries.is_empty() || !settled.is_empty() {
            all.push(Errand::Settle(entries, settled.into_iter().collect()));
        }
        let mirrors = slots.into_iter().filter(|(_, slots)| !slots.is_empty());
        all.extend(mirrors.map(|(pool, slots)| Errand::Mirror(pool, slots.into_iter().collect())));
        all.extend(condemned.into_iter().map(Errand::Condemn));
        all.extend(forgotten.into_iter().map(|(worker, pool)| Errand::Forget(pool, worker)));
        all.extend(forgotten_pools.into_iter().map(Errand::ForgetPool));
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
            Self::Mirror(pool, slots) => registry.mirror_slots(pool, slots).await,
            Self::Settle(entries, settled) => bus.settle(entries, settled).await,
            Self::Condemn(worker) => registry.condemn(*worker).await,
            Self::Forget(pool, worker) => registry.forget(pool, *worker).await,
            Self::ForgetPool(pool) => registry.forget_pool(pool).await,
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

    #[test]
    fn of_two_mirrors_of_one_worker_the_later_one_counts() {
        let worker = ProcessId::generate();
        let mirror = |free| Errand::Mirror(pool(), vec![(worker, free)]);
        assert_eq!(waiting([mirror(2), mirror(1)]), [mirror(1)]);
    }

    #[test]
    fn nothing_of_a_worker_is_written_after_it_is_forgotten() {
        let worker = ProcessId::generate();
        let forget = Errand::Forget(pool(), worker);
        let mirror = Errand::Mirror(pool(), vec![(worker, 2)]);
        let settle = Errand::Settle(Vec::new(), vec![(worker, 3)]);
        assert_eq!(waiting([mirror, settle, Errand::Condemn(worker), forget.clone()]), [forget]);
    }

    #[test]
    fn a_pool_that_was_made_again_is_not_forgotten() {
        let mirror = Errand::Mirror(pool(), vec![(ProcessId::generate(), 2)]);
        let forget = Errand::ForgetPool(pool());
        assert_eq!(waiting([forget.clone(), mirror.clone()]), std::slice::from_ref(&mirror));
        assert_eq!(waiting([mirror, forget.clone()]), [forget]);
    }
}
