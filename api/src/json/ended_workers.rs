//! Workers that ended.

use muster_domain::{PoolName, ProcessId, Timestamp, WorkerCause, WorkerEnding, WorkerState};
use muster_supervisor::{EndedWorkerView, Page};
use serde::Serialize;
use utoipa::ToSchema;

use super::words;

/// Why a worker ended, as it is described: [`WorkerCause`] has each figure in the variant that has it.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it stands for the domain's type in the document")]
struct WorkerCauseJson {
    /// `stopped` (it was told to end), `exited`, `signaled`, `hung` (and was killed), `not_started` or `unknown`.
    #[schema(example = "signaled")]
    kind: String,
    /// The exit code, where it exited.
    code: Option<i32>,
    /// The signal, where one ended it.
    signal: Option<i32>,
    /// The signal's name; empty where it has none.
    #[schema(example = "SIGKILL")]
    name: Option<String>,
    /// What was in the way, where it could not be started.
    error: Option<String>,
}

/// How a worker ended.
#[derive(Debug, Serialize, ToSchema)]
struct WorkerEndingJson {
    /// Why, in words.
    #[schema(example = "was ended by signal 9 (SIGKILL)")]
    summary: String,
    /// Why, for programs.
    #[schema(value_type = WorkerCauseJson)]
    cause: WorkerCause,
    /// The last lines of its log; empty where it said nothing.
    last_words: String,
    /// What became of its agents.
    #[schema(example = "its 2 agents are started again")]
    follows: String,
}

impl From<WorkerEnding> for WorkerEndingJson {
    fn from(ending: WorkerEnding) -> Self {
        let summary = ending.cause.to_string();
        Self { summary, cause: ending.cause, last_words: ending.last_words, follows: ending.follows }
    }
}

/// A worker that ended.
#[derive(Debug, Serialize, ToSchema)]
struct EndedProcessJson {
    #[schema(value_type = String, format = Uuid)]
    process_id: ProcessId,
    #[schema(value_type = String)]
    pool_name: PoolName,
    /// The pid that it had.
    pid: Option<u32>,
    host: Option<String>,
    /// `stopped` by order, or `lost`.
    #[schema(value_type = String, example = "lost", extensions(("x-enum" = json!(words::<WorkerState>()))))]
    status: WorkerState,
    /// Agents that it could hold.
    max_agents: u32,
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    #[schema(value_type = Option<String>, format = DateTime)]
    ended_at: Option<Timestamp>,
    /// How it ended; null where an earlier version of Muster saw it.
    ending: Option<WorkerEndingJson>,
}

impl From<EndedWorkerView> for EndedProcessJson {
    fn from(view: EndedWorkerView) -> Self {
        Self {
            process_id: view.process_id,
            pool_name: view.pool_name,
            pid: view.pid,
            host: view.host,
            status: view.status,
            max_agents: view.max_agents,
            started_at: view.started_at,
            ended_at: view.ended_at,
            ending: view.ending.map(WorkerEndingJson::from),
        }
    }
}

/// One page of workers that ended.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct EndedProcessPage {
    items: Vec<EndedProcessJson>,
    /// Give it as `cursor` to get the next page; null after the last.
    #[schema(value_type = Option<String>)]
    next_cursor: Option<ProcessId>,
}

impl From<Page<EndedWorkerView, ProcessId>> for EndedProcessPage {
    fn from(page: Page<EndedWorkerView, ProcessId>) -> Self {
        Self { items: page.items.into_iter().map(EndedProcessJson::from).collect(), next_cursor: page.next }
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
        let view = EndedWorkerView {
            process_id: ProcessId::generate(),
            pool_name: "dev".parse().expect("a name"),
            pid: Some(7),
            host: None,
            status: WorkerState::Lost,
            max_agents: 10,
            started_at: Timestamp::from_millis(0),
            ended_at: Some(Timestamp::from_millis(1)),
            ending: Some(ending),
        };
        let next = Some(view.process_id);
        let page = serde_json::to_value(EndedProcessPage::from(Page { items: vec![view], next })).expect("an object");
        let ending = &page["items"][0]["ending"];
        assert_eq!(ending["summary"], "was ended by signal 9 (SIGKILL)");
        assert_eq!(ending["cause"], json!({"kind": "signaled", "signal": 9, "name": "SIGKILL"}));
        assert_eq!((&ending["last_words"], &ending["follows"]), (&json!("oh"), &json!("it held no agents")));
        assert_eq!((&page["items"][0]["status"], &page["next_cursor"]), (&json!("lost"), &json!(next)));
    }
}
