//! Agents.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::IntoResponse;
use muster_domain::AgentState;
use muster_supervisor::{AgentQuery, AgentView, Handle, Spawned};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use super::Routes;
use crate::body::StrictJson;
use crate::door::Leader;
use crate::json::{AgentJson, AgentPage, ProjectAgentJson, SpawnBody, TerminateBody, TerminatedJson, some_of};
use crate::problem::Problem;
use crate::query::{
    KeyHeader, MAX_PAGE, PathText, StrictQuery, WaitQuery, agent_id, page_limit, page_start, pool_name, project_id,
};

pub(super) fn routes() -> Routes {
    Routes::new()
        .routes(routes!(spawn))
        .routes(routes!(terminate))
        .routes(routes!(list))
        .routes(routes!(get))
        .routes(routes!(restart))
        .routes(routes!(of_project))
}

/// 201 for an agent that runs, 202 for one that is only wanted so far.
pub(super) fn spawned(spawned: Spawned) -> (StatusCode, AgentJson) {
    match spawned {
        Spawned::Running(view) => (StatusCode::CREATED, view.into()),
        Spawned::Accepted(view) => (StatusCode::ACCEPTED, view.into()),
    }
}

/// Starts an agent
///
/// An `Idempotency-Key` (kept for 24 h) makes a repeated request answer as the first did.
#[utoipa::path(post, path = "/api/v1/agents/spawn", tag = "agents", request_body = SpawnBody,
    params(WaitQuery, ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters",
        min_length = 1, max_length = 255, pattern = "^[!-~]+$")),
    responses(
        (status = 201, description = "The agent runs", body = AgentJson),
        (status = 202, description = "It is wanted, and did not run within `wait`: its state is `spawning`",
            body = AgentJson),
        (status = 404, description = "There is no such pool (`unknown_pool`)"),
        (status = 409, description = "The role is not the pool's (`wrong_role`), or the pool is being removed \
            (`pool_draining`)"),
        (status = 429, description = "The pool is full (`pool_full`)"),
        (status = 502, description = "The agent's program failed to start (`start_failed`), with its exit and last \
            output"),
    ))]
async fn spawn(
    Leader(handle): Leader,
    StrictQuery(wait): StrictQuery<WaitQuery>,
    header: KeyHeader,
    body: StrictJson<SpawnBody>,
) -> Result<impl IntoResponse, Problem> {
    let key = header.key.clone().map(|key| header.key_for("POST /api/v1/agents/spawn", key, body.hash()));
    let request = body.value.request(key)?;
    let (status, agent) = spawned(handle.spawn(request, wait.duration()?).await?);
    let location = [(LOCATION, format!("/api/v1/agents/{}", agent.agent_id))];
    Ok((status, location, Json(agent)))
}

/// Carries out a wish to end an agent: 200 when it is gone, 202 before.
pub(super) async fn end(
    handle: &Handle,
    body: TerminateBody,
    wait: &WaitQuery,
) -> Result<(StatusCode, TerminatedJson), Problem> {
    let pool = body.pool_name.as_deref().map(pool_name).transpose()?;
    let view = handle.terminate(pool, agent_id(&body.agent_id)?, body.graceful, wait.duration()?).await?;
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
    Leader(handle): Leader,
    StrictQuery(wait): StrictQuery<WaitQuery>,
    body: StrictJson<TerminateBody>,
) -> Result<impl IntoResponse, Problem> {
    let (status, answer) = end(&handle, body.value, &wait).await?;
    Ok((status, Json(answer)))
}

/// Which agents to list.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListQuery {
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

