//! Workers.

use std::collections::BTreeMap;

use muster_domain::{Interruption, PoolName, ProcessId, Timestamp, WorkerEnding, WorkerIdentity, WorkerState};

use crate::WorkerRow;

#[derive(Default)]
pub(super) struct WorkerTable {
    rows: BTreeMap<ProcessId, WorkerRow>,
}

impl WorkerTable {
    pub(super) fn one(&self, id: ProcessId) -> Option<WorkerRow> {
        self.rows.get(&id).cloned()
    }

    pub(super) fn have(&self, id: ProcessId) -> bool {
        self.rows.contains_key(&id)
    }

    pub(super) fn open(&self) -> Vec<WorkerRow> {
        self.rows.values().filter(|row| row.ended_at.is_none()).cloned().collect()
    }

    pub(super) fn are_open(&self, pool: &PoolName) -> bool {
        self.rows.values().any(|row| row.pool_name == *pool && row.ended_at.is_none())
    }

    /// The latest made first.
    pub(super) fn ended(&self, pool: Option<&PoolName>, before: Option<ProcessId>, limit: u32) -> Vec<WorkerRow> {
        let fits = |row: &&WorkerRow| {
            row.ended_at.is_some()
                && pool.is_none_or(|pool| row.pool_name == *pool)
                && before.is_none_or(|before| row.process_id < before)
        };
        self.rows.values().rev().filter(fits).take(limit as usize).cloned().collect()
    }

    /// Slots of a worker that takes agents; 0 of one that does not.
    pub(super) fn slots(&self, id: ProcessId) -> u32 {
        self.rows.get(&id).filter(|row| row.state.takes_agents()).map_or(0, |row| row.capacity)
    }

    pub(super) fn add(&mut self, row: WorkerRow) -> bool {
        self.rows.insert(row.process_id, row).is_none()
    }

    pub(super) fn identify(&mut self, id: ProcessId, identity: &WorkerIdentity) -> bool {
        self.open_one(id).map(|row| row.identity = Some(identity.clone())).is_some()
    }

    pub(super) fn interrupt(&mut self, id: ProcessId, interruption: Interruption) -> bool {
        self.open_one(id).map(|row| row.interruption = Some(interruption)).is_some()
    }

    pub(super) fn drain(&mut self, id: ProcessId) -> bool {
        let row = self.rows.get_mut(&id).filter(|row| row.state.takes_agents());
        row.map(|row| row.state = WorkerState::Draining).is_some()
    }

    /// Its pool, if it was open.
    pub(super) fn end(&mut self, id: ProcessId, lost: bool, ending: &WorkerEnding, at: Timestamp) -> Option<PoolName> {
        let row = self.open_one(id)?;
        row.state = if lost { WorkerState::Lost } else { WorkerState::Stopped };
        (row.ended_at, row.ending) = (Some(at), Some(ending.clone()));
        Some(row.pool_name.clone())
    }

    pub(super) fn bring_back(&mut self, to: Timestamp) {
        self.rows.values_mut().filter_map(|row| row.ended_at.as_mut()).for_each(|end| *end = (*end).min(to));
    }

    /// Removes those that ended before this moment, but for those that are needed.
    pub(super) fn prune(&mut self, before: Timestamp, is_needed: impl Fn(ProcessId) -> bool) -> Vec<ProcessId> {
        let is_old =
            |id: &ProcessId, row: &mut WorkerRow| row.ended_at.is_some_and(|end| end < before) && !is_needed(*id);
        self.rows.extract_if(.., is_old).map(|(id, _)| id).collect()
    }

    fn open_one(&mut self, id: ProcessId) -> Option<&mut WorkerRow> {
        self.rows.get_mut(&id).filter(|row| row.ended_at.is_none())
    }
}
