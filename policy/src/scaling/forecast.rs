//! A forecast of a pool's demand from its own history: exponential smoothing with a damped trend and with the seasons of day and week
//! side by side (Holt and Winters; more than one season after Taylor, 2003), in the form that corrects by the last error.

use std::fmt;

use muster_domain::Timestamp;
use muster_domain::scaling::Season;

/// One hour, in milliseconds.
const HOUR: i64 = 3_600_000;
/// Hours of the history that are looked at, at the most: four weeks.
const MOST_HOURS: usize = 672;
/// Hours that are held out for the test, at the most.
const MOST_HELD_OUT: usize = 168;
/// For how many hours ahead it is made at the most, and tested.
const AHEAD: usize = 2;
/// How much of an error the level takes.
const ALPHA: f64 = 0.3;
/// How much of what the level takes is trend.
const BETA: f64 = 0.02;
/// How much of an error each season takes.
const GAMMA: f64 = 0.15;
/// What is left of a trend an hour later.
const DAMPING: f64 = 0.9;

/// The demand of a pool (tasks that wait or run), the mean of each hour.
#[derive(Clone, Debug, PartialEq)]
pub struct DemandHistory {
    /// When the first hour began.
    pub first_hour: Timestamp,
    /// Hour by hour until the last one that is over; none where nothing was measured.
    pub hours: Vec<Option<f64>>,
}

impl Default for DemandHistory {
    fn default() -> Self {
        Self { first_hour: Timestamp::from_millis(0), hours: Vec::new() }
    }
}

/// A demand that is expected, and how near such forecasts have been.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// The hour, by its beginning.
    pub hour: Timestamp,
    /// Tasks that are expected to wait or run, the mean of that hour.
    pub demand: f64,
    /// The mean absolute error over the hours held out, in tasks.
    pub error: f64,
    /// The same of "as many as in the same hour yesterday".
    pub yesterday_error: f64,
    /// Hours that were held out, and could be compared.
    pub held_out: usize,
}

/// Why there is no forecast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoForecast {
    /// The history is too short.
    TooShort {
        /// Its hours.
        hours: usize,
        /// Those that it takes.
        needed: usize,
    },
    /// The history ends too long before the hour.
    TooOld,
}

impl fmt::Display for NoForecast {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TooShort { hours, needed } => write!(f, "{hours} h of history are there, and {needed} h are needed"),
            Self::TooOld => write!(f, "the history ends more than {AHEAD} h ago"),
        }
    }
}

impl Forecast {
    /// The demand of the hour that `at` lies in, by these seasons: the longer ones are left out while the history is too short for them.
    pub fn of(history: &DemandHistory, seasons: &[Season], at: Timestamp) -> Result<Self, NoForecast> {
        let skipped = history.hours.len().saturating_sub(MOST_HOURS);
        let data = &history.hours[skipped..];
        let first = history.first_hour.as_millis().saturating_add(HOUR.saturating_mul(skipped as i64));
        let lengths = lengths(data.len(), seasons)?;
        let place = usize::try_from(at.as_millis().saturating_sub(first).div_euclid(HOUR)).unwrap_or(0);
        let steps = (place + 1).saturating_sub(data.len()).max(1);
        if steps > AHEAD {
            return Err(NoForecast::TooOld);
        }
        let (model, test) = run(data, &lengths);
        let place = data.len() + steps - 1;
        Ok(Self {
            hour: Timestamp::from_millis(first.saturating_add(HOUR.saturating_mul(place as i64))),
            demand: model.ahead(place, steps),
            error: test.mean(test.error),
            yesterday_error: test.mean(test.yesterday_error),
            held_out: test.count,
        })
    }

    /// Whether it has been nearer to the truth than "the same hour yesterday".
    pub fn beats_yesterday(&self) -> bool {
        self.held_out > 0 && self.error < self.yesterday_error
    }
}

/// Hours that are held out of so many.
const fn held_out(hours: usize) -> usize {
    if hours / 3 < MOST_HELD_OUT { hours / 3 } else { MOST_HELD_OUT }
}

