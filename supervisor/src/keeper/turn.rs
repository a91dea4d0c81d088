//! One turn's collector: what the parts decide and want to say is put here, and the controller commits, sends and answers it.

use std::time::Instant;

use muster_domain::{AgentId, Envelope, EventDraft, ProcessId, Timestamp};

use super::agents::agent::{AgentAnswer, AgentReply};
use super::mailbox::SpawnAsk;
use super::transitions::Transition;
use crate::clock;
use crate::error::SupervisorError;

/// One turn.
pub(crate) struct Turn {
    pub(super) now: Instant,
    /// The same by the wall clock.
    pub(super) at: Timestamp,
    /// Transitions that were decided, for the next commit.
    pub(super) transitions: Vec<Transition>,
    /// Agents to place.
    pub(super) spawns: Vec<SpawnAsk>,
    /// Agents to look at in the last step.
    pub(super) touched: Vec<AgentId>,
    /// Events that no transition has: a commit takes them along.
    pub(super) notes: Vec<EventDraft>,
    /// Commands to workers.
    pub(super) commands: Vec<(ProcessId, Envelope)>,
    /// Answers to those who wait for an agent.
    answers: Vec<(AgentReply, Result<AgentAnswer, SupervisorError>)>,
    /// Whether a later leader was met.
    pub(super) is_outranked: bool,
}

impl Turn {
    pub(super) fn new(at: Timestamp) -> Self {
        Self {
            now: clock::now(),
            at,
            transitions: Vec::new(),
            spawns: Vec::new(),
            touched: Vec::new(),
            notes: Vec::new(),
            commands: Vec::new(),
            answers: Vec::new(),
            is_outranked: false,
        }
    }

    /// Whether it was decided how many workers there are to be: nobody else decides that in this turn by what was before.
    pub(super) fn is_scaled(&self) -> bool {
        self.transitions.iter().any(|step| matches!(step, Transition::Scale { .. }))
    }

    /// Answers somebody when what was decided is said. Where the asker has gone, it goes nowhere.
    pub(super) fn answer(&mut self, reply: AgentReply, answer: Result<AgentAnswer, SupervisorError>) {
        self.answers.push((reply, answer));
    }

    /// Says what was decided to those who asked.
    pub(super) fn send_answers(&mut self) {
        for (reply, answer) in self.answers.drain(..) {
            drop(reply.send(answer));
        }
    }
}
