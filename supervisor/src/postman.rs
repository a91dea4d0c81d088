//! What goes out to the registry. Keepers never wait for it: commands are sent again until they are acknowledged, and
//! mirrors are written again after a flush, so a letter that is lost costs time and nothing else.
//!
//! Commands go first, and whatever else came with them follows when they are out: a command never waits behind a mirror.

use std::collections::HashMap;
use std::sync::Arc;

use muster_domain::{Envelope, PoolName, ProcessId};
use muster_registry::{Bus, Registry, RegistryError, ReportPost};
use tokio::sync::mpsc;

use crate::crew::Crew;

type Batch = Vec<(ProcessId, Envelope)>;

/// Letters taken at once at the most.
const LARGEST_BAG: usize = 1_024;

pub(crate) struct Postman {
    letters: mpsc::UnboundedSender<Letter>,
}

enum Letter {
    Commands(Batch),
    Errand(Errand),
}

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
    pub(crate) fn start(registry: Arc<dyn Registry>, bus: Arc<dyn Bus>, crew: &mut Crew) -> Self {
        let (letters, letter_line) = mpsc::unbounded_channel();
        let (errands, errand_line) = mpsc::unbounded_channel();
        crew.watch("commands", tokio::spawn(carry_commands(bus.clone(), letter_line, errands)));
        crew.watch("errands", tokio::spawn(run_errands(registry, bus, errand_line)));
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

async fn run_errands(registry: Arc<dyn Registry>, bus: Arc<dyn Bus>, mut line: mpsc::UnboundedReceiver<Errand>) {
    let mut bag = Vec::new();
    while line.recv_many(&mut bag, LARGEST_BAG).await > 0 {
        let errands = Errands::sort(bag.drain(..));
        if let Err(error) = errands.run(registry.as_ref(), bus.as_ref()).await {
            tracing::debug!(%error, "an errand to the registry failed; the registry is rebuilt when it is back");
        }
    }
}

/// A bag of errands, those of a kind together; of two mirrors of one worker the later one counts.
#[derive(Default)]
struct Errands {
    slots: HashMap<PoolName, HashMap<ProcessId, u32>>,
    entries: Vec<ReportPost>,
    settled: HashMap<ProcessId, u64>,
    condemned: Vec<ProcessId>,
    forgotten: Vec<(PoolName, ProcessId)>,
    forgotten_pools: Vec<PoolName>,
}

impl Errands {
    fn sort(errands: impl Iterator<Item = Errand>) -> Self {
        let mut sorted = Self::default();
        for errand in errands {
            match errand {
                Errand::Mirror(pool, slots) => sorted.slots.entry(pool).or_default().extend(slots),
                Errand::Settle(entries, settled) => {
                    sorted.entries.extend(entries);
                    sorted.settled.extend(settled);
                }
                Errand::Condemn(worker) => sorted.condemned.push(worker),
                Errand::Forget(pool, worker) => {
                    // A slot that was mirrored earlier in the bag must not come back after the worker is forgotten.
                    if let Some(slots) = sorted.slots.get_mut(&pool) {
                        slots.remove(&worker);
                    }
                    sorted.settled.remove(&worker);
                    sorted.forgotten.push((pool, worker));
                }
                Errand::ForgetPool(pool) => sorted.forgotten_pools.push(pool),
            }
        }
        sorted
    }

    async fn run(self, registry: &dyn Registry, bus: &dyn Bus) -> Result<(), RegistryError> {
        for (pool, slots) in self.slots {
            let slots: Vec<(ProcessId, u32)> = slots.into_iter().collect();
            registry.mirror_slots(&pool, &slots).await?;
        }
        if !self.entries.is_empty() || !self.settled.is_empty() {
            let settled: Vec<(ProcessId, u64)> = self.settled.into_iter().collect();
            bus.settle(&self.entries, &settled).await?;
        }
        for worker in self.condemned {
            registry.condemn(worker).await?;
        }
        for (pool, worker) in self.forgotten {
            registry.forget(&pool, worker).await?;
        }
        for pool in self.forgotten_pools {
            registry.forget_pool(&pool).await?;
        }
        Ok(())
    }
}
