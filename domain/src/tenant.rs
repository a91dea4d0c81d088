//! Tenants: on whose account tasks run, and what each may do.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;
use utoipa::ToSchema;

use crate::lengths::{MAX_TENANT_NAME, has_length};
use crate::{described, number, schema};

/// The tenant of tasks that name none. Its limits are also those of every tenant that has none of its own: see [`Tenants`].
pub const DEFAULT_TENANT: &str = "default";

/// What one tenant may do. What is not set has no bound.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, SmartDefault, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TenantLimits {
    /// Its share while others wait too: tasks that it starts in a round.
    #[default = 1]
    #[schema(minimum = 1, maximum = 1000)]
    pub weight: u32,
    /// Tasks that run at a time; others wait. Default: no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub max_running: Option<u32>,
    /// Tasks per second that it may submit, and one second's worth of them, at least one, at once; more are refused (429). Default: no
    /// bound.
    // From about one a day to a million.
    #[serde(skip_serializing_if = "Option::is_none", with = "number::optional")]
    #[schema(minimum = 0.00001, maximum = 1000000)]
    pub rate: Option<f64>,
    /// Tasks that it may submit in a day of UTC, which has 12 to 36 hours where the clock is set; more are refused (429). Default: no bound.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(minimum = 1)]
    pub per_day: Option<u64>,
}

described!(TenantLimits);

impl TenantLimits {
    /// Says what is wrong with these limits, in words that begin with the field.
    pub fn validate(&self) -> Result<(), String> {
        schema::check(self)
    }
}

/// The limits of all tenants. One that is not named has those of [`DEFAULT_TENANT`], counted for itself; one that is named has
/// its own alone, and nothing of the default's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tenants {
    named: BTreeMap<String, TenantLimits>,
}

impl Tenants {
    /// Sets the limits of a tenant.
    pub fn insert(&mut self, name: String, limits: TenantLimits) {
        self.named.insert(name, limits);
    }

    /// What this tenant may do.
    pub fn of(&self, name: &str) -> TenantLimits {
        self.named.get(name).or_else(|| self.named.get(DEFAULT_TENANT)).copied().unwrap_or_default()
    }

    /// Those that are named, in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, TenantLimits)> {
        self.named.iter().map(|(name, limits)| (name.as_str(), *limits))
    }
}

/// Refuses a text that is no name of a tenant: it has 1 to [`MAX_TENANT_NAME`] characters, none of them a control character.
pub fn check_tenant_name(name: &str) -> Result<(), String> {
    if has_length(name, MAX_TENANT_NAME) && !name.contains(char::is_control) {
        return Ok(());
    }
    Err(format!("the name of a tenant is 1 to {MAX_TENANT_NAME} characters without control characters"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_that_allow_nothing_are_named() {
        let limits = TenantLimits::default();
        assert_eq!(limits.validate(), Ok(()));
        let wrong = |limits: TenantLimits| limits.validate().expect_err("a mistake");
        assert_eq!(wrong(TenantLimits { weight: 0, ..limits }), "weight must be 1 to 1000, not 0");
        assert_eq!(wrong(TenantLimits { max_running: Some(0), ..limits }), "max_running must be at least 1, not 0");
        assert_eq!(wrong(TenantLimits { per_day: Some(0), ..limits }), "per_day must be at least 1, not 0");
        for rate in [0.0, -1.0, 1e7, f64::NAN, f64::INFINITY] {
            let said = wrong(TenantLimits { rate: Some(rate), ..limits });
            assert_eq!(said, format!("rate must be 0.00001 to 1000000, not {rate}"));
        }
    }

    #[test]
    fn a_tenant_without_limits_of_its_own_has_the_defaults() {
        let mut tenants = Tenants::default();
        assert_eq!(tenants.of("acme"), TenantLimits::default());
        let few = TenantLimits { max_running: Some(2), ..TenantLimits::default() };
        tenants.insert(DEFAULT_TENANT.to_owned(), few);
        let heavy = TenantLimits { weight: 5, ..TenantLimits::default() };
        tenants.insert("acme".to_owned(), heavy);
        assert_eq!((tenants.of("acme"), tenants.of("other"), tenants.of(DEFAULT_TENANT)), (heavy, few, few));
    }

    #[test]
    fn a_name_is_short_and_plain() {
        for good in ["default", "Acme Inc.", &"ü".repeat(128)] {
            assert_eq!(check_tenant_name(good), Ok(()));
        }
        for bad in ["", "a\nb", &"ü".repeat(129)] {
            assert!(check_tenant_name(bad).is_err(), "{bad:?}");
        }
    }
}
