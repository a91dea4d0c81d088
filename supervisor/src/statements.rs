//! Statements that fail though the store is there: a table or a right is missing, a row can't be read, somebody's trigger
//! refuses. Others succeed meanwhile, and say nothing about these. So a failure is over when writes of its kind succeed, or when
//! it was not seen for a while.

use std::collections::HashSet;
use std::mem::{Discriminant, discriminant};
use std::time::{Duration, Instant};

use muster_store::Write;

/// Whoever waits for something that failed asks for it more often than that.
const QUIET: Duration = Duration::from_secs(30);

/// What fails, from the first failure until it is over.
#[derive(Debug, Default)]
pub(crate) struct Statements {
    /// Kinds of writes that were in batches that failed, and in none that went through since.
    writes: HashSet<Discriminant<Write>>,
    /// Whether something could not be read. What is read successfully is not told.
    reads: bool,
    /// The latest failure.
    seen: Option<Instant>,
}

impl Statements {
    /// A batch failed; an empty one stands for something that could not be read.
    pub(crate) fn failed(&mut self, writes: &[Write], now: Instant) {
        self.writes.extend(writes.iter().map(discriminant));
        self.reads |= writes.is_empty();
        self.seen = Some(now);
    }

    /// A batch went through. Answers whether nothing fails any more that did.
    pub(crate) fn succeeded(&mut self, writes: &[Write]) -> bool {
        if self.seen.is_none() {
            return false;
        }
        for write in writes {
            self.writes.remove(&discriminant(write));
        }
        let over = self.writes.is_empty() && !self.reads;
        if over {
            *self = Self::default();
        }
        over
    }

    /// Whether a failure is over since it was not seen for a while.
    pub(crate) fn are_over(&mut self, now: Instant) -> bool {
        let over = self.seen.is_some_and(|seen| now.saturating_duration_since(seen) >= QUIET);
        if over {
            *self = Self::default();
        }
        over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pause() -> Write {
        Write::PauseAll { paused: true }
    }

    fn shift() -> Write {
        Write::ShiftWaits { pool: None, by_millis: 1, step: String::new() }
    }

    #[test]
    fn only_a_write_of_its_kind_ends_a_failure() {
        let (mut statements, now) = (Statements::default(), Instant::now());
        assert!(!statements.succeeded(&[shift()]), "nothing had failed");
        statements.failed(&[shift(), pause()], now);
        assert!(!statements.succeeded(&[pause()]));
        assert!(!statements.succeeded(&[pause()]));
        assert!(statements.succeeded(&[shift()]));
        assert!(!statements.succeeded(&[shift()]), "it was told");
    }

    #[test]
    fn what_is_not_seen_for_a_while_is_over() {
        let (mut statements, now) = (Statements::default(), Instant::now());
        statements.failed(&[], now);
        assert!(!statements.succeeded(&[shift()]), "a write says nothing about reads");
        assert!(!statements.are_over(now + QUIET / 2));
        statements.failed(&[], now + QUIET / 2);
        assert!(!statements.are_over(now + QUIET));
        assert!(statements.are_over(now + QUIET * 2));
        assert!(!statements.are_over(now + QUIET * 3), "it was told");
    }
}
