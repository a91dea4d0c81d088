//! Values that the store never takes: what has one is left out of its batch, and all else goes on.

use std::sync::Arc;

use crate::{TaskOutcome, Write, WriteOutcome};

/// Whether a write has such a value.
pub(super) type Poison = Box<dyn FnMut(&Write) -> bool + Send>;

/// A batch without what is poisoned.
pub(super) struct Sifted {
    /// The writes that are left.
    pub(super) taken: Vec<Write>,
    /// Of each write of the batch.
    left_out: Vec<LeftOut>,
}

enum LeftOut {
    Nothing,
    All,
    /// Of a write about many tasks those for which this says so.
    Some(Vec<bool>),
}

/// None where nothing is poisoned at all.
pub(super) fn sift(writes: &[Write], poison: &mut [Poison]) -> Option<Sifted> {
    if poison.is_empty() {
        return None;
    }
    let mut is_bad = |write: &Write| poison.iter_mut().any(|poison| poison(write));
    let (mut taken, mut left_out) = (Vec::new(), Vec::new());
    for write in writes {
        let (left, out) = sift_one(write, &mut is_bad);
        taken.extend(left);
        left_out.push(out);
    }
    Some(Sifted { taken, left_out })
}

fn sift_one(write: &Write, is_bad: &mut dyn FnMut(&Write) -> bool) -> (Option<Write>, LeftOut) {
    match write {
        Write::AddTasks(rows) => sift_rows(rows, Write::AddTasks, is_bad),
        Write::StartTasks(rows) => sift_rows(rows, Write::StartTasks, is_bad),
        Write::HaltTasks(rows) => sift_rows(rows, Write::HaltTasks, is_bad),
        Write::EndTasks(rows) => sift_rows(rows, Write::EndTasks, is_bad),
        Write::SettleTasks(rows) => sift_rows(rows, Write::SettleTasks, is_bad),
        write if is_bad(write) => (None, LeftOut::All),
        write => (Some(write.clone()), LeftOut::Nothing),
    }
}

fn sift_rows<T: Clone>(
    rows: &[T],
    of: fn(Vec<T>) -> Write,
    is_bad: &mut dyn FnMut(&Write) -> bool,
) -> (Option<Write>, LeftOut) {
    let bad: Vec<bool> = rows.iter().map(|row| is_bad(&of(vec![row.clone()]))).collect();
    let left = rows.iter().zip(&bad).filter(|(_, bad)| !**bad).map(|(row, _)| row.clone()).collect();
    (Some(of(left)), LeftOut::Some(bad))
}

fn why() -> Arc<str> {
    "poisoned".into()
}

impl Sifted {
    /// What became of each write of the batch, by what became of those that were taken.
    pub(super) fn told(self, outcomes: Vec<WriteOutcome>) -> Vec<WriteOutcome> {
        let mut outcomes = outcomes.into_iter();
        let tell = |out| match out {
            LeftOut::All => Some(WriteOutcome::Refused(why())),
            LeftOut::Nothing => outcomes.next(),
            LeftOut::Some(bad) => match outcomes.next() {
                Some(WriteOutcome::Tasks(told)) => Some(WriteOutcome::Tasks(told_of_tasks(&bad, told))),
                other => other,
            },
        };
        self.left_out.into_iter().filter_map(tell).collect()
    }
}

fn told_of_tasks(bad: &[bool], told: Vec<TaskOutcome>) -> Vec<TaskOutcome> {
    let mut told = told.into_iter();
    bad.iter().filter_map(|bad| if *bad { Some(TaskOutcome::Refused(why())) } else { told.next() }).collect()
}
