//! Attempts at a task: who has it, how it ended, what it cost.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::words::Words;
use crate::{AgentId, Epoch, ProcessId, Timestamp};

/// The one attempt that may end a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// 1, 2, 3, ...: every start counts, whatever its end.
    pub number: u32,
    /// The agent that has it.
    pub agent_id: AgentId,
    /// That agent's run.
    pub epoch: Epoch,
    /// Its worker.
    pub process_id: ProcessId,
}

crate::words! {
    /// Why a task is being stopped while it runs.
    pub enum Halt {
        /// Somebody asked for it.
        Cancelled = "cancelled",
        /// The attempt took longer than the task's timeout.
        TimedOut = "timed_out",
        /// Its worker did not renew its lease.
        LeaseLost = "lease_lost",
        /// It spent more than a budget allows.
        BudgetExceeded = "budget_exceeded",
        /// Its pool or the system is being emptied: it goes back to the queue.
        HandedBack = "handed_back",
        /// The capacity under its worker was taken away, as was said before (a spot interruption): it goes back to the queue.
        Preempted = "preempted",
    }
}

crate::kinds! {
    /// How one attempt ended.
    pub enum AttemptEnd {
        /// The agent gave a result.
        Succeeded = "succeeded",
        /// The agent gave an error.
        Failed {
            /// What it said.
            message: String,
            /// Whether another attempt makes sense, by its word.
            retryable: bool,
        } = "failed",
        /// The program that was to do it could not be started.
        StartFailed {
            /// Why.
            message: String,
        } = "start_failed",
        /// The agent's program ended by itself in the middle of it.
        AgentDied {
            /// How.
            message: String,
        } = "agent_died",
        /// Muster ended the agent in the middle of it, for another reason than this task: it was terminated, restarted or scaled
        /// in.
        Interrupted {
            /// Why.
            message: String,
        } = "interrupted",
        /// It never began: the worker did not have that run of the agent, or no room for it.
        NotBegun {
            /// Why.
            message: String,
        } = "not_begun",
        /// The worker died in the middle of it.
        WorkerLost = "worker_lost",
        /// Muster stopped it.
        Halted {
            /// Why.
            halt: Halt,
        } = "halted",
    }
}

impl AttemptEnd {
    /// How it ended in one word, as the API shows it: where Muster stopped it, why.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Halted { halt } => halt.as_str(),
            end => end.kind(),
        }
    }

    /// Every such word.
    pub fn words() -> Vec<&'static str> {
        let halted = Self::Halted { halt: Halt::Cancelled }.kind();
        Self::KINDS.into_iter().filter(|kind| *kind != halted).chain(Halt::words()).collect()
    }
}

impl std::str::FromStr for Halt {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::of_word(text).ok_or_else(|| format!("no halt: {text:?}"))
    }
}

impl fmt::Display for Halt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Cancelled => "was cancelled",
            Self::TimedOut => "took longer than its timeout",
            Self::LeaseLost => "made no progress for the time of its lease",
            Self::BudgetExceeded => "passed a budget",
            Self::HandedBack => "was handed back to the queue",
            Self::Preempted => "was handed back to the queue, since its worker was interrupted",
        })
    }
}

impl fmt::Display for AttemptEnd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Succeeded => f.write_str("succeeded"),
            Self::Failed { message, .. } => write!(f, "failed: {message}"),
            Self::StartFailed { message } => write!(f, "had no program: {message}"),
            Self::AgentDied { message } => write!(f, "lost its agent, which {message}"),
            Self::Interrupted { message } => write!(f, "was interrupted: {message}"),
            Self::NotBegun { message } => write!(f, "never began: {message}"),
            Self::WorkerLost => f.write_str("lost its worker"),
            Self::Halted { halt } => halt.fmt(f),
        }
    }
}

/// What the attempts at a task have cost so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// Attempts that count against `max_attempts`: those that the agent ended.
    pub spent: u32,
    /// Attempts that count against the poison bound: those that Muster ended, or that ended with their worker.
    pub spoiled: u32,
}

/// What a run has used, by the agent's own word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Usage {
    /// Tokens read by a model.
    pub input_tokens: u64,
    /// Tokens written by a model.
    pub output_tokens: u64,
    /// Cost in millionths of a US dollar.
    pub cost_micros: u64,
}

impl Usage {
    /// Whether nothing was used.
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }

    /// What is left without the other; nothing where that is more.
    #[must_use]
    pub const fn minus(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_sub(other.input_tokens),
            output_tokens: self.output_tokens.saturating_sub(other.output_tokens),
            cost_micros: self.cost_micros.saturating_sub(other.cost_micros),
        }
    }

    /// The sum of both.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            input_tokens: self.input_tokens.saturating_add(other.input_tokens),
            output_tokens: self.output_tokens.saturating_add(other.output_tokens),
            cost_micros: self.cost_micros.saturating_add(other.cost_micros),
        }
    }
}

