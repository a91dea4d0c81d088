//! Workers, those that there are and those that ended.

use muster_domain::{
    Interruption, PoolName, ProcessId, TierName, Timestamp, Words, WorkerCause, WorkerEnding, WorkerIdentity,
    WorkerState,
};
use muster_store::WorkerRow;
use serde::Serialize;
use utoipa::ToSchema;

/// A worker.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ProcessJson)]
pub struct WorkerView {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    pub process_id: ProcessId,
    /// Its pool.
    #[schema(value_type = String)]
    pub pool_name: PoolName,
    /// Its pid, once it is known; null of one that is no process of a host.
    pub pid: Option<u32>,
    /// Its host, or the engine that runs it, once it is known.
    pub host: Option<String>,
    /// Slots taken of it.
    pub agent_count: u32,
    /// Agents that it may hold.
    pub max_agents: u32,
    /// `agent_count` as a share of `max_agents`, 0 to 1.
    pub utilization: f64,
    /// CPU of it and its agents' programs, without what these start, in percent of one core, from its last heartbeat.
    #[serde(rename = "cpu")]
    pub cpu_percent: Option<f32>,
    /// Resident memory of the same processes, in bytes, from its last heartbeat.
    pub rss_bytes: Option<u64>,
    /// How it is.
    #[schema(value_type = String, extensions(("x-enum" = json!(WorkerState::words()))))]
    pub status: WorkerState,
    /// Of which tier of its pool's capacity it is; null where the pool has no tiers.
    #[schema(value_type = Option<String>, extensions(("x-enum" = json!(TierName::words()))))]
    pub tier: Option<TierName>,
    /// Whether it starts programs by an older definition of the runtime than the configuration's: it gets no more agents, and is
    /// replaced when it has none.
    pub outdated: bool,
    /// Where the capacity under it will be taken away: it gets no more agents, these get no more tasks, and what it has by the deadline
    /// is handed over. Null of all others.
    pub interruption: Option<InterruptionView>,
    /// Where it may be dead or does not end, while nobody here can see or bring about its end: since when, why, and what to type. Its
    /// agents keep their places, and it gets no more. Null of all others.
    pub unreachable: Option<String>,
    /// When it was ordered.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// When it was last heard.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_heartbeat: Option<Timestamp>,
}

/// A notice that the capacity under a worker will be taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = InterruptionJson)]
pub struct InterruptionView {
    /// When the first notice came.
    #[schema(value_type = String, format = DateTime)]
    pub noticed_at: Timestamp,
    /// When the capacity goes.
    #[schema(value_type = String, format = DateTime)]
    pub deadline: Timestamp,
    /// The worker that was started in its place; null where none was needed, or none could be started yet.
    #[schema(value_type = Option<String>, format = Uuid)]
    pub replaced_by: Option<ProcessId>,
}

impl From<Interruption> for InterruptionView {
    fn from(notice: Interruption) -> Self {
        let Interruption { noticed_at, deadline, replaced_by } = notice;
        Self { noticed_at, deadline, replaced_by }
    }
}

/// A worker that ended.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = EndedProcessJson)]
pub struct EndedWorkerView {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    pub process_id: ProcessId,
    /// Its pool.
    #[schema(value_type = String)]
    pub pool_name: PoolName,
    /// The pid that it had; null of one that was no process of a host.
    pub pid: Option<u32>,
    /// Its host, or the engine that ran it, where it was known.
    pub host: Option<String>,
    /// `stopped` by order, or `lost`.
    #[schema(value_type = String, example = "lost", extensions(("x-enum" = json!(WorkerState::words()))))]
    pub status: WorkerState,
    /// Agents that it could hold.
    pub max_agents: u32,
    /// When it was ordered.
    #[schema(value_type = String, format = DateTime)]
    pub started_at: Timestamp,
    /// When it was proven dead.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// How it ended; null where an earlier version of Muster saw it.
    pub ending: Option<WorkerEndingView>,
}

impl From<WorkerRow> for EndedWorkerView {
    fn from(row: WorkerRow) -> Self {
        let pid = row.identity.as_ref().and_then(WorkerIdentity::pid);
        let host = row.identity.map(|identity| identity.host().to_owned());
        Self {
            process_id: row.process_id,
            pool_name: row.pool_name,
            pid,
            host,
            status: row.state,
            max_agents: row.capacity,
            started_at: row.created_at,
            ended_at: row.ended_at,
            ending: row.ending.map(WorkerEndingView::from),
        }
    }
}

/// How a worker ended.
// Not the domain's own type: the words are made here.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = WorkerEndingJson)]
pub struct WorkerEndingView {
    /// Why, in words.
    #[schema(example = "was ended by signal 9 (SIGKILL)")]
    pub summary: String,
    /// Why, for programs.
    pub cause: WorkerCause,
    /// The last lines of its log; empty where it said nothing.
    pub last_words: String,
    /// What became of its agents.
    #[schema(example = "its 2 agents are started again")]
    pub follows: String,
}

impl From<WorkerEnding> for WorkerEndingView {
    fn from(ending: WorkerEnding) -> Self {
        let summary = ending.cause.to_string();
        Self { summary, cause: ending.cause, last_words: ending.last_words, follows: ending.follows }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_end_is_for_people_and_for_programs() {
        let cause = WorkerCause::Signaled { signal: 9, name: "SIGKILL".to_owned() };
        let ending = WorkerEnding::new(cause, "oh".to_owned(), "it held no agents".to_owned());
        let ending = serde_json::to_value(WorkerEndingView::from(ending)).expect("an object");
        let cause = json!({"kind": "signaled", "signal": 9, "name": "SIGKILL"});
        let expected = json!({"summary": "was ended by signal 9 (SIGKILL)", "cause": cause, "last_words": "oh",
            "follows": "it held no agents"});
        assert_eq!(ending, expected);
    }
}
