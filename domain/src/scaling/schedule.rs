//! A minimum of workers by the clock.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{CronExpression, ZoneName};
use crate::{Timestamp, described};

/// Votes for a minimum from each firing until the next schedule of the pool fires, as AWS's scheduled actions do. Before its first firing
/// it has no opinion.
///
/// `cron(0 13 ? * MON-FRI *)` is 13:00 in UTC, and so 6 in the morning in Los Angeles only in summer; with `timezone` it stays 6 in the
/// morning.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct SchedulePolicy {
    /// When it fires: five fields as in crontab, or six as AWS writes them, e.g. `cron(0 13 ? * MON-FRI *)`.
    #[schema(value_type = String)]
    pub cron: CronExpression,
    /// By the clock of which time zone, e.g. `America/Los_Angeles`. Default: UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    pub timezone: Option<ZoneName>,
    /// So many workers are kept, up to `max_workers` of the pool.
    #[schema(maximum = 10000)]
    pub min_workers: u32,
}

described!(SchedulePolicy, {"cron": "0 0 * * *", "min_workers": 0});

impl SchedulePolicy {
    /// When it last fired, this moment included; none if it had not.
    pub fn last_firing(&self, now: Timestamp) -> Option<Timestamp> {
        self.cron.last_firing(&self.zone(), now)
    }

    /// When it fires next, after this moment; none if it does no more.
    pub fn next_firing(&self, now: Timestamp) -> Option<Timestamp> {
        self.cron.next_firing(&self.zone(), now)
    }

    /// By which clock it fires, the default included.
    pub fn zone(&self) -> ZoneName {
        self.timezone.clone().unwrap_or_default()
    }
}
