//! One worker: its status with its moves.

use std::fmt;
use std::str::FromStr;
use std::time::Instant;

use crate::words::Words;

crate::words! {
    /// A worker's status in one word.
    pub enum WorkerState {
        /// It has a row and a slot for each of its agents, and has not said that it is ready.
        Starting = "starting",
        /// It listens to commands.
        Ready = "ready",
        /// It takes no more agents.
        Draining = "draining",
        /// It ended by order.
        Stopped = "stopped",
        /// It died.
        Lost = "lost",
    }
}

impl WorkerState {
    /// Whether there may still be a process behind it.
    pub const fn is_open(self) -> bool {
        self.takes_agents() || matches!(self, Self::Draining)
    }

    /// Whether it may be given agents: a starting worker's slots are slots.
    pub const fn takes_agents(self) -> bool {
        matches!(self, Self::Starting | Self::Ready)
    }
}

impl fmt::Display for WorkerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for WorkerState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::of_word(text).ok_or_else(|| format!("no worker state: {text:?}"))
    }
}

/// A worker's status with the data of that status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerStatus {
    /// Ordered, not heard of yet.
    Starting {
        /// Since when the master waits for it.
        since: Instant,
    },
    /// It listens to commands.
    Ready,
    /// It takes no more agents, and ends when it has none.
    Draining {
        /// Since when.
        since: Instant,
    },
    /// Told to end; its process is not proven dead yet.
    Ending {
        /// Since when.
        since: Instant,
        /// Whether somebody wanted it to end, or it was condemned as hung.
        how: WorkerEnd,
    },
    /// Proven dead.
    Gone(WorkerEnd),
}

/// How a worker ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerEnd {
    /// By order.
    Stopped,
    /// By itself, by somebody else's signal, or condemned.
    Lost,
}

/// What happens to a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerEvent {
    /// It said that it is ready, or its heartbeat was heard.
    Heard,
    /// It is to take no more agents.
    DrainOrdered(Instant),
    /// It was told to end.
    EndOrdered(Instant, WorkerEnd),
    /// Its process is proven dead.
    Died,
}

impl WorkerStatus {
    /// The status after `event`; `None` where the event changes nothing.
    pub const fn after(self, event: WorkerEvent) -> Option<Self> {
        use WorkerEvent as E;
        match (self, event) {
            (Self::Starting { .. }, E::Heard) => Some(Self::Ready),
            (Self::Starting { .. } | Self::Ready, E::DrainOrdered(since)) => Some(Self::Draining { since }),
            (Self::Starting { .. } | Self::Ready | Self::Draining { .. }, E::EndOrdered(since, how)) => {
                Some(Self::Ending { since, how })
            }
            (Self::Ending { how, .. }, E::Died) => Some(Self::Gone(how)),
            // A draining worker that finds itself empty ends by itself: that is what was asked for.
            (Self::Draining { .. }, E::Died) => Some(Self::Gone(WorkerEnd::Stopped)),
            (Self::Starting { .. } | Self::Ready, E::Died) => Some(Self::Gone(WorkerEnd::Lost)),
            _ => None,
        }
    }

    /// The status in one word.
    pub const fn state(self) -> WorkerState {
        match self {
            Self::Starting { .. } => WorkerState::Starting,
            Self::Ready => WorkerState::Ready,
            Self::Draining { .. } | Self::Ending { .. } => WorkerState::Draining,
            Self::Gone(WorkerEnd::Stopped) => WorkerState::Stopped,
            Self::Gone(WorkerEnd::Lost) => WorkerState::Lost,
        }
    }

    /// Whether it may be given agents.
    pub const fn takes_agents(self) -> bool {
        self.state().takes_agents()
    }

    /// Whether it was ordered and not heard of yet.
    pub const fn is_starting(self) -> bool {
        matches!(self, Self::Starting { .. })
    }

    /// Whether it listens to commands: a starting one has not subscribed yet.
    pub const fn listens(self) -> bool {
        self.is_open() && !self.is_starting()
    }

    /// Whether it was told to end, and is not proven dead yet.
    pub const fn is_ending(self) -> bool {
        matches!(self, Self::Ending { .. })
    }

    /// Whether there may still be a process behind it.
    pub const fn is_open(self) -> bool {
        self.state().is_open()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_of_moves() {
        let now = Instant::now();
        let statuses = [
            WorkerStatus::Starting { since: now },
            WorkerStatus::Ready,
            WorkerStatus::Draining { since: now },
            WorkerStatus::Ending { since: now, how: WorkerEnd::Lost },
            WorkerStatus::Gone(WorkerEnd::Stopped),
        ];
        let rows = [
            (WorkerEvent::Heard, "ready - - - -"),
            (WorkerEvent::DrainOrdered(now), "draining draining - - -"),
            (WorkerEvent::EndOrdered(now, WorkerEnd::Stopped), "draining draining draining - -"),
            (WorkerEvent::Died, "lost lost stopped lost -"),
        ];
        for (event, expected) in rows {
            let row: Vec<&str> =
                statuses.iter().map(|s| s.after(event).map_or("-", |after| after.state().as_str())).collect();
            assert_eq!(row.join(" "), expected, "{event:?}");
        }
    }

    #[test]
    fn only_a_worker_that_stays_takes_agents() {
        let now = Instant::now();
        assert!(WorkerStatus::Starting { since: now }.takes_agents());
        assert!(WorkerStatus::Ready.takes_agents());
        assert!(!WorkerStatus::Draining { since: now }.takes_agents());
        assert!(!WorkerStatus::Gone(WorkerEnd::Lost).takes_agents());
    }

    #[test]
    fn words_are_read_back() {
        for state in WorkerState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        assert!(WorkerState::Draining.is_open() && !WorkerState::Lost.is_open());
    }
}
