//! The JSON of the API: what a body may say, and what an answer reads. One file a resource. The supervisor's views know
//! nothing of JSON, so that a name here is a promise to callers only.

mod agents;
mod bulk;
mod events;
mod monitor;
mod pools;
mod system;

pub(crate) use agents::{
    AgentHealthJson, AgentJson, AgentPage, EndingJson, ProjectAgentJson, SpawnBody, TerminateBody, TerminatedJson,
};
pub(crate) use bulk::{BulkAnswer, BulkBody, BulkItem, BulkRestart, BulkSpawn, BulkTerminate, RestartItem};
pub(crate) use events::{EventJson, ResetJson};
pub(crate) use monitor::{MonitorJson, ProcessesJson};
pub(crate) use pools::{ChangePoolBody, CreatePoolBody, PoolJson};
pub(crate) use system::{
    CheckJson, DeepHealthJson, HealthJson, ReachJson, ReadyJson, StatusJson, StopBody, StoppingJson,
};

#[cfg(test)]
pub(crate) mod tests_views {
    pub(crate) use super::agents::tests::agent;
    pub(crate) use super::pools::tests::pool;
    pub(crate) use super::system::tests::system;
}

use crate::problem::Problem;

/// Refuses a text with control characters: no database keeps a NUL, and a line break would forge lines of a log. How
/// long it may be is the supervisor's to say.
pub(super) fn check_text(field: &str, text: &str) -> Result<(), Problem> {
    if text.chars().any(char::is_control) {
        return Err(Problem::invalid_field(field, format!("{field} may not have control characters")));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_has_no_control_characters() {
        for good in ["p", "Projekt B\u{e4}r / 7", "\u{1f980}"] {
            assert!(check_text("project_id", good).is_ok(), "{good}");
        }
        for bad in ["a\u{0}b", "line\nbreak", "\u{7f}", "\u{85}"] {
            assert_eq!(check_text("project_id", bad).expect_err("refused").code(), "invalid_field", "{bad:?}");
        }
    }
}
