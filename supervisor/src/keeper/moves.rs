//! Transitions on their way into the store: what is written, and what the model does once it is.
//!
//! The order is always the same: decide, commit, then change the model and tell others. So what a caller was told
//! survives, and a commit that failed has changed nothing.

use std::sync::Arc;
use std::time::Instant;

use muster_domain::agent::AfterStop;
use muster_domain::worker::{WorkerEnd, WorkerEvent};
use muster_domain::{
    AgentEvent, AgentId, Cause, Ending, Epoch, EventDraft, EventKind, FinalState, Gate, PoolSpec, ProcessId,
    StopReason, Timestamp, WorkerCause, WorkerEnding, WorkerIdentity,
};
use muster_policy::restart::Verdict;
use muster_store::{AgentRow, Outcome, Write};
use tokio::sync::oneshot;

use super::agent::{Agent, Waiter};
use super::mailbox::Ask;
use super::{Keeper, Round};
use crate::error::SupervisorError;
use crate::view::PoolView;

/// Transitions of one commit at the most: others wait for it.
const MOST_MOVES: usize = 2_000;

/// Of what the alert is that the store refuses something of agents or workers.
const AGENTS: &str = "agents";

/// Stands for words that can't be stored.
const NO_WORDS: &str = "its words can't be stored";

/// A decided transition.
pub(crate) enum Move {
    /// An agent's tree is proven dead: it leaves its slot.
    Leave { agent: AgentId, epoch: Epoch, ending: Ending, then: Leaving },
    /// An agent is to stop, and to stay stopped.
    Stop { agent: AgentId, reason: StopReason, graceful: bool, waiter: Option<Waiter> },
    /// An agent at rest is to run again. The row is given for one that the model does not hold.
    Revive { agent: AgentId, row: Option<Box<AgentRow>>, waiter: Waiter },
    /// An agent's run is to end, and another to follow.
    Restart { agent: AgentId, epoch: Epoch, waiter: Waiter },
    /// A worker's process is known.
    Identify { worker: ProcessId, identity: WorkerIdentity },
    /// A worker is not needed any more.
    Retire { worker: ProcessId, reason: String },
    /// A worker is proven dead.
    EndWorker { worker: ProcessId, lost: bool, ending: WorkerEnding },
    /// The pool's bounds change.
    Change { spec: Arc<PoolSpec>, reply: oneshot::Sender<Result<PoolView, SupervisorError>> },
    /// The pool's queue is closed or opened.
    Gate { gate: Gate, hand_back: bool, reply: oneshot::Sender<Result<PoolView, SupervisorError>> },
    /// The pool goes.
    DrainPool { graceful: bool },
}

/// What follows when an agent leaves its slot.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Leaving {
    RunAgain { not_before: Option<Instant> },
    End(FinalState),
}

impl Leaving {
    /// What the policy's verdict means for this agent.
    pub(crate) fn from_verdict(verdict: Verdict, now: Instant) -> Self {
        match verdict {
            Verdict::RunAgain { not_before } => Self::RunAgain { not_before: (not_before > now).then_some(not_before) },
            Verdict::Complete => Self::End(FinalState::Terminated(StopReason::Completed)),
            Verdict::Fail => Self::End(FinalState::Failed(StopReason::Completed)),
            Verdict::Quarantine { .. } => Self::End(FinalState::Quarantined),
        }
    }

    /// What follows for one that was told to stop.
    pub(crate) const fn from_order(then: AfterStop) -> Self {
        match then {
            AfterStop::End(reason) => Self::End(FinalState::Terminated(reason)),
            AfterStop::RunAgain => Self::RunAgain { not_before: None },
        }
    }

    const fn final_state(self) -> Option<FinalState> {
        match self {
            Self::RunAgain { .. } => None,
            Self::End(state) => Some(state),
        }
    }

    const fn event_kind(self) -> EventKind {
        match self {
            Self::RunAgain { .. } => EventKind::AgentRestarting,
            Self::End(state) => state.event(),
        }
    }

    const fn event(self, epoch: Epoch) -> AgentEvent {
        match self {
            Self::RunAgain { not_before } => AgentEvent::Released(epoch, not_before),
            Self::End(state) => AgentEvent::Ended(epoch, state),
        }
    }
}

