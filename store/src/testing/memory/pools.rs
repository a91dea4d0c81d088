//! Pools.

use std::collections::BTreeMap;

use muster_domain::scaling::WorkerTarget;
use muster_domain::{Gate, PoolName, PoolSpec, Timestamp};

use crate::PoolRow;

#[derive(Default)]
pub(super) struct PoolTable {
    rows: BTreeMap<PoolName, PoolRow>,
    all_paused: bool,
}

impl PoolTable {
    pub(super) fn all(&self) -> Vec<PoolRow> {
        self.rows.values().cloned().collect()
    }

    pub(super) fn have(&self, pool: &PoolName) -> bool {
        self.rows.contains_key(pool)
    }

    pub(super) const fn all_paused(&self) -> bool {
        self.all_paused
    }

    pub(super) fn add(&mut self, spec: &PoolSpec, at: Timestamp) -> bool {
        if self.have(&spec.pool_name) {
            return false;
        }
        let row = PoolRow {
            spec: spec.clone(),
            draining: false,
            created_at: at,
            workers_spawned: 0,
            workers_terminated: 0,
            gate: Gate::default(),
            target: WorkerTarget::default(),
        };
        self.rows.insert(spec.pool_name.clone(), row).is_none()
    }

    pub(super) fn change(&mut self, spec: &PoolSpec) -> bool {
        self.with(&spec.pool_name, |row| row.spec = spec.clone())
    }

    pub(super) fn drain(&mut self, pool: &PoolName) -> bool {
        self.rows.get_mut(pool).is_some_and(|row| !std::mem::replace(&mut row.draining, true))
    }

    pub(super) fn gate(&mut self, pool: &PoolName, gate: Gate) -> bool {
        self.with(pool, |row| row.gate = gate)
    }

    pub(super) fn scale(&mut self, pool: &PoolName, target: WorkerTarget) -> bool {
        self.with(pool, |row| row.target = target)
    }

    pub(super) const fn pause_all(&mut self, paused: bool) -> bool {
        self.all_paused = paused;
        true
    }

    pub(super) fn remove(&mut self, pool: &PoolName) -> bool {
        self.rows.remove(pool).is_some()
    }

    pub(super) fn count_spawned(&mut self, pool: &PoolName) -> bool {
        self.with(pool, |row| row.workers_spawned += 1)
    }

    pub(super) fn count_terminated(&mut self, pool: &PoolName) -> bool {
        self.with(pool, |row| row.workers_terminated += 1)
    }

    fn with(&mut self, pool: &PoolName, change: impl FnOnce(&mut PoolRow)) -> bool {
        self.rows.get_mut(pool).map(change).is_some()
    }
}
