//! Decisions about how many workers a pool is to have.

use std::collections::BTreeMap;

use muster_domain::scaling::{DecisionState, ScalingRecord};
use muster_domain::{DecisionId, PoolName, Timestamp};

#[derive(Default)]
pub(super) struct DecisionTable(BTreeMap<DecisionId, ScalingRecord>);

impl DecisionTable {
    pub(super) fn add(&mut self, record: &ScalingRecord) -> bool {
        if self.0.contains_key(&record.decision_id) {
            return false;
        }
        self.0.insert(record.decision_id, record.clone()).is_none()
    }

    pub(super) fn end(&mut self, id: DecisionId, state: DecisionState, result: &str, at: Timestamp) -> bool {
        let pending = self.0.get_mut(&id).filter(|record| record.state == DecisionState::Pending);
        let end = |record: &mut ScalingRecord| {
            (record.state, record.result, record.ended_at) = (state, Some(result.to_owned()), Some(at));
        };
        pending.map(end).is_some()
    }

    pub(super) fn forget(&mut self, pool: &PoolName) {
        self.0.retain(|_, record| record.pool_name != *pool);
    }

    pub(super) fn page(&self, pool: &PoolName, before: Option<DecisionId>, limit: u32) -> Vec<ScalingRecord> {
        let earlier = self.0.values().rev().filter(|record| before.is_none_or(|before| record.decision_id < before));
        earlier.filter(|record| record.pool_name == *pool).take(limit as usize).cloned().collect()
    }

    pub(super) fn prune(&mut self, before: Timestamp) -> u64 {
        let kept = self.0.len();
        self.0.retain(|_, record| record.at >= before || record.state == DecisionState::Pending);
        (kept - self.0.len()) as u64
    }
}
