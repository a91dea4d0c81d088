//! Whether a worker lives, and whether it is needed.
//!
//! Silence counts only while the master was listening. After a late pass of its own, a suspend, an outage or flush of
//! the registry or a takeover, nobody is judged by heartbeats before one lease has been heard. And when most workers
//! fall silent together the fault is hardly theirs: judgement is held, loudly.
//!
//! Nor does silence alone condemn: before its bound is reached the worker is asked at its own probe socket, past the registry. One
//! whose loop answers lives, so it is named and left alone, however long nobody hears it. One that has a probe socket and gives no
//! answer hangs. One without a probe socket, of an earlier version or inside its master, is judged by its silence.
//!
//! Where there is no way to a worker, since it is of another host or its engine can't be asked, its silence proves nothing and nobody
//! can end it: it is unreachable, which is said until it is heard again, or somebody who may prove it says that it is dead. So is one
//! whose end is not seen though it was killed, e.g. while the kernel waits for a disk.

use std::time::{Duration, Instant};

use muster_domain::time::later;
use muster_domain::{Clocks, WorkerStatus};

/// What is known of one worker.
#[derive(Clone, Copy, Debug)]
pub struct WorkerFacts {
    /// Its status.
    pub status: WorkerStatus,
    /// When it was heard last, if ever.
    pub heard: Option<Instant>,
    /// Slots taken.
    pub used: u32,
    /// Since when no slot is taken.
    pub empty_since: Option<Instant>,
    /// Whether it starts programs by an older definition of the runtime.
    pub outdated: bool,
    /// Whether there is a way to it past the registry: it can be asked and killed.
    pub has_way: bool,
    /// Whether it was told to stop by force already.
    pub kill: Kill,
    /// What came of asking it at its probe socket.
    pub probe: ProbeState,
}

/// What came of ending a worker by force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kill {
    /// Nobody has tried.
    NotSent,
    /// It was told at this moment, or whoever runs it.
    Sent(Instant),
    /// Its process had ended by then. What it owned may not have.
    Gone(Instant),
    /// There was no way to force it; it was told at this moment all the same, as far as that could be.
    Failed(Instant),
}

/// What came of asking a worker at its probe socket, past the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeState {
    /// Nobody has asked.
    NotAsked,
    /// It is being asked.
    UnderWay,
    /// It was asked at this moment, and that came of it.
    Over(Instant, ProbeResult),
}

/// What a worker's probe socket says of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProbeResult {
    /// Its loop answered.
    Lives,
    /// It has a probe socket, and nothing came in time.
    Silence,
    /// It has no probe socket.
    NoSocket,
    /// It could not be asked, for a reason of ours.
    Unasked,
}

/// What is known of the listening.
#[derive(Clone, Copy, Debug)]
pub struct HeartbeatWatch {
    /// Since when the master has listened without a gap; `None` while it can't hear.
    pub since: Option<Instant>,
    /// Whether most workers are silent together.
    pub most_silent: bool,
}

/// What to do with a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WorkerStep {
    /// Nothing.
    Rest,
    /// Nothing now; look again at this moment.
    Wait(Instant),
    /// Ask it at its probe socket, and wait for so long at the most.
    Probe(Duration),
    /// It lives and is not heard: to be said, with the reason, and nothing else.
    Name(String),
    /// It may be dead, and nobody here can know or end it: to be said, with the reason.
    Unreachable(String),
    /// It is to be condemned and killed: the reason.
    Condemn(String),
    /// Everything says that it hangs, but most others are silent too: hold, and say so.
    Hold(String),
    /// It is not needed any more: drain it and end it.
    Retire(String),
    /// Its time to end by itself has passed: kill it.
    Kill(String),
}

/// The bounds of a pool that matter here.
#[derive(Clone, Copy, Debug)]
pub struct WorkerLimits {
    /// After which time an empty worker ends.
    pub idle_timeout: Duration,
    /// Whether one worker more or less would leave the pool below its minimum.
    pub at_minimum: bool,
}