impl Keeper {
    /// Commits the round's transitions and carries them out. What was seen but could not be committed is kept and
    /// tried again by the next pass; what was asked for is refused.
    pub(super) async fn commit_moves(&mut self, round: &mut Round) {
        let mut moves = self.aside.take_due(round.now);
        moves.extend(self.unsaved.drain(..).chain(round.moves.drain(..)));
        // Carrying out a transition may decide further ones, e.g. a pool that goes stops its agents.
        while !moves.is_empty() {
            let mut later = moves.split_off(moves.len().min(MOST_MOVES));
            if let Err(error) = self.commit_some(&mut moves, round).await {
                moves.append(&mut later);
                return self.keep_unsaved(moves, &error);
            }
            moves.append(&mut later);
            moves.append(&mut round.moves);
        }
        if self.aside.is_over() {
            self.tell_taken(AGENTS);
        }
    }

    /// Commits these transitions and carries them out; they are taken only where the commit went through.
    async fn commit_some(&mut self, moves: &mut Vec<Move>, round: &mut Round) -> Result<(), SupervisorError> {
        let mut writes = Vec::with_capacity(moves.len() * 2);
        let mut heads = Vec::with_capacity(moves.len());
        for step in moves.iter() {
            heads.push(writes.len());
            self.push_writes(step, round.at, &mut writes);
        }
        let outcomes = self.commit(writes).await?;
        for (step, head) in moves.drain(..).zip(heads) {
            match outcomes.get(head).cloned().unwrap_or(Outcome::Unchanged) {
                Outcome::Refused(why) => self.unstorable(step, &why, round.now),
                outcome => self.carry_out(step, &outcome, round),
            }
        }
        Ok(())
    }

    /// A transition with a value that the store will never take. What was asked for is refused; what was seen is so all the same,
    /// and is stored without the words that came with it.
    fn unstorable(&mut self, step: Move, why: &str, now: Instant) {
        let refused = SupervisorError::unstorable(&why);
        match step {
            Move::Leave { agent, epoch, mut ending, then } if !ending.last_output.starts_with(NO_WORDS) => {
                ending.last_output = format!("{NO_WORDS} ({why})");
                if let Cause::NotStarted { error } = &mut ending.cause {
                    NO_WORDS.clone_into(error);
                }
                self.unsaved.push(Move::Leave { agent, epoch, ending, then });
            }
            Move::EndWorker { worker, lost, mut ending } if !ending.last_words.starts_with(NO_WORDS) => {
                ending.last_words = format!("{NO_WORDS} ({why})");
                if let WorkerCause::NotStarted { error } = &mut ending.cause {
                    NO_WORDS.clone_into(error);
                }
                self.unsaved.push(Move::EndWorker { worker, lost, ending });
            }
            Move::Leave { agent, .. } => self.set_aside(step, &format!("agent {agent}"), why, now),
            Move::Identify { worker, .. } | Move::EndWorker { worker, .. } => {
                self.set_aside(step, &format!("worker {worker}"), why, now);
            }
            asked => self.keep_unsaved(vec![asked], &refused),
        }
    }

    fn set_aside(&mut self, seen: Move, whom: &str, why: &str, now: Instant) {
        let is_first = self.aside.put(seen, now);
        self.tell_aside(AGENTS, whom, why, is_first);
    }

    fn keep_unsaved(&mut self, moves: Vec<Move>, error: &SupervisorError) {
        for step in moves {
            match step {
                Move::Stop { waiter: Some(waiter), .. }
                | Move::Revive { waiter, .. }
                | Move::Restart { waiter, .. } => {
                    drop(waiter.reply.send(Err(error.clone())));
                }
                Move::Change { reply, .. } | Move::Gate { reply, .. } => drop(reply.send(Err(error.clone()))),
                Move::DrainPool { .. } if !self.model.draining => {
                    for reply in self.removal.take().into_iter().flat_map(|removal| removal.replies) {
                        drop(reply.send(Err(error.clone())));
                    }
                }
                // What was not seen but decided is decided again, by what is so then.
                Move::Retire { .. } | Move::Stop { reason: StopReason::PoolRemoved, .. } => {}
                seen => self.unsaved.push(seen),
            }
        }
    }

