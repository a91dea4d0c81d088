//! Pools.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::LOCATION;
use axum::response::IntoResponse;
use serde::Deserialize;
use utoipa::IntoParams;

use crate::body::{OptionalJson, StrictJson};
use crate::door::Leader;
use crate::json::{ChangePoolBody, CreatePoolBody, HoldBody, PoolJson};
use crate::problem::Problem;
use crate::query::{PathText, StrictQuery, pool_name};

/// Makes a pool
#[utoipa::path(post, path = "/api/v1/agents/pools", tag = "pools", request_body = CreatePoolBody, responses(
    (status = 201, description = "The pool", body = PoolJson),
    (status = 409, description = "The name is taken (`pool_exists`)"),
))]
pub(super) async fn create(
    Leader(handle): Leader,
    body: StrictJson<CreatePoolBody>,
) -> Result<impl IntoResponse, Problem> {
    let pool = PoolJson::from(handle.create_pool(body.value.request()?).await?);
    let location = [(LOCATION, format!("/api/v1/agents/pools/{}", pool.pool_name))];
    Ok((StatusCode::CREATED, location, Json(pool)))
}

/// Lists the pools
#[utoipa::path(get, path = "/api/v1/agents/pools", tag = "pools", responses(
    (status = 200, description = "Every pool", body = Vec<PoolJson>),
))]
pub(super) async fn list(Leader(handle): Leader) -> Result<Json<Vec<PoolJson>>, Problem> {
    Ok(Json(handle.pools().await?.into_iter().map(PoolJson::from).collect()))
}

/// Shows a pool
#[utoipa::path(get, path = "/api/v1/agents/pools/{pool_name}", tag = "pools",
    params(("pool_name" = String, Path, description = "The pool")),
    responses(
        (status = 200, description = "The pool", body = PoolJson),
        (status = 404, description = "There is no such pool (`unknown_pool`)"),
    ))]
pub(super) async fn get(Leader(handle): Leader, PathText(pool): PathText) -> Result<Json<PoolJson>, Problem> {
    Ok(Json(handle.pool(&pool_name(&pool)?).await?.into()))
}

/// Changes the bounds of a pool
#[utoipa::path(patch, path = "/api/v1/agents/pools/{pool_name}", tag = "pools", request_body = ChangePoolBody,
    params(("pool_name" = String, Path, description = "The pool")),
    responses(
        (status = 200, description = "The pool as it is now", body = PoolJson),
        (status = 404, description = "There is no such pool (`unknown_pool`)"),
        (status = 409, description = "It belongs to the configuration file (`pool_of_file`) or is being removed \
            (`pool_draining`)"),
    ))]
pub(super) async fn change(
    Leader(handle): Leader,
    PathText(pool): PathText,
    body: StrictJson<ChangePoolBody>,
) -> Result<Json<PoolJson>, Problem> {
    let patch = body.value.config.checked()?;
    let pool = handle.change_pool(&pool_name(&pool)?, &patch).await?;
    Ok(Json(pool.into()))
}

/// How a pool is removed.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct RemoveQuery {
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
    params(("pool_name" = String, Path, description = "The pool"), RemoveQuery),
    responses(
        (status = 204, description = "The pool is gone"),
        (status = 404, description = "There is no such pool (`unknown_pool`)"),
        (status = 409, description = "It belongs to the configuration file (`pool_of_file`)"),
        (status = 422, description = "A parameter is wrong (`invalid_parameter`)"),
    ))]
pub(super) async fn remove(
    Leader(handle): Leader,
    PathText(pool): PathText,
    StrictQuery(query): StrictQuery<RemoveQuery>,
) -> Result<StatusCode, Problem> {
    handle.remove_pool(&pool_name(&pool)?, query.graceful).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives no task of the pool to an agent until it is resumed; what runs goes on, and tasks are taken in all the same
#[utoipa::path(post, path = "/api/v1/agents/pools/{pool_name}/pause", tag = "pools",
    params(("pool_name" = String, Path, description = "The pool")),
    responses(
        (status = 200, description = "The pool as it is now", body = PoolJson),
        (status = 404, description = "There is no such pool (`unknown_pool`)"),
    ))]
pub(super) async fn pause(Leader(handle): Leader, PathText(pool): PathText) -> Result<Json<PoolJson>, Problem> {
    let pool = pool_name(&pool)?;
    handle.pause_pool(pool.clone()).await?;
    Ok(Json(handle.pool(&pool).await?.into()))
}

/// Ends a pause or a drain of the pool
#[utoipa::path(post, path = "/api/v1/agents/pools/{pool_name}/resume", tag = "pools",
    params(("pool_name" = String, Path, description = "The pool")),
    responses(
        (status = 200, description = "The pool as it is now", body = PoolJson),
        (status = 404, description = "There is no such pool (`unknown_pool`)"),
    ))]
pub(super) async fn resume(Leader(handle): Leader, PathText(pool): PathText) -> Result<Json<PoolJson>, Problem> {
    let pool = pool_name(&pool)?;
    handle.resume_pool(pool.clone()).await?;
    Ok(Json(handle.pool(&pool).await?.into()))
}

/// Takes no more tasks for the pool and gives none to its agents until it is resumed
#[utoipa::path(post, path = "/api/v1/agents/pools/{pool_name}/drain", tag = "pools",
    request_body = Option<HoldBody>, params(("pool_name" = String, Path, description = "The pool")),
    responses(
        (status = 200, description = "The pool as it is now", body = PoolJson),
        (status = 404, description = "There is no such pool (`unknown_pool`)"),
    ))]
pub(super) async fn drain(
    Leader(handle): Leader,
    PathText(pool): PathText,
    OptionalJson(body): OptionalJson<HoldBody>,
) -> Result<Json<PoolJson>, Problem> {
    let pool = pool_name(&pool)?;
    handle.drain_pool(pool.clone(), body.hand_back).await?;
    Ok(Json(handle.pool(&pool).await?.into()))
}
