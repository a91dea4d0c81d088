//! Agents.

use std::time::Duration;

use muster_domain::time::seconds;
use muster_domain::{AgentId, AgentState, Cause, Ending, PoolName, ProcessId, Timestamp, Words};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

/// An agent.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = AgentJson)]
pub struct AgentView {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    pub agent_id: AgentId,
    /// Its name for people.
    #[schema(example = "Ada Brook")]
    pub human_name: String,
    /// Its name and role.
    #[schema(example = "Ada Brook (developer)")]
    pub display_name: String,
    /// Its role.
    pub role_type: String,
    /// Its project.
    pub project_id: String,
    /// Its pool.
    #[schema(value_type = String)]
    pub pool_name: PoolName,
    /// The worker that holds it, where one does.
    #[schema(value_type = Option<String>, format = Uuid)]
    pub process_id: Option<ProcessId>,
    /// The pid of its program, where that is known.
    pub pid: Option<u32>,
    /// How it is.
    #[schema(value_type = String, example = "idle", extensions(("x-enum" = json!(AgentState::words()))))]
    pub state: AgentState,
    /// Why it is in that state, where there is something to say.
    pub reason: Option<String>,
    /// The number of its latest assignment to a worker.
    pub epoch: u64,
    /// How often it was started again over its life, whatever the reason: its end, the loss of its worker, a request, or a
    /// stop and start of the supervisor.
    pub restarts: u64,
    /// How its latest run ended, where one did.
    #[serde(serialize_with = "ending")]
    #[schema(value_type = Option<EndingView>)]
    pub last_ending: Option<Ending>,
    /// How old the registry's picture of it may be, in seconds.
    #[serde(with = "seconds")]
    #[schema(value_type = f64)]
    pub heartbeat_interval: Duration,
    /// Idle longer than this, in seconds, it ends.
    #[serde(with = "seconds")]
    #[schema(value_type = f64)]
    pub max_idle_time: Duration,
    /// When it was asked for.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: Timestamp,
}

/// An agent in the overview of health.
// Its fields have other names than those of an agent, by promise.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = AgentHealthJson)]
pub struct AgentHealthView {
    /// Its id.
    #[schema(value_type = String, format = Uuid)]
    pub agent_id: AgentId,
    /// As `state` of an agent.
    #[schema(value_type = String, example = "idle", extensions(("x-enum" = json!(AgentState::words()))))]
    pub status: AgentState,
    /// The worker that holds it, where one does.
    #[schema(value_type = Option<String>, format = Uuid)]
    pub process_id: Option<ProcessId>,
    /// Its role.
    pub role_type: String,
}

/// How a run ended.
// Not the domain's own type: the words are made here.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = EndingJson)]
pub struct EndingView {
    /// Why, in words.
    #[schema(example = "exited with code 1")]
    pub summary: String,
    /// Why, for programs.
    pub cause: Cause,
    /// What the program printed last.
    pub last_output: String,
    /// When it was noticed.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
}

impl From<Ending> for EndingView {
    fn from(ending: Ending) -> Self {
        let summary = ending.cause.to_string();
        Self { summary, cause: ending.cause, last_output: ending.last_output, at: ending.at }
    }
}

fn ending<S: Serializer>(ending: &Option<Ending>, serializer: S) -> Result<S::Ok, S::Error> {
    ending.clone().map(EndingView::from).serialize(serializer)
}
