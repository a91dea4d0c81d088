//! What is asked: new tasks, cancellations, another try of what was given up.

use muster_domain::{After, Halt, TaskId, TaskSpec, TaskState, Timestamp};
use muster_store::{IdempotencyKey, NewTask, QueuedTask, TaskHalting, TaskRow, TaskVerdict};

use super::asking::{Cancel, Redrive, SubmitAsk, TaskAnswer, TaskDraft};
use super::lines::key_of;
use super::plan::{Place, Plan, Redriving, Revived, Submission};
use crate::error::SupervisorError;
use crate::keeper::{Keeper, Round};

/// New tasks that one turn takes, so that a flood of them leaves room for everything else.
const TASKS_PER_TURN: usize = 2_000;

impl Keeper {
    pub(in crate::keeper) fn take_submit(&mut self, ask: SubmitAsk) {
        self.desk.submits.push_back(ask);
    }

    pub(in crate::keeper) fn take_cancel(&mut self, cancel: Cancel) {
        self.desk.cancels.push(cancel);
    }

    pub(in crate::keeper) fn take_redrive(&mut self, redrive: Redrive) {
        self.desk.redrives.push(redrive);
    }

    /// Where nothing new is begun, new tasks are refused before anything is written.
    pub(super) fn refuse_submits(&mut self) {
        if let Some(error) = self.submit_refusal() {
            self.refuse_all_submits(&error);
        }
    }

    fn refuse_all_submits(&mut self, error: &SupervisorError) {
        for ask in self.desk.submits.drain(..) {
            let answers = ask.tasks.iter().map(|_| Err(error.clone())).collect();
            drop(ask.reply.send(answers));
        }
    }

    /// The registry may be away: a task that is stored waits for it.
    fn submit_refusal(&self) -> Option<SupervisorError> {
        if self.is_stopping {
            return Some(SupervisorError::Stopping);
        }
        self.context.board.store_refusal()
    }

    /// The store does not answer: what was asked for is refused, what was seen waits.
    pub(super) fn put_off(&mut self) {
        let error = self
            .context
            .board
            .store_refusal()
            .unwrap_or_else(|| SupervisorError::unavailable("the store does not answer".to_owned()));
        self.refuse_all_submits(&error);
        for cancel in self.desk.cancels.drain(..) {
            drop(cancel.reply.send(Err(error.clone())));
        }
        for redrive in self.desk.redrives.drain(..) {
            drop(redrive.reply.send(Err(error.clone())));
        }
    }

    pub(super) async fn plan_submits(&mut self, plan: &mut Plan, round: &Round) {
        while plan.added.len() < TASKS_PER_TURN
            && let Some(ask) = self.desk.submits.pop_front()
        {
            self.plan_submit(ask, plan, round.at).await;
        }
    }

    async fn plan_submit(&mut self, ask: SubmitAsk, plan: &mut Plan, at: Timestamp) {
        let SubmitAsk { tasks, reply } = ask;
        let mut submission =
            Submission { reply, answers: Vec::with_capacity(tasks.len()), first: plan.added.len(), places: Vec::new() };
        for mut draft in tasks {
            let answer = match draft.refused.take().or_else(|| self.refusal_of(&draft.spec)) {
                Some(refusal) => self.first_answer(draft.key.as_ref()).await.unwrap_or(Err(refusal)),
                None => {
                    let hash = draft.key.as_ref().map(|key| key.body_hash);
                    submission.places.push(Place { answer: submission.answers.len(), hash });
                    self.plan_task(draft, plan, at);
                    // Overwritten by what the commit says of it.
                    Err(SupervisorError::unavailable("the store did not take the task".to_owned()))
                }
            };
            submission.answers.push(answer);
        }
        plan.submits.push(submission);
    }

    /// What a request with this idempotency key was answered before: that stands, whatever is refused by now. Asked here, since
    /// what was refused by a commit that went through after all is gone by now.
    async fn first_answer(&self, key: Option<&IdempotencyKey>) -> Option<Result<TaskAnswer, SupervisorError>> {
        let key = key?;
        // Where the store does not answer nothing is known of it, and the refusal stands.
        let holder = self.context.store.task_key_holder(key).await.map_err(|error| self.context.store_failed(&error));
        let (task, body_hash) = holder.ok().flatten()?;
        Some(if body_hash == key.body_hash { Ok(TaskAnswer::Replayed(task)) } else { Err(SupervisorError::KeyReused) })
    }

