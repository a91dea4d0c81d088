//! Wall-clock time for people and for storage. Decisions use the monotonic clock ([`std::time::Instant`]) instead.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A moment in UTC with millisecond precision: RFC 3339 in JSON, integer milliseconds since 1970 in the store.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The first moment that can be written down, and the last one: the years 0 to 9999 of UTC.
    const FIRST: Self = Self(-62_167_219_200_000);
    const LAST: Self = Self(253_402_300_799_999);

    /// The wall clock's time, or what of it can be written down: a host's clock may be set to anything. Never an input of a decision.
    pub fn now() -> Self {
        Self::from(SystemTime::now())
    }

    /// This moment, or the nearest that can be written down.
    fn writable(self) -> Self {
        self.clamp(Self::FIRST, Self::LAST)
    }

    /// From milliseconds since 1970-01-01T00:00:00Z.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970-01-01T00:00:00Z.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This moment later by `by`, at the latest the end of time.
    #[must_use]
    pub fn after(self, by: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This moment earlier by `by`, at the earliest the beginning of time.
    #[must_use]
    pub fn before(self, by: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(by.as_millis()).unwrap_or(i64::MAX)))
    }

    /// The time from `earlier` to this moment; zero where that is not earlier.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(at: SystemTime) -> Self {
        let past_1970 = at.duration_since(UNIX_EPOCH);
        let millis = |span: Duration| i64::try_from(span.as_millis()).unwrap_or(i64::MAX);
        Self(past_1970.map_or_else(|before| -millis(before.duration()), millis)).writable()
    }
}

/// What can't be written down is shown as the nearest moment that can, so that whoever reads it can read it.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = self.writable();
        if let Ok(at) = jiff::Timestamp::from_millisecond(at.0) {
            return write!(f, "{at:.3}");
        }
        // The last day of the year 9999 is no moment in every zone, and so none of jiff's.
        match EPOCH.checked_add(jiff::SignedDuration::from_millis(at.0)) {
            Ok(at) => write!(f, "{at:.3}Z"),
            Err(_) => write!(f, "{}ms", at.0),
        }
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// 1970 began, in UTC.
const EPOCH: jiff::civil::DateTime = jiff::civil::DateTime::constant(1970, 1, 1, 0, 0, 0, 0);

/// Why a text is no moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoMoment {
    /// It is not of the form.
    Unreadable,
    /// It is not in the years 0 to 9999 of UTC.
    OutOfRange,
}

impl fmt::Display for NoMoment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Unreadable => "a moment with its zone is expected (RFC 3339), as in 2026-01-31T09:00:00Z",
            Self::OutOfRange => "a moment from 0000-01-01T00:00:00Z to 9999-12-31T23:59:59.999Z is expected",
        })
    }
}

impl std::error::Error for NoMoment {}

impl FromStr for Timestamp {
    type Err = NoMoment;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(at) = text.parse::<jiff::Timestamp>() {
            return Ok(Self(at.as_millisecond()));
        }
        let parser = jiff::fmt::temporal::DateTimeParser::new();
        let pieces = parser.parse_pieces(text).map_err(|_| NoMoment::Unreadable)?;
        let (Some(time), Some(offset)) = (pieces.time(), pieces.to_numeric_offset()) else {
            return Err(NoMoment::Unreadable);
        };
        let there = pieces.date().to_datetime(time).duration_since(EPOCH).as_millis();
        let millis = there - i128::from(offset.seconds()) * 1_000;
        let at = i64::try_from(millis).map(Self).map_err(|_| NoMoment::OutOfRange)?;
        let fits = EPOCH.checked_add(jiff::SignedDuration::from_millis(at.0)).is_ok_and(|at| at.year() >= 0);
        if fits { Ok(at) } else { Err(NoMoment::OutOfRange) }
    }
}

impl Serialize for Timestamp {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// The longest duration that a setting may have: some 30 years. Sums of times that keep to it never overflow.
pub const LONGEST: Duration = Duration::from_secs(1_000_000_000);

/// Refuses a duration above [`LONGEST`], in words that begin with the field's name.
pub fn check_longest(field: &str, value: Duration) -> Result<(), String> {
    if value <= LONGEST {
        return Ok(());
    }
    Err(format!("{field} must be at most {} s, not {} s", LONGEST.as_secs(), value.as_secs_f64()))
}

/// The moment `by` after `at`, or [`LONGEST`] after it where `by` is longer. Settings are checked where they come in, but
/// a store may hold rows from before that check, and a sum that overflows would end whoever makes it.
pub fn later(at: Instant, by: Duration) -> Instant {
    at + by.min(LONGEST)
}

/// Serde form of a [`Duration`]: seconds as a number, fractions allowed. For `#[serde(with = "seconds")]`.
pub mod seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serializer};

    /// Writes whole seconds as an integer, all else as a fraction.
    pub fn serialize<S: Serializer>(value: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        if value.subsec_nanos() == 0 {
            serializer.serialize_u64(value.as_secs())
        } else {
            serializer.serialize_f64(value.as_secs_f64())
        }
    }

    /// Reads a number of seconds that is finite and not negative.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let seconds = f64::deserialize(deserializer)?;
        Duration::try_from_secs_f64(seconds)
            .map_err(|_| serde::de::Error::custom(format!("a number of seconds from 0 is expected, not {seconds}")))
    }
}

/// Serde form of a [`Duration`] that may be absent: seconds as a number. For
/// `#[serde(default, with = "optional_seconds")]`.
pub mod optional_seconds {
    use std::time::Duration;

    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::seconds;

