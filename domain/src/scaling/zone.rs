//! By which clock a schedule fires.

use std::fmt;
use std::str::FromStr;

use jiff::tz::{TimeZone, TimeZoneDatabase};
use serde::{Deserialize, Serialize};

/// The name of a time zone of the IANA database, e.g. `America/Los_Angeles`. The database is part of the program: it needs none of
/// the host.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ZoneName {
    text: String,
    zone: TimeZone,
}

/// Why a text is no [`ZoneName`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "timezone {0:?} is not known; a name of the IANA database is expected, as in \"America/Los_Angeles\" or \"UTC\""
)]
pub struct UnknownZone(String);

impl ZoneName {
    /// The name as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its rules.
    pub(super) fn time_zone(&self) -> TimeZone {
        self.zone.clone()
    }
}

/// UTC, as AWS's schedules are.
impl Default for ZoneName {
    fn default() -> Self {
        Self { text: "UTC".to_owned(), zone: TimeZone::UTC }
    }
}

impl FromStr for ZoneName {
    type Err = UnknownZone;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let zone = TimeZoneDatabase::bundled().get(text).map_err(|_| UnknownZone(text.chars().take(80).collect()))?;
        Ok(Self { text: text.to_owned(), zone })
    }
}

impl TryFrom<String> for ZoneName {
    type Error = UnknownZone;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<ZoneName> for String {
    fn from(name: ZoneName) -> Self {
        name.text
    }
}

impl fmt::Display for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl fmt::Debug for ZoneName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zones_are_known_by_their_names() {
        for known in ["UTC", "America/Los_Angeles", "Europe/Berlin", "Asia/Kathmandu"] {
            assert_eq!(known.parse::<ZoneName>().map(|zone| zone.to_string()).as_deref(), Ok(known));
        }
        for unknown in ["", "PST", "Moon/Tranquility", "../etc/passwd"] {
            let told = unknown.parse::<ZoneName>().map_err(|error| error.to_string());
            assert!(told.clone().is_err_and(|words| words.starts_with(&format!("timezone {unknown:?}"))), "{told:?}");
        }
    }
}
