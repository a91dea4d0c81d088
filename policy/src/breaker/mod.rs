//! Do so many attempts at a pool's tasks fail that the next ones had better wait?
//!
//! Closed, the breaker counts how attempts end. When more than a share of those that ended within the window failed, and
//! there are enough of them to mean something, it opens: nothing starts any more, tasks wait, and none fails for it. After
//! a pause some are let through as probes. When all of them succeed it closes and the old window is forgotten; when one
//! fails the next pause is twice as long, up to the window.
//!
//! What Muster itself ended says nothing about the pool, and does not count. Neither do attempts that began before the
//! breaker opened: their ends are old news.

mod window;

use std::time::{Duration, Instant};

use muster_domain::time::later;
use muster_domain::{AttemptEnd, BreakerPolicy, Halt, TaskId};

use crate::backoff::doubled;
use window::{Counts, Window};

/// The breaker of one pool. It is in memory: a new master begins with a closed one, and a change of the policy with a new
/// one.
#[derive(Clone, Debug)]
pub struct Breaker {
    policy: BreakerPolicy,
    phase: BreakerPhase,
    window: Window,
    /// Probes that run.
    probing: Vec<TaskId>,
    /// Probes that succeeded since the last pause.
    succeeded: u32,
    /// Why it opened; empty while it is closed.
    why: String,
    /// Whether too many fail while it is off.
    failing: bool,
}

/// Where a breaker stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerPhase {
    /// Tasks start.
    Closed,
    /// Too many failed: nothing starts before `until`, and then only probes.
    Open {
        /// When it first opened.
        since: Instant,
        /// When probes may start.
        until: Instant,
        /// Rounds of probes that failed.
        tries: u32,
    },
}

/// How a breaker holds up tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerHold {
    /// Nothing starts until the pause is over.
    Open,
    /// Other tasks are tried first.
    HalfOpen,
}

/// A breaker has moved, for this reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BreakerChange {
    /// It opened, or stays open for another pause.
    Opened(String),
    /// It closed.
    Closed(String),
    /// It is off, and would open now.
    Failing(String),
    /// It is off, and would no longer.
    Recovered,
}

impl Breaker {
    /// A closed one.
    pub fn new(policy: BreakerPolicy, now: Instant) -> Self {
        let window = Window::new(policy.window, now);
        let (probing, why) = (Vec::new(), String::new());
        Self { policy, phase: BreakerPhase::Closed, window, probing, succeeded: 0, why, failing: false }
    }

    /// By what it judges.
    pub const fn policy(&self) -> BreakerPolicy {
        self.policy
    }

    /// Where it stands.
    pub const fn phase(&self) -> BreakerPhase {
        self.phase
    }

    /// Why it is open, in words; none while it is closed.
    pub fn reason(&self) -> Option<String> {
        let why = &self.why;
        match self.phase {
            BreakerPhase::Closed => None,
            BreakerPhase::Open { tries: 0, .. } => Some(why.clone()),
            BreakerPhase::Open { tries: 1, .. } => Some(format!("{why}; a probe has failed since")),
            BreakerPhase::Open { tries, .. } => Some(format!("{why}; {tries} probes have failed since")),
        }
    }

    /// How many tasks may start now; `u32::MAX` where it sets no bound.
    pub fn allows(&self, now: Instant) -> u32 {
        match self.phase {
            BreakerPhase::Closed => u32::MAX,
            BreakerPhase::Open { until, .. } if now < until => 0,
            BreakerPhase::Open { .. } => {
                let out = u32::try_from(self.probing.len()).unwrap_or(u32::MAX);
                self.policy.probes.saturating_sub(out).saturating_sub(self.succeeded)
            }
        }
    }

    /// How it holds up the next task, if it does: where it allows none.
    pub fn hold(&self, now: Instant) -> Option<BreakerHold> {
        let BreakerPhase::Open { until, .. } = self.phase else { return None };
        let hold = if now < until { BreakerHold::Open } else { BreakerHold::HalfOpen };
        (self.allows(now) == 0).then_some(hold)
    }

    /// A task was started that [`Breaker::allows`] allowed.
    pub fn begun(&mut self, task_id: TaskId) {
        if matches!(self.phase, BreakerPhase::Open { .. }) {
            self.probing.push(task_id);
        }
    }

