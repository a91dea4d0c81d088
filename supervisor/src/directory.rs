//! Which keeper keeps which pool, and what may be known of a pool without asking its keeper.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use muster_domain::{PoolName, PoolSpec};
use tokio::sync::{mpsc, watch};

use crate::keeper::mailbox::Ask;

/// The mailbox of a keeper.
pub(crate) type Mailbox = mpsc::UnboundedSender<Ask>;

/// One pool.
#[derive(Clone)]
pub(crate) struct Entry {
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
    pools: RwLock<BTreeMap<PoolName, Entry>>,
    names: watch::Sender<Vec<PoolName>>,
}

impl Default for Directory {
    fn default() -> Self {
        Self { pools: RwLock::default(), names: watch::Sender::new(Vec::new()) }
    }
}

impl Directory {
    pub(crate) fn insert(&self, pool: PoolName, entry: Entry) {
        self.change(|pools| drop(pools.insert(pool, entry)));
    }

    pub(crate) fn remove(&self, pool: &PoolName) {
        self.change(|pools| drop(pools.remove(pool)));
    }

    fn change(&self, change: impl FnOnce(&mut BTreeMap<PoolName, Entry>)) {
        let mut pools = self.pools.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut pools);
        let names: Vec<PoolName> = pools.keys().cloned().collect();
        self.names.send_if_modified(|known| {
            let changed = *known != names;
            *known = names;
            changed
        });
    }

    pub(crate) fn get(&self, pool: &PoolName) -> Option<Entry> {
        self.pools.read().unwrap_or_else(PoisonError::into_inner).get(pool).cloned()
    }

    pub(crate) fn all(&self) -> Vec<(PoolName, Mailbox)> {
        let pools = self.pools.read().unwrap_or_else(PoisonError::into_inner);
        pools.iter().map(|(name, entry)| (name.clone(), entry.mailbox.clone())).collect()
    }

    /// The pools there are, and a sign of each change.
    pub(crate) fn names(&self) -> watch::Receiver<Vec<PoolName>> {
        self.names.subscribe()
    }
}
