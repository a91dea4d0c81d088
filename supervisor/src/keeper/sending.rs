//! The last step of a turn: commands that are due go out, those who wait are answered, and the agenda is kept.

use std::time::Instant;

use muster_domain::{AgentId, AgentStatus, Command, Envelope, ProcessId, SpawnOrder};
use muster_policy::agent::{Sent, Step};

use super::agent::Quarantine;
use super::{Agent, Keeper, Round};
use crate::alerts::AlertKind;

impl Keeper {
    pub(super) fn send(&mut self, round: &mut Round) {
        let mut touched = std::mem::take(&mut round.touched);
        touched.sort_unstable();
        touched.dedup();
        let mut batch = Vec::new();
        for id in touched {
            self.attend(id, round.now, &mut batch);
        }
        // The mirror first: whoever hears what became of a command finds its slot taken.
        let slots = self.model.take_changed_slots();
        self.context.postman.mirror(&self.model.spec.pool_name, slots);
        self.context.postman.send(batch);
    }

    /// Does what one agent needs now, and notes when to look at it again.
    fn attend(&mut self, id: AgentId, now: Instant, batch: &mut Vec<(ProcessId, Envelope)>) {
        let Some(place) = self.model.agent(id).map(|agent| agent.status.assignment()) else { return };
        let listens = place.is_some_and(|place| self.model.worker_listens(place.process_id));
        let (resend, fence) = (self.context.clocks.resend, self.context.fence);
        let awaited = self.model.agent(id).filter(|agent| !agent.waiters.is_empty());
        let view = awaited.map(|agent| self.view(agent));
        let Some(agent) = self.model.agent_mut(id) else { return };
        if let Some(view) = view {
            agent.answer_waiters(&view, now);
        }
        let quarantine = agent.quarantine_news();
        let due = match agent.next_step(listens, resend, now) {
            Step::Rest => None,
            Step::Wait(at) => Some(at),
            // It found no slot in this turn; the next full pass or a free slot tries again.
            Step::Place => None,
            Step::SendSpawn | Step::SendTerminate => {
                if let Some(place) = place {
                    batch.push((place.process_id, command_for(agent, fence, now)));
                }
                match agent.next_step(listens, resend, now) {
                    Step::Wait(at) => Some(at),
                    _ => None,
                }
            }
        };
        let deadline = agent.waiters.iter().map(|waiter| waiter.deadline).min();
        let forget = agent.status.is_gone();
        if forget {
            // At rest for good: the store has it, and answers for it.
            self.model.take_agent(id, now);
            self.agent_gone(id);
        } else {
            self.model.schedule(id, due.into_iter().chain(deadline).min());
        }
        self.alert_quarantine(id, quarantine);
    }

    fn alert_quarantine(&self, id: AgentId, news: Option<Quarantine>) {
        let (alerts, pool) = (&self.context.alerts, &self.model.spec.pool_name);
        match news {
            None => {}
            Some(Quarantine::Begun(reason)) => alerts.raise(AlertKind::Quarantine, Some(pool), &id.to_string(), reason),
            Some(Quarantine::Over) => alerts.clear(AlertKind::Quarantine, Some(pool), &id.to_string()),
        }
    }

    /// Sends the order to run an agent once more: the answer says what became of it.
    pub(super) fn ask_again(&mut self, id: AgentId, now: Instant) {
        let fence = self.context.fence;
        let Some(agent) = self.model.agent_mut(id) else { return };
        let Some(place) = agent.status.assignment() else { return };
        tracing::warn!(agent.id = %id, process.id = %place.process_id, "a worker's picture lacks an agent; it is asked for");
        let order = SpawnOrder { agent: agent.spec.clone(), epoch: place.epoch };
        let envelope = Envelope::new(fence, Command::Spawn(Box::new(order)));
        agent.command = Some((envelope.clone(), Sent { at: now, resends: 0 }));
        self.context.postman.send(vec![(place.process_id, envelope)]);
    }
}

/// The command that goes with the agent's status: a new one, or the one that was sent before.
fn command_for(agent: &mut Agent, fence: muster_domain::Fence, now: Instant) -> Envelope {
    if let Some((envelope, sent)) = &mut agent.command {
        *sent = Sent { at: now, resends: sent.resends.saturating_add(1) };
        return envelope.clone();
    }
    let epoch = agent.epoch;
    let command = match agent.status {
        AgentStatus::Stopping { .. } => {
            Command::Terminate { agent_id: agent.spec.agent_id, epoch, graceful: agent.graceful }
        }
        _ => {
            agent.ordered = Some(now);
            Command::Spawn(Box::new(SpawnOrder { agent: agent.spec.clone(), epoch }))
        }
    };
    let envelope = Envelope::new(fence, command);
    agent.command = Some((envelope.clone(), Sent { at: now, resends: 0 }));
    envelope
}