    fn refusal_of(&self, spec: &TaskSpec) -> Option<SupervisorError> {
        let pool = &self.model.spec.pool_name;
        if self.model.draining {
            return Some(SupervisorError::PoolDraining(pool.clone()));
        }
        if self.model.gate.closed {
            return Some(SupervisorError::IntakeClosed(pool.clone()));
        }
        let max = self.model.spec.config.max_queued;
        if max > 0 && self.desk.waiting >= max {
            return Some(SupervisorError::QueueFull { pool: pool.clone(), waiting: self.desk.waiting, max });
        }
        let agent = spec.agent_id.filter(|agent| self.is_gone(*agent))?;
        Some(SupervisorError::UnknownAgent(format!("{agent} in {pool}")))
    }

    fn plan_task(&mut self, draft: TaskDraft, plan: &mut Plan, at: Timestamp) {
        let TaskDraft { spec, delay, input, key, .. } = draft;
        let task = QueuedTask { input: Some(input.clone()), ..waiting(&spec, at) };
        let new = NewTask { spec, delay, input, key, start: None, at };
        self.queue(task, new.due_at(), at);
        plan.add(new);
    }

    /// What people want of tasks that are there: hand-backs, cancellations, redrives.
    pub(super) fn plan_wishes(&mut self, plan: &mut Plan, round: &Round) {
        if std::mem::take(&mut self.desk.handing_back) {
            for id in self.desk.runs.ids() {
                self.plan_halt(id, Halt::HandedBack, plan, round);
            }
        }
        for cancel in std::mem::take(&mut self.desk.cancels) {
            self.plan_cancel(&cancel.task, plan, round);
            plan.cancels.push(cancel.reply);
        }
        for Redrive { tasks, reply } in std::mem::take(&mut self.desk.redrives) {
            let first = plan.redriven.len();
            // Nobody is left to do what is for an agent that is gone.
            let is_lost = |row: &TaskRow| row.spec.agent_id.is_some_and(|agent| self.is_gone(agent));
            plan.redriven.extend(tasks.into_iter().filter(|row| !is_lost(row)).map(Revived::from));
            plan.redrives.push(Redriving { reply, first, count: plan.redriven.len() - first });
        }
    }

    fn plan_cancel(&mut self, row: &TaskRow, plan: &mut Plan, round: &Round) {
        let task_id = row.spec.task_id;
        if self.desk.runs.get(task_id).is_some() {
            return self.plan_halt(task_id, Halt::Cancelled, plan, round);
        }
        // Its attempt may have ended since its row was read: so every task is tried that may be waiting by now.
        if !row.status.state().is_final() {
            self.leave_line(&waiting(&row.spec, row.created_at));
            plan.verdicts.push(TaskVerdict { task_id, then: After::Cancel, at: round.at });
        }
    }

    /// A running task is to stop.
    pub(super) fn plan_halt(&mut self, task_id: TaskId, halt: Halt, plan: &mut Plan, round: &Round) {
        let Some(run) = self.desk.runs.get_mut(task_id) else { return };
        // The first reason counts, but a person's wish stands above all others.
        let stands = run.halt.is_some_and(|before| before == halt || halt != Halt::Cancelled);
        if stands {
            return;
        }
        (run.halt, run.sent) = (Some(halt), None);
        plan.halts.push(TaskHalting { task_id, number: run.attempt.number, halt });
        self.desk.runs.schedule(task_id, Some(round.now));
    }

    /// A task that is not to wait any more leaves its line; it is counted when the store says that it waited.
    pub(super) fn leave_line(&mut self, task: &QueuedTask) {
        self.desk.lines.take(&key_of(task), task.task_id);
    }
}

impl From<TaskRow> for Revived {
    fn from(row: TaskRow) -> Self {
        let was_dead = row.status.state() == TaskState::Dead;
        let spec = TaskSpec { expires_at: None, not_before: None, ..row.spec };
        let task = QueuedTask { attempt: row.attempt, usage: row.usage, ..waiting(&spec, row.created_at) };
        Self { was_dead, task }
    }
}

/// A task before its first attempt.
fn waiting(spec: &TaskSpec, created_at: Timestamp) -> QueuedTask {
    QueuedTask {
        task_id: spec.task_id,
        tenant: spec.tenant.clone(),
        priority: spec.priority,
        project_id: spec.project_id.clone(),
        agent_id: spec.agent_id,
        check: spec.check,
        max_attempts: spec.max_attempts,
        timeout: spec.timeout,
        expires_at: spec.expires_at,
        attempt: 0,
        tally: muster_domain::Tally::default(),
        usage: muster_domain::Usage::default(),
        created_at,
        input: None,
    }
}
