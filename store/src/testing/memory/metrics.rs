//! What pools were and did.

use std::collections::BTreeMap;

use async_trait::async_trait;
use muster_domain::{Fence, MetricsTier, PoolMetrics, PoolName, Timestamp};

use super::MemoryStore;
use crate::{MetricsFilter, MetricsRound, MetricsStore, StoreError};

/// By tier, time and pool; all pools together have no name.
#[derive(Default)]
pub(super) struct MetricsTable(BTreeMap<(&'static str, Timestamp, Option<PoolName>), PoolMetrics>);

impl MetricsTable {
    fn record(&mut self, round: &MetricsRound) {
        for (tier, row) in &round.rows {
            self.0.entry((tier.as_str(), row.at, row.pool_name.clone())).or_insert_with(|| row.clone());
        }
        for (tier, until) in &round.outdated {
            self.0.retain(|(of, at, _), _| *of != tier.as_str() || at > until);
        }
    }

    pub(super) fn bring_back(&mut self, to: Timestamp) {
        self.0.retain(|(_, at, _), _| *at <= to);
    }

    fn of(&self, tier: MetricsTier) -> impl DoubleEndedIterator<Item = &PoolMetrics> {
        self.0.iter().filter(move |((of, ..), _)| *of == tier.as_str()).map(|(_, row)| row)
    }

    fn between(
        &self,
        tier: MetricsTier,
        after: Timestamp,
        until: Timestamp,
    ) -> impl DoubleEndedIterator<Item = &PoolMetrics> {
        self.of(tier).filter(move |row| row.at > after && row.at <= until)
    }
}

#[async_trait]
impl MetricsStore for MemoryStore {
    async fn record_metrics(&self, fence: Fence, round: &MetricsRound) -> Result<(), StoreError> {
        self.ask(|content| content.leader.admit(fence).map(|()| content.metrics.record(round))).await
    }

    async fn metrics(&self, filter: &MetricsFilter, limit: u32) -> Result<Vec<PoolMetrics>, StoreError> {
        let MetricsFilter { pool, tier, after, until } = filter;
        let read = |table: &MetricsTable| {
            let rows = table.between(*tier, *after, *until).rev().filter(|row| row.pool_name == *pool);
            rows.take(limit as usize).cloned().collect()
        };
        Ok(self.ask(|content| read(&content.metrics)).await)
    }

    async fn metrics_of_all(
        &self,
        tier: MetricsTier,
        after: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<PoolMetrics>, StoreError> {
        Ok(self.ask(|content| content.metrics.between(tier, after, until).cloned().collect()).await)
    }

    async fn newest_metrics(&self, tier: MetricsTier) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.ask(|content| content.metrics.of(tier).next_back().map(|row| row.at)).await)
    }

    async fn next_metrics(&self, tier: MetricsTier, after: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.ask(|content| content.metrics.of(tier).map(|row| row.at).find(|at| *at > after)).await)
    }
}
