//! What follows the end of a run: Erlang/OTP's restart types and bounded intensity, with a backoff.
//!
//! OTP (supervisor.erl, `add_restart`) keeps the times of the restarts within the period and gives up past the
//! intensity. Here one agent is given up, not its neighbours: it is quarantined and waits for a person.

use std::collections::VecDeque;
use std::time::Instant;

use muster_domain::time::later;
use muster_domain::{Cause, Ending, RestartKind, RestartPolicy};

use crate::backoff;

/// The restarts of one agent that still count.
#[derive(Clone, Debug, Default)]
pub struct History(VecDeque<Instant>);

impl History {
    /// Forgets all: a person released the agent.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    fn forget_before(&mut self, policy: &RestartPolicy, now: Instant) {
        while self.0.front().is_some_and(|at| now.duration_since(*at) > policy.window) {
            self.0.pop_front();
        }
    }
}

/// What follows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RestartVerdict {
    /// Run again, not before this moment.
    RunAgain {
        /// The end of the backoff.
        not_before: Instant,
    },
    /// It did what it was to do; no other run is wanted.
    Complete,
    /// It failed, and no other run is wanted.
    Fail,
    /// It was restarted too often.
    Quarantine {
        /// Restarts within the window.
        restarts: usize,
    },
}

/// Judges the end of a run that nobody asked for. `first_start_failed` is true where the agent's very first run ended
/// before it was ready: like a child whose init fails in OTP's `start_child`, it is not kept, and its caller is told.
pub fn judge(
    policy: &RestartPolicy,
    ending: &Ending,
    first_start_failed: bool,
    history: &mut History,
    now: Instant,
) -> RestartVerdict {
    // What Muster itself did (a drain, a shutdown, a task that had to end) is no act of the agent: it runs again at once.
    if ending.cause.is_of_muster() {
        return RestartVerdict::RunAgain { not_before: now };
    }
    if first_start_failed && ending.cause != Cause::WorkerLost {
        return RestartVerdict::Fail;
    }
    let wanted = match policy.kind {
        RestartKind::Permanent => true,
        RestartKind::Transient => !ending.cause.is_normal(),
        // A worker's death is not the agent's end: what was asked for has not run to it.
        RestartKind::Temporary => ending.cause == Cause::WorkerLost,
    };
    if !wanted {
        return if ending.cause.is_normal() { RestartVerdict::Complete } else { RestartVerdict::Fail };
    }
    run_again(policy, ending, history, now)
}

