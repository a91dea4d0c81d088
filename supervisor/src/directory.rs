//! Which keeper keeps which pool, how it is asked, and what may be known of a pool without asking it.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, PoisonError, RwLock};

use muster_domain::{PoolName, PoolSpec};
use tokio::sync::{Mutex, mpsc, oneshot, watch};

use crate::error::SupervisorError;
use crate::keeper::mailbox::{KeeperMessage, PoolRead, ReadFn};
use crate::keeper::{Keeper, Turn};
use crate::view::Page;

/// The mailbox of a keeper.
pub(crate) type Mailbox = mpsc::UnboundedSender<KeeperMessage>;

/// One pool.
#[derive(Clone)]
pub(crate) struct PoolEntry {
    pub(crate) mailbox: Mailbox,
    /// What it is.
    pub(crate) spec: LiveSpec,
}

/// A pool's settings as they are in force: one copy, which the keeper swaps when a change is stored, and which callers read
/// without asking it.
#[derive(Clone)]
pub(crate) struct LiveSpec(Arc<RwLock<Arc<PoolSpec>>>);

impl LiveSpec {
    pub(crate) fn new(spec: Arc<PoolSpec>) -> Self {
        Self(Arc::new(RwLock::new(spec)))
    }

    pub(crate) fn get(&self) -> Arc<PoolSpec> {
        Arc::clone(&self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn swap(&self, spec: Arc<PoolSpec>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = spec;
    }
}

pub(crate) struct Directory {
    pools: RwLock<BTreeMap<PoolName, PoolEntry>>,
    names: watch::Sender<Vec<PoolName>>,
    /// Pools are made and changed one at a time, so that two changes of one pool do not overwrite each other.
    pub(crate) pool_lock: Mutex<()>,
    /// Whether the queues of all pools are paused.
    pub(crate) all_paused: Arc<AtomicBool>,
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            pools: RwLock::default(),
            names: watch::Sender::new(Vec::new()),
            pool_lock: Mutex::default(),
            all_paused: Arc::default(),
        }
    }
}

impl Directory {
    pub(crate) fn insert(&self, pool: PoolName, entry: PoolEntry) {
        self.change(|pools| drop(pools.insert(pool, entry)));
    }

    pub(crate) fn remove(&self, pool: &PoolName) {
        self.change(|pools| drop(pools.remove(pool)));
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<PoolName, PoolEntry>)) {
        let mut pools = self.pools.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut pools);
        let names: Vec<PoolName> = pools.keys().cloned().collect();
        self.names.send_if_modified(|known| {
            let changed = *known != names;
            *known = names;
            changed
        });
    }

    pub(crate) fn get(&self, pool: &PoolName) -> Option<PoolEntry> {
        self.pools.read().unwrap_or_else(PoisonError::into_inner).get(pool).cloned()
    }

    /// The keeper of a pool.
    pub(crate) fn keeper(&self, pool: &PoolName) -> Result<Mailbox, SupervisorError> {
        self.get(pool).map(|entry| entry.mailbox).ok_or_else(|| SupervisorError::UnknownPool(pool.to_string()))
    }

    /// What a pool is, as it is in force.
    pub(crate) fn spec(&self, pool: &PoolName) -> Result<Arc<PoolSpec>, SupervisorError> {
        self.get(pool).map(|entry| entry.spec.get()).ok_or_else(|| SupervisorError::UnknownPool(pool.to_string()))
    }

    /// A page of what is kept of a pool, or of all. What was a removed pool's is kept for a while, so only a pool of which
    /// nothing is kept is unknown.
    pub(crate) fn page_of<T, Id>(
        &self,
        pool: Option<&PoolName>,
        page: Page<T, Id>,
    ) -> Result<Page<T, Id>, SupervisorError> {
        if let (Some(pool), true) = (pool, page.items.is_empty()) {
            self.keeper(pool)?;
        }
        Ok(page)
    }

    pub(crate) fn all(&self) -> Vec<(PoolName, Mailbox)> {
        let pools = self.pools.read().unwrap_or_else(PoisonError::into_inner);
        pools.iter().map(|(name, entry)| (name.clone(), entry.mailbox.clone())).collect()
    }

    /// The same with what each pool is.
    pub(crate) fn entries(&self) -> Vec<(PoolName, PoolEntry)> {
        let pools = self.pools.read().unwrap_or_else(PoisonError::into_inner);
        pools.iter().map(|(name, entry)| (name.clone(), entry.clone())).collect()
    }

    /// The pools there are, and a sign of each change.
    pub(crate) fn names(&self) -> watch::Receiver<Vec<PoolName>> {
        self.names.subscribe()
    }
}

/// Reads what a keeper knows at the moment.
pub(crate) async fn read<T: Send + 'static>(
    keeper: &Mailbox,
    look: impl FnOnce(&Keeper, &Turn) -> T + Send + Sync + 'static,
) -> Result<T, SupervisorError> {
    ask(keeper, |reply| KeeperMessage::Read(PoolRead::Now(told(look, reply)))).await
}

/// The same at the end of its turn, when it knows of the tasks.
pub(crate) async fn read_at_turn_end<T: Send + 'static>(
    keeper: &Mailbox,
    look: impl FnOnce(&Keeper, &Turn) -> T + Send + Sync + 'static,
) -> Result<T, SupervisorError> {
    ask(keeper, |reply| KeeperMessage::Read(PoolRead::AtTurnEnd(told(look, reply)))).await
}

fn told<T: Send + 'static>(
    look: impl FnOnce(&Keeper, &Turn) -> T + Send + Sync + 'static,
    reply: oneshot::Sender<T>,
) -> ReadFn {
    Box::new(move |keeper, round| {
        if !reply.is_closed() {
            drop(reply.send(look(keeper, round)));
        }
    })
}

/// Sends a request to a keeper and waits for its reply.
pub(crate) async fn ask<T>(
    keeper: &Mailbox,
    request: impl FnOnce(oneshot::Sender<T>) -> KeeperMessage,
) -> Result<T, SupervisorError> {
    let (reply, answer) = oneshot::channel();
    keeper.send(request(reply)).map_err(|_| SupervisorError::Stopping)?;
    answer.await.map_err(|_| SupervisorError::Stopping)
}
