//! What was decided about how many workers a pool is to have.

use muster_domain::scaling::{DecisionState, Direction, ScalingActor, ScalingRecord};
use muster_domain::{DecisionId, HoldKind, PoolName, ScalingMode, Timestamp, Words};
use muster_policy::scaling::{Decision, Picture};
use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::scale::ScaleView;

/// How a pool scales, and what was decided.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = PoolScalingJson)]
pub struct PoolScalingView {
    /// The pool.
    #[schema(value_type = String)]
    pub pool_name: PoolName,
    /// Whether its policies act: `off`, `advise` or `on`; `off` too where no autoscaler runs.
    #[schema(value_type = String, extensions(("x-enum" = json!(ScalingMode::words()))))]
    pub mode: ScalingMode,
    /// How many workers it has, and is to have.
    #[serde(flatten)]
    pub scale: ScaleView,
    /// What was decided, the latest first.
    pub decisions: Vec<DecisionView>,
}

/// One decision. Those that hold are listed where why they do is another reason than before.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = ScalingDecisionJson)]
pub struct DecisionView {
    /// Its id; later decisions have later ones.
    #[schema(value_type = String, format = Uuid)]
    pub decision_id: DecisionId,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// Who decided: its `policies`, its `bounds`, a `person`, a `spawn` that needed one more, a `first_task` without any worker, or the
    /// `mode` of its scaling.
    #[schema(value_type = String, extensions(("x-enum" = json!(ScalingActor::words()))))]
    pub actor: ScalingActor,
    /// Which way; null where as many workers are to be there as before, or nobody says how many.
    #[schema(value_type = Option<String>, extensions(("x-enum" = json!(Direction::words()))))]
    pub direction: Option<Direction>,
    /// Workers that were to be there; null where nobody said how many.
    pub from_workers: Option<u32>,
    /// Workers that are to be there from then on; null where nobody says so any more.
    pub to_workers: Option<u32>,
    /// Agents that these hold at the most.
    pub to_agents: Option<u64>,
    /// Why it stays, or goes less far than it was voted.
    #[schema(value_type = Option<String>, extensions(("x-enum" = json!(HoldKind::words()))))]
    pub hold: Option<HoldKind>,
    /// Whether it is only advice: nothing changed.
    pub advised: bool,
    /// The policy whose vote was decisive.
    pub decided_by: Option<String>,
    /// Why, in words with the figures.
    pub reason: String,
    /// What it was judged by: `picture` (the pool at that moment), `votes` (of each policy) and `recommended` (the highest vote before
    /// cooldowns and bounds); null where nobody voted.
    #[schema(value_type = Option<BTreeMap<String, Value>>)]
    pub inputs: Value,
    /// How far it is carried out: `noted` (nothing follows from it), `pending`, `done`, `failed` or `superseded`.
    #[schema(value_type = String, extensions(("x-enum" = json!(DecisionState::words()))))]
    pub state: DecisionState,
    /// When it was carried out, had failed or was superseded.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub ended_at: Option<Timestamp>,
    /// What came of it, in words.
    pub result: Option<String>,
}

impl From<ScalingRecord> for DecisionView {
    fn from(record: ScalingRecord) -> Self {
        let slots = |workers: u32| u64::from(workers) * u64::from(record.max_agents);
        Self {
            direction: record.direction(),
            decision_id: record.decision_id,
            at: record.at,
            actor: record.actor,
            from_workers: record.from,
            to_workers: record.to,
            to_agents: record.to.map(slots),
            hold: record.hold,
            advised: record.advised,
            decided_by: record.decided_by,
            reason: record.reason,
            inputs: record.inputs,
            state: record.state,
            ended_at: record.ended_at,
            result: record.result,
        }
    }
}

/// What the policies of a pool would decide now, or would if its figures were others. Nothing follows from it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = WhatIfJson)]
pub struct WhatIfView {
    /// The pool.
    #[schema(value_type = String)]
    pub pool_name: PoolName,
    /// Workers that are to be there now.
    pub from_workers: u32,
    /// Workers that would be.
    pub to_workers: u32,
    /// Which way; null where nothing would change.
    #[schema(value_type = Option<String>, extensions(("x-enum" = json!(Direction::words()))))]
    pub direction: Option<Direction>,
    /// Why it would stay, or go less far than it is voted.
    #[schema(value_type = Option<String>, extensions(("x-enum" = json!(HoldKind::words()))))]
    pub hold: Option<HoldKind>,
    /// The policy whose vote would be decisive.
    pub decided_by: Option<String>,
    /// Why, in words with the figures.
    pub reason: String,
    /// The vote of each policy: `policy`, `workers` (null where it has no opinion), `wanted` (before its cooldown), `held` and `reason`.
    #[schema(value_type = Vec<BTreeMap<String, Value>>)]
    pub votes: Value,
    /// By what it is judged: `workers`, `queue`, `running`, `slots`, `cpu`, `memory`, `host_memory`, `holds` and `progress`; a figure that
    /// could not be measured is null.
    #[schema(value_type = BTreeMap<String, Value>)]
    pub picture: Value,
}

impl WhatIfView {
    pub(crate) fn new(pool_name: PoolName, decision: Decision, picture: &Picture) -> Self {
        let from_workers = picture.workers.current;
        Self {
            pool_name,
            from_workers,
            to_workers: decision.target,
            direction: Direction::between(from_workers, decision.target),
            hold: decision.outcome.hold().or(decision.limit),
            decided_by: decision.decided_by,
            reason: decision.reason,
            votes: serde_json::to_value(decision.votes).unwrap_or_default(),
            picture: serde_json::to_value(picture).unwrap_or_default(),
        }
    }
}
