//! Those who follow tasks.

use std::collections::HashMap;

use muster_domain::{Progress, TaskId};
use tokio::sync::watch;

use super::TaskSignal;

/// Followers that are kept without looking whether they still listen.
const FOLLOWERS: usize = 1_024;

/// Who listens to which task.
pub(super) struct Followers {
    by_task: HashMap<TaskId, watch::Sender<TaskSignal>>,
    /// Past so many, those that nobody listens to any more are cleared away.
    most: usize,
}

impl Default for Followers {
    fn default() -> Self {
        Self { by_task: HashMap::new(), most: FOLLOWERS }
    }
}

impl Followers {
    /// From now on the receiver hears of the task, which is as far as this.
    pub(super) fn follow(&mut self, task: TaskId, progress: Option<Progress>) -> watch::Receiver<TaskSignal> {
        // Of those whose task never changed again nobody else takes the senders away.
        if self.by_task.len() >= self.most {
            self.by_task.retain(|_, follower| follower.receiver_count() > 0);
            self.most = (self.by_task.len() * 2).max(FOLLOWERS);
        }
        let signal = TaskSignal { changes: 0, progress };
        self.by_task.entry(task).or_insert_with(|| watch::Sender::new(signal)).subscribe()
    }

    /// Tells those who follow a task that it has changed.
    pub(super) fn tell(&mut self, task: TaskId) {
        self.signal(task, |signal| signal.changes += 1);
    }

    /// Tells them how far it is.
    pub(super) fn tell_progress(&mut self, task: TaskId, progress: Option<Progress>) {
        self.signal(task, |signal| signal.progress = progress);
    }

    /// Anything may have changed: all of them look again.
    pub(super) fn tell_everybody(&mut self) {
        self.by_task.retain(|_, follower| follower.receiver_count() > 0);
        self.by_task.values().for_each(|follower| follower.send_modify(|signal| signal.changes += 1));
    }

    fn signal(&mut self, task: TaskId, change: impl FnOnce(&mut TaskSignal)) {
        let Some(follower) = self.by_task.get(&task) else { return };
        follower.send_modify(change);
        if follower.receiver_count() == 0 {
            self.by_task.remove(&task);
        }
    }
}
