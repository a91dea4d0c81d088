//! What one turn does to tasks: decided, then committed together, then told.

use std::collections::HashMap;

use muster_domain::{EventDraft, Executions, TaskId, TaskState};
use muster_store::{
    LineKey, NewTask, Outcome, QueuedTask, TaskEnding, TaskHalting, TaskOutcome, TaskStart, TaskVerdict, UsageAdded,
    Write,
};
use tokio::sync::oneshot;

use super::TaskAnswer;
use super::ending::Over;
use crate::error::SupervisorError;
use crate::keeper::{Keeper, Round};
use crate::view::Submitted;

/// Of what the alert is that the store refuses something of tasks.
const TASKS: &str = "tasks";

type CancelReply = oneshot::Sender<Result<(), SupervisorError>>;
type SubmitReply = oneshot::Sender<Vec<Result<TaskAnswer, SupervisorError>>>;

/// A turn's decisions over tasks, in the order in which they are carried out: whoever becomes free by the first may be used
/// by the last.
#[derive(Default)]
pub(super) struct Plan {
    pub(super) endings: Vec<TaskEnding>,
    pub(super) halts: Vec<TaskHalting>,
    pub(super) verdicts: Vec<TaskVerdict>,
    pub(super) promoted: Vec<TaskId>,
    pub(super) redriven: Vec<Revived>,
    pub(super) added: Vec<NewTask>,
    /// Where in `added` each of them is.
    fresh: HashMap<TaskId, usize>,
    pub(super) started: Vec<TaskStart>,
    /// Of tasks that are given out to nobody after all; after those that are new.
    pub(super) late_verdicts: Vec<TaskVerdict>,
    pub(super) events: Vec<EventDraft>,
    /// How many attempts ended.
    pub(super) executions: Executions,
    /// What the ended attempts have used.
    pub(super) spent: Vec<(TaskId, Vec<UsageAdded>)>,
    /// What the endings were made of, for the case that the commit fails.
    pub(super) overs: Vec<Over>,
    pub(super) submits: Vec<Submission>,
    pub(super) redrives: Vec<Redriving>,
    pub(super) cancels: Vec<CancelReply>,
}

/// A request to submit, with its answers as far as they are known.
pub(super) struct Submission {
    pub(super) reply: SubmitReply,
    pub(super) answers: Vec<Result<TaskAnswer, SupervisorError>>,
    /// Which of its answers the plan's new tasks from `first` on give.
    pub(super) first: usize,
    pub(super) places: Vec<Place>,
}

/// One answer that the commit gives.
pub(super) struct Place {
    pub(super) answer: usize,
    /// The hash of the body, where there is an idempotency key.
    pub(super) hash: Option<[u8; 32]>,
}

/// A task that is tried again, if it is still given up when the store is asked.
pub(super) struct Revived {
    pub(super) was_dead: bool,
    pub(super) task: QueuedTask,
}

/// A request to redrive: so many of the plan's from `first` on are its own.
pub(super) struct Redriving {
    pub(super) reply: oneshot::Sender<Result<u64, SupervisorError>>,
    pub(super) first: usize,
    pub(super) count: usize,
}

/// A new task, as its caller is told of it, and where it waits.
struct Fresh {
    task: Submitted,
    line: LineKey,
}

/// What the commit said of each kind; nothing was asked of those that are empty.
#[derive(Default)]
struct Answers {
    endings: Vec<TaskOutcome>,
    verdicts: Vec<TaskOutcome>,
    redriven: Vec<TaskOutcome>,
    added: Vec<TaskOutcome>,
    started: Vec<TaskOutcome>,
}

/// What is left of a plan for the time after its commit.
struct Told {
    tasks: Vec<TaskId>,
    added: Vec<Fresh>,
    redriven: Vec<Revived>,
    spent: Vec<(TaskId, Vec<UsageAdded>)>,
    overs: Vec<Over>,
    submits: Vec<Submission>,
    redrives: Vec<Redriving>,
    cancels: Vec<CancelReply>,
}

impl Plan {
    pub(super) fn add(&mut self, task: NewTask) {
        self.fresh.insert(task.spec.task_id, self.added.len());
        self.added.push(task);
    }

    /// A task that came in this turn.
    pub(super) fn fresh(&mut self, id: TaskId) -> Option<&mut NewTask> {
        self.added.get_mut(*self.fresh.get(&id)?)
    }

    fn changes_nothing(&self) -> bool {
        self.endings.is_empty()
            && self.halts.is_empty()
            && self.verdicts.is_empty()
            && self.promoted.is_empty()
            && self.redriven.is_empty()
            && self.added.is_empty()
            && self.started.is_empty()
            && self.late_verdicts.is_empty()
    }

