//! Agents.

use std::time::Duration;

use muster_domain::name::display_name;
use muster_domain::time::seconds;
use muster_domain::{AgentId, AgentState, Cause, Ending, PoolName, ProcessId, Timestamp, Words};
use muster_supervisor::{AgentView, IdempotencyKey, Page, SpawnRequest};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{check_path_text, duration};
use crate::problem::Problem;
use crate::query::pool_name;

/// A wish for an agent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct SpawnBody {
    /// The project that it works for: any text of 1 to 128 characters that are seen (no control or format characters), but `.` and
    /// `..`.
    #[schema(min_length = 1, max_length = 128, example = "shop")]
    project_id: String,
    /// Its role; must be the pool's.
    #[schema(example = "developer")]
    role_type: String,
    /// Its pool.
    #[schema(example = "developer_pool")]
    pool_name: String,
    /// How old the registry's picture of it may be, in seconds. Default 30.
    #[schema(minimum = 1)]
    heartbeat_interval: Option<f64>,
    /// Idle longer than this, in seconds, it ends. Default: the pool's.
    #[schema(minimum = 1)]
    max_idle_time: Option<f64>,
}

impl SpawnBody {
    /// The wish in the supervisor's words.
    pub(crate) fn request(self, key: Option<IdempotencyKey>) -> Result<SpawnRequest, Problem> {
        check_path_text("project_id", &self.project_id)?;
        Ok(SpawnRequest {
            pool_name: pool_name(&self.pool_name)?,
            role_type: self.role_type,
            project_id: self.project_id,
            heartbeat_interval: duration("heartbeat_interval", self.heartbeat_interval)?,
            max_idle_time: duration("max_idle_time", self.max_idle_time)?,
            key,
        })
    }
}

/// An agent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AgentJson {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    pub(crate) agent_id: AgentId,
    /// Its name for people.
    #[schema(example = "Ada Brook")]
    human_name: String,
    /// Its name and role.
    #[schema(example = "Ada Brook (developer)")]
    display_name: String,
    /// Its role.
    role_type: String,
    /// Its project.
    project_id: String,
    /// Its pool.
    #[schema(value_type = String)]
    pub(crate) pool_name: PoolName,
    /// The worker that holds it, where one does.
    #[schema(value_type = Option<String>, format = Uuid)]
    process_id: Option<ProcessId>,
    /// The pid of its program, where that is known.
    pid: Option<u32>,
    /// How it is.
    #[schema(value_type = String, example = "idle", extensions(("x-enum" = json!(AgentState::words()))))]
    pub(crate) state: AgentState,
    /// Why it is in that state, where there is something to say.
    reason: Option<String>,
    /// The number of its latest assignment to a worker.
    epoch: u64,
    /// How often it was started again over its life, whatever the reason: its end, the loss of its worker, a request, or a
    /// stop and start of the supervisor.
    restarts: u64,
    /// How its latest run ended, where one did.
    last_ending: Option<EndingJson>,
    /// How old the registry's picture of it may be, in seconds.
    #[serde(with = "seconds")]
    #[schema(value_type = f64)]
    heartbeat_interval: Duration,
    /// Idle longer than this, in seconds, it ends.
    #[serde(with = "seconds")]
    #[schema(value_type = f64)]
    max_idle_time: Duration,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<AgentView> for AgentJson {
    fn from(view: AgentView) -> Self {
        Self {
            agent_id: view.agent_id,
            display_name: display_name(&view.human_name, &view.role_type),
            human_name: view.human_name,
            role_type: view.role_type,
            project_id: view.project_id,
            pool_name: view.pool_name,
            process_id: view.process_id,
            pid: view.pid,
            state: view.state,
            reason: view.reason,
            epoch: view.epoch,
            restarts: view.restarts,
            last_ending: view.last_ending.map(EndingJson::from),
            heartbeat_interval: view.heartbeat_interval,
            max_idle_time: view.max_idle_time,
            created_at: view.created_at,
        }
    }
}

