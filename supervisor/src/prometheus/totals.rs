//! What a pool's tasks came to since its keeper began.

use std::time::Duration;

use muster_domain::{TaskState, Usage};

use super::histogram::SecondsHistogram;
use super::words::AttemptOutcome;

/// What was done, added up. What is planned in a turn is added when it is committed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TaskTotals {
    /// Tasks that were taken in.
    pub submitted: u64,
    attempts: [u64; AttemptOutcome::ALL.len()],
    ended: [u64; TaskState::ALL.len()],
    /// What attempts have used.
    pub usage: Usage,
    /// How long tasks waited for their first attempt.
    pub waits: SecondsHistogram,
    /// How long attempts took.
    pub runs: SecondsHistogram,
}

impl TaskTotals {
    /// An attempt is over.
    pub(crate) fn count_attempt(&mut self, then: AttemptOutcome, took: Duration, used: Usage) {
        self.attempts[then as usize] += 1;
        self.usage = self.usage.plus(used);
        self.runs.add(took);
        self.count_end(then);
    }

    /// A task is over, unless it goes back to the queue.
    pub(crate) const fn count_end(&mut self, then: AttemptOutcome) {
        if let Some(state) = then.ended() {
            self.ended[state as usize] += 1;
        }
    }

    /// Adds all of another one.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.submitted += other.submitted;
        for (count, more) in self.attempts.iter_mut().zip(other.attempts) {
            *count += more;
        }
        for (count, more) in self.ended.iter_mut().zip(other.ended) {
            *count += more;
        }
        self.usage = self.usage.plus(other.usage);
        self.waits.merge(&other.waits);
        self.runs.merge(&other.runs);
    }

    /// Attempts that ended so.
    pub const fn attempts(&self, outcome: AttemptOutcome) -> u64 {
        self.attempts[outcome as usize]
    }

    /// Tasks that ended so, with an attempt or without one.
    pub const fn ended(&self, state: TaskState) -> u64 {
        self.ended[state as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_attempt_that_is_tried_again_ends_no_task() {
        let (mut plan, second) = (TaskTotals::default(), Duration::from_secs(1));
        let used = Usage { input_tokens: 3, output_tokens: 2, cost_micros: 1 };
        plan.count_attempt(AttemptOutcome::Retried, second, used);
        plan.count_attempt(AttemptOutcome::Succeeded, second, used);
        plan.count_end(AttemptOutcome::Cancelled);
        let mut totals = plan.clone();
        totals.merge(&plan);
        assert_eq!(AttemptOutcome::ALL.map(|outcome| totals.attempts(outcome)), [2, 2, 0, 0, 0]);
        assert_eq!((totals.ended(TaskState::Succeeded), totals.ended(TaskState::Cancelled)), (2, 2));
        assert_eq!((totals.usage.input_tokens, totals.runs.count(), totals.waits.count()), (12, 4, 0));
    }
}
