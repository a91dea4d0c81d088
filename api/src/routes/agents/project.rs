//! The agents of a project.

use axum::Json;
use muster_domain::{AgentId, AgentState, Timestamp, Words};
use muster_supervisor::{AgentQuery, AgentView};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::every;
use crate::principal::Leader;
use crate::problem::Problem;
use crate::query::{PathText, project_id};
use crate::routes::Routes;

pub(super) fn routes() -> Routes {
    Routes::new().routes(routes!(of_project))
}

/// An agent in the list of its project.
// Not the view of an agent: its fields have other names here, by promise.
#[derive(Debug, Serialize, ToSchema)]
struct ProjectAgentJson {
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
            name: view.display_name,
            human_name: view.human_name,
            role_type: view.role_type,
            status: view.state,
            project_id: view.project_id,
            created_at: view.created_at,
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
    Leader(caller): Leader,
    PathText(project): PathText,
) -> Result<Json<Vec<ProjectAgentJson>>, Problem> {
    let query = AgentQuery { project: Some(project_id(project)?), ..AgentQuery::default() };
    Ok(Json(every(&caller.agents()?, query).await?.into_iter().map(ProjectAgentJson::from).collect()))
}
