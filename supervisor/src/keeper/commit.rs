//! Decided transitions on their way into the store, and what the model does once they are there.
//!
//! The order is always the same: decide, commit, then change the model and tell others. So what a caller was told
//! survives, and a commit that failed has changed nothing.

use std::time::{Duration, Instant};

use muster_domain::agent::AfterStop;
use muster_domain::worker::WorkerEnd;
use muster_domain::{AgentEvent, AgentId, Cause, Ending, Epoch, EventDraft, ProcessId, StopReason};
use muster_registry::ReportDelivery;
use muster_store::{AgentRow, Write, WriteOutcome};

use super::agents::agent::{PoolAgent, Waiter};
use super::mailbox::AgentAsk;
use super::resync::StoredPool;
use super::set_aside::{SetAside, tell_refused, tell_taken};
use super::transitions::{AfterLeaving, Transition};
use super::workers::WorkerEnded;
use super::{Keeper, Removal, Turn};
use crate::error::SupervisorError;
use crate::prometheus::families;

/// Transitions of one commit at the most: others wait for it.
const MOST_TRANSITIONS: usize = 2_000;

/// How long an event may wait for a commit that takes it along.
const EVENT_DELAY: Duration = Duration::from_millis(50);

/// Of what the alert is that the store refuses something of agents or workers.
const AGENTS: &str = "agents";

/// What was seen and decided, and the store does not have yet.
#[derive(Default)]
pub(super) struct Unsaved {
    pub(super) transitions: Vec<Transition>,
    /// What the store refuses.
    pub(super) refused: SetAside<Transition>,
    /// Events that the next commit takes along, and since when the oldest waits.
    notes: Vec<EventDraft>,
    notes_since: Option<Instant>,
    /// Stream entries of reports that were taken, and the numbers up to which each worker may forget its own, until
    /// what follows from them is committed.
    pub(super) entries: Vec<ReportDelivery>,
    pub(super) settled: Vec<(ProcessId, u64)>,
    /// The store may know something else than the model: read it again.
    pub(super) resync: bool,
}

impl Unsaved {
    /// An event waits for the next commit.
    pub(super) fn note(&mut self, event: EventDraft, now: Instant) {
        /// Events that wait while the store is away, at the most: they tell, they are not the truth.
        const MOST_NOTES: usize = 10_000;
        if self.notes.len() < MOST_NOTES {
            self.notes.push(event);
            self.notes_since.get_or_insert(now);
        }
    }

    /// When the events that wait are to be committed, whether anything else is or not.
    pub(super) fn flush_at(&self) -> Option<Instant> {
        self.notes_since.map(|since| since + EVENT_DELAY)
    }
}

impl Keeper {
    /// Commits writes and the events that wait. An error has changed nothing that is known of: whether the commit went
    /// through is doubted, and read again when the store answers.
    pub(super) async fn commit(&mut self, mut writes: Vec<Write>) -> Result<Vec<WriteOutcome>, SupervisorError> {
        writes.extend(self.unsaved.notes.iter().cloned().map(Write::Event));
        let result = self.context.apply(&writes).await;
        self.unsaved.notes_since = None;
        match &result {
            Ok(_) => self.unsaved.notes.clear(),
            Err(_) => self.unsaved.resync = true,
        }
        result
    }

    pub(super) async fn flush_notes(&mut self, now: Instant) {
        if self.unsaved.flush_at().is_some_and(|at| now >= at) {
            // A failure is on the health board already, and the events stay for the next commit.
            let _ = self.commit(Vec::new()).await;
        }
    }

    /// Commits the round's transitions and carries them out. What was seen but could not be committed is kept and
    /// tried again by the next pass; what was asked for is refused.
    pub(super) async fn commit_transitions(&mut self, turn: &mut Turn) {
        let mut transitions = self.unsaved.refused.take_due(turn.now);
        transitions.extend(self.unsaved.transitions.drain(..).chain(turn.transitions.drain(..)));
        // Carrying out a transition may decide further ones, e.g. a pool that goes stops its agents.
        while !transitions.is_empty() {
            let mut later = transitions.split_off(transitions.len().min(MOST_TRANSITIONS));
            if let Err(error) = self.commit_some(&mut transitions, turn).await {
                transitions.append(&mut later);
                return self.keep_unsaved(transitions, &error, turn);
            }
            transitions.append(&mut later);
            transitions.append(&mut turn.transitions);
        }
        if self.unsaved.refused.is_over() {
            tell_taken(&self.context.reporting.alerts, &self.model.pool.spec.pool_name, AGENTS);
        }
    }

