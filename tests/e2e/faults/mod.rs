//! The rule that all else serves: at any fault, within 15 s (or the pool's own longer clock), either every agent that is wanted
//! runs, or `/health`, `muster status` and an alert name the cause in words that an operator acts on, and the answer to
//! who waits says it too. No healthy worker or agent is ended for it. And when the cause is gone, all is whole again
//! without a restart by hand.
//!
//! A [`Row`] is one way to break something, with its way back. A [`Cell`] is where it is tried: which registry, which
//! store, how many workers. `cargo test` tries each row in one cell, and the cells take turns; `make faults` tries every
//! row in every cell that it applies to, and prints what became of each.
//!
//! | variable | meaning |
//! |---|---|
//! | `MUSTER_FAULTS=all` | every cell of every row |
//! | `MUSTER_FAULTS_ONLY=text` | only rows with this in their name |

mod clock;
mod host;
mod judge;
mod keys;
mod programs;
mod redis;
mod report;
mod row;
mod site;
mod store;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;

use report::{Outcome, Report};
use row::{Cell, Row};
use site::Site;

/// Rows that are tried side by side. They wait most of the time, so there are more of them than cores.
const AT_ONCE: usize = 6;

fn rows() -> Vec<Row> {
    [redis::rows(), keys::rows(), store::rows(), host::rows(), clock::rows(), programs::rows()]
        .into_iter()
        .flatten()
        .collect()
}

#[test]
fn every_fault_is_survived_or_named_and_heals() {
    let all = std::env::var("MUSTER_FAULTS").is_ok_and(|value| value == "all");
    let only = std::env::var("MUSTER_FAULTS_ONLY").unwrap_or_default();
    let rows: Vec<Row> = rows().into_iter().filter(|row| row.name.contains(&only)).collect();
    let tries = rows.iter().enumerate().flat_map(|(number, row)| {
        let cells = row.cells();
        // Seven has no common factor with the numbers of registries, stores and workers: all of them take their turn.
        let one = cells[number * 7 % cells.len()];
        let cells = if all { cells } else { vec![one] };
        cells.into_iter().map(move |cell| (row, cell))
    });
    let queue: Mutex<VecDeque<(&Row, Cell)>> = Mutex::new(tries.collect());
    let report = Report::default();
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some((row, cell)) = { queue.lock().expect("no panic with the lock").pop_front() } {
                    let outcome = catch_unwind(AssertUnwindSafe(|| attempt(row, cell)));
                    report.add(row, cell, outcome.unwrap_or_else(|panic| Outcome::failed(panic.as_ref())));
                }
            });
        }
    });
    report.print(all || !only.is_empty());
    assert!(report.is_well(), "the rule was broken; the table above says where");
}

/// Breaks, judges, mends and judges again. Panics where the rule does not hold, so that the server's log is shown.
fn attempt(row: &Row, cell: Cell) -> Outcome {
    let mut site = match Site::build(row, cell) {
        Ok(site) => site,
        Err(skip) => return Outcome::Skipped(skip.0),
    };
    let before = site.observe();
    let mend = match (row.harm)(&mut site) {
        Ok(mend) => mend,
        Err(skip) => return Outcome::Skipped(skip.0),
    };
    let probes = judge::Probes::new(&site);
    let verdict = probes.judge(&site, row, &before);
    mend(&mut site);
    let half = verdict.unwrap_or_else(|wrong| panic!("{} [{cell}]: {wrong}", row.name));
    probes.end();
    judge::await_whole(&site, row, &before);
    Outcome::Held(half)
}
