//! Free slots that are kept ahead of the work.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;
use utoipa::ToSchema;

use crate::time::seconds;
use crate::{described, number};

/// Keeps slots free before tasks ask for them: so many workers that at most `used_above` of the slots are taken, and that the slots of
/// `spare_workers` workers are free.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SmartDefault, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ProactivePolicy {
    /// The share of the slots that may be taken, above 0 to 1; above it the pool goes out.
    #[serde(with = "number")]
    #[default = 0.8]
    #[schema(exclusive_minimum = 0, maximum = 1)]
    pub used_above: f64,
    /// Workers whose slots are kept free, 0 to 1000.
    #[default = 1]
    #[schema(maximum = 1000)]
    pub spare_workers: u32,
    /// The time after any change of the pool before this policy lets go of workers.
    #[serde(with = "seconds")]
    #[schema(value_type = f64, format = "seconds")]
    #[default(Duration::from_secs(300))]
    pub cooldown_in: Duration,
}

described!(ProactivePolicy);
