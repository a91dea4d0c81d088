//! An attempt at a task is over: is there another?
//!
//! What the agent did costs an attempt; what Muster did to it (a drain, a worker that was lost) costs none. Both are bounded:
//! the first by the task's `max_attempts`, the second by the poison bound, so that a task that kills every worker that runs
//! it takes nobody else down with it. What was said before costs nothing at all: that the capacity under a worker goes is nothing that
//! a task could do.

use std::time::Duration;

use muster_domain::{AttemptEnd, FollowUp, Halt, RetryPolicy, Tally, TaskError, Timestamp};

use crate::backoff::doubled;

/// The wait of a task that its agent could not begin.
const BEFORE_THE_NEXT_AGENT: Duration = Duration::from_millis(250);

/// What follows, and the tally with this attempt in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryVerdict {
    /// What follows.
    pub then: FollowUp,
    /// The costs so far.
    pub tally: Tally,
}

/// Judges the end of an attempt. `jitter` is a random number from 0 to 1, by which a wait is shortened by up to a half, so that
/// what failed together does not come back together.
pub fn judge(
    end: &AttemptEnd,
    max_attempts: u32,
    tally: Tally,
    policy: RetryPolicy,
    now: Timestamp,
    jitter: f64,
) -> RetryVerdict {
    let again = |tries: u32| FollowUp::Retry {
        not_before: Some(
            now.after(
                doubled(policy.backoff_min, tries.saturating_sub(1), policy.backoff_max)
                    .mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 2.0),
            ),
        ),
    };
    match cost(end) {
        AttemptCost::Nothing(then) => RetryVerdict { then, tally },
        AttemptCost::Attempt(error) => {
            let spent = tally.spent.saturating_add(1);
            let then = if spent >= max_attempts { FollowUp::Die(error) } else { again(spent) };
            RetryVerdict { then, tally: Tally { spent, ..tally } }
        }
        AttemptCost::LastAttempt(error) => {
            RetryVerdict { then: FollowUp::Fail(error), tally: Tally { spent: tally.spent.saturating_add(1), ..tally } }
        }
        AttemptCost::Delay => {
            RetryVerdict { then: FollowUp::Retry { not_before: Some(now.after(BEFORE_THE_NEXT_AGENT)) }, tally }
        }
        AttemptCost::Spoiled => {
            let spoiled = tally.spoiled.saturating_add(1);
            let then = match spoiled {
                _ if spoiled > policy.poison_bound => FollowUp::Die(poison(spoiled)),
                // It is not to blame yet.
                1 => FollowUp::Retry { not_before: None },
                _ => again(spoiled - 1),
            };
            RetryVerdict { then, tally: Tally { spoiled, ..tally } }
        }
    }
}

/// What an end costs.
enum AttemptCost {
    /// Nothing, and this follows.
    Nothing(FollowUp),
    /// One of the task's attempts; with this error where it was the last.
    Attempt(TaskError),
    /// One of the task's attempts, and the agent wants no other.
    LastAttempt(TaskError),
    /// Nothing of the task's, but it counts.
    Spoiled,
    /// Nothing; a short wait keeps an agent that is not there from being asked over and over.
    Delay,
}

fn cost(end: &AttemptEnd) -> AttemptCost {
    match end {
        AttemptEnd::Succeeded => AttemptCost::Nothing(FollowUp::Succeed),
        AttemptEnd::Failed { message, retryable: false } => AttemptCost::LastAttempt(error("agent_error", message)),
        AttemptEnd::Failed { message, retryable: true } => AttemptCost::Attempt(error("agent_error", message)),
        AttemptEnd::StartFailed { message } => AttemptCost::Attempt(error("start_failed", message)),
        AttemptEnd::AgentDied { message } => AttemptCost::Attempt(error("agent_died", message)),
        AttemptEnd::Halted { halt: Halt::Cancelled } => AttemptCost::Nothing(FollowUp::Cancel),
        AttemptEnd::Halted { halt: Halt::BudgetExceeded } => {
            AttemptCost::Nothing(FollowUp::Fail(error("budget_exceeded", "a budget was passed in the middle of it")))
        }
        AttemptEnd::Halted { halt: Halt::TimedOut } => {
            AttemptCost::Attempt(error("timeout", "it took longer than its timeout"))
        }
        AttemptEnd::Halted { halt: Halt::LeaseLost } => {
            AttemptCost::Attempt(error("lease_lost", "it made no progress for the time of its lease"))
        }
        AttemptEnd::Halted { halt: Halt::Preempted } => AttemptCost::Nothing(FollowUp::Retry { not_before: None }),
        AttemptEnd::Halted { halt: Halt::HandedBack } | AttemptEnd::Interrupted { .. } | AttemptEnd::WorkerLost => {
            AttemptCost::Spoiled
        }
        AttemptEnd::NotBegun { .. } => AttemptCost::Delay,
    }
}

fn error(code: &str, message: &str) -> TaskError {
    TaskError { code: code.to_owned(), message: message.to_owned() }
}

