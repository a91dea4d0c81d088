//! Transitions: what was decided. The parts decide, `writes` says what is stored of it, and `commit` carries it out.

use std::sync::Arc;
use std::time::Instant;

use muster_domain::agent::AfterStop;
use muster_domain::{
    AgentEvent, AgentId, Cause, Ending, Epoch, EventKind, FinalState, Gate, PoolSpec, ProcessId, StopReason,
    WorkerCause, WorkerEnding, WorkerIdentity,
};
use muster_policy::restart::RestartVerdict;
use muster_store::AgentRow;
use tokio::sync::oneshot;

use super::agents::agent::Waiter;
use super::interruptions::Noticed;
use super::scaling::{Decided, DecisionEnd, DecisionReply};
use crate::error::SupervisorError;
use crate::prometheus::AgentOutcome;
use crate::view::PoolView;

/// Stands for words that can't be stored.
const NO_WORDS: &str = "its words can't be stored";

/// A decided transition.
pub(crate) enum Transition {
    /// An agent's tree is proven dead: it leaves its slot.
    Leave { agent: AgentId, epoch: Epoch, ending: Ending, then: AfterLeaving },
    /// An agent is to stop, and to stay stopped.
    Stop { agent: AgentId, reason: StopReason, graceful: bool, waiter: Option<Waiter> },
    /// An agent at rest is to run again. The row is given for one that the model does not hold.
    Revive { agent: AgentId, row: Option<Box<AgentRow>>, waiter: Waiter },
    /// An agent's run is to end, and another to follow.
    Restart { agent: AgentId, epoch: Epoch, waiter: Option<Waiter> },
    /// A worker's process is known.
    Identify { worker: ProcessId, identity: WorkerIdentity },
    /// The capacity under a worker will be taken away.
    Interrupt(Noticed),
    /// A worker is not needed any more.
    Retire { worker: ProcessId, reason: String },
    /// A worker is proven dead.
    EndWorker { worker: ProcessId, lost: bool, ending: WorkerEnding },
    /// The pool's bounds change.
    Change { spec: Arc<PoolSpec>, reply: oneshot::Sender<Result<PoolView, SupervisorError>> },
    /// The pool's queue is closed or opened.
    Gate { gate: Gate, hand_back: bool, reply: oneshot::Sender<Result<PoolView, SupervisorError>> },
    /// It was decided how many workers there are to be.
    Scale { decided: Box<Decided>, reply: Option<DecisionReply> },
    /// Such a decision is carried out, or has come to nothing.
    EndDecision(DecisionEnd),
    /// The pool goes.
    DrainPool { graceful: bool },
}

/// What follows when an agent leaves its slot.
#[derive(Clone, Copy, Debug)]
pub(crate) enum AfterLeaving {
    RunAgain { not_before: Option<Instant> },
    End(FinalState),
}

impl AfterLeaving {
    /// What the policy's verdict means for this agent.
    pub(crate) fn from_verdict(verdict: RestartVerdict, now: Instant) -> Self {
        match verdict {
            RestartVerdict::RunAgain { not_before } => {
                Self::RunAgain { not_before: (not_before > now).then_some(not_before) }
            }
            RestartVerdict::Complete => Self::End(FinalState::Terminated(StopReason::Completed)),
            RestartVerdict::Fail => Self::End(FinalState::Failed(StopReason::Completed)),
            RestartVerdict::Quarantine { .. } => Self::End(FinalState::Quarantined),
        }
    }

    /// What follows for one that was told to stop.
    pub(crate) const fn from_order(then: AfterStop) -> Self {
        match then {
            AfterStop::End(reason) => Self::End(FinalState::Terminated(reason)),
            AfterStop::RunAgain => Self::RunAgain { not_before: None },
        }
    }

    /// Whether another run follows.
    pub(crate) const fn runs_again(self) -> bool {
        matches!(self, Self::RunAgain { .. })
    }

    pub(super) const fn final_state(self) -> Option<FinalState> {
        match self {
            Self::RunAgain { .. } => None,
            Self::End(state) => Some(state),
        }
    }

    /// What is told of it.
    pub(super) const fn event_kind(self) -> EventKind {
        match self {
            Self::RunAgain { .. } => EventKind::AgentRestarting,
            Self::End(state) => state.event(),
        }
    }

    /// How it is counted.
    pub(super) const fn outcome(self) -> AgentOutcome {
        match self {
            Self::RunAgain { .. } => AgentOutcome::Restarted,
            Self::End(FinalState::Terminated(_)) => AgentOutcome::Terminated,
            Self::End(FinalState::Failed(_)) => AgentOutcome::Failed,
            Self::End(FinalState::Quarantined) => AgentOutcome::Quarantined,
        }
    }

    /// What it means for the agent's status.
    pub(super) const fn event(self, epoch: Epoch) -> AgentEvent {
        match self {
            Self::RunAgain { not_before } => AgentEvent::Released(epoch, not_before),
            Self::End(state) => AgentEvent::Ended(epoch, state),
        }
    }
}

impl Transition {
    /// What was seen, without the words that came with it: the store will never take them. None where it has none (more).
    pub(super) fn without_words(mut self, why: &str) -> Result<Self, Self> {
        let (words, cause_words) = match &mut self {
            Self::Leave { ending: Ending { last_output, cause, .. }, .. } => {
                (last_output, if let Cause::NotStarted { error } = cause { Some(error) } else { None })
            }
            Self::EndWorker { ending: WorkerEnding { last_words, cause, .. }, .. } => {
                let cause_words = match cause {
                    WorkerCause::NotStarted { error: words } | WorkerCause::DeclaredDead { by: words } => Some(words),
                    _ => None,
                };
                (last_words, cause_words)
            }
            _ => return Err(self),
        };
        if words.starts_with(NO_WORDS) {
            return Err(self);
        }
        *words = format!("{NO_WORDS} ({why})");
        if let Some(error) = cause_words {
            NO_WORDS.clone_into(error);
        }
        Ok(self)
    }
}
