//! A worker ends, or has ended: what is told to it, what follows from its death, and what is said of that.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use muster_domain::worker::{WorkerEnd, WorkerEvent};
use muster_domain::{
    AgentId, Cause, Command, Envelope, ProcessId, WorkerCause, WorkerEnding, WorkerIdentity, WorkerStatus, counted,
};
use muster_policy::worker::Kill;
use muster_process::ProcessExit;

use super::super::transitions::Transition;
use super::reach::{Order, send, tell};
use super::way::Way;
use super::{DeclarationReply, Pool, PoolWorkers, Turn};
use crate::error::SupervisorError;
use crate::launch::{Death, Proof, RunningWorker, Sent};
use crate::prometheus::{WorkerOutcome, families};

/// How a worker came to its end.
pub(in crate::keeper) enum WorkerEnded {
    /// It never began.
    NotStarted(String),
    /// Its process is dead.
    Dead(Death),
}

/// Whether somebody who declares a worker dead is the first one, or why nobody may.
type Declarable = Result<bool, SupervisorError>;

/// What follows for the agents of a dead worker.
pub(in crate::keeper) struct AgentFollowUps {
    pub(in crate::keeper) agents: usize,
    /// Of these, those that run again.
    pub(in crate::keeper) again: usize,
    pub(in crate::keeper) is_stopping: bool,
}

/// A worker that is proven dead.
pub(in crate::keeper) struct Dead {
    /// Its agents.
    pub(in crate::keeper) held: Vec<AgentId>,
    /// Why their runs ended.
    pub(in crate::keeper) cause: Cause,
    /// Whether nobody had told it to end.
    lost: bool,
    /// Whether it came to nothing: it was lost before it was ready.
    is_failed_start: bool,
}

impl PoolWorkers {
    /// Tells a worker to stop its agents and end. Where the registry is away, a signal says the same.
    pub(in crate::keeper) fn end(&mut self, id: ProcessId, how: WorkerEnd, turn: &mut Turn) {
        let starting = self.get(&id).is_some_and(|worker| worker.status.is_starting());
        if !self.apply(id, WorkerEvent::EndOrdered(turn.now, how)) {
            return;
        }
        match self.get(&id).map(|worker| &worker.process.way) {
            // It is told when its launch is through.
            None | Some(Way::Starting) => {}
            // A worker that does not listen yet, or can't, is told by a signal.
            Some(Way::To(_)) if starting || self.deps.health.refusal().is_some() => self.tell(id, Some(Order::Ask)),
            Some(Way::To(_) | Way::None(_)) => turn.commands.push(self.shutdown(id, true)),
        }
    }

    /// Stops every worker, by signal: that works with and without the registry, and says the same as a command.
    pub(in crate::keeper) fn stop_all(&mut self, turn: &mut Turn) {
        for id in self.ids() {
            self.apply(id, WorkerEvent::EndOrdered(turn.now, WorkerEnd::Stopped));
            self.tell(id, Some(Order::Ask));
            if self.get(&id).is_some_and(|worker| matches!(worker.process.way, Way::None(_))) {
                turn.commands.push(self.shutdown(id, true));
            }
        }
    }

    pub(super) fn shutdown(&self, id: ProcessId, graceful: bool) -> (ProcessId, Envelope) {
        (id, Envelope::new(self.deps.fence, Command::Shutdown { graceful }))
    }

    /// Tells it something past the registry, where there is a way. What came of it is told to the keeper.
    pub(super) fn tell(&self, id: ProcessId, order: Option<Order>) {
        if let (Some(worker), Some(order)) = (self.get(&id), order) {
            tell(worker, order, self.deps.keeper.clone());
        }
    }

    /// Nothing is concluded from a kill: the worker is dead when its process is proven so. One without a way to it is told by a command
    /// to hurry, which it hears if it lives.
    pub(super) fn kill(&mut self, id: ProcessId, reason: &str, pool: &Pool, turn: &mut Turn) {
        let Some(worker) = self.get_mut(id) else { return };
        match &worker.process.way {
            Way::None(why) => {
                let why = why.clone();
                if worker.process.kill == Kill::NotSent {
                    tracing::warn!(process.id = %id, reason, why, "a worker can't be killed; it is told to end");
                }
                worker.process.kill = Kill::Failed(turn.now);
                turn.commands.push(self.shutdown(id, false));
                self.set_unreachable(id, &why, pool, turn);
            }
            Way::Starting | Way::To(_) => {
                worker.process.kill = Kill::Sent(turn.now);
                self.tell(id, Some(Order::Kill));
            }
        }
    }

    pub(in crate::keeper) fn kill_all(&mut self, pool: &Pool, turn: &mut Turn) {
        for id in self.ids() {
            self.kill(id, "the supervisor was told to hurry", pool, turn);
        }
    }

