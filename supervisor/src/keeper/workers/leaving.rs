//! Workers that are to end when they are empty, since there are to be fewer.

use std::time::Instant;

use muster_domain::ProcessId;

use super::PoolWorkers;

impl PoolWorkers {
    /// How many leave.
    pub(in crate::keeper) const fn leaving(&self) -> u32 {
        self.totals.leaving
    }

    /// Which ones.
    pub(in crate::keeper) fn leaving_ids(&self) -> Vec<ProcessId> {
        let leaving =
            self.values().filter(|worker| worker.leaves && !worker.is_interrupted() && worker.status.takes_agents());
        leaving.map(|worker| worker.process_id).collect()
    }

    pub(in crate::keeper) fn set_leaving(&mut self, id: ProcessId, leaves: bool) {
        self.change(id, |worker| worker.leaves = leaves);
    }

    /// Nobody leaves any more.
    pub(in crate::keeper) fn stay_all(&mut self) {
        if self.totals.leaving > 0 {
            self.leaving_ids().into_iter().for_each(|id| self.set_leaving(id, false));
        }
    }

    /// These have work now.
    pub(in crate::keeper) fn note_working(&mut self, ids: &[ProcessId], now: Instant) {
        for id in ids {
            if let Some(worker) = self.get_mut(*id) {
                worker.worked_at = now;
            }
        }
    }
}
