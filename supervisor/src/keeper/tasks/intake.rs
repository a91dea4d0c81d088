//! What is asked: new tasks, cancellations, another try of what was given up.

use std::collections::VecDeque;

use muster_domain::{AgentId, FollowUp, Halt, Tally, TaskId, TaskSpec, TaskState, Timestamp};
use muster_store::{AttemptTotals, IdempotencyKey, NewTask, QueuedTask, TaskRow, TaskVerdict, Write};

use super::effects::TaskReply;
use super::messages::{Cancel, Redrive, SubmitAsk, TaskAnswer, TaskAsk, TaskDraft};
use super::plan::{PendingAnswer, Redriving, Revived, Submission, TurnPlan};
use super::{Effects, PoolNow, PoolTasks};
use crate::error::SupervisorError;

/// New tasks that one turn takes, so that a flood of them leaves room for everything else.
const TASKS_PER_TURN: usize = 2_000;

/// What was asked for, and waits for its turn.
#[derive(Default)]
pub(super) struct TaskInbox {
    /// Tasks to submit, cancel or redrive in this turn or a later one.
    pub(super) submits: VecDeque<SubmitAsk>,
    cancels: Vec<Cancel>,
    redrives: Vec<Redrive>,
    /// Whether what runs is to go back to the queue.
    handing_back: bool,
    /// Agents whose tasks are to go back to the queue, since the capacity under their workers goes.
    preempted: Vec<AgentId>,
    /// Tasks whose callers were refused by a commit that may have gone through after all.
    pub(super) refused: Vec<TaskId>,
}

impl PoolTasks {
    /// Takes what was asked for; the turn's plan deals with it.
    pub(in crate::keeper) fn take(&mut self, ask: TaskAsk, pool: PoolNow<'_>) {
        match ask {
            TaskAsk::Submit(submit) => self.inbox.submits.push_back(submit),
            TaskAsk::Cancel(cancel) => self.inbox.cancels.push(cancel),
            TaskAsk::Redrive(redrive) => self.inbox.redrives.push(redrive),
            TaskAsk::Follow(task, reply) => {
                let progress = self.assigned.runs.progress(task);
                drop(reply.send(self.followers.follow(task, progress)));
            }
            TaskAsk::HandBack(hand_back) => self.hand_back(hand_back),
            TaskAsk::CountDead(dead) => self.breaker.count_dead(dead, pool.name()),
        }
    }

    /// What runs is to go back to the queue.
    pub(in crate::keeper) const fn hand_back(&mut self, hand_back: bool) {
        self.inbox.handing_back |= hand_back;
    }

    /// What this agent has is to go back to the queue, at no cost.
    pub(in crate::keeper) fn preempt(&mut self, agent: AgentId) {
        self.inbox.preempted.push(agent);
    }

    /// Nothing new is begun: new tasks are refused before anything is written.
    pub(in crate::keeper) fn refuse_submits(&mut self, error: &SupervisorError, effects: &mut Effects) {
        for ask in self.inbox.submits.drain(..) {
            let answers = ask.tasks.iter().map(|_| Err(error.clone())).collect();
            effects.answers.push(TaskReply::Submit(ask.reply, answers));
        }
    }

    /// The store does not answer: what was asked for is refused, what was seen waits.
    pub(in crate::keeper) fn put_off(&mut self, error: &SupervisorError, effects: &mut Effects) {
        self.refuse_submits(error, effects);
        for cancel in self.inbox.cancels.drain(..) {
            effects.answers.push(TaskReply::Cancel(cancel.reply, Err(error.clone())));
        }
        for redrive in self.inbox.redrives.drain(..) {
            effects.answers.push(TaskReply::Redrive(redrive.reply, Err(error.clone())));
        }
    }

    /// Nobody is to do what its caller was told is not there: what to write for that, before the picture is read again.
    pub(in crate::keeper) fn withdrawal(&self) -> Option<Write> {
        (!self.inbox.refused.is_empty()).then(|| Write::WithdrawTasks(self.inbox.refused.clone()))
    }

    /// That is written.
    pub(in crate::keeper) fn withdrawn(&mut self) {
        self.inbox.refused.clear();
    }

    pub(super) async fn plan_submits(&mut self, plan: &mut TurnPlan, pool: PoolNow<'_>, effects: &mut Effects) {
        while plan.queue.added.len() < TASKS_PER_TURN
            && let Some(ask) = self.inbox.submits.pop_front()
        {
            self.plan_submit(ask, plan, pool, effects).await;
        }
    }

