//! What decides how much runs: `[autoscaler]`.

use muster_domain::described;
use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;
use utoipa::ToSchema;

use super::reader::Reader;

/// What `[autoscaler]` says.
#[derive(Clone, Debug, Serialize, Deserialize, SmartDefault, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AutoscalerSection {
    /// Whether pools with a `scaling.mode` of `on` or `advise` are looked at. Without it all are kept as with `off`.
    /// `ENABLE_AUTOSCALER` says the same.
    #[default = true]
    enabled: bool,
}

described!(AutoscalerSection);

/// Whether the policies of pools decide anything.
pub(super) fn read(reader: &mut Reader<'_>) -> bool {
    let AutoscalerSection { enabled } = reader.section("autoscaler");
    enabled
}
