//! The tasks that a program was given and has not answered.

use std::collections::HashMap;
use std::sync::Arc;

use muster_domain::{Cause, TaskId};
use tokio::time::Instant;

use super::excerpt::{Excerpt, TenantsSeen};
use super::host::{Extent, Printed};
use super::protocol::{MessageBody, TaskMessage};
use crate::log::LogStream;
use crate::notes::Notes;
use crate::slots::StopMode;
use crate::tasks::{AttemptId, AttemptStart, Finish, Finished};

/// A program's tasks, by their ids: it knows of no attempts but the one that it has.
#[derive(Default)]
pub(super) struct OpenTasks {
    tasks: HashMap<TaskId, OpenTask>,
    tenants: TenantsSeen,
}

struct OpenTask {
    attempt: u32,
    notes: Arc<Notes>,
    /// It was told to stop this one, and is to answer by then; else it is ended so.
    answer_by: Option<(Instant, StopMode)>,
    excerpt: Excerpt,
}

impl OpenTask {
    fn is(&self, attempt: Option<u32>) -> bool {
        attempt.is_none_or(|said| said == self.attempt)
    }

    fn finish(self, task_id: TaskId, end: Finished) -> Finish {
        let last_output = if matches!(end, Finished::Done(_)) { String::new() } else { self.excerpt.text() };
        Finish { id: AttemptId { task_id, attempt: self.attempt }, end, last_output }
    }
}

/// What became of a message about a task.
pub(super) enum MessageOutcome {
    /// It is about none of these tasks.
    Foreign,
    /// It was taken down.
    Noted,
    /// It was the last one about its task.
    Last(Finish),
}

impl OpenTasks {
    /// The attempt at this task that is here.
    pub(super) fn attempt(&self, task_id: &TaskId) -> Option<u32> {
        self.tasks.get(task_id).map(|task| task.attempt)
    }

    /// A task is handed to the program, which has printed so much; the line ends there in its stdin.
    pub(super) fn put(&mut self, start: &AttemptStart, printed: Extent, until: u64) {
        let AttemptId { task_id, attempt } = start.id();
        let company = self.tenants.add(start.order.sole_tenant.as_deref());
        let mut excerpt = Excerpt::new(company, printed, until, Instant::now());
        if !self.tasks.is_empty() {
            excerpt.share();
            self.tasks.values_mut().for_each(|task| task.excerpt.share());
        }
        self.tasks.insert(task_id, OpenTask { attempt, notes: Arc::clone(&start.notes), answer_by: None, excerpt });
    }

    /// A program was started for this task, and has no other one.
    pub(super) fn put_only(&mut self, start: &AttemptStart) {
        let AttemptId { task_id, attempt } = start.id();
        let (notes, excerpt) = (Arc::clone(&start.notes), Excerpt::of_all());
        self.tasks.insert(task_id, OpenTask { attempt, notes, answer_by: None, excerpt });
    }

    /// What was printed last of this task, where it is here.
    pub(super) fn last_output(&self, task_id: &TaskId) -> String {
        self.tasks.get(task_id).map_or_else(String::new, |task| task.excerpt.text())
    }

    /// A task is over.
    pub(super) fn end(&mut self, task_id: TaskId, end: Finished) -> Option<Finish> {
        Some(self.tasks.remove(&task_id)?.finish(task_id, end))
    }

    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.tasks.is_empty()
    }

    /// The excerpt of the one task of which it is not known yet whether the program has read it.
    pub(super) fn untold(&mut self) -> Option<&mut Excerpt> {
        self.alone().filter(|excerpt| excerpt.next_look().is_some())
    }

    /// A line for the log, and the task that it names, if it does.
    pub(super) fn print(&mut self, stream: LogStream, line: Printed<'_>, named: Option<(TaskId, Option<u32>)>) {
        match named {
            Some((task_id, attempt)) => {
                if let Some(task) = self.tasks.get_mut(&task_id).filter(|task| task.is(attempt)) {
                    task.excerpt.add_named(line.text);
                }
            }
            None => {
                if let Some(excerpt) = self.alone() {
                    excerpt.add(stream, line);
                }
            }
        }
    }

    fn alone(&mut self) -> Option<&mut Excerpt> {
        if self.tasks.len() > 1 {
            return None;
        }
        self.tasks.values_mut().next().map(|task| &mut task.excerpt)
    }

    /// The program gave a sign, of which nobody knows what task it is about.
    pub(super) fn note(&self, now: Instant) {
        self.tasks.values().for_each(|task| task.notes.sign(now));
    }

    /// Takes what the program said about a task.
    pub(super) fn hear(&mut self, said: TaskMessage) -> MessageOutcome {
        let TaskMessage { task_id, attempt, body } = said;
        let Some(task) = self.tasks.get(&task_id).filter(|task| task.is(attempt)) else {
            return MessageOutcome::Foreign;
        };
        match body {
            MessageBody::Note(note) => {
                task.notes.put(note);
                MessageOutcome::Noted
            }
            MessageBody::End(end) => self.end(task_id, end).map_or(MessageOutcome::Foreign, MessageOutcome::Last),
        }
    }

    /// An attempt is to stop, and an answer is expected by then. Answers whether that is new.
    pub(super) fn halt(&mut self, id: AttemptId, answer_by: Instant, else_end: StopMode) -> bool {
        let task = self.tasks.get_mut(&id.task_id).filter(|task| task.attempt == id.attempt);
        task.is_some_and(|task| task.answer_by.replace((answer_by, else_end)).is_none())
    }

    /// When the next answer to a halt is due.
    pub(super) fn next_answer(&self) -> Option<Instant> {
        self.tasks.values().filter_map(|task| Some(task.answer_by?.0)).min()
    }

    /// How the program is to be ended, where an answer is overdue.
    pub(super) fn overdue(&self, now: Instant) -> Option<StopMode> {
        let late = self.tasks.values().filter_map(|task| task.answer_by).filter(|(by, _)| *by <= now);
        late.map(|(_, how)| how).max()
    }

    /// When to look whether the program has read its task.
    pub(super) fn next_look(&self) -> Option<Instant> {
        let mut tasks = self.tasks.values();
        tasks.next().filter(|_| tasks.next().is_none()).and_then(|task| task.excerpt.next_look())
    }

    /// These were lost on their way to the program.
    pub(super) fn lose(&mut self, lost: Vec<TaskId>, why: &str) -> Vec<Finish> {
        let end = || Finished::Failed { message: why.to_owned(), retryable: true };
        lost.into_iter().filter_map(|task_id| self.end(task_id, end())).collect()
    }

    /// The program is gone, for this reason, and with it the work on all of these.
    pub(super) fn clear(&mut self, cause: &Cause) -> Vec<Finish> {
        self.tasks.drain().map(|(task_id, task)| task.finish(task_id, Finished::Lost(cause.clone()))).collect()
    }
}
