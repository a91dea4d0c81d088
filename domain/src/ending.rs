//! How a run of an agent ended.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::Timestamp;

/// The last output that an ending carries, in bytes, at the most.
pub const MAX_LAST_OUTPUT: usize = 4 * 1024;

/// One end of one run: why, and what the program said last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Why it ended.
    pub cause: Cause,
    /// The last lines that it printed, at most [`MAX_LAST_OUTPUT`] bytes.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub last_output: String,
    /// When it was noticed.
    pub at: Timestamp,
}

crate::kinds! {
    /// Why a run ended.
    #[derive(ToSchema)]
    #[schema(as = CauseJson)]
    pub enum Cause {
        /// The program exited by itself.
        Exited {
            /// The exit code, where it exited.
            code: i32,
        } = "exited",
        /// A signal that Muster did not send ended the program.
        Signaled {
            /// The signal, where one ended it.
            signal: i32,
        } = "signaled",
        /// The program did not say that it is ready in time, and was ended.
        StartTimeout {
            /// How long it was given to be ready, in milliseconds, where it was not.
            after_ms: u64,
        } = "start_timeout",
        /// There was no run: the program could not be started.
        NotStarted {
            /// What the operating system said, where it could not be started.
            error: String,
        } = "not_started",
        /// Muster stopped it by order.
        Stopped = "stopped",
        /// Muster ended it because of a task that it was told to stop and did not.
        TaskHalted = "task_halted",
        /// Its worker died, and with it the agent's tree.
        WorkerLost = "worker_lost",
        /// Its worker ended with the capacity under it, as was said before: it is no fault of the agent.
        WorkerInterrupted = "worker_interrupted",
    }
}

impl Cause {
    /// Whether the end is a normal one in the sense of OTP: asked for, or exit code 0.
    pub const fn is_normal(&self) -> bool {
        self.is_of_muster() || matches!(self, Self::Exited { code: 0 })
    }

    /// Whether Muster ended the run, for reasons of its own, or whoever grants it the capacity: the agent did nothing that counts
    /// against it.
    pub const fn is_of_muster(&self) -> bool {
        matches!(self, Self::Stopped | Self::TaskHalted | Self::WorkerInterrupted)
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exited { code } => write!(f, "exited with code {code}"),
            Self::Signaled { signal } => write!(f, "was ended by signal {signal}"),
            Self::StartTimeout { after_ms } => write!(
                f,
                "did not say that it is ready within {} s (if it prints {{\"type\":\"ready\"}}, its stdout may be buffered)",
                *after_ms as f64 / 1000.0
            ),
            Self::NotStarted { error } => write!(f, "could not be started: {error}"),
            Self::Stopped => f.write_str("was stopped"),
            Self::TaskHalted => f.write_str("was ended with a task that did not stop"),
            Self::WorkerLost => f.write_str("lost its worker"),
            Self::WorkerInterrupted => f.write_str("lost its worker, which was interrupted"),
        }
    }
}

impl Ending {
    /// An ending without output.
    pub const fn new(cause: Cause, at: Timestamp) -> Self {
        Self { cause, last_output: String::new(), at }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_exit_0_and_an_order_are_normal() {
        assert!(Cause::Exited { code: 0 }.is_normal() && Cause::WorkerInterrupted.is_normal());
        assert!(Cause::Stopped.is_normal() && Cause::TaskHalted.is_normal());
        for abnormal in [
            Cause::Exited { code: 1 },
            Cause::Signaled { signal: 9 },
            Cause::StartTimeout { after_ms: 1 },
            Cause::NotStarted { error: String::new() },
            Cause::WorkerLost,
        ] {
            assert!(!abnormal.is_normal(), "{abnormal}");
        }
    }

    #[test]
    fn an_ending_is_flat_in_json() {
        let ending = Ending::new(Cause::Exited { code: 3 }, Timestamp::from_millis(0));
        let json = serde_json::to_value(&ending).expect("an object");
        assert_eq!(json["cause"]["code"], 3);
        assert_eq!(serde_json::from_value::<Ending>(json).expect("its own output"), ending);
    }
}
