//! One agent: what is wanted of it, and its status with its moves.

use std::str::FromStr;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::time::seconds;
use crate::words::Words;
use crate::{Activity, AgentId, AgentState, Epoch, FinalState, PoolName, ProcessId, Timestamp};

/// How old the registry's picture of an agent may be, where its spawn says nothing.
pub const DEFAULT_HEARTBEAT_INTERVAL: Duration = Duration::from_secs(30);

/// What `heartbeat_interval` and `max_idle_time` of an agent are at least, so that neither becomes a busy loop.
pub const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

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
    /// How old the registry's picture of this agent may be, in seconds, at least [`SHORTEST_INTERVAL`]. Default: [`DEFAULT_HEARTBEAT_INTERVAL`].
    #[serde(with = "seconds")]
    pub heartbeat_interval: Duration,
    /// Idle longer than this, in seconds, it ends with intent "stop". At least [`SHORTEST_INTERVAL`]. Default 300.
    #[serde(with = "seconds")]
    pub max_idle_time: Duration,
    /// Whether its pool has started it by itself, for tasks that waited.
    #[serde(default)]
    pub on_demand: bool,
}

/// What somebody wants of an agent. Kept in the store; it survives every death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Intent {
    /// It is to run, on some worker.
    Run,
    /// It is to stop, and to stay stopped over any restart.
    Stop(StopReason),
}

crate::words! {
    /// Why an agent is to stop.
    pub enum StopReason {
        /// Somebody asked for it.
        Requested = "requested",
        /// It was idle longer than its `max_idle_time`.
        Idle = "idle",
        /// Its pool is going.
        PoolRemoved = "pool_removed",
        /// Its program failed at the first start, and the caller was told so.
        StartFailed = "start_failed",
        /// Its pool started it for tasks, and has fewer workers now.
        ScaledIn = "scaled_in",
        /// It has done its task, and its pool's agents do one each.
        TaskDone = "task_done",
        /// It ended by itself, and its pool's restart policy wants no other run.
        Completed = "completed",
    }
}

impl FromStr for StopReason {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::of_word(text).ok_or_else(|| format!("no stop reason: {text:?}"))
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
        /// What it does.
        activity: Activity,
    },
    /// It is to leave its slot.
    Stopping {
        /// Where it still is.
        at: Assignment,
        /// What comes after.
        then: AfterStop,
    },
    /// It has come to rest. How its latest run ended is kept beside.
    Final(FinalState),
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
    /// The run of this epoch does something else than before.
    Turned(Epoch, Activity),
    /// It was ordered to stop.
    StopOrdered(AfterStop),
    /// The tree of this epoch is proven dead, and it is to run again, not before the moment given.
    Released(Epoch, Option<Instant>),
    /// The tree of this epoch is proven dead, and that was the end of it.
    Ended(Epoch, FinalState),
    /// Somebody wants it to run again.
    Revived,
}

/// A move that the status does not have: news that are late, doubled, or of another epoch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an agent that is {state} does not take {event}")]
pub struct InvalidTransition {
    /// The status that was asked to move.
    pub state: AgentState,
    /// The event, in words.
    pub event: String,
}

impl AgentStatus {
    /// The status after `event`, or why there is none. Old epochs never move anything.
    pub fn after(&self, event: &AgentEvent) -> Result<Self, InvalidTransition> {
        use AgentEvent as E;
        let held = self.assignment();
        let mine = |epoch: &Epoch| held.is_some_and(|at| at.epoch == *epoch);
        match (self, event) {
            (Self::Pending { .. }, E::Assigned(at)) => Ok(Self::Placed(*at)),
            (Self::Placed(at), E::Started(epoch, since)) if at.epoch == *epoch => {
                Ok(Self::Running { at: *at, since: *since, activity: Activity::Idle })
            }
            (Self::Running { at, since, .. }, E::Turned(epoch, activity)) if mine(epoch) => {
                Ok(Self::Running { at: *at, since: *since, activity: *activity })
            }
            (Self::Pending { .. }, E::StopOrdered(AfterStop::End(reason))) => {
                Ok(Self::Final(FinalState::Terminated(*reason)))
            }
            (Self::Placed(at) | Self::Running { at, .. }, E::StopOrdered(then)) => {
                Ok(Self::Stopping { at: *at, then: *then })
            }
            // A wish to end overrides a wish to restart, never the other way round.
            (Self::Stopping { at, then: AfterStop::RunAgain }, E::StopOrdered(then)) => {
                Ok(Self::Stopping { at: *at, then: *then })
            }
            (Self::Final(_), E::StopOrdered(AfterStop::End(reason))) if self.needs_person() => {
                Ok(Self::Final(FinalState::Terminated(*reason)))
            }
            (_, E::Released(epoch, not_before)) if mine(epoch) => Ok(Self::Pending { not_before: *not_before }),
            (_, E::Ended(epoch, end)) if mine(epoch) => Ok(Self::Final(*end)),
            (Self::Final(state), E::Revived) if state.may_run_again() => Ok(Self::Pending { not_before: None }),
            (Self::Pending { .. }, E::Revived) => Ok(Self::Pending { not_before: None }),
            _ => Err(InvalidTransition { state: self.state(), event: format!("{event:?}") }),
        }
    }

