//! Figures and overviews.

use std::collections::BTreeMap;

use axum::Json;
use muster_domain::{AgentId, AgentState, Timestamp};
use muster_supervisor::{AgentQuery, AgentView, EndedQuery};
use serde::Deserialize;
use utoipa::IntoParams;

use super::agents::every;
use crate::door::Leader;
use crate::json::{AgentHealthJson, EndedProcessPage, MonitorJson, ProcessesJson};
use crate::problem::Problem;
use crate::query::{MAX_PAGE, StrictQuery, page_limit, page_start, pool_name};

/// The states of agents that have not ended, question by question: one that moves on between two questions is found by the
/// later one, and `Spawning` comes again for those that were restarted meanwhile.
fn not_ended() -> [Vec<AgentState>; 3] {
    [AgentState::live().collect(), AgentState::kept_for_person().collect(), vec![AgentState::Spawning]]
}

/// Shows every agent that has not ended, by pool
#[utoipa::path(get, path = "/api/v1/agents/health", tag = "watching", responses(
    (status = 200, description = "Each pool with its agents", body = BTreeMap<String, Vec<AgentHealthJson>>),
))]
pub(super) async fn agents(Leader(handle): Leader) -> Result<Json<BTreeMap<String, Vec<AgentHealthJson>>>, Problem> {
    let pools = handle.pools().await?.into_iter().map(|pool| pool.pool_name.to_string());
    let mut seen = BTreeMap::new();
    for states in not_ended() {
        let query = AgentQuery { states, ..AgentQuery::default() };
        seen.extend(every(&handle, query).await?.into_iter().map(|agent| (agent.agent_id, agent)));
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

/// Shows the system in figures
#[utoipa::path(get, path = "/api/v1/agents/monitor/system", tag = "watching", responses(
    (status = 200, description = "The figures", body = MonitorJson),
))]
pub(super) async fn system(Leader(handle): Leader) -> Json<MonitorJson> {
    Json(MonitorJson::new(handle.system().await, handle.executions().await, handle.alerts(), Timestamp::now()))
}

/// Shows the workers and what they hold and use
#[utoipa::path(get, path = "/api/v1/agents/metrics/processes", tag = "watching", responses(
    (status = 200, description = "The workers", body = ProcessesJson),
))]
pub(super) async fn processes(Leader(handle): Leader) -> Result<Json<ProcessesJson>, Problem> {
    Ok(Json(handle.workers(None).await?.into()))
}

/// Which of the workers that ended to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EndedListQuery {
    /// Only this pool's.
    pool_name: Option<String>,
    /// At most this many, 1 to 1000. Default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[param(format = Uuid)]
    cursor: Option<String>,
}

/// Lists workers that ended and how, the latest started first, for as long as ended agents are kept
#[utoipa::path(get, path = "/api/v1/agents/metrics/processes/ended", tag = "watching", params(EndedListQuery),
    responses(
        (status = 200, description = "One page", body = EndedProcessPage),
        (status = 404, description = "There is no such pool (`unknown_pool`), and no worker of it is kept"),
        (status = 422, description = "A parameter is wrong (`invalid_parameter`)"),
    ))]
pub(super) async fn ended_processes(
    Leader(handle): Leader,
    StrictQuery(query): StrictQuery<EndedListQuery>,
) -> Result<Json<EndedProcessPage>, Problem> {
    let pool = query.pool_name.as_deref().map(pool_name).transpose()?;
    let (before, limit) = (page_start(query.cursor.as_deref())?, page_limit(query.limit, MAX_PAGE)?);
    let page = handle.ended_workers(EndedQuery { pool: pool.clone(), before, limit }).await?;
    // Workers of a pool that was removed are kept for a while, so only one without any is unknown.
    if let (Some(pool), true) = (pool, page.items.is_empty()) {
        handle.pool(&pool).await?;
    }
    Ok(Json(page.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::json::tests_views::agent;

    #[test]
    fn a_pool_without_agents_is_shown_too() {
        let view = agent(AgentState::Idle);
        let pools = ["business_analyst_pool", "developer_pool"].map(str::to_owned).into_iter();
        let answer = by_pool(pools, BTreeMap::from([(view.agent_id, view.clone())]));
        let json = serde_json::to_value(answer).expect("an object");
        assert_eq!(json["developer_pool"], serde_json::json!([]));
        assert_eq!(json["business_analyst_pool"][0]["agent_id"], view.agent_id.to_string());
        assert_eq!(json["business_analyst_pool"][0]["status"], "idle");
    }
}
