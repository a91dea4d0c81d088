//! Serde form of a number that may be no number. JSON has no word for that and would say null, by which it would look
//! unset; so it is written as a text, which no bound of a schema holds for. For `#[serde(with = "number")]`.

use serde::{Deserialize, Deserializer, Serializer};

/// Writes a number, or `NaN`, `inf`, `-inf` as texts.
pub fn serialize<S: Serializer>(value: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    if value.is_finite() { serializer.serialize_f64(*value) } else { serializer.collect_str(value) }
}

/// Reads any number.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<f64, D::Error> {
    f64::deserialize(deserializer)
}

/// The same for a number that may be unset. For `#[serde(with = "number::optional")]`.
pub mod optional {
    use super::{Deserialize, Deserializer, Serializer};

    /// Writes what [`super::serialize`] writes, or nothing.
    pub fn serialize<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
        match value {
            Some(value) => super::serialize(value, serializer),
            None => serializer.serialize_none(),
        }
    }

    /// Reads any number, or nothing.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<f64>, D::Error> {
        Option::deserialize(deserializer)
    }
}
