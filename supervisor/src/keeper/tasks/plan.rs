//! What one turn does to tasks: decided, then committed together, then told.

use std::collections::HashMap;

use muster_domain::pool_metrics::WorkFigures;
use muster_domain::{AttemptEnd, EventDraft, Payload, TaskId, TaskOver, TaskState, Usage};
use muster_store::{
    NewTask, QueueKey, QueuedTask, TaskEnding, TaskHalting, TaskOutcome, TaskStart, TaskVerdict, UsageAdded, Write,
    WriteOutcome,
};
use tokio::sync::oneshot;

use super::TaskAnswer;
use crate::error::SupervisorError;
use crate::prometheus::{AttemptOutcome, TaskTotals};
use crate::view::Submitted;

type CancelReply = oneshot::Sender<Result<(), SupervisorError>>;
type SubmitReply = oneshot::Sender<Vec<Result<TaskAnswer, SupervisorError>>>;

/// A turn's decisions over tasks, in the order in which they are carried out: whoever becomes free by the first may be used
/// by the last.
#[derive(Default)]
pub(in crate::keeper) struct TurnPlan {
    pub(super) ended: EndedAttempts,
    pub(super) halts: Vec<TaskHalting>,
    pub(super) verdicts: Vec<TaskVerdict>,
    pub(super) queue: Arrivals,
    pub(super) started: Vec<TaskStart>,
    /// Of tasks that are given out to nobody after all; after those that are new.
    pub(super) late_verdicts: Vec<TaskVerdict>,
    pub(super) events: Vec<EventDraft>,
    pub(super) requests: Requests,
    /// What it comes to, for the metrics.
    pub(super) work: WorkFigures,
    /// The same for Prometheus, but for the verdicts: not all of them may be carried out.
    pub(super) totals: TaskTotals,
}

/// Attempts that are over, and what is counted of them.
#[derive(Default)]
pub(super) struct EndedAttempts {
    pub(super) endings: Vec<TaskEnding>,
    /// What they have used.
    pub(super) spent: Vec<(TaskId, Vec<UsageAdded>)>,
    /// What the endings were made of, for the case that the commit fails.
    pub(super) overs: Vec<SeenEnd>,
}

/// Tasks that come into the queues of those that are ready.
#[derive(Default)]
pub(super) struct Arrivals {
    /// Their time has come.
    pub(super) promoted: Vec<TaskId>,
    pub(super) redriven: Vec<Revived>,
    pub(super) added: Vec<NewTask>,
    /// Where in `added` each of them is.
    by_id: HashMap<TaskId, usize>,
}

/// Who is answered when the plan is committed, or was not.
#[derive(Default)]
pub(super) struct Requests {
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
    pub(super) places: Vec<PendingAnswer>,
}

/// One answer that the commit gives.
pub(super) struct PendingAnswer {
    pub(super) answer: usize,
    /// The hash of the body, where there is an idempotency key.
    pub(super) hash: Option<[u8; 32]>,
}

/// A task that is tried again, if it is still given up when the store is asked.
pub(super) struct Revived {
    pub(super) was_dead: bool,
    pub(super) task: QueuedTask,
}

impl Revived {
    const fn task_id(&self) -> TaskId {
        self.task.task_id
    }
}

/// A request to redrive: so many of the plan's from `first` on are its own.
pub(super) struct Redriving {
    pub(super) reply: oneshot::Sender<Result<u64, SupervisorError>>,
    pub(super) first: usize,
    pub(super) count: usize,
}

/// A new task, as its caller is told of it, and where it waits.
pub(super) struct AddedTask {
    pub(super) task: Submitted,
    pub(super) queue: QueueKey,
}

/// What the commit said of each kind; nothing was asked of those that are empty.
#[derive(Default)]
pub(super) struct Outcomes {
    pub(super) endings: Vec<TaskOutcome>,
    pub(super) verdicts: Vec<TaskOutcome>,
    pub(super) redriven: Vec<TaskOutcome>,
    pub(super) added: Vec<TaskOutcome>,
    pub(super) started: Vec<TaskOutcome>,
}

