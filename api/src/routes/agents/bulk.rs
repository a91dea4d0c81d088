//! Many wishes in one request. They go to the supervisor at the same time, so that it can carry them out as one batch.

use axum::Json;
use axum::http::StatusCode;
use futures_util::future::join_all;
use muster_supervisor::{AgentView, RequestKey};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::run_again;
use super::spawn::{SpawnBody, spawned};
use super::terminate::{TerminateBody, TerminatedJson, end};
use crate::body::{StrictJson, parse_item};
use crate::principal::Leader;
use crate::problem::Problem;
use crate::query::{KeyHeader, StrictQuery, WaitQuery, agent_id};
use crate::routes::Routes;

pub(super) fn routes() -> Routes {
    Routes::new().routes(routes!(spawn)).routes(routes!(terminate)).routes(routes!(restart))
}

/// Items in one request at the most.
const MAX_ITEMS: usize = 1_000;

/// A body whose items are read one by one, so that a wrong one does not spoil the others.
trait BulkBody {
    /// The items, or a refusal where there are none or too many.
    fn items(self) -> Result<Vec<Value>, Problem>;
}

macro_rules! bulk_body {
    ($(#[$doc:meta])* $name:ident of $item:ty) => {
        $(#[$doc])*
        #[derive(Debug, Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        struct $name {
            /// The items, 1 to 1,000.
            #[schema(value_type = Vec<$item>, min_items = 1, max_items = 1000)]
            items: Vec<Value>,
        }

        impl BulkBody for $name {
            fn items(self) -> Result<Vec<Value>, Problem> {
                bounded(self.items)
            }
        }
    };
}

bulk_body! {
    /// Agents to spawn.
    BulkSpawn of SpawnBody
}
bulk_body! {
    /// Agents to end.
    BulkTerminate of TerminateBody
}
bulk_body! {
    /// Agents to restart.
    BulkRestart of RestartItem
}

fn bounded(items: Vec<Value>) -> Result<Vec<Value>, Problem> {
    if (1..=MAX_ITEMS).contains(&items.len()) {
        Ok(items)
    } else {
        Err(Problem::invalid_field("items", format!("items has 1 to {MAX_ITEMS} entries, not {}", items.len())))
    }
}

/// An agent to restart.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RestartItem {
    /// The agent.
    #[schema(format = Uuid)]
    agent_id: String,
}

/// What became of each item, in the order of the request.
#[derive(Debug, Serialize, ToSchema)]
struct BulkAnswer {
    /// Items with a status below 400.
    succeeded: usize,
    /// The others.
    failed: usize,
    items: Vec<BulkItem>,
}

/// What became of one item.
#[derive(Debug, Serialize, ToSchema)]
struct BulkItem {
    /// Its place in the request, from 0.
    index: usize,
    /// The HTTP status that it would have had as a request of its own.
    status: u16,
    /// The agent, where it was spawned or restarted.
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<AgentView>,
    /// The agent, where it was told to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    terminated: Option<TerminatedJson>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Problem>,
}

impl From<(StatusCode, AgentView)> for BulkItem {
    fn from((status, agent): (StatusCode, AgentView)) -> Self {
        Self { index: 0, status: status.as_u16(), agent: Some(agent), terminated: None, error: None }
    }
}

impl From<(StatusCode, TerminatedJson)> for BulkItem {
    fn from((status, terminated): (StatusCode, TerminatedJson)) -> Self {
        Self { index: 0, status: status.as_u16(), agent: None, terminated: Some(terminated), error: None }
    }
}

impl From<Problem> for BulkItem {
    fn from(problem: Problem) -> Self {
        Self { index: 0, status: problem.status().as_u16(), agent: None, terminated: None, error: Some(problem) }
    }
}

