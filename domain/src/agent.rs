//! One agent: what is wanted of it, and its status with its moves.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::ending::Ending;
use crate::time::seconds;
use crate::{AgentId, Epoch, PoolName, ProcessId, Timestamp};

/// How old the registry's picture of an agent may be, where its spawn says nothing.
pub const DEFAULT_HEARTBEAT_INTERVAL: Duration = Duration::from_secs(30);

/// An agent as somebody asked for it. It does not change over the agent's life.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentSpec {
    /// Its id.
    pub agent_id: AgentId,
    /// Its pool.
    pub pool_name: PoolName,
    /// Its role: the pool's.
    pub role_type: String,
    /// The project that it works for: any text of 1 to [`MAX_PROJECT_ID`](crate::lengths::MAX_PROJECT_ID) characters.
    pub project_id: String,
    /// A name for people.
    pub human_name: String,
    /// How old the registry's picture of this agent may be, in seconds, at least 1. Default: [`DEFAULT_HEARTBEAT_INTERVAL`].
    #[serde(with = "seconds")]
    pub heartbeat_interval: Duration,
    /// Idle longer than this, in seconds, it ends with intent "stop". At least 1. Default 300.
    #[serde(with = "seconds")]
    pub max_idle_time: Duration,
}

/// What somebody wants of an agent. Kept in the store; it survives every death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// It is to run, on some worker.
    Run,
    /// It is to stop, and to stay stopped over any restart.
    Stop(StopReason),
}

/// Why an agent is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// Somebody asked for it.
    Requested,
    /// It was idle longer than its `max_idle_time`.
    Idle,
    /// Its pool is going.
    PoolRemoved,
    /// Its program failed at the first start, and the caller was told so.
    StartFailed,
    /// It has done its task, and its pool's agents do one each.
    TaskDone,
    /// It ended by itself, and its pool's restart policy wants no other run.
    Completed,
}

impl StopReason {
    const ALL: [Self; 6] =
        [Self::Requested, Self::Idle, Self::PoolRemoved, Self::StartFailed, Self::TaskDone, Self::Completed];

    /// The word in the store and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Idle => "idle",
            Self::PoolRemoved => "pool_removed",
            Self::StartFailed => "start_failed",
            Self::TaskDone => "task_done",
            Self::Completed => "completed",
        }
    }
}

impl FromStr for StopReason {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|reason| reason.as_str() == text).ok_or_else(|| format!("no stop reason: {text:?}"))
    }
}

/// An agent's place in a worker: an open assignment takes a slot until the agent's tree is proven dead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// The worker.
    pub process_id: ProcessId,
    /// The number of this assignment among the agent's.
    pub epoch: Epoch,
}

/// An agent's status in one word, as the API shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AgentState {
    /// It is to run, and nobody has confirmed yet that it does.
    Spawning,
    /// It runs and has no work.
    Idle,
    /// It has work.
    Busy,
    /// It was told to stop, and its tree is not proven dead yet.
    Stopping,
    /// It was asked to stop, and it is gone.
    Terminated,
    /// It is gone, and its restart policy wants no other run.
    Failed,
    /// It crashed too often; it waits for a person.
    Quarantined,
}

impl AgentState {
    const ALL: [Self; 7] =
        [Self::Spawning, Self::Idle, Self::Busy, Self::Stopping, Self::Terminated, Self::Failed, Self::Quarantined];

    /// The states of an agent that is there or on its way. It may go to and fro between them at any moment, so whoever looks for
    /// such agents asks for all of these at once.
    pub const LIVE: [Self; 4] = [Self::Spawning, Self::Idle, Self::Busy, Self::Stopping];

    /// Whether it runs, and nobody wants it to end.
    pub const fn is_running(self) -> bool {
        matches!(self, Self::Idle | Self::Busy)
    }

    /// The word in the store and in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Spawning => "spawning",
            Self::Idle => "idle",
            Self::Busy => "busy",
            Self::Stopping => "stopping",
            Self::Terminated => "terminated",
            Self::Failed => "failed",
            Self::Quarantined => "quarantined",
        }
    }
}

impl fmt::Display for AgentState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for AgentState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|state| state.as_str() == text).ok_or_else(|| {
            let names: Vec<_> = Self::ALL.iter().map(|s| s.as_str()).collect();
            format!("no state of an agent: {text:?}; the states are {}", names.join(", "))
        })
    }
}

