//! Figures, round by round, and what they are measured against.

use std::time::Duration;

use crate::server::Durability;

/// What a figure should be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Goal {
    /// On any machine: it is a ratio, or a number that no processor changes.
    AtMost(f64),
    /// On any machine, and in every round: it is a promise.
    AlwaysAtMost(f64),
    /// On any machine.
    AtLeast(f64),
    /// On a machine like the one that the goals were written for.
    HereAtMost(f64),
    /// On such a machine.
    HereAtLeast(f64),
    /// It is shown beside others.
    Shown,
}

impl Goal {
    /// Goals are for the default durability; figures under the other stand beside them.
    pub(crate) fn under(self, durability: Durability) -> Self {
        if durability == Durability::Process { self } else { Self::Shown }
    }
}

/// One kind of figure.
struct Line {
    row: &'static str,
    what: String,
    unit: &'static str,
    goal: Goal,
    samples: Vec<f64>,
}

/// All figures of a run.
#[derive(Default)]
pub(crate) struct Sheet {
    lines: Vec<Line>,
}

impl Sheet {
    /// Adds one round's value of a figure.
    pub(crate) fn add(&mut self, row: &'static str, what: &str, unit: &'static str, goal: Goal, value: f64) {
        match self.lines.iter_mut().find(|line| line.row == row && line.what == what) {
            Some(line) => line.samples.push(value),
            None => self.lines.push(Line { row, what: what.to_owned(), unit, goal, samples: vec![value] }),
        }
    }

    /// Prints every row. Answers how many figures fail on any machine; those that only fail to be what they are on
    /// the machine of the goals don't count.
    pub(crate) fn print(&mut self) -> usize {
        println!("\n{:<56}{:>10}  {:<22}{:<16}", "", "median", "spread", "goal");
        let mut row = "";
        let mut failed = 0;
        for line in &mut self.lines {
            if line.row != row {
                row = line.row;
                println!("\n{row}");
            }
            let median = percentile(&mut line.samples, 0.5);
            let (low, high) = (line.samples[0], line.samples[line.samples.len() - 1]);
            let (goal, verdict) = judge(line.goal, median, high);
            failed += usize::from(verdict == "FAIL");
            let spread = format!("{} to {}", shown(low), shown(high));
            let (what, unit) = (&line.what, line.unit);
            println!("  {what:<46}{:>8} {unit:<10}{spread:<20}{goal:<14}{verdict}", shown(median));
        }
        failed
    }
}

/// The goal in words, and whether the value meets it.
fn judge(goal: Goal, value: f64, highest: f64) -> (String, &'static str) {
    match goal {
        Goal::AtMost(bound) => (format!("<= {}", shown(bound)), if value <= bound { "pass" } else { "FAIL" }),
        Goal::AlwaysAtMost(bound) => (format!("<= {}", shown(bound)), if highest <= bound { "pass" } else { "FAIL" }),
        Goal::AtLeast(bound) => (format!(">= {}", shown(bound)), if value >= bound { "pass" } else { "FAIL" }),
        Goal::HereAtMost(bound) => (format!("<= {}", shown(bound)), if value <= bound { "pass" } else { "slower" }),
        Goal::HereAtLeast(bound) => (format!(">= {}", shown(bound)), if value >= bound { "pass" } else { "slower" }),
        Goal::Shown => (String::new(), ""),
    }
}

/// A number with as many digits as mean something.
fn shown(value: f64) -> String {
    match value.abs() {
        ..1.0 => format!("{value:.3}"),
        ..100.0 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

pub(crate) fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The value below which this share of the values lies. Sorts them.
pub(crate) fn percentile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() - 1) as f64 * share).round() as usize]
}
