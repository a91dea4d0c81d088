//! What callers ask about events.

use std::sync::Arc;

use tokio::sync::watch;

use crate::context::Context;
use crate::error::SupervisorError;
use crate::view::Event;

/// The events that are kept. Cloneable.
#[derive(Clone)]
pub struct Events {
    pub(crate) context: Arc<Context>,
}

impl Events {
    /// Those with a number above `seq`, at most `limit`.
    pub async fn after(&self, seq: u64, limit: u32) -> Result<Vec<Event>, SupervisorError> {
        let rows = self.context.store.events(seq, limit).await.map_err(|error| self.context.store_failed(&error))?;
        Ok(rows.into_iter().map(|row| Event { seq: row.seq, event: row.event }).collect())
    }

    /// The lowest and the highest number.
    pub async fn bounds(&self) -> Result<(u64, u64), SupervisorError> {
        self.context.store.event_bounds().await.map_err(|error| self.context.store_failed(&error))
    }

    /// Changes whenever there may be new ones.
    pub fn signal(&self) -> watch::Receiver<u64> {
        self.context.reporting.events.subscribe()
    }
}
