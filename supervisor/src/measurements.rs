//! What callers ask about metrics.

use std::sync::Arc;
use std::time::Duration;

use muster_domain::{AgentId, MetricsTier, PoolMetrics, PoolName, ProcessId, Timestamp};
use muster_store::MetricsFilter;

use crate::context::Context;
use crate::error::SupervisorError;
use crate::request::SeriesQuery;
use crate::sampling::series::{self, Interval};
use crate::view::{PoolMetricsView, ResourceUseView, ResourcesView, SeriesView};

/// Rows that are read of one tier at the most: a day of one a second.
const MOST_ROWS: u32 = 90_000;

/// The time of a row where metrics are not collected: what is there was collected with the default.
const USUAL: Duration = Duration::from_secs(30);

/// The latest measurement says what is now for so many intervals.
const LATEST: u32 = 3;

/// Metrics. Cloneable.
#[derive(Clone)]
pub struct Metrics {
    pub(crate) context: Arc<Context>,
}

impl Metrics {
    /// The latest measurements of a pool, the newest first, 1 to 1,000 of them.
    pub async fn of_pool(&self, pool: &PoolName, limit: u32) -> Result<Vec<PoolMetricsView>, SupervisorError> {
        let until = Timestamp::from_millis(i64::MAX);
        let all = MetricsFilter {
            pool: Some(pool.clone()),
            tier: MetricsTier::Raw,
            after: Timestamp::from_millis(i64::MIN),
            until,
        };
        let rows = self.read(&all, limit.clamp(1, 1_000)).await?;
        if rows.is_empty() {
            // What was a removed pool's is kept for a while, so only a pool of which nothing is kept is unknown.
            self.context.directory.keeper(pool)?;
        }
        Ok(rows.iter().map(PoolMetricsView::from).collect())
    }

    /// What each pool used at the latest measurement, and when that was; none before the first one, and none of long ago.
    pub fn latest(&self) -> Option<(Timestamp, Vec<(PoolName, ResourcesView)>)> {
        let interval = self.context.settings.metrics_interval?;
        let (at, pools) = self.context.reporting.recent_use.of_pools()?;
        let age = self.context.settings.wall.now().since(at);
        let of_pool = |row: &PoolMetrics| Some((row.pool_name.clone()?, ResourcesView::from(row)));
        (age <= interval.saturating_mul(LATEST)).then(|| (at, pools.iter().filter_map(of_pool).collect()))
    }

    /// A figure over time.
    ///
    /// # Errors
    /// [`SupervisorError::Invalid`] where no rows as fine as the interval are kept for the whole range.
    pub async fn series(&self, query: SeriesQuery) -> Result<SeriesView, SupervisorError> {
        let SeriesQuery { kind, range, interval, pool } = query;
        if let Some(pool) = &pool {
            self.context.directory.keeper(pool)?;
        }
        let measured = self.context.settings.metrics_interval.unwrap_or(USUAL);
        let interval = Interval::choose(interval, range, measured).map_err(SupervisorError::Invalid)?;
        let (now, step) = (self.context.settings.wall.now(), interval.duration());
        let rows = self.rows(pool.clone(), now.before(range.duration().saturating_add(step)), now, step).await?;
        let points = series::curve(&rows, kind, range, step, now).into_iter().map(Into::into).collect();
        Ok(SeriesView { metric_type: kind, time_range: range, interval, pool_name: pool, points })
    }

    /// Rows of this time: the longest that fit into a step as far as they are summed up, then those that are not.
    async fn rows(
        &self,
        pool: Option<PoolName>,
        from: Timestamp,
        until: Timestamp,
        step: Duration,
    ) -> Result<Vec<PoolMetrics>, SupervisorError> {
        let mut fitting: Vec<MetricsTier> =
            MetricsTier::ALL.into_iter().filter(|tier| tier.step().is_none_or(|time| time <= step)).collect();
        fitting.sort_by_key(|tier| std::cmp::Reverse(tier.step()));
        let (mut rows, mut after) = (Vec::new(), from);
        for tier in fitting {
            let filter = MetricsFilter { pool: pool.clone(), tier, after, until };
            let found = self.read(&filter, MOST_ROWS).await?;
            // The newest first.
            after = found.first().map_or(after, |newest| newest.at);
            rows.extend(found);
        }
        Ok(rows)
    }

    async fn read(&self, filter: &MetricsFilter, limit: u32) -> Result<Vec<PoolMetrics>, SupervisorError> {
        self.context.store.metrics(filter, limit).await.map_err(|error| self.context.store_failed(&error))
    }

    /// What a worker used in the last hour, the newest first; nothing of one that this supervisor did not measure.
    ///
    /// # Errors
    /// [`SupervisorError::UnknownWorker`] where there never was such a worker, or it is forgotten.
    pub async fn of_worker(&self, worker: ProcessId) -> Result<Vec<ResourceUseView>, SupervisorError> {
        let used = self.context.reporting.recent_use.of_worker(worker);
        if used.is_empty() {
            let row = self.context.store.worker(worker).await.map_err(|error| self.context.store_failed(&error))?;
            row.ok_or(SupervisorError::UnknownWorker(worker))?;
        }
        Ok(used.into_iter().map(Into::into).collect())
    }

    /// The same of an agent; nothing of one without processes of its own.
    ///
    /// # Errors
    /// [`SupervisorError::UnknownAgent`] where there never was such an agent, or it is forgotten.
    pub async fn of_agent(&self, agent: AgentId) -> Result<Vec<ResourceUseView>, SupervisorError> {
        let used = self.context.reporting.recent_use.of_agent(agent);
        if used.is_empty() {
            let row = self.context.store.agent(agent).await.map_err(|error| self.context.store_failed(&error))?;
            row.ok_or_else(|| SupervisorError::UnknownAgent(agent.to_string()))?;
        }
        Ok(used.into_iter().map(Into::into).collect())
    }
}
