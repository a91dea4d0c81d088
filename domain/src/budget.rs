//! Budgets: what may be used at the most, in tokens and money, by a task, an agent, a project, a tenant or a pool.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::ToSchema;

use crate::described;
use crate::words::Words;

crate::words! {
    /// Whose usage is summed.
    #[derive(PartialOrd, Ord, ToSchema)]
    pub enum Scope {
        /// One task, over all its attempts.
        Task = "task",
        /// One agent.
        Agent = "agent",
        /// All tasks of a project.
        Project = "project",
        /// All tasks of a tenant.
        Tenant = "tenant",
        /// All tasks of a pool.
        Pool = "pool",
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::of_word(text).ok_or_else(|| format!("no scope: {text:?}; there are {}", Self::listed()))
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Each one of a scope.
pub const EACH: &str = "*";

/// The bounds of one budget; at least one of them is set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// Tokens read and written at the most.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<u64>,
    /// Cost at the most, in US dollars.
    #[serde(rename = "cost_usd", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<f64>, minimum = 0, maximum = 1000000000)]
    pub cost: Option<Dollars>,
}

described!(Budget);

/// US dollars, to a millionth. A number of dollars in the configuration and in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dollars {
    /// In millionths.
    pub micros: u64,
}

/// The largest sum that a budget can be, in dollars.
const MOST_DOLLARS: f64 = 1e9;

impl fmt::Display for Dollars {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, rest) = (self.micros / 1_000_000, self.micros % 1_000_000);
        let rest = format!("{rest:06}");
        // Cents at least, and no zeros behind them.
        let digits = rest.trim_end_matches('0').len().max(2);
        write!(f, "{whole}.{} USD", &rest[..digits])
    }
}

impl Serialize for Dollars {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_f64(self.micros as f64 / 1e6)
    }
}

impl<'de> Deserialize<'de> for Dollars {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let dollars = f64::deserialize(deserializer)?;
        if !(0.0..=MOST_DOLLARS).contains(&dollars) {
            let words = format!("a number of US dollars from 0 to {MOST_DOLLARS} is expected, not {dollars}");
            return Err(serde::de::Error::custom(words));
        }
        Ok(Self { micros: (dollars * 1e6).round() as u64 })
    }
}

/// All budgets. One for [`EACH`] of a scope holds for every one that has none of its own.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Budgets {
    by_scope: BTreeMap<Scope, BTreeMap<String, Budget>>,
}

impl Budgets {
    /// Sets a budget. False where there was one of that scope and name; it stays.
    pub fn insert(&mut self, scope: Scope, name: String, budget: Budget) -> bool {
        let names = self.by_scope.entry(scope).or_default();
        if names.contains_key(&name) {
            return false;
        }
        names.insert(name, budget);
        true
    }

    /// The budget of this one.
    pub fn of(&self, scope: Scope, name: &str) -> Option<Budget> {
        let names = self.by_scope.get(&scope)?;
        names.get(name).or_else(|| names.get(EACH)).copied()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.by_scope.is_empty()
    }

    /// All of them, by scope and name.
    pub fn iter(&self) -> impl Iterator<Item = (Scope, &str, Budget)> {
        self.by_scope
            .iter()
            .flat_map(|(scope, names)| names.iter().map(|(name, budget)| (*scope, name.as_str(), *budget)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dollars_are_a_number_and_shown_to_the_cent() {
        let read = |json: &str| serde_json::from_str::<Dollars>(json);
        assert_eq!(read("0.1").expect("a number"), Dollars { micros: 100_000 });
        assert_eq!(read("10").expect("a number").to_string(), "10.00 USD");
        assert_eq!(read("0.000125").expect("a number").to_string(), "0.000125 USD");
        assert_eq!(serde_json::to_string(&Dollars { micros: 2_500_000 }).expect("a number"), "2.5");
        for wrong in ["-1", "1e10", "\"10\""] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_name_goes_before_each() {
        let (small, large) = (Budget { tokens: Some(1), cost: None }, Budget { tokens: Some(9), cost: None });
        let mut budgets = Budgets::default();
        assert!(budgets.is_empty());
        assert!(budgets.insert(Scope::Project, EACH.to_owned(), small));
        assert!(budgets.insert(Scope::Project, "shop".to_owned(), large));
        assert!(!budgets.insert(Scope::Project, "shop".to_owned(), small), "twice");
        let of = |scope, name| budgets.of(scope, name);
        assert_eq!((of(Scope::Project, "shop"), of(Scope::Project, "other")), (Some(large), Some(small)));
        assert_eq!(of(Scope::Pool, "shop"), None);
    }
}
