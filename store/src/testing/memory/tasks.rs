//! Tasks: their transitions.

use std::collections::BTreeMap;

use muster_domain::{Attempt, AttemptEnd, FollowUp, Halt, PoolName, Tally, TaskId, TaskState, TaskStatus, Timestamp};

use crate::lives::MOST_MOVED;
use crate::{AttemptTotals, NewTask, TaskEnding, TaskHalting, TaskRow, TaskStart, TaskVerdict};

#[derive(Default)]
pub(super) struct TaskTable {
    pub(super) rows: BTreeMap<TaskId, TaskRow>,
    /// The step of the clock for which a task's wait was moved last.
    moved_for: BTreeMap<TaskId, String>,
}

/// Where a task stands after this, if it does not wait.
fn status_after(then: &FollowUp) -> Option<TaskStatus> {
    match then {
        FollowUp::Succeed => Some(TaskStatus::Succeeded),
        FollowUp::Fail(error) => Some(TaskStatus::Failed(error.clone())),
        FollowUp::Die(error) => Some(TaskStatus::Dead(error.clone())),
        FollowUp::Cancel => Some(TaskStatus::Cancelled),
        FollowUp::Retry { .. } => None,
    }
}

fn waits(row: &TaskRow) -> bool {
    row.status.state() == TaskState::Queued
}

impl TaskTable {
    /// Whether tasks of a pool wait or run.
    pub(super) fn are_left(&self, pool: &PoolName) -> bool {
        self.rows.values().any(|row| row.spec.pool_name == *pool && !row.status.state().is_final())
    }

    pub(super) fn add(&mut self, new: &NewTask) -> bool {
        let NewTask { spec, input, start, at, .. } = new;
        if self.rows.contains_key(&spec.task_id) {
            return false;
        }
        let row = TaskRow {
            spec: spec.clone(),
            input: input.clone(),
            status: start.map_or(TaskStatus::Queued { not_before: new.due_at() }, TaskStatus::Running),
            version: 1,
            totals: AttemptTotals { attempt: start.map_or(0, |attempt| attempt.number), ..AttemptTotals::default() },
            redrives: 0,
            output: None,
            history: Vec::new(),
            created_at: *at,
            started_at: start.map(|_| *at),
            finished_at: None,
        };
        self.rows.insert(spec.task_id, row).is_none()
    }

    pub(super) fn start(&mut self, start: &TaskStart) -> bool {
        let is_next = |row: &TaskRow| waits(row) && row.totals.attempt + 1 == start.attempt.number;
        self.change(start.task_id, is_next, |row| {
            (row.status, row.totals.attempt) = (TaskStatus::Running(start.attempt), start.attempt.number);
            row.started_at = Some(start.at);
        })
    }

    /// A person's wish stands above every other reason.
    pub(super) fn halt(&mut self, halting: &TaskHalting) -> bool {
        let TaskHalting { task_id, number, halt } = *halting;
        let Some(attempt) = self.attempt(task_id, number) else { return false };
        let may = |row: &TaskRow| !matches!(row.status, TaskStatus::Halting(..)) || halt == Halt::Cancelled;
        self.change(task_id, may, |row| row.status = TaskStatus::Halting(attempt, halt))
    }

    pub(super) fn end(&mut self, ending: &TaskEnding) -> bool {
        let TaskEnding { task_id, record, then, output, usage, tally } = ending;
        let runs = self.attempt(*task_id, record.number).is_some();
        self.change(
            *task_id,
            |_| runs,
            |row| {
                row.status = status_after(then).unwrap_or_else(|| {
                    let FollowUp::Retry { not_before } = then else { return TaskStatus::Queued { not_before: None } };
                    TaskStatus::Queued { not_before: not_before.filter(|due| *due > record.ended_at) }
                });
                row.finished_at = row.status.state().is_final().then_some(record.ended_at);
                // What never began is no part of the history.
                if !matches!(record.end, AttemptEnd::NotBegun { .. }) {
                    row.history.push(record.clone());
                }
                (row.output, row.totals.usage, row.totals.tally) = (output.clone(), *usage, *tally);
            },
        )
    }

