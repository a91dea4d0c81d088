//! The engine in memory: one [`Content`] behind a lock, a part of it per subject.
//!
//! The parts decide what is about their own rows. What is about rows of several, a slot of a worker or a pool that is empty, is
//! decided by the content.

mod accounts;
mod agents;
mod content;
mod decisions;
mod events;
mod keys;
mod leader;
mod lives;
mod metrics;
mod pages;
mod pools;
mod prune;
mod queue;
mod store;
mod task_queues;
mod tasks;
mod workers;

use std::sync::{Mutex, PoisonError};

use content::Content;

/// A store in memory. It is gone with its process; nobody else can lead it, as with SQLite.
#[derive(Default)]
pub struct MemoryStore {
    content: Mutex<Content>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    /// Asks the content. The answer is never there at once: who asks in a loop does not keep others from their turn, as with
    /// any other engine.
    async fn ask<T>(&self, question: impl FnOnce(&mut Content) -> T + Send) -> T {
        tokio::task::yield_now().await;
        // Each change is complete before the lock is left, so a panic elsewhere spoils nothing.
        question(&mut self.content.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
