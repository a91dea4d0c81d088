//! Decided transitions on their way into the store, and what the model does once they are there.
//!
//! The order is always the same: decide, commit, then change the model and tell others. So what a caller was told
//! survives, and a commit that failed has changed nothing.

use std::time::{Duration, Instant};

use muster_domain::agent::AfterStop;
use muster_domain::worker::WorkerEnd;
use muster_domain::{AgentEvent, AgentId, Cause, Ending, Epoch, EventDraft, ProcessId, StopReason};
use muster_registry::ReportPost;
use muster_store::{AgentRow, Outcome, Write};

use super::agents::agent::{Agent, Waiter};
use super::aside::{Aside, tell_refused, tell_taken};
use super::mailbox::AgentAsk;
use super::moves::{Leaving, Move};
use super::resync::Truth;
use super::workers::Ended;
use super::{Keeper, Removal, Round};
use crate::error::SupervisorError;

/// Transitions of one commit at the most: others wait for it.
const MOST_MOVES: usize = 2_000;

/// How long an event may wait for a commit that takes it along.
const EVENT_DELAY: Duration = Duration::from_millis(50);

/// Of what the alert is that the store refuses something of agents or workers.
const AGENTS: &str = "agents";

/// What was seen and decided, and the store does not have yet.
#[derive(Default)]
pub(super) struct Unsaved {
    pub(super) moves: Vec<Move>,
    /// What the store refuses.
    pub(super) refused: Aside<Move>,
    /// Events that the next commit takes along, and since when the oldest waits.
    notes: Vec<EventDraft>,
    notes_since: Option<Instant>,
    /// Stream entries of reports that were taken, and the numbers up to which each worker may forget its own, until
    /// what follows from them is committed.
    pub(super) entries: Vec<ReportPost>,
    pub(super) settled: Vec<(ProcessId, u64)>,
    /// The store may know something else than the model: read it again.
    pub(super) doubt: bool,
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
    pub(super) async fn commit(&mut self, mut writes: Vec<Write>) -> Result<Vec<Outcome>, SupervisorError> {
        writes.extend(self.unsaved.notes.iter().cloned().map(Write::Event));
        let result = self.context.apply(&writes).await;
        self.unsaved.notes_since = None;
        match &result {
            Ok(_) => self.unsaved.notes.clear(),
            Err(_) => self.unsaved.doubt = true,
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
    pub(super) async fn commit_moves(&mut self, round: &mut Round) {
        let mut moves = self.unsaved.refused.take_due(round.now);
        moves.extend(self.unsaved.moves.drain(..).chain(round.moves.drain(..)));
        // Carrying out a transition may decide further ones, e.g. a pool that goes stops its agents.
        while !moves.is_empty() {
            let mut later = moves.split_off(moves.len().min(MOST_MOVES));
            if let Err(error) = self.commit_some(&mut moves, round).await {
                moves.append(&mut later);
                return self.keep_unsaved(moves, &error, round);
            }
            moves.append(&mut later);
            moves.append(&mut round.moves);
        }
        if self.unsaved.refused.is_over() {
            tell_taken(&self.context.reporting.alerts, &self.model.pool.spec.pool_name, AGENTS);
        }
    }

    /// Commits these transitions and carries them out; they are taken only where the commit went through.
    async fn commit_some(&mut self, moves: &mut Vec<Move>, round: &mut Round) -> Result<(), SupervisorError> {
        let mut writes = Vec::with_capacity(moves.len() * 2);
        let mut heads = Vec::with_capacity(moves.len());
        for step in moves.iter() {
            heads.push(writes.len());
            step.write(&self.model, round.at, &mut writes);
        }
        let outcomes = self.commit(writes).await?;
        for (step, head) in moves.drain(..).zip(heads) {
            match outcomes.get(head).cloned().unwrap_or(Outcome::Unchanged) {
                Outcome::Refused(why) => self.unstorable(step, &why, round),
                outcome => self.carry_out(step, outcome == Outcome::Applied, round),
            }
        }
        Ok(())
    }

    /// A transition with a value that the store will never take. What was asked for is refused; what was seen is so all the same,
    /// and is stored without the words that came with it.
    fn unstorable(&mut self, step: Move, why: &str, round: &mut Round) {
        let step = match step.without_words(why) {
            Ok(step) => return self.unsaved.moves.push(step),
            Err(step) => step,
        };
        match step {
            Move::Leave { agent, .. } => self.set_aside(step, &format!("agent {agent}"), why, round.now),
            Move::Identify { worker, .. } | Move::EndWorker { worker, .. } => {
                self.set_aside(step, &format!("worker {worker}"), why, round.now);
            }
            asked => self.keep_unsaved(vec![asked], &SupervisorError::unstorable(&why), round),
        }
    }

    fn set_aside(&mut self, seen: Move, whom: &str, why: &str, now: Instant) {
        let is_first = self.unsaved.refused.put(seen, now);
        tell_refused(&self.context.reporting.alerts, &self.model.pool.spec.pool_name, AGENTS, whom, why, is_first);
    }

    fn keep_unsaved(&mut self, moves: Vec<Move>, error: &SupervisorError, round: &mut Round) {
        for step in moves {
            match step {
                Move::Stop { waiter: Some(waiter), .. }
                | Move::Revive { waiter, .. }
                | Move::Restart { waiter, .. } => round.answer(waiter.reply, Err(error.clone())),
                Move::Change { reply, .. } | Move::Gate { reply, .. } => drop(reply.send(Err(error.clone()))),
                Move::DrainPool { .. } if !self.model.pool.draining => {
                    for reply in self.life.removal.take().into_iter().flat_map(|removal| removal.replies) {
                        drop(reply.send(Err(error.clone())));
                    }
                }
                // What was not seen but decided is decided again, by what is so then.
                Move::Retire { .. } | Move::Stop { reason: StopReason::PoolRemoved, .. } => {}
                seen => {
                    if let Move::EndWorker { worker, .. } = &seen {
                        self.model.workers.dismiss_declared(*worker, error);
                    }
                    self.unsaved.moves.push(seen);
                }
            }
        }
    }

    /// What a transition that the store has taken means. `changed` says whether its precondition held.
    fn carry_out(&mut self, step: Move, changed: bool, round: &mut Round) {
        match step {
            Move::Leave { agent, epoch, ending, then } => self.leave(agent, epoch, ending, then, changed, round),
            Move::Stop { agent, reason, graceful, waiter } => {
                let wish = AfterStop::End(reason);
                self.stopped(agent, wish, graceful, waiter, changed, round);
            }
            Move::Revive { agent, row, waiter } => self.revived(agent, row, waiter, changed, round),
            Move::Restart { agent, epoch, waiter } => self.restarting(agent, epoch, waiter, changed, round),
            Move::Identify { worker, identity } => self.model.workers.identified(worker, identity, round),
            Move::Retire { worker, reason } => {
                let pool = &self.model.pool.spec.pool_name;
                tracing::info!(process.id = %worker, pool.name = %pool, reason, "a worker retires");
                self.model.workers.end(worker, WorkerEnd::Stopped, round);
            }
            Move::EndWorker { worker, .. } => self.model.workers.ended(worker, &self.model.pool),
            Move::Change { spec, reply } => {
                self.model.pool.reconfigure(spec);
                self.tasks_reconfigured(round);
                drop(reply.send(Ok(self.view_pool(round))));
            }
            Move::Gate { gate, hand_back, reply } => {
                self.model.pool.gate = gate;
                self.tasks.hand_back(hand_back);
                drop(reply.send(Ok(self.view_pool(round))));
            }
            Move::DrainPool { graceful } => self.model.drain(graceful, round),
        }
    }

    fn leave(&mut self, id: AgentId, epoch: Epoch, ending: Ending, then: Leaving, changed: bool, round: &mut Round) {
        if !changed {
            // The store knows another epoch, or has taken this already in a commit that seemed to fail: what is in the
            // model is wrong, and is read again.
            self.unsaved.doubt = true;
            if let Some(agent) = self.model.agents.get_mut(id) {
                agent.run.leaving = false;
            }
            return;
        }
        self.tasks.agent_left(id, epoch, &ending);
        let then = match self.model.agent(id).and_then(|agent| agent.status.after_stop()) {
            // A wish to end that was committed in the same turn wins, as it does in the store.
            Some(order @ AfterStop::End(_)) => Leaving::from_order(order),
            _ => then,
        };
        if let Some(agent) = self.model.agents.get_mut(id) {
            // Why one that never ran has ended was said when that was noticed.
            let is_said = agent.status.is_placed() || ending.cause == Cause::WorkerLost;
            log_end(id, epoch, &ending, then.runs_again(), is_said);
            agent.restarts += u64::from(then.runs_again());
            agent.last_ending = Some(ending);
        }
        let (pool, kind) = (self.model.pool.label(), then.event_kind().as_str());
        metrics::counter!("muster_agent_endings_total", "pool" => pool, "then" => kind).increment(1);
        self.model.move_agent(id, &then.event(epoch), round.now);
        round.touched.push(id);
    }

    fn stopped(
        &mut self,
        id: AgentId,
        wish: AfterStop,
        graceful: bool,
        waiter: Option<Waiter>,
        changed: bool,
        round: &mut Round,
    ) {
        let Some(agent) = self.model.agents.get_mut(id) else { return };
        // Of two orders in one turn the one that does not only ask counts.
        agent.run.graceful = graceful && (changed || agent.run.graceful);
        agent.waiters.extend(waiter);
        let told = agent.status.is_final() || agent.status.is_to_end();
        if changed {
            self.model.move_agent(id, &AgentEvent::StopOrdered(wish), round.now);
        } else if !told {
            self.unsaved.doubt = true;
        }
        round.touched.push(id);
    }

    fn revived(&mut self, id: AgentId, row: Option<Box<AgentRow>>, waiter: Waiter, changed: bool, round: &mut Round) {
        if let Some(row) = row.filter(|_| changed) {
            self.model.put_agent(Agent::from_row(*row), round.now);
        }
        if changed {
            self.model.move_agent(id, &AgentEvent::Revived, round.now);
        }
        if let Some(agent) = self.model.agents.get_mut(id) {
            agent.restarts += u64::from(changed);
            agent.history.clear();
        }
        self.model.agents.wait_for(id, waiter, round);
    }

    fn restarting(&mut self, id: AgentId, epoch: Epoch, waiter: Waiter, changed: bool, round: &mut Round) {
        if changed {
            self.model.move_agent(id, &AgentEvent::StopOrdered(AfterStop::RunAgain), round.now);
            return self.model.agents.wait_for(id, waiter, round);
        }
        let holds = self.model.agent(id).is_some_and(|agent| {
            let running = agent.status.is_placed() || agent.status.is_running();
            running && agent.run.epoch == epoch
        });
        if holds {
            self.unsaved.doubt = true;
            let what = "the store knows another run of this agent".to_owned();
            return round.answer(waiter.reply, Err(SupervisorError::unavailable(what)));
        }
        // What was committed before it in the same turn came first, e.g. the run's own end. What the wish means now is
        // judged anew.
        let Waiter { deadline, reply, .. } = waiter;
        drop(self.mailbox.send(AgentAsk::Restart { agent: id, deadline, reply }.into()));
    }
}

impl Keeper {
    /// Reads again what the store knows, and follows it.
    pub(super) async fn read_again(&mut self, round: &mut Round) {
        let pool = self.model.pool.spec.pool_name.clone();
        let Ok(truth) = Truth::read(&self.context, &pool).await else { return };
        self.unsaved.doubt = false;
        let Some(truth) = truth else {
            // It was removed after all.
            return self.pool_gone();
        };
        if self.model.follow_pool(&truth.pool) {
            self.tasks_reconfigured(round);
        }
        if truth.pool.draining {
            self.life.removal.get_or_insert(Removal { graceful: true, replies: Vec::new() });
        }
        let never_started = self.model.follow_workers(&truth.workers, round);
        let differing = self.model.differing(truth.agents);
        for agent in differing.known {
            self.follow_agent(agent, round);
        }
        for id in differing.at_rest {
            self.read_agent(id, round).await;
        }
        for agent in differing.unknown {
            // Whoever asked for it was told that nothing was changed: so it ends.
            let id = agent.spec.agent_id;
            tracing::warn!(agent.id = %id, "an agent was stored after all, though its caller was refused; it is stopped");
            self.follow_agent(agent, round);
            let reason = StopReason::StartFailed;
            round.moves.push(Move::Stop { agent: id, reason, graceful: true, waiter: None });
        }
        // Whoever was placed there leaves again.
        for id in never_started {
            let why = "its row was stored by a commit that seemed to fail".to_owned();
            self.worker_died(id, Ended::NotStarted(why), round);
        }
    }

    /// An agent that is not among the live ones any more: it is at rest, and its row says how.
    async fn read_agent(&mut self, id: AgentId, round: &mut Round) {
        match self.context.store.agent(id).await {
            Ok(Some(row)) => self.follow_agent(Agent::from_row(row), round),
            Ok(None) => self.model.take_agent(id, round.now),
            Err(error) => {
                self.context.store_failed(&error);
                self.unsaved.doubt = true;
            }
        }
    }

    /// An agent is what the store says. A slot that it has left there is free.
    fn follow_agent(&mut self, agent: Agent, round: &mut Round) {
        let id = agent.spec.agent_id;
        let before = self.model.agent(id).and_then(|known| known.status.assignment());
        if let Some(at) = before.filter(|at| agent.status.assignment() != Some(*at)) {
            // That run is over, and with it what it had to do.
            let lost = || Ending::new(Cause::WorkerLost, round.at);
            let ending = agent.last_ending.clone().unwrap_or_else(lost);
            self.tasks.agent_left(id, at.epoch, &ending);
        }
        self.model.put_agent(agent, round.now);
        round.touched.push(id);
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