/// Why a run ended, as it is described: [`Cause`] has each figure in the variant that has it.
#[derive(ToSchema)]
#[allow(dead_code, reason = "it stands for the domain's type in the document")]
struct CauseJson {
    /// `exited`, `signaled`, `start_timeout`, `not_started`, `stopped`, `task_halted` (ended with a task that did not stop) or
    /// `worker_lost`.
    #[schema(example = "exited")]
    kind: String,
    /// The exit code, where it exited.
    code: Option<i32>,
    /// The signal, where one ended it.
    signal: Option<i32>,
    /// How long it was given to be ready, in milliseconds, where it was not.
    after_ms: Option<u64>,
    /// What the operating system said, where it could not be started.
    error: Option<String>,
}

/// How a run ended.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub(crate) struct EndingJson {
    /// Why, in words.
    #[schema(example = "exited with code 1")]
    summary: String,
    /// Why, for programs.
    #[schema(value_type = CauseJson)]
    cause: Cause,
    /// What the program printed last.
    last_output: String,
    /// When it was noticed.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
}

impl From<Ending> for EndingJson {
    fn from(ending: Ending) -> Self {
        let summary = ending.cause.to_string();
        Self { summary, cause: ending.cause, last_output: ending.last_output, at: ending.at }
    }
}

/// One page of agents.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AgentPage {
    items: Vec<AgentJson>,
    /// Give it as `cursor` to get the next page; null after the last.
    #[schema(value_type = Option<String>)]
    next_cursor: Option<AgentId>,
}

impl From<Page<AgentView>> for AgentPage {
    fn from(page: Page<AgentView>) -> Self {
        Self { items: page.items.into_iter().map(AgentJson::from).collect(), next_cursor: page.next }
    }
}

/// A wish to end an agent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct TerminateBody {
    /// Its pool. May be left out; where it is given, the agent must be of it.
    pub(crate) pool_name: Option<String>,
    /// The agent.
    #[schema(format = Uuid)]
    pub(crate) agent_id: String,
    /// Whether its program is asked first (SIGTERM) and killed only past its stop deadline. Default true.
    #[serde(default = "yes")]
    #[schema(default = true)]
    pub(crate) graceful: bool,
}

const fn yes() -> bool {
    true
}

/// What became of a wish to end an agent.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct TerminatedJson {
    /// The same in words.
    message: String,
    #[schema(value_type = String)]
    pool_name: PoolName,
    #[schema(value_type = String, format = Uuid)]
    agent_id: AgentId,
    /// `terminated` once its whole process tree is gone; `stopping` before.
    #[schema(value_type = String, example = "terminated", extensions(("x-enum" = json!(AgentState::words()))))]
    pub(crate) state: AgentState,
}

impl From<AgentView> for TerminatedJson {
    fn from(view: AgentView) -> Self {
        let message = format!("{} is {}", display_name(&view.human_name, &view.role_type), view.state);
        Self { message, pool_name: view.pool_name, agent_id: view.agent_id, state: view.state }
    }
}

/// An agent in the list of its project.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProjectAgentJson {
    #[schema(value_type = String, format = Uuid)]
    id: AgentId,
    /// Its name and role.
    name: String,
    /// Its name for people.
    human_name: String,
    role_type: String,
    /// As `state` of an agent.
    #[schema(value_type = String, example = "idle", extensions(("x-enum" = json!(AgentState::words()))))]
    status: AgentState,
    project_id: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
}

impl From<AgentView> for ProjectAgentJson {
    fn from(view: AgentView) -> Self {
        Self {
            id: view.agent_id,
            name: display_name(&view.human_name, &view.role_type),
            human_name: view.human_name,
            role_type: view.role_type,
            status: view.state,
            project_id: view.project_id,
            created_at: view.created_at,
        }
    }
}

/// An agent in the overview of health.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct AgentHealthJson {
    #[schema(value_type = String, format = Uuid)]
    agent_id: AgentId,
    /// As `state` of an agent.
    #[schema(value_type = String, example = "idle", extensions(("x-enum" = json!(AgentState::words()))))]
    status: AgentState,
    #[schema(value_type = Option<String>, format = Uuid)]
    process_id: Option<ProcessId>,
    role_type: String,
}

