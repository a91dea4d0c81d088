//! Notices that the capacity under a worker will be taken away, and what follows from one:
//!
//! 1. The worker gets no more agents, its agents get no more tasks, and another worker is started in its place at once.
//! 2. Agents that have nothing to do move as soon as there is a free slot of a worker that is ready. The others use the whole notice.
//! 3. At the deadline what still runs goes back to the queue, at no cost of an attempt, and all agents that are left move.
//! 4. It ends when it is empty. Where it dies before, its agents and tasks are dealt with in the same way.
//!
//! The notice is kept in the worker's row, so the next supervisor goes on with it.

use std::time::Duration;

use muster_domain::{AgentId, AgentStatus, EventDraft, EventKind, Interruption, ProcessId, WorkerStatus};
use tokio::sync::oneshot;

use super::agents::agent::{Awaited, Waiter};
use super::model::Pool;
use super::transitions::Transition;
use super::{Keeper, Turn};
use crate::error::SupervisorError;
use crate::view::WorkerView;

/// Who waits for a notice to be stored.
pub(crate) type NoticeReply = oneshot::Sender<Result<WorkerView, SupervisorError>>;

/// A notice, as somebody gives it.
pub(crate) struct Notice {
    pub(crate) worker: ProcessId,
    /// After which time the capacity goes.
    pub(crate) within: Duration,
    /// Who says so, for people.
    pub(crate) by: String,
    pub(crate) reply: NoticeReply,
}

/// A notice that is to be stored.
pub(crate) struct Noticed {
    pub(super) worker: ProcessId,
    pub(super) interruption: Interruption,
    by: String,
    pub(super) reply: NoticeReply,
}

impl Noticed {
    /// What is told of it.
    pub(super) fn event(&self, pool: &Pool, turn_at: muster_domain::Timestamp) -> EventDraft {
        let left = self.interruption.deadline.since(turn_at).as_secs_f64();
        let words =
            format!("{} says that its capacity goes at {}, in {left:.0} s", self.by, self.interruption.deadline);
        pool.worker_event(EventKind::WorkerInterrupted, self.worker, turn_at, words)
    }
}

impl Keeper {
    /// Somebody says that the capacity under a worker will be taken away.
    pub(super) fn take_notice(&self, notice: Notice, turn: &mut Turn) {
        let Notice { worker, within, by, reply } = notice;
        let Some(known) = self.model.workers.get(&worker) else {
            return drop(reply.send(Err(SupervisorError::UnknownWorker(worker))));
        };
        if matches!(known.status, WorkerStatus::Ending { .. } | WorkerStatus::Gone(_)) || known.is_over {
            return drop(reply.send(Err(SupervisorError::WorkerEnds(worker))));
        }
        let deadline = turn.at.after(within);
        let first = Interruption { noticed_at: turn.at, deadline, replaced_by: None };
        let interruption = known.interrupted.map_or(first, |before| before.notice.and(deadline));
        turn.transitions.push(Transition::Interrupt(Noticed { worker, interruption, by, reply }));
    }

    /// It is stored.
    pub(super) fn noticed(&mut self, noticed: Noticed, turn: &mut Turn) {
        let (pool, Noticed { worker, interruption, by, reply }) = (&self.model.pool, noticed);
        tracing::warn!(
            process.id = %worker,
            pool.name = %pool.spec.pool_name,
            deadline = %interruption.deadline,
            by,
            "a worker is interrupted: its capacity will be taken away"
        );
        self.model.workers.pause_interrupted(worker, turn.now, pool);
        self.model.workers.set_interruption(worker, interruption, turn.now, turn.at);
        let Some(known) = self.model.workers.get(&worker) else { return };
        // Their room for tasks is looked at anew.
        turn.touched.extend(known.held.iter().copied());
        drop(reply.send(Ok(known.view(&pool.spec.pool_name, turn.now, turn.at))));
    }

    /// Moves who can move, and at the deadline all.
    pub(super) fn hand_over(&mut self, turn: &mut Turn) {
        let pool = &self.model.pool;
        // Before the tasks are known, an agent without one may only seem so.
        if self.model.workers.interrupted() == 0 || pool.is_stopping || pool.draining || !self.tasks.is_loaded() {
            return;
        }
        // Whoever is taken off somewhere early could not begin anew while the registry or the data folder is in trouble.
        let may_begin = self.context.reporting.health.start_refusal().is_none();
        let mut room =
            if may_begin { self.model.workers.ready_slots().saturating_sub(self.model.agents.pending()) } else { 0 };
        let (mut moving, mut overdue) = (Vec::new(), Vec::new());
        for worker in self.model.workers.all_interrupted() {
            let is_overdue = worker.is_overdue(turn.now);
            overdue.extend(is_overdue.then_some(worker.process_id));
            for id in &worker.held {
                let takes_room = !is_overdue && room > 0 && self.model.idles(*id);
                room -= usize::from(takes_room);
                if is_overdue || takes_room {
                    moving.push((*id, is_overdue));
                }
            }
        }
        for (id, is_overdue) in moving {
            if is_overdue {
                self.tasks.preempt(id);
            }
            self.move_elsewhere(id, turn);
        }
        overdue.into_iter().for_each(|id| self.model.workers.note_handed_over(id));
    }

    /// Agents that will need a slot elsewhere.
    pub(super) fn displaced(&self) -> usize {
        let held = self.model.workers.all_interrupted().flat_map(|worker| &worker.held);
        held.filter(|id| self.model.agent(**id).is_some_and(|agent| !agent.status.is_to_end())).count()
    }

    /// An agent's run here ends, and another follows elsewhere. Nobody waits for it.
    pub(super) fn move_elsewhere(&self, id: AgentId, turn: &mut Turn) {
        let Some(agent) = self.model.agent(id).filter(|agent| !agent.run.leaving) else { return };
        let (AgentStatus::Placed(at) | AgentStatus::Running { at, .. }) = agent.status else { return };
        let waiter = Waiter { awaited: Awaited::Running, deadline: turn.now, reply: oneshot::channel().0 };
        turn.transitions.push(Transition::Restart { agent: id, epoch: at.epoch, waiter });
    }
}
