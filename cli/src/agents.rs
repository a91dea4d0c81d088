//! What the commands about agents share: which agents are meant, and how they are shown.

use std::collections::BTreeMap;

use muster_domain::{AgentId, AgentState, Timestamp};
use serde_json::Value;

use crate::client::{ApiClient, ClientError};

use super::table::{age, field, table};

/// The bounds of a list of agents.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    /// Only this pool's.
    pub(super) pool: Option<String>,
    /// Only this project's.
    pub(super) project: Option<String>,
}

impl Filter {
    /// Agents in one of these states, or in any, in the order of their making.
    pub(super) fn list(&self, client: &ApiClient, states: &[AgentState]) -> Result<Vec<Value>, ClientError> {
        let mut query = Vec::new();
        query.extend(self.pool.iter().map(|pool| ("pool_name", pool.clone())));
        query.extend(self.project.iter().map(|project| ("project_id", project.clone())));
        if !states.is_empty() {
            query.push(("state", states.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")));
        }
        client.list("/api/v1/agents", &query)
    }

    /// Agents that are wanted or still there.
    pub(super) fn live(&self, client: &ApiClient) -> Result<Vec<Value>, ClientError> {
        // Two lists, since one of all would go through those that have ended too. An agent may get into quarantine between
        // them: the later sight of it counts, and ids are in order.
        let mut found = BTreeMap::new();
        for states in [AgentState::live().collect::<Vec<_>>(), AgentState::kept_for_person().collect()] {
            found.extend(self.list(client, &states)?.into_iter().map(|agent| (field(&agent, "agent_id"), agent)));
        }
        Ok(found.into_values().collect())
    }
}

/// One agent.
pub(super) fn read(client: &ApiClient, id: &AgentId) -> Result<Value, ClientError> {
    client.get(&format!("/api/v1/agents/{id}"), &[])
}

/// A table of agents.
pub(super) fn agents_table(agents: &[Value], now: Timestamp) -> String {
    let rows = agents.iter().map(|agent| {
        let mut row: Vec<String> = ["agent_id", "human_name", "pool_name", "project_id", "state", "process_id"]
            .iter()
            .map(|name| field(agent, name))
            .collect();
        row.extend([field(agent, "restarts"), age(agent, "created_at", now)]);
        // Most agents have nothing to explain.
        row.push(agent["reason"].as_str().unwrap_or_default().to_owned());
        row
    });
    let head = ["AGENT", "NAME", "POOL", "PROJECT", "STATE", "WORKER", "RESTARTS", "AGE", "WHY"];
    table(&head, &["RESTARTS", "AGE"], rows.collect())
}
