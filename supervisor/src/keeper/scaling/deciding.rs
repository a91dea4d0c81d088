//! What a decision changes, and what is stored of it.

use muster_domain::scaling::{DecisionState, ScalingActor, ScalingRecord, WorkerTarget};
use muster_domain::{DecisionId, EventDraft, EventKind, ScalingMode, counted};
use muster_policy::scaling::{Decision, Outcome};
use muster_store::Write;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::super::model::Model;
use super::super::transitions::Transition;
use super::super::{Keeper, Turn};
use super::{DecisionEnd, Judgement, PendingDecision, PoolScaling, Said, move_of};
use crate::error::SupervisorError;
use crate::prometheus::{DecisionOutcome, families};
use crate::view::PoolView;

/// What came of a decision that another one has taken the place of.
const SUPERSEDED: &str = "another decision came first";

/// Who waits for a decision to be stored.
pub(crate) type DecisionReply = oneshot::Sender<Result<PoolView, SupervisorError>>;

/// A decision that is to be stored.
pub(crate) struct Decided {
    /// How many workers there are to be from then on; none where that stays.
    pub(crate) target: Option<WorkerTarget>,
    pub(crate) record: ScalingRecord,
    /// The one before, which is not carried out and comes to nothing by this one.
    superseded: Option<DecisionId>,
}

impl Decided {
    /// What is stored of it, what it changes first.
    pub(in crate::keeper) fn writes(&self, model: &Model) -> Vec<Write> {
        let (record, mut writes) = (&self.record, Vec::new());
        if let Some(target) = self.target {
            writes.push(Write::ScalePool { pool: record.pool_name.clone(), target });
        }
        writes.push(Write::AddDecision(Box::new(record.clone())));
        if let Some(decision_id) = self.superseded {
            let result = SUPERSEDED.to_owned();
            writes.push(Write::EndDecision { decision_id, state: DecisionState::Superseded, result, at: record.at });
        }
        let event = model.pool.event(self.event_kind(), record.at);
        writes.push(Write::Event(EventDraft { reason: record.reason.clone(), ..event }));
        writes
    }

    const fn event_kind(&self) -> EventKind {
        match (&self.target, self.record.advised) {
            (Some(_), _) => EventKind::PoolScaled,
            (None, true) => EventKind::PoolAdvised,
            (None, false) => EventKind::PoolHeld,
        }
    }
}

impl Keeper {
    /// Somebody else than the policies says how many workers there are to be, or (none) that nobody says so any more.
    pub(in crate::keeper) fn decide_for(
        &self,
        actor: ScalingActor,
        to: Option<u32>,
        words: String,
        turn: &Turn,
    ) -> Decided {
        let scaling = &self.model.pool.spec.config.scaling;
        let before = self.model.pool.target;
        let is_on = self.scaling_mode() == ScalingMode::On;
        // Policies that act go on from what there is; without a number nothing would bound the pool until they do.
        let is_handed_back = actor == ScalingActor::Person && to.is_none() && is_on;
        let to = if is_handed_back { self.model.pool.target_workers() } else { to };
        let target = WorkerTarget {
            workers: to,
            last_scaled_at: Some(turn.at),
            is_persons: match actor {
                ScalingActor::Person => !is_handed_back,
                ScalingActor::Mode | ScalingActor::FirstTask | ScalingActor::Policies | ScalingActor::Bounds => false,
                // It needs one more than whoever said how many; they go on.
                ScalingActor::Spawn => before.is_persons,
            },
            person_until: match (actor, to) {
                (ScalingActor::Person, Some(_)) if is_handed_back => None,
                (ScalingActor::Person, Some(_)) => is_on.then(|| turn.at.after(scaling.person_hold())),
                (ScalingActor::Person, None) | (ScalingActor::Mode, _) => None,
                _ => before.person_until,
            },
        };
        self.decided(Some(target), self.record(actor, to, words, turn))
    }

    /// What the policies have decided. None where it is what they have said before.
    pub(in crate::keeper) fn decide(&self, judgement: &Judgement, turn: &Turn) -> Option<Decided> {
        let Judgement { decision, picture, .. } = judgement;
        let before = self.model.pool.target;
        let advised = self.scaling_mode() != ScalingMode::On;
        let hold = decision.outcome.hold().or(decision.limit);
        let said = Said { to: Some(decision.target), hold, advised };
        let changes = decision.outcome.hold().is_none() && !advised;
        if !changes && self.scaling.latest.is_some_and(|latest| latest == said) {
            return None;
        }
        let actor = match (&decision.decided_by, decision.outcome) {
            (None, Outcome::Out | Outcome::In) => ScalingActor::Bounds,
            _ => ScalingActor::Policies,
        };
        let target = changes.then(|| WorkerTarget {
            workers: Some(decision.target),
            last_scaled_at: Some(turn.at),
            is_persons: false,
            person_until: before.person_until.filter(|until| *until > turn.at),
        });
        let record = ScalingRecord {
            from: Some(picture.workers.current),
            hold,
            advised,
            decided_by: decision.decided_by.clone(),
            inputs: inputs(decision, json!(picture)),
            ..self.record(actor, Some(decision.target), decision.reason.clone(), turn)
        };
        Some(self.decided(target, record))
    }

