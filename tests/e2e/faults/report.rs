//! What became of each row.

use std::any::Any;
use std::fmt::Write as _;
use std::io::Write as _;
use std::sync::Mutex;

use super::judge::Half;
use super::row::{Cell, Row};

pub(super) enum Outcome {
    Held(Half),
    /// It can't be tried here, and why.
    Skipped(String),
    Failed(String),
}

impl Outcome {
    pub(super) fn failed(panic: &(dyn Any + Send)) -> Self {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|&text| text.to_owned()));
        Self::Failed(text.unwrap_or_else(|| "a panic without words".to_owned()))
    }
}

#[derive(Default)]
pub(super) struct Report(Mutex<Vec<Line>>);

struct Line {
    row: String,
    cell: String,
    outcome: Outcome,
}

impl Report {
    pub(super) fn add(&self, row: &Row, cell: Cell, outcome: Outcome) {
        let line = Line { row: row.name.clone(), cell: cell.to_string(), outcome };
        self.0.lock().expect("no panic with the lock").push(line);
    }

    pub(super) fn is_well(&self) -> bool {
        !self.0.lock().expect("no panic with the lock").iter().any(|line| matches!(line.outcome, Outcome::Failed(_)))
    }

    /// Prints all lines, or only those that did not hold, and how many did. To the terminal itself: what a test prints
    /// is hidden where it passes, and what was skipped must not be.
    pub(super) fn print(&self, all: bool) {
        let mut lines = self.0.lock().expect("no panic with the lock");
        lines.sort_by(|a, b| (&a.row, &a.cell).cmp(&(&b.row, &b.cell)));
        let mut page = String::from("\n");
        let mut counts = [0; 3];
        for Line { row, cell, outcome } in lines.iter() {
            let (count, word, why) = match outcome {
                Outcome::Held(Half::Runs) => (0, "all runs", ""),
                Outcome::Held(Half::Says) => (0, "is named", ""),
                Outcome::Skipped(why) => (1, "skipped", why.as_str()),
                Outcome::Failed(why) => (2, "FAILED", why.as_str()),
            };
            counts[count] += 1;
            if all || count > 0 {
                let _ = writeln!(page, "{row:44}  {cell:32}  {word:8}  {why}");
            }
        }
        let [held, skipped, failed] = counts;
        let _ = writeln!(page, "faults: {held} held, {skipped} skipped, {failed} failed");
        drop(std::io::stderr().write_all(page.as_bytes()));
    }
}
