//! When a schedule fires: a cron expression, as crontab or as AWS writes it.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use serde::{Deserialize, Serialize};

use super::zone::ZoneName;
use crate::Timestamp;

/// A cron expression, read once:
/// - five fields as in crontab(5): minute, hour, day of the month, month, day of the week (0 or 7 is Sunday);
/// - six as AWS writes them, also within `cron(...)`: minute, hour, day of the month, month, day of the week (1 is Sunday), year; one of
///   both days is `?`.
///
/// Over a change of daylight saving a time that is left out fires when the gap is over, and one that is there twice fires once.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CronExpression {
    text: String,
    cron: Arc<Cron>,
}

/// Why a text is no [`CronExpression`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cron {text:?} is no schedule: {why}")]
pub struct InvalidCron {
    text: String,
    why: String,
}

impl CronExpression {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// When it last fired by the clock of this zone, this moment included; none if it had not.
    pub fn last_firing(&self, zone: &ZoneName, now: Timestamp) -> Option<Timestamp> {
        let at = zoned(now, zone.time_zone())?;
        self.cron.find_previous_occurrence(&at, true).ok().map(|fired| moment(&fired))
    }

    /// When it fires next by the clock of this zone, after this moment; none if it does no more.
    pub fn next_firing(&self, zone: &ZoneName, now: Timestamp) -> Option<Timestamp> {
        let at = zoned(now, zone.time_zone())?;
        self.cron.find_next_occurrence(&at, false).ok().map(|fires| moment(&fires))
    }
}

fn zoned(at: Timestamp, zone: TimeZone) -> Option<jiff::Zoned> {
    jiff::Timestamp::from_millisecond(at.as_millis()).ok().map(|at| at.to_zoned(zone))
}

fn moment(at: &jiff::Zoned) -> Timestamp {
    Timestamp::from_millis(at.timestamp().as_millisecond())
}

impl FromStr for CronExpression {
    type Err = InvalidCron;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = |why: String| InvalidCron { text: text.chars().take(80).collect(), why };
        let cron = read(text).map_err(wrong)?;
        let epoch = jiff::Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
        if cron.find_next_occurrence(&epoch, true).is_err() {
            return Err(wrong("there is no such day".to_owned()));
        }
        Ok(Self { text: text.to_owned(), cron: Arc::new(cron) })
    }
}

fn read(text: &str) -> Result<Cron, String> {
    let trimmed = text.trim();
    let inner = trimmed.strip_prefix("cron(").and_then(|rest| rest.strip_suffix(')'));
    let fields: Vec<&str> = inner.unwrap_or(trimmed).split_whitespace().collect();
    match (fields.as_slice(), inner) {
        ([_, _, _, _, _], None) => {
            let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
            parse(parser, &fields.join(" "))
        }
        ([minute, hour, day, month, weekday, year], _) => {
            if (*day == "?") == (*weekday == "?") {
                return Err(
                    "one of its third and fifth field, day of the month and day of the week, must be ?".to_owned()
                );
            }
            let parser = CronParser::builder().seconds(Seconds::Required).year(Year::Required);
            let parser = parser.alternative_weekdays(true).sloppy_ranges(true).build();
            parse(parser, &format!("0 {minute} {hour} {day} {month} {weekday} {year}"))
        }
        (_, Some(_)) => Err(format!("cron(...) has six fields, not {}", fields.len())),
        _ => Err(format!("it has five fields, or six as AWS writes them, not {}", fields.len())),
    }
}

fn parse(parser: CronParser, pattern: &str) -> Result<Cron, String> {
    parser.parse(pattern).map_err(|error| error.to_string().trim_end_matches('.').to_owned())
}

impl TryFrom<String> for CronExpression {
    type Error = InvalidCron;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<CronExpression> for String {
    fn from(cron: CronExpression) -> Self {
        cron.text
    }
}

impl PartialEq for CronExpression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl fmt::Display for CronExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.text.fmt(f)
    }
}

