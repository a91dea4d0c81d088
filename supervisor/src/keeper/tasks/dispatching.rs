//! Who gets which task.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use muster_domain::budget::Scope;
use muster_domain::{AgentId, Attempt, FollowUp, TaskError, TaskId, WorkerStatus};
use muster_policy::dispatch::{self, Choice, Gates, IdleAgent, PoolHolds, QueueHead, Tenant, dispatch};
use muster_policy::scaling::{self, AgentDemand, MOST_ORDERED, OrderHold, ScalingDecision};
use muster_store::{QueueKey, QueuedTask, TaskStart, TaskVerdict};

use super::plan::TurnPlan;
use super::queue::WaitingTasks;
use super::ready_queues::QueueHeads;
use super::running_attempts::RunningAttempt;
use super::{Effects, PoolNow, PoolTasks};
use crate::keeper::PoolAgent;
use crate::keeper::scaling::QueueLength;
use crate::quotas::{RunningCounts, TenantShare};

/// Tasks that one turn gives to agents, at the most: bounds a transaction.
const STARTS_PER_TURN: u32 = 1_000;

/// Tasks of an agent's own queue that are looked at, at the least.
const OWN_HEAD: usize = 64;

impl PoolTasks {
    /// Notes how many tasks an agent takes now.
    pub(super) fn look_at_room(&mut self, id: AgentId, pool: PoolNow<'_>) {
        self.assigned.turned.push(id);
        let Some(agent) = pool.model.agent(id).filter(|agent| self.takes_tasks(agent, pool)) else {
            return self.assigned.available_agents.close(id);
        };
        let room = pool.tasks_per_agent().saturating_sub(self.assigned.runs.held_by(id));
        self.assigned.available_agents.set(id, room, &agent.spec.project_id);
    }

    /// Whether an agent runs, stays, and its worker takes commands.
    fn takes_tasks(&self, agent: &PoolAgent, pool: PoolNow<'_>) -> bool {
        let Some(at) = agent.status.runs_at() else { return false };
        let ready = pool.model.workers.get(&at.process_id).is_some_and(|worker| {
            worker.status == WorkerStatus::Ready && !worker.is_unreachable() && !worker.is_interrupted()
        });
        ready && !agent.run.leaving && !self.assigned.spent.contains(&agent.spec.agent_id)
    }

    /// Gives ready tasks to agents with room, as the policy says.
    pub(super) fn plan_starts(&mut self, plan: &mut TurnPlan, pool: PoolNow<'_>) {
        let quotas = Arc::clone(&self.deps.quotas);
        let mut running = quotas.count_running();
        if let Some(running) = &mut running {
            quotas.tell(running, pool.name(), self.assigned.runs.by_tenant(), &mut self.freed);
        }
        if self.is_held(pool) || self.waiting.queues.is_empty() || self.assigned.available_agents.is_empty() {
            return;
        }
        self.start_some(running.as_deref(), plan, pool);
        if let Some(running) = &mut running {
            // Before another pool looks at the counts.
            quotas.tell(running, pool.name(), self.assigned.runs.by_tenant(), &mut self.freed);
        }
    }

    fn start_some(&mut self, running: Option<&RunningCounts>, plan: &mut TurnPlan, pool: PoolNow<'_>) {
        let most = self.breaker.allows(pool.now).min(STARTS_PER_TURN);
        let room = self.assigned.available_agents.len() * pool.tasks_per_agent() as usize;
        let starts = room.min(most as usize);
        let quotas = &self.deps.quotas;
        let heads =
            self.waiting.queues.heads(starts, &self.waiting.round_robin, |tenant| quotas.share(running, tenant));
        // The next turn reads what is missing before it does anything else.
        self.waiting.has_more |= heads.is_short;
        let choices = self.choose(&heads, most, running, pool);
        for choice in choices {
            let shared = choice.queue.and_then(|queue| heads.key(queue));
            let queue = shared.unwrap_or(QueueKey::Own(choice.agent_id));
            self.plan_start(choice, &queue, plan, pool);
        }
    }

    /// What is closed for all tasks of the pool.
    pub(super) fn gates(&self, pool: PoolNow<'_>) -> Gates {
        Gates {
            being_removed: pool.model.pool.draining,
            stopping: pool.model.pool.is_stopping,
            all_paused: self.deps.all_paused.load(Ordering::Relaxed),
            pool: pool.model.pool.gate,
        }
    }

    /// What holds up all tasks of the pool alike.
    pub(super) fn pool_holds(&self, pool: PoolNow<'_>) -> PoolHolds {
        PoolHolds { gate: self.gates(pool).hold(), breaker: self.breaker.hold(pool.now) }
    }

    /// Whether no task starts, whoever could do it.
    pub(super) fn is_held(&self, pool: PoolNow<'_>) -> bool {
        !self.loaded || self.pool_holds(pool).is_any()
    }

