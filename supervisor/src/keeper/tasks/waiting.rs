//! What holds up the pool's tasks, and what one of them waits for: for people, in words. Nothing is decided here; it repeats
//! what [`super::dispatching`] and [`super::demand`] look at.

use std::sync::atomic::Ordering;

use muster_domain::{AgentId, AgentStatus};

use super::{PoolNow, Tasks};
use crate::keeper::Agent;
use crate::view::{BreakerView, Holds, Lack};
use crate::waiting::{WaitQuery, WaitingFor};

/// What holds up all tasks of a pool alike: found once for many of them, since it looks through the agents.
struct Common {
    /// What only a person ends, or the end of the supervisor.
    all: Option<WaitingFor>,
    breaker: Option<WaitingFor>,
    /// Why no agent has room for one that is for any.
    no_agent: Option<WaitingFor>,
}

/// Looks for what is waited for.
#[derive(Clone, Copy)]
pub(super) struct Why<'a> {
    pub(super) tasks: &'a Tasks,
    pub(super) pool: PoolNow<'a>,
}

impl Why<'_> {
    /// What each of these waits for that the store calls queued; none where it has an agent by now.
    pub(super) fn each_waits(self, tasks: &[WaitQuery]) -> Vec<Option<WaitingFor>> {
        let common = Common { all: self.why_all_wait(), breaker: self.why_breaker(), no_agent: self.why_no_agent() };
        tasks.iter().map(|task| self.why_waiting(task, &common)).collect()
    }

    /// What holds up the pool.
    pub(super) fn holds(self) -> Holds {
        let (being_removed, gate) = (self.pool.model.pool.draining, self.pool.model.pool.gate);
        Holds {
            draining: being_removed || (gate.paused && gate.closed),
            being_removed,
            paused: gate.paused,
            all_paused: self.tasks.deps.all_paused.load(Ordering::Relaxed),
            intake_closed: gate.closed,
            breaker: self.tasks.breaker.view(self.pool.now),
            lacks: self.lack(),
        }
    }

    /// Why nobody takes the ready tasks, where nothing is to be expected without a person.
    pub(super) fn lack(self) -> Option<Lack> {
        if self.pool.model.is_held_by_outdated() && self.pool.model.agents.pending() > 0 {
            return Some(Lack::OldRuntime);
        }
        if self.tasks.waiting.lines.is_empty()
            || self.tasks.may_not_start(self.pool)
            || self.tasks.breaker.allows(self.pool.now) == 0
        {
            return None;
        }
        match self.why_no_agent()? {
            WaitingFor::FailingAgents { .. } => Some(Lack::AgentsFailing),
            WaitingFor::AnyAgent { .. } => Some(Lack::NoAgent),
            WaitingFor::NewWorker(_) => Some(Lack::OldRuntime),
            _ => None,
        }
    }

    /// What a task waits for that the store calls queued; none where it has an agent by now.
    fn why_waiting(self, task: &WaitQuery, common: &Common) -> Option<WaitingFor> {
        if self.tasks.assigned.runs.get(task.task_id).is_some() {
            return None;
        }
        let found = common
            .all
            .clone()
            .or_else(|| task.not_before.filter(|at| *at > self.pool.at).map(WaitingFor::Time))
            .or_else(|| common.breaker.clone())
            .or_else(|| self.why_agent(task.agent_id?))
            .or_else(|| self.why_tenant(&task.tenant))
            .or_else(|| common.no_agent.clone().filter(|_| task.agent_id.is_none()));
        Some(found.unwrap_or(WaitingFor::Turn))
    }

    /// What only a person ends, or the end of the supervisor.
    fn why_all_wait(self) -> Option<WaitingFor> {
        let (name, holds) = (self.pool.name().clone(), self.holds());
        match holds {
            Holds { being_removed: true, .. } => Some(WaitingFor::PoolRemoval(name)),
            _ if self.pool.model.pool.is_stopping => Some(WaitingFor::NextSupervisor),
            Holds { all_paused: true, .. } => Some(WaitingFor::SystemResume),
            Holds { paused: true, intake_closed: true, .. } => Some(WaitingFor::DrainEnd(name)),
            Holds { paused: true, .. } => Some(WaitingFor::PoolResume(name)),
            _ => None,
        }
    }

    fn why_breaker(self) -> Option<WaitingFor> {
        if self.tasks.breaker.allows(self.pool.now) > 0 {
            return None;
        }
        let pool = self.pool.name().clone();
        match self.tasks.breaker.view(self.pool.now) {
            BreakerView { reason: Some(reason), next_probe_at: Some(next_probe_at), .. } => {
                Some(WaitingFor::OpenBreaker { pool, reason, next_probe_at })
            }
            BreakerView { reason: Some(reason), .. } => Some(WaitingFor::Probes { pool, reason }),
            BreakerView { reason: None, .. } => None,
        }
    }

    /// Whether the one agent that is to do it can't take it now. One that is gone for good is no reason to wait.
    fn why_agent(self, id: AgentId) -> Option<WaitingFor> {
        let state = self.pool.model.agent(id)?.status.state();
        let has_room = self.tasks.assigned.rooms.get(id).is_some();
        (!has_room && !state.is_gone()).then_some(WaitingFor::Agent(id, state))
    }

    fn why_tenant(self, tenant: &str) -> Option<WaitingFor> {
        let quotas = &self.tasks.deps.quotas;
        let max_running = quotas.limits(tenant).max_running?;
        (quotas.running_of(tenant) >= max_running)
            .then(|| WaitingFor::Tenant { tenant: tenant.to_owned(), max_running })
    }

    /// Whether no agent has room for one more task. The agents are looked through only where none has any work: else it is
    /// clear what is waited for.
    fn why_no_agent(self) -> Option<WaitingFor> {
        let name = self.pool.name().clone();
        if !self.tasks.assigned.rooms.is_empty() {
            return None;
        }
        if !self.tasks.assigned.runs.is_empty() {
            return Some(WaitingFor::FreeAgent(name));
        }
        let asks = self.pool.model.agents.pending() > 0 || self.pool.config().on_demand.is_some();
        if asks && self.pool.model.is_held_by_outdated() {
            return Some(WaitingFor::NewWorker(name));
        }
        let count = |is: fn(&AgentStatus) -> bool| {
            let of_kind = |agent: &&Agent| is(&agent.status);
            self.pool.model.agents.iter().filter(of_kind).count()
        };
        if count(AgentStatus::is_coming) > 0 {
            return Some(WaitingFor::NewAgent(name));
        }
        let quarantined = count(AgentStatus::needs_person);
        Some(match (self.pool.config().on_demand, self.tasks.demand.failing_for(self.pool.now)) {
            (Some(_), Some(wait)) => WaitingFor::FailingAgents { pool: name, next_start_at: self.pool.at.after(wait) },
            (Some(_), None) if quarantined == 0 => WaitingFor::NewAgent(name),
            _ => WaitingFor::AnyAgent { pool: name, quarantined },
        })
    }
}
