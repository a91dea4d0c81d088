//! What holds up the pool's tasks, and what one of them waits for: for people, in words. Nothing is decided here; it repeats
//! what [`super::dispatching`] and [`super::demand`] look at.

use std::sync::atomic::Ordering;

use muster_domain::{AgentId, AgentStatus, Progress, TaskId, Usage};

use crate::keeper::{Agent, Keeper, Round};
use crate::view::{BreakerView, Holds, Lack, PoolView, QueueView};
use crate::waiting::{WaitQuery, WaitingFor};

/// What holds up all tasks of a pool alike: found once for many of them, since it looks through the agents.
struct Common {
    /// What only a person ends, or the end of the supervisor.
    all: Option<WaitingFor>,
    breaker: Option<WaitingFor>,
    /// Why no agent has room for one that is for any.
    no_agent: Option<WaitingFor>,
}

impl Keeper {
    /// The pool as it is shown.
    pub(crate) fn view_pool(&self, round: &Round) -> PoolView {
        self.model.view(self.holds(round), round.now)
    }

    /// The pool's queue in figures, but for the delayed and the dead ones, which the store counts: `depth` is all that wait.
    pub(crate) fn view_queue(&self, round: &Round) -> QueueView {
        let desk = &self.desk;
        let (wait, run) = (desk.waits.percentiles(round.now), desk.run_times.percentiles(round.now));
        QueueView {
            pool_name: self.pool(),
            holds: self.holds(round),
            depth: desk.waiting,
            delayed: 0,
            dead: 0,
            running: desk.runs.len() as u64,
            oldest_wait: desk.lines.oldest().map(|oldest| round.at.since(oldest)),
            rate_in: desk.rate_in.per_second(round.now),
            rate_out: desk.rate_out.per_second(round.now),
            wait_p50: wait.map(|wait| wait.p50),
            wait_p99: wait.map(|wait| wait.p99),
            run_p50: run.map(|run| run.p50),
            run_p99: run.map(|run| run.p99),
        }
    }

    /// How far a running task is, and what its attempt has used.
    pub(crate) fn view_run(&self, task: TaskId) -> Option<(Option<Progress>, Usage)> {
        self.desk.runs.get(task).map(|run| (run.progress.clone(), run.used))
    }

    /// What each of these queued tasks waits for; none where it has an agent by now.
    pub(crate) fn view_waits(&self, tasks: &[WaitQuery], round: &Round) -> Vec<Option<WaitingFor>> {
        let common = Common {
            all: self.why_all_wait(round),
            breaker: self.why_breaker(round),
            no_agent: self.why_no_agent(round),
        };
        tasks.iter().map(|task| self.why_waiting(task, &common, round)).collect()
    }

    fn holds(&self, round: &Round) -> Holds {
        let (being_removed, gate) = (self.model.draining, self.model.gate);
        Holds {
            draining: being_removed || (gate.paused && gate.closed),
            being_removed,
            paused: gate.paused,
            all_paused: self.context.all_paused.load(Ordering::Relaxed),
            intake_closed: gate.closed,
            breaker: self.view_breaker(round),
            lacks: self.lack(round),
        }
    }

    /// Why nobody takes the ready tasks, where nothing is to be expected without a person.
    pub(in crate::keeper) fn lack(&self, round: &Round) -> Option<Lack> {
        if self.model.is_held_by_outdated() && self.model.pending_agents() > 0 {
            return Some(Lack::OldRuntime);
        }
        if self.desk.lines.is_empty() || self.may_not_start() || self.desk.breaker.allows(round.now) == 0 {
            return None;
        }
        match self.why_no_agent(round)? {
            WaitingFor::FailingAgents { .. } => Some(Lack::AgentsFailing),
            WaitingFor::AnyAgent { .. } => Some(Lack::NoAgent),
            WaitingFor::NewWorker(_) => Some(Lack::OldRuntime),
            _ => None,
        }
    }