/// How long past its deadline an ending worker is left alone: the time to say its last words.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Judges one worker.
pub fn next_step(
    facts: WorkerFacts,
    watch: HeartbeatWatch,
    clocks: &Clocks,
    bounds: WorkerLimits,
    now: Instant,
) -> WorkerStep {
    match facts.status {
        WorkerStatus::Starting { since } => judge_start(since, facts, watch, clocks, now),
        WorkerStatus::Ready => match judge_silence(facts, watch, clocks, now) {
            WorkerStep::Rest => judge_need(facts, bounds, now),
            WorkerStep::Wait(at) => match judge_need(facts, bounds, now) {
                WorkerStep::Wait(other) => WorkerStep::Wait(at.min(other)),
                WorkerStep::Rest => WorkerStep::Wait(at),
                step => step,
            },
            step => step,
        },
        WorkerStatus::Draining { .. } => judge_silence(facts, watch, clocks, now),
        WorkerStatus::Ending { since, .. } => judge_end(since, facts, clocks, now),
        WorkerStatus::Gone(_) => WorkerStep::Rest,
    }
}

fn judge_start(since: Instant, facts: WorkerFacts, watch: HeartbeatWatch, clocks: &Clocks, now: Instant) -> WorkerStep {
    // A start is judged only where its "ready" could have been heard.
    let Some(listening) = watch.since else { return WorkerStep::Rest };
    let deadline = later(since.max(listening), clocks.start_timeout);
    let words = || format!("it was not ready within {} s", clocks.start_timeout.as_secs_f64());
    // Many that start together say nothing about each other.
    judge_life(deadline, facts, false, clocks, now, words)
}

fn judge_silence(facts: WorkerFacts, watch: HeartbeatWatch, clocks: &Clocks, now: Instant) -> WorkerStep {
    let Some(listening) = watch.since else { return WorkerStep::Rest };
    let judged_from = later(listening, clocks.lease);
    let stale_at = facts.heard.map_or(judged_from, |heard| later(heard, clocks.stale));
    let silence = facts.heard.map_or(now.duration_since(listening), |heard| now.duration_since(heard));
    let words = || format!("no heartbeat for {:.1} s", silence.as_secs_f64());
    judge_life(stale_at.max(judged_from), facts, watch.most_silent, clocks, now, words)
}

/// Judges one that will be overdue at `deadline`. It is asked so early that the answer, or its absence, is known by then;
/// what came of asking for an earlier deadline counts no more.
fn judge_life(
    deadline: Instant,
    facts: WorkerFacts,
    held: bool,
    clocks: &Clocks,
    now: Instant,
    words: impl Fn() -> String,
) -> WorkerStep {
    if !facts.has_way {
        // It is only said, so that most others are silent too is no reason to wait.
        return if now < deadline { WorkerStep::Wait(deadline) } else { WorkerStep::Unreachable(words()) };
    }
    let patience = clocks.stale / 3;
    let asked_from = deadline.checked_sub(clocks.stale / 2).unwrap_or(deadline);
    if now < asked_from {
        return WorkerStep::Wait(asked_from);
    }
    match facts.probe {
        ProbeState::UnderWay => WorkerStep::Wait(deadline.max(now)),
        ProbeState::Over(at, answer) if at >= asked_from => match answer {
            // It may hang by now.
            ProbeResult::Lives | ProbeResult::Unasked if later(at, patience) <= now => WorkerStep::Probe(patience),
            _ if now < deadline => WorkerStep::Wait(deadline),
            ProbeResult::Lives | ProbeResult::Unasked => WorkerStep::Name(words()),
            ProbeResult::Silence | ProbeResult::NoSocket if held => WorkerStep::Hold(words()),
            ProbeResult::Silence => WorkerStep::Condemn(format!("{}, nor an answer at its probe socket", words())),
            ProbeResult::NoSocket => WorkerStep::Condemn(words()),
        },
        ProbeState::Over(..) | ProbeState::NotAsked => WorkerStep::Probe(patience),
    }
}

fn judge_need(facts: WorkerFacts, bounds: WorkerLimits, now: Instant) -> WorkerStep {
    // Nobody is placed on it, and one of today's may be waited for: neither the pool's minimum nor its patience speaks for it.
    if facts.outdated && facts.used == 0 {
        return WorkerStep::Retire("it is empty, and starts programs by an older definition of the runtime".to_owned());
    }
    let Some(empty_since) = facts.empty_since.filter(|_| facts.used == 0 && !bounds.at_minimum) else {
        return WorkerStep::Rest;
    };
    let deadline = later(empty_since, bounds.idle_timeout);
    if deadline > now {
        return WorkerStep::Wait(deadline);
    }
    WorkerStep::Retire(format!("it was empty for {:.0} s", now.duration_since(empty_since).as_secs_f64()))
}

