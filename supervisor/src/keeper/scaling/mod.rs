//! How many workers the pool is to have: one part of its keeper.
//!
//! It takes what was decided, by the pool's policies ([`crate::autoscaler`]), by a person, by a spawn or by the bounds, and says what is
//! stored of it: the target in the pool's row, and the decision with its inputs. It remembers what the next decision depends on, and
//! follows how far the last one is carried out. It starts and ends nothing: the target is held as `min_workers` is.
//!
//! | file | what |
//! |---|---|
//! | [`deciding`] | what a decision changes, and what is stored of it |
//! | [`following`] | how far it is carried out, and who leaves |
//! | [`looking`] | the pool as its policies look at it |

mod deciding;
mod following;
mod looking;

use std::time::Instant;

use muster_domain::scaling::{DecisionState, HoldKind, ScalingActor, ScalingRecord, WorkerTarget};
use muster_domain::{DecisionId, ScalingMode, Timestamp};
use muster_policy::scaling::{Decision, Move, Picture, Recommendation, ScalingHistory};
use muster_store::StoreError;

pub(crate) use self::deciding::{Decided, DecisionReply};
pub(crate) use self::following::DecisionEnd;
pub(crate) use self::looking::{QueueLength, ScalingLook};
use super::transitions::Transition;
use super::{Keeper, Turn};

/// Stored decisions that are looked at when a keeper begins: those of the last hour, where not very many were made.
const REMEMBERED: u32 = 200;

/// What is remembered of earlier decisions, and the one that is being carried out.
#[derive(Default)]
pub(crate) struct PoolScaling {
    /// Whether what was stored is known.
    is_loaded: bool,
    history: ScalingHistory,
    /// What the policies have said last: only what differs from it is recorded.
    latest: Option<Said>,
    pending: Option<PendingDecision>,
    /// Whether the last one was not carried out in time, and still is not.
    failed: bool,
}

/// What policies have said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Said {
    to: Option<u32>,
    hold: Option<HoldKind>,
    advised: bool,
}

/// A decision that is being carried out.
#[derive(Clone, Copy, Debug)]
struct PendingDecision {
    id: DecisionId,
    to: u32,
    /// When it has failed.
    deadline: Instant,
}

/// The moment at which earlier decisions are read.
#[derive(Clone, Copy, Debug)]
struct Loaded {
    at: Timestamp,
    /// Workers that are to be there.
    current: u32,
    /// When a decision has failed of which nobody knows when it began.
    deadline: Instant,
}

/// What policies decided, and by what.
pub(crate) struct Judgement {
    pub(crate) decision: Decision,
    pub(crate) picture: Picture,
    /// When the keeper was looked at.
    pub(crate) taken: Instant,
}

impl PoolScaling {
    /// Whether what was stored is known.
    pub(super) const fn is_loaded(&self) -> bool {
        self.is_loaded
    }

    /// The store may know other decisions: they are read again before anything is decided.
    pub(super) const fn read_anew(&mut self) {
        self.is_loaded = false;
    }

    /// What the last decision of the policies holds back, where it does.
    pub(super) fn held(&self) -> Option<HoldKind> {
        self.latest.and_then(|said| said.hold).filter(|hold| hold.is_told())
    }

    /// Takes in what was decided before, the latest first. Until something else is recommended it counts that as many workers are
    /// wanted as there are to be, as with the HorizontalPodAutoscaler: a supervisor that has just begun takes none away.
    /// One that has ended, which the store is yet to hear, is pending no more.
    fn load(&mut self, records: &[ScalingRecord], ended: &[DecisionId], now: Loaded) {
        self.history.moves = records.iter().rev().filter(|record| !record.advised).filter_map(move_of).collect();
        if self.history.recommendations.is_empty() {
            self.history.recommendations.push(Recommendation { at: now.at, workers: now.current });
        }
        let of_policies =
            |record: &&ScalingRecord| matches!(record.actor, ScalingActor::Policies | ScalingActor::Bounds);
        self.latest = records.iter().find(of_policies).map(Said::of);
        let is_pending =
            |record: &&ScalingRecord| record.state == DecisionState::Pending && !ended.contains(&record.decision_id);
        let known = self.pending.take();
        self.pending = records.iter().find(is_pending).and_then(|record| {
            let id = record.decision_id;
            let deadline = known.filter(|known| known.id == id).map_or(now.deadline, |known| known.deadline);
            Some(PendingDecision { id, to: record.to?, deadline })
        });
        self.is_loaded = true;
    }
}