    /// The slot that it holds.
    pub const fn assignment(&self) -> Option<Assignment> {
        match self {
            Self::Placed(at) | Self::Running { at, .. } | Self::Stopping { at, .. } => Some(*at),
            Self::Pending { .. } | Self::Final(_) => None,
        }
    }

    /// The status in one word.
    pub const fn state(&self) -> AgentState {
        match self {
            Self::Pending { .. } | Self::Placed(_) => AgentState::Spawning,
            Self::Running { activity, .. } => AgentState::Running(*activity),
            Self::Stopping { .. } => AgentState::Stopping,
            Self::Final(state) => state.state(),
        }
    }

    /// Whether it has no slot and is to get one.
    pub const fn is_pending(&self) -> bool {
        matches!(self, Self::Pending { .. })
    }

    /// Whether it has no slot since it waits for its backoff to pass.
    pub const fn backs_off(&self) -> bool {
        matches!(self, Self::Pending { not_before: Some(_) })
    }

    /// Whether it has a slot, and its worker has not said yet that it runs.
    pub const fn is_placed(&self) -> bool {
        matches!(self, Self::Placed(_))
    }

    /// Whether it has a slot for this run, and its worker has not said yet that it runs.
    pub fn is_placed_as(&self, epoch: Epoch) -> bool {
        matches!(self, Self::Placed(at) if at.epoch == epoch)
    }

    /// Whether it is on its way: it is to run, and nobody has said yet that it does.
    pub const fn is_coming(&self) -> bool {
        self.is_pending() || self.is_placed()
    }

    /// Where it runs, if it does and is not to end.
    pub const fn runs_at(&self) -> Option<Assignment> {
        match self {
            Self::Running { at, .. } => Some(*at),
            _ => None,
        }
    }

    /// What it does, if it runs and is not to end.
    pub const fn activity(&self) -> Option<Activity> {
        match self {
            Self::Running { activity, .. } => Some(*activity),
            _ => None,
        }
    }

    /// Where it runs, if it does, has nothing to do and is not to end.
    pub const fn idles_at(&self) -> Option<Assignment> {
        match self {
            Self::Running { at, activity, .. } if activity.is_idle() => Some(*at),
            _ => None,
        }
    }

    /// Whether it runs, and is not to end.
    pub const fn is_running(&self) -> bool {
        self.runs_at().is_some()
    }

    /// Whether this run of it is under way, and is not to end.
    pub fn is_running_as(&self, epoch: Epoch) -> bool {
        self.runs_at().is_some_and(|at| at.epoch == epoch)
    }

    /// What comes after its end, where it was told to stop.
    pub const fn after_stop(&self) -> Option<AfterStop> {
        match self {
            Self::Stopping { then, .. } => Some(*then),
            _ => None,
        }
    }

    /// Whether it was told to stop, and to stay stopped.
    pub const fn is_to_end(&self) -> bool {
        matches!(self.after_stop(), Some(AfterStop::End(_)))
    }

    /// Whether it was told to stop, and another run follows.
    pub const fn is_to_run_again(&self) -> bool {
        matches!(self.after_stop(), Some(AfterStop::RunAgain))
    }

    /// Whether nothing will move it but a person.
    pub const fn is_final(&self) -> bool {
        self.state().is_final()
    }

    /// Whether it is gone for good: it is not started again by itself, and nobody is asked to do so.
    pub const fn is_gone(&self) -> bool {
        self.state().is_gone()
    }

    /// Whether it waits for a person to release it.
    pub const fn needs_person(&self) -> bool {
        self.state().needs_person()
    }