fn judge_end(since: Instant, facts: WorkerFacts, clocks: &Clocks, now: Instant) -> WorkerStep {
    let deadline = later(since, clocks.stop_deadline) + LAST_WORDS;
    let words = || format!("it did not end within {} s", clocks.stop_deadline.as_secs_f64());
    let (at, step) = match facts.kill {
        Kill::NotSent => (deadline, WorkerStep::Kill(words())),
        Kill::Sent(at) => (later(at, clocks.stale), unseen("it was killed, and its end is not seen")),
        Kill::Gone(at) => {
            (later(at, clocks.stale), unseen("its process has ended, and something that it owned has not"))
        }
        // Whoever runs it may be there again, or it may hear by now.
        Kill::Failed(at) => (later(at, clocks.stale), WorkerStep::Kill(words())),
    };
    if at > now { WorkerStep::Wait(at) } else { step }
}

fn unseen(words: &str) -> WorkerStep {
    WorkerStep::Unreachable(words.to_owned())
}

/// Whether silence is general: more than half of at least three workers are silent.
pub const fn most_silent(silent: usize, heard: usize) -> bool {
    let all = silent + heard;
    all >= 3 && silent * 2 > all
}

#[cfg(test)]
mod tests {
    use muster_domain::worker::WorkerEnd;
    use proptest::prelude::*;

    use super::*;

    const S: Duration = Duration::from_secs(1);
    const BOUNDS: WorkerLimits = WorkerLimits { idle_timeout: Duration::from_secs(300), at_minimum: false };

    struct Case {
        now: Instant,
        facts: WorkerFacts,
        watch: HeartbeatWatch,
    }

    /// A ready worker with one agent, heard just now, by a master that has listened for long.
    fn case() -> Case {
        let now = Instant::now() + 3_600 * S;
        Case {
            now,
            facts: WorkerFacts {
                status: WorkerStatus::Ready,
                heard: Some(now),
                used: 1,
                empty_since: None,
                outdated: false,
                has_way: true,
                kill: Kill::NotSent,
                probe: ProbeState::NotAsked,
            },
            watch: HeartbeatWatch { since: Some(now - 1_000 * S), most_silent: false },
        }
    }

    fn step(case: &Case) -> WorkerStep {
        next_step(case.facts, case.watch, &Clocks::default(), BOUNDS, case.now)
    }

    /// The step after the worker was asked at the last moment that counts, and that came of it.
    fn step_after(case: &Case, answer: ProbeResult) -> WorkerStep {
        let mut case = Case { facts: case.facts, watch: case.watch, now: case.now };
        case.facts.probe = ProbeState::Over(case.now, answer);
        step(&case)
    }

    #[test]
    fn a_silent_worker_is_asked_and_its_answer_decides() {
        let mut case = case();
        assert_eq!(step(&case), WorkerStep::Wait(case.now + 5 * S), "half of the staleness bound is left for asking");
        case.facts.heard = Some(case.now - 5 * S);
        assert_eq!(step(&case), WorkerStep::Probe(10 * S / 3));
        case.facts.probe = ProbeState::UnderWay;
        assert_eq!(step(&case), WorkerStep::Wait(case.now + 5 * S));
        for answer in [ProbeResult::Lives, ProbeResult::Silence, ProbeResult::NoSocket, ProbeResult::Unasked] {
            assert_eq!(
                step_after(&case, answer),
                WorkerStep::Wait(case.now + 5 * S),
                "{answer:?}: not before the bound"
            );
        }
        case.facts.heard = Some(case.now - 10 * S);
        let silent = "no heartbeat for 10.0 s";
        let table = [
            (ProbeResult::Lives, WorkerStep::Name(silent.to_owned())),
            (ProbeResult::Unasked, WorkerStep::Name(silent.to_owned())),
            (ProbeResult::Silence, WorkerStep::Condemn(format!("{silent}, nor an answer at its probe socket"))),
            (ProbeResult::NoSocket, WorkerStep::Condemn(silent.to_owned())),
        ];
        for (answer, expected) in table {
            assert_eq!(step_after(&case, answer), expected, "{answer:?}");
        }
        case.facts.probe = ProbeState::UnderWay;
        assert_eq!(step(&case), WorkerStep::Wait(case.now), "nobody is condemned while it is being asked");
    }