/// The lengths of the seasons that so many hours are enough for, the short ones first: two of each before the hours held out.
fn lengths(hours: usize, seasons: &[Season]) -> Result<Vec<usize>, NoForecast> {
    let mut lengths: Vec<usize> = seasons.iter().map(|season| season.hours()).collect();
    lengths.sort_unstable();
    let needed = lengths.first().map_or(0, |shortest| 3 * shortest);
    lengths.retain(|length| hours - held_out(hours) >= 2 * length);
    if lengths.is_empty() || hours < needed { Err(NoForecast::TooShort { hours, needed }) } else { Ok(lengths) }
}

/// How near the forecasts of the hours held out were.
#[derive(Default)]
struct Backtest {
    error: f64,
    yesterday_error: f64,
    count: usize,
}

impl Backtest {
    fn mean(&self, sum: f64) -> f64 {
        if self.count == 0 { 0.0 } else { sum / self.count as f64 }
    }
}

/// Learns hour by hour. Each hour that is held out is first forecast from what was known so long before, then learned too.
fn run(data: &[Option<f64>], lengths: &[usize]) -> (SeasonalModel, Backtest) {
    let mut model = SeasonalModel::start(data, lengths);
    let mut test = Backtest::default();
    let test_from = data.len() - held_out(data.len());
    for (place, value) in data.iter().enumerate() {
        let tested = place + AHEAD - 1;
        if tested >= test_from
            && let (Some(Some(truth)), Some(Some(yesterday))) = (data.get(tested), data.get(tested.wrapping_sub(24)))
        {
            test.error += (model.ahead(tested, AHEAD) - truth).abs();
            test.yesterday_error += (yesterday - truth).abs();
            test.count += 1;
        }
        model.learn(place, *value);
    }
    (model, test)
}

/// What has been learned of a demand.
struct SeasonalModel {
    level: f64,
    trend: f64,
    /// What each hour of a season adds.
    seasons: Vec<Vec<f64>>,
}

impl SeasonalModel {
    /// From the means of the first two of the longest season.
    fn start(data: &[Option<f64>], lengths: &[usize]) -> Self {
        let span = lengths.iter().max().map_or(0, |longest| 2 * longest).min(data.len());
        let known = || data[..span].iter().enumerate().filter_map(|(place, value)| Some((place, (*value)?)));
        let level = mean(known().map(|(_, value)| value));
        let mut model = Self { level, trend: 0.0, seasons: Vec::new() };
        for length in lengths {
            let mut rests = vec![(0.0, 0_u32); *length];
            for (place, value) in known() {
                let (sum, count) = &mut rests[place % length];
                *sum += value - level - model.season(place);
                *count += 1;
            }
            model.seasons.push(rests.into_iter().map(|(sum, count)| sum / f64::from(count.max(1))).collect());
        }
        model
    }

    fn season(&self, place: usize) -> f64 {
        self.seasons.iter().map(|season| season[place % season.len()]).sum()
    }

    /// The demand of an hour that is so many steps after the last one learned.
    fn ahead(&self, place: usize, steps: usize) -> f64 {
        let trend: f64 = (1..=steps).map(|step| self.trend * DAMPING.powi(step as i32)).sum();
        (self.level + trend + self.season(place)).max(0.0)
    }

    /// Learns the next hour; of one that is missing only its passing.
    fn learn(&mut self, place: usize, value: Option<f64>) {
        let before = self.level + DAMPING * self.trend;
        let error = value.map_or(0.0, |value| value - before - self.season(place));
        self.level = before + ALPHA * error;
        self.trend = DAMPING * self.trend + ALPHA * BETA * error;
        for season in &mut self.seasons {
            let hour = place % season.len();
            season[hour] += GAMMA * (1.0 - ALPHA) * error;
        }
    }
}

fn mean(values: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    if count == 0 { 0.0 } else { sum / f64::from(count) }
}

#[cfg(test)]
mod tests;