/// An agent's status with the data of that status.
#[derive(Clone, Debug, PartialEq)]
pub enum AgentStatus {
    /// It has no slot: it waits for one, or for its backoff to pass.
    Pending {
        /// Not to be placed before this moment.
        not_before: Option<Instant>,
    },
    /// It has a slot; its worker has not said yet that it runs.
    Placed(Assignment),
    /// Its worker says that it runs.
    Running {
        /// Where.
        at: Assignment,
        /// Since when.
        since: Timestamp,
    },
    /// It is to leave its slot.
    Stopping {
        /// Where it still is.
        at: Assignment,
        /// What comes after.
        then: AfterStop,
    },
    /// Gone by order.
    Terminated(StopReason),
    /// Gone by itself, for good.
    Failed(Ending),
    /// Gone too often, until a person releases it.
    Quarantined(Ending),
}

/// What follows when an agent that was told to stop is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterStop {
    /// Nothing: it is terminated.
    End(StopReason),
    /// A new run: somebody asked for a restart.
    RunAgain,
}

/// What happens to an agent.
#[derive(Clone, Debug, PartialEq)]
pub enum AgentEvent {
    /// The store holds this assignment for it.
    Assigned(Assignment),
    /// The worker of this epoch says that it runs.
    Started(Epoch, Timestamp),
    /// It was ordered to stop.
    StopOrdered(AfterStop),
    /// The tree of this epoch is proven dead, and it is to run again, not before the moment given.
    Released(Epoch, Option<Instant>),
    /// The tree of this epoch is proven dead, and that was the end of it.
    Ended(Epoch, Final),
    /// Somebody wants it to run again.
    Revived,
}

/// An end that stays.
#[derive(Clone, Debug, PartialEq)]
pub enum Final {
    /// Stopped by order.
    Terminated(StopReason),
    /// Its policy wants no other run.
    Failed(Ending),
    /// Too many restarts.
    Quarantined(Ending),
}

impl From<Final> for AgentStatus {
    fn from(end: Final) -> Self {
        match end {
            Final::Terminated(reason) => Self::Terminated(reason),
            Final::Failed(ending) => Self::Failed(ending),
            Final::Quarantined(ending) => Self::Quarantined(ending),
        }
    }
}

/// A move that the status does not have: news that are late, doubled, or of another epoch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an agent that is {state} does not take {event}")]
pub struct NoSuchMove {
    /// The status that was asked to move.
    pub state: AgentState,
    /// The event, in words.
    pub event: String,
}

impl AgentStatus {
    /// The status after `event`, or why there is none. Old epochs never move anything.
    pub fn after(&self, event: &AgentEvent) -> Result<Self, NoSuchMove> {
        use AgentEvent as E;
        let held = self.assignment();
        let mine = |epoch: &Epoch| held.is_some_and(|at| at.epoch == *epoch);
        match (self, event) {
            (Self::Pending { .. }, E::Assigned(at)) => Ok(Self::Placed(*at)),
            (Self::Placed(at), E::Started(epoch, since)) if at.epoch == *epoch => {
                Ok(Self::Running { at: *at, since: *since })
            }
            (Self::Pending { .. }, E::StopOrdered(AfterStop::End(reason))) => Ok(Self::Terminated(*reason)),
            (Self::Placed(at) | Self::Running { at, .. }, E::StopOrdered(then)) => {
                Ok(Self::Stopping { at: *at, then: *then })
            }
            // A wish to end overrides a wish to restart, never the other way round.
            (Self::Stopping { at, then: AfterStop::RunAgain }, E::StopOrdered(then)) => {
                Ok(Self::Stopping { at: *at, then: *then })
            }
            (Self::Quarantined(_), E::StopOrdered(AfterStop::End(reason))) => Ok(Self::Terminated(*reason)),
            (_, E::Released(epoch, not_before)) if mine(epoch) => Ok(Self::Pending { not_before: *not_before }),
            (_, E::Ended(epoch, end)) if mine(epoch) => Ok(end.clone().into()),
            (Self::Quarantined(_) | Self::Failed(_), E::Revived) => Ok(Self::Pending { not_before: None }),
            (Self::Pending { .. }, E::Revived) => Ok(Self::Pending { not_before: None }),
            _ => Err(NoSuchMove { state: self.state(), event: format!("{event:?}") }),
        }
    }

