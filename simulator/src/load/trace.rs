//! Recorded loads: CSV with the head `at,run_seconds,count`.

use muster_domain::Timestamp;

use crate::clock::{PER_SECOND, Tick, ticks_of_seconds};

/// The head of a trace.
pub const HEAD: &str = "at,run_seconds,count";

/// The longest trace, in seconds: ten years.
const LONGEST: f64 = 315_360_000.0;

/// Tasks that come together and run as long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceRow {
    /// When they come, from the beginning of the load.
    pub at: Tick,
    /// How long each runs.
    pub length: Tick,
    /// How many they are.
    pub count: u32,
}

/// Why a text is no trace.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {words}")]
pub struct TraceMistake {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub words: String,
}

/// When a row is: so many seconds from the beginning, or by the clock.
#[derive(Clone, Copy)]
enum At {
    Second(f64),
    Clock(Timestamp),
}

/// The rows of a text in the order of time, and the moment of the first one where `at` is one (RFC 3339); else `at` are seconds from the
/// beginning.
pub(super) fn read(csv: &str) -> Result<(Vec<TraceRow>, Option<Timestamp>), TraceMistake> {
    let mut lines = csv.lines().enumerate().map(|(place, text)| (place + 1, text.trim()));
    let head = lines.next().map_or("", |(_, text)| text.trim_start_matches('\u{feff}'));
    if head.split(',').map(str::trim).ne(HEAD.split(',')) {
        return Err(TraceMistake { line: 1, words: format!("the head {HEAD} is expected, not {head:?}") });
    }
    let filled = lines.filter(|(_, text)| !text.is_empty());
    let read = |(line, text)| row(text).map(|row| (line, row)).map_err(|words| TraceMistake { line, words });
    let rows: Vec<(usize, (At, f64, u32))> = filled.map(read).collect::<Result<_, _>>()?;
    let moment = |(_, (at, _, _)): &(usize, (At, f64, u32))| match at {
        At::Clock(at) => Some(*at),
        At::Second(_) => None,
    };
    let start = rows.iter().filter_map(moment).min();
    let mut trace = Vec::with_capacity(rows.len());
    for (line, (at, run, count)) in rows {
        let wrong = |words: String| TraceMistake { line, words };
        let second = match (at, start) {
            (At::Clock(at), Some(start)) => at.since(start).as_secs_f64(),
            (At::Second(second), None) => second,
            _ => return Err(wrong("at is a number of seconds here and a moment elsewhere".to_owned())),
        };
        if second > LONGEST {
            return Err(wrong(format!("at is more than {LONGEST} s after the beginning")));
        }
        trace.push(TraceRow {
            at: (second * f64::from(PER_SECOND)).round() as Tick,
            length: ticks_of_seconds(run),
            count,
        });
    }
    if trace.is_empty() {
        return Err(TraceMistake { line: 1, words: "no row follows the head".to_owned() });
    }
    trace.sort_by_key(|row| row.at);
    Ok((trace, start))
}

fn row(text: &str) -> Result<(At, f64, u32), String> {
    let fields: Vec<&str> = text.split(',').map(str::trim).collect();
    let [at, run, count] = fields[..] else {
        return Err(format!("three fields are expected ({HEAD}), not {}", fields.len()));
    };
    let at = match at.parse::<f64>() {
        Ok(second) if second.is_finite() && second >= 0.0 => At::Second(second),
        Ok(second) => return Err(format!("at is 0 or more, not {second}")),
        Err(_) => {
            At::Clock(at.parse().map_err(|_| format!("at is a number of seconds or a moment (RFC 3339), not {at:?}"))?)
        }
    };
    let run = run.parse::<f64>().ok().filter(|run| *run > 0.0 && *run <= LONGEST);
    let run = run.ok_or_else(|| format!("run_seconds is above 0 and at most {LONGEST}, not {:?}", fields[1]))?;
    let count = count.parse().map_err(|_| format!("count is a whole number from 0, not {count:?}"))?;
    Ok((at, run, count))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_read_by_seconds_or_by_the_clock() {
        let (rows, start) = read("at,run_seconds,count\n60,600,5\n0, 1.25, 2\n\n").expect("a trace");
        let expected = [TraceRow { at: 0, length: 13, count: 2 }, TraceRow { at: 600, length: 6_000, count: 5 }];
        assert_eq!((rows.as_slice(), start), (&expected[..], None));
        let csv = "\u{feff}at,run_seconds,count\r\n2026-11-29T06:01:00Z,600,5\r\n2026-11-29T07:00:00+01:00,1.25,2\r\n";
        let (rows, start) = read(csv).expect("a trace");
        assert_eq!((rows.as_slice(), start), (&expected[..], "2026-11-29T06:00:00Z".parse().ok()));
    }

    #[test]
    fn what_is_no_trace_is_named_with_its_line() {
        for (csv, words) in [
            ("", "line 1: the head at,run_seconds,count is expected, not \"\""),
            ("when,how,many\n", "line 1: the head"),
            ("at,run_seconds,count\n", "line 1: no row follows the head"),
            ("at,run_seconds,count\n1,2\n", "line 2: three fields are expected (at,run_seconds,count), not 2"),
            ("at,run_seconds,count\n1,2,3\nsoon,2,3\n", "line 3: at is a number of seconds or a moment"),
            ("at,run_seconds,count\n-1,2,3\n", "line 2: at is 0 or more, not -1"),
            ("at,run_seconds,count\n1,0,3\n", "line 2: run_seconds is above 0"),
            ("at,run_seconds,count\n1,NaN,3\n", "line 2: run_seconds is above 0"),
            ("at,run_seconds,count\n1,2,-3\n", "line 2: count is a whole number from 0, not \"-3\""),
            ("at,run_seconds,count\n1,2,3\n2026-11-29T06:00:00Z,2,3\n", "line 2: at is a number of seconds here"),
            ("at,run_seconds,count\n1e12,2,3\n", "line 2: at is more than"),
        ] {
            let told = read(csv).expect_err(csv).to_string();
            assert!(told.starts_with(words), "{told}");
        }
    }
}
