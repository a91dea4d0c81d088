//! The key of a worker: what its messages are signed with.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use uuid::Uuid;

/// Bytes of a key.
const LENGTH: usize = 32;

/// What a worker and whoever leads it know, and nobody else does. It comes with the worker's orders and is kept in the store for
/// the next leader; it is never in the registry. Whoever writes there without it is not believed.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct WorkerKey([u8; LENGTH]);

/// A text that is no key.
#[derive(Debug, thiserror::Error)]
#[error("a worker's key has 64 hex digits")]
pub struct InvalidKey;

impl WorkerKey {
    /// A new key.
    pub fn generate() -> Self {
        // Random but for the twelve bits that say so: 244 bits from the system's generator.
        let (first, second) = (Uuid::new_v4(), Uuid::new_v4());
        let mut bytes = [0; LENGTH];
        bytes[..LENGTH / 2].copy_from_slice(first.as_bytes());
        bytes[LENGTH / 2..].copy_from_slice(second.as_bytes());
        Self(bytes)
    }

    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; LENGTH] {
        &self.0
    }

    /// As it is stored and travels in orders.
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Without the key.
impl fmt::Debug for WorkerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("WorkerKey(***)")
    }
}

impl FromStr for WorkerKey {
    type Err = InvalidKey;

    fn from_str(text: &str) -> Result<Self, InvalidKey> {
        let digits = text.as_bytes();
        if digits.len() != 2 * LENGTH {
            return Err(InvalidKey);
        }
        let mut bytes = [0; LENGTH];
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
            *byte = digit(pair[0]).ok_or(InvalidKey)? << 4 | digit(pair[1]).ok_or(InvalidKey)?;
        }
        Ok(Self(bytes))
    }
}

impl Serialize for WorkerKey {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.to_hex())
    }
}

impl<'de> Deserialize<'de> for WorkerKey {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back_and_never_shown() {
        let key = WorkerKey::generate();
        assert_ne!(key, WorkerKey::generate());
        assert_eq!(key.to_hex().parse::<WorkerKey>().expect("a key"), key);
        assert_eq!(format!("{key:?}"), "WorkerKey(***)");
        for wrong in ["", "00", &"g".repeat(64), &"0".repeat(65)] {
            assert!(wrong.parse::<WorkerKey>().is_err(), "{wrong}");
        }
    }
}
