//! Agents on demand: where tasks wait and nobody has room for them, the pool starts agents by itself.

use std::time::{Duration, Instant};

use muster_domain::time::{LONGEST, later};
use muster_domain::{AgentId, AgentSpec, Epoch, StopReason, name};
use muster_policy::backoff::doubled;
use tokio::sync::oneshot;
use tokio::sync::oneshot::error::TryRecvError;

use crate::clock;
use crate::error::SupervisorError;
use crate::keeper::mailbox::{Ask, SpawnAnswer, SpawnAsk};
use crate::keeper::moves::Move;
use crate::keeper::{Agent, Keeper, Round};

/// Agents that one turn asks for, at the most.
const AGENTS_PER_TURN: usize = 256;
/// The project of an agent that was started for a task without one.
const NO_PROJECT: &str = "on_demand";
/// How old the registry's picture of such an agent may be.
const FRESHNESS: Duration = Duration::from_secs(30);

/// The wait after a first start that failed, at the least.
const SHORTEST_WAIT: Duration = Duration::from_millis(200);

/// Agents that a keeper has ordered from itself.
#[derive(Default)]
pub(super) struct Orders {
    /// Those that are not answered yet.
    open: Vec<oneshot::Receiver<Result<SpawnAnswer, SupervisorError>>>,
    /// Whoever was refused, or whose agents did not start, asks again then.
    not_before: Option<Instant>,
    /// First starts of agents that failed, one after the other.
    failures: u32,
}

impl Keeper {
    /// Orders as many agents as the ready tasks need, beside those that are on their way. The orders are taken by the next
    /// turn, as those of anybody else.
    pub(super) fn ask_for_agents(&mut self) {
        let Some(demand) = self.model.spec.config.on_demand else { return };
        let now = clock::now();
        self.note_refusals(now);
        let is_put_off = self.desk.orders.not_before.is_some_and(|at| at > now);
        if is_put_off || self.may_not_start() || !self.desk.rooms.is_empty() || self.desk.breaker.allows(now) == 0 {
            return;
        }
        let projects = self.wanted_projects(AGENTS_PER_TURN * self.tasks_per_agent());
        let wanted = projects.len().div_ceil(self.tasks_per_agent().max(1));
        let coming = self.model.agents().filter(|agent| agent.status.is_coming()).count();
        let coming = coming + self.desk.orders.open.len();
        let counted = self.model.agents().filter(|agent| agent.status.counts()).count();
        let counted = counted + self.desk.orders.open.len();
        let bound = match demand.max_agents {
            0 => usize::MAX,
            most => most as usize,
        };
        // Where the latest did not start, one is tried: many would fail in the same way, and each stays in the lists.
        let at_a_time = if self.desk.orders.failures > 0 { 1_usize.saturating_sub(coming) } else { AGENTS_PER_TURN };
        let few = wanted.saturating_sub(coming).min(bound.saturating_sub(counted)).min(at_a_time);
        for project in projects.into_iter().step_by(self.tasks_per_agent().max(1)).skip(coming).take(few) {
            self.ask_for_agent(project);
        }
    }

    /// The projects of ready tasks that their tenants may run now, at most so many.
    fn wanted_projects(&self, limit: usize) -> Vec<Option<String>> {
        let quotas = &self.context.quotas;
        let running = quotas.count_running();
        self.desk.lines.projects(limit, &self.desk.rota, |tenant| quotas.share(running.as_deref(), tenant))
    }

    /// What was refused is not ordered again before a pass is over: the answer would be the same, and a keeper that answers
    /// itself would do nothing else.
    fn note_refusals(&mut self, now: Instant) {
        let mut refused = false;
        self.desk.orders.open.retain_mut(|order| match order.try_recv() {
            Err(TryRecvError::Empty) => true,
            Ok(Ok(_)) => false,
            Ok(Err(_)) | Err(TryRecvError::Closed) => {
                refused = true;
                false
            }
        });
        if refused {
            self.desk.orders.not_before = Some(later(now, self.context.clocks.pass));
        }
    }

    /// The first start of an agent failed or worked. Where they fail, e.g. since there is no such program, the next one waits,
    /// longer each time: tasks that wait must not make agents for ever.
    pub(in crate::keeper) fn agent_tried(&mut self, ready: bool, now: Instant) {
        let orders = &mut self.desk.orders;
        if ready {
            orders.failures = 0;
            return;
        }
        let policy = &self.model.spec.config.restart;
        let (least, most) = (policy.backoff_min.max(SHORTEST_WAIT), policy.backoff_max.max(SHORTEST_WAIT));
        let wait = doubled(least, orders.failures, most);
        orders.failures = orders.failures.saturating_add(1);
        orders.not_before = Some(later(now, wait));
    }

    /// When agents may be asked for again, where that is put off.
    pub(super) fn agents_put_off(&self, now: Instant) -> Option<Instant> {
        let demand = self.model.spec.config.on_demand.is_some() && !self.desk.lines.is_empty();
        self.desk.orders.not_before.filter(|at| demand && *at > now)
    }

    /// For how long no agent is asked for, since those that were failed at their start.
    pub(super) fn failing_for(&self, now: Instant) -> Option<Duration> {
        let orders = &self.desk.orders;
        let at = orders.not_before.filter(|_| orders.failures > 0)?;
        at.checked_duration_since(now).filter(|wait| !wait.is_zero())
    }

    fn ask_for_agent(&mut self, project: Option<String>) {
        let spec = &self.model.spec;
        let agent = AgentSpec {
            agent_id: AgentId::generate(),
            pool_name: spec.pool_name.clone(),
            role_type: spec.role_type.clone(),
            project_id: project.unwrap_or_else(|| NO_PROJECT.to_owned()),
            human_name: name::human_name(),
            heartbeat_interval: FRESHNESS,
            max_idle_time: spec.config.max_idle_time.min(LONGEST),
        };
        // Nobody waits for it to run: where its program fails, the tasks go on waiting.
        let (reply, answer) = oneshot::channel();
        self.desk.orders.open.push(answer);
        let order = SpawnAsk { spec: agent, key: None, deadline: clock::now(), reply };
        drop(self.mailbox.send(Ask::Spawn(Box::new(order))));
    }

    /// An agent has done a task. Where a pool's agents do one each, that was it. A run that
    /// is over needs no end, and says nothing about the agent's next run, which is as good as a new agent.
    pub(super) fn done_with(&mut self, agent: AgentId, epoch: Epoch) {
        let still_runs = |agent: &Agent| agent.status.is_running_as(epoch);
        if self.one_task_each() && self.model.agent(agent).is_some_and(still_runs) {
            self.desk.spent.insert(agent);
            // With the end of each of its tasks: it is stopped with the last one.
            drop(self.mailbox.send(Ask::Spent(agent)));
        }
    }

    /// Whether an agent of this pool does one task and ends.
    pub(super) fn one_task_each(&self) -> bool {
        self.model.spec.config.on_demand.is_some_and(|demand| !demand.reuse)
    }

    /// Stops an agent that has done its one task, when it is done with all that it was given.
    pub(in crate::keeper) fn stop_spent(&mut self, agent: AgentId, round: &mut Round) {
        let idles = self.model.agent(agent).is_some_and(|agent| agent.status.idles_at().is_some());
        if idles && !self.is_stopping {
            round.moves.push(Move::Stop { agent, reason: StopReason::TaskDone, graceful: true, waiter: None });
        }
    }
}
