//! What a tenant may do, and what is left of it.

use muster_supervisor::{Left, QuotaView};
use serde::Serialize;
use utoipa::ToSchema;

/// A tenant's limits, and what is left of them. Null is no limit.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QuotaJson {
    tenant: String,
    limits: LimitsJson,
    /// Its tasks that run; counted only where some tenant has a `max_running`.
    running: u32,
    left: LeftJson,
}

/// What a tenant may do, as the configuration says.
#[derive(Debug, Serialize, ToSchema)]
struct LimitsJson {
    /// Its share while others wait too.
    weight: u32,
    /// Tasks that run at a time.
    max_running: Option<u32>,
    /// Tasks that it may submit per second.
    rate: Option<f64>,
    /// Tasks that it may submit in a day of UTC.
    per_day: Option<u64>,
}

/// What a tenant may submit now.
#[derive(Debug, Serialize, ToSchema)]
struct LeftJson {
    /// Tasks that its rate lets in at once.
    at_once: Option<u64>,
    /// Tasks that its day lets in.
    today: Option<u64>,
    /// Seconds until its day ends.
    day_ends_in_seconds: f64,
}

impl From<QuotaView> for QuotaJson {
    fn from(view: QuotaView) -> Self {
        let limits = view.limits;
        Self {
            tenant: view.tenant,
            limits: LimitsJson {
                weight: limits.weight,
                max_running: limits.max_running,
                rate: limits.rate,
                per_day: limits.per_day,
            },
            running: view.running,
            left: LeftJson {
                at_once: view.left.at_once,
                today: view.left.today,
                day_ends_in_seconds: view.left.day_ends_in.as_secs_f64(),
            },
        }
    }
}

/// What is left as the header `RateLimit` (draft-ietf-httpapi-ratelimit-headers): a limit's name in the configuration, what
/// remains, and where it is known the seconds until there is more. Nothing where there are no limits.
pub(crate) fn rate_limit(left: &Left) -> Option<String> {
    let rate = left.at_once.map(|tasks| format!("\"rate\";r={tasks}"));
    let day = left.today.map(|tasks| format!("\"per_day\";r={tasks};t={}", left.day_ends_in.as_secs()));
    let parts: Vec<String> = rate.into_iter().chain(day).collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use muster_domain::TenantLimits;
    use serde_json::json;
    use std::time::Duration;

    fn left(at_once: Option<u64>, today: Option<u64>) -> Left {
        Left { at_once, today, day_ends_in: Duration::from_millis(90_500) }
    }

    #[test]
    fn a_quota_says_what_may_be_done_and_what_is_left() {
        let limits = TenantLimits { max_running: Some(3), per_day: Some(100), ..TenantLimits::default() };
        let view = QuotaView { tenant: "acme".to_owned(), limits, running: 2, left: left(None, Some(7)) };
        let expected = json!({"tenant": "acme", "running": 2,
            "limits": {"weight": 1, "max_running": 3, "rate": null, "per_day": 100},
            "left": {"at_once": null, "today": 7, "day_ends_in_seconds": 90.5}});
        assert_eq!(serde_json::to_value(QuotaJson::from(view)).expect("an object"), expected);
    }

    #[test]
    fn the_header_has_what_is_limited() {
        assert_eq!(rate_limit(&left(None, None)), None);
        assert_eq!(rate_limit(&left(Some(4), None)).as_deref(), Some("\"rate\";r=4"));
        let both = rate_limit(&left(Some(0), Some(7)));
        assert_eq!(both.as_deref(), Some("\"rate\";r=0, \"per_day\";r=7;t=90"));
    }
}
