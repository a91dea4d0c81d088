//! Agents.

use std::collections::BTreeMap;
use std::ops::Bound::{Excluded, Unbounded};

use muster_domain::{
    AgentId, AgentState, Assignment, Ending, Epoch, FinalState, Intent, PoolName, ProcessId, StopReason, Timestamp,
};

use crate::{AgentFilter, AgentRow, NewAgent};

#[derive(Default)]
pub(super) struct AgentTable {
    agents: BTreeMap<AgentId, Agent>,
}

struct Agent {
    row: AgentRow,
    /// The epoch that is to end so that another follows.
    restart_of: Option<Epoch>,
    /// None while it is live: it is to run, or holds a slot, or waits in quarantine.
    ended_at: Option<Timestamp>,
}

impl Agent {
    /// A mark of an earlier epoch was obeyed when that epoch ended.
    fn read(&self) -> AgentRow {
        let restart = self.row.assignment.is_some() && self.restart_of == Some(self.row.epoch);
        AgentRow { restart, ..self.row.clone() }
    }

    fn holds(&self, epoch: Epoch) -> bool {
        self.row.assignment.is_some() && self.row.epoch == epoch
    }
}

impl AgentTable {
    pub(super) fn one(&self, id: AgentId) -> Option<AgentRow> {
        self.agents.get(&id).map(Agent::read)
    }

    pub(super) fn have(&self, id: AgentId) -> bool {
        self.agents.contains_key(&id)
    }

    pub(super) fn live(&self) -> Vec<AgentRow> {
        self.agents.values().filter(|agent| agent.ended_at.is_none()).map(Agent::read).collect()
    }

    pub(super) fn page(&self, filter: &AgentFilter, after: Option<AgentId>, limit: u32) -> Vec<AgentRow> {
        let AgentFilter { pool, project, final_state } = filter;
        let fits = |row: &&AgentRow| {
            pool.as_ref().is_none_or(|pool| row.spec.pool_name == *pool)
                && project.as_ref().is_none_or(|project| row.spec.project_id == *project)
                && final_state.is_none_or(|state| row.final_state.map(FinalState::state) == state)
        };
        let behind = self.agents.range((after.map_or(Unbounded, Excluded), Unbounded));
        let found = behind.filter(|(_, agent)| fits(&&agent.row)).map(|(_, agent)| agent.read());
        found.take(limit as usize).collect()
    }

    /// Whether a pool has agents with an open assignment or not at rest.
    pub(super) fn are_left(&self, pool: &PoolName) -> bool {
        let is_left = |row: &AgentRow| row.final_state.is_none() || row.assignment.is_some();
        self.agents.values().any(|agent| agent.row.spec.pool_name == *pool && is_left(&agent.row))
    }

    /// How many slots of a worker are taken.
    pub(super) fn on(&self, worker: ProcessId) -> usize {
        let holds = |agent: &&Agent| agent.row.assignment.is_some_and(|held| held.process_id == worker);
        self.agents.values().filter(|agent| agent.ended_at.is_none()).filter(holds).count()
    }

    pub(super) fn add(&mut self, new: &NewAgent, worker: Option<ProcessId>) -> bool {
        let NewAgent { spec, at, .. } = new;
        if self.have(spec.agent_id) {
            return false;
        }
        let epoch = Epoch(u64::from(worker.is_some()));
        let row = AgentRow {
            spec: spec.clone(),
            intent: Intent::Run,
            assignment: worker.map(|process_id| Assignment { process_id, epoch }),
            epoch,
            final_state: None,
            last_ending: None,
            restarts: 0,
            created_at: *at,
            updated_at: *at,
            restart: false,
        };
        self.agents.insert(spec.agent_id, Agent { row, restart_of: None, ended_at: None }).is_none()
    }

    pub(super) fn assign(&mut self, id: AgentId, to: Assignment, at: Timestamp) -> bool {
        let waits = |row: &AgentRow| {
            let is_free = row.final_state.is_none() && row.assignment.is_none();
            row.intent == Intent::Run && is_free && row.epoch.next() == to.epoch
        };
        self.change(
            id,
            at,
            |agent| waits(&agent.row),
            |agent| {
                (agent.row.assignment, agent.row.epoch) = (Some(to), to.epoch);
            },
        )
    }

    pub(super) fn stop(&mut self, id: AgentId, reason: StopReason, at: Timestamp) -> bool {
        self.change(
            id,
            at,
            |agent| agent.row.intent == Intent::Run,
            |agent| {
                agent.row.intent = Intent::Stop(reason);
                if agent.row.assignment.is_none() {
                    (agent.row.final_state, agent.ended_at) = (Some(FinalState::Terminated(reason)), Some(at));
                }
            },
        )
    }

    pub(super) fn release(
        &mut self,
        id: AgentId,
        epoch: Epoch,
        ending: &Ending,
        then: Option<FinalState>,
        at: Timestamp,
    ) -> bool {
        self.change(
            id,
            at,
            |agent| agent.holds(epoch),
            |agent| {
                let row = &mut agent.row;
                (row.assignment, row.last_ending) = (None, Some(ending.clone()));
                if let Intent::Stop(_) = row.intent {
                    let state = then.map_or(AgentState::Terminated, FinalState::state_if_stopped);
                    (row.final_state, agent.ended_at) = (FinalState::of(state, row.intent), Some(at));
                    return;
                }
                row.final_state = then;
                row.restarts += u64::from(then.is_none());
                if let Some(reason) = then.and_then(FinalState::stop_reason) {
                    (row.intent, agent.ended_at) = (Intent::Stop(reason), Some(at));
                }
            },
        )
    }

    pub(super) fn restart(&mut self, id: AgentId, epoch: Epoch, at: Timestamp) -> bool {
        let runs = |agent: &Agent| agent.row.intent == Intent::Run && agent.holds(epoch);
        self.change(id, at, runs, |agent| agent.restart_of = Some(epoch))
    }

    pub(super) fn revive(&mut self, id: AgentId, at: Timestamp) -> bool {
        let rests = |agent: &Agent| agent.row.final_state.is_some_and(FinalState::may_run_again);
        self.change(id, at, rests, |agent| {
            (agent.row.intent, agent.row.final_state, agent.ended_at) = (Intent::Run, None, None);
            agent.row.restarts += 1;
        })
    }

    pub(super) fn bring_back(&mut self, to: Timestamp) {
        let ends = self.agents.values_mut().filter_map(|agent| agent.ended_at.as_mut());
        ends.for_each(|end| *end = (*end).min(to));
    }

    /// Removes those that ended before this moment, the earliest first.
    pub(super) fn prune(&mut self, before: Timestamp) -> Vec<AgentId> {
        let is_old = |_: &AgentId, agent: &mut Agent| agent.ended_at.is_some_and(|end| end < before);
        let mut old: Vec<_> = self.agents.extract_if(.., is_old).map(|(id, agent)| (agent.ended_at, id)).collect();
        old.sort_unstable();
        old.into_iter().map(|(_, id)| id).collect()
    }

    fn change(
        &mut self,
        id: AgentId,
        at: Timestamp,
        may: impl FnOnce(&Agent) -> bool,
        change: impl FnOnce(&mut Agent),
    ) -> bool {
        let Some(agent) = self.agents.get_mut(&id).filter(|agent| may(agent)) else { return false };
        agent.row.updated_at = at;
        change(agent);
        true
    }
}
