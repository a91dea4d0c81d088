//! What a simulated pool has to do: tasks with the moment at which they come, and how long each runs.
//!
//! A load is recorded ([`trace`]) or made up from a seed ([`shape`]). Either way it is read row by row, so that a day of a million
//! concurrent runs is never in memory as a whole.

pub mod shape;
pub mod trace;

use std::time::Duration;

use muster_domain::Timestamp;

use crate::clock::Tick;
pub use shape::{GeneratedLoad, LoadShape};
pub use trace::{TraceMistake, TraceRow};

use shape::GeneratedRows;

/// Where the virtual clock begins if the load does not say it: a Monday, at midnight in UTC.
const MONDAY: Timestamp = Timestamp::from_millis(1_767_571_200_000);

/// A load.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskLoad {
    /// How it is called in reports.
    pub name: String,
    /// How long it is looked at.
    pub span: Duration,
    /// Whether it is looked at for longer, up to twice the span, until its last task is done.
    pub until_done: bool,
    /// When it begins by the virtual clock: schedules fire by it.
    pub start: Timestamp,
    source: LoadSource,
}

#[derive(Clone, Debug, PartialEq)]
enum LoadSource {
    Recorded(Vec<TraceRow>),
    Generated(GeneratedLoad),
}

impl TaskLoad {
    /// One that is made up.
    pub fn generated(name: impl Into<String>, load: GeneratedLoad) -> Self {
        let (span, source) = (load.span, LoadSource::Generated(load));
        Self { name: name.into(), span, until_done: false, start: MONDAY, source }
    }

    /// One that was recorded, of the text of a CSV file. It is looked at until its last task is done.
    pub fn recorded(name: impl Into<String>, csv: &str) -> Result<Self, TraceMistake> {
        let (rows, start) = trace::read(csv)?;
        let end = rows.iter().map(|row| row.at.saturating_add(row.length)).max().unwrap_or_default();
        let span = crate::clock::duration(end.saturating_add(1));
        let (start, source) = (start.unwrap_or(MONDAY), LoadSource::Recorded(rows));
        Ok(Self { name: name.into(), span, until_done: true, start, source })
    }

    /// Its rows, in the order of time.
    pub(crate) fn rows(&self) -> LoadRows<'_> {
        match &self.source {
            LoadSource::Recorded(rows) => LoadRows::Recorded(rows.iter()),
            LoadSource::Generated(load) => LoadRows::Generated(Box::new(load.rows())),
        }
    }
}

/// The rows of a load.
pub(crate) enum LoadRows<'a> {
    Recorded(std::slice::Iter<'a, TraceRow>),
    Generated(Box<GeneratedRows>),
}

impl Iterator for LoadRows<'_> {
    type Item = TraceRow;

    fn next(&mut self) -> Option<TraceRow> {
        match self {
            Self::Recorded(rows) => rows.next().copied(),
            Self::Generated(rows) => rows.next(),
        }
    }
}

/// What a load is in figures.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct LoadFigures {
    pub(crate) tasks: u64,
    run_ticks: u64,
}

impl LoadFigures {
    pub(crate) fn add(&mut self, length: Tick, count: u32) {
        self.tasks += u64::from(count);
        self.run_ticks += u64::from(length) * u64::from(count);
    }

    /// The mean time that a task runs, in seconds.
    pub(crate) fn mean_run(&self) -> f64 {
        if self.tasks == 0 { 0.0 } else { self.run_seconds() / self.tasks as f64 }
    }

    /// The time that all tasks run, in seconds.
    pub(crate) fn run_seconds(&self) -> f64 {
        self.run_ticks as f64 / f64::from(crate::clock::PER_SECOND)
    }
}
