//! The benchmarks: the real binary, a real Redis, a real database, and beside each figure what the machine allows,
//! measured in the same run.
//!
//! `cargo bench` runs all rows, five rounds of them, so that what else the machine does meanwhile touches every row
//! alike. Names of rows as arguments choose some: `cargo bench --bench muster -- warm boot`. Under `cargo test`, or with
//! MUSTER_BENCH_SMALL=1, each row runs once in a tiny form, which says that it works and measures nothing.

mod bare;
mod boot;
mod crowd;
mod family;
mod http;
mod limits;
mod peers;
mod postgres;
mod programs;
mod queues;
mod recovery;
mod scaling;
mod server;
mod sheet;
mod simulator;
mod spawning;
mod tasks;

use std::process::ExitCode;
use std::time::Instant;

use limits::Limits;
use sheet::{Goal, Sheet};

/// One round of the rows.
pub(crate) struct Round<'a> {
    small: bool,
    limits: Limits,
    sheet: &'a mut Sheet,
}

impl Round<'_> {
    /// How much of it: little, or enough to measure.
    pub(crate) fn sized<T>(&self, little: T, enough: T) -> T {
        if self.small { little } else { enough }
    }

    pub(crate) fn add(&mut self, row: &'static str, what: &str, unit: &'static str, goal: Goal, value: f64) {
        self.sheet.add(row, what, unit, goal, value);
    }
}

type Measure = fn(&mut Round<'_>) -> anyhow::Result<()>;

/// The rows by the names that choose them.
const ROWS: &[(&str, Measure)] = &[
    ("warm", spawning::warm),
    ("sixteen", spawning::sixteen),
    ("growing", spawning::growing),
    ("first", spawning::first),
    ("killed", recovery::killed),
    ("hung", recovery::hung),
    ("programs", programs::programs),
    ("oneshot", programs::oneshot),
    ("crowd", crowd::crowd),
    ("restored", recovery::restored),
    ("boot", boot::boot),
    ("tasks", tasks::tasks),
    ("bulk", tasks::bulk),
    ("drain", tasks::drain),
    ("latency", tasks::latency),
    ("durable", queues::durable),
    ("million", queues::million),
    ("noisy", queues::noisy),
    ("peers", peers::peers),
    ("simulator", simulator::simulator),
    ("spike", scaling::spike),
];

fn main() -> ExitCode {
    let result = match bare::play(std::env::args()) {
        Some(played) => played.map(|()| 0),
        None => run(),
    };
    match result {
        Ok(0) => ExitCode::SUCCESS,
        Ok(failed) => {
            eprintln!("{failed} figures fail");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Answers how many figures fail.
fn run() -> anyhow::Result<usize> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    // Cargo passes --bench where it measures, and nothing where it tests.
    let small = std::env::var_os("MUSTER_BENCH_SMALL").is_some() || !args.iter().any(|arg| arg == "--bench");
    let chosen: Vec<&str> = args.iter().map(String::as_str).filter(|arg| !arg.starts_with('-')).collect();
    if let Some(unknown) = chosen.iter().find(|name| ROWS.iter().all(|(row, _)| row != *name)) {
        let rows: Vec<&str> = ROWS.iter().map(|(row, _)| *row).collect();
        anyhow::bail!("there is no row {unknown:?}; there are: {}", rows.join(", "));
    }
    let rounds = match std::env::var("MUSTER_BENCH_ROUNDS") {
        Ok(text) => text.parse()?,
        Err(_) => {
            if small {
                1
            } else {
                5
            }
        }
    };
    let mut sheet = Sheet::default();
    for number in 1..=rounds {
        for (name, measure) in ROWS.iter().filter(|(row, _)| chosen.is_empty() || chosen.contains(row)) {
            let started = Instant::now();
            // Measured anew for each row: what else the machine does now is then the same for both.
            let mut round = Round { small, limits: Limits::measure(small)?, sheet: &mut sheet };
            show_limits(&mut round);
            measure(&mut round)?;
            eprintln!("round {number} of {rounds}: {name} took {:.1} s", started.elapsed().as_secs_f64());
        }
    }
    if small {
        println!("every row works; nothing was measured");
        return Ok(0);
    }
    Ok(sheet.print())
}

fn show_limits(round: &mut Round<'_>) {
    const ROW: &str = "limits of this machine, in the same run";
    let limits = &round.limits;
    let lines = [
        ("a bare axum handler", "ms", limits.http),
        ("a SQLite commit of one row, WAL, NORMAL", "ms", limits.commit(server::Durability::Process)),
        ("a SQLite commit of one row, WAL, FULL", "ms", limits.commit(server::Durability::Full)),
        ("a pub/sub round trip, there and back", "ms", limits.round_trip),
        ("start of a bare worker", "ms", limits.start),
        ("starts of bare workers a second", "/s", limits.starts_per_second),
    ];
    for (what, unit, value) in lines {
        round.add(ROW, what, unit, Goal::Shown, value);
    }
}