    /// Whether it counts where agents are bounded: one that waits for a person does, since another in its place would only join it.
    pub const fn counts(&self) -> bool {
        !self.is_gone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORKER: ProcessId = ProcessId::from_uuid(uuid::Uuid::from_u128(1));

    fn at(epoch: u64) -> Assignment {
        Assignment { process_id: WORKER, epoch: Epoch(epoch) }
    }

    fn statuses() -> Vec<AgentStatus> {
        vec![
            AgentStatus::Pending { not_before: None },
            AgentStatus::Placed(at(2)),
            AgentStatus::Running { at: at(2), since: Timestamp::from_millis(0), activity: Activity::Idle },
            AgentStatus::Stopping { at: at(2), then: AfterStop::End(StopReason::Requested) },
            AgentStatus::Stopping { at: at(2), then: AfterStop::RunAgain },
            AgentStatus::Final(FinalState::Terminated(StopReason::Requested)),
            AgentStatus::Final(FinalState::Failed(StopReason::Completed)),
            AgentStatus::Final(FinalState::Quarantined),
        ]
    }

    /// One row an event, one column a status in the order of `statuses`; '-' is no move.
    #[test]
    fn the_table_of_moves() {
        let rows: [(AgentEvent, &str); 12] = [
            (AgentEvent::Assigned(at(2)), "placed - - - - - - -"),
            (AgentEvent::Started(Epoch(2), Timestamp::from_millis(0)), "- running - - - - - -"),
            (AgentEvent::Started(Epoch(1), Timestamp::from_millis(0)), "- - - - - - - -"),
            (AgentEvent::Turned(Epoch(2), Activity::Busy), "- - busy - - - - -"),
            (AgentEvent::Turned(Epoch(1), Activity::Busy), "- - - - - - - -"),
            (
                AgentEvent::StopOrdered(AfterStop::End(StopReason::Idle)),
                "terminated stopping stopping - stopping - - terminated",
            ),
            (AgentEvent::StopOrdered(AfterStop::RunAgain), "- stopping stopping - stopping - - -"),
            (AgentEvent::Released(Epoch(2), None), "- pending pending pending pending - - -"),
            (AgentEvent::Released(Epoch(1), None), "- - - - - - - -"),
            (
                AgentEvent::Ended(Epoch(2), FinalState::Failed(StopReason::Completed)),
                "- failed failed failed failed - - -",
            ),
            (AgentEvent::Ended(Epoch(1), FinalState::Failed(StopReason::Completed)), "- - - - - - - -"),
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
            AgentStatus::Running { activity: Activity::Idle, .. } => "running",
            AgentStatus::Running { activity, .. } => activity.as_str(),
            AgentStatus::Stopping { .. } => "stopping",
            AgentStatus::Final(state) => state.state().as_str(),
        }
    }

    /// One row a predicate, one letter a status in the order of `statuses`.
    #[test]
    fn the_table_of_predicates() {
        type Is = fn(&AgentStatus) -> bool;
        let rows: [(&str, Is, &str); 12] = [
            ("is_pending", AgentStatus::is_pending, "x-------"),
            ("is_placed", AgentStatus::is_placed, "-x------"),
            ("is_placed_as", |status| status.is_placed_as(Epoch(2)), "-x------"),
            ("is_coming", AgentStatus::is_coming, "xx------"),
            ("is_running", AgentStatus::is_running, "--x-----"),
            ("is_running_as another", |status| status.is_running_as(Epoch(1)), "--------"),
            ("idles_at", |status| status.idles_at().is_some(), "--x-----"),
            ("is_to_end", AgentStatus::is_to_end, "---x----"),
            ("is_final", AgentStatus::is_final, "-----xxx"),
            ("is_gone", AgentStatus::is_gone, "-----xx-"),
            ("needs_person", AgentStatus::needs_person, "-------x"),
            ("counts", AgentStatus::counts, "xxxxx--x"),
        ];
        for (name, is, expected) in rows {
            let row: String = statuses().iter().map(|status| if is(status) { 'x' } else { '-' }).collect();
            assert_eq!(row, expected, "{name}");
        }
        for status in statuses() {
            let state = status.state();
            assert_eq!((state.is_final(), state.is_live()), (status.is_final(), !status.is_final()), "{state}");
            assert_eq!((state.is_gone(), state.needs_person()), (status.is_gone(), status.needs_person()), "{state}");
        }
    }

    #[test]
    fn a_slot_is_held_until_the_tree_is_dead() {
        let held: Vec<bool> = statuses().iter().map(|s| s.assignment().is_some()).collect();
        assert_eq!(held, [false, true, true, true, true, false, false, false]);
    }

    #[test]
    fn words_are_read_back() {
        for reason in StopReason::ALL {
            assert_eq!(reason.as_str().parse(), Ok(reason));
        }
    }
}