    fn record(&self, actor: ScalingActor, to: Option<u32>, reason: String, turn: &Turn) -> ScalingRecord {
        let spec = &self.model.pool.spec;
        let from = match actor {
            ScalingActor::Mode => self.model.pool.target_workers(),
            _ => Some(self.current_workers(turn.now)),
        };
        ScalingRecord {
            decision_id: DecisionId::generate(),
            pool_name: spec.pool_name.clone(),
            at: turn.at,
            actor,
            from,
            to,
            max_agents: spec.config.max_agents,
            hold: None,
            advised: false,
            decided_by: None,
            reason,
            inputs: Value::Null,
            state: DecisionState::Noted,
            ended_at: None,
            result: None,
        }
    }

    fn decided(&self, target: Option<WorkerTarget>, record: ScalingRecord) -> Decided {
        // The same number again is what is to be carried out from now on.
        let goes_on = self.scaling.pending.is_some_and(|pending| Some(pending.to) == record.to);
        let changes = target.is_some() && record.to.is_some() && (record.from != record.to || goes_on);
        let state = if changes { DecisionState::Pending } else { DecisionState::Noted };
        let superseded = self.scaling.pending.map(|pending| pending.id).filter(|_| target.is_some());
        Decided { target, record: ScalingRecord { state, ..record }, superseded }
    }

    /// A decision is stored.
    pub(in crate::keeper) fn note_decided(&mut self, decided: &Decided, turn: &mut Turn) {
        let Decided { target, record, superseded } = decided;
        let (pool, outcome) = (self.model.pool.label(), DecisionOutcome::from(record).as_str());
        metrics::counter!(families::SCALING_DECISIONS.name, "pool" => pool, "outcome" => outcome).increment(1);
        if superseded.is_some() {
            self.count_result(DecisionState::Superseded);
        }
        if let Some(target) = target {
            // One that was decided in the same turn, before this one.
            let before = self.scaling.pending.map(|pending| pending.id).filter(|id| Some(*id) != *superseded);
            turn.transitions.extend(before.map(|id| {
                Transition::EndDecision(DecisionEnd {
                    id,
                    state: DecisionState::Superseded,
                    result: SUPERSEDED.to_owned(),
                })
            }));
            tracing::info!(pool.name = %record.pool_name, "the pool was scaled: {}", record.reason);
            self.model.pool.target = *target;
        }
        let deadline = turn.now + self.context.settings.clocks.start_timeout;
        self.scaling.note(decided, deadline);
    }

    /// The mode of the pool's scaling may be another one than before: with policies there is always a target, and without them only
    /// that of a person is kept.
    pub(in crate::keeper) fn follow_scaling_mode(&self, turn: &mut Turn) {
        let pool = &self.model.pool;
        if pool.draining || pool.is_stopping || !self.scaling.is_loaded || turn.is_scaled() {
            return;
        }
        let (to, words) = match (self.scaling_mode(), pool.target) {
            (ScalingMode::On, WorkerTarget { workers: None, .. }) => {
                let workers = self.current_workers(turn.now);
                (Some(workers), format!("scaling is on, and begins with {}", counted(workers.into(), "worker")))
            }
            (ScalingMode::Off | ScalingMode::Advise, WorkerTarget { workers: Some(_), is_persons: false, .. }) => {
                (None, "scaling is not on any more: workers are started as agents need them".to_owned())
            }
            _ => return,
        };
        let decided = Box::new(self.decide_for(ScalingActor::Mode, to, words, turn));
        turn.transitions.push(Transition::Scale { decided, reply: None });
    }
}

/// By what it was judged.
fn inputs(decision: &Decision, picture: Value) -> Value {
    json!({"picture": picture, "votes": decision.votes, "recommended": decision.recommended})
}

impl PoolScaling {
    /// Remembers what policies recommended, whatever is stored of it.
    pub(in crate::keeper) fn remember(&mut self, judgement: &Judgement, at: muster_domain::Timestamp) {
        // The move itself is remembered when it is stored.
        self.history.recommend(judgement.decision.recommended, at);
    }

    fn note(&mut self, decided: &Decided, deadline: std::time::Instant) {
        let Decided { target, record, .. } = decided;
        if matches!(record.actor, ScalingActor::Policies | ScalingActor::Bounds) {
            self.latest = Some(Said::of(record));
        }
        if target.is_none() {
            return;
        }
        if let Some(change) = move_of(record) {
            self.history.add(change);
        }
        let pending = record.to.filter(|_| record.state == DecisionState::Pending);
        self.pending = pending.map(|to| PendingDecision { id: record.decision_id, to, deadline });
    }
}