    /// The slot that it holds.
    pub const fn assignment(&self) -> Option<Assignment> {
        match self {
            Self::Placed(at) | Self::Running { at, .. } | Self::Stopping { at, .. } => Some(*at),
            Self::Pending { .. } | Self::Terminated(_) | Self::Failed(_) | Self::Quarantined(_) => None,
        }
    }

    /// The status in one word.
    pub const fn state(&self) -> AgentState {
        match self {
            Self::Pending { .. } | Self::Placed(_) => AgentState::Spawning,
            Self::Running { .. } => AgentState::Idle,
            Self::Stopping { .. } => AgentState::Stopping,
            Self::Terminated(_) => AgentState::Terminated,
            Self::Failed(_) => AgentState::Failed,
            Self::Quarantined(_) => AgentState::Quarantined,
        }
    }

    /// Whether nothing will move it but a person.
    pub const fn is_final(&self) -> bool {
        matches!(self, Self::Terminated(_) | Self::Failed(_) | Self::Quarantined(_))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ending::Cause;

    const WORKER: ProcessId = ProcessId::from_uuid(uuid::Uuid::from_u128(1));

    fn at(epoch: u64) -> Assignment {
        Assignment { process_id: WORKER, epoch: Epoch(epoch) }
    }

    fn ending() -> Ending {
        Ending::new(Cause::Exited { code: 1 }, Timestamp::from_millis(0))
    }

    fn statuses() -> Vec<AgentStatus> {
        vec![
            AgentStatus::Pending { not_before: None },
            AgentStatus::Placed(at(2)),
            AgentStatus::Running { at: at(2), since: Timestamp::from_millis(0) },
            AgentStatus::Stopping { at: at(2), then: AfterStop::End(StopReason::Requested) },
            AgentStatus::Stopping { at: at(2), then: AfterStop::RunAgain },
            AgentStatus::Terminated(StopReason::Requested),
            AgentStatus::Failed(ending()),
            AgentStatus::Quarantined(ending()),
        ]
    }

    /// One row an event, one column a status in the order of `statuses`; '-' is no move.
    #[test]
    fn the_table_of_moves() {
        let rows: [(AgentEvent, &str); 10] = [
            (AgentEvent::Assigned(at(2)), "placed - - - - - - -"),
            (AgentEvent::Started(Epoch(2), Timestamp::from_millis(0)), "- running - - - - - -"),
            (AgentEvent::Started(Epoch(1), Timestamp::from_millis(0)), "- - - - - - - -"),
            (
                AgentEvent::StopOrdered(AfterStop::End(StopReason::Idle)),
                "terminated stopping stopping - stopping - - terminated",
            ),
            (AgentEvent::StopOrdered(AfterStop::RunAgain), "- stopping stopping - stopping - - -"),
            (AgentEvent::Released(Epoch(2), None), "- pending pending pending pending - - -"),
            (AgentEvent::Released(Epoch(1), None), "- - - - - - - -"),
            (AgentEvent::Ended(Epoch(2), Final::Failed(ending())), "- failed failed failed failed - - -"),
            (AgentEvent::Ended(Epoch(1), Final::Failed(ending())), "- - - - - - - -"),
            (AgentEvent::Revived, "pending - - - - - pending pending"),
        ];
        for (event, expected) in rows {
            let row: Vec<&str> = statuses().iter().map(|s| s.after(&event).map_or("-", |s| word(&s))).collect();
            assert_eq!(row.join(" "), expected, "{event:?}");
        }
    }

    fn word(status: &AgentStatus) -> &'static str {
        match status {
            AgentStatus::Pending { .. } => "pending",
            AgentStatus::Placed(_) => "placed",
            AgentStatus::Running { .. } => "running",
            AgentStatus::Stopping { .. } => "stopping",
            AgentStatus::Terminated(_) => "terminated",
            AgentStatus::Failed(_) => "failed",
            AgentStatus::Quarantined(_) => "quarantined",
        }
    }

    #[test]
    fn a_slot_is_held_until_the_tree_is_dead() {
        let held: Vec<bool> = statuses().iter().map(|s| s.assignment().is_some()).collect();
        assert_eq!(held, [false, true, true, true, true, false, false, false]);
    }

    #[test]
    fn words_are_read_back() {
        for state in AgentState::ALL {
            assert_eq!(state.as_str().parse(), Ok(state));
        }
        for reason in StopReason::ALL {
            assert_eq!(reason.as_str().parse(), Ok(reason));
        }
        assert!("asleep".parse::<AgentState>().expect_err("no state").contains("quarantined"));
    }
}