impl From<AgentView> for AgentHealthJson {
    fn from(view: AgentView) -> Self {
        Self { agent_id: view.agent_id, status: view.state, process_id: view.process_id, role_type: view.role_type }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use muster_domain::Activity;

    use super::*;
    use crate::body::parse;

    pub(crate) fn agent(state: AgentState) -> AgentView {
        AgentView {
            agent_id: AgentId::generate(),
            human_name: "Ada Brook".to_owned(),
            role_type: "business_analyst".to_owned(),
            project_id: "shop".to_owned(),
            pool_name: "business_analyst_pool".parse().expect("a name"),
            process_id: Some(ProcessId::generate()),
            pid: Some(7),
            state,
            reason: None,
            epoch: 2,
            restarts: 1,
            last_ending: Some(Ending::new(Cause::Signaled { signal: 9 }, Timestamp::from_millis(0))),
            heartbeat_interval: Duration::from_secs(30),
            max_idle_time: Duration::from_millis(1500),
            created_at: Timestamp::from_millis(1_763_695_200_123),
        }
    }

    #[test]
    fn an_agent_reads_as_promised() {
        let view = agent(AgentState::Running(Activity::Idle));
        let json = serde_json::to_value(AgentJson::from(view.clone())).expect("an object");
        assert_eq!(json["agent_id"], view.agent_id.to_string());
        assert_eq!(json["display_name"], "Ada Brook (business analyst)");
        assert_eq!(json["state"], "idle");
        assert_eq!(json["created_at"], "2025-11-21T03:20:00.123Z");
        assert_eq!(json["last_ending"]["summary"], "was ended by signal 9");
        assert_eq!(json["last_ending"]["cause"], serde_json::json!({"kind": "signaled", "signal": 9}));
        assert_eq!(json["heartbeat_interval"], 30);
        for field in ["human_name", "role_type", "project_id", "pool_name", "process_id", "pid", "epoch", "restarts"] {
            assert!(!json[field].is_null(), "{field}");
        }
    }

    #[test]
    fn a_spawn_becomes_a_request() {
        let body = r#"{"project_id": "shop", "role_type": "developer", "pool_name": "developer_pool",
                       "heartbeat_interval": 30, "max_idle_time": 1.5}"#;
        let request = parse::<SpawnBody>(body.as_bytes()).expect("a body").request(None).expect("a request");
        assert_eq!(request.pool_name.as_str(), "developer_pool");
        assert_eq!(request.max_idle_time, Some(Duration::from_millis(1500)));
        let body = r#"{"project_id": "shop", "role_type": "developer", "pool_name": "p", "max_idle_time": null}"#;
        let request = parse::<SpawnBody>(body.as_bytes()).expect("a body").request(None).expect("a request");
        assert_eq!((request.max_idle_time, request.heartbeat_interval), (None, None));
    }

    #[test]
    fn a_spawn_with_bad_values_is_refused() {
        let rows = [
            (r#""project_id": "a\u0000", "pool_name": "p""#, "invalid_field"),
            (r#""project_id": "a", "pool_name": "p", "max_idle_time": -0.5"#, "invalid_field"),
            (r#""project_id": "a", "pool_name": "p", "heartbeat_interval": 1e300"#, "invalid_field"),
            (r#""project_id": "a", "pool_name": "P P""#, "unknown_pool"),
            (r#""project_id": "a", "pool_name": "p", "command": ["sh"]"#, "invalid_field"),
            (r#""project_id": 7, "pool_name": "p""#, "invalid_field"),
        ];
        for (fields, code) in rows {
            let text = format!(r#"{{"role_type": "developer", {fields}}}"#);
            let refused = parse::<SpawnBody>(text.as_bytes()).and_then(|body| body.request(None));
            assert_eq!(refused.expect_err(&text).code(), code, "{text}");
        }
    }

    #[test]
    fn terminating_is_graceful_unless_said_otherwise() {
        let body: TerminateBody = parse(br#"{"agent_id": "x"}"#).expect("a body");
        assert!(body.graceful && body.pool_name.is_none());
        let json = serde_json::to_value(TerminatedJson::from(agent(AgentState::Terminated))).expect("an object");
        assert_eq!(json["message"], "Ada Brook (business analyst) is terminated");
    }
}
