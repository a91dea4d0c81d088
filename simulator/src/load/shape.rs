//! Loads that are made up from a seed: tasks come at random (a Poisson process whose rate follows a shape) and run for a random time
//! around a mean (an Erlang distribution: the sum of some exponential times).

use std::f64::consts::TAU;
use std::time::Duration;

use muster_domain::words;

use super::TraceRow;
use crate::clock::{self, PER_SECOND, Tick, ticks_of_seconds};

words! {
    /// How much comes when.
    pub enum LoadShape {
        /// As much at any time.
        Constant = "constant",
        /// A level for an hour, then another one.
        Steps = "steps",
        /// Little at midnight, most at noon, each day anew.
        Wave = "wave",
        /// A tenth of the time in, twenty times as much for a quarter of an hour.
        Spike = "spike",
    }
}

/// The levels of steps, hour by hour, as shares of the concurrency.
const LEVELS: [f64; 8] = [0.3, 1.0, 0.5, 1.4, 0.2, 0.8, 0.1, 0.6];

const HOUR: f64 = 3_600.0;
const DAY: f64 = 24.0 * HOUR;

/// How long a spike is, in seconds, and how much it is.
const SPIKE: (f64, f64) = (900.0, 20.0);

impl LoadShape {
    /// How much comes at a second, as a share of the ordinary.
    fn level(self, second: f64, span: f64) -> f64 {
        match self {
            Self::Constant => 1.0,
            Self::Steps => LEVELS[(second / HOUR) as usize % LEVELS.len()],
            Self::Wave => 0.1 + 0.9 * (1.0 - (TAU * second / DAY).cos()) / 2.0,
            Self::Spike => {
                let begins = 0.1 * span;
                if (begins..begins + SPIKE.0).contains(&second) { SPIKE.1 } else { 1.0 }
            }
        }
    }
}

/// A load that is made up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GeneratedLoad {
    /// How much comes when.
    pub shape: LoadShape,
    /// Tasks that would run together at the ordinary level, if none waited.
    pub concurrency: u32,
    /// How long a task runs in the mean.
    pub mean_run: Duration,
    /// Phases of a run, at least 1: of so many the time of a run deviates from the mean by 1/sqrt(phases) of it. 1 is the exponential
    /// distribution, in which most runs are short and some very long; with 4 nine of ten take between a third and twice the mean.
    pub phases: u8,
    /// How long tasks come.
    pub span: Duration,
    /// What chance begins with: the same seed makes the same load.
    pub seed: u64,
}

impl GeneratedLoad {
    /// Its rows.
    pub(super) fn rows(&self) -> GeneratedRows {
        GeneratedRows {
            load: *self,
            span: self.span.as_secs_f64(),
            mean_run: self.mean_run.as_secs_f64().max(0.1),
            rng: fastrand::Rng::with_seed(self.seed),
            second: 0.0,
            tick: Tick::MAX,
            rate: 0.0,
        }
    }
}

/// The rows of a load that is made up, one a task.
pub(crate) struct GeneratedRows {
    load: GeneratedLoad,
    span: f64,
    mean_run: f64,
    rng: fastrand::Rng,
    second: f64,
    /// The tick for which the rate is known.
    tick: Tick,
    rate: f64,
}

impl Iterator for GeneratedRows {
    type Item = TraceRow;

    fn next(&mut self) -> Option<TraceRow> {
        let before = (self.second * f64::from(PER_SECOND)) as Tick;
        if before != self.tick {
            self.tick = before;
            self.rate =
                self.load.shape.level(self.second, self.span) * f64::from(self.load.concurrency) / self.mean_run;
        }
        self.second += exponential(&mut self.rng) / self.rate;
        if self.second.is_nan() || self.second >= self.span {
            return None;
        }
        let length = ticks_of_seconds(self.mean_run * erlang(&mut self.rng, self.load.phases.max(1)));
        Some(TraceRow { at: (self.second * f64::from(clock::PER_SECOND)) as Tick, length, count: 1 })
    }
}

/// A random time around 1 until something happens that happens at any time alike.
pub(crate) fn exponential(rng: &mut fastrand::Rng) -> f64 {
    -(1.0 - rng.f64()).ln()
}

/// The mean of so many such times.
fn erlang(rng: &mut fastrand::Rng, phases: u8) -> f64 {
    // The logarithm of a product is the sum of the logarithms.
    let product: f64 = (0..phases).map(|_| 1.0 - rng.f64()).product();
    -product.max(f64::MIN_POSITIVE).ln() / f64::from(phases)
}

#[cfg(test)]
mod tests {
    use muster_domain::Words;

    use super::*;

    fn load(shape: LoadShape) -> GeneratedLoad {
        let (mean_run, span) = (Duration::from_secs(60), Duration::from_secs(86_400));
        GeneratedLoad { shape, concurrency: 20, mean_run, phases: 4, span, seed: 7 }
    }

    #[test]
    fn so_many_come_as_the_shape_says() {
        for (shape, mean) in [
            (LoadShape::Constant, 1.0),
            (LoadShape::Steps, 4.9 / 8.0),
            (LoadShape::Wave, 0.55),
            (LoadShape::Spike, 1.0 + 19.0 * 900.0 / 86_400.0),
        ] {
            let rows: Vec<TraceRow> = load(shape).rows().collect();
            let concurrency = rows.iter().map(|row| f64::from(row.length)).sum::<f64>() / 864_000.0;
            assert!((concurrency / (20.0 * mean) - 1.0).abs() < 0.03, "{shape:?}: {concurrency}");
            assert!(rows.is_sorted_by_key(|row| row.at) && rows.iter().all(|row| row.length > 0 && row.count == 1));
        }
    }

    #[test]
    fn runs_deviate_by_their_phases() {
        for (phases, deviation) in [(1, 1.0), (4, 0.5), (16, 0.25)] {
            let load = GeneratedLoad { phases, ..load(LoadShape::Constant) };
            let runs: Vec<f64> = load.rows().map(|row| f64::from(row.length) / 600.0).collect();
            let mean = runs.iter().sum::<f64>() / runs.len() as f64;
            let variance = runs.iter().map(|run| (run - mean).powi(2)).sum::<f64>() / runs.len() as f64;
            assert!((mean - 1.0).abs() < 0.02 && (variance.sqrt() - deviation).abs() < 0.02, "{phases}: {mean}");
        }
    }

    #[test]
    fn a_seed_makes_one_load_and_nothing_makes_nothing() {
        for shape in LoadShape::all() {
            assert!(load(shape).rows().eq(load(shape).rows()));
            assert!(load(shape).rows().ne(GeneratedLoad { seed: 8, ..load(shape) }.rows()));
            assert_eq!(GeneratedLoad { concurrency: 0, ..load(shape) }.rows().count(), 0);
        }
    }
}
