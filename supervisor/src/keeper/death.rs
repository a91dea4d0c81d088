//! The death of a worker: what follows for its agents, and what is said of it.

use std::fmt;

use muster_domain::worker::{WorkerEnd, WorkerEvent};
use muster_domain::{AgentId, ProcessId, WorkerCause, WorkerEnding, WorkerStatus, counted};
use muster_process::Exit;

use super::moves::{Leaving, Move};
use super::troubles::Trouble;
use super::{Keeper, Round};
use crate::launch::Death;

/// How a worker came to its end.
pub(super) enum Ended {
    /// It never began.
    NotStarted(String),
    /// Its process is dead.
    Dead(Death),
}

/// What follows for the agents of a dead worker.
struct Follows {
    agents: usize,
    /// Of these, those that run again.
    again: usize,
    is_stopping: bool,
}

impl Keeper {
    /// A worker and all that it owned is proven dead: its agents leave their slots, and are placed anew by the same
    /// turn.
    pub(super) fn died(&mut self, id: ProcessId, how: Ended, round: &mut Round) {
        let Some(worker) = self.model.workers.get(&id) else { return };
        let ended = worker.status.after(WorkerEvent::Died);
        let lost = ended == Some(WorkerStatus::Gone(WorkerEnd::Lost));
        let loss = worker.loss().filter(|_| lost);
        let held: Vec<AgentId> = worker.held.iter().copied().collect();
        self.context.listener.unwatch(id);
        if let Some(loss) = loss {
            self.starts.lost(loss, self.model.spec.config.restart.window, round.now);
        }
        let outcome = if lost { "lost" } else { "stopped" };
        metrics::counter!("muster_worker_endings_total", "pool" => self.pool_label(), "how" => outcome).increment(1);
        let decided = round.moves.len();
        for agent in &held {
            if let Some(place) = self.model.agent(*agent).and_then(|agent| agent.status.assignment()) {
                self.lost(*agent, place.epoch, round);
            }
        }
        let runs_again = |step: &&Move| matches!(step, Move::Leave { then: Leaving::RunAgain { .. }, .. });
        let again = round.moves.iter().skip(decided).filter(runs_again).count();
        let follows = Follows { agents: held.len(), again, is_stopping: self.is_stopping };
        let ending = self.ending_of(id, how, lost, &follows);
        self.tell_death(id, &ending, lost, round);
        // Not one that ran for a while: its end says nothing about the next one's start.
        if loss.is_some_and(|loss| !loss.ready) {
            self.trouble(Trouble::Worker, format!("a worker came to nothing, and another one is tried: {ending}"));
        }
        // At once, and not only when the store has taken it: nobody is to be placed on it in between.
        let end = if lost { WorkerEnd::Lost } else { WorkerEnd::Stopped };
        self.model.move_worker(id, WorkerEvent::EndOrdered(round.now, end));
        round.moves.push(Move::EndWorker { worker: id, lost, ending });
    }

    fn ending_of(&self, id: ProcessId, how: Ended, lost: bool, follows: &Follows) -> WorkerEnding {
        let hung = self.model.workers.get(&id).is_some_and(|worker| worker.kill_sent);
        let (cause, last_words) = match how {
            Ended::NotStarted(error) => (WorkerCause::NotStarted { error }, String::new()),
            Ended::Dead(Death { last_words, .. }) if !lost => (WorkerCause::Stopped, last_words),
            Ended::Dead(Death { last_words, .. }) if hung => (WorkerCause::Hung, last_words),
            Ended::Dead(Death { exit, last_words }) => (exit.map_or(WorkerCause::Unknown, cause_of), last_words),
        };
        WorkerEnding::new(cause, last_words, follows.to_string())
    }

    /// Says it in the log, and of one that was lost to the health board.
    fn tell_death(&self, id: ProcessId, ending: &WorkerEnding, lost: bool, round: &Round) {
        let pool = &self.model.spec.pool_name;
        let Some(worker) = self.model.workers.get(&id).filter(|_| lost) else {
            tracing::info!(process.id = %id, pool.name = %pool, "a worker ended");
            return;
        };
        let pid = worker.identity.as_ref().map(|identity| format!("(pid {}) ", identity.pid)).unwrap_or_default();
        let words = format!("worker {id} of pool {pool} {pid}{ending}");
        tracing::warn!(process.id = %id, pool.name = %pool, agents = worker.held.len(), "{words}; {}", ending.follows);
        // One that was dead when this supervisor came is no news.
        if worker.begun.is_some() || worker.pulse.is_some() {
            self.context.board.worker_lost(&words, round.now);
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
