//! Tasks that wait, the oldest first.

use std::collections::VecDeque;

use crate::clock::Tick;

/// A task, or several alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Waiting {
    /// When they came.
    pub(super) arrived: Tick,
    /// How long each runs.
    pub(super) length: Tick,
    /// How often each has been started.
    pub(super) attempts: u8,
    /// How many they are.
    pub(super) count: u32,
}

/// Those that wait: tasks that are alike are one entry.
#[derive(Default)]
pub(super) struct Backlog {
    waiting: VecDeque<Waiting>,
    tasks: u64,
}

impl Backlog {
    /// How many tasks wait.
    pub(super) const fn tasks(&self) -> u64 {
        self.tasks
    }

    /// New ones, behind all others.
    pub(super) fn add(&mut self, new: Waiting) {
        self.tasks += u64::from(new.count);
        match self.waiting.back_mut() {
            Some(last) if (last.arrived, last.length, last.attempts) == (new.arrived, new.length, new.attempts) => {
                last.count = last.count.saturating_add(new.count);
            }
            _ => self.waiting.push_back(new),
        }
    }

    /// One that lost its worker, before all others.
    pub(super) fn put_back(&mut self, task: Waiting) {
        self.tasks += u64::from(task.count);
        self.waiting.push_front(task);
    }

    /// The next task, alone.
    pub(super) fn take(&mut self) -> Option<Waiting> {
        let first = self.waiting.front_mut()?;
        let task = Waiting { count: 1, ..*first };
        first.count = first.count.saturating_sub(1);
        if first.count == 0 {
            self.waiting.pop_front();
        }
        self.tasks -= 1;
        Some(task)
    }

    /// All that wait.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Waiting> {
        self.waiting.iter()
    }
}
