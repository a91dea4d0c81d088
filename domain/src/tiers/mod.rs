//! The capacity of a pool in tiers: a base that is always there, spot that is cheap and may be taken away, and burst for what neither
//! holds. The judgement, how many workers of each, is `muster-policy`'s; here is what it is told.
//!
//! | file | what it says |
//! |---|---|
//! | [`tier`] | one tier: its bounds, what a worker of it costs, how long it takes to start, and from where it comes |
//! | [`source`] | a launcher and an instance type: one place that a worker comes from |

pub mod source;
pub mod tier;

use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;
use utoipa::ToSchema;

use crate::{Words, number};

pub use source::WorkerSource;
pub use tier::CapacityTier;

crate::words! {
    /// Which tier a worker is of.
    #[derive(PartialOrd, Ord, ToSchema)]
    pub enum TierName {
        /// Always there.
        Base = "base",
        /// Cheap, and may be taken away at any time.
        Spot = "spot",
        /// Dear, and there at once: for a long queue, or while no spot is to be had.
        Burst = "burst",
    }
}

impl std::str::FromStr for TierName {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::of_word(text).ok_or_else(|| format!("no tier: {text:?}"))
    }
}

/// The tiers of a pool. One that is left out is not used.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SmartDefault, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CapacityTiers {
    /// Of the workers beyond every tier's `min_workers`, the share that is spot, 0 to 1; the rest is base, as far as it goes.
    #[serde(with = "number")]
    #[default = 0.7]
    #[schema(minimum = 0, maximum = 1)]
    pub spot_share: f64,
    /// Burst starts while more tasks wait than this, and base and spot hold no more.
    #[default = 1000]
    pub burst_queue_above: u32,
    /// Workers that are always there, and those that are worth keeping.
    pub base: Option<CapacityTier>,
    /// Workers that may be taken away.
    pub spot: Option<CapacityTier>,
    /// Workers for a long queue, or while spot fails.
    pub burst: Option<CapacityTier>,
}

impl CapacityTiers {
    /// Those that a single tier makes: all workers are base.
    pub fn only_base(base: CapacityTier) -> Self {
        Self { base: Some(base), ..Self::default() }
    }

    /// A tier, if it is used.
    pub const fn get(&self, name: TierName) -> Option<&CapacityTier> {
        match name {
            TierName::Base => self.base.as_ref(),
            TierName::Spot => self.spot.as_ref(),
            TierName::Burst => self.burst.as_ref(),
        }
    }

    /// The tiers that are used, in the order in which they are filled.
    pub fn used(&self) -> impl Iterator<Item = (TierName, &CapacityTier)> {
        TierName::all().filter_map(|name| Some((name, self.get(name)?)))
    }

    /// Workers that are kept whatever the load is: those of all tiers.
    pub fn least(&self) -> u32 {
        self.used().fold(0, |sum: u32, (_, tier)| sum.saturating_add(tier.min_workers))
    }

    /// The most workers that they hold together.
    pub fn most(&self) -> u32 {
        self.used().fold(0, |sum: u32, (_, tier)| sum.saturating_add(tier.ceiling()))
    }

    /// Says what is wrong with them, in words that begin with the setting's key in a pool: `tiers....`.
    pub fn validate(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.spot_share) {
            return Err(format!("tiers.spot_share must be 0 to 1, not {}", self.spot_share));
        }
        if self.used().next().is_none() {
            return Err("tiers has none of base, spot and burst".to_owned());
        }
        self.used()
            .try_for_each(|(name, tier)| tier.validate().map_err(|words| format!("tiers.{}.{words}", name.as_str())))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(value: serde_json::Value) -> Result<CapacityTiers, String> {
        let tiers: CapacityTiers = serde_json::from_value(value).map_err(|error| error.to_string())?;
        tiers.validate().map(|()| tiers)
    }

    #[test]
    fn tiers_are_read_with_their_defaults() {
        let tiers = read(json!({
            "base": {"min_workers": 30, "max_workers": 50, "price_per_hour": 0.272},
            "spot": {"max_workers": 200, "instance_types": ["c6g.2xlarge", "m6g.xlarge"]},
        }))
        .expect("two tiers");
        assert_eq!((tiers.spot_share, tiers.burst_queue_above), (0.7, 1_000));
        assert_eq!(tiers.used().map(|(name, _)| name).collect::<Vec<_>>(), [TierName::Base, TierName::Spot]);
        let spot = tiers.get(TierName::Spot).expect("spot");
        assert_eq!((spot.launchers.as_slice(), spot.max_workers), (&["local".to_owned()][..], 200));
        let again = serde_json::to_value(&tiers).expect("JSON");
        assert_eq!(read(again), Ok(tiers));
    }

    #[test]
    fn a_mistake_is_named_with_its_key() {
        for (tiers, words) in [
            (json!({}), "tiers has none of base, spot and burst"),
            (json!({"spot_share": 1.5, "spot": {}}), "tiers.spot_share must be 0 to 1, not 1.5"),
            (
                json!({"spot": {"min_workers": 3, "max_workers": 2}}),
                "tiers.spot.min_workers (3) is above max_workers (2)",
            ),
            (json!({"base": {"launchers": []}}), "tiers.base.launchers is empty"),
            (json!({"base": {"launchers": ["moon"]}}), "tiers.base.launchers: there is no launcher \"moon\""),
            (json!({"base": {"launchers": ["local", "local"]}}), "tiers.base.launchers has \"local\" twice"),
            (json!({"burst": {"instance_types": ["a", "a"]}}), "tiers.burst.instance_types has \"a\" twice"),
            (json!({"burst": {"instance_types": [""]}}), "tiers.burst.instance_types has an empty name"),
            (json!({"burst": {"price_per_hour": -1}}), "tiers.burst.price_per_hour must be"),
            (json!({"burst": {"start_time": 1e12}}), "tiers.burst.start_time must be"),
        ] {
            let told = read(tiers).expect_err(words);
            assert!(told.starts_with(words), "{told}");
        }
    }
}
