//! By how much a step changes the workers of a pool.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use utoipa::openapi::RefOr;
use utoipa::openapi::schema::{KnownFormat, ObjectBuilder, OneOfBuilder, Schema, SchemaFormat, Type};
use utoipa::{PartialSchema, ToSchema};

/// The most that an amount may be, in percent or in workers: no host has more workers.
pub const MOST: u32 = 10_000;

/// How far one step goes: a share of the workers that there are, or so many workers. Written `"20%"` or `2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Amount {
    /// So many percent of the workers, 1 to [`MOST`].
    Percent(u32),
    /// So many workers, 1 to [`MOST`].
    Workers(u32),
}

/// Why a text is no [`Amount`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a percentage as in \"20%\" or a number of workers, both from 1 to {MOST}, is expected, not {0:?}")]
pub struct InvalidAmount(String);

impl Amount {
    /// So many workers with the step added. A share is rounded up, as AWS's step scaling does, in integers; at least one is added.
    pub fn added_to(self, workers: u32) -> u32 {
        let sum = match self {
            Self::Percent(percent) => {
                let grown = (u64::from(workers) * (100 + u64::from(percent))).div_ceil(100);
                u32::try_from(grown).unwrap_or(u32::MAX)
            }
            Self::Workers(count) => workers.saturating_add(count),
        };
        sum.max(workers.saturating_add(1))
    }

    /// So many workers without the step. What stays is rounded down, in integers; at least one is taken, and 0 stays 0.
    pub fn taken_from(self, workers: u32) -> u32 {
        let rest = match self {
            Self::Percent(percent) => {
                let shrunk = u64::from(workers) * u64::from(100_u32.saturating_sub(percent)) / 100;
                u32::try_from(shrunk).unwrap_or(u32::MAX)
            }
            Self::Workers(count) => workers.saturating_sub(count),
        };
        rest.min(workers.saturating_sub(1))
    }
}

impl fmt::Display for Amount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Percent(percent) => write!(f, "{percent}%"),
            Self::Workers(count) => write!(f, "{count}"),
        }
    }
}

impl FromStr for Amount {
    type Err = InvalidAmount;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let number = |digits: &str| digits.parse().ok().filter(|number| (1..=MOST).contains(number));
        let amount = match text.strip_suffix('%') {
            Some(percent) => number(percent).map(Self::Percent),
            None => number(text).map(Self::Workers),
        };
        amount.ok_or_else(|| InvalidAmount(text.chars().take(80).collect()))
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Percent(_) => serializer.collect_str(self),
            Self::Workers(count) => serializer.serialize_u32(*count),
        }
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AmountVisitor;

        impl serde::de::Visitor<'_> for AmountVisitor {
            type Value = Amount;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a percentage as in \"20%\" or a number of workers")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Amount, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_u64<E: serde::de::Error>(self, count: u64) -> Result<Amount, E> {
                count.to_string().parse().map_err(E::custom)
            }

            fn visit_i64<E: serde::de::Error>(self, count: i64) -> Result<Amount, E> {
                count.to_string().parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(AmountVisitor)
    }
}

impl PartialSchema for Amount {
    fn schema() -> RefOr<Schema> {
        let percent = ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[1-9][0-9]{0,4}%$"));
        let workers = ObjectBuilder::new()
            .schema_type(Type::Integer)
            .format(Some(SchemaFormat::KnownFormat(KnownFormat::Int32)))
            .minimum(Some(1))
            .maximum(Some(MOST));
        OneOfBuilder::new().item(percent).item(workers).into()
    }
}

impl ToSchema for Amount {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_rounded_away_from_what_is_there_and_moves_at_least_one() {
        let share = Amount::Percent(20);
        for (workers, more, fewer) in [
            (0, 1, 0),
            (1, 2, 0),
            (2, 3, 1),
            (3, 4, 2),
            (5, 6, 4),
            (6, 8, 4),
            (8, 10, 6),
            (10, 12, 8),
            (1_000, 1_200, 800),
        ] {
            assert_eq!((share.added_to(workers), share.taken_from(workers)), (more, fewer), "{workers}");
        }
        assert_eq!((Amount::Workers(3).added_to(6), Amount::Workers(9).taken_from(6)), (9, 0));
        assert_eq!((share.added_to(u32::MAX), Amount::Percent(MOST).taken_from(5)), (u32::MAX, 0));
    }

    #[test]
    fn an_amount_is_written_as_it_is_read() {
        for (json, amount) in [("\"20%\"", Amount::Percent(20)), ("2", Amount::Workers(2))] {
            assert_eq!(serde_json::from_str::<Amount>(json).expect(json), amount);
            assert_eq!(serde_json::to_string(&amount).expect("an amount"), json);
        }
        assert_eq!(serde_json::from_str::<Amount>("\"3\"").expect("a number too"), Amount::Workers(3));
        for wrong in ["\"0%\"", "0", "-1", "\"20 %\"", "\"many\"", "true", "1.5", "10001", "\"\""] {
            let words = serde_json::from_str::<Amount>(wrong).expect_err(wrong).to_string();
            assert!(words.contains("a percentage as in \"20%\" or a number of workers"), "{words}");
        }
    }
}