impl BulkAnswer {
    /// Counts and numbers the items.
    fn new(mut items: Vec<BulkItem>) -> Self {
        for (index, item) in items.iter_mut().enumerate() {
            item.index = index;
        }
        let failed = items.iter().filter(|item| item.error.is_some()).count();
        Self { succeeded: items.len() - failed, failed, items }
    }
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
    Leader(caller): Leader,
    StrictQuery(wait): StrictQuery<WaitQuery>,
    KeyHeader(key): KeyHeader,
    body: StrictJson<BulkSpawn>,
) -> Result<Json<BulkAnswer>, Problem> {
    let (agents, wait) = (&caller.agents()?, wait.duration()?);
    let body_hash = body.hash();
    // Each item is a request of its own to the store, so each has a key of its own, told apart by its place.
    let key_of = |index: usize| {
        let (route, key) = ("POST /api/v1/agents/bulk/spawn".to_owned(), format!("{}/{index}", key.as_ref()?));
        Some(RequestKey { route, key, body_hash })
    };
    each(body.value, |index, item: SpawnBody| {
        let request = item.request(key_of(index));
        async move { Ok::<(StatusCode, AgentView), Problem>(spawned(agents.spawn(request?, wait).await?)) }
    })
    .await
}

/// Ends agents
#[utoipa::path(post, path = "/api/v1/agents/bulk/terminate", tag = "bulk", request_body = BulkTerminate,
    params(WaitQuery),
    responses((status = 200, description = "What became of each item", body = BulkAnswer)))]
async fn terminate(
    Leader(caller): Leader,
    StrictQuery(wait): StrictQuery<WaitQuery>,
    body: StrictJson<BulkTerminate>,
) -> Result<Json<BulkAnswer>, Problem> {
    wait.duration()?;
    let (agents, wait) = (&caller.agents()?, &wait);
    each(body.value, |_, item: TerminateBody| end(agents, item, wait)).await
}

/// Restarts agents
#[utoipa::path(post, path = "/api/v1/agents/bulk/restart", tag = "bulk", request_body = BulkRestart,
    params(WaitQuery),
    responses((status = 200, description = "What became of each item", body = BulkAnswer)))]
async fn restart(
    Leader(caller): Leader,
    StrictQuery(wait): StrictQuery<WaitQuery>,
    body: StrictJson<BulkRestart>,
) -> Result<Json<BulkAnswer>, Problem> {
    wait.duration()?;
    let (agents, wait) = (&caller.agents()?, &wait);
    each(body.value, |_, item: RestartItem| async move { run_again(agents, agent_id(&item.agent_id)?, wait).await })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::parse;
    use crate::routes::tests::agent;
    use muster_domain::{Activity, AgentState};
    use serde_json::json;
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
                    _ => Ok((StatusCode::OK, agent(AgentState::Running(Activity::Idle)))),
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

    #[test]
    fn a_wrong_item_does_not_spoil_the_others() {
        let body: BulkRestart = parse(br#"{"items": [{"agent_id": "a"}, {"agent": "b"}, 7]}"#).expect("a body");
        let read: Vec<bool> =
            body.items().expect("three").into_iter().map(|item| parse_item::<RestartItem>(item).is_ok()).collect();
        assert_eq!(read, [true, false, false]);
    }

    #[test]
    fn items_are_bounded() {
        for (count, fits) in [(0, false), (1, true), (MAX_ITEMS, true), (MAX_ITEMS + 1, false)] {
            assert_eq!(bounded(vec![Value::Null; count]).is_ok(), fits, "{count}");
        }
        assert!(parse::<BulkSpawn>(br#"{"items": [], "wait": 1}"#).is_err());
        assert!(parse::<BulkTerminate>(br#"[[]]"#).is_err());
    }

    #[test]
    fn an_answer_counts_and_numbers() {
        let answer = BulkAnswer::new(vec![
            (StatusCode::CREATED, agent(AgentState::Running(Activity::Idle))).into(),
            Problem::invalid_field("agent_id", "none").into(),
            (StatusCode::OK, TerminatedJson::from(agent(AgentState::Terminated))).into(),
        ]);
        let json = serde_json::to_value(answer).expect("an object");
        assert_eq!((&json["succeeded"], &json["failed"]), (&json!(2), &json!(1)));
        let brief: Vec<_> = json["items"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|item| (item["index"].clone(), item["status"].clone(), item["error"]["code"].clone()))
            .collect();
        assert_eq!(
            brief,
            [
                (json!(0), json!(201), json!(null)),
                (json!(1), json!(422), json!("invalid_field")),
                (json!(2), json!(200), json!(null)),
            ]
        );
    }
}