/// What is left of a plan for the time after its commit.
pub(in crate::keeper) struct CommittedPlan {
    /// What each write of the plan is, in their order.
    pub(super) kinds: Vec<WriteKind>,
    pub(super) tasks: Vec<TaskId>,
    pub(super) added: Vec<AddedTask>,
    pub(super) redriven: Vec<Revived>,
    pub(super) spent: Vec<(TaskId, Vec<UsageAdded>)>,
    pub(super) overs: Vec<SeenEnd>,
    pub(super) requests: Requests,
    pub(super) work: WorkFigures,
    pub(super) totals: TaskTotals,
    /// What each verdict would be.
    pub(super) verdicts: Vec<AttemptOutcome>,
}

impl Arrivals {
    pub(super) fn add(&mut self, task: NewTask) {
        self.by_id.insert(task.spec.task_id, self.added.len());
        self.added.push(task);
    }

    /// A task that came in this turn.
    pub(super) fn fresh(&mut self, id: TaskId) -> Option<&mut NewTask> {
        self.added.get_mut(*self.by_id.get(&id)?)
    }

    fn is_empty(&self) -> bool {
        self.promoted.is_empty() && self.redriven.is_empty() && self.added.is_empty()
    }
}

impl TurnPlan {
    fn changes_nothing(&self) -> bool {
        self.ended.endings.is_empty()
            && self.halts.is_empty()
            && self.verdicts.is_empty()
            && self.queue.is_empty()
            && self.started.is_empty()
            && self.late_verdicts.is_empty()
    }

    /// The writes, in order, and what is needed afterwards. Where nothing is to be changed, there are none.
    pub(in crate::keeper) fn split(self) -> (Vec<Write>, CommittedPlan) {
        let changes_nothing = self.changes_nothing();
        let tasks = self.tasks();
        let Self { ended, halts, verdicts, queue, started, late_verdicts, events, requests, work, totals } = self;
        let EndedAttempts { endings, spent, overs } = ended;
        let Arrivals { promoted, redriven, added: new, .. } = queue;
        let added = new.iter().map(AddedTask::from).collect();
        let outcomes =
            verdicts.iter().chain(&late_verdicts).map(|verdict| AttemptOutcome::from(&verdict.then)).collect();
        let mut writes = Vec::new();
        push(&mut writes, endings, Write::EndTasks);
        push(&mut writes, halts, Write::HaltTasks);
        push(&mut writes, verdicts, Write::SettleTasks);
        push(&mut writes, promoted, Write::PromoteTasks);
        push(&mut writes, redriven.iter().map(Revived::task_id).collect(), Write::RedriveTasks);
        push(&mut writes, new, Write::AddTasks);
        push(&mut writes, started, Write::StartTasks);
        push(&mut writes, late_verdicts, Write::SettleTasks);
        push(&mut writes, spent.iter().flat_map(|(_, added)| added.clone()).collect(), Write::AddUsage);
        if work.attempts.total > 0 {
            writes.push(Write::AddExecutions(work.attempts));
        }
        writes.extend(events.into_iter().map(Write::Event));
        if changes_nothing {
            writes.clear();
        }
        let kinds = writes.iter().map(kind_of).collect();
        (
            writes,
            CommittedPlan { kinds, tasks, added, redriven, spent, overs, requests, work, totals, verdicts: outcomes },
        )
    }

    /// The tasks that it changes, but for those that are new or become ready.
    fn tasks(&self) -> Vec<TaskId> {
        let mut tasks: Vec<TaskId> = self.ended.endings.iter().map(|ending| ending.task_id).collect();
        tasks.extend(self.halts.iter().map(|halting| halting.task_id));
        tasks.extend(self.verdicts.iter().map(|verdict| verdict.task_id));
        tasks.extend(self.late_verdicts.iter().map(|verdict| verdict.task_id));
        tasks.extend(self.queue.redriven.iter().map(Revived::task_id));
        tasks.extend(self.started.iter().map(|start| start.task_id));
        tasks
    }
}

