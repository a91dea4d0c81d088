//! Rows as a curve over time.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_domain::metrics_tier::end_of_step;
use muster_domain::{MetricsTier, PoolMetrics, Timestamp};

muster_domain::words! {
    /// What a curve shows.
    pub enum MetricKind {
        /// Taken slots as a share of all, 0 to 1.
        Utilization = "utilization",
        /// Attempts at tasks that ended.
        Executions = "executions",
        /// Tokens that these attempts have read and written.
        Tokens = "tokens",
        /// Attempts that succeeded, as a share of those that succeeded or failed, 0 to 1.
        SuccessRate = "success_rate",
        /// Tasks that wait and may start, the mean.
        QueueDepth = "queue_depth",
        /// How long tasks waited for their first agent, in seconds: the median, and what 99 of 100 stay below.
        Wait = "wait",
        /// 100 x processor time of the trees / what the host or its control group grants.
        Cpu = "cpu",
        /// 100 x memory of the trees / what the host or its control group grants.
        Memory = "memory",
    }
}

impl MetricKind {
    /// Its value over the time of a row, and what 99 of 100 stay below where it is a median; none where there was nothing to measure.
    fn of(self, row: &PoolMetrics) -> (Option<f64>, Option<f64>) {
        let wait = |share| row.work.waits.quantile(share).map(|wait| wait.as_secs_f64());
        let tokens = row.work.usage.input_tokens.saturating_add(row.work.usage.output_tokens);
        match self {
            Self::Utilization => (Some(row.utilization()), None),
            Self::Executions => (Some(row.work.attempts.total as f64), None),
            Self::Tokens => (Some(tokens as f64), None),
            Self::SuccessRate => (row.work.attempts.success_rate(), None),
            Self::QueueDepth => (row.mean(row.queue.depth), None),
            Self::Wait => (wait(0.5), wait(0.99)),
            Self::Cpu => (row.cpu_usage(), None),
            Self::Memory => (row.memory_usage(), None),
        }
    }
}

muster_domain::words! {
    /// How far back a curve goes.
    pub enum TimeRange {
        /// An hour.
        Hour = "1h",
        /// Six hours.
        SixHours = "6h",
        /// A day.
        Day = "24h",
        /// A week.
        Week = "7d",
        /// Thirty days.
        Month = "30d",
    }
}

impl TimeRange {
    /// As a duration.
    pub const fn duration(self) -> Duration {
        Duration::from_hours(match self {
            Self::Hour => 1,
            Self::SixHours => 6,
            Self::Day => 24,
            Self::Week => 7 * 24,
            Self::Month => 30 * 24,
        })
    }

    /// The interval of a curve of some thirty to a hundred and fifty points.
    const fn usual_interval(self) -> Interval {
        match self {
            Self::Hour => Interval::HalfMinute,
            Self::SixHours => Interval::FiveMinutes,
            Self::Day => Interval::QuarterHour,
            Self::Week => Interval::Hour,
            Self::Month => Interval::Day,
        }
    }
}

muster_domain::words! {
    /// The time of one point of a curve.
    pub enum Interval {
        /// Thirty seconds.
        HalfMinute = "30s",
        /// Five minutes.
        FiveMinutes = "5m",
        /// Fifteen minutes.
        QuarterHour = "15m",
        /// An hour.
        Hour = "1h",
        /// A day.
        Day = "1d",
    }
}

impl Interval {
    /// As a duration.
    pub const fn duration(self) -> Duration {
        match self {
            Self::HalfMinute => Duration::from_secs(30),
            Self::FiveMinutes => Duration::from_mins(5),
            Self::QuarterHour => Duration::from_mins(15),
            Self::Hour => Duration::from_hours(1),
            Self::Day => Duration::from_hours(24),
        }
    }

    /// The interval asked for, or the usual one, where rows as fine as that are kept for the whole range; else why not. `measured` is the
    /// time of a row as it was measured.
    pub(crate) fn choose(asked: Option<Self>, range: TimeRange, measured: Duration) -> Result<Self, String> {
        let finest = |tier: &MetricsTier| tier.step().unwrap_or(measured).max(measured);
        let kept =
            MetricsTier::ALL.into_iter().filter(|tier| tier.kept() >= range.duration()).map(|tier| finest(&tier)).min();
        let kept = kept.unwrap_or_default();
        let fits = |interval: &Self| interval.duration() >= kept;
        let Some(asked) = asked else {
            let usual = range.usual_interval();
            let from_usual = Self::ALL.into_iter().filter(|interval| interval.duration() >= usual.duration());
            return Ok(from_usual.into_iter().find(fits).unwrap_or(Self::Day));
        };
        if fits(&asked) {
            return Ok(asked);
        }
        let words: Vec<&str> = Self::ALL.into_iter().filter(fits).map(Self::as_str).collect();
        let (range, asked) = (range.as_str(), asked.as_str());
        Err(format!("what is kept of {range} is not as fine as {asked}; use auto or {}", words.join(", ")))
    }
}

