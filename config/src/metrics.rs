//! What is measured: `[metrics]`.

use std::time::Duration;

use muster_domain::described;
use muster_domain::time::seconds;
use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;
use utoipa::ToSchema;

use super::reader::Reader;

/// What `[metrics]` says.
#[derive(Clone, Debug, Serialize, Deserialize, SmartDefault, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct MetricsSection {
    /// Whether pools, workers and agents are measured. `ENABLE_METRICS_COLLECTOR` says the same.
    #[default = true]
    enabled: bool,
    /// Time between two measurements that are stored.
    #[serde(with = "seconds")]
    #[schema(value_type = f64, format = "seconds", minimum = 1, maximum = 3600)]
    #[default(Duration::from_secs(30))]
    interval: Duration,
}

described!(MetricsSection);

/// How often metrics are stored; none where they are not collected.
pub(super) fn read(reader: &mut Reader<'_>) -> Option<Duration> {
    let MetricsSection { enabled, interval } = reader.section("metrics");
    enabled.then_some(interval)
}
