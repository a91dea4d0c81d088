//! What comes is sorted: each request and each piece of news goes to the part that it is for.

use super::agents::agent::{Agent, Around, Awaited, Waiter};
use super::mailbox::{AgentAsk, Ask, Read, WorkerNews};
use super::moves::Move;
use super::workers::{DeclarationReply, Ended};
use super::{Keeper, Removal, RemovalReply, Round};
use crate::error::SupervisorError;
use crate::launch::{Death, Proof};
use crate::view::{AgentView, WorkerView};
use muster_domain::{AgentId, ProcessId};

impl Keeper {
    pub(super) fn take(&mut self, ask: Ask, round: &mut Round) {
        match ask {
            Ask::Spawn(spawn) => match self.refusal() {
                Some(error) => drop(spawn.reply.send(Err(error))),
                None => round.spawns.push(*spawn),
            },
            Ask::Agent(ask) => self.take_agent_ask(ask, round),
            Ask::Task(ask) => self.tasks.take(ask, self.model.now(round)),
            Ask::Worker(news) => self.take_worker_news(news, round),
            Ask::Reports(posts) => self.take_reports(posts, round),
            Ask::Heard(news) => self.hear(news, round),
            Ask::Read(Read::Now(look)) => look(self, round),
            Ask::Read(Read::AtTurnEnd(look)) => self.looks.push(look),
            Ask::Change { spec, reply } => round.moves.push(Move::Change { spec, reply }),
            Ask::SetGate { gate, hand_back, reply } => round.moves.push(Move::Gate { gate, hand_back, reply }),
            Ask::Remove { graceful, reply } => self.remove(graceful, reply, round),
            Ask::StopAll { reply } => {
                self.model.pool.is_stopping = true;
                self.life.stopping = Some(reply);
                self.model.workers.stop_all(round);
            }
            Ask::DeclareDead { worker, by, reply } => self.declare_dead(worker, by, reply, round),
            Ask::KillAll => self.model.workers.kill_all(),
        }
    }

    fn take_agent_ask(&mut self, ask: AgentAsk, round: &mut Round) {
        match ask {
            AgentAsk::Terminate { agent, graceful, deadline, reply } => {
                let waiter = Waiter { awaited: Awaited::Gone, deadline, reply };
                let refusal = || self.context.reporting.board.refusal();
                self.model.agents.terminate(agent, graceful, waiter, refusal, round);
            }
            AgentAsk::Restart { agent, deadline, reply } => {
                let (waiter, refusal) = (Waiter { awaited: Awaited::Running, deadline, reply }, self.refusal());
                self.model.agents.restart(agent, waiter, refusal, round);
            }
            AgentAsk::Revive { row, deadline, reply } => {
                let (waiter, refusal) = (Waiter { awaited: Awaited::Running, deadline, reply }, self.refusal());
                self.model.agents.revive(row, waiter, refusal, round);
            }
            AgentAsk::Await { agent, awaited, deadline, reply } => {
                self.model.agents.wait_for(agent, Waiter { awaited, deadline, reply }, round);
            }
            AgentAsk::Spent(agent) => self.model.agents.stop_spent(agent, &self.model.pool, round),
        }
    }

    fn take_worker_news(&mut self, news: WorkerNews, round: &mut Round) {
        match news {
            WorkerNews::Launched(worker, result) => self.launched(worker, result, round),
            WorkerNews::FoundDead(worker, process) => {
                self.model.workers.found_dead(worker, process, &self.model.pool, round);
            }
            WorkerNews::FoundElsewhere(worker) => self.model.workers.found_elsewhere(worker, round),
            WorkerNews::Told(worker, order, sent) => {
                self.model.workers.told(worker, order, sent, &self.model.pool, round);
            }
            WorkerNews::Probed(worker, said) => self.model.workers.probed(worker, said),
            WorkerNews::Died(worker, death) => self.worker_died(worker, Ended::Dead(death), round),
        }
    }

    /// A person says that a worker is dead which nobody can reach. Only the first one counts; all are answered when it is stored.
    fn declare_dead(&mut self, worker: ProcessId, by: String, reply: DeclarationReply, round: &mut Round) {
        let may_store = self.context.reporting.board.may_store();
        let may = || self.model.workers.may_be_declared_dead(worker, &self.model.pool, round.now);
        match may_store.and_then(|()| may()) {
            Err(error) => drop(reply.send(Err(error))),
            Ok(is_first) => {
                self.model.workers.await_declared(worker, reply);
                if is_first {
                    let death = Death::proven(Proof::Person(by));
                    self.worker_died(worker, Ended::Dead(death), round);
                }
            }
        }
    }

    /// Why no agent is begun now, if so.
    fn refusal(&self) -> Option<SupervisorError> {
        if self.model.pool.is_stopping {
            return Some(SupervisorError::Stopping);
        }
        if self.model.pool.draining {
            return Some(SupervisorError::PoolDraining(self.model.pool.spec.pool_name.clone()));
        }
        self.context.reporting.board.start_refusal()
    }

    fn remove(&mut self, graceful: bool, reply: RemovalReply, round: &mut Round) {
        if let Some(removal) = &mut self.life.removal {
            removal.graceful &= graceful;
            removal.replies.push(reply);
        } else {
            self.life.removal = Some(Removal { graceful, replies: vec![reply] });
        }
        round.moves.push(Move::DrainPool { graceful });
    }

    /// Views of these agents; those that the keeper does not hold are left out.
    pub(crate) fn view_agents(&self, ids: &[AgentId]) -> Vec<AgentView> {
        ids.iter().filter_map(|id| Some(self.view(self.model.agent(*id)?))).collect()
    }

    /// The pool's workers as they are shown.
    pub(crate) fn view_workers(&self, round: &Round) -> Vec<WorkerView> {
        let pool = &self.model.pool.spec.pool_name;
        self.model.workers.values().map(|worker| worker.view(pool, round.now, round.at)).collect()
    }

    /// An agent as it is shown.
    fn view(&self, agent: &Agent) -> AgentView {
        agent.view(Around { hindrance: self.context.reporting.board.hindrance(), trouble: self.troubles.of_starts() })
    }

    /// Answers everybody who waits with how far it has come.
    pub(super) fn dismiss_waiters(&mut self) {
        let awaited = self.model.agents.iter().filter(|agent| !agent.waiters.is_empty());
        let views: Vec<AgentView> = awaited.map(|agent| self.view(agent)).collect();
        for view in views {
            if let Some(agent) = self.model.agents.get_mut(view.agent_id) {
                agent.dismiss_waiters(&view);
            }
        }
    }
}
