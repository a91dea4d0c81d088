//! Follows one task from its picture now to its end.

use std::fmt;

use muster_domain::TaskId;
use tokio::sync::watch;

use crate::error::SupervisorError;
use crate::keeper::tasks::TaskSignal;
use crate::tasks::Tasks;
use crate::view::{TaskNews, TaskView};

/// Follows one task: its picture now, then its changes, until it is over. Whoever reads slowly misses nothing but the steps
/// in between: a picture is always the latest.
pub struct TaskFollower {
    tasks: Tasks,
    task: TaskId,
    signal: watch::Receiver<TaskSignal>,
    /// The version that was told last; 0 before the first.
    told: u64,
    /// The changes that the told picture has.
    changes: Option<u64>,
    is_over: bool,
}

impl fmt::Debug for TaskFollower {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TaskFollower").field("task", &self.task).field("told", &self.told).finish_non_exhaustive()
    }
}

impl TaskFollower {
    pub(crate) const fn new(tasks: Tasks, task: TaskId, signal: watch::Receiver<TaskSignal>) -> Self {
        Self { tasks, task, signal, told: 0, changes: None, is_over: false }
    }

    /// What is new; `None` when the task was over with the last news. Cancel-safe.
    ///
    /// # Errors
    /// Where the store or the supervisor is away.
    pub async fn next(&mut self) -> Result<Option<TaskNews>, SupervisorError> {
        if self.is_over {
            return Ok(None);
        }
        loop {
            let signal = self.signal.borrow_and_update().clone();
            if self.changes != Some(signal.changes) {
                let view = self.tasks.view(self.tasks.row(self.task).await?).await?;
                // Not before the picture is there: whoever stops waiting in between asks again.
                self.changes = Some(signal.changes);
                if let Some(news) = self.tell(view) {
                    return Ok(Some(news));
                }
            }
            self.signal.changed().await.map_err(|_| SupervisorError::Stopping)?;
            let after = self.signal.borrow().clone();
            if self.changes == Some(after.changes)
                && after.progress != signal.progress
                && let Some(progress) = after.progress
            {
                return Ok(Some(TaskNews::Progress(progress)));
            }
        }
    }

    fn tell(&mut self, view: TaskView) -> Option<TaskNews> {
        let is_new = view.version > self.told;
        self.told = self.told.max(view.version);
        self.is_over = view.state.is_final();
        is_new.then(|| TaskNews::Changed(Box::new(view)))
    }
}
