//! Agents, tasks and workers as people name them: by the whole id, or by a beginning of it that no other one's id has.

use std::fmt::Display;
use std::str::FromStr;

use muster_domain::{AgentId, ProcessId, TaskId, TaskIdPrefix};
use serde_json::Value;

use crate::client::{ApiClient, ClientError};

use super::failure::CommandFailure;
use super::ps::PROCESSES;
use super::table::field;
use super::task::PATH;

/// Of those that fit, so many are named.
const NAMED: usize = 5;

/// What has an id that may be cut short.
pub(super) trait Thing: Copy + Display + FromStr {
    /// What it is.
    const NAME: &'static str;
    /// Where its id stands.
    const FIELD: &'static str;
    /// The command that lists all of them.
    const LIST: &'static str;
    /// Characters that a beginning must have, so that a typing mistake names nobody.
    const SHORTEST: usize;

    /// Those whose ids begin so, and maybe others.
    fn beginning_with(client: &ApiClient, text: &str) -> Result<Vec<Value>, ClientError>;
}

impl Thing for AgentId {
    const NAME: &'static str = "agent";
    const FIELD: &'static str = "agent_id";
    const LIST: &'static str = "muster ps -a";
    const SHORTEST: usize = 4;

    /// All agents, those that ended included.
    fn beginning_with(client: &ApiClient, _: &str) -> Result<Vec<Value>, ClientError> {
        client.list("/api/v1/agents", &[])
    }
}

impl Thing for TaskId {
    const NAME: &'static str = "task";
    const FIELD: &'static str = "task_id";
    const LIST: &'static str = "muster tasks";
    const SHORTEST: usize = TaskIdPrefix::SHORTEST;

    /// As many as are named where there are several, and one more.
    fn beginning_with(client: &ApiClient, text: &str) -> Result<Vec<Value>, ClientError> {
        Ok(client.list_first(PATH, &[("id_prefix", text.to_owned())], NAMED + 1)?.0)
    }
}

impl Thing for ProcessId {
    const NAME: &'static str = "worker";
    const FIELD: &'static str = "process_id";
    const LIST: &'static str = "muster ps -w";
    const SHORTEST: usize = 4;

    /// Those that have not ended.
    fn beginning_with(client: &ApiClient, _: &str) -> Result<Vec<Value>, ClientError> {
        let answer = client.get(PROCESSES, &[])?;
        Ok(answer["processes"].as_array().cloned().unwrap_or_default())
    }
}

/// What was typed for one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Named<Id> {
    /// The id.
    Whole(Id),
    /// How it begins, in lower case.
    Beginning(String),
}

/// What was typed for an agent.
pub(super) type AgentArg = Named<AgentId>;
/// What was typed for a task.
pub(super) type TaskArg = Named<TaskId>;
/// What was typed for a worker.
pub(super) type WorkerArg = Named<ProcessId>;

impl<Id: Thing> FromStr for Named<Id> {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(id) = text.parse() {
            return Ok(Self::Whole(id));
        }
        let fits = text.len() >= Id::SHORTEST && text.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b'-');
        match fits {
            true => Ok(Self::Beginning(text.to_ascii_lowercase())),
            false => Err(format!(
                "this names no {}: its id does, or at least {} characters of its beginning (`{}` lists them)",
                Id::NAME,
                Id::SHORTEST,
                Id::LIST
            )),
        }
    }
}

/// The id that was meant. The server is asked only where an id was cut short.
pub(super) fn resolve<Id: Thing>(client: &ApiClient, named: &Named<Id>) -> Result<Id, CommandFailure> {
    match named {
        Named::Whole(id) => Ok(*id),
        Named::Beginning(text) => only_one(text, &Id::beginning_with(client, text)?),
    }
}

/// The ids that were meant, in the order in which they were named; all are known before anything is done to one.
pub(super) fn resolve_all<Id: Thing>(client: &ApiClient, named: &[Named<Id>]) -> Result<Vec<Id>, CommandFailure> {
    let all: Result<_, _> = named.iter().map(|one| resolve(client, one)).collect();
    all.map_err(|failure| match failure {
        CommandFailure::NotFound(why) if named.len() > 1 => {
            CommandFailure::NotFound(format!("{why}; nothing was done to the others"))
        }
        CommandFailure::Usage(why) if named.len() > 1 => {
            CommandFailure::Usage(format!("{why}; nothing was done to the others"))
        }
        other => other,
    })
}

fn only_one<Id: Thing>(beginning: &str, things: &[Value]) -> Result<Id, CommandFailure> {
    let (name, list) = (Id::NAME, Id::LIST);
    let bare = |text: &str| text.replace('-', "");
    let ids = things.iter().map(|thing| field(thing, Id::FIELD));
    let fitting: Vec<String> = ids.filter(|id| bare(id).starts_with(&bare(beginning))).collect();
    match fitting.as_slice() {
        [id] => id.parse().map_err(|_| CommandFailure::Failed(format!("the server gave an id that is none: {id}"))),
        [] => Err(CommandFailure::NotFound(format!("no {name}'s id begins with {beginning}; `{list}` lists them"))),
        several => {
            let more = if several.len() > NAMED { ", ..." } else { "" };
            let some = several.iter().take(NAMED).map(String::as_str).collect::<Vec<_>>().join(", ");
            Err(CommandFailure::Usage(format!(
                "several {name}s have an id that begins with {beginning}, so write more of it: {some}{more}"
            )))
        }
    }
}
