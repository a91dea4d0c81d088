//! Starts an agent.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::IntoResponse;
use muster_supervisor::{AgentView, RequestKey, SpawnRequest, Spawned};
use serde::Deserialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::body::StrictJson;
use crate::json::{check_path_text, duration};
use crate::principal::Leader;
use crate::problem::Problem;
use crate::query::{KeyHeader, StrictQuery, WaitQuery, pool_name};
use crate::routes::Routes;

pub(super) fn routes() -> Routes {
    Routes::new().routes(routes!(spawn))
}

/// A wish for an agent.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SpawnBody {
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
    pub(super) fn request(self, key: Option<RequestKey>) -> Result<SpawnRequest, Problem> {
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

/// 201 for an agent that runs, 202 for one that is only wanted so far.
pub(super) fn spawned(spawned: Spawned) -> (StatusCode, AgentView) {
    match spawned {
        Spawned::Running(view) => (StatusCode::CREATED, view),
        Spawned::Accepted(view) => (StatusCode::ACCEPTED, view),
    }
}

/// Starts an agent
///
/// An `Idempotency-Key` (kept for 24 h) makes a repeated request answer as the first did.
#[utoipa::path(post, path = "/api/v1/agents/spawn", tag = "agents", request_body = SpawnBody,
    params(WaitQuery, ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters",
        min_length = 1, max_length = 255, pattern = "^[!-~]+$")),
    responses(
        (status = 201, description = "The agent runs", body = AgentView),
        (status = 202, description = "It is wanted, and did not run within `wait`: its state is `spawning`",
            body = AgentView),
        (status = 404, description = "There is no such pool (`unknown_pool`)"),
        (status = 409, description = "The role is not the pool's (`wrong_role`), or the pool is being removed \
            (`pool_draining`)"),
        (status = 429, description = "The pool is full (`pool_full`)"),
        (status = 502, description = "The agent's program failed to start (`start_failed`), with its exit and last \
            output"),
    ))]
async fn spawn(
    Leader(caller): Leader,
    StrictQuery(wait): StrictQuery<WaitQuery>,
    KeyHeader(key): KeyHeader,
    body: StrictJson<SpawnBody>,
) -> Result<impl IntoResponse, Problem> {
    let route = "POST /api/v1/agents/spawn".to_owned();
    let key = key.map(|key| RequestKey { route, key, body_hash: body.hash() });
    let request = body.value.request(key)?;
    let (status, agent) = spawned(caller.agents()?.spawn(request, wait.duration()?).await?);
    let location = [(LOCATION, format!("/api/v1/agents/{}", agent.agent_id))];
    Ok((status, location, Json(agent)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::body::parse;

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
}
