//! The signs that one task gives while it runs: when it last made any, and what its program has said of it.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use muster_domain::{Progress, Usage};
use tokio::time::Instant;

/// The most that a sum of usage can be: what the store can hold.
const MOST: u64 = i64::MAX.unsigned_abs();

/// Written by whoever runs the task, and read when a heartbeat is made or the task is over, so that a program that prints
/// or tells of progress a thousand times a second costs the loop nothing.
#[derive(Debug)]
pub(crate) struct Sign {
    begun: Instant,
    /// The time from `begun` to the last sign, in milliseconds.
    last: AtomicU64,
    said: Mutex<Said>,
}

/// What a program has said of a task so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Said {
    pub(crate) progress: Option<Progress>,
    pub(crate) usage: Usage,
}

/// What a program says of a task while it runs.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Note {
    /// How far it is.
    Progress(Progress),
    /// What it used since it last said so.
    Usage(Usage),
}

impl Sign {
    pub(crate) fn new(begun: Instant) -> Self {
        Self { begun, last: AtomicU64::new(0), said: Mutex::default() }
    }

    /// There was a sign: output of any kind.
    pub(crate) fn note(&self, now: Instant) {
        let millis = u64::try_from(now.saturating_duration_since(self.begun).as_millis()).unwrap_or(u64::MAX);
        self.last.store(millis, Ordering::Relaxed);
    }

    /// When the last sign was, at the earliest the beginning.
    pub(crate) fn last(&self) -> Instant {
        self.begun + Duration::from_millis(self.last.load(Ordering::Relaxed))
    }

    /// Takes what the program says.
    pub(crate) fn put(&self, note: Note) {
        let mut said = self.lock();
        match note {
            Note::Progress(progress) => said.progress = Some(progress),
            Note::Usage(usage) => {
                let sum = said.usage.plus(usage);
                said.usage = Usage {
                    input_tokens: sum.input_tokens.min(MOST),
                    output_tokens: sum.output_tokens.min(MOST),
                    cost_micros: sum.cost_micros.min(MOST),
                };
            }
        }
    }

    /// All that was said.
    pub(crate) fn said(&self) -> Said {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Said> {
        // Each change is one assignment, so a panic elsewhere spoils nothing.
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_progress_counts_and_usage_is_summed_up_to_what_a_store_holds() {
        let sign = Sign::new(Instant::now());
        for message in ["reading", "writing"] {
            sign.put(Note::Progress(Progress { message: message.to_owned(), percent: None }));
            sign.put(Note::Usage(Usage { input_tokens: 3, output_tokens: u64::MAX, cost_micros: 5 }));
        }
        let said = sign.said();
        assert_eq!(said.progress.map(|progress| progress.message), Some("writing".to_owned()));
        assert_eq!(said.usage, Usage { input_tokens: 6, output_tokens: MOST, cost_micros: 10 });
    }

    #[test]
    fn a_beginning_is_the_first_sign() {
        let begun = Instant::now();
        let sign = Sign::new(begun);
        assert_eq!(sign.last(), begun);
        sign.note(begun + Duration::from_secs(3));
        assert_eq!(sign.last(), begun + Duration::from_secs(3));
    }
}
