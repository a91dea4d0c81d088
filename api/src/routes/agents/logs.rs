//! What an agent printed, and its end.

use axum::body::Body;
use axum::http::StatusCode;
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use axum::response::IntoResponse;
use muster_domain::AgentId;
use muster_supervisor::{Agents, SupervisorError};
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use crate::logs::follow;
use crate::principal::Leader;
use crate::problem::Problem;
use crate::query::{AgentPath, StrictQuery};
use crate::routes::Routes;

pub(super) fn routes() -> Routes {
    Routes::new().routes(routes!(read))
}

/// How much of a log to read.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LogQuery {
    /// This many of the last lines, 0 to 10000. Default 100.
    #[param(minimum = 0, maximum = 10000)]
    tail: Option<usize>,
    /// Whether to go on with what is printed from then on, until the client goes or the agent has ended and is not
    /// started again by itself (`terminated` or `failed`). Default false.
    #[serde(default)]
    #[param(required = false)]
    follow: bool,
}

const MAX_LINES: usize = 10_000;

impl LogQuery {
    fn lines(&self) -> Result<usize, Problem> {
        match self.tail.unwrap_or(100) {
            lines if lines <= MAX_LINES => Ok(lines),
            lines => Err(Problem::invalid_parameter("tail", format!("tail is 0 to {MAX_LINES} lines, not {lines}"))),
        }
    }
}

/// Reads what an agent printed
///
/// A line is the time (RFC 3339), `out`, `err` or `end`, and the text. Empty where it printed nothing yet.
#[utoipa::path(get, path = "/api/v1/agents/{agent_id}/logs", tag = "agents",
    params(AgentPath, LogQuery),
    responses(
        (status = 200, description = "The lines", body = String, content_type = "text/plain"),
        (status = 404, description = "There is no such agent (`unknown_agent`)"),
        (status = 422, description = "A parameter is wrong (`invalid_parameter`)"),
    ))]
async fn read(
    Leader(caller): Leader,
    agent: AgentPath,
    StrictQuery(query): StrictQuery<LogQuery>,
) -> Result<impl IntoResponse, Problem> {
    let lines = query.lines()?;
    let (agents, agent) = (caller.agents()?, agent.id()?);
    let start = agents.log(agent).await?.tail(lines).await.map_err(|error| {
        tracing::error!(agent.id = %agent, %error, "the log of an agent can't be read");
        Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "log_unreadable", format!("the log can't be read: {error}"))
    })?;
    let body = if query.follow {
        Body::from_stream(follow(start, move || is_over(agents.clone(), agent), caller.shutdown_token()))
    } else {
        start.bytes.into()
    };
    // What an agent prints is no page, even where it looks like one.
    let headers =
        [(CONTENT_TYPE, "text/plain; charset=utf-8"), (X_CONTENT_TYPE_OPTIONS, "nosniff"), (CACHE_CONTROL, "no-store")];
    Ok((headers, body))
}

/// Whether the agent prints nothing more unless somebody starts it again.
async fn is_over(agents: Agents, agent: AgentId) -> bool {
    match agents.get(agent).await {
        Ok(view) => view.state.is_gone(),
        // Forgotten, some days after its end.
        Err(SupervisorError::UnknownAgent(_)) => true,
        // Nobody knows; whoever follows can wait.
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_has_a_bound() {
        let lines = |tail| LogQuery { tail, follow: false }.lines().map_err(|problem| problem.code());
        assert_eq!(lines(None), Ok(100));
        assert_eq!((lines(Some(0)), lines(Some(10_000))), (Ok(0), Ok(10_000)));
        assert_eq!(lines(Some(10_001)), Err("invalid_parameter"));
    }
}
