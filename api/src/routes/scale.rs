//! How many workers a pool is to have; and a pool in the words of an earlier system, which calls it a cluster.

use axum::Json;
use muster_domain::PoolName;
use muster_supervisor::{Caller, PoolView, ScaleView};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::Routes;
use crate::body::StrictJson;
use crate::principal::Leader;
use crate::problem::Problem;
use crate::query::PoolPath;

pub(super) fn routes() -> Routes {
    Routes::new().routes(routes!(scale)).routes(routes!(cluster)).routes(routes!(scale_cluster))
}

/// How many workers.
#[derive(Clone, Copy, Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct ScaleBody {
    /// So many, within `min_workers` and `max_workers`; null releases the pool: its workers are started as agents need them.
    #[serde(deserialize_with = "said")]
    #[schema(required = true, maximum = 10000, example = 5)]
    target_workers: Option<u32>,
}

/// A number or null; one that is not there is an error.
fn said<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    Option::deserialize(deserializer)
}

/// A pool in the words of an earlier system.
#[derive(Debug, Serialize, ToSchema)]
struct ClusterJson {
    /// Its name.
    #[schema(value_type = String)]
    id: PoolName,
    #[serde(flatten)]
    scale: ScaleView,
}

impl From<PoolView> for ClusterJson {
    fn from(pool: PoolView) -> Self {
        Self { id: pool.pool_name, scale: pool.scale }
    }
}

/// Says how many workers a pool is to have from now on
///
/// They are started at once, and of those above the number the idlest leave: their idle agents that the pool started for tasks end, those of
/// people move to other workers where there is room. A worker with work stays until it is done. Agents that a pool starts for its tasks get
/// no worker past the number; a spawn by somebody else does, up to `max_workers`, and raises it. It holds over restarts until it is changed or
/// released; with policies that act it holds these for their longest cooldown, or 300 s. Pools of the configuration file too: it is no
/// change of their configuration.
#[utoipa::path(post, path = "/api/v1/agents/pools/{pool_name}/scale", tag = "pools", request_body = ScaleBody, params(PoolPath),
    responses(
        (status = 200, description = "The pool as it is now", body = PoolView),
        (status = 404, description = "There is no such pool (`unknown_pool`)"),
        (status = 422, description = "It is outside of `min_workers` and `max_workers` (`invalid_field`)"),
        (status = 409, description = "It is being removed (`pool_draining`)"),
    ))]
async fn scale(Leader(caller): Leader, pool: PoolPath, body: StrictJson<ScaleBody>) -> Result<Json<PoolView>, Problem> {
    scaled(&caller, &pool, body.value).await.map(Json)
}

/// Shows how many workers a pool has and is to have
#[utoipa::path(get, path = "/api/clusters/{pool_name}", tag = "pools", params(PoolPath), responses(
    (status = 200, description = "The pool", body = ClusterJson),
    (status = 404, description = "There is no such pool (`unknown_pool`)"),
))]
async fn cluster(Leader(caller): Leader, pool: PoolPath) -> Result<Json<ClusterJson>, Problem> {
    Ok(Json(caller.pools()?.get(&pool.id()?).await?.into()))
}

/// Does the same as `/api/v1/agents/pools/{pool_name}/scale`
#[utoipa::path(post, path = "/api/clusters/{pool_name}/scale", tag = "pools", request_body = ScaleBody, params(PoolPath),
    responses(
        (status = 200, description = "The pool as it is now", body = ClusterJson),
        (status = 404, description = "There is no such pool (`unknown_pool`)"),
        (status = 422, description = "It is outside of `min_workers` and `max_workers` (`invalid_field`)"),
        (status = 409, description = "It is being removed (`pool_draining`)"),
    ))]
async fn scale_cluster(
    Leader(caller): Leader,
    pool: PoolPath,
    body: StrictJson<ScaleBody>,
) -> Result<Json<ClusterJson>, Problem> {
    Ok(Json(scaled(&caller, &pool, body.value).await?.into()))
}

async fn scaled(caller: &Caller, pool: &PoolPath, body: ScaleBody) -> Result<PoolView, Problem> {
    Ok(caller.pools()?.scale(&pool.id()?, body.target_workers).await?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::body::parse;
    use crate::routes::tests::pool;

    #[test]
    fn a_number_or_null_is_said() {
        let target = |text: &str| parse::<ScaleBody>(text.as_bytes()).map(|body| body.target_workers).ok();
        assert_eq!(target(r#"{"target_workers": 5}"#), Some(Some(5)));
        assert_eq!(target(r#"{"target_workers": null}"#), Some(None));
        for wrong in ["{}", r#"{"target_workers": -1}"#, r#"{"target_workers": 1.5}"#, r#"{"target": 1}"#] {
            assert_eq!(target(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_cluster_is_a_pool_in_other_words() {
        let json = serde_json::to_value(ClusterJson::from(pool("p"))).expect("an object");
        let expected = json!({"id": "p", "status": "scaling_up", "current_workers": 2, "target_workers": 3, "min_workers": 0,
            "max_workers": 20, "load_percentage": 25.0, "health_score": 0.5, "held": null, "advising": false, "last_scaled_at": "1970-01-01T00:00:00.000Z"});
        assert_eq!(json, expected);
    }
}
