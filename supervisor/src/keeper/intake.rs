//! Requests: each is sorted into the round, or refused at once.

use std::time::Instant;

use muster_domain::{AgentEvent, AgentId, AgentStatus, StopReason};
use muster_store::AgentRow;

use super::agent::{Agent, Around, Awaited, Reply, Waiter};
use super::death::Ended;
use super::mailbox::{Ask, Read};
use super::moves::Move;
use super::tasks::PoolNow;
use super::{Keeper, Removal, Round};
use crate::error::SupervisorError;
use crate::view::{AgentView, WorkerView};

impl Keeper {
    pub(super) fn take(&mut self, ask: Ask, round: &mut Round) {
        match ask {
            Ask::Spawn(spawn) => match self.refusal() {
                Some(error) => drop(spawn.reply.send(Err(error))),
                None => round.spawns.push(*spawn),
            },
            Ask::Terminate { agent, graceful, deadline, reply } => {
                self.terminate(agent, graceful, deadline, reply, round);
            }
            Ask::Restart { agent, deadline, reply } => self.restart(agent, deadline, reply, round),
            Ask::Revive { row, deadline, reply } => self.revive(row, deadline, reply, round),
            Ask::Await { agent, awaited, deadline, reply } => {
                self.wait_for(agent, Waiter { awaited, deadline, reply }, round);
            }
            Ask::Read(Read::Now(look)) => look(self, round),
            Ask::Read(Read::AtTurnEnd(look)) => self.looks.push(look),
            Ask::Change { spec, reply } => round.moves.push(Move::Change { spec, reply }),
            Ask::Remove { graceful, reply } => self.remove(graceful, reply, round),
            Ask::Reports(posts) => self.take_reports(posts, round),
            Ask::Heard(news) => self.hear(news, round),
            Ask::Launched(worker, result) => self.launched(worker, result, round),
            Ask::FoundDead(worker, process) => self.found_dead(worker, process, round),
            Ask::Probed(worker, said) => self.probed(worker, said),
            Ask::Died(worker, death) => self.died(worker, Ended::Dead(death), round),
            Ask::Submit(submit) => self.tasks.take_submit(submit),
            Ask::Cancel(cancel) => self.tasks.take_cancel(cancel),
            Ask::Redrive(redrive) => self.tasks.take_redrive(redrive),
            Ask::Follow(task, reply) => drop(reply.send(self.tasks.follow(task))),
            Ask::SetGate { gate, hand_back, reply } => round.moves.push(Move::Gate { gate, hand_back, reply }),
            Ask::AllGated { hand_back } => self.tasks.hand_back(hand_back),
            Ask::Spent(agent) => self.stop_spent(agent, round),
            Ask::CountDead(dead) => {
                let pool = PoolNow::of(&self.model, round, self.life.is_stopping);
                self.tasks.count_dead(dead, pool);
            }
            Ask::StopAll { reply } => self.stop_all(reply, round),
            Ask::KillAll => self.kill_all(),
        }
    }

    /// Stops an agent that has done its one task, when it is done with all that it was given.
    fn stop_spent(&self, agent: AgentId, round: &mut Round) {
        let idles = self.model.agent(agent).is_some_and(|agent| agent.status.idles_at().is_some());
        if idles && !self.life.is_stopping {
            round.moves.push(Move::Stop { agent, reason: StopReason::TaskDone, graceful: true, waiter: None });
        }
    }

    /// Views of these agents; those that the keeper does not hold are left out.
    pub(crate) fn view_agents(&self, ids: &[AgentId]) -> Vec<AgentView> {
        ids.iter().filter_map(|id| Some(self.view(self.model.agent(*id)?))).collect()
    }

    /// The pool's workers as they are shown.
    pub(crate) fn view_workers(&self, round: &Round) -> Vec<WorkerView> {
        let pool = &self.model.spec.pool_name;
        self.model.workers.values().map(|worker| worker.view(pool, round.now)).collect()
    }

    /// An agent as it is shown.
    pub(super) fn view(&self, agent: &Agent) -> AgentView {
        agent.view(Around { hindrance: self.context.board.hindrance(), trouble: self.troubles.of_starts() })
    }

    /// Answers everybody who waits with how far it has come.
    pub(super) fn dismiss_waiters(&mut self) {
        let awaited = self.model.agents().filter(|agent| !agent.waiters.is_empty());
        let views: Vec<AgentView> = awaited.map(|agent| self.view(agent)).collect();
        for view in views {
            if let Some(agent) = self.model.agent_mut(view.agent_id) {
                agent.dismiss_waiters(&view);
            }
        }
    }

