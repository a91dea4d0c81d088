//! Which keeper keeps which pool, and what may be known of a pool without asking its keeper.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};
use std::time::Duration;

use muster_domain::{PoolName, PoolSpec};
use tokio::sync::{mpsc, watch};

use crate::keeper::mailbox::Ask;

/// The mailbox of a keeper.
pub(crate) type Mailbox = mpsc::UnboundedSender<Ask>;

/// One pool.
#[derive(Clone)]
pub(crate) struct Entry {
    pub(crate) mailbox: Mailbox,
    /// The role of its agents.
    pub(crate) role_type: String,
    /// How long its agents may idle, where the spawn does not say.
    pub(crate) max_idle_time: Duration,
    /// Attempts at a task, where it does not say.
    pub(crate) max_attempts: u32,
    /// How long an attempt may take, where the task does not say.
    pub(crate) task_timeout: Option<Duration>,
    /// A task whose input mentions it becomes a check.
    pub(crate) skip_phrase: Option<String>,
}

impl Entry {
    pub(crate) fn new(mailbox: Mailbox, spec: &PoolSpec) -> Self {
        Self {
            mailbox,
            role_type: spec.role_type.clone(),
            max_idle_time: spec.config.max_idle_time,
            max_attempts: spec.config.max_attempts,
            task_timeout: spec.config.task_timeout,
            skip_phrase: spec.config.skip_phrase.clone(),
        }
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

    /// Changes the entry of a pool, unless the pool has gone meanwhile.
    pub(crate) fn replace(&self, pool: &PoolName, entry: Entry) {
        self.change(|pools| {
            if let Some(known) = pools.get_mut(pool) {
                *known = entry;
            }
        });
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
