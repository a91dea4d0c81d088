//! Agents by pool.

use std::collections::BTreeMap;

use axum::Json;
use muster_domain::{AgentId, AgentState, ProcessId, Words};
use muster_supervisor::{AgentQuery, AgentView};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::every;
use crate::principal::Leader;
use crate::problem::Problem;
use crate::routes::Routes;

pub(super) fn routes() -> Routes {
    Routes::new().routes(routes!(agents))
}

/// The states of agents that have not ended, question by question: one that moves on between two questions is found by the
/// later one, and `Spawning` comes again for those that were restarted meanwhile.
fn not_ended() -> [Vec<AgentState>; 3] {
    [AgentState::live().collect(), AgentState::kept_for_person().collect(), vec![AgentState::Spawning]]
}

/// An agent in the overview of health.
// Not the view of an agent: its fields have other names here, by promise.
#[derive(Debug, Serialize, ToSchema)]
struct AgentHealthJson {
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

/// Shows every agent that has not ended, by pool
#[utoipa::path(get, path = "/api/v1/agents/health", tag = "watching", responses(
    (status = 200, description = "Each pool with its agents", body = BTreeMap<String, Vec<AgentHealthJson>>),
))]
async fn agents(Leader(caller): Leader) -> Result<Json<BTreeMap<String, Vec<AgentHealthJson>>>, Problem> {
    let pools = caller.pools()?.list().await.into_iter().map(|pool| pool.pool_name.to_string());
    let mut seen = BTreeMap::new();
    let agents = caller.agents()?;
    for states in not_ended() {
        let query = AgentQuery { states, ..AgentQuery::default() };
        seen.extend(every(&agents, query).await?.into_iter().map(|agent| (agent.agent_id, agent)));
    }
    Ok(Json(by_pool(pools, seen)))
}

fn by_pool(
    pools: impl Iterator<Item = String>,
    agents: BTreeMap<AgentId, AgentView>,
) -> BTreeMap<String, Vec<AgentHealthJson>> {
    let mut answer: BTreeMap<String, Vec<AgentHealthJson>> = pools.map(|pool| (pool, Vec::new())).collect();
    for agent in agents.into_values() {
        answer.entry(agent.pool_name.to_string()).or_default().push(agent.into());
    }
    answer
}

#[cfg(test)]
mod tests {
    use muster_domain::Activity;

    use super::*;
    use crate::routes::tests::agent;

    #[test]
    fn a_pool_without_agents_is_shown_too() {
        let view = agent(AgentState::Running(Activity::Idle));
        let pools = ["business_analyst_pool", "developer_pool"].map(str::to_owned).into_iter();
        let answer = by_pool(pools, BTreeMap::from([(view.agent_id, view.clone())]));
        let json = serde_json::to_value(answer).expect("an object");
        assert_eq!(json["developer_pool"], serde_json::json!([]));
        assert_eq!(json["business_analyst_pool"][0]["agent_id"], view.agent_id.to_string());
        assert_eq!(json["business_analyst_pool"][0]["status"], "idle");
    }
}