    #[derive(Serialize, Deserialize)]
    struct Seconds(#[serde(with = "seconds")] Duration);

    /// Writes what [`seconds`] writes, or nothing.
    pub fn serialize<S: Serializer>(value: &Option<Duration>, serializer: S) -> Result<S::Ok, S::Error> {
        value.map(Seconds).serialize(serializer)
    }

    /// Reads what [`seconds`] reads, or nothing.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<Seconds>::deserialize(deserializer)?.map(|seconds| seconds.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_any_of_the_year_9999() {
        for text in ["9999-12-30T21:00:00.000Z", "9999-12-31T23:00:00.000Z", "9999-12-31T23:59:59.999Z"] {
            assert_eq!(text.parse::<Timestamp>().map(|at| at.to_string()).as_deref(), Ok(text));
        }
        let moved: Timestamp = "9999-12-31T23:30:00+01:00".parse().expect("a moment");
        assert_eq!(moved.to_string(), "9999-12-31T22:30:00.000Z");
        assert_eq!("9999-12-31T23:59:59.999-01:00".parse::<Timestamp>(), Err(NoMoment::OutOfRange));
        for text in ["soon", "9999-12-31T23:00:00", "9999-12-31", "10000-01-01T00:00:00Z"] {
            assert_eq!(text.parse::<Timestamp>(), Err(NoMoment::Unreadable), "{text}");
        }
    }

    #[test]
    fn no_moment_is_too_extreme_to_be_written_and_read() {
        let far = Duration::from_secs(300_000_000_000);
        let clocks = [UNIX_EPOCH + far, UNIX_EPOCH, UNIX_EPOCH - Duration::from_millis(1), UNIX_EPOCH - far];
        let of_clocks = clocks.map(Timestamp::from);
        assert_eq!(of_clocks.map(Timestamp::as_millis), [253_402_300_799_999, 0, -1, -62_167_219_200_000]);
        let extremes = [i64::MIN, i64::MIN + 1, -1, 0, i64::MAX - 1, i64::MAX].map(Timestamp::from_millis);
        for at in of_clocks.into_iter().chain(extremes) {
            let json = serde_json::to_string(&at).expect("a text");
            let read: Timestamp = serde_json::from_str(&json).expect("its own output");
            assert_eq!(read, at.writable(), "{json}");
            assert_eq!(format!("{at:?}"), at.to_string());
            for by in [Duration::ZERO, far, Duration::MAX] {
                assert!(at.after(by) >= at && at.before(by) <= at);
            }
            assert_eq!(at.since(at), Duration::ZERO);
        }
        let [first, last] = [i64::MIN, i64::MAX].map(|millis| Timestamp::from_millis(millis).to_string());
        assert_eq!((first.as_str(), last.as_str()), ("0000-01-01T00:00:00.000Z", "9999-12-31T23:59:59.999Z"));
        let span = Timestamp::from_millis(i64::MAX).since(Timestamp::from_millis(i64::MIN));
        assert_eq!(span, Duration::from_millis(i64::MAX.unsigned_abs()));
        for text in ["18446744073709551615", "-1", "null", "\"\"", "\"+999999-01-01T00:00:00Z\"", "1e400"] {
            assert!(serde_json::from_str::<Timestamp>(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_timestamp_is_rfc_3339_in_json_and_millis_in_the_store() {
        let at = Timestamp::from_millis(1_763_695_200_123);
        let json = serde_json::to_string(&at).expect("a timestamp is a string");
        assert_eq!(json, "\"2025-11-21T03:20:00.123Z\"");
        assert_eq!(serde_json::from_str::<Timestamp>(&json).expect("its own output"), at);
    }

    #[test]
    fn earlier_never_wraps_around() {
        assert_eq!(Timestamp::from_millis(5_000).before(Duration::from_secs(2)), Timestamp::from_millis(3_000));
        assert_eq!(Timestamp::from_millis(i64::MIN).before(Duration::MAX), Timestamp::from_millis(i64::MIN));
        assert_eq!(Timestamp::from_millis(5).since(Timestamp::from_millis(2)), Duration::from_millis(3));
        assert_eq!(Timestamp::from_millis(2).since(Timestamp::from_millis(5)), Duration::ZERO);
    }

    #[test]
    fn a_duration_is_bounded_and_a_sum_never_overflows() {
        assert_eq!(check_longest("pass", LONGEST), Ok(()));
        let refused = check_longest("pass", Duration::from_secs(10_000_000_000)).expect_err("too long");
        assert_eq!(refused, "pass must be at most 1000000000 s, not 10000000000 s");
        let now = Instant::now();
        assert_eq!(later(now, Duration::from_secs(1)), now + Duration::from_secs(1));
        assert_eq!(later(now, Duration::MAX), now + LONGEST);
        assert_eq!(later(later(now, Duration::MAX), Duration::MAX), now + LONGEST + LONGEST);
    }

    #[test]
    fn seconds_are_read_as_numbers_and_refused_when_negative() {
        #[derive(serde::Deserialize, serde::Serialize, Debug, PartialEq)]
        struct Wait(#[serde(with = "seconds")] Duration);
        assert_eq!(serde_json::from_str::<Wait>("0.25").expect("a fraction"), Wait(Duration::from_millis(250)));
        assert_eq!(serde_json::to_string(&Wait(Duration::from_secs(30))).expect("a number"), "30");
        assert!(serde_json::from_str::<Wait>("-1").is_err());
    }
}
