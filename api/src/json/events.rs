//! Events.

use muster_domain::EventDraft;
use muster_supervisor::Event;
use serde::Serialize;
use utoipa::ToSchema;

/// The data of an event.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EventJson {
    /// Its number; the `id` of the message.
    seq: u64,
    /// `at`, `kind`, `reason`, and where they apply `pool_name`, `agent_id`, `process_id`.
    #[serde(flatten)]
    #[schema(value_type = Object)]
    event: EventDraft,
}

impl From<Event> for EventJson {
    fn from(event: Event) -> Self {
        Self { seq: event.seq, event: event.event }
    }
}

/// The data of a `reset`: events were missed, so the client reads the lists anew and goes on from `seq`.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ResetJson {
    /// The number from which the stream goes on.
    pub(crate) seq: u64,
    /// What to do.
    pub(crate) detail: &'static str,
}
