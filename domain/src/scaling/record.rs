//! What was decided about how many workers a pool is to have, as it is stored and shown.

use std::str::FromStr;

use serde_json::Value;
use utoipa::ToSchema;

use super::{Direction, HoldKind};
use crate::{DecisionId, PoolName, Timestamp, Words};

/// How many workers a pool is to have, where somebody or its policies have said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerTarget {
    /// So many; none where they are started as agents need them.
    pub workers: Option<u32>,
    /// When that changed last.
    pub last_scaled_at: Option<Timestamp>,
    /// Whether a person has said it, and it so outlasts the policies.
    pub is_persons: bool,
    /// Until when what a person has said holds the policies.
    pub person_until: Option<Timestamp>,
}

/// Nobody has said anything yet: what holds then was not said by policies either.
impl Default for WorkerTarget {
    fn default() -> Self {
        Self { workers: None, last_scaled_at: None, is_persons: true, person_until: None }
    }
}

crate::words! {
    /// Who has decided how many workers there are to be.
    #[derive(ToSchema)]
    pub enum ScalingActor {
        /// The pool's policies.
        Policies = "policies",
        /// The bounds of the pool, of which it was outside.
        Bounds = "bounds",
        /// A person.
        Person = "person",
        /// A spawn that needed one more.
        Spawn = "spawn",
        /// A task that could start while there was no worker.
        FirstTask = "first_task",
        /// The pool's scaling was turned on or off.
        Mode = "mode",
    }
}

crate::words! {
    /// How far a decision is carried out.
    #[derive(ToSchema)]
    pub enum DecisionState {
        /// Nothing follows from it: it holds, advises, or releases.
        Noted = "noted",
        /// Workers are started, or leave.
        Pending = "pending",
        /// There are as many as it said.
        Done = "done",
        /// There were not in time.
        Failed = "failed",
        /// Another one came first.
        Superseded = "superseded",
    }
}

impl FromStr for ScalingActor {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::of_word(text).ok_or_else(|| format!("nobody who decides: {text:?}"))
    }
}

impl FromStr for DecisionState {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::of_word(text).ok_or_else(|| format!("no state of a decision: {text:?}"))
    }
}

/// One decision. Those that hold are recorded where why they do is another reason than before.
#[derive(Clone, Debug, PartialEq)]
pub struct ScalingRecord {
    /// Its id.
    pub decision_id: DecisionId,
    /// The pool.
    pub pool_name: PoolName,
    /// When.
    pub at: Timestamp,
    /// Who decided.
    pub actor: ScalingActor,
    /// Workers that were to be there; none where nobody said how many.
    pub from: Option<u32>,
    /// Workers that are to be there from then on; none where nobody says so any more.
    pub to: Option<u32>,
    /// Slots of each worker.
    pub max_agents: u32,
    /// Why it stays, or goes less far than it was voted.
    pub hold: Option<HoldKind>,
    /// Whether it is only advice: nothing changed.
    pub advised: bool,
    /// The policy whose vote was decisive.
    pub decided_by: Option<String>,
    /// Why, in words with the figures.
    pub reason: String,
    /// What it was judged by: the picture, the votes and what they recommended; null where nobody voted.
    pub inputs: Value,
    /// How far it is carried out.
    pub state: DecisionState,
    /// When it was carried out, had failed or was superseded.
    pub ended_at: Option<Timestamp>,
    /// What came of it, in words.
    pub result: Option<String>,
}

impl ScalingRecord {
    /// Which way it goes; none where as many workers are to be there as before, or nobody says how many.
    pub fn direction(&self) -> Option<Direction> {
        Direction::between(self.from?, self.to?)
    }
}