    fn push_writes(&self, step: &Move, at: Timestamp, writes: &mut Vec<Write>) {
        match step {
            Move::Leave { agent, epoch, ending, then } => {
                let final_state = then.final_state();
                writes.push(Write::Release {
                    agent_id: *agent,
                    epoch: *epoch,
                    ending: ending.clone(),
                    then: final_state,
                    at,
                });
                writes.push(Write::Event(self.agent_event(
                    then.event_kind(),
                    *agent,
                    at,
                    format!("it {}", ending.cause),
                )));
            }
            Move::Stop { agent, reason, .. } => {
                writes.push(Write::StopAgent { agent_id: *agent, reason: *reason, at });
                let held = self.model.agent(*agent).is_some_and(|agent| agent.status.assignment().is_some());
                let kind = if held { EventKind::AgentStopping } else { EventKind::AgentTerminated };
                writes.push(Write::Event(self.agent_event(kind, *agent, at, reason.as_str().to_owned())));
            }
            Move::Revive { agent, .. } => writes.push(Write::ReviveAgent { agent_id: *agent, at }),
            Move::Restart { agent, epoch, .. } => {
                writes.push(Write::RestartAgent { agent_id: *agent, epoch: *epoch, at });
            }
            Move::Identify { worker, identity } => {
                writes.push(Write::IdentifyWorker { process_id: *worker, identity: identity.clone() });
            }
            Move::Retire { worker, reason } => {
                writes.push(Write::DrainWorker { process_id: *worker });
                writes.push(Write::Event(self.worker_event(EventKind::WorkerDraining, *worker, at, reason.clone())));
            }
            Move::EndWorker { worker, lost, ending } => {
                writes.push(Write::EndWorker { process_id: *worker, lost: *lost, ending: ending.clone(), at });
                let kind = if *lost { EventKind::WorkerLost } else { EventKind::WorkerStopped };
                writes.push(Write::Event(self.worker_event(kind, *worker, at, format!("it {ending}"))));
            }
            Move::Change { spec, .. } => {
                writes.push(Write::ChangePool { spec: PoolSpec::clone(spec) });
                writes.push(Write::Event(self.pool_event(EventKind::PoolChanged, at)));
            }
            Move::Gate { gate, .. } => {
                writes.push(Write::GatePool { pool: self.model.spec.pool_name.clone(), gate: *gate });
                writes.push(Write::Event(self.pool_event(gate_event(*gate), at)));
            }
            Move::DrainPool { .. } => {
                writes.push(Write::DrainPool { pool: self.model.spec.pool_name.clone() });
                writes.push(Write::Event(self.pool_event(EventKind::PoolDraining, at)));
            }
        }
    }

    fn carry_out(&mut self, step: Move, outcome: &Outcome, round: &mut Round) {
        let changed = *outcome == Outcome::Applied;
        match step {
            Move::Leave { agent, epoch, ending, then } => self.leave(agent, epoch, ending, then, changed, round),
            Move::Stop { agent, reason, graceful, waiter } => {
                self.stopped(agent, reason, graceful, waiter, changed, round)
            }
            Move::Revive { agent, row, waiter } => self.revived(agent, row, waiter, changed, round),
            Move::Restart { agent, epoch, waiter } => self.restarting(agent, epoch, waiter, changed, round),
            Move::Identify { worker, identity } => {
                if let Some(worker) = self.model.workers.get_mut(&worker) {
                    (worker.identity, worker.vouched) = (Some(identity), true);
                    round.touched.extend(worker.held.iter().copied());
                }
            }
            Move::Retire { worker, reason } => {
                tracing::info!(process.id = %worker, pool.name = %self.model.spec.pool_name, reason, "a worker retires");
                self.end_worker(worker, WorkerEnd::Stopped, round);
            }
            Move::EndWorker { worker, .. } => self.worker_ended(worker),
            Move::Change { spec, reply } => {
                self.model.reconfigure(spec);
                self.tasks_reconfigured(round);
                drop(reply.send(Ok(self.view_pool(round))));
            }
            Move::Gate { gate, hand_back, reply } => {
                self.model.gate = gate;
                self.desk.hand_back(hand_back);
                drop(reply.send(Ok(self.view_pool(round))));
            }
            Move::DrainPool { graceful } => self.pool_drains(graceful, round),
        }
    }

