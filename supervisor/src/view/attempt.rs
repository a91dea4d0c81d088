//! Attempts at tasks.

use muster_domain::{AgentId, AttemptEnd, AttemptRecord, ProcessId, Timestamp};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;

use super::account::UsageFigures;

/// An attempt that is over.
// Not the domain's own type: its end is one word and a message here.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = AttemptJson)]
pub(super) struct AttemptView {
    /// 1, 2, 3, ...
    number: u32,
    #[schema(value_type = String, format = Uuid)]
    agent_id: AgentId,
    #[schema(value_type = String, format = Uuid)]
    process_id: ProcessId,
    #[schema(value_type = String, format = DateTime)]
    started_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    ended_at: Timestamp,
    /// How it ended (`failed` is the agent's own word), or why it was stopped.
    #[schema(value_type = String, example = "failed", extensions(("x-enum" = json!(AttemptEnd::words()))))]
    end: &'static str,
    /// The same in words; null where it succeeded.
    message: Option<String>,
    /// Whether another attempt makes sense, by the agent's word.
    #[serde(skip_serializing_if = "Option::is_none")]
    retryable: Option<bool>,
    /// What the program printed last.
    #[serde(skip_serializing_if = "String::is_empty")]
    last_output: String,
    usage: UsageFigures,
}

impl From<AttemptRecord> for AttemptView {
    fn from(record: AttemptRecord) -> Self {
        Self {
            number: record.number,
            agent_id: record.agent_id,
            process_id: record.process_id,
            started_at: record.started_at,
            ended_at: record.ended_at,
            end: record.end.word(),
            retryable: match record.end {
                AttemptEnd::Failed { retryable, .. } => Some(retryable),
                _ => None,
            },
            message: message(record.end),
            last_output: record.last_output,
            usage: record.usage.into(),
        }
    }
}

fn message(end: AttemptEnd) -> Option<String> {
    match end {
        AttemptEnd::Succeeded => None,
        AttemptEnd::Failed { message, .. }
        | AttemptEnd::StartFailed { message }
        | AttemptEnd::AgentDied { message }
        | AttemptEnd::Interrupted { message }
        | AttemptEnd::NotBegun { message } => Some(message),
        AttemptEnd::WorkerLost | AttemptEnd::Halted { .. } => Some(end.to_string()),
    }
}

/// Records of attempts, as they are shown.
pub(super) fn attempts<S: Serializer>(records: &[AttemptRecord], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(records.iter().cloned().map(AttemptView::from))
}

#[cfg(test)]
mod tests {
    use muster_domain::{Halt, Usage};
    use serde_json::json;

    use super::*;

    fn record(number: u32, end: AttemptEnd) -> AttemptRecord {
        AttemptRecord {
            number,
            agent_id: AgentId::generate(),
            process_id: ProcessId::generate(),
            started_at: Timestamp::from_millis(1_000),
            ended_at: Timestamp::from_millis(2_000),
            end,
            last_output: String::new(),
            usage: Usage::default(),
        }
    }

    #[test]
    fn attempts_say_how_they_ended() {
        let failed = AttemptEnd::Failed { message: "no such file".to_owned(), retryable: true };
        let rows = [
            (failed, "failed", json!("no such file"), Some(json!(true))),
            (
                AttemptEnd::StartFailed { message: "no such program".to_owned() },
                "start_failed",
                json!("no such program"),
                None,
            ),
            (
                AttemptEnd::AgentDied { message: "exited with code 3".to_owned() },
                "agent_died",
                json!("exited with code 3"),
                None,
            ),
            (
                AttemptEnd::Interrupted { message: "it was terminated".to_owned() },
                "interrupted",
                json!("it was terminated"),
                None,
            ),
            (AttemptEnd::NotBegun { message: "no room".to_owned() }, "not_begun", json!("no room"), None),
            (AttemptEnd::WorkerLost, "worker_lost", json!("lost its worker"), None),
            (AttemptEnd::Halted { halt: Halt::TimedOut }, "timed_out", json!("took longer than its timeout"), None),
            (AttemptEnd::Succeeded, "succeeded", json!(null), None),
        ];
        for (end, word, message, retryable) in rows {
            let json = serde_json::to_value(AttemptView::from(record(1, end))).expect("an object");
            assert_eq!(
                (&json["end"], &json["message"], json.get("retryable")),
                (&json!(word), &message, retryable.as_ref())
            );
            assert!(json.get("last_output").is_none());
        }
    }
}
