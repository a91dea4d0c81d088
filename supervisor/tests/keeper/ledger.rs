//! What really runs, over all fake workers: the promises about runs are checked here, when they are broken.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use muster_domain::{AgentId, Epoch, ProcessId, TaskId};

/// Shared by the workers of a world.
#[derive(Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<Book>>);

#[derive(Default)]
struct Book {
    running: HashMap<AgentId, (ProcessId, Epoch)>,
    starts: HashMap<AgentId, Vec<Epoch>>,
    /// Attempts that are under way.
    tasks: HashMap<TaskId, Live>,
    /// The number of the latest attempt at each task.
    attempts: HashMap<TaskId, u32>,
    /// How often each task was done.
    done: HashMap<TaskId, u32>,
    /// Tasks that an agent may have at once, if not one.
    tasks_per_agent: Option<usize>,
    violations: Vec<String>,
}

struct Live {
    worker: ProcessId,
    agent: AgentId,
    number: u32,
}

impl Ledger {
    /// A run begins: at most one of an agent, and each epoch once.
    pub(crate) fn begin(&self, worker: ProcessId, agent: AgentId, epoch: Epoch) {
        let mut book = self.book();
        if let Some((other, held)) = book.running.insert(agent, (worker, epoch)) {
            book.violations.push(format!("{agent} runs on {worker} ({epoch}) while it runs on {other} ({held})"));
        }
        let starts = book.starts.entry(agent).or_default();
        let twice = starts.contains(&epoch);
        starts.push(epoch);
        if twice {
            book.violations.push(format!("{agent} was started twice with epoch {epoch}"));
        }
    }

    pub(crate) fn end(&self, agent: AgentId, epoch: Epoch) {
        let mut book = self.book();
        if book.running.get(&agent).is_some_and(|(_, held)| *held == epoch) {
            book.running.remove(&agent);
        }
    }

    pub(crate) fn end_worker(&self, worker: ProcessId) {
        let mut book = self.book();
        book.running.retain(|_, (on, _)| *on != worker);
        book.tasks.retain(|_, live| live.worker != worker);
    }

    /// From now on an agent may have so many tasks at once.
    pub(crate) fn allow_tasks(&self, per_agent: usize) {
        self.book().tasks_per_agent = Some(per_agent);
    }

    /// An attempt begins: at most one at a task, each number once and rising, and an agent has no more than it takes.
    pub(crate) fn begin_task(&self, worker: ProcessId, agent: AgentId, (task, number): (TaskId, u32)) {
        let mut book = self.book();
        if let Some(other) = book.tasks.insert(task, Live { worker, agent, number }) {
            let Live { agent: before, number: old, .. } = other;
            book.violations.push(format!("{agent} has attempt {number} at {task} while {before} has {old}"));
        }
        let latest = book.attempts.insert(task, number).unwrap_or(0);
        if number <= latest {
            book.violations.push(format!("attempt {number} at {task} comes after {latest}"));
        }
        let held = book.tasks.values().filter(|live| live.agent == agent).count();
        if held > book.tasks_per_agent.unwrap_or(1) {
            book.violations.push(format!("{agent} has {held} tasks at once"));
        }
    }

    pub(crate) fn end_task(&self, (task, number): (TaskId, u32), succeeded: bool) {
        let mut book = self.book();
        if book.tasks.get(&task).is_some_and(|live| live.number == number) {
            book.tasks.remove(&task);
        }
        if succeeded {
            *book.done.entry(task).or_default() += 1;
        }
    }

    /// How often a task was done.
    pub(crate) fn times_done(&self, task: TaskId) -> u32 {
        self.book().done.get(&task).copied().unwrap_or(0)
    }

    /// The number of the latest attempt that was begun.
    pub(crate) fn latest_attempt(&self, task: TaskId) -> u32 {
        self.book().attempts.get(&task).copied().unwrap_or(0)
    }

    /// Tasks that are under way, and who has them.
    pub(crate) fn under_way(&self) -> HashMap<TaskId, AgentId> {
        self.book().tasks.iter().map(|(task, live)| (*task, live.agent)).collect()
    }

    pub(crate) fn violate(&self, what: String) {
        self.book().violations.push(what);
    }

    pub(crate) fn place_of(&self, agent: AgentId) -> Option<(ProcessId, Epoch)> {
        self.book().running.get(&agent).copied()
    }

    pub(crate) fn running(&self) -> Vec<AgentId> {
        self.book().running.keys().copied().collect()
    }

    /// How often an agent was started.
    pub(crate) fn starts(&self, agent: AgentId) -> usize {
        self.book().starts.get(&agent).map_or(0, Vec::len)
    }

    pub(crate) fn violations(&self) -> Vec<String> {
        self.book().violations.clone()
    }

    fn book(&self) -> MutexGuard<'_, Book> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