    /// What the policy makes of the heads of the queues and the agents with room: at most so many choices.
    fn choose(
        &mut self,
        heads: &QueueHeads,
        most: u32,
        running: Option<&RunningCounts>,
        pool: PoolNow<'_>,
    ) -> Vec<Choice> {
        let candidates = self.candidates(heads, pool);
        let names = self.tenants(heads, &candidates);
        let room = |agent: AgentId| self.assigned.available_agents.get(agent).map_or(0, |room| room.tasks as usize);
        self.waiting.has_more |= candidates.iter().any(|agent| self.waiting.queues.is_short(*agent, room(*agent)));
        let own: Vec<Vec<(usize, TaskId)>> =
            candidates.iter().map(|agent| self.own_queue_head(*agent, &names)).collect();
        let idle = candidates.iter().zip(&own).filter_map(|(agent, own)| {
            let room = self.assigned.available_agents.get(*agent)?;
            Some(IdleAgent { agent_id: *agent, project_id: &room.project, room: room.tasks, own })
        });
        let queues = heads.queues.iter().map(|(priority, tenant, tasks)| {
            let tenant = index_of(&names, tenant);
            QueueHead { priority: *priority, tenant, tasks }
        });
        let quotas = &self.deps.quotas;
        let tenants = names.iter().map(|name| {
            let TenantShare { weight, allowance } = quotas.share(running, name);
            Tenant { name, weight, allowance }
        });
        let queue = dispatch::DispatchInput {
            tenants: tenants.collect(),
            queues: queues.collect(),
            idle: idle.collect(),
            most,
        };
        dispatch(&queue, &mut self.waiting.round_robin)
    }

    /// Agents with room for whom there may be work. Those that have become unfit since they were looked at are left out.
    fn candidates(&mut self, heads: &QueueHeads, pool: PoolNow<'_>) -> BTreeSet<AgentId> {
        let tasks = heads.queues.iter().flat_map(|(_, _, tasks)| tasks).take(STARTS_PER_TURN as usize);
        let mut candidates = self.assigned.available_agents.candidates(tasks.map(|task| task.project_id.as_deref()));
        candidates
            .extend(self.waiting.queues.owners().filter(|agent| self.assigned.available_agents.get(*agent).is_some()));
        let unfit = |id: &AgentId| pool.model.agent(*id).is_none_or(|agent| !self.takes_tasks(agent, pool));
        let unfit: Vec<AgentId> = candidates.iter().copied().filter(unfit).collect();
        for agent in unfit {
            self.assigned.available_agents.close(agent);
            candidates.remove(&agent);
        }
        candidates
    }

    /// The oldest tasks that wait for one agent by name.
    fn own_queue_head(&self, agent: AgentId, tenants: &[String]) -> Vec<(usize, TaskId)> {
        // More than there is room for: those of a tenant at its limit are passed over.
        let room = self.assigned.available_agents.get(agent).map_or(0, |room| (room.tasks as usize).max(OWN_HEAD));
        let head = self.waiting.queues.own(agent).take(room);
        head.map(|task| (index_of(tenants, &task.tenant), task.task_id)).collect()
    }

    /// Every tenant of whom a task may be chosen, by name.
    fn tenants(&self, heads: &QueueHeads, candidates: &BTreeSet<AgentId>) -> Vec<String> {
        let own = self.waiting.queues.owners().filter(|agent| candidates.contains(agent));
        let of_own = own.flat_map(|agent| self.waiting.queues.own(agent)).map(|task| &task.tenant);
        let of_shared = heads.queues.iter().map(|(_, tenant, _)| tenant);
        of_own.chain(of_shared).collect::<BTreeSet<_>>().into_iter().cloned().collect()
    }

    fn plan_start(&mut self, choice: Choice, queue: &QueueKey, plan: &mut TurnPlan, pool: PoolNow<'_>) {
        let Some(agent) = pool.model.agent(choice.agent_id) else { return };
        let Some(place) = agent.status.assignment() else { return };
        let Some(task) = self.waiting.queues.take(queue, choice.task_id) else { return };
        let Some(task) = self.unless_spent(task, choice.agent_id, plan, pool) else { return };
        tracing::debug!(task.id = %choice.task_id, agent.id = %choice.agent_id, why = choice.why.as_str(), "a task gets an agent");
        let attempt = Attempt {
            number: task.totals.attempt + 1,
            agent_id: choice.agent_id,
            epoch: place.epoch,
            process_id: place.process_id,
        };
        self.waiting.count = self.waiting.count.saturating_sub(1);
        if task.totals.attempt == 0 {
            let waited = pool.at.since(task.created_at);
            self.meter.waits.add(waited, pool.now);
            plan.work.waits.add(waited);
            plan.totals.waits.add(waited);
        }
        // One that came in this turn is stored as started at once.
        match plan.queue.fresh(choice.task_id) {
            Some(new) => new.start = Some(attempt),
            None => plan.started.push(TaskStart { task_id: choice.task_id, attempt, at: pool.at }),
        }
        self.breaker.begun(choice.task_id);
        self.assigned.runs.put(RunningAttempt::new(task, attempt, pool.at));
        self.assigned.runs.schedule(choice.task_id, Some(pool.now));
        self.look_at_room(choice.agent_id, pool);
    }