    fn leave(&mut self, id: AgentId, epoch: Epoch, ending: Ending, then: Leaving, changed: bool, round: &mut Round) {
        if !changed {
            // The store knows another epoch, or has taken this already in a commit that seemed to fail: what is in the
            // model is wrong, and is read again.
            self.doubt = true;
            if let Some(agent) = self.model.agent_mut(id) {
                agent.leaving = false;
            }
            return;
        }
        self.agent_left(id, epoch, &ending);
        let then = match self.model.agent(id).and_then(|agent| agent.status.after_stop()) {
            // A wish to end that was committed in the same turn wins, as it does in the store.
            Some(order @ AfterStop::End(_)) => Leaving::from_order(order),
            _ => then,
        };
        let runs_again = matches!(then, Leaving::RunAgain { .. });
        if let Some(agent) = self.model.agent_mut(id) {
            // Why one that never ran has ended was said when that was noticed.
            let is_said = agent.status.is_placed() || ending.cause == Cause::WorkerLost;
            log_end(id, epoch, &ending, runs_again, is_said);
            agent.restarts += u64::from(runs_again);
            agent.last_ending = Some(ending);
        }
        let kind = then.event_kind().as_str();
        metrics::counter!("muster_agent_endings_total", "pool" => self.pool_label(), "then" => kind).increment(1);
        self.model.move_agent(id, &then.event(epoch), round.now);
        round.touched.push(id);
    }

    fn stopped(
        &mut self,
        id: AgentId,
        reason: StopReason,
        graceful: bool,
        waiter: Option<Waiter>,
        changed: bool,
        round: &mut Round,
    ) {
        let Some(agent) = self.model.agent_mut(id) else { return };
        // Of two orders in one turn the one that does not only ask counts.
        agent.graceful = graceful && (changed || agent.graceful);
        agent.waiters.extend(waiter);
        let told = agent.status.is_final() || agent.status.is_to_end();
        if changed {
            self.model.move_agent(id, &AgentEvent::StopOrdered(AfterStop::End(reason)), round.now);
        } else if !told {
            self.doubt = true;
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
        let Some(agent) = self.model.agent_mut(id) else {
            drop(waiter.reply.send(Err(SupervisorError::UnknownAgent(id.to_string()))));
            return;
        };
        agent.restarts += u64::from(changed);
        agent.history.clear();
        agent.waiters.push(waiter);
        round.touched.push(id);
    }

    fn restarting(&mut self, id: AgentId, epoch: Epoch, waiter: Waiter, changed: bool, round: &mut Round) {
        if changed {
            self.model.move_agent(id, &AgentEvent::StopOrdered(AfterStop::RunAgain), round.now);
            return self.wait_for(id, waiter, round);
        }
        let holds = self.model.agent(id).is_some_and(|agent| {
            let running = agent.status.is_placed() || agent.status.is_running();
            running && agent.epoch == epoch
        });
        if holds {
            self.doubt = true;
            let what = "the store knows another run of this agent".to_owned();
            return drop(waiter.reply.send(Err(SupervisorError::unavailable(what))));
        }
        // What was committed before it in the same turn came first, e.g. the run's own end. What the wish means now is
        // judged anew.
        let Waiter { deadline, reply, .. } = waiter;
        drop(self.mailbox.send(Ask::Restart { agent: id, deadline, reply }));
    }

    pub(super) fn agent_event(&self, kind: EventKind, agent: AgentId, at: Timestamp, reason: String) -> EventDraft {
        let process_id =
            self.model.agent(agent).and_then(|agent| agent.status.assignment()).map(|place| place.process_id);
        EventDraft { process_id, agent_id: Some(agent), reason, ..self.pool_event(kind, at) }
    }

    pub(super) fn worker_event(&self, kind: EventKind, worker: ProcessId, at: Timestamp, reason: String) -> EventDraft {
        EventDraft { process_id: Some(worker), reason, ..self.pool_event(kind, at) }
    }

    pub(super) fn pool_event(&self, kind: EventKind, at: Timestamp) -> EventDraft {
        let pool_name = Some(self.model.spec.pool_name.clone());
        EventDraft { at, kind, pool_name, agent_id: None, process_id: None, reason: String::new() }
    }

    fn worker_ended(&mut self, id: ProcessId) {
        let pool = self.model.spec.pool_name.clone();
        self.model.move_worker(id, WorkerEvent::Died);
        self.model.take_worker(id);
        self.model.workers_terminated += 1;
        self.context.postman.forget(pool, id);
    }
}

const fn gate_event(gate: Gate) -> EventKind {
    match (gate.closed, gate.paused) {
        (true, _) => EventKind::PoolDrained,
        (false, true) => EventKind::PoolPaused,
        (false, false) => EventKind::PoolResumed,
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
