//! The tasks that a program was given and has not answered.

use std::collections::HashMap;
use std::sync::Arc;

use muster_domain::TaskId;
use tokio::time::Instant;

use super::contract::{LONGEST_OUTPUT, What, Word};
use crate::sign::Sign;
use crate::tasks::{AttemptId, Errand, Finish, Finished};

/// A program's tasks, by their ids: it knows of no attempts but the one that it has.
#[derive(Default)]
pub(super) struct Desk {
    tasks: HashMap<TaskId, Task>,
}

struct Task {
    attempt: u32,
    sign: Arc<Sign>,
    /// It was told to stop this one, and is to answer by then.
    answer_by: Option<Instant>,
}

/// What became of a word about a task.
pub(super) enum Heard {
    /// It is about none of these tasks.
    Foreign,
    /// It was taken down.
    Noted,
    /// It was the last one about its task.
    Last(AttemptId, Finished),
}

impl Desk {
    /// The attempt at this task that is here.
    pub(super) fn attempt(&self, task_id: &TaskId) -> Option<u32> {
        self.tasks.get(task_id).map(|task| task.attempt)
    }

    pub(super) fn put(&mut self, errand: &Errand) {
        let AttemptId { task_id, attempt } = errand.id();
        self.tasks.insert(task_id, Task { attempt, sign: Arc::clone(&errand.sign), answer_by: None });
    }

    /// The program gave a sign, of which nobody knows what task it is about.
    pub(super) fn note(&self, now: Instant) {
        self.tasks.values().for_each(|task| task.sign.note(now));
    }

    /// Takes what the program said about a task.
    pub(super) fn hear(&mut self, word: Word) -> Heard {
        let Word { task_id, attempt, what } = word;
        let Some(task) = self.tasks.get(&task_id).filter(|task| attempt.is_none_or(|said| said == task.attempt)) else {
            return Heard::Foreign;
        };
        let end = match what {
            What::Progress(progress) => {
                task.sign.progress(progress);
                return Heard::Noted;
            }
            What::Usage(usage) => {
                task.sign.add(usage);
                return Heard::Noted;
            }
            What::Result(output) => Finished::Done(output),
            What::Error { message, retryable } => Finished::Failed { message, retryable },
            What::TooLong => {
                let message = format!("its result is longer than {LONGEST_OUTPUT} bytes");
                Finished::Failed { message, retryable: false }
            }
        };
        let id = AttemptId { task_id, attempt: task.attempt };
        self.tasks.remove(&task_id);
        Heard::Last(id, end)
    }

    /// An attempt is to stop, and an answer is expected by then. Answers whether that is new.
    pub(super) fn halt(&mut self, id: AttemptId, answer_by: Instant) -> bool {
        let task = self.tasks.get_mut(&id.task_id).filter(|task| task.attempt == id.attempt);
        task.is_some_and(|task| task.answer_by.replace(answer_by).is_none())
    }

    /// When the next answer to a halt is due.
    pub(super) fn next(&self) -> Option<Instant> {
        self.tasks.values().filter_map(|task| task.answer_by).min()
    }

    /// These were lost on their way to the program.
    pub(super) fn lose(&mut self, lost: Vec<TaskId>, why: &str) -> Vec<Finish> {
        let lost = lost.into_iter().filter_map(|task_id| Some((task_id, self.tasks.remove(&task_id)?.attempt)));
        lost.map(|(task_id, attempt)| Finish {
            id: AttemptId { task_id, attempt },
            end: Finished::Failed { message: why.to_owned(), retryable: true },
            last_output: String::new(),
        })
        .collect()
    }
}
