//! How a worker leaves: intake is stopped, the agents are asked, then killed, each end is reported, a last beat is sent,
//! and the wait for all of that is bounded.

use std::time::Duration;

use tokio::time::Instant;

use crate::WorkerExit;
use crate::slots::How;

/// How long the last reports may take to be settled.
const FAREWELL: Duration = Duration::from_secs(1);
/// The first wait between two looks at what is settled; it doubles.
const FIRST_LOOK: Duration = Duration::from_millis(10);

/// A worker on its way out.
#[derive(Debug)]
pub(crate) struct Departure {
    exit: WorkerExit,
    stage: Stage,
}

#[derive(Debug)]
enum Stage {
    /// Takes no more agents; those that are here go on.
    Draining,
    /// The agents were asked to end, and are killed at this moment.
    Asked { kill_at: Instant },
    /// The agents were killed; nothing but the proof of their death is waited for.
    Killed,
    /// No agent is left. What is unsettled may be settled until this moment.
    Farewell { until: Instant, look: Duration, beaten: bool },
}

/// What the rest of the worker looks like, for the decision whether to leave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Remains {
    /// Whether no agent is held.
    pub(crate) empty: bool,
    /// Whether every report is settled.
    pub(crate) settled: bool,
    /// Whether the registry answers.
    pub(crate) connected: bool,
}

/// What a departing worker does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Go {
    /// Goes on.
    On,
    /// Beats by this moment.
    BeatBy(Instant),
    /// Leaves.
    Out(WorkerExit),
}

impl Departure {
    /// Ends when no agent is left.
    pub(crate) const fn drain() -> Self {
        Self { exit: WorkerExit::Drained, stage: Stage::Draining }
    }

    /// Stops the agents, kills what is left at `kill_at`, and ends so.
    pub(crate) const fn stop(exit: WorkerExit, how: How, kill_at: Instant) -> Self {
        let stage = match how {
            How::Ask => Stage::Asked { kill_at },
            How::Kill => Stage::Killed,
        };
        Self { exit, stage }
    }

    /// The departure after another order; orders only get more urgent. The most urgent names the exit.
    pub(crate) fn and(self, order: Self) -> Self {
        if order.urgency() > self.urgency() { order } else { self }
    }

    const fn urgency(&self) -> u8 {
        match (&self.stage, self.exit) {
            (_, WorkerExit::Killed) => 5,
            (_, WorkerExit::Fenced) => 4,
            (Stage::Farewell { .. }, _) => 3,
            (Stage::Killed, _) => 2,
            (Stage::Asked { .. }, _) => 1,
            (Stage::Draining, _) => 0,
        }
    }

    /// Whether it leaves without a word: it was given up, so nobody is to hear of it any more.
    pub(crate) const fn is_silent(&self) -> bool {
        matches!(self.exit, WorkerExit::Killed | WorkerExit::Fenced)
    }

    /// Whether its agents were told to end.
    pub(crate) const fn is_stopping(&self) -> bool {
        !matches!(self.stage, Stage::Draining)
    }

    /// When something is to be done.
    pub(crate) const fn next(&self) -> Option<Instant> {
        match self.stage {
            Stage::Asked { kill_at } => Some(kill_at),
            Stage::Farewell { until, .. } => Some(until),
            Stage::Draining | Stage::Killed => None,
        }
    }

    /// Whether the time to ask is over, and the agents are to be killed. True once.
    pub(crate) fn kills(&mut self, now: Instant) -> bool {
        let over = matches!(self.stage, Stage::Asked { kill_at } if kill_at <= now);
        if over {
            self.stage = Stage::Killed;
        }
        over
    }

    /// A beat that was sent after the last agent was gone has landed.
    pub(crate) const fn beat_landed(&mut self) {
        if let Stage::Farewell { beaten, .. } = &mut self.stage {
            *beaten = true;
        }
    }

    /// Decides what to do now.
    pub(crate) fn go(&mut self, remains: Remains, now: Instant) -> Go {
        if !remains.empty {
            return Go::On;
        }
        if self.is_silent() {
            return Go::Out(self.exit);
        }
        match &mut self.stage {
            Stage::Draining | Stage::Asked { .. } | Stage::Killed => {
                self.stage = Stage::Farewell { until: now + FAREWELL, look: FIRST_LOOK, beaten: false };
                if remains.connected { Go::BeatBy(now) } else { Go::Out(self.exit) }
            }
            Stage::Farewell { until, look, beaten } => {
                if !remains.connected || *until <= now || (remains.settled && *beaten) {
                    return Go::Out(self.exit);
                }
                if !*beaten {
                    return Go::On;
                }
                // What is settled is only told by the answers of beats, so ask again, and again.
                *beaten = false;
                let at = now + *look;
                *look *= 2;
                Go::BeatBy(at)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DONE: Remains = Remains { empty: true, settled: true, connected: true };

    #[test]
    fn a_drained_worker_stays_while_it_holds_agents_then_beats_and_leaves() {
        let (mut departure, now) = (Departure::drain(), Instant::now());
        assert_eq!(departure.go(Remains { empty: false, ..DONE }, now), Go::On);
        assert_eq!(departure.next(), None);
        assert_eq!(departure.go(DONE, now), Go::BeatBy(now));
        assert_eq!(departure.go(DONE, now), Go::On, "the last beat is on its way");
        departure.beat_landed();
        assert_eq!(departure.go(DONE, now), Go::Out(WorkerExit::Drained));
    }

    #[test]
    fn unsettled_reports_are_waited_for_but_not_for_long() {
        let (mut departure, start) = (Departure::drain(), Instant::now());
        let unsettled = Remains { settled: false, ..DONE };
        departure.go(unsettled, start);
        departure.beat_landed();
        assert_eq!(departure.go(unsettled, start), Go::BeatBy(start + FIRST_LOOK));
        departure.beat_landed();
        assert_eq!(departure.go(unsettled, start), Go::BeatBy(start + FIRST_LOOK * 2));
        assert_eq!(departure.next(), Some(start + FAREWELL));
        assert_eq!(departure.go(unsettled, start + FAREWELL), Go::Out(WorkerExit::Drained));
    }

    #[test]
    fn nobody_is_waited_for_while_the_registry_is_away() {
        let now = Instant::now();
        let away = Remains { settled: false, connected: false, empty: true };
        assert_eq!(Departure::drain().go(away, now), Go::Out(WorkerExit::Drained));
    }

    #[test]
    fn asking_ends_at_the_deadline_once() {
        let now = Instant::now();
        let mut departure = Departure::stop(WorkerExit::ShutDown, How::Ask, now + FAREWELL);
        assert!(!departure.kills(now));
        assert!(departure.kills(now + FAREWELL));
        assert!(!departure.kills(now + FAREWELL));
    }

    #[test]
    fn orders_only_get_more_urgent() {
        let now = Instant::now();
        let order = |exit, how| Departure::stop(exit, how, now);
        let forced = order(WorkerExit::ShutDown, How::Kill).and(order(WorkerExit::Orphaned, How::Ask));
        assert_eq!((forced.exit, forced.next()), (WorkerExit::ShutDown, None));
        let stopped = Departure::drain().and(order(WorkerExit::ShutDown, How::Ask));
        assert_eq!((stopped.exit, stopped.next()), (WorkerExit::ShutDown, Some(now)));
        let fenced = order(WorkerExit::Fenced, How::Kill).and(order(WorkerExit::ShutDown, How::Kill));
        assert!(fenced.is_silent());
        assert!(order(WorkerExit::ShutDown, How::Kill).and(order(WorkerExit::Killed, How::Kill)).is_silent());
    }
}