    #[test]
    fn who_lives_is_asked_again_and_an_answer_of_before_counts_no_more() {
        let mut case = case();
        case.facts.heard = Some(case.now - 100 * S);
        for answer in [ProbeResult::Lives, ProbeResult::Silence, ProbeResult::NoSocket, ProbeResult::Unasked] {
            case.facts.probe = ProbeState::Over(case.now - 4 * S, answer);
            let again = matches!(answer, ProbeResult::Lives | ProbeResult::Unasked);
            assert_eq!(matches!(step(&case), WorkerStep::Probe(_)), again, "{answer:?}");
            // Heard since, and silent again.
            case.facts.heard = Some(case.now - 10 * S);
            case.facts.probe = ProbeState::Over(case.now - 11 * S, answer);
            assert!(matches!(step(&case), WorkerStep::Probe(_)), "{answer:?}");
            case.facts.heard = Some(case.now - 100 * S);
        }
    }

    #[test]
    fn one_without_a_way_to_it_is_never_condemned_and_its_silence_is_said() {
        let mut case = case();
        case.facts.has_way = false;
        case.facts.heard = Some(case.now - 9 * S);
        assert_eq!(step(&case), WorkerStep::Wait(case.now + S), "there is nobody to ask");
        case.facts.heard = Some(case.now - 10 * S);
        let silent = WorkerStep::Unreachable("no heartbeat for 10.0 s".to_owned());
        assert_eq!(step(&case), silent);
        case.watch.most_silent = true;
        assert_eq!(step(&case), silent, "nothing is done to it, so nothing is held");
        (case.facts.heard, case.watch.since) = (None, Some(case.now - 14 * S));
        assert_eq!(step(&case), WorkerStep::Wait(case.now + S), "one lease has not been heard yet");
        case.watch.since = Some(case.now - 15 * S);
        assert!(matches!(step(&case), WorkerStep::Unreachable(_)));
        case.watch.since = None;
        assert_eq!(step(&case), WorkerStep::Rest, "the master can't hear");
    }

    #[test]
    fn a_kill_that_nobody_could_send_is_tried_again_and_one_that_changes_nothing_is_said() {
        let mut case = case();
        case.facts.status = WorkerStatus::Ending { since: case.now - 100 * S, how: WorkerEnd::Lost };
        for has_way in [true, false] {
            case.facts.has_way = has_way;
            case.facts.kill = Kill::NotSent;
            assert_eq!(step(&case), WorkerStep::Kill("it did not end within 10 s".to_owned()));
            case.facts.kill = Kill::Failed(case.now - 9 * S);
            assert_eq!(step(&case), WorkerStep::Wait(case.now + S));
            case.facts.kill = Kill::Failed(case.now - 10 * S);
            assert!(matches!(step(&case), WorkerStep::Kill(_)));
        }
        case.facts.kill = Kill::Sent(case.now - 9 * S);
        assert_eq!(step(&case), WorkerStep::Wait(case.now + S));
        case.facts.kill = Kill::Sent(case.now - 10 * S);
        let said = "it was killed, and its end is not seen";
        assert_eq!(step(&case), WorkerStep::Unreachable(said.to_owned()));
        case.facts.kill = Kill::Gone(case.now - 10 * S);
        let said = "its process has ended, and something that it owned has not";
        assert_eq!(step(&case), WorkerStep::Unreachable(said.to_owned()));
    }

    #[test]
    fn silence_does_not_count_while_the_master_was_not_listening() {
        let mut case = case();
        case.facts.heard = Some(case.now - 100 * S);
        case.watch.since = None;
        assert_eq!(step_after(&case, ProbeResult::Silence), WorkerStep::Rest);
        case.watch.since = Some(case.now - 14 * S);
        assert_eq!(
            step_after(&case, ProbeResult::Silence),
            WorkerStep::Wait(case.now + S),
            "one lease has not been heard yet"
        );
        case.watch.since = Some(case.now - 15 * S);
        assert!(matches!(step_after(&case, ProbeResult::Silence), WorkerStep::Condemn(_)));
    }

    #[test]
    fn a_worker_that_was_never_heard_is_judged_after_one_lease() {
        let mut case = case();
        case.facts.heard = None;
        assert!(matches!(step_after(&case, ProbeResult::Silence), WorkerStep::Condemn(_)));
        case.watch.since = Some(case.now);
        assert_eq!(step(&case), WorkerStep::Wait(case.now + 10 * S), "to be asked then, and judged 5 s later");
    }