impl ListQuery {
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

/// Lists agents in the order in which they were asked for, those that ended included
#[utoipa::path(get, path = "/api/v1/agents", tag = "agents", params(ListQuery), responses(
    (status = 200, description = "One page", body = AgentPage),
    (status = 404, description = "There is no such pool (`unknown_pool`), and no agent of it is kept"),
    (status = 422, description = "A parameter is wrong (`invalid_parameter`)"),
))]
async fn list(Leader(handle): Leader, StrictQuery(query): StrictQuery<ListQuery>) -> Result<Json<AgentPage>, Problem> {
    let query = query.query()?;
    let pool = query.pool.clone();
    let page = handle.agents(query).await?;
    // Agents of a pool that was removed are kept for a while, so only one without any is unknown.
    if let (Some(pool), true) = (pool, page.items.is_empty()) {
        handle.pool(&pool).await?;
    }
    Ok(Json(page.into()))
}

/// Shows an agent
#[utoipa::path(get, path = "/api/v1/agents/{agent_id}", tag = "agents",
    params(("agent_id" = String, Path, description = "The agent", format = Uuid)),
    responses(
        (status = 200, description = "The agent", body = AgentJson),
        (status = 404, description = "There is no such agent (`unknown_agent`)"),
    ))]
async fn get(Leader(handle): Leader, PathText(agent): PathText) -> Result<Json<AgentJson>, Problem> {
    Ok(Json(handle.agent(agent_id(&agent)?).await?.into()))
}

/// Restarts an agent: 200 when it runs again, 202 before.
pub(super) async fn run_again(
    handle: &Handle,
    agent: &str,
    wait: &WaitQuery,
) -> Result<(StatusCode, AgentJson), Problem> {
    let view = handle.restart(agent_id(agent)?, wait.duration()?).await?;
    let status = if view.state.is_running() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, view.into()))
}

/// Restarts an agent; releases one in quarantine
#[utoipa::path(post, path = "/api/v1/agents/{agent_id}/restart", tag = "agents",
    params(("agent_id" = String, Path, description = "The agent", format = Uuid), WaitQuery),
    responses(
        (status = 200, description = "The agent runs again", body = AgentJson),
        (status = 202, description = "It is to run again, and did not within `wait`", body = AgentJson),
        (status = 404, description = "There is no such agent (`unknown_agent`)"),
        (status = 409, description = "It was terminated (`wrong_state`)"),
        (status = 422, description = "A parameter is wrong (`invalid_parameter`)"),
    ))]
async fn restart(
    Leader(handle): Leader,
    PathText(agent): PathText,
    StrictQuery(wait): StrictQuery<WaitQuery>,
) -> Result<impl IntoResponse, Problem> {
    let (status, answer) = run_again(&handle, &agent, &wait).await?;
    Ok((status, Json(answer)))
}

/// Every agent that fits, page by page.
pub(super) async fn every(handle: &Handle, mut query: AgentQuery) -> Result<Vec<AgentView>, Problem> {
    query.limit = MAX_PAGE;
    let mut all = Vec::new();
    loop {
        let page = handle.agents(query.clone()).await?;
        all.extend(page.items);
        match page.next {
            Some(_) if page.next == query.after => return Ok(all),
            Some(next) => query.after = Some(next),
            None => return Ok(all),
        }
    }
}

/// Lists the agents of a project, those that ended included
#[utoipa::path(get, path = "/api/v1/agents/project/{project_id}", tag = "agents",
    params(("project_id" = String, Path, description = "The project")),
    responses(
        (status = 200, description = "Its agents; none where nobody knows the project", body = Vec<ProjectAgentJson>),
        (status = 404, description = "No project can be named so (`unknown_project`)"),
    ))]
async fn of_project(
    Leader(handle): Leader,
    PathText(project): PathText,
) -> Result<Json<Vec<ProjectAgentJson>>, Problem> {
    let query = AgentQuery { project: Some(project_id(project)?), ..AgentQuery::default() };
    Ok(Json(every(&handle, query).await?.into_iter().map(ProjectAgentJson::from).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::extract::Query;
    use muster_domain::{Activity, AgentId};

    fn query(text: &str) -> Result<AgentQuery, Problem> {
        let uri = format!("/x?{text}").parse().expect("a URI");
        Query::<ListQuery>::try_from_uri(&uri).expect("a query").0.query()
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
}
