//! Agents by pool.

use std::collections::BTreeMap;

use axum::Json;
use muster_domain::{AgentId, PoolName};
use muster_supervisor::{AgentHealthView, Page};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use crate::json::page;
use crate::principal::Leader;
use crate::problem::Problem;
use crate::query::{MAX_PAGE, StrictQuery, page_limit, page_start};
use crate::routes::Routes;

pub(super) fn routes() -> Routes {
    Routes::new().routes(routes!(agents))
}

/// Whether all are shown, or a page of them.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AgentHealthQuery {
    /// A page of at most this many, 1 to 1000. Default: with `cursor` 100, without it all agents by pool.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[param(format = Uuid)]
    cursor: Option<String>,
}

/// All agents by pool, or a page of them.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum AgentHealthAnswer {
    /// Each pool with all of its agents.
    #[schema(value_type = BTreeMap<String, Vec<AgentHealthView>>)]
    All(BTreeMap<PoolName, Vec<AgentHealthView>>),
    /// With `limit` or `cursor`.
    Page(AgentHealthPage),
}

page! {
    /// One page of the agents of all pools, the oldest first.
    AgentHealthPage of AgentOfPool, from AgentId
}

/// An agent in a page of them.
#[derive(Debug, Serialize, ToSchema)]
struct AgentOfPool {
    /// Its pool.
    #[schema(value_type = String)]
    pool_name: PoolName,
    #[serde(flatten)]
    agent: AgentHealthView,
}

/// Shows every agent that has not ended, by pool
#[utoipa::path(get, path = "/api/v1/agents/health", tag = "watching", params(AgentHealthQuery), responses(
    (status = 200, description = "Each pool with its agents; with `limit` or `cursor` a page of them", body = AgentHealthAnswer),
    (status = 422, description = "A parameter is wrong (`invalid_parameter`)"),
))]
async fn agents(
    Leader(caller): Leader,
    StrictQuery(query): StrictQuery<AgentHealthQuery>,
) -> Result<Json<AgentHealthAnswer>, Problem> {
    let agents = caller.agents()?;
    if query.limit.is_none() && query.cursor.is_none() {
        return Ok(Json(AgentHealthAnswer::All(agents.health(None, usize::MAX).await)));
    }
    let (limit, after) = (page_limit(query.limit, MAX_PAGE)? as usize, page_start(query.cursor.as_deref())?);
    // One more than asked for tells whether there is another page.
    let found = agents.health(after, limit + 1).await;
    Ok(Json(AgentHealthAnswer::Page(page_of(found, limit))))
}

fn page_of(pools: BTreeMap<PoolName, Vec<AgentHealthView>>, limit: usize) -> AgentHealthPage {
    let of_pool = |(pool_name, agents): (PoolName, Vec<AgentHealthView>)| {
        agents.into_iter().map(move |agent| AgentOfPool { pool_name: pool_name.clone(), agent })
    };
    let mut items: Vec<AgentOfPool> = pools.into_iter().flat_map(of_pool).collect();
    items.sort_unstable_by_key(|item| item.agent.agent_id);
    let more = items.len() > limit;
    items.truncate(limit);
    let next = items.last().filter(|_| more).map(|item| item.agent.agent_id);
    Page { items, next }.into()
}

#[cfg(test)]
mod tests {
    use muster_domain::{Activity, AgentState};
    use serde_json::json;

    use super::*;

    fn agent() -> AgentHealthView {
        AgentHealthView {
            agent_id: AgentId::generate(),
            status: AgentState::Running(Activity::Idle),
            process_id: None,
            role_type: "developer".to_owned(),
        }
    }

    fn name(name: &str) -> PoolName {
        name.parse().expect("a name")
    }

    #[test]
    fn all_are_told_by_pool_one_without_agents_too() {
        let agent = agent();
        let pools = BTreeMap::from([(name("analysts"), vec![agent.clone()]), (name("developers"), Vec::new())]);
        let json = serde_json::to_value(AgentHealthAnswer::All(pools)).expect("an object");
        let told = json!({"agent_id": agent.agent_id, "status": "idle", "process_id": null, "role_type": "developer"});
        assert_eq!(json, json!({"analysts": [told], "developers": []}));
    }

    #[test]
    fn a_page_goes_over_the_pools_by_age_and_says_where_the_next_begins() {
        let [first, second, third] = [agent(), agent(), agent()];
        let pools =
            || BTreeMap::from([(name("a"), vec![first.clone(), third.clone()]), (name("b"), vec![second.clone()])]);
        let page = page_of(pools(), 2);
        let ids: Vec<AgentId> = page.items.iter().map(|item| item.agent.agent_id).collect();
        assert_eq!((ids, page.next_cursor), (vec![first.agent_id, second.agent_id], Some(second.agent_id)));
        let json = serde_json::to_value(&page).expect("an object");
        assert_eq!((&json["items"][1]["pool_name"], &json["items"][1]["status"]), (&json!("b"), &json!("idle")));
        assert_eq!(page_of(pools(), 3).next_cursor, None);
    }
}
