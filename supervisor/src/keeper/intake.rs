//! What comes is sorted: each request and each piece of news goes to the part that it is for.

use std::sync::Arc;
use std::time::Duration;

use muster_domain::scaling::ScalingActor;
use muster_domain::{AgentId, ProcessId};

use super::agents::agent::{AgentSurroundings, Awaited, PoolAgent, Waiter};
use super::mailbox::{AgentAsk, KeeperMessage, PoolRead, WorkerNews};
use super::tasks::PoolNow;
use super::transitions::Transition;
use super::workers::{DeclarationReply, WorkerEnded};
use super::{Keeper, Removal, RemovalReply, Turn};
use crate::context::Context;
use crate::directory::Mailbox;
use crate::error::SupervisorError;
use crate::launch::{Death, Proof};
use crate::view::{AgentHealthView, AgentView, WorkerView};

/// How long the processes of a worker that was declared dead may take to end before its agents run elsewhere.
const END_WITHIN: Duration = Duration::from_secs(5);

impl Keeper {
    pub(super) fn take(&mut self, ask: KeeperMessage, turn: &mut Turn) {
        match ask {
            KeeperMessage::Spawn(spawn) => match self.refusal() {
                Some(error) => drop(spawn.reply.send(Err(error))),
                None => turn.spawns.push(*spawn),
            },
            KeeperMessage::Agent(ask) => self.take_agent_ask(ask, turn),
            KeeperMessage::Task(ask) => self.tasks.take(ask, PoolNow::of(&self.model, turn)),
            KeeperMessage::Worker(news) => self.take_worker_news(news, turn),
            KeeperMessage::Reports(deliveries) => self.take_reports(deliveries, turn),
            KeeperMessage::Heartbeats(news) => self.hear(news, turn),
            KeeperMessage::Read(PoolRead::Now(look)) => look(self, turn),
            KeeperMessage::Read(PoolRead::AtTurnEnd(look)) => self.looks.push(look),
            KeeperMessage::Change { spec, reply } => turn.transitions.push(Transition::Change { spec, reply }),
            KeeperMessage::Scale { reply, .. } if self.model.pool.draining || self.life.removal.is_some() => {
                let pool = self.model.pool.spec.pool_name.clone();
                drop(reply.send(Err(SupervisorError::PoolDraining(pool))));
            }
            KeeperMessage::Scale { target, words, reply } => {
                let decided = Box::new(self.decide_for(ScalingActor::Person, target, words, turn));
                turn.transitions.push(Transition::Scale { decided, reply: Some(reply) });
            }
            KeeperMessage::Judged { judgement, seen } => self.take_judgement(&judgement, seen, turn),
            KeeperMessage::SetGate { gate, hand_back, reply } => {
                turn.transitions.push(Transition::Gate { gate, hand_back, reply })
            }
            KeeperMessage::Remove { graceful, reply } => self.remove(graceful, reply, turn),
            KeeperMessage::StopAll { reply } => {
                self.model.pool.is_stopping = true;
                self.life.stopping = Some(reply);
                self.model.workers.stop_all(turn);
            }
            KeeperMessage::Interrupt(notice) => self.take_notice(notice, turn),
            KeeperMessage::DeclareDead { worker, by, reply } => self.declare_dead(worker, by, reply, turn),
            KeeperMessage::KillAll => self.model.workers.kill_all(&self.model.pool, turn),
        }
    }

    fn take_agent_ask(&mut self, ask: AgentAsk, turn: &mut Turn) {
        match ask {
            AgentAsk::Terminate { agent, graceful, deadline, reply } => {
                let waiter = Waiter { awaited: Awaited::Gone, deadline, reply };
                let refusal = || self.context.reporting.health.refusal();
                self.model.agents.terminate(agent, graceful, waiter, refusal, turn);
            }
            AgentAsk::Restart { agent, deadline, reply } => {
                let (waiter, refusal) = (Waiter { awaited: Awaited::Running, deadline, reply }, self.refusal());
                self.model.agents.restart(agent, waiter, refusal, turn);
            }
            AgentAsk::Revive { row, deadline, reply } => {
                let (waiter, refusal) = (Waiter { awaited: Awaited::Running, deadline, reply }, self.refusal());
                self.model.agents.revive(row, waiter, refusal, turn);
            }
            AgentAsk::Await { agent, awaited, deadline, reply } => {
                self.model.agents.wait_for(agent, Waiter { awaited, deadline, reply }, turn);
            }
            AgentAsk::Spent(agent) => self.model.agents.stop_spent(agent, &self.model.pool, turn),
        }
    }

