//! What holds up the pool's tasks, and what one of them waits for: for people, in words. Nothing is judged here: the answers are
//! the policy's (`muster_policy::dispatch::blocked`), which [`super::dispatching`] asks too.

use muster_domain::AgentStatus;
use muster_policy::breaker::BreakerHold;
use muster_policy::dispatch::{
    AgentAvailability, AgentCounts, Blocked, Candidate, GateHold, NamedAgent, NoAgent, blocked, no_agent,
};
use muster_policy::scaling;

use super::{PoolNow, PoolTasks};
use crate::keeper::PoolAgent;
use crate::view::{Holds, Lack};
use crate::waiting::{MissingAgent, QueuedTaskQuery, WaitingFor};

/// Looks for what is waited for.
#[derive(Clone, Copy)]
pub(super) struct WaitReasons<'a> {
    pub(super) tasks: &'a PoolTasks,
    pub(super) pool: PoolNow<'a>,
}

impl WaitReasons<'_> {
    /// What each of these waits for that the store calls queued; none where it has an agent by now.
    pub(super) fn each_waits(self, tasks: &[QueuedTaskQuery]) -> Vec<Option<WaitingFor>> {
        // Found once for all of them, since it looks through the agents.
        let (holds, nobody) = (self.tasks.pool_holds(self.pool), self.no_agent());
        let why = |task: &QueuedTaskQuery| {
            let is_queued = self.tasks.assigned.runs.get(task.task_id).is_none();
            let why = || blocked(&self.candidate(task), holds, nobody, self.pool.at);
            is_queued.then(|| why().map_or(WaitingFor::Turn, |why| self.words(why, task)))
        };
        tasks.iter().map(why).collect()
    }

    /// What holds up the pool.
    pub(super) fn holds(self) -> Holds {
        let gates = self.tasks.gates(self.pool);
        Holds {
            draining: gates.being_removed || (gates.pool.paused && gates.pool.closed),
            being_removed: gates.being_removed,
            paused: gates.pool.paused,
            all_paused: gates.all_paused,
            intake_closed: gates.pool.closed,
            breaker: self.tasks.breaker.view(self.pool.now),
            lacks: self.lack(),
        }
    }

    /// Why nobody takes the ready tasks, where nothing is to be expected without a person.
    pub(super) fn lack(self) -> Option<Lack> {
        if self.agents().waits_for_new_worker() {
            return Some(Lack::OldRuntime);
        }
        if self.tasks.waiting.queues.is_empty() || self.tasks.is_held(self.pool) {
            return None;
        }
        match self.no_agent()? {
            NoAgent::Failing { .. } => Some(Lack::AgentsFailing),
            NoAgent::Nobody { .. } => Some(Lack::NoAgent),
            NoAgent::OldRuntime => Some(Lack::OldRuntime),
            NoAgent::AtTarget { .. } => Some(Lack::TargetWorkers),
            NoAgent::Busy | NoAgent::Starting => None,
        }
    }

    /// A task as the policy looks at it.
    fn candidate(self, task: &QueuedTaskQuery) -> Candidate {
        let quotas = &self.tasks.deps.quotas;
        let named = |agent_id| NamedAgent {
            agent_id,
            state: self.pool.model.agent(agent_id).map(|agent| agent.status.state()),
            has_room: self.tasks.assigned.available_agents.get(agent_id).is_some(),
            is_unreachable: self.pool.model.is_unreachable(agent_id),
        };
        Candidate {
            not_before: task.not_before,
            named: task.agent_id.map(named),
            limits: quotas.limits(&task.tenant),
            running: quotas.running_of(&task.tenant),
        }
    }

    fn agents(self) -> AgentAvailability {
        let Self { tasks, pool } = self;
        AgentAvailability {
            has_room: !tasks.assigned.available_agents.is_empty(),
            has_work: tasks.assigned.runs.agents().any(|agent| !pool.model.is_unreachable(agent)),
            is_pending: pool.model.agents.pending() > 0,
            needs_new_worker: pool.model.is_held_by_outdated(),
            on_demand: pool.config().on_demand.is_some(),
        }
    }

    fn no_agent(self) -> Option<NoAgent> {
        let count = |is: fn(&AgentStatus) -> bool| {
            let of_kind = |agent: &&PoolAgent| is(&agent.status);
            self.pool.model.agents.iter().filter(of_kind).count()
        };
        no_agent(self.agents(), || AgentCounts {
            coming: count(AgentStatus::is_coming),
            quarantined: count(AgentStatus::needs_person),
            unreachable: self.pool.model.unreachable_agents(),
            order: self.tasks.demand(self.pool).map(scaling::agents_to_order),
        })
    }

    /// The same reason for people.
    fn words(self, why: Blocked, task: &QueuedTaskQuery) -> WaitingFor {
        let pool = self.pool.name().clone();
        match why {
            Blocked::Gate(GateHold::PoolRemoved) => WaitingFor::PoolRemoval(pool),
            Blocked::Gate(GateHold::Stopping) => WaitingFor::NextSupervisor,
            Blocked::Gate(GateHold::AllPaused) => WaitingFor::SystemResume,
            Blocked::Gate(GateHold::Drained) => WaitingFor::DrainEnd(pool),
            Blocked::Gate(GateHold::Paused) => WaitingFor::PoolResume(pool),
            Blocked::NotDue(at) => WaitingFor::Time(at),
            Blocked::Breaker(hold) => self.of_breaker(hold),
            Blocked::NamedAgent { agent_id, state, is_unreachable } => {
                WaitingFor::Agent(agent_id, (!is_unreachable).then_some(state))
            }
            Blocked::TenantLimit { max_running } => WaitingFor::Tenant { tenant: task.tenant.clone(), max_running },
            Blocked::NoAgent(NoAgent::Busy) => WaitingFor::FreeAgent(pool),
            Blocked::NoAgent(NoAgent::OldRuntime) => WaitingFor::Lacking(MissingAgent::NewWorker(pool)),
            Blocked::NoAgent(NoAgent::AtTarget { workers }) => {
                WaitingFor::Lacking(MissingAgent::MoreWorkers { pool, workers })
            }
            Blocked::NoAgent(NoAgent::Starting) => WaitingFor::NewAgent(pool),
            Blocked::NoAgent(NoAgent::Failing { retry_in }) => {
                let next_start_at = self.pool.at.after(retry_in);
                WaitingFor::Lacking(MissingAgent::FailingAgents { pool, next_start_at })
            }
            Blocked::NoAgent(NoAgent::Nobody { quarantined, unreachable }) => {
                WaitingFor::Lacking(MissingAgent::AnyAgent { pool, quarantined, unreachable })
            }
        }
    }

    fn of_breaker(self, hold: BreakerHold) -> WaitingFor {
        let (pool, view) = (self.pool.name().clone(), self.tasks.breaker.view(self.pool.now));
        let reason = view.reason.unwrap_or_default();
        let next_probe_at = view.next_probe_at.filter(|_| hold == BreakerHold::Open);
        WaitingFor::Breaker { pool, reason, next_probe_at }
    }
}
