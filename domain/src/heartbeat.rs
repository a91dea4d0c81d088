//! Heartbeats: a worker's whole picture, not a change, so that the next beat repairs whatever was lost.

use std::borrow::Cow;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::attempt::{Progress, Usage};
use crate::time::optional_seconds;
use crate::words::Words;
use crate::worker_identity::WorkerIdentity;
use crate::{Activity, AgentId, Epoch, Fence, PoolName, ProcessId, TaskId, Timestamp, WorkerState};

/// One heartbeat.
// It has more fields than other types: its form is that of the JSON in the registry, which workers of other versions read and write.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The message's version: [`WIRE_VERSION`](crate::WIRE_VERSION) of the sender.
    pub v: u16,
    /// The worker.
    pub process_id: ProcessId,
    /// Its pool.
    pub pool_name: PoolName,
    /// Who it is for the operating system: a master that missed its birth finds it by this.
    pub identity: WorkerIdentity,
    /// Agents that it can hold.
    pub capacity: u32,
    /// `ready` or `draining`.
    pub status: WorkerState,
    /// When it started.
    pub started_at: Timestamp,
    /// 1, 2, 3, ... A picture with the number that is known already needs no reading.
    pub number: u64,
    /// The number of its latest report.
    pub reported: u64,
    /// The number up to which it has dropped its reports as settled.
    pub dropped: u64,
    /// The highest fence that it has seen.
    pub fence: Fence,
    /// What it has met that somebody else wrote to the registry.
    #[serde(default, skip_serializing_if = "Tampering::is_none")]
    pub tampering: Tampering,
    /// CPU that the worker and its agents' programs (not what these start) used since the last beat, in percent of one core.
    pub cpu_percent: f32,
    /// Resident memory of the same processes, in bytes.
    pub rss_bytes: u64,
    /// Why it does not hear its commands, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deaf: Option<String>,
    /// Between two of its beats; one of an earlier version does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "optional_seconds")]
    pub interval: Option<Duration>,
    /// Every agent that it holds.
    pub agents: Vec<AgentSnapshot>,
}

/// What somebody else wrote to the registry under our names, counted by one process since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tampering {
    /// Keys of which somebody made something else; each was deleted and written anew.
    pub replaced_keys: u64,
    /// Messages that nobody of us wrote; each was refused.
    pub forged_messages: u64,
}

impl Tampering {
    /// Whether there was nothing.
    pub const fn is_none(&self) -> bool {
        self.replaced_keys == 0 && self.forged_messages == 0
    }

    /// What came since `before` was read of the same process.
    pub const fn since(self, before: Self) -> Self {
        Self {
            replaced_keys: self.replaced_keys.saturating_sub(before.replaced_keys),
            forged_messages: self.forged_messages.saturating_sub(before.forged_messages),
        }
    }

    /// Both together.
    pub const fn and(self, other: Self) -> Self {
        Self {
            replaced_keys: self.replaced_keys.saturating_add(other.replaced_keys),
            forged_messages: self.forged_messages.saturating_add(other.forged_messages),
        }
    }
}

/// One agent as its worker sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AgentSnapshot {
    /// The agent.
    pub agent_id: AgentId,
    /// The epoch that runs.
    pub epoch: Epoch,
    /// How it is.
    #[serde(flatten)]
    pub state: ObservedState,
    /// Its role.
    pub role_type: String,
    /// Its project.
    pub project_id: String,
    /// The pid of its program, as the host counts; none for a built-in runtime.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// When this picture of it last changed.
    pub updated_at: Timestamp,
    /// Why it is not gone yet, where stopping takes long: e.g. a process in uninterruptible sleep.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Every task that it has.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<TaskSnapshot>,
}

/// One task as the worker of its agent sees it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TaskSnapshot {
    /// The task.
    pub task_id: TaskId,
    /// The number of the attempt.
    pub attempt: u32,
    /// For how long there has been no sign of progress (output of any kind, while the registry answered), in milliseconds.
    pub quiet_ms: u64,
    /// How far it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Progress>,
    /// What it has used so far.
    #[serde(default, skip_serializing_if = "Usage::is_zero")]
    pub usage: Usage,
}

