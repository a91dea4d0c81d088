//! How a worker leaves: intake is stopped, the agents are asked, then killed, each end is reported, a last beat is sent,
//! and the wait for all of that is bounded.

use std::time::Duration;

use tokio::time::Instant;

use crate::WorkerExit;
use crate::slots::StopMode;

/// How long the last reports may take to be settled.
const FAREWELL: Duration = Duration::from_secs(1);
/// The first wait between two looks at what is settled; it doubles.
const FIRST_LOOK: Duration = Duration::from_millis(10);

/// A worker on its way out.
#[derive(Debug)]
pub(crate) struct Shutdown {
    exit: WorkerExit,
    stage: ShutdownStage,
}

#[derive(Debug)]
enum ShutdownStage {
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
pub(crate) struct ShutdownFacts {
    /// Whether no agent is held.
    pub(crate) empty: bool,
    /// Whether every report is settled.
    pub(crate) settled: bool,
    /// Whether the registry answers.
    pub(crate) connected: bool,
}

/// What a departing worker does now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ShutdownStep {
    /// Goes on.
    On,
    /// Beats by this moment.
    BeatBy(Instant),
    /// Leaves.
    Out(WorkerExit),
}

impl Shutdown {
    /// Ends when no agent is left.
    pub(crate) const fn drain() -> Self {
        Self { exit: WorkerExit::Drained, stage: ShutdownStage::Draining }
    }

    /// Stops the agents, kills what is left at `kill_at`, and ends so.
    pub(crate) const fn stop(exit: WorkerExit, how: StopMode, kill_at: Instant) -> Self {
        let stage = match how {
            StopMode::Ask => ShutdownStage::Asked { kill_at },
            StopMode::Kill => ShutdownStage::Killed,
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
            (ShutdownStage::Farewell { .. }, _) => 3,
            (ShutdownStage::Killed, _) => 2,
            (ShutdownStage::Asked { .. }, _) => 1,
            (ShutdownStage::Draining, _) => 0,
        }
    }

    /// Whether it leaves without a word: it was given up, so nobody is to hear of it any more.
    pub(crate) const fn is_silent(&self) -> bool {
        matches!(self.exit, WorkerExit::Killed | WorkerExit::Fenced)
    }

    /// Whether its agents were told to end.
    pub(crate) const fn is_stopping(&self) -> bool {
        !matches!(self.stage, ShutdownStage::Draining)
    }

    /// When something is to be done.
    pub(crate) const fn next(&self) -> Option<Instant> {
        match self.stage {
            ShutdownStage::Asked { kill_at } => Some(kill_at),
            ShutdownStage::Farewell { until, .. } => Some(until),
            ShutdownStage::Draining | ShutdownStage::Killed => None,
        }
    }

    /// Whether the time to ask is over, and the agents are to be killed. True once.
    pub(crate) fn kills(&mut self, now: Instant) -> bool {
        let over = matches!(self.stage, ShutdownStage::Asked { kill_at } if kill_at <= now);
        if over {
            self.stage = ShutdownStage::Killed;
        }
        over
    }

    /// A beat that was sent after the last agent was gone has landed.
    pub(crate) const fn beat_outcome(&mut self) {
        if let ShutdownStage::Farewell { beaten, .. } = &mut self.stage {
            *beaten = true;
        }
    }

    /// Decides what to do now.
    pub(crate) fn go(&mut self, remains: ShutdownFacts, now: Instant) -> ShutdownStep {
        if !remains.empty {
            return ShutdownStep::On;
        }
        if self.is_silent() {
            return ShutdownStep::Out(self.exit);
        }
        match &mut self.stage {
            ShutdownStage::Draining | ShutdownStage::Asked { .. } | ShutdownStage::Killed => {
                self.stage = ShutdownStage::Farewell { until: now + FAREWELL, look: FIRST_LOOK, beaten: false };
                if remains.connected { ShutdownStep::BeatBy(now) } else { ShutdownStep::Out(self.exit) }
            }
            ShutdownStage::Farewell { until, look, beaten } => {
                if !remains.connected || *until <= now || (remains.settled && *beaten) {
                    return ShutdownStep::Out(self.exit);
                }
                if !*beaten {
                    return ShutdownStep::On;
                }
                // What is settled is only told by the answers of beats, so ask again, and again.
                *beaten = false;
                let at = now + *look;
                *look *= 2;
                ShutdownStep::BeatBy(at)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DONE: ShutdownFacts = ShutdownFacts { empty: true, settled: true, connected: true };

    #[test]
    fn a_drained_worker_stays_while_it_holds_agents_then_beats_and_leaves() {
        let (mut shutdown, now) = (Shutdown::drain(), Instant::now());
        assert_eq!(shutdown.go(ShutdownFacts { empty: false, ..DONE }, now), ShutdownStep::On);
        assert_eq!(shutdown.next(), None);
        assert_eq!(shutdown.go(DONE, now), ShutdownStep::BeatBy(now));
        assert_eq!(shutdown.go(DONE, now), ShutdownStep::On, "the last beat is on its way");
        shutdown.beat_outcome();
        assert_eq!(shutdown.go(DONE, now), ShutdownStep::Out(WorkerExit::Drained));
    }

    #[test]
    fn unsettled_reports_are_waited_for_but_not_for_long() {
        let (mut shutdown, start) = (Shutdown::drain(), Instant::now());
        let unsettled = ShutdownFacts { settled: false, ..DONE };
        shutdown.go(unsettled, start);
        shutdown.beat_outcome();
        assert_eq!(shutdown.go(unsettled, start), ShutdownStep::BeatBy(start + FIRST_LOOK));
        shutdown.beat_outcome();
        assert_eq!(shutdown.go(unsettled, start), ShutdownStep::BeatBy(start + FIRST_LOOK * 2));
        assert_eq!(shutdown.next(), Some(start + FAREWELL));
        assert_eq!(shutdown.go(unsettled, start + FAREWELL), ShutdownStep::Out(WorkerExit::Drained));
    }

    #[test]
    fn nobody_is_waited_for_while_the_registry_is_away() {
        let now = Instant::now();
        let away = ShutdownFacts { settled: false, connected: false, empty: true };
        assert_eq!(Shutdown::drain().go(away, now), ShutdownStep::Out(WorkerExit::Drained));
    }

    #[test]
    fn asking_ends_at_the_deadline_once() {
        let now = Instant::now();
        let mut shutdown = Shutdown::stop(WorkerExit::ShutDown, StopMode::Ask, now + FAREWELL);
        assert!(!shutdown.kills(now));
        assert!(shutdown.kills(now + FAREWELL));
        assert!(!shutdown.kills(now + FAREWELL));
    }

    #[test]
    fn orders_only_get_more_urgent() {
        let now = Instant::now();
        let order = |exit, how| Shutdown::stop(exit, how, now);
        let forced = order(WorkerExit::ShutDown, StopMode::Kill).and(order(WorkerExit::Orphaned, StopMode::Ask));
        assert_eq!((forced.exit, forced.next()), (WorkerExit::ShutDown, None));
        let stopped = Shutdown::drain().and(order(WorkerExit::ShutDown, StopMode::Ask));
        assert_eq!((stopped.exit, stopped.next()), (WorkerExit::ShutDown, Some(now)));
        let fenced = order(WorkerExit::Fenced, StopMode::Kill).and(order(WorkerExit::ShutDown, StopMode::Kill));
        assert!(fenced.is_silent());
        assert!(order(WorkerExit::ShutDown, StopMode::Kill).and(order(WorkerExit::Killed, StopMode::Kill)).is_silent());
    }
}
