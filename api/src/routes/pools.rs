//! Pools.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::IntoResponse;
use muster_domain::{PoolConfig, PoolName};
use muster_supervisor::{NewPool, PoolView, Pools};
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use super::Routes;
use super::system::HoldBody;
use crate::body::{OptionalJson, StrictJson};
use crate::json::{ConfigPatch, check_text};
use crate::principal::Leader;
use crate::problem::Problem;
use crate::query::{PoolPath, StrictQuery};

pub(super) fn routes() -> Routes {
    Routes::new()
        .routes(routes!(create, list))
        .routes(routes!(get, change, remove))
        .routes(routes!(pause))
        .routes(routes!(resume))
        .routes(routes!(drain))
}

/// A new pool.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct CreatePoolBody {
    /// The role of its agents, e.g. `developer`: 1 to 64 characters without control characters.
    #[schema(min_length = 1, max_length = 64, example = "reviewer")]
    role_type: String,
    /// Its name: 1 to 64 characters of a-z, 0-9, '-' and '_'.
    #[schema(pattern = "^[a-z0-9_-]{1,64}$", example = "reviewer_pool")]
    pool_name: String,
    /// What its agents run: a runtime profile of the configuration. Default `echo`.
    runtime: Option<String>,
    /// Its bounds; what is left out has its default.
    config: Option<ConfigPatch>,
}

impl CreatePoolBody {
    /// The pool in the supervisor's words.
    fn request(self) -> Result<NewPool, Problem> {
        check_text("role_type", &self.role_type)?;
        let pool_name = self
            .pool_name
            .parse::<PoolName>()
            .map_err(|error| Problem::invalid_field("pool_name", error.to_string()))?;
        let config = self.config.unwrap_or_default().applied(&PoolConfig::default())?;
        Ok(NewPool { pool_name, role_type: self.role_type, runtime: self.runtime, config })
    }
}

/// Makes a pool
#[utoipa::path(post, path = "/api/v1/agents/pools", tag = "pools", request_body = CreatePoolBody, responses(
    (status = 201, description = "The pool", body = PoolView),
    (status = 409, description = "The name is taken (`pool_exists`)"),
))]
async fn create(Leader(caller): Leader, body: StrictJson<CreatePoolBody>) -> Result<impl IntoResponse, Problem> {
    let pool = caller.pools()?.create(body.value.request()?).await?;
    let location = [(LOCATION, format!("/api/v1/agents/pools/{}", pool.pool_name))];
    Ok((StatusCode::CREATED, location, Json(pool)))
}

/// Lists the pools
#[utoipa::path(get, path = "/api/v1/agents/pools", tag = "pools", responses(
    (status = 200, description = "Every pool", body = Vec<PoolView>),
))]
async fn list(Leader(caller): Leader) -> Result<Json<Vec<PoolView>>, Problem> {
    Ok(Json(caller.pools()?.list().await))
}

/// Shows a pool
#[utoipa::path(get, path = "/api/v1/agents/pools/{pool_name}", tag = "pools",
    params(PoolPath),
    responses(
        (status = 200, description = "The pool", body = PoolView),
        (status = 404, description = "There is no such pool (`unknown_pool`)"),
    ))]
async fn get(Leader(caller): Leader, pool: PoolPath) -> Result<Json<PoolView>, Problem> {
    Ok(Json(caller.pools()?.get(&pool.id()?).await?))
}

/// A change of a pool.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ChangePoolBody {
    /// The bounds to change: a JSON merge patch (RFC 7396). What is left out stays as it is, and null is back to the default.
    pub(crate) config: ConfigPatch,
}

/// Changes the bounds of a pool
#[utoipa::path(patch, path = "/api/v1/agents/pools/{pool_name}", tag = "pools", request_body = ChangePoolBody,
    params(PoolPath),
    responses(
        (status = 200, description = "The pool as it is now", body = PoolView),
        (status = 404, description = "There is no such pool (`unknown_pool`)"),
        (status = 409, description = "It belongs to the configuration file (`pool_of_file`) or is being removed \
            (`pool_draining`)"),
    ))]
async fn change(
    Leader(caller): Leader,
    pool: PoolPath,
    body: StrictJson<ChangePoolBody>,
) -> Result<Json<PoolView>, Problem> {
    let patch = body.value.config.checked()?;
    let pool = caller.pools()?.change(&pool.id()?, &patch).await?;
    Ok(Json(pool))
}

/// How a pool is removed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
struct RemoveQuery {
    /// Whether its agents are asked to end (default) or killed (false).
    #[serde(default = "yes")]
    #[param(required = false)]
    graceful: bool,
}

const fn yes() -> bool {
    true
}

/// Removes a pool with its agents; answers when it is gone
#[utoipa::path(delete, path = "/api/v1/agents/pools/{pool_name}", tag = "pools",
    params(PoolPath, RemoveQuery),
    responses(
        (status = 204, description = "The pool is gone"),
        (status = 404, description = "There is no such pool (`unknown_pool`)"),
        (status = 409, description = "It belongs to the configuration file (`pool_of_file`)"),
        (status = 422, description = "A parameter is wrong (`invalid_parameter`)"),
    ))]
