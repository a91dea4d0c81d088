//! What callers ask of queues: to be closed, and opened again.

use std::sync::atomic::Ordering;

use muster_domain::{EventDraft, EventKind, Gate, PoolName};
use muster_store::Write;

use crate::directory::ask;
use crate::error::SupervisorError;
use crate::keeper::mailbox::KeeperMessage;
use crate::keeper::tasks::TaskAsk;
use crate::pools::Pools;
use crate::view::PoolView;

impl Pools {
    /// Gives no more tasks of this pool to agents, until it is resumed. What runs goes on, what comes waits.
    pub async fn pause(&self, pool: PoolName) -> Result<PoolView, SupervisorError> {
        self.set_gate(pool, Gate { paused: true, closed: false }, false).await
    }

    /// Ends a pause or a drain of this pool.
    pub async fn resume(&self, pool: PoolName) -> Result<PoolView, SupervisorError> {
        self.set_gate(pool, Gate::default(), false).await
    }

    /// Takes no more tasks for this pool (503) and gives no more to agents, until it is resumed. What runs goes on to its end,
    /// or is handed back to the queue.
    pub async fn drain(&self, pool: PoolName, hand_back: bool) -> Result<PoolView, SupervisorError> {
        self.set_gate(pool, Gate { paused: true, closed: true }, hand_back).await
    }

    async fn set_gate(&self, pool: PoolName, gate: Gate, hand_back: bool) -> Result<PoolView, SupervisorError> {
        let keeper = self.context.directory.keeper(&pool)?;
        self.context.reporting.health.may_store()?;
        ask(&keeper, |reply| KeeperMessage::SetGate { gate, hand_back, reply }).await?
    }

    /// Pauses the tasks of all pools; what runs goes on, or is handed back to the queue.
    pub async fn pause_all(&self, hand_back: bool) -> Result<(), SupervisorError> {
        self.gate_all(true, hand_back).await
    }

    /// Ends the pause of all pools. Pools that were paused by themselves stay so.
    pub async fn resume_all(&self) -> Result<(), SupervisorError> {
        self.gate_all(false, false).await
    }

    /// Stored first, so that it holds over any restart.
    async fn gate_all(&self, paused: bool, hand_back: bool) -> Result<(), SupervisorError> {
        self.context.reporting.health.may_store()?;
        let kind = if paused { EventKind::SystemPaused } else { EventKind::SystemResumed };
        let (at, reason) = (self.context.settings.wall.now(), String::new());
        let event = EventDraft { at, kind, pool_name: None, agent_id: None, process_id: None, reason };
        self.context.apply(&[Write::PauseAll { paused }, Write::Event(event)]).await?;
        self.context.directory.all_paused.store(paused, Ordering::Relaxed);
        for (_, keeper) in self.context.directory.all() {
            // A keeper that has ended gives out no tasks.
            let _ = keeper.send(TaskAsk::HandBack(hand_back).into());
        }
        Ok(())
    }
}
