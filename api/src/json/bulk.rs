//! Many wishes in one request; each item answers for itself.

use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::{AgentJson, SpawnBody, TerminateBody, TerminatedJson};
use crate::problem::Problem;

/// Items in one request at the most.
pub(crate) const MAX_ITEMS: usize = 1_000;

/// A body whose items are read one by one, so that a wrong one does not spoil the others.
pub(crate) trait BulkBody {
    /// The items, or a refusal where there are none or too many.
    fn items(self) -> Result<Vec<Value>, Problem>;
}

macro_rules! bulk_body {
    ($(#[$doc:meta])* $name:ident of $item:ty) => {
        $(#[$doc])*
        #[derive(Debug, Deserialize, ToSchema)]
        #[serde(deny_unknown_fields)]
        pub(crate) struct $name {
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
pub(crate) struct RestartItem {
    /// The agent.
    #[schema(format = Uuid)]
    pub(crate) agent_id: String,
}

/// What became of each item, in the order of the request.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BulkAnswer {
    /// Items with a status below 400.
    succeeded: usize,
    /// The others.
    failed: usize,
    items: Vec<BulkItem>,
}

/// What became of one item.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct BulkItem {
    /// Its place in the request, from 0.
    index: usize,
    /// The HTTP status that it would have had as a request of its own.
    status: u16,
    /// The agent, where it was spawned or restarted.
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<AgentJson>,
    /// The agent, where it was told to end.
    #[serde(skip_serializing_if = "Option::is_none")]
    terminated: Option<TerminatedJson>,
    /// Why it was refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<Problem>,
}

impl From<(StatusCode, AgentJson)> for BulkItem {
    fn from((status, agent): (StatusCode, AgentJson)) -> Self {
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
    pub(crate) fn new(mut items: Vec<BulkItem>) -> Self {
        for (index, item) in items.iter_mut().enumerate() {
            item.index = index;
        }
        let failed = items.iter().filter(|item| item.error.is_some()).count();
        Self { succeeded: items.len() - failed, failed, items }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::body::{parse, parse_item};
    use crate::json::agents::tests::agent;
    use muster_domain::{Activity, AgentState};
    use serde_json::json;

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
            (StatusCode::CREATED, AgentJson::from(agent(AgentState::Running(Activity::Idle)))).into(),
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