fn run_again(policy: &RestartPolicy, ending: &Ending, history: &mut History, now: Instant) -> RestartVerdict {
    history.forget_before(policy, now);
    let earlier = history.0.len();
    if earlier >= policy.max_restarts as usize {
        return RestartVerdict::Quarantine { restarts: earlier };
    }
    history.0.push_back(now);
    // The first loss of a worker is not the agent's fault: it moves without a wait. A second one within the window may
    // be, and waits like a crash.
    if ending.cause == Cause::WorkerLost && earlier == 0 {
        return RestartVerdict::RunAgain { not_before: now };
    }
    let tries = u32::try_from(earlier).unwrap_or(u32::MAX);
    RestartVerdict::RunAgain { not_before: later(now, backoff::doubled(policy.backoff_min, tries, policy.backoff_max)) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use muster_domain::Timestamp;
    use proptest::prelude::*;

    use super::*;

    fn ending(cause: Cause) -> Ending {
        Ending::new(cause, Timestamp::from_millis(0))
    }

    fn word(verdict: &RestartVerdict) -> &'static str {
        match verdict {
            RestartVerdict::RunAgain { .. } => "again",
            RestartVerdict::Complete => "complete",
            RestartVerdict::Fail => "fail",
            RestartVerdict::Quarantine { .. } => "quarantine",
        }
    }

    #[test]
    fn the_table_of_kinds_and_causes() {
        let causes = [
            Cause::Exited { code: 0 },
            Cause::Exited { code: 1 },
            Cause::Signaled { signal: 9 },
            Cause::WorkerLost,
            Cause::Stopped,
            Cause::TaskHalted,
            Cause::WorkerInterrupted,
        ];
        for (kind, expected) in [
            (RestartKind::Permanent, "again again again again again again again"),
            (RestartKind::Transient, "complete again again again again again again"),
            (RestartKind::Temporary, "complete fail fail again again again again"),
        ] {
            let policy = RestartPolicy { kind, ..RestartPolicy::default() };
            let row: Vec<&str> = causes
                .iter()
                .map(|cause| {
                    word(&judge(&policy, &ending(cause.clone()), false, &mut History::default(), Instant::now()))
                })
                .collect();
            assert_eq!(row.join(" "), expected, "{kind:?}");
        }
    }

    #[test]
    fn a_first_start_that_fails_is_not_tried_again() {
        let policy = RestartPolicy::default();
        let failed = ending(Cause::NotStarted { error: "no such file".to_owned() });
        assert_eq!(judge(&policy, &failed, true, &mut History::default(), Instant::now()), RestartVerdict::Fail);
        for not_its_own in [Cause::WorkerLost, Cause::Stopped, Cause::TaskHalted] {
            let verdict = judge(&policy, &ending(not_its_own), true, &mut History::default(), Instant::now());
            assert_eq!(word(&verdict), "again", "its worker died, or was told to end, before it was ready");
        }
    }

    #[test]
    fn the_backoff_doubles_and_the_sixth_crash_in_a_minute_is_quarantine() {
        let policy = RestartPolicy::default();
        let mut history = History::default();
        let start = Instant::now();
        let crash = ending(Cause::Exited { code: 1 });
        let mut waits = Vec::new();
        for second in 0..5 {
            let now = start + Duration::from_secs(second);
            let RestartVerdict::RunAgain { not_before } = judge(&policy, &crash, false, &mut history, now) else {
                panic!("crash {second} is followed by a restart")
            };
            waits.push((not_before - now).as_millis());
        }
        assert_eq!(waits, [200, 400, 800, 1600, 3200]);
        let sixth = judge(&policy, &crash, false, &mut history, start + Duration::from_secs(5));
        assert_eq!(sixth, RestartVerdict::Quarantine { restarts: 5 });
        let later = judge(&policy, &crash, false, &mut history, start + Duration::from_secs(62));
        assert_eq!(word(&later), "again", "two of the five are out of the window");
    }

    #[test]
    fn an_agent_that_muster_ends_is_never_given_up_for_it() {
        let policy = RestartPolicy { max_restarts: 0, ..RestartPolicy::default() };
        let (mut history, now) = (History::default(), Instant::now());
        for cause in [Cause::Stopped, Cause::TaskHalted] {
            for _ in 0..10 {
                let verdict = judge(&policy, &ending(cause.clone()), false, &mut history, now);
                assert_eq!(verdict, RestartVerdict::RunAgain { not_before: now }, "{cause}");
            }
        }
    }

    #[test]
    fn one_lost_worker_costs_no_wait_and_a_second_one_does() {
        let policy = RestartPolicy::default();
        let (mut history, now) = (History::default(), Instant::now());
        let lost = ending(Cause::WorkerLost);
        assert_eq!(judge(&policy, &lost, false, &mut history, now), RestartVerdict::RunAgain { not_before: now });
        let RestartVerdict::RunAgain { not_before } = judge(&policy, &lost, false, &mut history, now) else {
            panic!("again")
        };
        assert!(not_before > now);
    }

    proptest! {
        /// A row of a store may hold any durations.
        #[test]
        fn no_policy_overflows(window in 0_u64.., min in 0_u64.., max in 0_u64.., crashes in 1_usize..70) {
            let policy = RestartPolicy {
                max_restarts: u32::MAX,
                window: Duration::from_secs(window),
                backoff_min: Duration::from_secs(min),
                backoff_max: Duration::from_secs(max),
                ..RestartPolicy::default()
            };
            let (mut history, now) = (History::default(), Instant::now());
            for _ in 0..crashes {
                let verdict = judge(&policy, &ending(Cause::Exited { code: 1 }), false, &mut history, now);
                prop_assert_eq!(word(&verdict), "again");
            }
        }

        /// In no window of any sequence of crashes are there more restarts than allowed.
        #[test]
        fn the_intensity_is_bounded(gaps in prop::collection::vec(0_u64..40_000, 1..80), max in 0_u32..6) {
            let policy = RestartPolicy { max_restarts: max, ..RestartPolicy::default() };
            let (mut history, mut now, mut restarts) = (History::default(), Instant::now(), Vec::new());
            for gap in gaps {
                now += Duration::from_millis(gap);
                if let RestartVerdict::RunAgain { .. } = judge(&policy, &ending(Cause::Exited { code: 1 }), false, &mut history, now) {
                    restarts.push(now);
                }
            }
            for at in &restarts {
                let within = restarts.iter().filter(|other| **other >= *at && other.duration_since(*at) <= policy.window).count();
                prop_assert!(within <= max as usize, "{within} restarts in one window");
            }
        }
    }
}
