//! Agents on demand: where tasks wait and nobody has room for them, the pool starts agents by itself.

use std::time::{Duration, Instant};

use muster_domain::agent::DEFAULT_HEARTBEAT_INTERVAL;
use muster_domain::time::LONGEST;
use muster_domain::{AgentId, AgentSpec, AgentStatus, name};
use muster_policy::scaling::{AgentDemand, OrderBackoff, OrderHold, TargetRoom};
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::PoolNow;
use crate::error::SupervisorError;
use crate::keeper::mailbox::{SpawnAnswer, SpawnAsk};
use crate::keeper::projects::NO_PROJECT;

/// Agents that a pool has ordered for its tasks.
#[derive(Default)]
pub(super) struct Demand {
    /// Orders that are not answered yet.
    open: Vec<oneshot::Receiver<Result<SpawnAnswer, SupervisorError>>>,
    pub(super) backoff: OrderBackoff,
}

impl Demand {
    /// What was refused is not ordered again before a pass is over: the answer would be the same, and a keeper that answers
    /// itself would do nothing else.
    pub(super) fn note_refusals(&mut self, pass: Duration, now: Instant) {
        let mut refused = false;
        self.open.retain_mut(|order| match order.try_recv() {
            Err(TryRecvError::Empty) => true,
            Ok(Ok(_)) => false,
            Ok(Err(_)) | Err(TryRecvError::Closed) => {
                refused = true;
                false
            }
        });
        if refused {
            self.backoff.refused(pass, now);
        }
    }

    /// The pool's agents, as far as they say how many are to be ordered for tasks: what these need is not known here.
    pub(super) fn counts(&self, hold: Option<OrderHold>, max: u32, pool: PoolNow<'_>) -> AgentDemand {
        let (failed_starts, backoff) = (self.backoff.failures(), self.backoff.wait(pool.now));
        let (coming, counted) =
            (self.with_open(pool, AgentStatus::is_coming), self.with_open(pool, AgentStatus::counts));
        let within = pool.model.pool.target_workers().map(|workers| {
            let slots = workers.saturating_mul(pool.config().max_agents) as usize;
            TargetRoom { workers, free_slots: slots.saturating_sub(self.with_open(pool, |status| !status.is_final())) }
        });
        AgentDemand { wanted: 0, coming, counted, max, within, failed_starts, hold, backoff }
    }

    /// The agents of this kind, with those that were ordered and are not there yet.
    fn with_open(&self, pool: PoolNow<'_>, is: fn(&AgentStatus) -> bool) -> usize {
        pool.model.agents.iter().filter(|agent| is(&agent.status)).count() + self.open.len()
    }

    pub(super) fn order(&mut self, project: Option<String>, pool: PoolNow<'_>) -> SpawnAsk {
        let spec = &pool.model.pool.spec;
        let agent = AgentSpec {
            agent_id: AgentId::generate(),
            pool_name: spec.pool_name.clone(),
            role_type: spec.role_type.clone(),
            project_id: project.unwrap_or_else(|| NO_PROJECT.to_owned()),
            human_name: name::human_name(),
            heartbeat_interval: DEFAULT_HEARTBEAT_INTERVAL,
            max_idle_time: spec.config.max_idle_time.min(LONGEST),
            on_demand: true,
        };
        let (reply, answer) = oneshot::channel();
        self.open.push(answer);
        // Nobody waits for it to run: where its program fails, the tasks go on waiting.
        SpawnAsk { spec: agent, key: None, for_tasks: true, deadline: pool.now, reply }
    }
}
