//! What the program of a task says beside its end: one channel from whoever speaks with the program to the loop, which looks into it
//! when a heartbeat is made and when the task is over.
//!
//! It has a bound, whatever a program says and however often, and never makes the loop wait or wake. What happens at the bound
//! depends on what would be lost by it:
//!
//! | what is said | what is held of it | when there is more |
//! |---|---|---|
//! | progress | the newest | it replaces what nobody has looked at: only the last one is true |
//! | usage | the sum | it is added, up to what a store holds: none is ever lost, since somebody pays it |
//! | words: lines that are no message | 256 KiB that wait for the log (`runtime::exec::journal`), and the last 4 KiB for the end of the attempt | the program is not read, so it waits itself; of the last ones the oldest go |
//!
//! A kind that can be neither replaced nor added up, as a question that somebody is to answer, is one more variant of [`Note`] that is
//! held in order, up to a number; while that is reached, the program is not read (`runtime::exec::driver`, `Records::has_room`), so
//! that none is lost either. That one is there is then news for the loop, which else looks only when it beats.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use muster_domain::{Progress, Usage};
use tokio::time::Instant;

/// The most that a sum of usage can be: what the store can hold.
const MOST: u64 = i64::MAX.unsigned_abs();

/// The channel of one task. It is memory that both sides have, and no queue: a program that prints or tells of progress a thousand
/// times a second costs the loop nothing.
#[derive(Debug)]
pub(crate) struct Notes {
    begun: Instant,
    /// The time from `begun` to the last sign, in milliseconds.
    last: AtomicU64,
    said: Mutex<NotesSoFar>,
}

/// What a program has said of a task so far.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct NotesSoFar {
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

impl Notes {
    pub(crate) fn new(begun: Instant) -> Self {
        Self { begun, last: AtomicU64::new(0), said: Mutex::default() }
    }

    /// There was a sign: output of any kind.
    pub(crate) fn sign(&self, now: Instant) {
        let millis = u64::try_from(now.saturating_duration_since(self.begun).as_millis()).unwrap_or(u64::MAX);
        self.last.store(millis, Ordering::Relaxed);
    }

    /// When the last sign was, at the earliest the beginning.
    pub(crate) fn last_sign(&self) -> Instant {
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
    pub(crate) fn said(&self) -> NotesSoFar {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, NotesSoFar> {
        // Each change is one assignment, so a panic elsewhere spoils nothing.
        self.said.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_progress_counts_and_usage_is_summed_up_to_what_a_store_holds() {
        let notes = Notes::new(Instant::now());
        for message in ["reading", "writing"] {
            notes.put(Note::Progress(Progress { message: message.to_owned(), percent: None }));
            notes.put(Note::Usage(Usage { input_tokens: 3, output_tokens: u64::MAX, cost_micros: 5 }));
        }
        let said = notes.said();
        assert_eq!(said.progress.map(|progress| progress.message), Some("writing".to_owned()));
        assert_eq!(said.usage, Usage { input_tokens: 6, output_tokens: MOST, cost_micros: 10 });
    }

    #[test]
    fn a_beginning_is_the_first_sign() {
        let begun = Instant::now();
        let notes = Notes::new(begun);
        assert_eq!(notes.last_sign(), begun);
        notes.sign(begun + Duration::from_secs(3));
        assert_eq!(notes.last_sign(), begun + Duration::from_secs(3));
    }
}