/// How a worker sees an agent that it holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "ObservedRecord", into = "ObservedRecord")]
pub enum ObservedState {
    /// Its program was started and is not ready.
    Starting,
    /// It runs, and does this.
    Running(Activity),
    /// It is being stopped.
    Stopping,
}

impl ObservedState {
    /// The word in the registry.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running(activity) => activity.as_str(),
            Self::Stopping => "stopping",
        }
    }
}

/// The same as it travels. Every version knows `starting`, `idle`, `busy` and `stopping`. An activity that a former version has
/// no word for is `busy` to it, and is named beside that.
#[derive(Serialize, Deserialize)]
struct ObservedRecord {
    state: Cow<'static, str>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    activity: Option<Cow<'static, str>>,
}

impl From<ObservedState> for ObservedRecord {
    fn from(seen: ObservedState) -> Self {
        let activity = match seen {
            ObservedState::Running(activity) if !activity.is_idle() && activity != Activity::Busy => Some(activity),
            _ => None,
        };
        let state = activity.map_or(seen, |_| ObservedState::Running(Activity::Busy));
        Self { state: state.as_str().into(), activity: activity.map(|activity| activity.as_str().into()) }
    }
}

impl TryFrom<ObservedRecord> for ObservedState {
    type Error = String;

    fn try_from(record: ObservedRecord) -> Result<Self, String> {
        // One that a later version has named is what it says of it to the former ones.
        let named = record.activity.and_then(|word| Activity::of_word(&word));
        match record.state.as_ref() {
            "starting" => Ok(Self::Starting),
            "stopping" => Ok(Self::Stopping),
            word => named
                .or_else(|| Activity::of_word(word))
                .map(Self::Running)
                .ok_or_else(|| format!("no state of an agent that is held: {word:?}")),
        }
    }
}

/// Tells one life of the registry's content from the next: a flush or an empty restart makes a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub Uuid);

/// What a heartbeat is answered with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HeartbeatReply {
    /// Reports up to this number are settled and need not be kept.
    pub settled: u64,
    /// The worker is given up: it stops its agents and exits.
    pub fenced: bool,
    /// Whether some master holds the leader's mirror key, i.e. was alive within one lease.
    pub leader_present: bool,
    /// The number of the beat whose picture stands. Where somebody else wrote a higher one than the worker's, it goes on
    /// from there, or its pictures would not be taken.
    pub number: u64,
    /// The content's life. A worker that sees another than last time sends all that it has again.
    pub generation: Generation,
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// Workers and masters of neighbouring versions read each other's.
    #[test]
    fn a_state_travels_in_words_that_every_version_knows() {
        let rows = [
            (ObservedState::Starting, "starting"),
            (ObservedState::Running(Activity::Idle), "idle"),
            (ObservedState::Running(Activity::Busy), "busy"),
            (ObservedState::Stopping, "stopping"),
        ];
        for (seen, word) in rows {
            let picture = json!({
                "agent_id": AgentId::from_uuid(Uuid::from_u128(1)), "epoch": 2, "state": word, "role_type": "developer",
                "project_id": "shop", "updated_at": "1970-01-01T00:00:00.000Z",
            });
            let read: AgentSnapshot = serde_json::from_value(picture.clone()).expect("a picture");
            assert_eq!((read.state, read.state.as_str()), (seen, word));
            assert_eq!(serde_json::to_value(read).expect("an object"), picture);
        }
        for activity in Activity::ALL {
            let json = serde_json::to_value(ObservedState::Running(activity)).expect("an object");
            assert!(json["state"] == "idle" || json["state"] == "busy", "{json}");
            let read = serde_json::from_value(json).ok();
            assert_eq!(read, Some(ObservedState::Running(activity)), "its own output");
        }
        let later = json!({"state": "busy", "activity": "something of a later version"});
        assert_eq!(serde_json::from_value(later).ok(), Some(ObservedState::Running(Activity::Busy)));
        assert!(serde_json::from_value::<ObservedState>(json!({"state": "asleep"})).is_err());
    }
}
