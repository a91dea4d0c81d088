//! Many wishes in one request. They go to the supervisor at the same time, so that it can carry them out as one batch.

use axum::Json;
use axum::http::StatusCode;
use futures_util::future::join_all;
use serde::de::DeserializeOwned;
use serde_json::Value;
use utoipa_axum::routes;

use super::Routes;
use super::agents::{end, run_again, spawned};
use crate::body::{StrictJson, parse_item};
use crate::door::Leader;
use crate::json::{
    AgentJson, BulkAnswer, BulkBody, BulkItem, BulkRestart, BulkSpawn, BulkTerminate, RestartItem, SpawnBody,
    TerminateBody,
};
use crate::problem::Problem;
use crate::query::{KeyHeader, StrictQuery, WaitQuery};

pub(super) fn routes() -> Routes {
    Routes::new().routes(routes!(spawn)).routes(routes!(terminate)).routes(routes!(restart))
}

/// Carries out one wish per item, all at the same time.
async fn each<B, I, O, F>(body: B, carry_out: impl Fn(usize, I) -> F) -> Result<Json<BulkAnswer>, Problem>
where
    B: BulkBody,
    I: DeserializeOwned,
    BulkItem: From<O>,
    F: Future<Output = Result<O, Problem>>,
{
    let one = |(index, item): (usize, Value)| {
        let wish = parse_item(item).map(|item| carry_out(index, item));
        async move {
            match wish {
                Ok(wish) => wish.await.map_or_else(|problem: Problem| problem.into(), BulkItem::from),
                Err(problem) => problem.into(),
            }
        }
    };
    let wishes: Vec<_> = body.items()?.into_iter().enumerate().map(one).collect();
    Ok(Json(BulkAnswer::new(join_all(wishes).await)))
}

/// Starts agents
///
/// With an `Idempotency-Key` a repeated request answers for each item as the first did.
#[utoipa::path(post, path = "/api/v1/agents/bulk/spawn", tag = "bulk", request_body = BulkSpawn,
    params(WaitQuery, ("Idempotency-Key" = Option<String>, Header, description = "1 to 255 visible ASCII characters",
        min_length = 1, max_length = 255, pattern = "^[!-~]+$")),
    responses((status = 200, description = "What became of each item", body = BulkAnswer)))]
async fn spawn(
    Leader(handle): Leader,
    StrictQuery(wait): StrictQuery<WaitQuery>,
    header: KeyHeader,
    body: StrictJson<BulkSpawn>,
) -> Result<Json<BulkAnswer>, Problem> {
    let wait = wait.duration()?;
    let body_hash = body.hash();
    // Each item is a request of its own to the store, so each has a key of its own, told apart by its place.
    let key_of = |index: usize| {
        let key = header.key.as_ref().map(|key| format!("{key}/{index}"))?;
        Some(header.key_for("POST /api/v1/agents/bulk/spawn", key, body_hash))
    };
    each(body.value, |index, item: SpawnBody| {
        let request = item.request(key_of(index));
        let handle = handle.clone();
        async move { Ok::<(StatusCode, AgentJson), Problem>(spawned(handle.spawn(request?, wait).await?)) }
    })
    .await
}

/// Ends agents
#[utoipa::path(post, path = "/api/v1/agents/bulk/terminate", tag = "bulk", request_body = BulkTerminate,
    params(WaitQuery),
    responses((status = 200, description = "What became of each item", body = BulkAnswer)))]
async fn terminate(
    Leader(handle): Leader,
    StrictQuery(wait): StrictQuery<WaitQuery>,
    body: StrictJson<BulkTerminate>,
) -> Result<Json<BulkAnswer>, Problem> {
    wait.duration()?;
    let (handle, wait) = (&handle, &wait);
    each(body.value, |_, item: TerminateBody| end(handle, item, wait)).await
}

/// Restarts agents
#[utoipa::path(post, path = "/api/v1/agents/bulk/restart", tag = "bulk", request_body = BulkRestart,
    params(WaitQuery),
    responses((status = 200, description = "What became of each item", body = BulkAnswer)))]
async fn restart(
    Leader(handle): Leader,
    StrictQuery(wait): StrictQuery<WaitQuery>,
    body: StrictJson<BulkRestart>,
) -> Result<Json<BulkAnswer>, Problem> {
    wait.duration()?;
    let (handle, wait) = (&handle, &wait);
    each(body.value, |_, item: RestartItem| async move { run_again(handle, &item.agent_id, wait).await }).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::parse;
    use crate::json::tests_views::agent;
    use muster_domain::{Activity, AgentState};
    use tokio::sync::Barrier;

    #[tokio::test]
    async fn items_are_carried_out_at_the_same_time_and_answer_in_order() {
        let body: BulkRestart =
            parse(br#"{"items": [{"agent_id": "a"}, {"agent": 1}, {"agent_id": "b"}]}"#).expect("a body");
        // Both wait for each other: one after the other would never end.
        let both = Barrier::new(2);
        let answer = each(body, |index, item: RestartItem| {
            let both = &both;
            async move {
                both.wait().await;
                match item.agent_id.as_str() {
                    "a" => Err(Problem::invalid_field("agent_id", format!("item {index}"))),
                    _ => Ok((StatusCode::OK, AgentJson::from(agent(AgentState::Running(Activity::Idle))))),
                }
            }
        })
        .await
        .expect("an answer");
        let json = serde_json::to_value(&answer.0).expect("an object");
        let statuses: Vec<_> = json["items"].as_array().expect("a list").iter().map(|item| &item["status"]).collect();
        assert_eq!(statuses, [422, 422, 200]);
        assert_eq!(json["items"][0]["error"]["detail"], "item 0");
        assert!(json["items"][1]["error"]["detail"].as_str().expect("text").contains("there is no field agent"));
    }
}