    /// An attempt at a task has ended.
    pub fn ended(&mut self, task_id: TaskId, end: &AttemptEnd, now: Instant) -> Option<BreakerChange> {
        let failed = has_failed(end);
        match self.phase {
            BreakerPhase::Closed => self.count(failed?, now),
            BreakerPhase::Open { since, tries, .. } => {
                let probe = self.probing.iter().position(|probe| *probe == task_id)?;
                self.probing.swap_remove(probe);
                // A probe that says nothing makes room for another.
                if failed? {
                    Some(self.open(since, tries.saturating_add(1), now, "a probe failed"))
                } else {
                    self.pass(now)
                }
            }
        }
    }

    fn count(&mut self, failed: bool, now: Instant) -> Option<BreakerChange> {
        let counts = self.window.count(failed, now);
        let is_enough = counts.ended >= u64::from(self.policy.least);
        let is_too_much = is_enough && counts.failed as f64 / counts.ended as f64 > self.policy.share;
        match (self.policy.enabled, is_too_much, self.failing) {
            (true, true, _) => {
                let why = too_many(counts, self.policy);
                self.why.clone_from(&why);
                Some(self.open(now, 0, now, &why))
            }
            (false, true, false) => {
                let why = too_many(counts, self.policy);
                self.failing = true;
                Some(BreakerChange::Failing(format!("{why}; the breaker is off, so tasks go on")))
            }
            (false, false, true) => {
                self.failing = false;
                Some(BreakerChange::Recovered)
            }
            _ => None,
        }
    }

    fn open(&mut self, since: Instant, tries: u32, now: Instant, why: &str) -> BreakerChange {
        let pause = doubled(self.policy.pause, tries, self.policy.window);
        self.phase = BreakerPhase::Open { since, until: later(now, pause), tries };
        self.probing.clear();
        self.succeeded = 0;
        BreakerChange::Opened(format!("{why}; tasks wait for {} s", pause.as_secs_f64()))
    }

    /// A probe succeeded: when it was the last that was needed, the breaker closes.
    fn pass(&mut self, now: Instant) -> Option<BreakerChange> {
        self.succeeded += 1;
        if self.succeeded < self.policy.probes {
            return None;
        }
        let words = match self.succeeded {
            1 => "a probe succeeded".to_owned(),
            all => format!("{all} probes succeeded"),
        };
        *self = Self::new(self.policy, now);
        Some(BreakerChange::Closed(words))
    }

    /// When [`Breaker::allows`] changes by itself, where it does.
    pub fn changes_at(&self, now: Instant) -> Option<Duration> {
        match self.phase {
            BreakerPhase::Open { until, .. } => until.checked_duration_since(now).filter(|wait| !wait.is_zero()),
            BreakerPhase::Closed => None,
        }
    }
}

fn too_many(counts: Counts, policy: BreakerPolicy) -> String {
    let Counts { ended, failed } = counts;
    let attempts = match ended {
        1 => "the one attempt".to_owned(),
        all => format!("{failed} of the {all} attempts"),
    };
    let (window, share) = (policy.window.as_secs_f64(), (policy.share * 10_000.0).round() / 100.0);
    format!("{attempts} that ended within {window} s failed, more than {share}%")
}

