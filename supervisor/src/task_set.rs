//! The tasks of a supervisor, by name. None of them ends by itself while the supervisor leads: where one does, a part of the
//! supervisor is missing, and that must not go unnoticed.

use std::collections::HashMap;

use tokio::task::{Id, JoinError, JoinHandle, JoinSet};

/// The tasks. They end with this.
#[derive(Default)]
pub(crate) struct TaskSet {
    tasks: JoinSet<()>,
    names: HashMap<Id, &'static str>,
}

/// A task that has ended.
pub(crate) struct EndedTask {
    pub(crate) name: &'static str,
    /// How: a panic, or just an end.
    pub(crate) how: String,
}

impl TaskSet {
    pub(crate) fn spawn(&mut self, name: &'static str, task: impl Future<Output = ()> + Send + 'static) {
        let id = self.tasks.spawn(task).id();
        self.names.insert(id, name);
    }

    /// Watches a task that is to outlive the task set, e.g. to carry out what is left to do in a shutdown.
    pub(crate) fn watch(&mut self, name: &'static str, task: JoinHandle<()>) {
        self.spawn(name, async move {
            if let Err(error) = task.await
                && error.is_panic()
            {
                std::panic::resume_unwind(error.into_panic());
            }
        });
    }

    /// Waits for the first that ends, for ever where there is none. Cancel-safe.
    pub(crate) async fn leaver(&mut self) -> EndedTask {
        match self.tasks.join_next_with_id().await {
            Some(Ok((id, ()))) => EndedTask { name: self.name(id), how: "it ended unasked".to_owned() },
            Some(Err(error)) => EndedTask { name: self.name(error.id()), how: describe(error) },
            None => std::future::pending().await,
        }
    }

    /// Ends them all.
    pub(crate) async fn dismiss(mut self) {
        self.tasks.shutdown().await;
    }

    fn name(&self, id: Id) -> &'static str {
        self.names.get(&id).copied().unwrap_or("unknown")
    }
}

/// A panic in its own words.
fn describe(error: JoinError) -> String {
    let Ok(panic) = error.try_into_panic() else { return "it was cancelled".to_owned() };
    let words = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    format!("it panicked: {}", words.unwrap_or("without words"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn who_leaves_is_told_by_name_and_by_how() {
        let mut task_set = TaskSet::default();
        task_set.spawn("faithful", std::future::pending());
        task_set.spawn("quiet", async {});
        let leaver = task_set.leaver().await;
        assert_eq!((leaver.name, leaver.how.as_str()), ("quiet", "it ended unasked"));
        task_set.spawn("loud", async { panic!("no {}", "way") });
        let leaver = task_set.leaver().await;
        assert_eq!((leaver.name, leaver.how.as_str()), ("loud", "it panicked: no way"));
        task_set.watch("far", tokio::spawn(async { panic!("far away") }));
        let leaver = task_set.leaver().await;
        assert_eq!((leaver.name, leaver.how.as_str()), ("far", "it panicked: far away"));
        task_set.dismiss().await;
    }
}
