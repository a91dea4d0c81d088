//! Alerts.

use std::time::Duration;

use muster_domain::{AlertId, PoolName, Timestamp};
use muster_supervisor::{Alert, AlertKind};
use serde::Serialize;
use utoipa::ToSchema;

use super::words;

/// Something is or was wrong, and needs or needed a person.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AlertJson {
    #[schema(value_type = String, format = Uuid)]
    id: AlertId,
    /// What kind of thing.
    #[schema(value_type = String, extensions(("x-enum" = json!(words::<AlertKind>()))))]
    kind: AlertKind,
    /// The pool that it is about; null where it is about none.
    #[schema(value_type = Option<String>)]
    pool_name: Option<PoolName>,
    /// What it is about, e.g. an agent or a part of the supervisor; empty where the pool says it all.
    subject: String,
    /// What is wrong, in words.
    message: String,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// When it ended; null while it lasts.
    #[schema(value_type = Option<String>, format = DateTime)]
    until: Option<Timestamp>,
    /// How often it was noticed.
    count: u64,
}

impl From<Alert> for AlertJson {
    fn from(alert: Alert) -> Self {
        let Alert { id, kind, pool, subject, message, since, until, count } = alert;
        Self { id, kind, pool_name: pool, subject, message, since, until, count }
    }
}

/// How long one that is over counts as recent.
const RECENT: Duration = Duration::from_secs(60 * 60);

/// Recent alerts at the most.
const MOST_RECENT: usize = 100;

/// The newest of those that last, or ended within the hour before `now`.
pub(super) fn recent(alerts: Vec<Alert>, now: Timestamp) -> Vec<AlertJson> {
    let is_recent = |alert: &Alert| alert.until.is_none_or(|until| until >= now.before(RECENT));
    alerts.into_iter().filter(is_recent).take(MOST_RECENT).map(AlertJson::from).collect()
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// One that ended then, or lasts.
    pub(crate) fn alert(subject: &str, until: Option<Timestamp>) -> Alert {
        Alert {
            id: AlertId::generate(),
            kind: AlertKind::Degraded,
            pool: None,
            subject: subject.to_owned(),
            message: "best effort".to_owned(),
            since: Timestamp::from_millis(0),
            until,
            count: 3,
        }
    }

    #[test]
    fn an_alert_says_all() {
        let alert = Alert { pool: Some("coders".parse().expect("a name")), ..alert("ownership", None) };
        let expected = serde_json::json!({
            "id": alert.id, "kind": "degraded", "pool_name": "coders", "subject": "ownership",
            "message": "best effort", "since": "1970-01-01T00:00:00.000Z", "until": null, "count": 3,
        });
        assert_eq!(serde_json::to_value(AlertJson::from(alert)).expect("an object"), expected);
    }

    #[test]
    fn what_ended_long_ago_is_not_recent() {
        let now = Timestamp::from_millis(10_000_000);
        let ended = |before: u64| Some(now.before(Duration::from_secs(before)));
        let alerts = vec![alert("lasts", None), alert("just", ended(3_600)), alert("long", ended(3_601))];
        let subjects: Vec<String> = recent(alerts, now).into_iter().map(|alert| alert.subject).collect();
        assert_eq!(subjects, ["lasts", "just"]);
        assert_eq!(recent(vec![alert("x", None); 200], now).len(), MOST_RECENT);
    }
}
