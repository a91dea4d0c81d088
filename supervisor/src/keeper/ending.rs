//! Ends: of a worker, of all workers in a shutdown, of the pool.

use std::collections::HashSet;

use muster_domain::worker::{WorkerEnd, WorkerEvent};
use muster_domain::{AgentId, Cause, Command, Ending, Envelope, ProcessId, StopReason};
use muster_store::{Outcome, Write};
use tokio::sync::oneshot;

use super::moves::Move;
use super::{Keeper, Round};

impl Keeper {
    /// Tells a worker to stop its agents and end. Where the registry is away, a signal says the same.
    pub(super) fn end_worker(&mut self, id: ProcessId, how: WorkerEnd, round: &Round) {
        let starting = self.model.workers.get(&id).is_some_and(|w| w.status.is_starting());
        if !self.model.move_worker(id, WorkerEvent::EndOrdered(round.now, how)) {
            return;
        }
        let Some(process) = self.model.workers.get(&id).and_then(|worker| worker.process.clone()) else { return };
        // A worker that does not listen yet, or can't, is told by a signal.
        if starting || self.context.board.refusal().is_some() {
            process.ask();
        } else {
            let envelope = Envelope::new(self.context.fence, Command::Shutdown { graceful: true });
            self.context.postman.send(vec![(id, envelope)]);
        }
    }

    /// Stops every worker, by signal: that works with and without the registry, and says the same as a command.
    pub(super) fn stop_all(&mut self, reply: oneshot::Sender<()>, round: &mut Round) {
        self.is_stopping = true;
        self.stopping = Some(reply);
        for id in self.worker_ids() {
            self.model.move_worker(id, WorkerEvent::EndOrdered(round.now, WorkerEnd::Stopped));
            if let Some(process) = self.model.workers.get(&id).and_then(|worker| worker.process.clone()) {
                process.ask();
            }
        }
    }

    pub(super) fn kill_all(&mut self) {
        for id in self.worker_ids() {
            self.kill(id, "the supervisor was told to hurry");
        }
    }

    /// Workers that were started while the lead was lost: whoever leads now may not have seen them.
    pub(super) fn kill_unvouched(&mut self) {
        for worker in self.model.workers.values().filter(|worker| !worker.vouched) {
            if let Some(process) = &worker.process {
                process.kill();
            }
        }
    }

    fn worker_ids(&self) -> Vec<ProcessId> {
        self.model.workers.keys().copied().collect()
    }

    /// Every agent of a pool that goes is to stop; empty workers then retire at once.
    pub(super) fn pool_drains(&mut self, graceful: bool, round: &mut Round) {
        self.model.draining = true;
        for id in self.model.agent_ids() {
            let Some(agent) = self.model.agent_mut(id) else { continue };
            let told = agent.status.is_to_end();
            if told && agent.graceful && !graceful {
                agent.graceful = false;
                agent.command = None;
                round.touched.push(id);
            }
            if !told && !agent.leaving {
                round.moves.push(Move::Stop { agent: id, reason: StopReason::PoolRemoved, graceful, waiter: None });
            }
        }
        let empty = |worker: &&super::worker::Worker| worker.held.is_empty() && worker.status.takes_agents();
        let idle: Vec<ProcessId> = self.model.workers.values().filter(empty).map(|worker| worker.process_id).collect();
        for worker in idle {
            round.moves.push(Move::Retire { worker, reason: "its pool is being removed".to_owned() });
        }
    }

    /// Answers those who wait for the end of the supervisor or of the pool.
    pub(super) async fn conclude(&mut self) {
        let workers_left = !self.model.workers.is_empty() || !self.unsaved.is_empty() || !self.desk.is_settled();
        if workers_left && !self.lacks_only_the_store() {
            return;
        }
        if let Some(reply) = self.stopping.take() {
            self.finished = true;
            let _ = reply.send(());
        }
        let is_empty = self.model.agents().next().is_none() && self.desk.is_empty();
        if self.removal.is_some() && self.model.draining && is_empty {
            self.remove_pool().await;
        }
    }

    /// In a shutdown: every worker is proven dead, and that can't be stored now, or not at all. The next supervisor sees it again.
    fn lacks_only_the_store(&self) -> bool {
        let dead = |step: &Move| match step {
            Move::EndWorker { worker, .. } => Some(*worker),
            _ => None,
        };
        let refused: HashSet<ProcessId> = self.aside.iter().filter_map(dead).collect();
        let dead: HashSet<ProcessId> = self.unsaved.iter().filter_map(dead).chain(refused.iter().copied()).collect();
        self.is_stopping
            && (self.context.board.is_degraded("store") || !refused.is_empty())
            && self.model.workers.keys().all(|worker| dead.contains(worker))
    }

    async fn remove_pool(&mut self) {
        let pool = self.model.spec.pool_name.clone();
        let event = self.pool_event(muster_domain::EventKind::PoolRemoved, self.context.wall.now());
        let outcome = self.commit(vec![Write::RemovePool { pool: pool.clone() }, Write::Event(event)]).await;
        match outcome.as_deref() {
            Ok([Outcome::Applied, ..]) => self.pool_gone(),
            // Something of it is left that the model does not know, or it is gone already.
            Ok(_) => self.doubt = true,
            // The next pass tries again.
            Err(_) => {}
        }
    }

    /// The store has no such pool any more.
    pub(super) fn pool_gone(&mut self) {
        let pool = self.model.spec.pool_name.clone();
        tracing::info!(pool.name = %pool, "a pool is gone");
        self.finished = true;
        self.context.postman.forget_pool(pool.clone());
        self.context.quotas.forget(&pool);
        self.context.alerts.clear_pool(&pool);
        self.context.directory.remove(&pool);
        for reply in self.removal.take().into_iter().flat_map(|removal| removal.replies) {
            drop(reply.send(Ok(())));
        }
    }

    /// An agent that the store holds though its caller was refused: the commit went through after all.
    pub(super) fn end_refused(&mut self, id: AgentId, round: &mut Round) {
        round.moves.push(Move::Stop { agent: id, reason: StopReason::StartFailed, graceful: true, waiter: None });
    }

    /// Frees a slot in the model only: the store says that the assignment is over.
    pub(super) fn follow_store(&mut self, agent: super::Agent, round: &mut Round) {
        let id = agent.spec.agent_id;
        let before = self.model.agent(id).and_then(|known| known.status.assignment());
        if let Some(at) = before.filter(|at| agent.status.assignment() != Some(*at)) {
            // That run is over, and with it what it had to do.
            let lost = || Ending::new(Cause::WorkerLost, round.at);
            let ending = agent.last_ending.clone().unwrap_or_else(lost);
            self.agent_left(id, at.epoch, &ending);
        }
        self.model.put_agent(agent, round.now);
        round.touched.push(id);
    }
}