/// A point of a curve: the time that begins there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct CurvePoint {
    pub(crate) at: Timestamp,
    pub(crate) value: Option<f64>,
    pub(crate) p99: Option<f64>,
}

/// The curve of these rows, whole intervals up to the one that lasts at `now`. A time without rows has a point without a value.
pub(crate) fn curve(
    rows: &[PoolMetrics],
    kind: MetricKind,
    range: TimeRange,
    step: Duration,
    now: Timestamp,
) -> Vec<CurvePoint> {
    let mut sums: BTreeMap<Timestamp, PoolMetrics> = BTreeMap::new();
    for row in rows {
        let end = end_of_step(row.at, step);
        sums.entry(end).or_insert_with(|| PoolMetrics::new(None, end)).merge(row);
    }
    let (last, first) =
        (end_of_step(now, step), end_of_step(now.before(range.duration()).after(Duration::from_millis(1)), step));
    let ends = std::iter::successors(Some(first), |end| Some(end.after(step)).filter(|end| *end <= last));
    let point = |end: Timestamp| {
        let (value, p99) = sums.get(&end).map_or((None, None), |row| kind.of(row));
        CurvePoint { at: end.before(step), value, p99 }
    };
    ends.map(point).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(minute: i64, depth: u64) -> PoolMetrics {
        let mut row = PoolMetrics::new(None, Timestamp::from_millis(minute * 60_000));
        (row.looks, row.queue.depth) = (1, depth);
        row
    }

    #[test]
    fn a_gap_is_a_gap() {
        let rows = [row(61, 4), row(63, 2), row(65, 3), row(71, 9)];
        let now = Timestamp::from_millis(72 * 60_000);
        let points = curve(&rows, MetricKind::QueueDepth, TimeRange::Hour, Duration::from_mins(5), now);
        let minutes = |point: &CurvePoint| point.at.as_millis() / 60_000;
        assert_eq!((points.len(), minutes(&points[0]), minutes(&points[12])), (13, 10, 70));
        let values: Vec<(i64, Option<f64>)> = points[9..].iter().map(|point| (minutes(point), point.value)).collect();
        assert_eq!(values, [(55, None), (60, Some(3.0)), (65, None), (70, Some(9.0))]);
    }

    #[test]
    fn nothing_measured_has_no_value() {
        let values = |kind: MetricKind| kind.of(&row(1, 0));
        for kind in [MetricKind::SuccessRate, MetricKind::Wait, MetricKind::Cpu, MetricKind::Memory] {
            assert_eq!(values(kind), (None, None), "{}", kind.as_str());
        }
        assert_eq!(values(MetricKind::Executions), (Some(0.0), None), "nothing ended, and that was measured");
    }

    #[test]
    fn an_interval_is_as_fine_as_rows_are_kept() {
        let choose = |asked, range, measured| Interval::choose(asked, range, Duration::from_secs(measured));
        assert_eq!(choose(Some(Interval::HalfMinute), TimeRange::Day, 30), Ok(Interval::HalfMinute));
        let refused = choose(Some(Interval::HalfMinute), TimeRange::Week, 30).expect_err("kept for a day");
        assert_eq!(refused, "what is kept of 7d is not as fine as 30s; use auto or 5m, 15m, 1h, 1d");
        assert!(choose(Some(Interval::QuarterHour), TimeRange::Month, 30).is_err());
        assert!(choose(Some(Interval::HalfMinute), TimeRange::Hour, 60).is_err(), "measured less often");
        let usual: Vec<&str> = TimeRange::ALL.map(|range| choose(None, range, 30).expect("one").as_str()).to_vec();
        assert_eq!(usual, ["30s", "5m", "15m", "1h", "1d"]);
        assert_eq!(choose(None, TimeRange::Hour, 60), Ok(Interval::FiveMinutes));
        assert_eq!(choose(None, TimeRange::Hour, 900), Ok(Interval::QuarterHour));
    }
}
