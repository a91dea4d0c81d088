//! One tier of a pool's capacity.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;
use utoipa::ToSchema;

use super::WorkerSource;
use crate::time::seconds;
use crate::{described, launcher, number, schema};

/// One tier. Every field has a default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SmartDefault, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct CapacityTier {
    /// Workers that are kept whatever the load is.
    #[schema(maximum = 10000)]
    pub min_workers: u32,
    /// Workers at the most; 0 is no bound.
    pub max_workers: u32,
    /// What one of its workers costs an hour, in US dollars; 0 is nothing.
    #[serde(with = "number")]
    #[schema(minimum = 0, maximum = 1000000)]
    pub price_per_hour: f64,
    /// How long a worker of it takes until it is ready.
    #[serde(with = "seconds")]
    #[schema(value_type = f64, format = "seconds", maximum = 86400)]
    #[default(Duration::from_secs(1))]
    pub start_time: Duration,
    /// Who starts its workers: names of launchers, in the order of fallback.
    #[default(vec![launcher::LOCAL.to_owned()])]
    pub launchers: Vec<String>,
    /// What its workers run on: names of instance types, in the order of fallback. Default: whatever the launcher has.
    pub instance_types: Vec<String>,
}

described!(CapacityTier);

impl CapacityTier {
    /// The most that there may be.
    pub const fn ceiling(&self) -> u32 {
        if self.max_workers == 0 { u32::MAX } else { self.max_workers }
    }

    /// From where its workers come, in the order of fallback: every instance type of the first launcher, then those of the next.
    pub fn sources(&self) -> impl Iterator<Item = WorkerSource> + '_ {
        let types: Vec<Option<String>> = match self.instance_types.as_slice() {
            [] => vec![None],
            names => names.iter().cloned().map(Some).collect(),
        };
        self.launchers.iter().flat_map(move |launcher| {
            let source = |instance_type| WorkerSource { launcher: launcher.clone(), instance_type };
            types.clone().into_iter().map(source).collect::<Vec<_>>()
        })
    }

    /// Says what is wrong with it, in words that begin with the field.
    pub(super) fn validate(&self) -> Result<(), String> {
        schema::check(self)?;
        if self.min_workers > self.ceiling() {
            return Err(format!("min_workers ({}) is above max_workers ({})", self.min_workers, self.max_workers));
        }
        if self.launchers.is_empty() {
            return Err("launchers is empty".to_owned());
        }
        check_names("launchers", &self.launchers)?;
        check_names("instance_types", &self.instance_types)?;
        match self.launchers.iter().find(|name| !launcher::KNOWN.contains(&name.as_str())) {
            Some(name) => {
                Err(format!("launchers: there is no launcher {name:?}; there are: {}", launcher::KNOWN.join(", ")))
            }
            None => Ok(()),
        }
    }
}

fn check_names(field: &str, names: &[String]) -> Result<(), String> {
    let mut seen = BTreeSet::new();
    match names.iter().find(|name| name.is_empty() || !seen.insert(name.as_str())) {
        Some(name) if name.is_empty() => Err(format!("{field} has an empty name")),
        Some(name) => Err(format!("{field} has {name:?} twice")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_types_of_a_launcher_come_before_the_next_launcher() {
        let tier = CapacityTier {
            launchers: vec!["one".to_owned(), "two".to_owned()],
            instance_types: vec!["a".to_owned(), "b".to_owned()],
            ..CapacityTier::default()
        };
        let sources: Vec<String> = tier.sources().map(|source| source.to_string()).collect();
        assert_eq!(sources, ["one/a", "one/b", "two/a", "two/b"]);
        let plain: Vec<String> = CapacityTier::default().sources().map(|source| source.to_string()).collect();
        assert_eq!(plain, ["local"]);
    }
}
