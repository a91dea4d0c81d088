//! What really runs, over all fake workers: the promises about runs are checked here, when they are broken.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use muster_domain::{AgentId, Epoch, ProcessId};

/// Shared by the workers of a world.
#[derive(Clone, Default)]
pub(crate) struct Ledger(Arc<Mutex<Book>>);

#[derive(Default)]
struct Book {
    running: HashMap<AgentId, (ProcessId, Epoch)>,
    starts: HashMap<AgentId, Vec<Epoch>>,
    violations: Vec<String>,
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
        self.book().running.retain(|_, (on, _)| *on != worker);
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