impl From<&NewTask> for AddedTask {
    fn from(new: &NewTask) -> Self {
        let spec = &new.spec;
        let task = Submitted { task_id: spec.task_id, state: TaskState::Queued, created_at: new.at };
        Self { task, queue: QueueKey::of(spec.agent_id, &spec.tenant, spec.priority) }
    }
}

fn push<T>(writes: &mut Vec<Write>, items: Vec<T>, write: fn(Vec<T>) -> Write) {
    if !items.is_empty() {
        writes.push(write(items));
    }
}

impl Outcomes {
    pub(super) fn of(kinds: Vec<WriteKind>, outcomes: Vec<WriteOutcome>) -> Self {
        let mut answers = Self::default();
        for (kind, outcome) in kinds.into_iter().zip(outcomes) {
            let WriteOutcome::Tasks(outcomes) = outcome else { continue };
            match kind {
                WriteKind::End => answers.endings = outcomes,
                WriteKind::Settle => answers.verdicts.extend(outcomes),
                WriteKind::Redrive => answers.redriven = outcomes,
                WriteKind::Add => answers.added = outcomes,
                WriteKind::Start => answers.started = outcomes,
                WriteKind::Other => {}
            }
        }
        answers
    }
}

/// Which answer a write gives.
#[derive(Clone, Copy)]
pub(super) enum WriteKind {
    End,
    Settle,
    Redrive,
    Add,
    Start,
    Other,
}

const fn kind_of(write: &Write) -> WriteKind {
    match write {
        Write::EndTasks(_) => WriteKind::End,
        Write::SettleTasks(_) => WriteKind::Settle,
        Write::RedriveTasks(_) => WriteKind::Redrive,
        Write::AddTasks(_) => WriteKind::Add,
        Write::StartTasks(_) => WriteKind::Start,
        _ => WriteKind::Other,
    }
}

/// An attempt that is over, as it was seen.
#[derive(Clone, Debug)]
pub(super) struct SeenEnd {
    pub(super) task_id: TaskId,
    pub(super) number: u32,
    pub(super) end: AttemptEnd,
    pub(super) output: Option<Payload>,
    pub(super) last_output: String,
    pub(super) used: Usage,
    /// Whether the store has refused it before: then it has no words any more, and all else of it is counted.
    pub(super) refused_before: bool,
}

impl SeenEnd {
    pub(super) fn is_of(&self, task: TaskId, number: u32) -> bool {
        (self.task_id, self.number) == (task, number)
    }

    /// What it is of, for people.
    pub(super) fn whom(&self) -> String {
        format!("attempt {} at task {}", self.number, self.task_id)
    }

    /// Whether the store refuses it without its words too.
    pub(super) const fn is_refused_for_good(&self) -> bool {
        self.refused_before
    }

    /// The same end without its words and its result, of which the store will never take one.
    pub(super) fn without_words(mut self, why: &str) -> Self {
        self.refused_before = true;
        let words = format!("what it said can't be stored ({why})");
        self.output = None;
        self.last_output = String::new();
        match &mut self.end {
            AttemptEnd::Succeeded => self.end = AttemptEnd::Failed { message: words, retryable: false },
            AttemptEnd::Failed { message, .. }
            | AttemptEnd::StartFailed { message }
            | AttemptEnd::AgentDied { message }
            | AttemptEnd::Interrupted { message }
            | AttemptEnd::NotBegun { message } => *message = words,
            AttemptEnd::WorkerLost | AttemptEnd::Halted { .. } => {}
        }
        self
    }
}

impl From<&TaskOver> for SeenEnd {
    fn from(over: &TaskOver) -> Self {
        Self {
            task_id: over.task_id,
            number: over.attempt,
            end: over.end.clone(),
            output: over.output.clone(),
            last_output: over.last_output.clone(),
            used: over.usage,
            refused_before: false,
        }
    }
}