impl fmt::Debug for CronExpression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOS_ANGELES: &str = "America/Los_Angeles";

    /// The first firings after a moment, in UTC.
    fn firings(cron: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let (cron, zone): (CronExpression, ZoneName) = (cron.parse().expect(cron), zone.parse().expect(zone));
        let mut at: Timestamp = after.parse().expect(after);
        let mut next = || {
            at = cron.next_firing(&zone, at)?;
            assert_eq!(cron.last_firing(&zone, at), Some(at), "found again from behind");
            Some(at.to_string().replace(":00.000Z", ""))
        };
        std::iter::from_fn(&mut next).take(count).collect()
    }

    #[test]
    fn fires_as_crontab_and_aws_say() {
        let rows: [(&str, &str, &[&str]); 6] = [
            ("30 7 * * *", "2026-11-27T07:30:00Z", &["2026-11-28T07:30", "2026-11-29T07:30"]),
            // Monday to Friday; the 27th is a Friday.
            (
                "cron(0 13 ? * MON-FRI *)",
                "2026-11-26T12:00:00Z",
                &["2026-11-26T13:00", "2026-11-27T13:00", "2026-11-30T13:00"],
            ),
            ("cron(0 3 ? * * *)", "2026-11-27T12:00:00Z", &["2026-11-28T03:00", "2026-11-29T03:00"]),
            // For AWS the week begins with Sunday as 1, in crontab with Sunday as 0.
            ("0 13 ? * 2-6 *", "2026-11-26T12:00:00Z", &["2026-11-26T13:00", "2026-11-27T13:00", "2026-11-30T13:00"]),
            ("0 13 * * 1", "2026-11-26T12:00:00Z", &["2026-11-30T13:00", "2026-12-07T13:00"]),
            (
                "cron(0/30 9 L * ? 2027)",
                "2026-01-01T00:00:00Z",
                &["2027-01-31T09:00", "2027-01-31T09:30", "2027-02-28T09:00"],
            ),
        ];
        for (cron, after, expected) in rows {
            assert_eq!(firings(cron, "UTC", after, expected.len()), expected, "{cron}");
        }
    }

    #[test]
    fn a_time_that_is_left_out_fires_after_the_gap_and_one_that_is_there_twice_fires_once() {
        // 02:30 is left out on the 14th of March 2027: 03:00 is 10:00 UTC.
        let spring = firings("30 2 * * *", LOS_ANGELES, "2027-03-13T00:00:00Z", 3);
        assert_eq!(spring, ["2027-03-13T10:30", "2027-03-14T10:00", "2027-03-15T09:30"]);
        // 01:30 is there twice on the 7th of November 2027.
        let autumn = firings("30 1 * * *", LOS_ANGELES, "2027-11-06T00:00:00Z", 3);
        assert_eq!(autumn, ["2027-11-06T08:30", "2027-11-07T08:30", "2027-11-08T09:30"]);
    }

    #[test]
    fn thirteen_hours_utc_is_six_in_the_morning_in_los_angeles_only_in_summer() {
        let (cron, after) = ("0 6 ? * MON-FRI *", "2027-03-11T15:00:00Z");
        assert_eq!(firings(cron, LOS_ANGELES, after, 2), ["2027-03-12T14:00", "2027-03-15T13:00"]);
        assert_eq!(firings("cron(0 13 ? * MON-FRI *)", "UTC", after, 2), ["2027-03-12T13:00", "2027-03-15T13:00"]);
        let back = firings(cron, LOS_ANGELES, "2027-11-05T00:00:00Z", 2);
        assert_eq!(back, ["2027-11-05T13:00", "2027-11-08T14:00"]);
    }

    #[test]
    fn what_never_fired_has_no_last_firing_and_what_is_over_has_no_next_one() {
        let cron: CronExpression = "0 0 1 1 ? 2030".parse().expect("a year");
        let at = |text: &str| text.parse::<Timestamp>().expect(text);
        let utc = ZoneName::default();
        assert_eq!(cron.last_firing(&utc, at("2029-12-31T23:59:59Z")), None);
        assert_eq!(cron.last_firing(&utc, at("2030-06-01T00:00:00Z")), Some(at("2030-01-01T00:00:00Z")));
        assert_eq!(cron.next_firing(&utc, at("2030-01-01T00:00:00Z")), None);
    }

    #[test]
    fn what_is_no_schedule_is_refused_with_the_reason() {
        for (wrong, why) in [
            ("", "not 0"),
            ("* * * *", "it has five fields, or six as AWS writes them, not 4"),
            ("61 * * * *", "61"),
            ("0 13 * * MON-FRI *", "must be ?"),
            ("0 13 ? * ? *", "must be ?"),
            ("cron(0 13 * * 1)", "cron(...) has six fields, not 5"),
            ("0 0 30 2 *", "there is no such day"),
            ("@daily", "not 1"),
            ("0 0 * * FUNDAY", ""),
        ] {
            let words = wrong.parse::<CronExpression>().expect_err(wrong).to_string();
            assert!(words.starts_with(&format!("cron {wrong:?} is no schedule: ")) && words.contains(why), "{words}");
        }
    }

    #[test]
    fn a_schedule_is_written_as_it_was_read() {
        let json = "\"cron(0 13 ? * MON-FRI *)\"";
        let cron: CronExpression = serde_json::from_str(json).expect("a schedule");
        assert_eq!(serde_json::to_string(&cron).expect("a text"), json);
    }
}
