//! The [`MetricsStore`], behind the faults.

use async_trait::async_trait;
use muster_domain::{Fence, MetricsTier, PoolMetrics, Timestamp};

use super::FaultyStore;
use crate::{MetricsFilter, MetricsRound, MetricsStore, StoreError};

#[async_trait]
impl MetricsStore for FaultyStore {
    async fn record_metrics(&self, fence: Fence, round: &MetricsRound) -> Result<(), StoreError> {
        self.answer().await?;
        self.inner.record_metrics(fence, round).await
    }

    async fn metrics(&self, filter: &MetricsFilter, limit: u32) -> Result<Vec<PoolMetrics>, StoreError> {
        self.answer().await?;
        self.inner.metrics(filter, limit).await
    }

    async fn metrics_of_all(
        &self,
        tier: MetricsTier,
        after: Timestamp,
        until: Timestamp,
    ) -> Result<Vec<PoolMetrics>, StoreError> {
        self.answer().await?;
        self.inner.metrics_of_all(tier, after, until).await
    }

    async fn newest_metrics(&self, tier: MetricsTier) -> Result<Option<Timestamp>, StoreError> {
        self.answer().await?;
        self.inner.newest_metrics(tier).await
    }

    async fn next_metrics(&self, tier: MetricsTier, after: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        self.answer().await?;
        self.inner.next_metrics(tier, after).await
    }
}
