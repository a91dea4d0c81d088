//! One check of the pools with the same interval.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::future::join_all;
use muster_domain::{PoolMetrics, PoolName, PoolSpec, ScalingPolicy};
use muster_policy::scaling::{Picture, decide};
use muster_process::host;
use muster_store::{QueueKey, QueueRow, StoreError};

use super::demand::Demands;
use crate::blocking;
use crate::context::Context;
use crate::directory::{Mailbox, read_at_turn_end};
use crate::keeper::Keeper;
use crate::keeper::mailbox::KeeperMessage;
use crate::keeper::scaling::{Judgement, QueueLength, ScalingLook};
use crate::sampling::sampler::Sampler;

/// How long a keeper is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// A pool that scales.
pub(super) struct ScaledPool {
    pub(super) name: PoolName,
    pub(super) keeper: Mailbox,
    pub(super) spec: Arc<PoolSpec>,
}

/// The checks of pools with the same interval.
pub(super) struct Check {
    context: Arc<Context>,
    sampler: Sampler,
    demands: Demands,
    /// When the next one is due; none before the first.
    pub(super) due: Option<Instant>,
    /// The pools that could not be looked at in the last one, and why.
    pub(super) failed: Vec<(PoolName, String)>,
}

/// What is known of a pool beside what its keeper says.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct HostFigures {
    /// What its processes use of the host's processors, in percent.
    cpu: Option<f64>,
    /// What they use of its memory, in percent.
    memory: Option<f64>,
    /// The share of the host's memory that is available.
    available: Option<f64>,
}

impl HostFigures {
    /// Of a pool whose processes were measured so, or were not.
    pub(crate) fn of(metrics: Option<&PoolMetrics>) -> Self {
        let cpu = metrics.and_then(PoolMetrics::cpu_usage);
        Self { cpu, memory: metrics.and_then(PoolMetrics::memory_usage), available: None }
    }
}

impl Check {
    pub(super) fn new(context: Arc<Context>) -> Self {
        let sampler = Sampler::new(context.clone());
        Self { context, sampler, demands: Demands::default(), due: None, failed: Vec::new() }
    }

    /// Looks at these pools, and decides. The first one only notes what processes have used so far.
    pub(super) async fn round(&mut self, pools: Vec<ScaledPool>) {
        let used = self.used(&pools).await;
        if self.due.is_none() {
            return;
        }
        let available = blocking::run(&blocking::CENSUS, host::available).await.ok().flatten();
        for pool in pools.iter().filter(|pool| forecasts(&pool.spec)) {
            self.demands.refresh(&self.context, &pool.name).await;
        }
        let this = &*self;
        let judged = pools.iter().map(|pool| async {
            let figures = HostFigures { available, ..HostFigures::of(used.get(&pool.name)) };
            this.judge(pool, figures).await.map_err(|why| (pool.name.clone(), why))
        });
        self.failed = join_all(judged).await.into_iter().filter_map(Result::err).collect();
    }

    /// What the processes of these pools used since the last check.
    async fn used(&mut self, pools: &[ScaledPool]) -> HashMap<PoolName, PoolMetrics> {
        let measured = pools.iter().filter(|pool| looks_at_processes(&pool.spec));
        let asked: Vec<(PoolName, Mailbox)> = measured.map(|pool| (pool.name.clone(), pool.keeper.clone())).collect();
        if asked.is_empty() {
            return HashMap::new();
        }
        let look = self.sampler.look_at(asked).await;
        let of_pools = look.into_iter().flat_map(|look| look.pools);
        of_pools.filter_map(|metrics| Some((metrics.pool_name.clone()?, metrics))).collect()
    }

    /// Asks the policies of one pool, and tells its keeper.
    async fn judge(&self, pool: &ScaledPool, figures: HostFigures) -> Result<(), String> {
        let answer = tokio::time::timeout(PATIENCE, read_at_turn_end(&pool.keeper, Keeper::look_at_scaling)).await;
        let look = match answer {
            Ok(Ok(Some(look))) => look,
            // Its tasks, or what was decided before, are not read from the store yet.
            Ok(Ok(None)) => return Err("the store does not answer".to_owned()),
            // One that ends meanwhile is a pool that is gone.
            Ok(Err(_)) => return Ok(()),
            Err(_) => return Err(format!("it does not answer within {} s", PATIENCE.as_secs())),
        };
        let seen = look.seen;
        let judgement = self.judgement(look, figures).await;
        let judged = KeeperMessage::Judged { judgement: Box::new(judgement), seen };
        // Where it has ended meanwhile, nobody takes it.
        drop(pool.keeper.send(judged));
        Ok(())
    }

    async fn judgement(&self, look: ScalingLook, figures: HostFigures) -> Judgement {
        let (spec, mut history, taken) = (look.spec.clone(), look.history.clone(), look.taken);
        if let Some(demand) = self.demands.of(&spec.pool_name) {
            history.demand = demand;
        }
        let picture = complete(&self.context, look, figures).await;
        let now = self.context.settings.wall.now();
        let decision = decide(&spec.config.scaling, &picture, &history, now);
        Judgement { decision, picture, taken }
    }
}

/// The picture with what only the store and the host know. Where the store does not say how long the queue is, nobody knows.
pub(crate) async fn complete(context: &Context, look: ScalingLook, figures: HostFigures) -> Picture {
    let queue = match look.queue {
        QueueLength::Known(count) => Some(count),
        QueueLength::InStore { allowances } => {
            let queues = context.store.task_queues(&look.spec.pool_name).await;
            let count = queues.map(|queues| startable(&queues, &allowances));
            count.inspect_err(|error: &StoreError| drop(context.store_failed(error))).ok()
        }
    };
    let HostFigures { cpu, memory, available: host_memory } = figures;
    Picture { queue, cpu, memory, host_memory, ..look.picture }
}

/// How many of the tasks that wait for any agent may start, where each tenant that is named may have so many.
fn startable(queues: &[QueueRow], allowances: &HashMap<String, u32>) -> u32 {
    let mut waiting: HashMap<&str, u64> = HashMap::new();
    for row in queues {
        if let QueueKey::Shared { tenant, .. } = &row.queue {
            *waiting.entry(tenant).or_default() += row.count;
        }
    }
    let allowed = waiting
        .into_iter()
        .map(|(tenant, count)| allowances.get(tenant).map_or(count, |allowance| count.min(u64::from(*allowance))));
    u32::try_from(allowed.sum::<u64>()).unwrap_or(u32::MAX)
}

/// Whether a policy looks at what the pool's processes use.
fn looks_at_processes(spec: &PoolSpec) -> bool {
    spec.config.scaling.all_policies().iter().any(ScalingPolicy::uses_processes)
}

/// Whether a policy looks at what the pool had to do before.
fn forecasts(spec: &PoolSpec) -> bool {
    spec.config.scaling.all_policies().iter().any(|policy| matches!(policy, ScalingPolicy::Predictive(_)))
}