    /// The writes, in order, and what is needed afterwards.
    fn split(self) -> (Vec<Write>, Told) {
        let mut tasks: Vec<TaskId> = self.endings.iter().map(|ending| ending.task_id).collect();
        tasks.extend(self.halts.iter().map(|halting| halting.task_id));
        tasks.extend(self.verdicts.iter().map(|verdict| verdict.task_id));
        tasks.extend(self.late_verdicts.iter().map(|verdict| verdict.task_id));
        let redriven: Vec<TaskId> = self.redriven.iter().map(|revived| revived.task.task_id).collect();
        tasks.extend(&redriven);
        tasks.extend(self.started.iter().map(|start| start.task_id));
        let added = self.added.iter().map(Fresh::from).collect();
        let mut writes = Vec::new();
        push(&mut writes, self.endings, Write::EndTasks);
        push(&mut writes, self.halts, Write::HaltTasks);
        push(&mut writes, self.verdicts, Write::SettleTasks);
        push(&mut writes, self.promoted, Write::PromoteTasks);
        push(&mut writes, redriven, Write::RedriveTasks);
        push(&mut writes, self.added, Write::AddTasks);
        push(&mut writes, self.started, Write::StartTasks);
        push(&mut writes, self.late_verdicts, Write::SettleTasks);
        let used = self.spent.iter().flat_map(|(_, added)| added.clone()).collect();
        push(&mut writes, used, Write::AddUsage);
        if self.executions.total > 0 {
            writes.push(Write::AddExecutions(self.executions));
        }
        writes.extend(self.events.into_iter().map(Write::Event));
        let (overs, submits, redrives, cancels) = (self.overs, self.submits, self.redrives, self.cancels);
        (writes, Told { tasks, added, redriven: self.redriven, spent: self.spent, overs, submits, redrives, cancels })
    }
}

impl From<&NewTask> for Fresh {
    fn from(new: &NewTask) -> Self {
        let spec = &new.spec;
        let task = Submitted { task_id: spec.task_id, state: TaskState::Queued, created_at: new.at };
        Self { task, line: LineKey::of(spec.agent_id, &spec.tenant, spec.priority) }
    }
}

fn push<T>(writes: &mut Vec<Write>, items: Vec<T>, write: fn(Vec<T>) -> Write) {
    if !items.is_empty() {
        writes.push(write(items));
    }
}

impl Answers {
    fn of(kinds: Vec<Kind>, outcomes: Vec<Outcome>) -> Self {
        let mut answers = Self::default();
        for (kind, outcome) in kinds.into_iter().zip(outcomes) {
            let Outcome::Tasks(outcomes) = outcome else { continue };
            match kind {
                Kind::End => answers.endings = outcomes,
                Kind::Settle => answers.verdicts.extend(outcomes),
                Kind::Redrive => answers.redriven = outcomes,
                Kind::Add => answers.added = outcomes,
                Kind::Start => answers.started = outcomes,
                Kind::Other => {}
            }
        }
        answers
    }
}

/// Which answer a write gives.
#[derive(Clone, Copy)]
enum Kind {
    End,
    Settle,
    Redrive,
    Add,
    Start,
    Other,
}

const fn kind_of(write: &Write) -> Kind {
    match write {
        Write::EndTasks(_) => Kind::End,
        Write::SettleTasks(_) => Kind::Settle,
        Write::RedriveTasks(_) => Kind::Redrive,
        Write::AddTasks(_) => Kind::Add,
        Write::StartTasks(_) => Kind::Start,
        _ => Kind::Other,
    }
}

impl Keeper {
    pub(super) async fn commit_plan(&mut self, plan: Plan, round: &Round) {
        let changes_nothing = plan.changes_nothing();
        let (writes, told) = plan.split();
        if changes_nothing {
            return self.tell_all(told, &Answers::default(), round);
        }
        let kinds: Vec<Kind> = writes.iter().map(kind_of).collect();
        match self.commit(writes).await {
            Ok(outcomes) => self.tell_all(told, &Answers::of(kinds, outcomes), round),
            Err(error) => self.take_back(told, &error),
        }
    }

