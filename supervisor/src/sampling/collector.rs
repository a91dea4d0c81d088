//! The metrics collector: looks once an interval, and stores what came of it.

use std::sync::Arc;
use std::time::Duration;

use muster_domain::{MetricsTier, PoolMetrics, Timestamp, Words};
use muster_policy::retention::cutoff;
use muster_store::{MetricsRound, StoreError};

use super::rollup::RolledUp;
use super::sampler::{Look, Sampler};
use crate::announced::Announced;
use crate::clock;
use crate::context::Context;
use crate::pruner::lived;

/// Rounds that the store did not take are kept for the next ones, so many at the most.
const MOST_KEPT: usize = 10;

/// Collects for ever.
pub(crate) async fn run(context: Arc<Context>, interval: Duration) {
    let _announced = Announced::begin("Metrics collector", interval);
    let mut collector = Collector::new(context);
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        collector.round().await;
    }
}

struct Collector {
    context: Arc<Context>,
    sampler: Sampler,
    /// What was measured and is not stored yet, round by round.
    kept: Vec<(Timestamp, Vec<PoolMetrics>)>,
    /// The end of the latest stored round.
    stored: Option<Timestamp>,
    rolled: RolledUp,
}

impl Collector {
    fn new(context: Arc<Context>) -> Self {
        let sampler = Sampler::new(context.clone());
        Self { context, sampler, kept: Vec::new(), stored: None, rolled: RolledUp::default() }
    }

    async fn round(&mut self) {
        let Some(mut look) = self.sampler.look().await else { return };
        if let Some(lasts) = self.context.settings.loads_last() {
            self.context.reporting.loads.put(std::mem::take(&mut look.loads), clock::now(), lasts);
        }
        let latest = self.kept.last().map(|(at, _)| *at).max(self.stored);
        if latest.is_some_and(|latest| look.at <= latest) {
            // The clock was set back: what is of a time to come has gone from the store, and is not put there again.
            self.kept.retain(|(at, _)| *at < look.at);
            (self.stored, self.rolled) = (None, RolledUp::default());
        }
        self.context.reporting.recent_use.add(&look);
        self.keep(look);
        if let Err(error) = self.store().await {
            drop(self.context.store_failed(&error));
        }
    }

    fn keep(&mut self, look: Look) {
        let mut rows = look.pools;
        // A sum over some of the pools would look like a fall.
        if look.is_whole {
            let mut all = PoolMetrics::new(None, look.at);
            rows.iter().for_each(|pool| all.join(pool));
            all.slots.health = all.slots.health.checked_div(rows.len() as u64).unwrap_or(1_000_000);
            all.looks = 1;
            rows.push(all);
        }
        if self.kept.len() == MOST_KEPT {
            self.kept.remove(0);
        }
        self.kept.push((look.at, rows));
    }

    /// Up to when rows of each tier go. Time counts in the lives of supervisors, so that a clock that is set takes nothing away.
    async fn outdated(&self, now: Timestamp) -> Result<Vec<(MetricsTier, Timestamp)>, StoreError> {
        let lived = lived(&self.context.store.lives().await?);
        let until = |tier: MetricsTier| Some((tier, cutoff(&lived, tier.kept(), now)?.0));
        Ok(MetricsTier::all().filter_map(until).collect())
    }

    /// One transaction: new rows, those that are summed up of what was stored before, and the end of old ones.
    async fn store(&mut self) -> Result<(), StoreError> {
        let Some(at) = self.kept.last().map(|(at, _)| *at) else { return Ok(()) };
        let (sums, rolled) = match self.stored {
            Some(until) => self.rolled.next(&*self.context.store, until).await?,
            None => (Vec::new(), self.rolled),
        };
        let measured = self.kept.iter().flat_map(|(_, rows)| rows).map(|row| (MetricsTier::Raw, row.clone()));
        let round = MetricsRound { rows: measured.chain(sums).collect(), outdated: self.outdated(at).await? };
        self.context.store.record_metrics(self.context.fence, &round).await?;
        (self.rolled, self.stored) = (rolled, Some(at));
        self.kept.clear();
        Ok(())
    }
}
