//! What holds up the tasks of a pool.

use muster_supervisor::{Holds, Lack};
use serde::Serialize;
use utoipa::ToSchema;

use super::breaker::BreakerJson;
use super::words;

/// What holds up the tasks of a pool: part of whatever shows a pool or its queue.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct HoldsJson {
    /// Whether it empties: it was drained, or is being removed. What runs goes on; nothing is taken in or begun.
    draining: bool,
    /// Whether the pool is being removed.
    being_removed: bool,
    /// Whether its tasks wait until the pool is resumed.
    paused: bool,
    /// Whether the tasks of all pools wait until the system is resumed.
    all_paused: bool,
    /// Whether it takes no new tasks until the pool is resumed.
    intake_closed: bool,
    /// Its circuit breaker.
    breaker: BreakerJson,
    /// Why no agent takes its ready tasks: `agents_failing` (those that are started for them fail at their start),
    /// `no_agent` (it has none, or only in quarantine, and starts none by itself) or `old_runtime` (it may have no more workers, and
    /// those that it has start programs by an older definition of the runtime); null where that is not so.
    #[schema(value_type = Option<String>, extensions(("x-enum" = json!(words::<Lack>()))))]
    lacks: Option<&'static str>,
}

impl From<Holds> for HoldsJson {
    fn from(holds: Holds) -> Self {
        let is_drained = holds.paused && holds.intake_closed;
        let Holds { draining: being_removed, paused, all_paused, intake_closed, breaker, lacks } = holds;
        Self {
            draining: being_removed || is_drained,
            being_removed,
            paused,
            all_paused,
            intake_closed,
            breaker: breaker.into(),
            lacks: lacks.map(Lack::as_str),
        }
    }
}
