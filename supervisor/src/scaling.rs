//! What callers ask about how many workers a pool is to have.

use std::sync::Arc;

use muster_domain::{DecisionId, MetricsTier, PoolMetrics, PoolName, Timestamp};
use muster_policy::scaling::{Picture, decide};
use muster_store::MetricsFilter;

use crate::autoscaler::{HostFigures, complete};
use crate::context::Context;
use crate::directory::{read, read_at_turn_end};
use crate::error::SupervisorError;
use crate::keeper::Keeper;
use crate::request::WhatIf;
use crate::view::{DecisionView, PoolScalingView, WhatIfView};

/// The scaling of pools. Cloneable.
#[derive(Clone)]
pub struct Scaling {
    pub(crate) context: Arc<Context>,
}

impl Scaling {
    /// How a pool scales, and what was decided before `before`, the latest first, at most `limit`.
    pub async fn of_pool(
        &self,
        pool: &PoolName,
        before: Option<DecisionId>,
        limit: u32,
    ) -> Result<PoolScalingView, SupervisorError> {
        let keeper = self.context.directory.keeper(pool)?;
        let mode = read(&keeper, |keeper, _| keeper.scaling_mode()).await?;
        let scale = read(&keeper, Keeper::view_pool).await?.scale;
        let records = self.context.store.decisions(pool, before, limit).await;
        let records = records.map_err(|error| self.context.store_failed(&error))?;
        let decisions = records.into_iter().map(DecisionView::from).collect();
        Ok(PoolScalingView { pool_name: pool.clone(), mode, scale, decisions })
    }

    /// What the policies of a pool would decide now, or would if some of its figures were others. Nothing follows from it. What its
    /// processes use is as it was measured last.
    pub async fn what_if(&self, pool: &PoolName, change: WhatIf) -> Result<WhatIfView, SupervisorError> {
        let keeper = self.context.directory.keeper(pool)?;
        let Some(look) = read_at_turn_end(&keeper, Keeper::look_at_scaling).await? else {
            let refusal = self.context.reporting.health.store_refusal();
            return Err(refusal.unwrap_or_else(|| SupervisorError::unavailable("the store does not answer".to_owned())));
        };
        let (spec, history) = (Arc::clone(&look.spec), look.history.clone());
        let measured = self.measured(pool).await?;
        let picture = change.applied(complete(&self.context, look, HostFigures::of(measured.as_ref())).await);
        let decision = decide(&spec.config.scaling, &picture, &history, self.context.settings.wall.now());
        Ok(WhatIfView::new(pool.clone(), decision, &picture))
    }

    /// The newest measurement of a pool that is no older than two checks, or two measurements.
    async fn measured(&self, pool: &PoolName) -> Result<Option<PoolMetrics>, SupervisorError> {
        let check = self.context.directory.spec(pool)?.config.scaling.check_interval;
        let (now, until) = (self.context.settings.wall.now(), Timestamp::from_millis(i64::MAX));
        let measured_each = self.context.settings.metrics_interval.unwrap_or_default();
        let after = now.before(check.max(measured_each) * 2);
        let filter = MetricsFilter { pool: Some(pool.clone()), tier: MetricsTier::Raw, after, until };
        let rows = self.context.store.metrics(&filter, 1).await.map_err(|error| self.context.store_failed(&error))?;
        Ok(rows.into_iter().next())
    }

    /// Whether an autoscaler runs.
    pub fn runs(&self) -> bool {
        self.context.settings.autoscaler
    }
}

impl WhatIf {
    /// A pool with these figures in place of its own.
    fn applied(self, picture: Picture) -> Picture {
        let mut changed = Picture {
            queue: self.queue.or(picture.queue),
            running: self.running.or(picture.running),
            cpu: self.cpu.or(picture.cpu),
            memory: self.memory.or(picture.memory),
            ..picture
        };
        changed.workers.current = self.workers.unwrap_or(changed.workers.current);
        if let (Some(busy), Some(slots)) = (self.busy, changed.slots.as_mut()) {
            slots.busy = busy;
            slots.taken = slots.taken.max(busy);
        }
        changed
    }
}
