//! The statements of a batch of tasks, and what their answers say of each task.

use std::collections::HashSet;

use muster_domain::TaskId;

use crate::sql::{Batched, RefusedRow, SqlValue, Statement, StatementResult};
use crate::{StoreError, TaskOutcome, keys};

/// The statements of a batch, and of which tasks the answer to each tells.
#[derive(Debug)]
pub(crate) struct TaskSteps {
    /// In this order.
    pub(crate) steps: Vec<Statement>,
    pub(crate) reading: TaskReading,
}

/// How the answers tell what became of each task.
#[derive(Debug)]
pub(crate) struct TaskReading {
    /// Of what each step's answer tells.
    tells: Vec<Tells>,
    /// Tasks in the batch.
    tasks: usize,
}

/// Of what the answer to a step tells. Tasks are named with their places in the batch.
#[derive(Debug)]
pub(crate) enum Tells {
    /// The rows are the ids of those of these tasks that were changed.
    Changed(Vec<(TaskId, usize)>),
    /// The row says whose the key is that this task came with.
    Holder(TaskId, usize),
    /// Nothing of its own.
    Nothing,
}

impl TaskSteps {
    /// Of a batch of so many tasks, without a statement.
    pub(crate) const fn of(tasks: usize) -> Self {
        Self { steps: Vec::new(), reading: TaskReading { tells: Vec::new(), tasks } }
    }

    /// The same statement over all tasks of a batch. The first of a task's fields is its id.
    pub(crate) fn over<T>(
        text: &'static Batched,
        items: &[T],
        id: impl Fn(&T) -> TaskId,
        fields: impl Fn(&T) -> Vec<SqlValue>,
    ) -> Self {
        let mut steps = Self::of(items.len());
        steps.push_all(text, items.iter().enumerate().map(|(place, item)| (place, id(item), fields(item))));
        steps
    }

    pub(crate) fn push(&mut self, step: Statement, tells: Tells) {
        self.steps.push(step);
        self.reading.tells.push(tells);
    }

    /// Adds statements over these tasks: place in the batch, id, fields.
    pub(crate) fn push_all(
        &mut self,
        text: &'static Batched,
        tasks: impl Iterator<Item = (usize, TaskId, Vec<SqlValue>)>,
    ) {
        for (step, tasks) in text.steps(tasks) {
            self.push(step, Tells::Changed(tasks));
        }
    }
}

impl TaskReading {
    /// One outcome per task, in the order of the batch.
    pub(crate) fn outcomes(&self, answers: &mut [StatementResult]) -> Result<Vec<TaskOutcome>, StoreError> {
        if answers.len() != self.tells.len() {
            return Err(StoreError::Corrupt("a write without an answer".to_owned()));
        }
        let mut outcomes = vec![TaskOutcome::Unchanged; self.tasks];
        for (tells, answer) in self.tells.iter().zip(answers) {
            tells.read(answer, &mut outcomes)?;
        }
        Ok(outcomes)
    }
}

impl Tells {
    /// The place of the task that a row of the step is about.
    fn place(&self, row: usize) -> Option<usize> {
        match self {
            Self::Changed(tasks) => tasks.get(row).map(|(_, place)| *place),
            Self::Holder(_, place) => Some(*place),
            Self::Nothing => None,
        }
    }

    fn read(&self, answer: &mut StatementResult, outcomes: &mut [TaskOutcome]) -> Result<(), StoreError> {
        for RefusedRow { row, why } in std::mem::take(&mut answer.refused) {
            if let Some(place) = self.place(row) {
                outcomes[place] = TaskOutcome::Refused(why);
            }
        }
        let rows = std::mem::take(&mut answer.rows);
        match self {
            Self::Nothing => {}
            Self::Changed(tasks) if rows.len() == tasks.len() => {
                tasks.iter().for_each(|(_, place)| outcomes[*place] = TaskOutcome::Applied);
            }
            Self::Changed(tasks) => {
                let ids = rows.into_iter().map(|row| row.into_fields().parsed());
                let changed: HashSet<TaskId> = ids.collect::<Result<_, _>>()?;
                let applied = tasks.iter().filter(|(id, _)| changed.contains(id));
                applied.for_each(|(_, place)| outcomes[*place] = TaskOutcome::Applied);
            }
            Self::Holder(ours, place) => {
                let Some(row) = rows.into_iter().next() else { return Ok(()) };
                let (task_id, body_hash) = keys::read(row.into_fields())?;
                if task_id != *ours {
                    outcomes[*place] = TaskOutcome::Replayed { task_id, body_hash };
                }
            }
        }
        Ok(())
    }
}