    /// What a task waits for that the store calls queued; none where it has an agent by now.
    fn why_waiting(&self, task: &WaitQuery, common: &Common, round: &Round) -> Option<WaitingFor> {
        if self.desk.runs.get(task.task_id).is_some() {
            return None;
        }
        let found = common
            .all
            .clone()
            .or_else(|| task.not_before.filter(|at| *at > round.at).map(WaitingFor::Time))
            .or_else(|| common.breaker.clone())
            .or_else(|| self.why_agent(task.agent_id?))
            .or_else(|| self.why_tenant(&task.tenant))
            .or_else(|| common.no_agent.clone().filter(|_| task.agent_id.is_none()));
        Some(found.unwrap_or(WaitingFor::Turn))
    }

    /// What only a person ends, or the end of the supervisor.
    fn why_all_wait(&self, round: &Round) -> Option<WaitingFor> {
        let (pool, holds) = (self.pool(), self.holds(round));
        match holds {
            Holds { being_removed: true, .. } => Some(WaitingFor::PoolRemoval(pool)),
            _ if self.is_stopping => Some(WaitingFor::NextSupervisor),
            Holds { all_paused: true, .. } => Some(WaitingFor::SystemResume),
            Holds { paused: true, intake_closed: true, .. } => Some(WaitingFor::DrainEnd(pool)),
            Holds { paused: true, .. } => Some(WaitingFor::PoolResume(pool)),
            _ => None,
        }
    }

    fn why_breaker(&self, round: &Round) -> Option<WaitingFor> {
        if self.desk.breaker.allows(round.now) > 0 {
            return None;
        }
        match self.view_breaker(round) {
            BreakerView { reason: Some(reason), next_probe_at: Some(next_probe_at), .. } => {
                Some(WaitingFor::OpenBreaker { pool: self.pool(), reason, next_probe_at })
            }
            BreakerView { reason: Some(reason), .. } => Some(WaitingFor::Probes { pool: self.pool(), reason }),
            BreakerView { reason: None, .. } => None,
        }
    }

    /// Whether the one agent that is to do it can't take it now. One that is gone for good is no reason to wait.
    fn why_agent(&self, id: AgentId) -> Option<WaitingFor> {
        let state = self.model.agent(id)?.status.state();
        let has_room = self.desk.rooms.get(id).is_some();
        (!has_room && !state.is_gone()).then_some(WaitingFor::Agent(id, state))
    }

    fn why_tenant(&self, tenant: &str) -> Option<WaitingFor> {
        let quotas = &self.context.quotas;
        let max_running = quotas.limits(tenant).max_running?;
        (quotas.running_of(tenant) >= max_running)
            .then(|| WaitingFor::Tenant { tenant: tenant.to_owned(), max_running })
    }

    /// Whether no agent has room for one more task. The agents are looked through only where none has any work: else it is
    /// clear what is waited for.
    fn why_no_agent(&self, round: &Round) -> Option<WaitingFor> {
        let pool = self.pool();
        if !self.desk.rooms.is_empty() {
            return None;
        }
        if !self.desk.runs.is_empty() {
            return Some(WaitingFor::FreeAgent(pool));
        }
        let asks = self.model.pending_agents() > 0 || self.model.spec.config.on_demand.is_some();
        if asks && self.model.is_held_by_outdated() {
            return Some(WaitingFor::NewWorker(pool));
        }
        let count = |is: fn(&AgentStatus) -> bool| {
            let of_kind = |agent: &&Agent| is(&agent.status);
            self.model.agents().filter(of_kind).count()
        };
        if count(AgentStatus::is_coming) > 0 {
            return Some(WaitingFor::NewAgent(pool));
        }
        let quarantined = count(AgentStatus::needs_person);
        Some(match (self.model.spec.config.on_demand, self.failing_for(round.now)) {
            (Some(_), Some(wait)) => WaitingFor::FailingAgents { pool, next_start_at: round.at.after(wait) },
            (Some(_), None) if quarantined == 0 => WaitingFor::NewAgent(pool),
            _ => WaitingFor::AnyAgent { pool, quarantined },
        })
    }
}
