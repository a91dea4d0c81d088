//! Who gets which task.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use muster_domain::budget::Scope;
use muster_domain::{Activity, After, AgentId, Attempt, TaskError, TaskId, WorkerStatus};
use muster_policy::dispatch::{Choice, Idle, Line, Queue, Tenant, dispatch};
use muster_store::{LineKey, QueuedTask, TaskStart, TaskVerdict};

use super::lines::Heads;
use super::plan::Plan;
use super::runs::Run;
use crate::keeper::{Agent, Keeper, Round};
use crate::quotas::{Running, Share};

/// Tasks that one turn gives to agents, at the most: bounds a transaction.
const STARTS_PER_TURN: u32 = 1_000;

/// Tasks of an agent's own line that are looked at, at the least.
const OWN_HEAD: usize = 64;

impl Keeper {
    /// Agents whose status may have changed in this turn.
    pub(super) fn look_at_rooms(&mut self, round: &mut Round) {
        let mut touched = std::mem::take(&mut round.touched);
        touched.sort_unstable();
        touched.dedup();
        for agent in &touched {
            self.look_at_room(*agent);
        }
        round.touched = touched;
    }

    /// Notes what an agent does, with what its worker says of it. Whether it has work is known here before its worker says so:
    /// it has what it was given, and is done with what has ended, at once.
    pub(in crate::keeper) fn note_activity(&mut self, id: AgentId, seen: Option<Activity>) {
        self.model.note_activity(id, seen, self.desk.runs.held_by(id) > 0);
    }

    /// Notes how many tasks an agent takes now, and whether it has any.
    pub(super) fn look_at_room(&mut self, id: AgentId) {
        self.note_activity(id, None);
        let Some(agent) = self.model.agent(id).filter(|agent| self.takes_tasks(agent)) else {
            return self.desk.rooms.close(id);
        };
        let room = self.model.spec.config.tasks_per_agent.saturating_sub(self.desk.runs.held_by(id));
        self.desk.rooms.set(id, room, &agent.spec.project_id);
    }

    /// Whether an agent runs, stays, and its worker takes commands.
    fn takes_tasks(&self, agent: &Agent) -> bool {
        let Some(at) = agent.status.runs_at() else { return false };
        let ready = self.model.workers.get(&at.process_id).is_some_and(|worker| worker.status == WorkerStatus::Ready);
        ready && !agent.leaving && !self.desk.spent.contains(&agent.spec.agent_id)
    }

    /// Gives ready tasks to agents with room, as the policy says.
    pub(super) fn plan_starts(&mut self, plan: &mut Plan, round: &Round) {
        let context = Arc::clone(&self.context);
        let pool = self.pool();
        let quotas = &context.quotas;
        let mut running = quotas.count_running();
        if let Some(running) = &mut running {
            quotas.tell(running, &pool, self.desk.runs.by_tenant(), &mut self.desk.freed);
        }
        if self.may_not_start() || self.desk.lines.is_empty() || self.desk.rooms.is_empty() {
            return;
        }
        self.start_some(running.as_deref(), plan, round);
        if let Some(running) = &mut running {
            // Before another pool looks at the counts.
            quotas.tell(running, &pool, self.desk.runs.by_tenant(), &mut self.desk.freed);
        }
    }

    fn start_some(&mut self, running: Option<&Running>, plan: &mut Plan, round: &Round) {
        let most = self.desk.breaker.allows(round.now).min(STARTS_PER_TURN);
        if most == 0 {
            return;
        }
        let room = self.desk.rooms.len() * self.tasks_per_agent();
        let seats = room.min(most as usize);
        let quotas = &self.context.quotas;
        let heads = self.desk.lines.heads(seats, &self.desk.rota, |tenant| quotas.share(running, tenant));
        // The next turn reads what is missing before it does anything else.
        self.desk.has_more |= heads.is_short;
        let choices = self.choose(&heads, most, running);
        for choice in choices {
            let shared = choice.line.and_then(|line| heads.key(line));
            let line = shared.unwrap_or(LineKey::Own(choice.agent_id));
            self.plan_start(choice, &line, plan, round);
        }
    }

    pub(super) fn tasks_per_agent(&self) -> usize {
        self.model.spec.config.tasks_per_agent as usize
    }

    pub(super) fn may_not_start(&self) -> bool {
        let is_paused = self.model.gate.paused || self.context.all_paused.load(Ordering::Relaxed);
        is_paused || self.is_stopping || self.model.draining || !self.desk.loaded
    }

    /// What the policy makes of the heads of the lines and the agents with room: at most so many choices.
    fn choose(&mut self, heads: &Heads, most: u32, running: Option<&Running>) -> Vec<Choice> {
        let candidates = self.candidates(heads);
        let names = self.tenants(heads, &candidates);
        let room = |agent: AgentId| self.desk.rooms.get(agent).map_or(0, |room| room.tasks as usize);
        self.desk.has_more |= candidates.iter().any(|agent| self.desk.lines.is_short(*agent, room(*agent)));
        let own: Vec<Vec<(usize, TaskId)>> = candidates.iter().map(|agent| self.own_head(*agent, &names)).collect();
        let idle = candidates.iter().zip(&own).filter_map(|(agent, own)| {
            let room = self.desk.rooms.get(*agent)?;
            Some(Idle { agent_id: *agent, project_id: &room.project, room: room.tasks, own })
        });
        let lines = heads.lines.iter().map(|(priority, tenant, tasks)| {
            let tenant = index_of(&names, tenant);
            Line { priority: *priority, tenant, tasks }
        });
        let quotas = &self.context.quotas;
        let tenants = names.iter().map(|name| {
            let Share { weight, allowance } = quotas.share(running, name);
            Tenant { name, weight, allowance }
        });
        let queue = Queue { tenants: tenants.collect(), lines: lines.collect(), idle: idle.collect(), most };
        dispatch(&queue, &mut self.desk.rota)
    }