/// The change of a pool that a decision is, where it is one.
fn move_of(record: &ScalingRecord) -> Option<Move> {
    record.direction()?;
    let voted = record.actor == ScalingActor::Policies;
    let by = record.decided_by.clone().unwrap_or_else(|| record.actor.as_str().to_owned());
    Some(Move { at: record.at, by, voted, from: record.from?, to: record.to? })
}

impl Said {
    fn of(record: &ScalingRecord) -> Self {
        Self { to: record.to, hold: record.hold, advised: record.advised }
    }
}

impl Keeper {
    /// Whether the pool's policies act, as far as this supervisor lets any.
    pub(crate) fn scaling_mode(&self) -> ScalingMode {
        if self.context.settings.autoscaler { self.model.pool.spec.config.scaling.mode } else { ScalingMode::Off }
    }

    /// What is right about the number of workers even where nothing came: its mode, who leaves, and how far the last decision is.
    pub(super) async fn hold_target(&mut self, turn: &mut Turn) {
        if let Err(error) = self.load_scaling(turn).await {
            drop(self.context.store_failed(&error));
        }
        self.follow_scaling_mode(turn);
        self.scale_in(turn);
        self.follow_decision(turn);
    }

    /// What was just decided is carried out at once, and that a decision is carried out is said when it is so.
    pub(super) async fn carry_out_scaling(&mut self, is_scaled: bool, turn: &mut Turn) {
        if is_scaled {
            self.scale_in(turn);
        }
        self.follow_decision(turn);
        if !turn.transitions.is_empty() {
            self.commit_transitions(turn).await;
        }
    }

    /// A pool without any worker gets one for the first task that could start.
    pub(super) async fn begin_at_zero(&mut self, turn: &mut Turn) {
        if self.wants_first_worker(turn) {
            let words = "a task could start, and there was no worker: 1 worker".to_owned();
            let decided = Box::new(self.decide_for(ScalingActor::FirstTask, Some(1), words, turn));
            turn.transitions.push(Transition::Scale { decided, reply: None });
            self.commit_transitions(turn).await;
            self.place(turn).await;
        }
    }

    /// The policies have judged the pool as it was: where somebody has decided since, it is judged anew.
    pub(super) fn take_judgement(&mut self, judgement: &Judgement, seen: WorkerTarget, turn: &mut Turn) {
        let is_over = self.model.pool.draining || self.model.pool.is_stopping;
        if is_over || turn.is_scaled() || self.model.pool.target != seen || self.scaling_mode() == ScalingMode::Off {
            return;
        }
        // One that lay here, e.g. behind a commit, says nothing of the pool as it is.
        let age = turn.now.saturating_duration_since(judgement.taken);
        if age > self.model.pool.spec.config.scaling.check_interval.saturating_mul(2) {
            return;
        }
        self.scaling.remember(judgement, turn.at);
        if let Some(decided) = self.decide(judgement, turn) {
            turn.transitions.push(Transition::Scale { decided: Box::new(decided), reply: None });
        }
    }

    /// Reads what was decided before. Until then nothing is decided.
    async fn load_scaling(&mut self, turn: &Turn) -> Result<(), StoreError> {
        if self.scaling.is_loaded {
            return Ok(());
        }
        let pool = &self.model.pool;
        let records = self.context.store.decisions(&pool.spec.pool_name, None, REMEMBERED).await?;
        let deadline = turn.now + self.context.settings.clocks.start_timeout;
        let unsaved = self.unsaved.transitions.iter();
        let ended: Vec<DecisionId> = unsaved
            .filter_map(|step| match step {
                Transition::EndDecision(end) => Some(end.id),
                _ => None,
            })
            .collect();
        let now = Loaded { at: turn.at, current: self.current_workers(turn.now), deadline };
        self.scaling.load(&records, &ended, now);
        Ok(())
    }

    /// Workers that are to be there.
    fn current_workers(&self, now: Instant) -> u32 {
        self.model.workers.counts(&self.model.pool, now).desired()
    }
}
