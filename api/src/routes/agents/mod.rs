//! Agents: they are listed and shown, and run again; the other routes about them have a file each.

mod bulk;
mod health;
mod logs;
mod project;
mod spawn;
mod terminate;

use axum::Json;
use axum::http::StatusCode;
use axum::response::IntoResponse;
use muster_domain::{AgentId, AgentState};
use muster_supervisor::{AgentQuery, AgentView, Agents};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::Routes;
use crate::json::page;
use crate::json::some_of;
use crate::principal::Leader;
use crate::problem::Problem;
use crate::query::{AgentPath, MAX_PAGE, StrictQuery, WaitQuery, page_limit, page_start, pool_name};

pub(super) fn routes() -> Routes {
    Routes::new()
        .routes(routes!(list))
        .routes(routes!(get))
        .routes(routes!(restart))
        .merge(spawn::routes())
        .merge(terminate::routes())
        .merge(project::routes())
        .merge(logs::routes())
        .merge(health::routes())
        .merge(bulk::routes())
}

/// Which agents to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct AgentListQuery {
    /// Only this pool's.
    pool_name: Option<String>,
    /// Only this project's.
    project_id: Option<String>,
    /// Only those in this state, or in one of several with commas between them.
    #[param(schema_with = some_of::<AgentState>)]
    state: Option<String>,
    /// At most this many, 1 to 1000. Default 100.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    #[param(format = Uuid)]
    cursor: Option<String>,
}

impl AgentListQuery {
    fn query(self) -> Result<AgentQuery, Problem> {
        let words = self.state.as_deref().into_iter().flat_map(|text| text.split(','));
        let states: Result<Vec<AgentState>, String> = words.map(str::parse).collect();
        Ok(AgentQuery {
            pool: self.pool_name.as_deref().map(pool_name).transpose()?,
            project: self.project_id,
            states: states.map_err(|words| Problem::invalid_parameter("state", words))?,
            after: page_start(self.cursor.as_deref())?,
            limit: page_limit(self.limit, MAX_PAGE)?,
        })
    }
}

page! {
    /// One page of agents.
    AgentPage of AgentView, from AgentId
}

/// Lists agents in the order in which they were asked for, those that ended included
#[utoipa::path(get, path = "/api/v1/agents", tag = "agents", params(AgentListQuery), responses(
    (status = 200, description = "One page", body = AgentPage),
    (status = 404, description = "There is no such pool (`unknown_pool`), and no agent of it is kept"),
    (status = 422, description = "A parameter is wrong (`invalid_parameter`)"),
))]
async fn list(
    Leader(caller): Leader,
    StrictQuery(query): StrictQuery<AgentListQuery>,
) -> Result<Json<AgentPage>, Problem> {
    Ok(Json(caller.agents()?.list(query.query()?).await?.into()))
}

/// Shows an agent
#[utoipa::path(get, path = "/api/v1/agents/{agent_id}", tag = "agents",
    params(AgentPath),
    responses(
        (status = 200, description = "The agent", body = AgentView),
        (status = 404, description = "There is no such agent (`unknown_agent`)"),
    ))]
async fn get(Leader(caller): Leader, agent: AgentPath) -> Result<Json<AgentView>, Problem> {
    Ok(Json(caller.agents()?.get(agent.id()?).await?))
}

/// Restarts an agent: 200 when it runs again, 202 before.
pub(super) async fn run_again(
    agents: &Agents,
    agent: AgentId,
    wait: &WaitQuery,
) -> Result<(StatusCode, AgentView), Problem> {
    let view = agents.restart(agent, wait.duration()?).await?;
    let status = if view.state.is_running() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, view))
}

/// Restarts an agent; releases one in quarantine
#[utoipa::path(post, path = "/api/v1/agents/{agent_id}/restart", tag = "agents",
    params(AgentPath, WaitQuery),
    responses(
        (status = 200, description = "The agent runs again", body = AgentView),
        (status = 202, description = "It is to run again, and did not within `wait`", body = AgentView),
        (status = 404, description = "There is no such agent (`unknown_agent`)"),
        (status = 409, description = "It was terminated (`wrong_state`)"),
        (status = 422, description = "A parameter is wrong (`invalid_parameter`)"),
    ))]
async fn restart(
    Leader(caller): Leader,
    agent: AgentPath,
    StrictQuery(wait): StrictQuery<WaitQuery>,
) -> Result<impl IntoResponse, Problem> {
    let agents = caller.agents()?;
    let (status, answer) = run_again(&agents, agent.id()?, &wait).await?;
    Ok((status, Json(answer)))
}

/// Every agent that fits, page by page.
pub(super) async fn every(agents: &Agents, mut query: AgentQuery) -> Result<Vec<AgentView>, Problem> {
    query.limit = MAX_PAGE;
    let mut all = Vec::new();
    loop {
        let page = agents.list(query.clone()).await?;
        all.extend(page.items);
        match page.next {
            Some(_) if page.next == query.after => return Ok(all),
            Some(next) => query.after = Some(next),
            None => return Ok(all),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::routes::tests::agent;
    use axum::extract::Query;
    use muster_domain::Activity;

    fn query(text: &str) -> Result<AgentQuery, Problem> {
        let uri = format!("/x?{text}").parse().expect("a URI");
        Query::<AgentListQuery>::try_from_uri(&uri).expect("a query").0.query()
    }

    #[test]
    fn a_list_is_asked_for_within_bounds() {
        assert_eq!(query("").expect("all").limit, 100);
        let id = AgentId::generate();
        let asked = query(&format!("pool_name=p&project_id=a%20b&state=idle&limit=1000&cursor={id}")).expect("a query");
        assert_eq!(
            (asked.limit, asked.after, asked.states),
            (1000, Some(id), vec![AgentState::Running(Activity::Idle)])
        );
        assert_eq!(
            query("state=idle,busy").expect("two").states,
            [AgentState::Running(Activity::Idle), AgentState::Running(Activity::Busy)]
        );
        assert_eq!(asked.project.as_deref(), Some("a b"));
        for (text, code) in [
            ("limit=0", "invalid_parameter"),
            ("limit=1001", "invalid_parameter"),
            ("state=asleep", "invalid_parameter"),
            ("state=idle,", "invalid_parameter"),
            ("cursor=17", "invalid_parameter"),
            ("pool_name=No%20Pool", "unknown_pool"),
        ] {
            assert_eq!(query(text).expect_err(text).code(), code, "{text}");
        }
        assert!(query("state=asleep").expect_err("no state").detail().contains("quarantined"));
    }

    #[test]
    fn an_agent_reads_as_promised() {
        let view = agent(AgentState::Running(Activity::Idle));
        let json = serde_json::to_value(view.clone()).expect("an object");
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
}
