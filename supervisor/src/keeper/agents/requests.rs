//! What people ask of agents: each wish becomes a transition, a wait, or a refusal.

use muster_domain::{AgentEvent, AgentId, AgentStatus, StopReason};
use muster_store::AgentRow;

use super::super::transitions::Transition;
use super::agent::{PoolAgent, Waiter};
use super::{Pool, PoolAgents, Turn};
use crate::error::SupervisorError;

impl PoolAgents {
    /// An agent is to end. `refusal` says why nothing may be begun now, if so; one that was told to end already ends all the same.
    pub(in crate::keeper) fn terminate(
        &mut self,
        id: AgentId,
        graceful: bool,
        waiter: Waiter,
        refusal: impl FnOnce() -> Option<SupervisorError>,
        turn: &mut Turn,
    ) {
        let Some(agent) = self.get_mut(id) else { return unknown(id, waiter, turn) };
        if agent.status.is_to_end() {
            // Whoever is not content with asking has it killed.
            if !graceful {
                agent.stop_asking();
            }
            return self.wait_for(id, waiter, turn);
        }
        match refusal() {
            Some(error) => turn.answer(waiter.reply, Err(error)),
            None => {
                turn.transitions.push(Transition::Stop {
                    agent: id,
                    reason: StopReason::Requested,
                    graceful,
                    waiter: Some(waiter),
                });
            }
        }
    }

    /// An agent is to run anew.
    pub(in crate::keeper) fn restart(
        &mut self,
        id: AgentId,
        waiter: Waiter,
        refusal: Option<SupervisorError>,
        turn: &mut Turn,
    ) {
        let Some(agent) = self.get(id) else { return unknown(id, waiter, turn) };
        if let Some(error) = refusal.or_else(|| ends_for_good(agent)) {
            return turn.answer(waiter.reply, Err(error));
        }
        match agent.status {
            AgentStatus::Final(state) if state.may_run_again() => {
                turn.transitions.push(Transition::Revive { agent: id, row: None, waiter });
            }
            AgentStatus::Pending { .. } => {
                // Nothing to stop: the backoff ends here. Intent does not change, so nothing is written.
                self.turn(id, &AgentEvent::Revived);
                self.wait_for(id, waiter, turn);
            }
            AgentStatus::Stopping { .. } | AgentStatus::Final(_) => self.wait_for(id, waiter, turn),
            // The intent stays "run": only the slot is left, and taken again with the next epoch.
            AgentStatus::Placed(at) | AgentStatus::Running { at, .. } => {
                turn.transitions.push(Transition::Restart { agent: id, epoch: at.epoch, waiter: Some(waiter) });
            }
        }
    }

    /// An agent at rest is to run again; the row is of one that is not in the model.
    pub(in crate::keeper) fn revive(
        &mut self,
        row: Box<AgentRow>,
        waiter: Waiter,
        refusal: Option<SupervisorError>,
        turn: &mut Turn,
    ) {
        let id = row.spec.agent_id;
        match refusal {
            _ if self.get(id).is_some() => self.restart(id, waiter, refusal, turn),
            Some(error) => turn.answer(waiter.reply, Err(error)),
            None => turn.transitions.push(Transition::Revive { agent: id, row: Some(row), waiter }),
        }
    }

    /// Somebody waits for an agent without changing anything.
    pub(in crate::keeper) fn wait_for(&mut self, id: AgentId, waiter: Waiter, turn: &mut Turn) {
        match self.get_mut(id) {
            Some(agent) => {
                agent.waiters.push(waiter);
                turn.touched.push(id);
            }
            None => unknown(id, waiter, turn),
        }
    }

    /// Stops an agent that has done its one task, when it is done with all that it was given.
    pub(in crate::keeper) fn stop_spent(&self, id: AgentId, pool: &Pool, turn: &mut Turn) {
        let idles = self.get(id).is_some_and(|agent| agent.status.idles_at().is_some());
        if idles && !pool.is_stopping {
            turn.transitions.push(Transition::Stop {
                agent: id,
                reason: StopReason::TaskDone,
                graceful: true,
                waiter: None,
            });
        }
    }

    /// Every agent of a pool that goes is to stop.
    pub(in crate::keeper) fn stop_all(&mut self, graceful: bool, turn: &mut Turn) {
        for (id, agent) in &mut self.by_id {
            let told = agent.status.is_to_end();
            if told && !graceful && agent.stop_asking() {
                turn.touched.push(*id);
            }
            if !told && !agent.run.leaving {
                let reason = StopReason::PoolRemoved;
                turn.transitions.push(Transition::Stop { agent: *id, reason, graceful, waiter: None });
            }
        }
    }
}

/// Why an agent can't run anew: it was told to end.
fn ends_for_good(agent: &PoolAgent) -> Option<SupervisorError> {
    agent.status.is_to_end().then(|| SupervisorError::WrongState {
        agent_id: agent.spec.agent_id,
        state: "stopping",
        why: "it was told to end; spawn another".to_owned(),
    })
}

fn unknown(id: AgentId, waiter: Waiter, turn: &mut Turn) {
    turn.answer(waiter.reply, Err(SupervisorError::UnknownAgent(id.to_string())));
}
