//! Agents on demand: where tasks wait and nobody has room for them, the pool starts agents by itself.

use std::time::{Duration, Instant};

use muster_domain::agent::DEFAULT_HEARTBEAT_INTERVAL;
use muster_domain::time::{LONGEST, later};
use muster_domain::{AgentId, AgentSpec, RestartPolicy, name};
use muster_policy::backoff::doubled;
use muster_policy::scaling;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use super::PoolNow;
use crate::error::SupervisorError;
use crate::keeper::mailbox::{SpawnAnswer, SpawnAsk};

/// The project of an agent that was started for a task without one.
const NO_PROJECT: &str = "on_demand";
/// The wait after a first start that failed, at the least.
const SHORTEST_WAIT: Duration = Duration::from_millis(200);

/// Agents that a pool has ordered for its tasks.
#[derive(Default)]
pub(super) struct Demand {
    /// Orders that are not answered yet.
    open: Vec<oneshot::Receiver<Result<SpawnAnswer, SupervisorError>>>,
    /// Whoever was refused, or whose agents did not start, asks again then.
    not_before: Option<Instant>,
    /// First starts of agents that failed, one after the other.
    failures: u32,
}

impl Demand {
    /// When agents may be asked for again, where that was put off.
    pub(super) const fn not_before(&self) -> Option<Instant> {
        self.not_before
    }

    /// For how long no agent is asked for, since those that were failed at their start.
    pub(super) fn failing_for(&self, now: Instant) -> Option<Duration> {
        let at = self.not_before.filter(|_| self.failures > 0)?;
        at.checked_duration_since(now).filter(|wait| !wait.is_zero())
    }

    /// The first start of an agent failed or worked. Where they fail, e.g. since there is no such program, the next one waits,
    /// longer each time: tasks that wait must not make agents for ever.
    pub(super) fn tried(&mut self, ready: bool, policy: &RestartPolicy, now: Instant) {
        if ready {
            self.failures = 0;
            return;
        }
        let (least, most) = (policy.backoff_min.max(SHORTEST_WAIT), policy.backoff_max.max(SHORTEST_WAIT));
        let wait = doubled(least, self.failures, most);
        self.failures = self.failures.saturating_add(1);
        self.not_before = Some(later(now, wait));
    }

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
            self.not_before = Some(later(now, pass));
        }
    }

    /// Agents that are on their way.
    fn coming(&self, pool: PoolNow<'_>) -> usize {
        pool.model.agents.iter().filter(|agent| agent.status.is_coming()).count() + self.open.len()
    }

    /// The pool's agents, as far as they say how many are to be ordered for tasks that need so many.
    pub(super) fn scale(&self, wanted: usize, max: u32, pool: PoolNow<'_>) -> scaling::AgentDemand {
        let counted = pool.model.agents.iter().filter(|agent| agent.status.counts()).count() + self.open.len();
        scaling::AgentDemand { wanted, coming: self.coming(pool), counted, max, failed_starts: self.failures }
    }

    /// Whether no more are ordered for tasks, however many wait.
    pub(super) fn is_at_bound(&self, pool: PoolNow<'_>) -> bool {
        pool.config().on_demand.is_some_and(|on_demand| self.scale(0, on_demand.max_agents, pool).room() == 0)
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
        };
        let (reply, answer) = oneshot::channel();
        self.open.push(answer);
        // Nobody waits for it to run: where its program fails, the tasks go on waiting.
        SpawnAsk { spec: agent, key: None, deadline: pool.now, reply }
    }
}
