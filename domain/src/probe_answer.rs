//! What a worker says of itself when it is asked past the registry.

use serde::{Deserialize, Serialize};

use crate::ProcessId;

/// How a worker is, by its own word. It comes from the loop that does the work, so that there is an answer at all proves
/// that the loop goes on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProbeAnswer {
    /// The worker.
    pub process_id: ProcessId,
    /// Heartbeats that it has made, heard or not.
    pub beats: u64,
    /// What keeps it from being heard, or from hearing; none where the registry takes its calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trouble: Option<OngoingTrouble>,
}

/// Something that lasts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OngoingTrouble {
    /// For how long, in milliseconds.
    pub for_ms: u64,
    /// What it is, as it was last seen.
    pub error: String,
}

impl ProbeAnswer {
    /// In words for an operator.
    pub fn describe(&self) -> String {
        match &self.trouble {
            Some(OngoingTrouble { for_ms, error }) => format!("for {} s it says: {error}", for_ms / 1000),
            None => format!("it says that the registry takes its calls ({} heartbeats so far)", self.beats),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_later_version_may_say_more() {
        let id = ProcessId::generate();
        let text =
            format!(r#"{{"process_id":"{id}","beats":7,"trouble":{{"for_ms":2500,"error":"x","code":1}},"new":[]}}"#);
        let vitals: ProbeAnswer = serde_json::from_str(&text).expect("understood");
        assert_eq!(vitals.describe(), "for 2 s it says: x");
        assert_eq!(
            ProbeAnswer { trouble: None, ..vitals }.describe(),
            "it says that the registry takes its calls (7 heartbeats so far)"
        );
    }
}