    fn take_worker_news(&mut self, news: WorkerNews, turn: &mut Turn) {
        match news {
            WorkerNews::Launched(worker, result) => self.launched(worker, result, turn),
            WorkerNews::FoundDead(worker, process) => {
                self.model.workers.found_dead(worker, process, &self.model.pool, turn);
            }
            WorkerNews::FoundElsewhere(worker) => self.model.workers.found_elsewhere(worker, turn),
            WorkerNews::Told(worker, order, sent) => {
                self.model.workers.told(worker, order, sent, &self.model.pool, turn);
            }
            WorkerNews::Probed(worker, said) => self.model.workers.probed(worker, said),
            WorkerNews::Died(worker, death) => self.worker_died(worker, WorkerEnded::Dead(death), turn),
        }
    }

    /// A person says that a worker is dead which nobody can reach. Only the first one counts; all are answered when it is stored.
    fn declare_dead(&mut self, worker: ProcessId, by: String, reply: DeclarationReply, turn: &mut Turn) {
        let may_store = self.context.reporting.health.may_store();
        let may = || self.model.workers.may_be_declared_dead(worker, &self.model.pool, turn.now);
        match may_store.and_then(|()| may()) {
            Err(error) => drop(reply.send(Err(error))),
            Ok(is_first) => {
                self.model.workers.await_declared(worker, reply);
                let death = Death::proven(Proof::Person(by));
                match is_first {
                    true if self.model.workers.is_within_sight(worker) => {
                        drop(tokio::spawn(end_owned(self.context.clone(), self.mailbox.clone(), worker, death)));
                    }
                    true => self.worker_died(worker, WorkerEnded::Dead(death), turn),
                    false => {}
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
        self.context.reporting.health.start_refusal()
    }

    fn remove(&mut self, graceful: bool, reply: RemovalReply, turn: &mut Turn) {
        if let Some(removal) = &mut self.life.removal {
            removal.graceful &= graceful;
            removal.replies.push(reply);
        } else {
            self.life.removal = Some(Removal { graceful, replies: vec![reply] });
        }
        turn.transitions.push(Transition::DrainPool { graceful });
    }

    /// Views of these agents; those that the keeper does not hold are left out.
    pub(crate) fn view_agents(&self, ids: &[AgentId]) -> Vec<AgentView> {
        ids.iter().filter_map(|id| Some(self.view(self.model.agent(*id)?))).collect()
    }

    /// The pool's agents that have not ended, after this one and at most so many, in the order of their making.
    pub(crate) fn health_of_agents(&self, after: Option<AgentId>, limit: usize) -> Vec<AgentHealthView> {
        let agents = self.model.agents.after(after).filter(|agent| !agent.status.is_gone());
        agents.take(limit).map(PoolAgent::health).collect()
    }

    /// The pool's workers as they are shown.
    pub(crate) fn view_workers(&self, turn: &Turn) -> Vec<WorkerView> {
        let pool = &self.model.pool.spec.pool_name;
        self.model.workers.values().map(|worker| worker.view(pool, turn.now, turn.at)).collect()
    }

    /// An agent as it is shown.
    fn view(&self, agent: &PoolAgent) -> AgentView {
        agent.view(AgentSurroundings {
            hindrance: self.context.reporting.health.hindrance(),
            trouble: self.troubles.of_starts(),
        })
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

/// Before the agents of a worker that was declared dead run elsewhere, what it owns where a launcher can see it is ended, as far as that
/// goes: its own process may wait for a disk, and theirs need not.
async fn end_owned(context: Arc<Context>, keeper: Mailbox, worker: ProcessId, death: Death) {
    if let Ok(Some(row)) = context.store.worker(worker).await {
        let _ = tokio::time::timeout(END_WITHIN, context.launchers.sweep(&row)).await;
    }
    // A keeper that has ended declares nobody dead.
    drop(keeper.send(WorkerNews::Died(worker, death).into()));
}