    /// Workers that were started while the lead was lost: whoever leads now may not have seen them.
    pub(in crate::keeper) async fn kill_unconfirmed(&self) {
        let unconfirmed = self.values().filter(|worker| !worker.process.confirmed);
        let ways = unconfirmed.filter_map(|worker| worker.process.way.to());
        let kills = futures_util::future::join_all(ways.map(|process| send(process.as_ref(), Order::Kill)));
        for sent in kills.await {
            if let Sent::Unreachable(why) = sent {
                tracing::error!(
                    why,
                    "a worker of a lead that is over could not be killed; the next supervisor looks for it"
                );
            }
        }
    }

    /// Says why a worker may not be declared dead, or whether this is the first time that somebody does.
    pub(in crate::keeper) fn may_be_declared_dead(&self, id: ProcessId, pool: &Pool, now: Instant) -> Declarable {
        let Some(worker) = self.get(&id) else { return Err(SupervisorError::UnknownWorker(id)) };
        if self.declared.contains_key(&id) {
            return Ok(false);
        }
        if worker.is_over {
            return Err(SupervisorError::unavailable("its end was seen, and is being stored".to_owned()));
        }
        let refuse = |why: String| Err(SupervisorError::WorkerReachable { worker: id, why });
        let silence = worker.contact.pulse.map(|pulse| now.saturating_duration_since(pulse.heard));
        let stale = worker.clocks(&self.clocks(pool)).stale;
        match silence.filter(|silence| *silence < stale) {
            Some(silence) => refuse(format!("it was heard {:.1} s ago", silence.as_secs_f64())),
            None if worker.is_unreachable() => Ok(true),
            None if matches!(worker.process.way, Way::None(_)) => {
                refuse("it may be heard still, or was not listened to for long enough".to_owned())
            }
            None => refuse("it can be asked and killed, and its death is seen when it happens".to_owned()),
        }
    }

    /// Whether its processes may be where a launcher sees them.
    pub(in crate::keeper) fn is_within_sight(&self, id: ProcessId) -> bool {
        self.get(&id).is_some_and(|worker| !matches!(worker.process.way, Way::None(_)))
    }

    /// Notes who waits until a worker's declared death is stored.
    pub(in crate::keeper) fn await_declared(&mut self, id: ProcessId, reply: DeclarationReply) {
        self.declared.entry(id).or_default().push(reply);
    }

    /// The store did not take it now. It is tried again, but nobody is to wait for that.
    pub(in crate::keeper) fn dismiss_declared(&mut self, id: ProcessId, error: &SupervisorError) {
        for reply in self.declared.get_mut(&id).into_iter().flat_map(std::mem::take) {
            drop(reply.send(Err(error.clone())));
        }
    }

    /// Empty workers of a pool that goes are not needed any more.
    pub(in crate::keeper) fn retire_empty(&self, turn: &mut Turn) {
        for worker in self.values().filter(|worker| worker.held.is_empty() && worker.status.takes_agents()) {
            let reason = "its pool is being removed".to_owned();
            turn.transitions.push(Transition::Retire { worker: worker.process_id, reason });
        }
    }

    /// A worker and all that it owned is proven dead: it is listened to no more. None if it is not in the model, or if that was known:
    /// a second proof changes nothing.
    pub(in crate::keeper) fn dead(
        &mut self,
        id: ProcessId,
        how: &WorkerEnded,
        pool: &Pool,
        now: Instant,
    ) -> Option<Dead> {
        let is_refused = matches!(how, WorkerEnded::NotStarted(_));
        let is_declared = self.declared.contains_key(&id);
        if is_declared {
            // Whatever it was told, nobody has seen it follow.
            self.apply(id, WorkerEvent::EndOrdered(now, WorkerEnd::Lost));
        }
        let worker = self.get_mut(id)?;
        if std::mem::replace(&mut worker.is_over, true) {
            return None;
        }
        // That one ends whose capacity is taken away was said before.
        let is_expected = worker.is_taken_away(now) && !is_declared;
        let is_lost = worker.status.after(WorkerEvent::Died) == Some(WorkerStatus::Gone(WorkerEnd::Lost));
        let lost = is_lost && !is_expected;
        let loss = worker.loss().filter(|_| lost);
        let held = worker.held.iter().copied().collect();
        let cause = if worker.is_interrupted() { Cause::WorkerInterrupted } else { Cause::WorkerLost };
        self.deps.listener.unwatch(id);
        // One whose row was stored by a commit that seemed to fail was never asked for.
        let has_other = is_refused && loss.is_some() && self.pause_source(id, pool, now);
        if let Some(loss) = loss.filter(|_| !has_other) {
            self.starts.lost(loss, pool.spec.config.restart.window, now);
        }
        let outcome = if lost { WorkerOutcome::Lost } else { WorkerOutcome::Stopped };
        metrics::counter!(families::WORKER_ENDINGS.name, "pool" => pool.label(), "outcome" => outcome.as_str())
            .increment(1);
        Some(Dead { held, cause, lost, is_failed_start: loss.is_some_and(|loss| !loss.ready) })
    }