    async fn plan_submit(&mut self, ask: SubmitAsk, plan: &mut TurnPlan, pool: PoolNow<'_>, effects: &mut Effects) {
        let SubmitAsk { tasks, reply } = ask;
        let mut submission = Submission {
            reply,
            answers: Vec::with_capacity(tasks.len()),
            first: plan.queue.added.len(),
            places: Vec::new(),
        };
        for mut draft in tasks {
            let answer = match draft.refused.take().or_else(|| self.refusal_of(&draft.spec, pool)) {
                Some(refusal) => self.first_answer(draft.key.as_ref(), effects).await.unwrap_or(Err(refusal)),
                None => {
                    let hash = draft.key.as_ref().map(|key| key.body_hash);
                    submission.places.push(PendingAnswer { answer: submission.answers.len(), hash });
                    self.plan_task(draft, plan, pool);
                    // Overwritten by what the commit says of it.
                    Err(SupervisorError::unavailable("the store did not take the task".to_owned()))
                }
            };
            submission.answers.push(answer);
        }
        plan.requests.submits.push(submission);
    }

    /// What a request with this idempotency key was answered before: that stands, whatever is refused by now. Asked here, since
    /// what was refused by a commit that went through after all is gone by now.
    async fn first_answer(
        &self,
        key: Option<&IdempotencyKey>,
        effects: &mut Effects,
    ) -> Option<Result<TaskAnswer, SupervisorError>> {
        let key = key?;
        // Where the store does not answer nothing is known of it, and the refusal stands.
        let holder = self.deps.store.task_key_holder(key).await.map_err(|error| effects.failures.push(error));
        let (task, body_hash) = holder.ok().flatten()?;
        Some(if body_hash == key.body_hash { Ok(TaskAnswer::Replayed(task)) } else { Err(SupervisorError::KeyReused) })
    }

    fn refusal_of(&self, spec: &TaskSpec, pool: PoolNow<'_>) -> Option<SupervisorError> {
        let name = pool.name();
        if pool.model.pool.draining {
            return Some(SupervisorError::PoolDraining(name.clone()));
        }
        if pool.model.pool.gate.closed {
            return Some(SupervisorError::IntakeClosed(name.clone()));
        }
        let (max, waiting) = (pool.config().max_queued, self.waiting.count);
        if max > 0 && waiting >= max {
            return Some(SupervisorError::QueueFull { pool: name.clone(), waiting, max });
        }
        let agent = spec.agent_id.filter(|agent| pool.is_gone(*agent))?;
        Some(SupervisorError::UnknownAgent(format!("{agent} in {name}")))
    }

    fn plan_task(&mut self, draft: TaskDraft, plan: &mut TurnPlan, pool: PoolNow<'_>) {
        let at = pool.at;
        let TaskDraft { spec, delay, input, key, .. } = draft;
        let task = QueuedTask { input: Some(input.clone()), ..waiting(&spec, at) };
        let new = NewTask { spec, delay, input, key, start: None, at };
        self.waiting.queue(task, new.due_at(), pool);
        plan.queue.add(new);
    }

    /// What people want of tasks that are there: hand-backs, cancellations, redrives.
    pub(super) fn plan_wishes(&mut self, plan: &mut TurnPlan, pool: PoolNow<'_>) {
        if std::mem::take(&mut self.inbox.handing_back) {
            for id in self.assigned.runs.ids() {
                self.assigned.plan_halt(id, Halt::HandedBack, plan, pool.now);
            }
        }
        for agent in std::mem::take(&mut self.inbox.preempted) {
            for id in self.assigned.runs.of_agent(agent).to_vec() {
                self.assigned.plan_halt(id, Halt::Preempted, plan, pool.now);
            }
        }
        for cancel in std::mem::take(&mut self.inbox.cancels) {
            self.plan_cancel(&cancel.task, plan, pool);
            plan.requests.cancels.push(cancel.reply);
        }
        for Redrive { tasks, reply } in std::mem::take(&mut self.inbox.redrives) {
            let first = plan.queue.redriven.len();
            // Nobody is left to do what is for an agent that is gone.
            let is_lost = |row: &TaskRow| row.spec.agent_id.is_some_and(|agent| pool.is_gone(agent));
            plan.queue.redriven.extend(tasks.into_iter().filter(|row| !is_lost(row)).map(Revived::from));
            plan.requests.redrives.push(Redriving { reply, first, count: plan.queue.redriven.len() - first });
        }
    }

    fn plan_cancel(&mut self, row: &TaskRow, plan: &mut TurnPlan, pool: PoolNow<'_>) {
        let task_id = row.spec.task_id;
        if self.assigned.runs.get(task_id).is_some() {
            return self.assigned.plan_halt(task_id, Halt::Cancelled, plan, pool.now);
        }
        // Its attempt may have ended since its row was read: so every task is tried that may be waiting by now.
        if !row.status.state().is_final() {
            self.waiting.leave_queue(&waiting(&row.spec, row.created_at));
            plan.verdicts.push(TaskVerdict { task_id, then: FollowUp::Cancel, at: pool.at });
        }
    }
}

impl From<TaskRow> for Revived {
    fn from(row: TaskRow) -> Self {
        let was_dead = row.status.state() == TaskState::Dead;
        let spec = TaskSpec { expires_at: None, not_before: None, ..row.spec };
        let task = QueuedTask {
            totals: AttemptTotals { tally: Tally::default(), ..row.totals },
            ..waiting(&spec, row.created_at)
        };
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
        totals: AttemptTotals::default(),
        created_at,
        input: None,
    }
}