async fn remove(
    Leader(caller): Leader,
    pool: PoolPath,
    StrictQuery(query): StrictQuery<RemoveQuery>,
) -> Result<StatusCode, Problem> {
    caller.pools()?.remove(&pool.id()?, query.graceful).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// The pool as it is when its keeper is through the turn that changed it: the answer to a change is from the middle of it.
async fn after_turn(pools: &Pools, pool: &PoolName) -> Result<Json<PoolView>, Problem> {
    Ok(Json(pools.get(pool).await?))
}

/// Gives no task of the pool to an agent until it is resumed; what runs goes on, and tasks are taken in all the same
#[utoipa::path(post, path = "/api/v1/agents/pools/{pool_name}/pause", tag = "pools",
    params(PoolPath),
    responses(
        (status = 200, description = "The pool as it is now", body = PoolView),
        (status = 404, description = "There is no such pool (`unknown_pool`)"),
    ))]
async fn pause(Leader(caller): Leader, pool: PoolPath) -> Result<Json<PoolView>, Problem> {
    let (pools, pool) = (caller.pools()?, pool.id()?);
    pools.pause(pool.clone()).await?;
    after_turn(&pools, &pool).await
}

/// Ends a pause or a drain of the pool
#[utoipa::path(post, path = "/api/v1/agents/pools/{pool_name}/resume", tag = "pools",
    params(PoolPath),
    responses(
        (status = 200, description = "The pool as it is now", body = PoolView),
        (status = 404, description = "There is no such pool (`unknown_pool`)"),
    ))]
async fn resume(Leader(caller): Leader, pool: PoolPath) -> Result<Json<PoolView>, Problem> {
    let (pools, pool) = (caller.pools()?, pool.id()?);
    pools.resume(pool.clone()).await?;
    after_turn(&pools, &pool).await
}

/// Takes no more tasks for the pool and gives none to its agents until it is resumed
#[utoipa::path(post, path = "/api/v1/agents/pools/{pool_name}/drain", tag = "pools",
    request_body = Option<HoldBody>, params(PoolPath),
    responses(
        (status = 200, description = "The pool as it is now", body = PoolView),
        (status = 404, description = "There is no such pool (`unknown_pool`)"),
    ))]
async fn drain(
    Leader(caller): Leader,
    pool: PoolPath,
    OptionalJson(body): OptionalJson<HoldBody>,
) -> Result<Json<PoolView>, Problem> {
    let (pools, pool) = (caller.pools()?, pool.id()?);
    pools.drain(pool.clone(), body.hand_back).await?;
    after_turn(&pools, &pool).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::parse;
    use crate::routes::tests::pool;

    #[test]
    fn a_pool_reads_as_promised() {
        let json = serde_json::to_value(pool("developer_pool")).expect("an object");
        for (field, value) in [
            ("process_count", 2.0),
            ("active_worker_processes", 2.0),
            ("total_capacity", 20.0),
            ("used_capacity", 15.0),
            ("available_capacity", 5.0),
            ("agent_count", 15.0),
            ("utilization", 0.75),
            ("total_workers_spawned", 3.0),
            ("total_workers_terminated", 1.0),
            ("manager_uptime_seconds", 12.5),
        ] {
            assert_eq!(json[field].as_f64(), Some(value), "{field}");
        }
        assert_eq!(
            (json["pool_name"].as_str(), json["role_type"].as_str()),
            (Some("developer_pool"), Some("developer"))
        );
        assert_eq!((json["paused"].as_bool(), json["intake_closed"].as_bool()), (Some(true), Some(false)));
        assert_eq!((&json["all_paused"], &json["breaker"]["state"]), (&false.into(), &"closed".into()));
        assert_eq!(json["config"]["worker_idle_timeout"], 300);
        assert_eq!(json["config"]["restart"]["kind"], "permanent");
    }

    #[test]
    fn a_new_pool_has_the_defaults_and_what_it_says() {
        let body: CreatePoolBody =
            parse(br#"{"role_type": "reviewer", "pool_name": "r", "config": {"max_agents": 2}}"#).expect("a pool");
        let pool = body.request().expect("a request");
        assert_eq!(pool.config, PoolConfig { max_agents: 2, ..PoolConfig::default() });
        assert_eq!(pool.runtime, None);
        for rest in ["", r#", "config": null"#, r#", "config": {}"#] {
            let body = format!(r#"{{"role_type": "reviewer", "pool_name": "r"{rest}}}"#);
            let pool = parse::<CreatePoolBody>(body.as_bytes()).expect("a pool").request().expect("a request");
            assert_eq!(pool.config, PoolConfig::default(), "{rest}");
        }
    }

    #[test]
    fn a_bad_pool_is_refused_by_name() {
        let rows = [
            (r#"{"role_type": "r", "pool_name": "No"}"#, "pool_name"),
            (r#"{"role_type": "a\nb", "pool_name": "p"}"#, "role_type"),
            (r#"{"role_type": "r", "pool_name": "p", "config": {"max_agents": 2.5}}"#, "config.max_agents"),
            (r#"{"role_type": "r", "pool_name": "p", "config": {"max_idle_time": -1}}"#, "config.max_idle_time"),
            (r#"{"role_type": "r", "pool_name": "p", "config": {"restart": {"kind": "x"}}}"#, "config.restart.kind"),
            (r#"{"role_type": "r", "pool_name": "p", "command": "sh"}"#, "command"),
        ];
        for (text, field) in rows {
            let refused = parse::<CreatePoolBody>(text.as_bytes()).and_then(CreatePoolBody::request).expect_err(text);
            let json = serde_json::to_value(&refused).expect("an object");
            assert_eq!(json["field"], field, "{json}");
        }
    }
}