/// Attempts that are over, counted for people.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Executions {
    /// All that began.
    pub total: u64,
    /// Of these, those that gave a result.
    pub succeeded: u64,
    /// Of these, those that failed, took too long or lost their agent. One that was cancelled, handed back or interrupted by
    /// Muster is neither.
    pub failed: u64,
}

impl Executions {
    /// One attempt more.
    pub const fn add(&mut self, end: &AttemptEnd) {
        match end {
            AttemptEnd::NotBegun { .. } => return,
            AttemptEnd::Succeeded => self.succeeded += 1,
            AttemptEnd::Halted { halt: Halt::Cancelled | Halt::HandedBack | Halt::Preempted }
            | AttemptEnd::Interrupted { .. } => {}
            AttemptEnd::Failed { .. }
            | AttemptEnd::StartFailed { .. }
            | AttemptEnd::AgentDied { .. }
            | AttemptEnd::WorkerLost
            | AttemptEnd::Halted { halt: Halt::TimedOut | Halt::LeaseLost | Halt::BudgetExceeded } => self.failed += 1,
        }
        self.total += 1;
    }

    /// What succeeded, as a share of what succeeded or failed; none before the first.
    pub fn success_rate(&self) -> Option<f64> {
        let judged = self.succeeded + self.failed;
        (judged > 0).then(|| self.succeeded as f64 / judged as f64)
    }
}

/// How far a running task is, by the agent's own word.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Progress {
    /// What it is doing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// How much is done, 0 to 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub percent: Option<f32>,
}

/// One attempt that is over, as it is kept with its task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AttemptRecord {
    /// 1, 2, 3, ...
    pub number: u32,
    /// The agent that had it.
    pub agent_id: AgentId,
    /// Its worker.
    pub process_id: ProcessId,
    /// When it was given to the agent.
    pub started_at: Timestamp,
    /// When its end was recorded.
    pub ended_at: Timestamp,
    /// How it ended.
    pub end: AttemptEnd,
    /// What the program printed last, where it did not succeed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub last_output: String,
    /// What it used.
    #[serde(default, skip_serializing_if = "Usage::is_zero")]
    pub usage: Usage,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_halt_is_its_word() {
        for halt in Halt::ALL {
            assert_eq!(halt.as_str().parse(), Ok(halt));
            assert_eq!(serde_json::to_string(&halt).expect("a word"), format!("\"{}\"", halt.as_str()));
        }
        assert!("stopped".parse::<Halt>().is_err());
    }

    #[test]
    fn an_end_is_flat_in_json_and_read_back() {
        let ends = [
            AttemptEnd::Succeeded,
            AttemptEnd::Failed { message: "no".to_owned(), retryable: true },
            AttemptEnd::Halted { halt: Halt::TimedOut },
            AttemptEnd::WorkerLost,
        ];
        for end in ends {
            let json = serde_json::to_value(&end).expect("an object");
            assert!(json["kind"].is_string(), "{json}");
            assert_eq!(serde_json::from_value::<AttemptEnd>(json).expect("its own output"), end);
        }
    }

    #[test]
    fn executions_count_what_began_and_judge_what_nobody_stopped() {
        let message = String::new;
        let halted = |halt| AttemptEnd::Halted { halt };
        let count = |ends: Vec<AttemptEnd>| {
            let mut counts = Executions::default();
            ends.iter().for_each(|end| counts.add(end));
            (counts.total, counts.succeeded, counts.failed)
        };
        assert_eq!(count(vec![AttemptEnd::Succeeded]), (1, 1, 0));
        let failed = vec![
            AttemptEnd::Failed { message: message(), retryable: false },
            AttemptEnd::StartFailed { message: message() },
            AttemptEnd::AgentDied { message: message() },
            AttemptEnd::WorkerLost,
            halted(Halt::TimedOut),
            halted(Halt::LeaseLost),
            halted(Halt::BudgetExceeded),
        ];
        assert_eq!(count(failed), (7, 0, 7));
        let stopped = vec![
            halted(Halt::Cancelled),
            halted(Halt::HandedBack),
            halted(Halt::Preempted),
            AttemptEnd::Interrupted { message: message() },
            AttemptEnd::NotBegun { message: message() },
        ];
        assert_eq!(count(stopped), (4, 0, 0), "what never began is no execution");
        assert_eq!(Executions::default().success_rate(), None);
        assert_eq!(Executions { total: 9, succeeded: 6, failed: 2 }.success_rate(), Some(0.75));
    }

    #[test]
    fn sums_of_usage_stay_within_bounds() {
        let most = Usage { input_tokens: u64::MAX, output_tokens: 1, cost_micros: 2 };
        assert_eq!(most.plus(most), Usage { input_tokens: u64::MAX, output_tokens: 2, cost_micros: 4 });
    }
}
