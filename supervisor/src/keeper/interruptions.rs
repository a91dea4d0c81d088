//! Notices that the capacity under a worker will be taken away, and what follows from one:
//!
//! 1. The worker gets no more agents, its agents get no more tasks, and another worker is started in its place at once.
//! 2. Agents that have nothing to do move as soon as there is a free slot of a worker that is ready. The others use the whole notice.
//! 3. At the deadline what still runs goes back to the queue, at no cost of an attempt, and all agents that are left move.
//! 4. It ends when it is empty. Where it dies before, its agents and tasks are dealt with in the same way.
//!
//! The notice is kept in the worker's row, so the next supervisor goes on with it.

use std::time::{Duration, Instant};

use muster_domain::time::later;
use muster_domain::{AgentId, AgentStatus, EventKind, Interruption, ProcessId, WorkerStatus};
use muster_store::Write;
use tokio::sync::oneshot;

use super::model::Model;
use super::transitions::Transition;
use super::workers::Interrupted;
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

/// A notice that is to be stored, or several for one worker.
pub(crate) struct Noticed {
    pub(super) worker: ProcessId,
    /// When the capacity goes, by the earliest of them.
    deadline: Instant,
    by: String,
    pub(super) replies: Vec<NoticeReply>,
}

impl Noticed {
    /// What is known of the interruption with it. Another notice can only bring the deadline forward: whoever repeats one says "in two
    /// minutes" each time. What is left counts, not the moment by a clock that may have been set.
    pub(super) fn interruption(&self, known: Option<&Interrupted>, turn: &Turn) -> Interruption {
        let deadline = turn.at.after(self.deadline.saturating_duration_since(turn.now));
        match known {
            Some(known) if known.deadline <= self.deadline => known.notice,
            Some(known) => Interruption { deadline, ..known.notice },
            None => Interruption { noticed_at: turn.at, deadline, replaced_by: None },
        }
    }

    /// What is written of it.
    pub(super) fn writes(&self, model: &Model, turn: &Turn) -> [Write; 2] {
        let known = model.workers.get(&self.worker).and_then(|worker| worker.interrupted.as_ref());
        let interruption = self.interruption(known, turn);
        let left = interruption.deadline.since(turn.at).as_secs_f64();
        let words = format!("{} says that its capacity goes at {}, in {left:.0} s", self.by, interruption.deadline);
        let event = model.pool.worker_event(EventKind::WorkerInterrupted, self.worker, turn.at, words);
        [Write::InterruptWorker { process_id: self.worker, interruption }, Write::Event(event)]
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
        let deadline = later(turn.now, within);
        let same = turn.transitions.iter_mut().find_map(|step| match step {
            Transition::Interrupt(noticed) if noticed.worker == worker => Some(noticed),
            _ => None,
        });
        match same {
            Some(noticed) => {
                noticed.deadline = noticed.deadline.min(deadline);
                noticed.replies.push(reply);
            }
            None => {
                turn.transitions.push(Transition::Interrupt(Noticed { worker, deadline, by, replies: vec![reply] }))
            }
        }
    }

    /// It is stored, or (`changed` is false) the worker had ended.
    pub(super) fn noticed(&mut self, noticed: Noticed, changed: bool, turn: &mut Turn) {
        let worker = noticed.worker;
        let known = self.model.workers.get(&worker).filter(|_| changed);
        let Some(known) = known.map(|known| known.interrupted) else {
            let refused = || Err(SupervisorError::WorkerEnds(worker));
            return noticed.replies.into_iter().for_each(|reply| drop(reply.send(refused())));
        };
        let interruption = noticed.interruption(known.as_ref(), turn);
        let (pool, by) = (&self.model.pool, &noticed.by);
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
        for reply in noticed.replies {
            drop(reply.send(Ok(known.view(&pool.spec.pool_name, turn.now, turn.at))));
        }
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
            // Those that are on their way have their slots.
            let is_on_its_way =
                |id: &&AgentId| self.model.agent(**id).is_some_and(|agent| agent.status.is_to_run_again());
            room = room.saturating_sub(worker.held.iter().filter(is_on_its_way).count());
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
        turn.transitions.push(Transition::Restart { agent: id, epoch: at.epoch, waiter: None });
    }
}