    /// Commits these transitions and carries them out; they are taken only where the commit went through.
    async fn commit_some(&mut self, transitions: &mut Vec<Transition>, turn: &mut Turn) -> Result<(), SupervisorError> {
        let mut writes = Vec::with_capacity(transitions.len() * 2);
        let mut heads = Vec::with_capacity(transitions.len());
        for step in transitions.iter() {
            heads.push(writes.len());
            step.write(&self.model, turn, &mut writes);
        }
        let outcomes = self.commit(writes).await?;
        for (step, head) in transitions.drain(..).zip(heads) {
            match outcomes.get(head).cloned().unwrap_or(WriteOutcome::Unchanged) {
                WriteOutcome::Refused(why) => self.unstorable(step, &why, turn),
                outcome => self.carry_out(step, outcome == WriteOutcome::Applied, turn),
            }
        }
        Ok(())
    }

    /// A transition with a value that the store will never take. What was asked for is refused; what was seen is so all the same,
    /// and is stored without the words that came with it.
    fn unstorable(&mut self, step: Transition, why: &str, turn: &mut Turn) {
        let step = match step.without_words(why) {
            Ok(step) => return self.unsaved.transitions.push(step),
            Err(step) => step,
        };
        match step {
            Transition::Leave { agent, .. } => self.set_aside(step, &format!("agent {agent}"), why, turn.now),
            Transition::Identify { worker, .. } => self.set_aside(step, &format!("worker {worker}"), why, turn.now),
            Transition::EndWorker { worker, .. } => {
                self.model.workers.dismiss_declared(worker, &SupervisorError::unstorable(&why));
                self.set_aside(step, &format!("worker {worker}"), why, turn.now);
            }
            asked => self.keep_unsaved(vec![asked], &SupervisorError::unstorable(&why), turn),
        }
    }

    fn set_aside(&mut self, seen: Transition, whom: &str, why: &str, now: Instant) {
        let is_first = self.unsaved.refused.put(seen, now);
        tell_refused(&self.context.reporting.alerts, &self.model.pool.spec.pool_name, AGENTS, whom, why, is_first);
    }

    fn keep_unsaved(&mut self, transitions: Vec<Transition>, error: &SupervisorError, turn: &mut Turn) {
        for step in transitions {
            match step {
                Transition::Stop { waiter: Some(waiter), .. }
                | Transition::Revive { waiter, .. }
                | Transition::Restart { waiter: Some(waiter), .. } => turn.answer(waiter.reply, Err(error.clone())),
                Transition::Change { reply, .. }
                | Transition::Gate { reply, .. }
                | Transition::Scale { reply: Some(reply), .. } => drop(reply.send(Err(error.clone()))),
                Transition::Interrupt(noticed) => {
                    noticed.replies.into_iter().for_each(|reply| drop(reply.send(Err(error.clone()))));
                }
                // The next check decides anew.
                Transition::Scale { reply: None, .. } => {}
                Transition::DrainPool { .. } if !self.model.pool.draining => {
                    for reply in self.life.removal.take().into_iter().flat_map(|removal| removal.replies) {
                        drop(reply.send(Err(error.clone())));
                    }
                }
                // What was not seen but decided is decided again, by what is so then.
                Transition::Retire { .. }
                | Transition::Restart { waiter: None, .. }
                | Transition::Stop { reason: StopReason::PoolRemoved | StopReason::ScaledIn, .. } => {}
                seen => {
                    if let Transition::EndWorker { worker, .. } = &seen {
                        self.model.workers.dismiss_declared(*worker, error);
                    }
                    self.unsaved.transitions.push(seen);
                }
            }
        }
    }

