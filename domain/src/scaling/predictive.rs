//! Workers ahead of a demand that comes back each day or week.

use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;
use utoipa::ToSchema;

use crate::described;

crate::words! {
    /// After which time a pool's demand comes back.
    #[derive(ToSchema)]
    pub enum Season {
        /// The same hour of each day.
        Day = "day",
        /// The same hour of each week.
        Week = "week",
    }
}

impl Season {
    /// Its length in hours.
    pub const fn hours(self) -> usize {
        match self {
            Self::Day => 24,
            Self::Week => 168,
        }
    }
}

/// Forecasts the pool's demand (tasks that wait or run) from its own history, hour by hour, and only ever adds workers. It votes while it
/// has been nearer to the truth than "the same hour yesterday", and says both errors.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, SmartDefault, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct PredictivePolicy {
    /// After which times the demand comes back: `day`, `week` or both.
    #[default(vec![Season::Day, Season::Week])]
    pub seasons: Vec<Season>,
}

described!(PredictivePolicy);

impl PredictivePolicy {
    /// Says what is wrong with it, in words that begin with the field.
    pub(super) fn validate(&self) -> Result<(), String> {
        match self.seasons.as_slice() {
            [] => Err("seasons is empty; there are: day, week".to_owned()),
            [first, rest @ ..] if rest.contains(first) => Err(format!("seasons has {} twice", first.as_str())),
            _ if self.seasons.len() > Season::ALL.len() => Err("seasons has one of them twice".to_owned()),
            _ => Ok(()),
        }
    }
}