fn poison(times: u32) -> TaskError {
    error("poison", &format!("{times} times it ended with its worker or was taken from it; it may be what ends them"))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_000_000);

    fn judged(end: &AttemptEnd, tally: Tally) -> RetryVerdict {
        judge(end, 3, tally, RetryPolicy::default(), NOW, 0.0)
    }

    fn retryable() -> AttemptEnd {
        AttemptEnd::Failed { message: "busy".to_owned(), retryable: true }
    }

    fn again_in(seconds: i64) -> FollowUp {
        FollowUp::Retry { not_before: Some(Timestamp::from_millis(NOW.as_millis() + seconds * 1_000)) }
    }

    #[test]
    fn what_the_agent_did_costs_an_attempt_and_waits_get_longer() {
        let spent = |spent| Tally { spent, spoiled: 0 };
        assert_eq!(judged(&retryable(), spent(0)), RetryVerdict { then: again_in(1), tally: spent(1) });
        assert_eq!(
            judged(&AttemptEnd::Halted { halt: Halt::TimedOut }, spent(1)),
            RetryVerdict { then: again_in(2), tally: spent(2) }
        );
        let last = judged(&AttemptEnd::AgentDied { message: "exited with code 1".to_owned() }, spent(2));
        assert_eq!(
            last,
            RetryVerdict { then: FollowUp::Die(error("agent_died", "exited with code 1")), tally: spent(3) }
        );
        let last = judged(&AttemptEnd::StartFailed { message: "no such program".to_owned() }, spent(2));
        assert_eq!(
            last,
            RetryVerdict { then: FollowUp::Die(error("start_failed", "no such program")), tally: spent(3) }
        );
    }

    #[test]
    fn what_muster_did_costs_none_until_it_is_poison() {
        let mut tally = Tally { spent: 2, spoiled: 0 };
        for expected in [FollowUp::Retry { not_before: None }, again_in(1), again_in(2), again_in(4), again_in(8)] {
            let verdict = judged(&AttemptEnd::WorkerLost, tally);
            assert_eq!((verdict.then, verdict.tally.spent), (expected, 2));
            tally = verdict.tally;
        }
        let verdict = judged(&AttemptEnd::Halted { halt: Halt::HandedBack }, tally);
        assert!(matches!(verdict.then, FollowUp::Die(error) if error.code == "poison"));
    }

    #[test]
    fn an_interruption_costs_nothing_however_often_it_comes() {
        let worn = Tally { spent: 2, spoiled: RetryPolicy::default().poison_bound };
        let verdict = judged(&AttemptEnd::Halted { halt: Halt::Preempted }, worn);
        assert_eq!(verdict, RetryVerdict { then: FollowUp::Retry { not_before: None }, tally: worn });
    }

    #[test]
    fn some_ends_are_the_last_at_once() {
        let then = |end| judged(&end, Tally::default()).then;
        assert_eq!(then(AttemptEnd::Succeeded), FollowUp::Succeed);
        assert_eq!(then(AttemptEnd::Halted { halt: Halt::Cancelled }), FollowUp::Cancel);
        assert!(
            matches!(then(AttemptEnd::Halted { halt: Halt::BudgetExceeded }), FollowUp::Fail(e) if e.code == "budget_exceeded")
        );
        let hopeless = AttemptEnd::Failed { message: "no such file".to_owned(), retryable: false };
        let verdict = judged(&hopeless, Tally::default());
        assert_eq!(verdict.then, FollowUp::Fail(error("agent_error", "no such file")));
        assert_eq!(verdict.tally.spent, 1, "the agent did it");
    }

    proptest! {
        /// However a task's attempts end, it comes to an end, within both bounds, and no wait is outside of its.
        #[test]
        fn a_task_always_comes_to_an_end(ends in proptest::collection::vec(0..6_u8, 1..60), jitter in 0.0..1.0_f64, max in 1..6_u32) {
            let policy = RetryPolicy::default();
            let mut tally = Tally::default();
            let mut over = false;
            for end in ends.iter().chain(std::iter::repeat(&0)).take(max as usize + policy.poison_bound as usize + 1) {
                let end = match end {
                    0 => retryable(),
                    1 => AttemptEnd::WorkerLost,
                    2 => AttemptEnd::Halted { halt: Halt::HandedBack },
                    3 => AttemptEnd::Halted { halt: Halt::LeaseLost },
                    5 => AttemptEnd::Interrupted { message: String::new() },
                    _ => AttemptEnd::AgentDied { message: String::new() },
                };
                let verdict = judge(&end, max, tally, policy, NOW, jitter);
                tally = verdict.tally;
                match verdict.then {
                    FollowUp::Retry { not_before } => {
                        let wait = not_before.map_or(0, |at| at.as_millis() - NOW.as_millis());
                        prop_assert!((0..=300_000).contains(&wait));
                    }
                    _ => { over = true; break }
                }
            }
            prop_assert!(over);
            prop_assert!(tally.spent <= max && tally.spoiled <= policy.poison_bound + 1);
        }
    }
}