    /// Agents with room for whom there may be work. Those that have become unfit since they were looked at are left out.
    fn candidates(&mut self, heads: &Heads) -> BTreeSet<AgentId> {
        let tasks = heads.lines.iter().flat_map(|(_, _, tasks)| tasks).take(STARTS_PER_TURN as usize);
        let mut candidates = self.desk.rooms.candidates(tasks.map(|task| task.project_id.as_deref()));
        candidates.extend(self.desk.lines.owners().filter(|agent| self.desk.rooms.get(*agent).is_some()));
        let unfit = |id: &AgentId| self.model.agent(*id).is_none_or(|agent| !self.takes_tasks(agent));
        let unfit: Vec<AgentId> = candidates.iter().copied().filter(unfit).collect();
        for agent in unfit {
            self.desk.rooms.close(agent);
            candidates.remove(&agent);
        }
        candidates
    }

    /// The oldest tasks that wait for one agent by name.
    fn own_head(&self, agent: AgentId, tenants: &[String]) -> Vec<(usize, TaskId)> {
        // More than there is room for: those of a tenant at its limit are passed over.
        let room = self.desk.rooms.get(agent).map_or(0, |room| (room.tasks as usize).max(OWN_HEAD));
        let head = self.desk.lines.own(agent).take(room);
        head.map(|task| (index_of(tenants, &task.tenant), task.task_id)).collect()
    }

    /// Every tenant of whom a task may be chosen, by name.
    fn tenants(&self, heads: &Heads, candidates: &BTreeSet<AgentId>) -> Vec<String> {
        let own = self.desk.lines.owners().filter(|agent| candidates.contains(agent));
        let of_own = own.flat_map(|agent| self.desk.lines.own(agent)).map(|task| &task.tenant);
        let of_shared = heads.lines.iter().map(|(_, tenant, _)| tenant);
        of_own.chain(of_shared).collect::<BTreeSet<_>>().into_iter().cloned().collect()
    }

    fn plan_start(&mut self, choice: Choice, line: &LineKey, plan: &mut Plan, round: &Round) {
        let Some(agent) = self.model.agent(choice.agent_id) else { return };
        let Some(place) = agent.status.assignment() else { return };
        let Some(task) = self.desk.lines.take(line, choice.task_id) else { return };
        let Some(task) = self.unless_spent(task, choice.agent_id, plan, round) else { return };
        tracing::debug!(task.id = %choice.task_id, agent.id = %choice.agent_id, why = choice.why.as_str(), "a task gets an agent");
        let attempt = Attempt {
            number: task.attempt + 1,
            agent_id: choice.agent_id,
            epoch: place.epoch,
            process_id: place.process_id,
        };
        self.desk.waiting = self.desk.waiting.saturating_sub(1);
        if task.attempt == 0 {
            self.desk.waits.add(round.at.since(task.created_at), round.now);
        }
        // One that came in this turn is stored as started at once.
        match plan.fresh(choice.task_id) {
            Some(new) => new.start = Some(attempt),
            None => plan.started.push(TaskStart { task_id: choice.task_id, attempt, at: round.at }),
        }
        self.desk.breaker.begun(choice.task_id);
        self.desk.runs.put(Run::new(task, attempt, round.at));
        self.desk.runs.schedule(choice.task_id, Some(round.now));
        self.look_at_room(choice.agent_id);
    }

    /// No run begins on an account of which nothing is left: the task fails. Where it is the agent's own, the agent is passed
    /// over.
    fn unless_spent(&mut self, task: QueuedTask, agent: AgentId, plan: &mut Plan, round: &Round) -> Option<QueuedTask> {
        let spent = self.context.accounts.exhausted(Some((task.task_id, task.usage)), self.payers(&task, Some(agent)));
        let Some(spent) = spent else { return Some(task) };
        if spent.scope == Scope::Agent && task.agent_id.is_none() {
            self.desk.rooms.close(agent);
            self.desk.lines.add(task);
            return None;
        }
        // One that came in this turn is stored before it fails.
        let error = TaskError { code: "budget_exceeded".to_owned(), message: spent.reason };
        plan.late_verdicts.push(TaskVerdict { task_id: task.task_id, then: After::Fail(error), at: round.at });
        // The agent may have another.
        self.desk.has_more = true;
        None
    }

    /// The store did not take a task that is in the picture already.
    pub(super) fn never_was(&mut self, id: TaskId, line: &LineKey, round: &Round) {
        if let Some(run) = self.desk.runs.take(id) {
            self.uncount(id, round);
            return self.look_at_room(run.attempt.agent_id);
        }
        self.desk.waiting = self.desk.waiting.saturating_sub(1);
        self.desk.lines.take(line, id);
    }
}

/// Where a tenant is among them. Each that is asked for is there.
fn index_of(tenants: &[String], name: &str) -> usize {
    tenants.binary_search_by(|tenant| tenant.as_str().cmp(name)).unwrap_or(0)
}