    /// What a transition that the store has taken means. `changed` says whether its precondition held.
    fn carry_out(&mut self, step: Transition, changed: bool, turn: &mut Turn) {
        match step {
            Transition::Leave { agent, epoch, ending, then } => self.leave(agent, epoch, ending, then, changed, turn),
            Transition::Stop { agent, reason, graceful, waiter } => {
                let wish = AfterStop::End(reason);
                self.stopped(agent, wish, graceful, waiter, changed, turn);
            }
            Transition::Revive { agent, row, waiter } => self.revived(agent, row, waiter, changed, turn),
            Transition::Restart { agent, epoch, waiter } => self.restarting(agent, epoch, waiter, changed, turn),
            Transition::Identify { worker, identity } => self.model.workers.identified(worker, identity, turn),
            Transition::Interrupt(noticed) => self.noticed(noticed, changed, turn),
            Transition::Retire { worker, reason } => {
                let pool = &self.model.pool.spec.pool_name;
                tracing::info!(process.id = %worker, pool.name = %pool, reason, "a worker retires");
                self.model.workers.end(worker, WorkerEnd::Stopped, turn);
            }
            Transition::EndWorker { worker, .. } => self.model.workers.ended(worker, &self.model.pool),
            Transition::Change { spec, reply } => {
                self.model.pool.reconfigure(spec);
                self.tasks_reconfigured(turn);
                self.follow_scaling_mode(turn);
                drop(reply.send(Ok(self.view_pool(turn))));
            }
            Transition::Gate { gate, hand_back, reply } => {
                self.model.pool.gate = gate;
                self.tasks.hand_back(hand_back);
                drop(reply.send(Ok(self.view_pool(turn))));
            }
            Transition::Scale { decided, reply } => {
                self.note_decided(&decided, turn);
                if let Some(reply) = reply {
                    drop(reply.send(Ok(self.view_pool(turn))));
                }
            }
            Transition::EndDecision(end) => self.count_result(end.state),
            Transition::DrainPool { graceful } => self.model.drain(graceful, turn),
        }
    }

    fn leave(&mut self, id: AgentId, epoch: Epoch, ending: Ending, then: AfterLeaving, changed: bool, turn: &mut Turn) {
        if !changed {
            // The store knows another epoch, or has taken this already in a commit that seemed to fail: what is in the
            // model is wrong, and is read again.
            self.unsaved.resync = true;
            if let Some(agent) = self.model.agents.get_mut(id) {
                agent.run.leaving = false;
            }
            return;
        }
        self.tasks.agent_left(id, epoch, &ending);
        let then = match self.model.agent(id).and_then(|agent| agent.status.after_stop()) {
            // A wish to end that was committed in the same turn wins, as it does in the store.
            Some(order @ AfterStop::End(_)) => AfterLeaving::from_order(order),
            _ => then,
        };
        if let Some(agent) = self.model.agents.get_mut(id) {
            // Why one that never ran has ended was said when that was noticed.
            let is_said =
                agent.status.is_placed() || matches!(ending.cause, Cause::WorkerLost | Cause::WorkerInterrupted);
            log_end(id, epoch, &ending, then.runs_again(), is_said);
            agent.restarts += u64::from(then.runs_again());
            agent.last_ending = Some(ending);
        }
        let (pool, outcome) = (self.model.pool.label(), then.outcome().as_str());
        metrics::counter!(families::AGENT_ENDINGS.name, "pool" => pool, "outcome" => outcome).increment(1);
        self.model.move_agent(id, &then.event(epoch), turn.now);
        turn.touched.push(id);
    }

    fn stopped(
        &mut self,
        id: AgentId,
        wish: AfterStop,
        graceful: bool,
        waiter: Option<Waiter>,
        changed: bool,
        turn: &mut Turn,
    ) {
        let Some(agent) = self.model.agents.get_mut(id) else { return };
        // Of two orders in one turn the one that does not only ask counts.
        agent.run.graceful = graceful && (changed || agent.run.graceful);
        agent.waiters.extend(waiter);
        let told = agent.status.is_final() || agent.status.is_to_end();
        if changed {
            self.model.move_agent(id, &AgentEvent::StopOrdered(wish), turn.now);
        } else if !told {
            self.unsaved.resync = true;
        }
        turn.touched.push(id);
    }

    fn revived(&mut self, id: AgentId, row: Option<Box<AgentRow>>, waiter: Waiter, changed: bool, turn: &mut Turn) {
        if let Some(row) = row.filter(|_| changed) {
            self.model.put_agent(PoolAgent::from_row(*row), turn.now);
        }
        if changed {
            self.model.move_agent(id, &AgentEvent::Revived, turn.now);
        }
        if let Some(agent) = self.model.agents.get_mut(id) {
            agent.restarts += u64::from(changed);
            agent.history.clear();
        }
        self.model.agents.wait_for(id, waiter, turn);
    }