/// Whether an attempt failed; none where its end says nothing about the pool, since Muster or a person wanted it.
const fn has_failed(end: &AttemptEnd) -> Option<bool> {
    match end {
        AttemptEnd::Succeeded => Some(false),
        AttemptEnd::Failed { .. }
        | AttemptEnd::StartFailed { .. }
        | AttemptEnd::AgentDied { .. }
        | AttemptEnd::WorkerLost
        | AttemptEnd::Halted { halt: Halt::TimedOut | Halt::LeaseLost } => Some(true),
        AttemptEnd::Interrupted { .. }
        | AttemptEnd::NotBegun { .. }
        | AttemptEnd::Halted { halt: Halt::Cancelled | Halt::BudgetExceeded | Halt::HandedBack | Halt::Preempted } => {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn task(n: usize) -> TaskId {
        TaskId::from_uuid(Uuid::from_u128(n as u128))
    }

    fn failure() -> AttemptEnd {
        AttemptEnd::Failed { message: "no".to_owned(), retryable: true }
    }

    fn cancelled() -> AttemptEnd {
        AttemptEnd::Halted { halt: Halt::Cancelled }
    }

    const SECOND: Duration = Duration::from_secs(1);

    /// An open one, with the moment at which it lets probes through.
    fn opened(policy: BreakerPolicy) -> (Breaker, Instant) {
        let now = Instant::now();
        let mut breaker = Breaker::new(policy, now);
        let mut tasks = 0..;
        while breaker.phase() == BreakerPhase::Closed {
            breaker.ended(task(tasks.next().expect("endless")), &failure(), now);
        }
        (breaker, now + policy.pause)
    }

    #[test]
    fn opens_above_the_share_of_enough_attempts() {
        let now = Instant::now();
        let mut breaker = Breaker::new(BreakerPolicy::default(), now);
        for n in 0..2 {
            assert_eq!(breaker.ended(task(n), &AttemptEnd::WorkerLost, now), None, "too few");
        }
        for n in 2..20 {
            assert_eq!(breaker.ended(task(n), &AttemptEnd::Succeeded, now), None, "2 of 20 are not more than a tenth");
        }
        assert_eq!((breaker.allows(now), breaker.reason()), (u32::MAX, None));
        let words = "3 of the 21 attempts that ended within 300 s failed, more than 10%; tasks wait for 30 s";
        let timeout = AttemptEnd::Halted { halt: Halt::TimedOut };
        assert_eq!(breaker.ended(task(20), &timeout, now), Some(BreakerChange::Opened(words.to_owned())));
        assert_eq!(breaker.phase(), BreakerPhase::Open { since: now, until: now + 30 * SECOND, tries: 0 });
        assert_eq!(breaker.reason().as_deref(), words.split_once(';').map(|(why, _)| why));
        assert_eq!(breaker.allows(now + 29 * SECOND), 0);
        assert_eq!(breaker.hold(now + 29 * SECOND), Some(BreakerHold::Open));
        assert_eq!(breaker.changes_at(now), Some(30 * SECOND));
        assert_eq!((breaker.allows(now + 30 * SECOND), breaker.hold(now + 30 * SECOND)), (1, None));
        assert_eq!(breaker.changes_at(now + 30 * SECOND), None);
    }

    #[test]
    fn what_left_the_window_no_longer_counts() {
        let start = Instant::now();
        let mut breaker = Breaker::new(BreakerPolicy::default(), start);
        for n in 0..19 {
            assert_eq!(breaker.ended(task(n), &failure(), start), None);
        }
        assert_eq!(breaker.ended(task(19), &failure(), start + 310 * SECOND), None);
    }

    #[test]
    fn what_muster_ended_does_not_count() {
        let now = Instant::now();
        let mut breaker = Breaker::new(BreakerPolicy { least: 1, share: 0.0, ..BreakerPolicy::default() }, now);
        let message = String::new;
        let ends = [
            cancelled(),
            AttemptEnd::Halted { halt: Halt::HandedBack },
            AttemptEnd::Halted { halt: Halt::Preempted },
            AttemptEnd::Halted { halt: Halt::BudgetExceeded },
            AttemptEnd::Interrupted { message: message() },
            AttemptEnd::NotBegun { message: message() },
        ];
        for end in ends {
            assert_eq!(breaker.ended(task(0), &end, now), None, "{end}");
        }
        assert!(breaker.ended(task(0), &AttemptEnd::AgentDied { message: message() }, now).is_some());
    }

    #[test]
    fn one_that_is_off_stays_closed_and_says_when_it_would_not() {
        let now = Instant::now();
        let mut breaker = Breaker::new(BreakerPolicy { enabled: false, ..BreakerPolicy::default() }, now);
        let moves: Vec<BreakerChange> = (0..100).filter_map(|n| breaker.ended(task(n), &failure(), now)).collect();
        let words =
            "20 of the 20 attempts that ended within 300 s failed, more than 10%; the breaker is off, so tasks go on";
        assert_eq!(moves, [BreakerChange::Failing(words.to_owned())], "once");
        assert_eq!((breaker.phase(), breaker.allows(now)), (BreakerPhase::Closed, u32::MAX));
        let later = now + 400 * SECOND;
        let moves: Vec<BreakerChange> =
            (0..100).filter_map(|n| breaker.ended(task(n), &AttemptEnd::Succeeded, later)).collect();
        assert_eq!(moves, [BreakerChange::Recovered]);
    }

    #[test]
    fn probes_that_succeed_close_it_and_the_old_window_is_forgotten() {
        let (mut breaker, at) = opened(BreakerPolicy { probes: 2, ..BreakerPolicy::default() });
        assert_eq!(breaker.allows(at), 2);
        breaker.begun(task(100));
        breaker.begun(task(101));
        assert_eq!((breaker.allows(at), breaker.hold(at)), (0, Some(BreakerHold::HalfOpen)));
        assert_eq!(breaker.ended(task(101), &cancelled(), at), None);
        assert_eq!(breaker.allows(at), 1, "a probe that says nothing makes room for another");
        assert_eq!(breaker.ended(task(100), &AttemptEnd::Succeeded, at), None);
        assert_eq!(breaker.allows(at), 1, "one has passed, one is still to be tried");
        breaker.begun(task(102));
        let closed = breaker.ended(task(102), &AttemptEnd::Succeeded, at);
        assert_eq!(closed, Some(BreakerChange::Closed("2 probes succeeded".to_owned())));
        assert_eq!(breaker.ended(task(103), &failure(), at), None, "the window is empty");
        assert_eq!((breaker.allows(at), breaker.reason()), (u32::MAX, None));
    }

    #[test]
    fn probes_that_fail_make_the_pause_longer_up_to_the_window() {
        let (mut breaker, mut at) = opened(BreakerPolicy::default());
        let BreakerPhase::Open { since, .. } = breaker.phase() else { panic!("it is open") };
        for (tries, pause) in [(1, 60), (2, 120), (3, 240), (4, 300), (5, 300)] {
            breaker.begun(task(100));
            let words = format!("a probe failed; tasks wait for {pause} s");
            assert_eq!(breaker.ended(task(100), &failure(), at), Some(BreakerChange::Opened(words)));
            at += pause * SECOND;
            assert_eq!(breaker.phase(), BreakerPhase::Open { since, until: at, tries });
            let reason = breaker.reason().expect("it is open");
            let more = if tries == 1 { "a probe has".to_owned() } else { format!("{tries} probes have") };
            assert!(reason.starts_with("20 of the 20 ") && reason.ends_with(&format!("%; {more} failed since")));
            assert_eq!((breaker.allows(at - SECOND), breaker.allows(at)), (0, 1));
        }
    }

    #[test]
    fn attempts_from_before_it_opened_are_no_probes() {
        let (mut breaker, at) = opened(BreakerPolicy::default());
        breaker.begun(task(100));
        assert_eq!(breaker.ended(task(50), &failure(), at), None);
        assert_eq!(breaker.ended(task(51), &AttemptEnd::Succeeded, at), None);
        assert!(matches!(breaker.ended(task(100), &AttemptEnd::Succeeded, at), Some(BreakerChange::Closed(_))));
    }

    proptest! {
        /// Whatever ends, and whenever: no more probes run than allowed, an open breaker lets nothing through before its
        /// time, no pause is longer than the window, and it is never stuck: good probes close it.
        #[test]
        fn it_bounds_probes_and_is_never_stuck(
            probes in 1..4_u32,
            steps in prop::collection::vec((0..60_u64, 0..4_u8, 0..50_usize), 1..300),
        ) {
            let policy = BreakerPolicy { probes, least: 5, ..BreakerPolicy::default() };
            let mut now = Instant::now();
            let mut breaker = Breaker::new(policy, now);
            let mut running: Vec<TaskId> = Vec::new();
            let mut probing = 0_u32;
            let mut numbers = 0..;
            for (wait, what, which) in steps {
                now += Duration::from_secs(wait);
                let before = breaker.phase();
                if let BreakerPhase::Open { until, .. } = before {
                    prop_assert!(until <= now + policy.window);
                    prop_assert_eq!(breaker.allows(now) > 0 && now < until, false);
                }
                if what == 0 {
                    for _ in 0..breaker.allows(now).min(3) {
                        let task_id = task(numbers.next().expect("endless"));
                        breaker.begun(task_id);
                        running.push(task_id);
                        probing += u32::from(before != BreakerPhase::Closed);
                    }
                    prop_assert!(probing <= probes);
                } else if !running.is_empty() {
                    let task_id = running.swap_remove(which % running.len());
                    let was_probe = breaker.probing.contains(&task_id);
                    let end = [AttemptEnd::Succeeded, failure(), cancelled()][usize::from(what - 1)].clone();
                    let moved = breaker.ended(task_id, &end, now);
                    probing = if moved.is_some() { 0 } else { probing - u32::from(was_probe) };
                }
            }
            let mut rounds = 0;
            while let BreakerPhase::Open { until, .. } = breaker.phase() {
                now = now.max(until);
                for task_id in std::mem::take(&mut running) {
                    breaker.ended(task_id, &AttemptEnd::Succeeded, now);
                }
                for _ in 0..breaker.allows(now).min(1_000) {
                    let task_id = task(numbers.next().expect("endless"));
                    breaker.begun(task_id);
                    running.push(task_id);
                }
                rounds += 1;
                prop_assert!(rounds < 5);
            }
        }
    }
}