    /// `Succeed` and `Retry` are no verdicts on what waits.
    pub(super) fn settle(&mut self, verdict: &TaskVerdict) -> bool {
        let status = status_after(&verdict.then).filter(|status| *status != TaskStatus::Succeeded);
        let Some(status) = status else { return false };
        self.change(verdict.task_id, waits, |row| (row.status, row.finished_at) = (status, Some(verdict.at)))
    }

    pub(super) fn promote(&mut self, id: TaskId) -> bool {
        let is_delayed = |row: &TaskRow| matches!(row.status, TaskStatus::Queued { not_before: Some(_) });
        self.change(id, is_delayed, |row| row.status = TaskStatus::Queued { not_before: None })
    }

    pub(super) fn redrive(&mut self, id: TaskId, has_pool: impl Fn(&PoolName) -> bool) -> bool {
        let given_up = |row: &TaskRow| {
            matches!(row.status, TaskStatus::Dead(_) | TaskStatus::Failed(_)) && has_pool(&row.spec.pool_name)
        };
        self.change(id, given_up, |row| {
            row.status = TaskStatus::Queued { not_before: None };
            (row.totals.tally, row.output, row.spec.expires_at, row.finished_at) = (Tally::default(), None, None, None);
            row.redrives += 1;
        })
    }

    pub(super) fn remove(&mut self, id: TaskId) -> bool {
        self.moved_for.remove(&id);
        self.rows.remove(&id).is_some()
    }

    /// Waits that are durations end later by so much, some at a time and each once for this step of the clock. Whether there
    /// were any.
    pub(super) fn shift(&mut self, pool: Option<&PoolName>, by_millis: i64, step: &str) -> bool {
        let moved_for = &mut self.moved_for;
        let may_move = |row: &&mut TaskRow| {
            let of_pool = pool.is_none_or(|pool| row.spec.pool_name == *pool);
            of_pool && (row.totals.attempt > 0 || row.spec.not_before.is_none())
        };
        let delayed = self.rows.values_mut().filter(may_move).filter_map(|row| match &mut row.status {
            TaskStatus::Queued { not_before: Some(due) } => Some((row.spec.task_id, due, &mut row.version)),
            _ => None,
        });
        let is_new = |(id, ..): &(TaskId, _, _)| moved_for.insert(*id, step.to_owned()).is_none_or(|last| last != step);
        let mut found = false;
        for (_, due, version) in delayed.filter(is_new).take(MOST_MOVED as usize) {
            *due = Timestamp::from_millis(due.as_millis() + by_millis);
            *version += 1;
            found = true;
        }
        found
    }

    pub(super) fn bring_back(&mut self, to: Timestamp) {
        let ends = self.rows.values_mut().filter_map(|row| row.finished_at.as_mut());
        ends.for_each(|end| *end = (*end).min(to));
    }

    /// Removes those that ended before this moment.
    pub(super) fn prune(&mut self, before: Timestamp) -> Vec<TaskId> {
        let is_old = |row: &&TaskRow| row.finished_at.is_some_and(|end| end < before);
        let old: Vec<TaskId> = self.rows.values().filter(is_old).map(|row| row.spec.task_id).collect();
        for id in &old {
            self.remove(*id);
        }
        old
    }

    /// The attempt with this number, if the task runs as it.
    fn attempt(&self, id: TaskId, number: u32) -> Option<Attempt> {
        self.rows.get(&id)?.status.attempt().filter(|attempt| attempt.number == number)
    }

    fn change(&mut self, id: TaskId, may: impl FnOnce(&TaskRow) -> bool, change: impl FnOnce(&mut TaskRow)) -> bool {
        let Some(row) = self.rows.get_mut(&id).filter(|row| may(row)) else { return false };
        row.version += 1;
        change(row);
        true
    }
}