    /// No run begins on an account of which nothing is left: the task fails. Where it is the agent's own, the agent is passed
    /// over.
    fn unless_spent(
        &mut self,
        task: QueuedTask,
        agent: AgentId,
        plan: &mut TurnPlan,
        pool: PoolNow<'_>,
    ) -> Option<QueuedTask> {
        let payers = pool.payers(&task, Some(agent));
        let spent = self.deps.accounts.exhausted(Some((task.task_id, task.totals.usage)), payers);
        let Some(spent) = spent else { return Some(task) };
        if spent.scope == Scope::Agent && task.agent_id.is_none() {
            self.assigned.available_agents.close(agent);
            self.waiting.queues.add(task);
            return None;
        }
        // One that came in this turn is stored before it fails.
        let error = TaskError { code: "budget_exceeded".to_owned(), message: spent.reason };
        plan.late_verdicts.push(TaskVerdict { task_id: task.task_id, then: FollowUp::Fail(error), at: pool.at });
        // The agent may have another.
        self.waiting.has_more = true;
        None
    }

    /// Orders as many agents as the ready tasks need, beside those that are on their way. The orders are taken by the next
    /// turn, as those of anybody else.
    pub(super) fn ask_for_agents(&mut self, pool: PoolNow<'_>, effects: &mut Effects) {
        self.demand.note_refusals(self.deps.pass, pool.now);
        let Some(demand) = self.demand(pool) else { return };
        let ScalingDecision { count, reason } = scaling::agents_to_order(demand);
        if count == 0 {
            return;
        }
        tracing::debug!(pool.name = %pool.name(), agents = count, %reason, "agents are ordered for tasks");
        let each = pool.tasks_per_agent().max(1) as usize;
        let projects = self.projects((demand.coming + count) * each);
        for project in projects.into_iter().step_by(each).skip(demand.coming).take(count) {
            effects.spawns.push(self.demand.order(project, pool));
        }
    }

    /// What the pool's tasks need of agents; none where it starts none for them.
    pub(in crate::keeper) fn demand(&self, pool: PoolNow<'_>) -> Option<AgentDemand> {
        let on_demand = pool.config().on_demand?;
        let hold = OrderHold::of(self.is_held(pool), !self.assigned.available_agents.is_empty());
        let demand = self.demand.counts(hold, on_demand.max_agents, pool);
        // The queue is not looked through where nothing comes of it.
        let wanted = if hold.is_some() { 0 } else { self.wanted_agents(demand.coming + MOST_ORDERED, pool) };
        Some(AgentDemand { wanted, ..demand })
    }

    /// How many tasks a free slot would start now: none that waits for its time or for an agent by name, and as many of each tenant as
    /// it may have. None at all where nothing starts, or agents fail at their start.
    pub(in crate::keeper) fn startable(&self, pool: PoolNow<'_>) -> QueueLength {
        if self.is_held(pool) || self.demand.backoff.failures() > 0 {
            return QueueLength::Known(0);
        }
        let quotas = &self.deps.quotas;
        let running = quotas.count_running();
        self.waiting.queues.startable(|tenant| quotas.share(running.as_deref(), tenant))
    }

    /// All that wait, ready or not.
    pub(in crate::keeper) fn waiting_count(&self) -> u32 {
        u32::try_from(self.waiting.count).unwrap_or(u32::MAX)
    }

    /// The agents that ready tasks need which their tenants may run now, counted up to `most`.
    fn wanted_agents(&self, most: usize, pool: PoolNow<'_>) -> usize {
        let (quotas, each) = (&self.deps.quotas, pool.tasks_per_agent().max(1) as usize);
        let running = quotas.count_running();
        let WaitingTasks { queues, round_robin, .. } = &self.waiting;
        queues.ready(most * each, round_robin, |tenant| quotas.share(running.as_deref(), tenant)).div_ceil(each)
    }

    /// The projects of these tasks, at most so many.
    fn projects(&self, limit: usize) -> Vec<Option<String>> {
        let quotas = &self.deps.quotas;
        let running = quotas.count_running();
        let WaitingTasks { queues, round_robin, .. } = &self.waiting;
        queues.projects(limit, round_robin, |tenant| quotas.share(running.as_deref(), tenant))
    }

    /// The store did not take a task that is in the picture already.
    pub(super) fn never_was(&mut self, id: TaskId, queue: &QueueKey, pool: PoolNow<'_>) {
        if let Some(run) = self.assigned.runs.take(id) {
            self.breaker.uncount(id, pool.now);
            return self.look_at_room(run.attempt.agent_id, pool);
        }
        self.waiting.count = self.waiting.count.saturating_sub(1);
        self.waiting.queues.take(queue, id);
    }
}

/// Where a tenant is among them. Each that is asked for is there.
fn index_of(tenants: &[String], name: &str) -> usize {
    tenants.binary_search_by(|tenant| tenant.as_str().cmp(name)).unwrap_or(0)
}