    /// Why no agent is begun now, if so.
    fn refusal(&self) -> Option<SupervisorError> {
        if self.life.is_stopping {
            return Some(SupervisorError::Stopping);
        }
        if self.model.draining {
            return Some(SupervisorError::PoolDraining(self.model.spec.pool_name.clone()));
        }
        self.context.board.start_refusal()
    }

    fn terminate(&mut self, id: AgentId, graceful: bool, deadline: Instant, reply: Reply, round: &mut Round) {
        let waiter = Waiter { awaited: Awaited::Gone, deadline, reply };
        let Some(agent) = self.model.agent_mut(id) else {
            return drop(waiter.reply.send(Err(SupervisorError::UnknownAgent(id.to_string()))));
        };
        if agent.status.is_to_end() {
            // Told so already. Whoever is not content with asking has it killed.
            if agent.run.graceful && !graceful {
                agent.run.graceful = false;
                agent.run.command = None;
            }
            return self.wait_for(id, waiter, round);
        }
        if let Some(error) = self.context.board.refusal() {
            return drop(waiter.reply.send(Err(error)));
        }
        round.moves.push(Move::Stop { agent: id, reason: StopReason::Requested, graceful, waiter: Some(waiter) });
    }

    fn restart(&mut self, id: AgentId, deadline: Instant, reply: Reply, round: &mut Round) {
        let waiter = Waiter { awaited: Awaited::Running, deadline, reply };
        let known = self.model.agent(id).map(|agent| agent.status.clone());
        let refusal = self.refusal();
        let answer = match (known, refusal) {
            (None, _) => Err(SupervisorError::UnknownAgent(id.to_string())),
            (_, Some(error)) => Err(error),
            (Some(status), _) if status.is_to_end() => Err(SupervisorError::WrongState {
                agent_id: id,
                state: "stopping",
                why: "it was told to end; spawn another".to_owned(),
            }),
            (Some(status), None) => Ok(status),
        };
        match answer {
            Err(error) => drop(waiter.reply.send(Err(error))),
            Ok(AgentStatus::Final(state)) if state.may_run_again() => {
                round.moves.push(Move::Revive { agent: id, row: None, waiter });
            }
            Ok(AgentStatus::Pending { .. }) => {
                // Nothing to stop: the backoff ends here. Intent does not change, so nothing is written.
                self.model.move_agent(id, &AgentEvent::Revived, round.now);
                self.wait_for(id, waiter, round);
            }
            Ok(AgentStatus::Stopping { .. } | AgentStatus::Final(_)) => self.wait_for(id, waiter, round),
            // The intent stays "run": only the slot is left, and taken again with the next epoch.
            Ok(AgentStatus::Placed(at) | AgentStatus::Running { at, .. }) => {
                round.moves.push(Move::Restart { agent: id, epoch: at.epoch, waiter });
            }
        }
    }

    fn revive(&mut self, row: Box<AgentRow>, deadline: Instant, reply: Reply, round: &mut Round) {
        let id = row.spec.agent_id;
        if self.model.agent(id).is_some() {
            return self.restart(id, deadline, reply, round);
        }
        match self.refusal() {
            Some(error) => drop(reply.send(Err(error))),
            None => {
                let waiter = Waiter { awaited: Awaited::Running, deadline, reply };
                round.moves.push(Move::Revive { agent: id, row: Some(row), waiter });
            }
        }
    }

    pub(super) fn wait_for(&mut self, id: AgentId, waiter: Waiter, round: &mut Round) {
        match self.model.agent_mut(id) {
            Some(agent) => {
                agent.waiters.push(waiter);
                round.touched.push(id);
            }
            None => drop(waiter.reply.send(Err(SupervisorError::UnknownAgent(id.to_string())))),
        }
    }

    fn remove(
        &mut self,
        graceful: bool,
        reply: tokio::sync::oneshot::Sender<Result<(), SupervisorError>>,
        round: &mut Round,
    ) {
        if let Some(removal) = &mut self.life.removal {
            removal.graceful &= graceful;
            removal.replies.push(reply);
        } else {
            self.life.removal = Some(Removal { graceful, replies: vec![reply] });
        }
        round.moves.push(Move::DrainPool { graceful });
    }
}
