//! The death of a worker: what follows for its agents, and what is said of it.

use std::fmt;

use muster_domain::worker::{WorkerEnd, WorkerEvent};
use muster_domain::{AgentId, PoolName, ProcessId, WorkerStatus, counted};

use super::moves::{Leaving, Move};
use super::troubles::Trouble;
use super::worker::Worker;
use super::{Keeper, Round};
use crate::launch::Death;

/// How a worker came to its end.
pub(super) enum Ended {
    /// It never began.
    NotStarted(String),
    /// Its process is dead.
    Dead(Death),
}

/// A worker that nobody told to end, in words.
struct Lost<'a> {
    worker: &'a Worker,
    pool: &'a PoolName,
    how: &'a Ended,
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
    pub(super) fn died(&mut self, id: ProcessId, how: &Ended, round: &mut Round) {
        let Some(worker) = self.model.workers.get(&id) else { return };
        let ended = worker.status.after(WorkerEvent::Died);
        let lost = matches!(ended, Some(WorkerStatus::Gone(WorkerEnd::Lost)));
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
        let reason = self.tell_death(id, how, lost, &follows, round);
        // Not one that ran for a while: its end says nothing about the next one's start.
        if loss.is_some_and(|loss| !loss.ready) {
            self.trouble(Trouble::Worker, format!("a worker came to nothing, and another one is tried: {reason}"));
        }
        // At once, and not only when the store has taken it: nobody is to be placed on it in between.
        let end = if lost { WorkerEnd::Lost } else { WorkerEnd::Stopped };
        self.model.move_worker(id, WorkerEvent::EndOrdered(round.now, end));
        round.moves.push(Move::EndWorker { worker: id, lost, reason });
    }

    /// Says it in the log, and of one that was lost to the health board. Returns the reason for the event.
    fn tell_death(&self, id: ProcessId, how: &Ended, lost: bool, follows: &Follows, round: &Round) -> String {
        let pool = &self.model.spec.pool_name;
        let Some(worker) = self.model.workers.get(&id).filter(|_| lost) else {
            tracing::info!(process.id = %id, pool.name = %pool, "a worker ended");
            return "it was told to end".to_owned();
        };
        let words = Lost { worker, pool, how };
        tracing::warn!(process.id = %id, pool.name = %pool, agents = follows.agents, "{words}; {follows}");
        // One that was dead when this supervisor came is no news.
        if worker.begun.is_some() || worker.pulse.is_some() {
            self.context.board.worker_lost(&words.to_string(), round.now);
        }
        format!("it {how}", how = words.end())
    }
}

impl Lost<'_> {
    /// What goes behind "it".
    fn end(&self) -> String {
        let Death { exit, last_words } = match self.how {
            Ended::NotStarted(error) => return format!("did not start: {error}"),
            Ended::Dead(death) => death,
        };
        let end = match exit {
            _ if self.worker.kill_sent => "was killed by Muster, since it hung".to_owned(),
            Some(exit @ muster_process::Exit::Code(_)) => format!("ended by itself with {exit}"),
            Some(exit) => format!("was ended by {exit}"),
            None => "died, and how is not known: this process did not start its process".to_owned(),
        };
        match last_words.as_str() {
            "" => format!("{end}; it said nothing"),
            words => format!("{end}; its last words: {words}"),
        }
    }
}

impl fmt::Display for Lost<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker {} of pool {} ", self.worker.process_id, self.pool)?;
        if let Some(identity) = &self.worker.identity {
            write!(f, "(pid {}) ", identity.pid)?;
        }
        f.write_str(&self.end())
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