    /// Decides over a dead worker when it is known what follows for its agents. Returns how it ended if it came to nothing.
    pub(in crate::keeper) fn died(
        &mut self,
        id: ProcessId,
        (dead, how): (&Dead, WorkerEnded),
        follows: &AgentFollowUps,
        pool: &Pool,
        turn: &mut Turn,
    ) -> Option<WorkerEnding> {
        let ending = self.ending_of(id, how, dead.lost, follows, turn.now);
        self.tell_death(id, &ending, dead.lost, pool, turn.now);
        // At once, and not only when the store has taken it: nobody is to be placed on it in between.
        let end = if dead.lost { WorkerEnd::Lost } else { WorkerEnd::Stopped };
        self.apply(id, WorkerEvent::EndOrdered(turn.now, end));
        self.vacate_places();
        // Not one that ran for a while: its end says nothing about the next one's start.
        let failed = dead.is_failed_start.then(|| ending.clone());
        turn.transitions.push(Transition::EndWorker { worker: id, lost: dead.lost, ending });
        failed
    }

    /// Its end is stored: nothing is left of it here.
    pub(in crate::keeper) fn ended(&mut self, id: ProcessId, pool: &Pool) {
        self.apply(id, WorkerEvent::Died);
        self.forget_unreachable(id, pool);
        let way = self.get(&id).and_then(|worker| worker.process.way.to().cloned());
        self.take(id);
        self.terminated += 1;
        let name = pool.spec.pool_name.clone();
        let Some(replies) = self.declared.remove(&id) else { return self.deps.command_sender.forget(name, id) };
        // It may live. It is ended where there is a way to it by now, and told to end when it says so.
        self.deps.command_sender.give_up(name, id);
        if let Some(process) = way {
            drop(tokio::spawn(kill_declared(id, process)));
        }
        for reply in replies {
            drop(reply.send(Ok(())));
        }
    }

    fn ending_of(
        &self,
        id: ProcessId,
        how: WorkerEnded,
        lost: bool,
        follows: &AgentFollowUps,
        now: Instant,
    ) -> WorkerEnding {
        let hung = self.get(&id).is_some_and(|worker| matches!(worker.process.kill, Kill::Sent(_) | Kill::Failed(_)));
        let interrupted = self.get(&id).is_some_and(|worker| worker.is_taken_away(now));
        let (cause, last_words) = match how {
            WorkerEnded::NotStarted(error) => (WorkerCause::NotStarted { error }, String::new()),
            WorkerEnded::Dead(Death { proof: Proof::Person(by), last_words, .. }) => {
                (WorkerCause::DeclaredDead { by }, last_words)
            }
            WorkerEnded::Dead(Death { last_words, .. }) if interrupted && !lost => {
                (WorkerCause::Interrupted, last_words)
            }
            WorkerEnded::Dead(Death { last_words, .. }) if !lost => (WorkerCause::Stopped, last_words),
            WorkerEnded::Dead(Death { last_words, .. }) if hung => (WorkerCause::Hung, last_words),
            WorkerEnded::Dead(Death { exit, last_words, .. }) => {
                (exit.map_or(WorkerCause::Unknown, cause_of), last_words)
            }
        };
        WorkerEnding::new(cause, last_words, follows.to_string())
    }

    /// Says it in the log, and of one that was lost to the health board.
    fn tell_death(&self, id: ProcessId, ending: &WorkerEnding, lost: bool, pool: &Pool, now: Instant) {
        let pool = &pool.spec.pool_name;
        let Some(worker) = self.get(&id).filter(|_| lost) else {
            tracing::info!(process.id = %id, pool.name = %pool, "a worker ended");
            return;
        };
        let who = match &worker.process.identity {
            Some(WorkerIdentity::Local(local)) => format!("(pid {}) ", local.pid),
            Some(remote) => format!("({remote}) "),
            None => String::new(),
        };
        let words = format!("worker {id} of pool {pool} {who}{ending}");
        tracing::warn!(process.id = %id, pool.name = %pool, agents = worker.held.len(), "{words}; {}", ending.follows);
        // One that was dead when this supervisor came is no news.
        if worker.origin.begun.is_some() || worker.contact.pulse.is_some() {
            self.deps.health.worker_lost(&words, now);
        }
    }
}

/// A worker that was declared dead may live: its agents run elsewhere by now.
pub(super) async fn kill_declared(id: ProcessId, process: Arc<dyn RunningWorker>) {
    if let Sent::Unreachable(why) = send(process.as_ref(), Order::Kill).await {
        tracing::error!(process.id = %id, why, "a worker that was declared dead can't be killed; its agents may run twice");
    }
}

fn cause_of(exit: ProcessExit) -> WorkerCause {
    match exit {
        ProcessExit::Code(code) => WorkerCause::Exited { code },
        ProcessExit::Signal(signal) => {
            WorkerCause::Signaled { signal, name: exit.signal_name().unwrap_or_default().to_owned() }
        }
    }
}

impl fmt::Display for AgentFollowUps {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let agents = counted(self.agents as u64, "agent");
        match (self.agents, self.again) {
            (0, _) => f.write_str("it held no agents"),
            (_, _) if self.is_stopping => write!(f, "its {agents} will start with the next supervisor"),
            (1, 1) => f.write_str("its agent is started again"),
            (all, again) if all == again => write!(f, "its {agents} are started again"),
            (_, again) => write!(f, "of its {agents} {again} are started again"),
        }
    }
}
