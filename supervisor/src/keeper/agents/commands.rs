//! The end of a turn: each agent that something happened to is looked at. Commands that are due go out, those who wait are
//! answered, and the agenda is kept.

use std::collections::BTreeSet;
use std::time::Instant;

use muster_domain::{AgentId, AgentStatus, Command, Envelope, Epoch, Fence, Heartbeat, ProcessId, SpawnOrder};
use muster_policy::agent::{AgentStep, SentCommand};

use super::agent::{AgentSurroundings, PoolAgent, Quarantine};
use super::{Pool, PoolAgents, Turn};
use crate::alerts::AlertKind;

impl PoolAgents {
    /// Does what one agent needs now, and notes when to look at it again. Says whether it is gone for good: the store has it, and
    /// answers for it. `listens` says of a worker whether commands reach it; `around` is what the agent does not know itself.
    pub(in crate::keeper) fn attend(
        &mut self,
        id: AgentId,
        listens: impl FnOnce(ProcessId) -> bool,
        around: impl FnOnce() -> AgentSurroundings,
        pool: &Pool,
        turn: &mut Turn,
    ) -> bool {
        let (resend, fence, now) = (self.deps.resend, self.deps.fence, turn.now);
        let Some(agent) = self.by_id.get_mut(&id) else { return false };
        let place = agent.status.assignment();
        let listens = place.is_some_and(|place| listens(place.process_id));
        if !agent.waiters.is_empty() {
            let view = agent.view(around());
            agent.answer_waiters(&view, turn);
        }
        let quarantine = agent.quarantine_news();
        let due = match agent.next_step(listens, resend, now) {
            AgentStep::Rest => None,
            AgentStep::Wait(at) => Some(at),
            // It found no slot in this turn; the next full pass or a free slot tries again.
            AgentStep::Place => None,
            AgentStep::SendSpawn | AgentStep::SendTerminate => {
                if let Some(place) = place {
                    turn.commands.push((place.process_id, command_for(agent, fence, now)));
                }
                match agent.next_step(listens, resend, now) {
                    AgentStep::Wait(at) => Some(at),
                    _ => None,
                }
            }
        };
        let deadline = agent.waiters.iter().map(|waiter| waiter.deadline).min();
        let is_gone = agent.status.is_gone();
        if !is_gone {
            self.schedule(id, due.into_iter().chain(deadline).min());
        }
        self.alert_quarantine(id, quarantine, pool);
        is_gone
    }

    fn alert_quarantine(&self, id: AgentId, news: Option<Quarantine>, pool: &Pool) {
        let (alerts, pool) = (&self.deps.alerts, &pool.spec.pool_name);
        match news {
            None => {}
            Some(Quarantine::Begun(reason)) => alerts.raise(AlertKind::Quarantine, Some(pool), &id.to_string(), reason),
            Some(Quarantine::Over) => alerts.clear(AlertKind::Quarantine, Some(pool), &id.to_string()),
        }
    }

    /// Agents that a live worker holds and the store does not want are stopped.
    pub(in crate::keeper) fn stop_unwanted(&self, worker: ProcessId, unwanted: Vec<(AgentId, Epoch)>, turn: &mut Turn) {
        for (agent_id, epoch) in unwanted {
            tracing::warn!(agent.id = %agent_id, process.id = %worker, epoch = epoch.0, "a worker holds an agent that is not wanted there; it is stopped");
            let command = Command::Terminate { agent_id, epoch, graceful: true };
            turn.commands.push((worker, Envelope::new(self.deps.fence, command)));
        }
    }

    /// Of the agents that a worker holds, those that should run and are not in a picture that was taken after their start, though no
    /// report is missing that could tell why. The order to run it, sent again, is answered with what became of it.
    pub(in crate::keeper) fn ask_for_missing(&mut self, held: &BTreeSet<AgentId>, beat: &Heartbeat, turn: &mut Turn) {
        let seen: BTreeSet<AgentId> = beat.agents.iter().map(|picture| picture.agent_id).collect();
        for id in held.difference(&seen) {
            let missed = |agent: &PoolAgent| {
                let running = agent.status.is_running() && !agent.run.leaving;
                running && agent.run.started_by <= beat.reported
            };
            if self.get(*id).is_some_and(missed) {
                self.ask_again(*id, turn);
            }
        }
    }

    /// Sends the order to run an agent once more: the answer says what became of it.
    fn ask_again(&mut self, id: AgentId, turn: &mut Turn) {
        let fence = self.deps.fence;
        let Some(agent) = self.get_mut(id) else { return };
        let Some(place) = agent.status.assignment() else { return };
        tracing::warn!(agent.id = %id, process.id = %place.process_id, "a worker's picture lacks an agent; it is asked for");
        let order = SpawnOrder { agent: agent.spec.clone(), epoch: place.epoch };
        let envelope = Envelope::new(fence, Command::Spawn(Box::new(order)));
        agent.run.command = Some((envelope.clone(), SentCommand { at: turn.now, resends: 0 }));
        turn.commands.push((place.process_id, envelope));
    }
}

/// The command that goes with the agent's status: a new one, or the one that was sent before.
fn command_for(agent: &mut PoolAgent, fence: Fence, now: Instant) -> Envelope {
    if let Some((envelope, sent)) = &mut agent.run.command {
        *sent = SentCommand { at: now, resends: sent.resends.saturating_add(1) };
        return envelope.clone();
    }
    let epoch = agent.run.epoch;
    let command = match agent.status {
        AgentStatus::Stopping { .. } => {
            Command::Terminate { agent_id: agent.spec.agent_id, epoch, graceful: agent.run.graceful }
        }
        _ => {
            agent.run.ordered = Some(now);
            Command::Spawn(Box::new(SpawnOrder { agent: agent.spec.clone(), epoch }))
        }
    };
    let envelope = Envelope::new(fence, command);
    agent.run.command = Some((envelope.clone(), SentCommand { at: now, resends: 0 }));
    envelope
}
