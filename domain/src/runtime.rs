//! Runtime profiles: what the agents of a pool run. Only the configuration can say a command line; the API and the
//! registry only ever name a profile.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::described;
use crate::time::seconds;

/// The profile that every installation has, and that a pool runs where it names none.
pub const ECHO: &str = "echo";

/// What an agent runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum RuntimeProfile {
    /// Built in: an agent without a program, for trying things out.
    Echo,
    /// A program per agent, or per task.
    Exec(ExecProfile),
}

/// A program per agent, which speaks JSON lines over its stdin and stdout, or a program per task: see [`ExecMode`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecProfile {
    /// The program and its arguments, as a list. A program without a slash is looked for on the PATH.
    pub command: Vec<String>,
    /// Whose life a program has: `agent` (it is started with the agent, and gets tasks as JSON lines) or `oneshot` (each task starts
    /// one).
    #[serde(default)]
    pub mode: ExecMode,
    /// Its folder; a relative one counts from the file's folder. Default: one per agent under the data folder.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "path")]
    pub cwd: Option<PathBuf>,
    /// Variables set for it.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub env: BTreeMap<String, String>,
    /// Variables of the supervisor that are handed on, by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pass_env: Vec<String>,
    /// When it counts as started: `message` (it says so) or `started` (it runs).
    #[serde(default)]
    pub ready: Readiness,
    /// The time to become ready.
    #[serde(with = "seconds", default = "default_start_timeout")]
    #[schema(value_type = f64, format = "seconds", minimum = 0.001)]
    pub start_timeout: Duration,
    /// The time from the stop message to the kill; SIGTERM comes after a tenth of it, 1 s at the most.
    #[serde(with = "seconds", default = "default_stop_deadline")]
    #[schema(value_type = f64, format = "seconds")]
    pub stop_deadline: Duration,
    /// The time from the cancel to the kill where a task has passed a budget: an agent that ignores it goes on spending.
    #[serde(with = "seconds", default = "default_budget_grace")]
    #[schema(value_type = f64, format = "seconds")]
    pub budget_grace: Duration,
    /// Whether the program and its children may gain privileges, e.g. by sudo.
    #[serde(default)]
    pub allow_new_privileges: bool,
}

described!(ExecProfile, {"command": []});

/// What is a program's life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ExecMode {
    /// The agent's: it is started with the agent, and gets tasks as JSON lines.
    #[default]
    Agent,
    /// A task's: it is started per task, with the input on its stdin; its stdout is the output, its exit code the success.
    Oneshot,
}

/// When an exec agent counts as started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Readiness {
    /// When it says `{"type":"ready"}`.
    #[default]
    Message,
    /// As soon as it runs.
    Started,
}

const fn default_start_timeout() -> Duration {
    Duration::from_secs(30)
}

const fn default_stop_deadline() -> Duration {
    Duration::from_secs(10)
}

const fn default_budget_grace() -> Duration {
    Duration::from_secs(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_needs_only_its_command() {
        let profile: RuntimeProfile =
            serde_json::from_str(r#"{"kind": "exec", "command": ["sh", "agent.sh"]}"#).expect("a profile");
        let RuntimeProfile::Exec(exec) = profile else { panic!("an exec profile") };
        assert_eq!(exec.ready, Readiness::Message);
        assert_eq!(exec.start_timeout, Duration::from_secs(30));
        assert_eq!((exec.stop_deadline, exec.budget_grace), (Duration::from_secs(10), Duration::from_secs(2)));
        assert!(!exec.allow_new_privileges);
    }
}
