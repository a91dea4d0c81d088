//! The circuit breaker of a pool.

use muster_domain::Timestamp;
use muster_supervisor::BreakerView;
use serde::Serialize;
use utoipa::ToSchema;

use super::words;

muster_domain::words! {
    /// The state of a breaker.
    pub(crate) enum BreakerState {
        /// The pool wants none.
        Off = "off",
        /// Tasks start.
        Closed = "closed",
        /// Too many attempts failed: no task starts.
        Open = "open",
        /// Some tasks are tried.
        HalfOpen = "half_open",
    }
}

/// The circuit breaker of a pool: where too many attempts fail, its tasks wait.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BreakerJson {
    /// `closed` (tasks start), `open` (too many attempts failed, and no task starts), `half_open` (some tasks are tried, the
    /// others wait), or `off` (the pool wants none).
    #[schema(value_type = String, example = "closed", extensions(("x-enum" = json!(words::<BreakerState>()))))]
    state: BreakerState,
    /// Why it opened; null where it is closed or off.
    reason: Option<String>,
    /// When it opened; null where it is closed or off.
    #[schema(value_type = Option<String>, format = DateTime)]
    since: Option<Timestamp>,
    /// When some tasks are tried; null where it is not open.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_probe_at: Option<Timestamp>,
}

/// Its state.
pub(crate) const fn breaker_state(breaker: &BreakerView) -> BreakerState {
    match breaker {
        BreakerView::Off => BreakerState::Off,
        BreakerView::Closed => BreakerState::Closed,
        BreakerView::Open { .. } => BreakerState::Open,
        BreakerView::HalfOpen { .. } => BreakerState::HalfOpen,
    }
}

impl From<BreakerView> for BreakerJson {
    fn from(view: BreakerView) -> Self {
        let state = breaker_state(&view);
        let (reason, since, next_probe_at) = match view {
            BreakerView::Off | BreakerView::Closed => (None, None, None),
            BreakerView::Open { reason, since, next_probe_at } => (Some(reason), Some(since), Some(next_probe_at)),
            BreakerView::HalfOpen { reason, since } => (Some(reason), Some(since), None),
        };
        Self { state, reason, since, next_probe_at }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use serde_json::json;

    /// One that opened at the beginning of time.
    pub(crate) fn open() -> BreakerView {
        let at = Timestamp::from_millis;
        BreakerView::Open { reason: "too many".to_owned(), since: at(0), next_probe_at: at(30_000) }
    }

    #[test]
    fn what_is_not_known_of_a_state_is_null() {
        let read = |view| serde_json::to_value(BreakerJson::from(view)).expect("an object");
        for (view, state) in [(BreakerView::Off, "off"), (BreakerView::Closed, "closed")] {
            assert_eq!(read(view), json!({"state": state, "reason": null, "since": null, "next_probe_at": null}));
        }
        let since = "1970-01-01T00:00:00.000Z";
        let expected = json!({"state": "open", "reason": "too many", "since": since,
            "next_probe_at": "1970-01-01T00:00:30.000Z"});
        assert_eq!(read(open()), expected);
        let half = BreakerView::HalfOpen { reason: "too many".to_owned(), since: Timestamp::from_millis(0) };
        let expected = json!({"state": "half_open", "reason": "too many", "since": since, "next_probe_at": null});
        assert_eq!(read(half), expected);
    }
}