    /// The commit went through.
    fn tell_all(&mut self, told: Told, answers: &Answers, round: &Round) {
        for (over, outcome) in told.overs.into_iter().zip(&answers.endings) {
            if let TaskOutcome::Refused(why) = outcome {
                self.end_refused_by_store(over, why, round);
            }
        }
        if self.desk.aside.is_over() {
            self.tell_taken(TASKS);
        }
        let unmoved = |outcomes: &[TaskOutcome]| outcomes.iter().any(|outcome| *outcome != TaskOutcome::Applied);
        if unmoved(&answers.endings) || unmoved(&answers.started) {
            // The store knows something else than the picture: e.g. this was carried out before, by a commit that seemed
            // to fail.
            tracing::warn!(pool.name = %self.model.spec.pool_name, "the store knows other tasks than expected; they are read again");
            self.desk.loaded = false;
        }
        self.desk.rate_out.count(answers.endings.len(), round.now);
        for (task, added) in told.spent {
            self.context.accounts.settle(task, &added);
        }
        for task in told.tasks {
            self.desk.tell(task);
        }
        for cancel in told.cancels {
            drop(cancel.send(Ok(())));
        }
        for Redriving { reply, first, count } in told.redrives {
            let own = answers.redriven.iter().skip(first).take(count);
            drop(reply.send(Ok(own.filter(|outcome| **outcome == TaskOutcome::Applied).count() as u64)));
        }
        self.queue_revived(told.redriven, &answers.redriven, round);
        // Others did not wait any more: e.g. they were over before the wish to cancel them came.
        let settled = answers.verdicts.iter().filter(|outcome| **outcome == TaskOutcome::Applied).count();
        self.desk.waiting = self.desk.waiting.saturating_sub(settled as u64);
        self.answer_submits(told.submits, &told.added, &answers.added, round);
    }

    /// An end that the store will never take as it is, is told again without its words.
    fn end_refused_by_store(&mut self, over: Over, why: &str, round: &Round) {
        if !over.is_refused_for_good() {
            return self.desk.overs.push(over.without_words(why));
        }
        let whom = over.whom();
        let is_first = self.desk.aside.put(over, round.now);
        self.tell_aside(TASKS, &whom, why, is_first);
    }

    /// Those that the store has sent to the queue again are given out by the next turn.
    fn queue_revived(&mut self, redriven: Vec<Revived>, outcomes: &[TaskOutcome], round: &Round) {
        for (revived, outcome) in redriven.into_iter().zip(outcomes) {
            if *outcome != TaskOutcome::Applied {
                continue;
            }
            if revived.was_dead {
                self.count_dead(self.desk.dead.saturating_sub(1));
            }
            self.queue(revived.task, None, round.at);
            self.desk.has_more = true;
        }
    }

    fn answer_submits(&mut self, submits: Vec<Submission>, added: &[Fresh], outcomes: &[TaskOutcome], round: &Round) {
        let mut stored = 0;
        for mut submission in submits {
            for (index, place) in (submission.first..).zip(&submission.places) {
                let (Some(new), Some(answer)) = (added.get(index), submission.answers.get_mut(place.answer)) else {
                    continue;
                };
                *answer = match outcomes.get(index) {
                    Some(TaskOutcome::Applied) => {
                        stored += 1;
                        Ok(TaskAnswer::Stored(new.task))
                    }
                    Some(TaskOutcome::Replayed { task_id, body_hash }) => {
                        self.never_was(new.task.task_id, &new.line, round);
                        let same = place.hash.is_some_and(|hash| hash == *body_hash);
                        if same { Ok(TaskAnswer::Replayed(*task_id)) } else { Err(SupervisorError::KeyReused) }
                    }
                    Some(TaskOutcome::Refused(why)) => {
                        self.never_was(new.task.task_id, &new.line, round);
                        Err(SupervisorError::unstorable(why))
                    }
                    Some(TaskOutcome::Unchanged) | None => {
                        self.never_was(new.task.task_id, &new.line, round);
                        Err(SupervisorError::unavailable("the store did not take the task".to_owned()))
                    }
                };
            }
            drop(submission.reply.send(submission.answers));
        }
        self.desk.rate_in.count(stored, round.now);
    }

    /// The commit failed, and nobody knows whether it went through: what was asked for is refused, what was seen is kept.
    fn take_back(&mut self, told: Told, error: &SupervisorError) {
        self.desk.loaded = false;
        self.desk.overs.extend(told.overs);
        self.desk.refused.extend(told.added.iter().map(|new| new.task.task_id));
        for mut submission in told.submits {
            for place in &submission.places {
                if let Some(answer) = submission.answers.get_mut(place.answer) {
                    *answer = Err(error.clone());
                }
            }
            drop(submission.reply.send(submission.answers));
        }
        for cancel in told.cancels {
            drop(cancel.send(Err(error.clone())));
        }
        for redrive in told.redrives {
            drop(redrive.reply.send(Err(error.clone())));
        }
    }
}
