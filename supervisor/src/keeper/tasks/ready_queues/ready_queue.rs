//! One queue: its head in memory, and what the store has of it beyond that.

use std::collections::VecDeque;

use muster_domain::{TaskId, Timestamp};
use muster_store::{QueuedTask, SHORT_INPUT};

/// Ready tasks, the oldest first. Everything up to the end of the head is in it.
#[derive(Default)]
pub(super) struct ReadyQueue {
    /// By id. No tree: of thousands of tenants most have a task or two, and a tree has room for eleven at once.
    head: VecDeque<QueuedTask>,
    /// Of the head.
    bytes: usize,
    rest: UnreadRest,
}

/// What the store has of a queue beyond its head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum UnreadRest {
    /// Nothing.
    #[default]
    None,
    /// Tasks after this one, from the beginning where there is none; the first of them is not older than `since`.
    After { last: Option<TaskId>, since: Timestamp },
}

impl ReadyQueue {
    /// A queue of which nothing was read yet, and whose first task is this one.
    pub(super) const fn unread(first: TaskId) -> Self {
        Self { head: VecDeque::new(), bytes: 0, rest: UnreadRest::After { last: None, since: first.made_at() } }
    }

    /// Puts a ready task where its age belongs. What belongs behind the head stays in the store.
    pub(super) fn add(&mut self, mut task: QueuedTask) {
        if self.covers(task.task_id) {
            task.input = task.input.filter(|input| input.len() <= SHORT_INPUT as usize);
            self.insert(task);
        }
    }

    pub(super) fn take(&mut self, id: TaskId) -> Option<QueuedTask> {
        let task = self.head.remove(self.place(id).ok()?)?;
        self.bytes -= task.size();
        Some(task)
    }

    /// Where to read on; nothing where at least `enough` tasks are in memory, or all.
    pub(super) fn gap(&self, enough: usize) -> Option<Option<TaskId>> {
        match self.rest {
            UnreadRest::After { last, .. } if self.head.len() < enough => Some(last),
            _ => None,
        }
    }

    /// The tasks that were read at the gap, and whether there are more.
    pub(super) fn fill(&mut self, tasks: Vec<QueuedTask>, more: bool) {
        self.rest = match tasks.last() {
            Some(last) if more => UnreadRest::After { last: Some(last.task_id), since: last.created_at },
            _ => UnreadRest::None,
        };
        self.head.reserve_exact(tasks.len());
        tasks.into_iter().for_each(|task| self.insert(task));
    }

    /// Forgets all but the oldest `keep` tasks: the store has the others.
    pub(super) fn shorten(&mut self, keep: usize) {
        while self.head.len() > keep
            && let Some(forgotten) = self.head.pop_back()
        {
            self.bytes -= forgotten.size();
            let last = self.head.back().map(|task| task.task_id);
            self.rest = UnreadRest::After { last, since: forgotten.created_at };
        }
        if keep == 0 {
            self.head.shrink_to_fit();
        }
    }

    /// Tasks in memory.
    pub(super) fn len(&self) -> usize {
        self.head.len()
    }

    /// Memory of these tasks.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether it has no tasks at all.
    pub(super) fn is_empty(&self) -> bool {
        self.head.is_empty() && self.rest == UnreadRest::None
    }

    /// Whether the store may have more of it.
    pub(super) fn has_rest(&self) -> bool {
        self.rest != UnreadRest::None
    }

    /// Whether it may have tasks, but none of them is in memory.
    pub(super) fn is_unread(&self) -> bool {
        self.head.is_empty() && self.has_rest()
    }

    /// The tasks in memory, the oldest first.
    pub(super) fn tasks(&self) -> impl Iterator<Item = &QueuedTask> {
        self.head.iter()
    }

    /// When its oldest task was asked for.
    pub(super) fn oldest(&self) -> Option<Timestamp> {
        match (self.head.front(), self.rest) {
            (Some(task), _) => Some(task.created_at),
            (None, UnreadRest::After { since, .. }) => Some(since),
            (None, UnreadRest::None) => None,
        }
    }

    fn insert(&mut self, task: QueuedTask) {
        self.bytes += task.size();
        match self.place(task.task_id) {
            Ok(known) => self.bytes -= std::mem::replace(&mut self.head[known], task).size(),
            Err(place) => self.head.insert(place, task),
        }
    }

    /// Where a task is in the head, or belongs.
    fn place(&self, id: TaskId) -> Result<usize, usize> {
        // Nearly all come behind the last, and go from the front.
        match (self.head.front(), self.head.back()) {
            (Some(first), _) if first.task_id == id => Ok(0),
            (_, Some(last)) if last.task_id < id => Err(self.head.len()),
            _ => self.head.binary_search_by_key(&id, |task| task.task_id),
        }
    }

    fn covers(&self, id: TaskId) -> bool {
        match self.rest {
            UnreadRest::None => true,
            UnreadRest::After { last, .. } => last.is_some_and(|last| id <= last),
        }
    }
}
