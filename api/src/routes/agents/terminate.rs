//! Ends an agent.

use axum::Json;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use muster_domain::{AgentId, AgentState, PoolName, Words};
use muster_supervisor::{AgentView, Agents};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::body::StrictJson;
use crate::principal::Leader;
use crate::problem::Problem;
use crate::query::{StrictQuery, WaitQuery, agent_id, pool_name};
use crate::routes::Routes;

pub(super) fn routes() -> Routes {
    Routes::new().routes(routes!(terminate))
}

/// A wish to end an agent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TerminateBody {
    /// Its pool. May be left out; where it is given, the agent must be of it.
    pool_name: Option<String>,
    /// The agent.
    #[schema(format = Uuid)]
    agent_id: String,
    /// Whether its program is asked first (SIGTERM) and killed only past its stop deadline. Default true.
    #[serde(default = "yes")]
    #[schema(default = true)]
    graceful: bool,
}

const fn yes() -> bool {
    true
}

/// What became of a wish to end an agent.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct TerminatedJson {
    /// The same in words.
    message: String,
    #[schema(value_type = String)]
    pool_name: PoolName,
    #[schema(value_type = String, format = Uuid)]
    agent_id: AgentId,
    /// `terminated` once its whole process tree is gone; `stopping` before.
    #[schema(value_type = String, example = "terminated", extensions(("x-enum" = json!(AgentState::words()))))]
    state: AgentState,
}

impl From<AgentView> for TerminatedJson {
    fn from(view: AgentView) -> Self {
        let message = format!("{} is {}", view.display_name, view.state);
        Self { message, pool_name: view.pool_name, agent_id: view.agent_id, state: view.state }
    }
}

/// Carries out a wish to end an agent: 200 when it is gone, 202 before.
pub(super) async fn end(
    agents: &Agents,
    body: TerminateBody,
    wait: &WaitQuery,
) -> Result<(StatusCode, TerminatedJson), Problem> {
    let pool = body.pool_name.as_deref().map(pool_name).transpose()?;
    let view = agents.terminate(pool, agent_id(&body.agent_id)?, body.graceful, wait.duration()?).await?;
    let status = if view.state == AgentState::Stopping { StatusCode::ACCEPTED } else { StatusCode::OK };
    Ok((status, view.into()))
}

/// Ends an agent; answers when its process tree is gone
///
/// Ending it twice is no error.
#[utoipa::path(post, path = "/api/v1/agents/terminate", tag = "agents", request_body = TerminateBody,
    params(WaitQuery),
    responses(
        (status = 200, description = "The agent is gone", body = TerminatedJson),
        (status = 202, description = "It was told to end, and was not gone within `wait`", body = TerminatedJson),
        (status = 404, description = "There is no such agent (`unknown_agent`) or pool (`unknown_pool`)"),
    ))]
async fn terminate(
    Leader(caller): Leader,
    StrictQuery(wait): StrictQuery<WaitQuery>,
    body: StrictJson<TerminateBody>,
) -> Result<impl IntoResponse, Problem> {
    let (status, answer) = end(&caller.agents()?, body.value, &wait).await?;
    Ok((status, Json(answer)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::parse;
    use crate::routes::tests::agent;

    #[test]
    fn terminating_is_graceful_unless_said_otherwise() {
        let body: TerminateBody = parse(br#"{"agent_id": "x"}"#).expect("a body");
        assert!(body.graceful && body.pool_name.is_none());
        let json = serde_json::to_value(TerminatedJson::from(agent(AgentState::Terminated))).expect("an object");
        assert_eq!(json["message"], "Ada Brook (business analyst) is terminated");
    }
}
