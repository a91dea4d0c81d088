//! Agents as people name them: by the whole id, or by a beginning of it that no other agent's id has.

use std::str::FromStr;

use muster_domain::AgentId;
use serde_json::Value;

use crate::client::Client;

use super::failure::Failure;
use super::table::field;

/// Characters that a beginning must have, so that a typing mistake names nobody.
const SHORTEST: usize = 4;

/// What was typed for an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AgentArg {
    /// The id.
    Whole(AgentId),
    /// How it begins, in lower case.
    Beginning(String),
}

impl FromStr for AgentArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Whole(id));
        }
        let fits = text.len() >= SHORTEST && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        match fits {
            true => Ok(Self::Beginning(text.to_ascii_lowercase())),
            false => Err(format!("an agent is named by its id, or by at least {SHORTEST} characters of its beginning")),
        }
    }
}

/// The id that was meant. The server is asked for its agents, those that ended included, only where an id was cut short.
pub(super) fn resolve(client: &Client, named: &AgentArg) -> Result<AgentId, Failure> {
    match named {
        AgentArg::Whole(id) => Ok(*id),
        AgentArg::Beginning(text) => only_one(text, &client.list("/api/v1/agents", &[])?),
    }
}

/// The ids that were meant, in the order in which they were named; all are known before anything is done to one.
pub(super) fn resolve_all(client: &Client, named: &[AgentArg]) -> Result<Vec<AgentId>, Failure> {
    named.iter().map(|agent| resolve(client, agent)).collect()
}

fn only_one(beginning: &str, agents: &[Value]) -> Result<AgentId, Failure> {
    let ids = agents.iter().map(|agent| field(agent, "agent_id"));
    let fitting: Vec<String> = ids.filter(|id| id.starts_with(beginning)).collect();
    match fitting.as_slice() {
        [id] => id.parse().map_err(|_| Failure::Failed(format!("the server gave an id that is none: {id}"))),
        [] => Err(Failure::NotFound(format!("no agent's id begins with {beginning}; `muster ps -a` lists them"))),
        several => Err(Failure::Usage(format!(
            "{} agents have an id that begins with {beginning}: write more of it (`muster ps -a` lists them)",
            several.len()
        ))),
    }
}