    #[test]
    fn general_silence_is_nobodys_fault() {
        let mut case = case();
        case.facts.heard = Some(case.now - 11 * S);
        case.watch.most_silent = true;
        assert!(matches!(step_after(&case, ProbeResult::Silence), WorkerStep::Hold(_)));
        assert!(matches!(step_after(&case, ProbeResult::NoSocket), WorkerStep::Hold(_)));
        assert!(matches!(step_after(&case, ProbeResult::Lives), WorkerStep::Name(_)));
        assert!(!most_silent(1, 0) && !most_silent(2, 0), "one or two workers say nothing about all");
        assert!(most_silent(2, 1) && !most_silent(2, 2));
    }

    #[test]
    fn an_empty_worker_retires_unless_the_pool_is_at_its_minimum() {
        let mut case = case();
        case.facts.used = 0;
        case.facts.empty_since = Some(case.now - 299 * S);
        assert_eq!(step(&case), WorkerStep::Wait(case.now + S));
        case.facts.empty_since = Some(case.now - 300 * S);
        assert!(matches!(step(&case), WorkerStep::Retire(_)));
        let kept = next_step(
            case.facts,
            case.watch,
            &Clocks::default(),
            WorkerLimits { at_minimum: true, ..BOUNDS },
            case.now,
        );
        assert_eq!(kept, WorkerStep::Wait(case.now + 5 * S));
    }

    #[test]
    fn an_empty_worker_of_an_older_definition_retires_at_once_even_at_the_minimum() {
        let mut case = case();
        case.facts.outdated = true;
        let bounds = WorkerLimits { at_minimum: true, ..BOUNDS };
        let step = |case: &Case| next_step(case.facts, case.watch, &Clocks::default(), bounds, case.now);
        assert_eq!(step(&case), WorkerStep::Wait(case.now + 5 * S), "it has an agent");
        (case.facts.used, case.facts.empty_since) = (0, Some(case.now));
        assert!(matches!(step(&case), WorkerStep::Retire(_)));
    }

    #[test]
    fn a_start_and_an_end_have_their_deadlines() {
        let mut case = case();
        case.facts.status = WorkerStatus::Starting { since: case.now - 24 * S };
        assert_eq!(step(&case), WorkerStep::Wait(case.now + S));
        case.facts.status = WorkerStatus::Starting { since: case.now - 29 * S };
        assert!(matches!(step(&case), WorkerStep::Probe(_)));
        assert_eq!(step_after(&case, ProbeResult::NoSocket), WorkerStep::Wait(case.now + S));
        case.facts.status = WorkerStatus::Starting { since: case.now - 30 * S };
        assert_eq!(
            step_after(&case, ProbeResult::NoSocket),
            WorkerStep::Condemn("it was not ready within 30 s".to_owned())
        );
        assert!(matches!(step_after(&case, ProbeResult::Silence), WorkerStep::Condemn(_)));
        assert_eq!(step_after(&case, ProbeResult::Lives), WorkerStep::Name("it was not ready within 30 s".to_owned()));
        case.watch.since = None;
        assert_eq!(step_after(&case, ProbeResult::Silence), WorkerStep::Rest);
        case.facts.status = WorkerStatus::Ending { since: case.now - 12 * S, how: WorkerEnd::Stopped };
        assert!(matches!(step(&case), WorkerStep::Kill(_)));
        case.facts.kill = Kill::Sent(case.now);
        assert_eq!(step(&case), WorkerStep::Wait(case.now + 10 * S));
    }

    proptest! {
        /// A row of a store may hold any durations, and so may clocks of before they were bounded.
        #[test]
        fn no_duration_overflows(seconds in proptest::array::uniform5(0_u64..)) {
            let [stale, lease, start_timeout, stop_deadline, idle_timeout] = seconds.map(Duration::from_secs);
            let clocks = Clocks { stale, lease, start_timeout, stop_deadline, ..Clocks::default() };
            let bounds = WorkerLimits { idle_timeout, at_minimum: false };
            let Case { now, facts, watch } = case();
            for status in [
                WorkerStatus::Starting { since: now },
                WorkerStatus::Ready,
                WorkerStatus::Draining { since: now },
                WorkerStatus::Ending { since: now, how: WorkerEnd::Stopped },
            ] {
                for probe in [ProbeState::NotAsked, ProbeState::UnderWay, ProbeState::Over(now, ProbeResult::Lives)] {
                    let facts = WorkerFacts { status, used: 0, empty_since: Some(now), probe, ..facts };
                    let step = next_step(facts, watch, &clocks, bounds, now);
                    prop_assert!(!matches!(step, WorkerStep::Wait(at) if at < now), "{:?}", step);
                }
            }
        }
    }
}
