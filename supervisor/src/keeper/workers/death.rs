//! A worker ends, or has ended: what is told to it, what follows from its death, and what is said of that.

use std::fmt;
use std::time::Instant;

use muster_domain::worker::{WorkerEnd, WorkerEvent};
use muster_domain::{AgentId, Command, Envelope, ProcessId, WorkerCause, WorkerEnding, WorkerStatus, counted};
use muster_process::Exit;

use super::super::moves::Move;
use super::{Pool, Round, Workers};
use crate::launch::Death;

/// How a worker came to its end.
pub(in crate::keeper) enum Ended {
    /// It never began.
    NotStarted(String),
    /// Its process is dead.
    Dead(Death),
}

/// What follows for the agents of a dead worker.
pub(in crate::keeper) struct Follows {
    pub(in crate::keeper) agents: usize,
    /// Of these, those that run again.
    pub(in crate::keeper) again: usize,
    pub(in crate::keeper) is_stopping: bool,
}

/// A worker that is proven dead.
pub(in crate::keeper) struct Dead {
    /// Its agents.
    pub(in crate::keeper) held: Vec<AgentId>,
    /// Whether nobody had told it to end.
    lost: bool,
    /// Whether it came to nothing: it was lost before it was ready.
    is_failed_start: bool,
}

impl Workers {
    /// Tells a worker to stop its agents and end. Where the registry is away, a signal says the same.
    pub(in crate::keeper) fn end(&mut self, id: ProcessId, how: WorkerEnd, round: &mut Round) {
        let starting = self.get(&id).is_some_and(|worker| worker.status.is_starting());
        if !self.apply(id, WorkerEvent::EndOrdered(round.now, how)) {
            return;
        }
        let Some(process) = self.get(&id).and_then(|worker| worker.process.handle.as_ref()) else { return };
        // A worker that does not listen yet, or can't, is told by a signal.
        if starting || self.deps.board.refusal().is_some() {
            process.ask();
        } else {
            round.commands.push((id, Envelope::new(self.deps.fence, Command::Shutdown { graceful: true })));
        }
    }

    /// Stops every worker, by signal: that works with and without the registry, and says the same as a command.
    pub(in crate::keeper) fn stop_all(&mut self, now: Instant) {
        for id in self.ids() {
            self.apply(id, WorkerEvent::EndOrdered(now, WorkerEnd::Stopped));
            if let Some(process) = self.get(&id).and_then(|worker| worker.process.handle.as_ref()) {
                process.ask();
            }
        }
    }

    /// Nothing is concluded from a kill: the worker is dead when its process is proven so.
    pub(super) fn kill(&mut self, id: ProcessId, reason: &str) {
        let Some(worker) = self.get_mut(id) else { return };
        worker.process.kill_sent = true;
        match &worker.process.handle {
            Some(process) => process.kill(),
            None => tracing::warn!(process.id = %id, reason, "a worker of another host can't be killed from here"),
        }
    }

    pub(in crate::keeper) fn kill_all(&mut self) {
        for id in self.ids() {
            self.kill(id, "the supervisor was told to hurry");
        }
    }

    /// Workers that were started while the lead was lost: whoever leads now may not have seen them.
    pub(in crate::keeper) fn kill_unvouched(&self) {
        for worker in self.values().filter(|worker| !worker.process.vouched) {
            if let Some(process) = &worker.process.handle {
                process.kill();
            }
        }
    }

    /// Empty workers of a pool that goes are not needed any more.
    pub(in crate::keeper) fn retire_empty(&self, round: &mut Round) {
        for worker in self.values().filter(|worker| worker.held.is_empty() && worker.status.takes_agents()) {
            let reason = "its pool is being removed".to_owned();
            round.moves.push(Move::Retire { worker: worker.process_id, reason });
        }
    }

    /// A worker and all that it owned is proven dead: it is listened to no more. None if it is not in the model.
    pub(in crate::keeper) fn dead(&mut self, id: ProcessId, pool: &Pool, now: Instant) -> Option<Dead> {
        let worker = self.get(&id)?;
        let lost = worker.status.after(WorkerEvent::Died) == Some(WorkerStatus::Gone(WorkerEnd::Lost));
        let loss = worker.loss().filter(|_| lost);
        let held = worker.held.iter().copied().collect();
        self.deps.listener.unwatch(id);
        if let Some(loss) = loss {
            self.starts.lost(loss, pool.spec.config.restart.window, now);
        }
        let outcome = if lost { "lost" } else { "stopped" };
        metrics::counter!("muster_worker_endings_total", "pool" => pool.label(), "how" => outcome).increment(1);
        Some(Dead { held, lost, is_failed_start: loss.is_some_and(|loss| !loss.ready) })
    }

    /// Decides over a dead worker when it is known what follows for its agents. Returns how it ended if it came to nothing.
    pub(in crate::keeper) fn died(
        &mut self,
        id: ProcessId,
        (dead, how): (&Dead, Ended),
        follows: &Follows,
        pool: &Pool,
        round: &mut Round,
    ) -> Option<WorkerEnding> {
        let ending = self.ending_of(id, how, dead.lost, follows);
        self.tell_death(id, &ending, dead.lost, pool, round.now);
        // At once, and not only when the store has taken it: nobody is to be placed on it in between.
        let end = if dead.lost { WorkerEnd::Lost } else { WorkerEnd::Stopped };
        self.apply(id, WorkerEvent::EndOrdered(round.now, end));
        // Not one that ran for a while: its end says nothing about the next one's start.
        let failed = dead.is_failed_start.then(|| ending.clone());
        round.moves.push(Move::EndWorker { worker: id, lost: dead.lost, ending });
        failed
    }

    /// Its end is stored: nothing is left of it here.
    pub(in crate::keeper) fn ended(&mut self, id: ProcessId, pool: &Pool) {
        self.apply(id, WorkerEvent::Died);
        self.take(id);
        self.terminated += 1;
        self.deps.postman.forget(pool.spec.pool_name.clone(), id);
    }

    fn ending_of(&self, id: ProcessId, how: Ended, lost: bool, follows: &Follows) -> WorkerEnding {
        let hung = self.get(&id).is_some_and(|worker| worker.process.kill_sent);
        let (cause, last_words) = match how {
            Ended::NotStarted(error) => (WorkerCause::NotStarted { error }, String::new()),
            Ended::Dead(Death { last_words, .. }) if !lost => (WorkerCause::Stopped, last_words),
            Ended::Dead(Death { last_words, .. }) if hung => (WorkerCause::Hung, last_words),
            Ended::Dead(Death { exit, last_words }) => (exit.map_or(WorkerCause::Unknown, cause_of), last_words),
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
        let who = worker.process.identity.as_ref().map(|identity| format!("({identity}) ")).unwrap_or_default();
        let words = format!("worker {id} of pool {pool} {who}{ending}");
        tracing::warn!(process.id = %id, pool.name = %pool, agents = worker.held.len(), "{words}; {}", ending.follows);
        // One that was dead when this supervisor came is no news.
        if worker.origin.begun.is_some() || worker.contact.pulse.is_some() {
            self.deps.board.worker_lost(&words, now);
        }
    }
}

fn cause_of(exit: Exit) -> WorkerCause {
    match exit {
        Exit::Code(code) => WorkerCause::Exited { code },
        Exit::Signal(signal) => {
            WorkerCause::Signaled { signal, name: exit.signal_name().unwrap_or_default().to_owned() }
        }
    }
}

impl fmt::Display for Follows {
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