    fn restarting(&mut self, id: AgentId, epoch: Epoch, waiter: Option<Waiter>, changed: bool, turn: &mut Turn) {
        if changed {
            self.model.move_agent(id, &AgentEvent::StopOrdered(AfterStop::RunAgain), turn.now);
            turn.touched.push(id);
            return waiter.into_iter().for_each(|waiter| self.model.agents.wait_for(id, waiter, turn));
        }
        let holds = self.model.agent(id).is_some_and(|agent| {
            let running = agent.status.is_placed() || agent.status.is_running();
            running && agent.run.epoch == epoch
        });
        if holds {
            self.unsaved.resync = true;
            let what = || "the store knows another run of this agent".to_owned();
            let refused = |waiter: Waiter| turn.answer(waiter.reply, Err(SupervisorError::unavailable(what())));
            return waiter.into_iter().for_each(refused);
        }
        // What was committed before it in the same turn came first, e.g. the run's own end. What the wish means now is
        // judged anew.
        let Some(Waiter { deadline, reply, .. }) = waiter else { return };
        drop(self.mailbox.send(AgentAsk::Restart { agent: id, deadline, reply }.into()));
    }
}

impl Keeper {
    /// Reads again what the store knows, and follows it.
    pub(super) async fn read_again(&mut self, turn: &mut Turn) {
        let pool = self.model.pool.spec.pool_name.clone();
        let Ok(truth) = StoredPool::read(&self.context, &pool).await else { return };
        self.unsaved.resync = false;
        self.scaling.read_anew();
        let Some(truth) = truth else {
            // It was removed after all.
            return self.pool_gone();
        };
        if self.model.follow_pool(&truth.pool) {
            self.tasks_reconfigured(turn);
        }
        if truth.pool.draining {
            self.life.removal.get_or_insert(Removal { graceful: true, replies: Vec::new() });
        }
        let never_started = self.model.follow_workers(&truth.workers, turn);
        let differing = self.model.differing(truth.agents);
        for agent in differing.known {
            self.follow_agent(agent, turn);
        }
        for id in differing.at_rest {
            self.read_agent(id, turn).await;
        }
        for agent in differing.unknown {
            // Whoever asked for it was told that nothing was changed: so it ends.
            let id = agent.spec.agent_id;
            tracing::warn!(agent.id = %id, "an agent was stored after all, though its caller was refused; it is stopped");
            self.follow_agent(agent, turn);
            let reason = StopReason::StartFailed;
            turn.transitions.push(Transition::Stop { agent: id, reason, graceful: true, waiter: None });
        }
        // Whoever was placed there leaves again.
        for id in never_started {
            let why = "its row was stored by a commit that seemed to fail".to_owned();
            self.worker_died(id, WorkerEnded::NotStarted(why), turn);
        }
    }

    /// An agent that is not among the live ones any more: it is at rest, and its row says how.
    async fn read_agent(&mut self, id: AgentId, turn: &mut Turn) {
        match self.context.store.agent(id).await {
            Ok(Some(row)) => self.follow_agent(PoolAgent::from_row(row), turn),
            Ok(None) => self.model.take_agent(id, turn.now),
            Err(error) => {
                self.context.store_failed(&error);
                self.unsaved.resync = true;
            }
        }
    }

    /// An agent is what the store says. A slot that it has left there is free.
    fn follow_agent(&mut self, agent: PoolAgent, turn: &mut Turn) {
        let id = agent.spec.agent_id;
        let before = self.model.agent(id).and_then(|known| known.status.assignment());
        if let Some(at) = before.filter(|at| agent.status.assignment() != Some(*at)) {
            // That run is over, and with it what it had to do.
            let lost = || Ending::new(Cause::WorkerLost, turn.at);
            let ending = agent.last_ending.clone().unwrap_or_else(lost);
            self.tasks.agent_left(id, at.epoch, &ending);
        }
        self.model.put_agent(agent, turn.now);
        turn.touched.push(id);
    }
}

/// An end that was ordered is no news; a shutdown has one an agent.
fn log_end(agent: AgentId, epoch: Epoch, ending: &Ending, runs_again: bool, is_said: bool) {
    if ending.cause == Cause::Stopped || is_said {
        tracing::debug!(agent.id = %agent, epoch = epoch.0, again = runs_again, "an agent {}", ending.cause);
    } else {
        tracing::info!(agent.id = %agent, epoch = epoch.0, again = runs_again, "an agent {}", ending.cause);
    }
}
