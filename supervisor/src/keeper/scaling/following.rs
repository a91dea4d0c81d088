//! How far the last decision is carried out, and which workers leave for it.

use std::collections::BTreeSet;

use muster_domain::agent::StopReason;
use muster_domain::scaling::DecisionState;
use muster_domain::{AgentId, AgentStatus, DecisionId, ProcessId, ScalingMode, counted};
use muster_policy::scaling::{self, AgentDemand, LeaveCandidate, ScaleIn, ScalingReason};

use super::super::agents::agent::PoolAgent;
use super::super::tasks::PoolNow;
use super::super::transitions::Transition;
use super::super::workers::worker::PoolWorker;
use super::super::{Keeper, Turn};
use crate::alerts::AlertKind;
use crate::prometheus::families;

/// Of what the alert is that a decision is not carried out.
const NOT_CARRIED_OUT: &str = "scaling";

/// A decision that has come to its end.
pub(crate) struct DecisionEnd {
    pub(crate) id: DecisionId,
    pub(crate) state: DecisionState,
    pub(crate) result: String,
}

/// What an agent is where its worker may leave.
enum AgentSort {
    /// It has work, waits for a person, or is on its way.
    Busy,
    /// Idle, and spawned by somebody.
    Moving,
    /// Idle, and started for tasks.
    Ending,
}

impl AgentSort {
    fn of(agent: &PoolAgent) -> Self {
        match agent.status.idles_at().filter(|_| !agent.run.leaving) {
            None => Self::Busy,
            Some(_) if agent.spec.on_demand => Self::Ending,
            Some(_) => Self::Moving,
        }
    }
}

impl Keeper {
    /// Says how far the last decision has come, once it is carried out or its time is over; and, of one that was not in time, when it is
    /// carried out after all.
    pub(in crate::keeper) fn follow_decision(&mut self, turn: &mut Turn) {
        let Some(pending) = self.scaling.pending else { return self.follow_failed(turn) };
        if self.model.pool.is_stopping {
            // The next supervisor goes on with it.
            return;
        }
        // Its bounds may have changed since.
        let to = self.model.pool.target_workers().unwrap_or(pending.to);
        let (state, result) = match self.lacks_of(to, turn) {
            _ if self.model.pool.draining => (DecisionState::Superseded, "the pool ends".to_owned()),
            None => (DecisionState::Done, format!("{} ready", are(to))),
            Some(_) if turn.now < pending.deadline => return,
            Some(lacks) => (DecisionState::Failed, lacks),
        };
        if state == DecisionState::Failed {
            let pool = &self.model.pool.spec.pool_name;
            tracing::warn!(pool.name = %pool, "a decision about workers is not carried out: {result}");
            self.context.reporting.alerts.raise(AlertKind::ScalingFailed, Some(pool), NOT_CARRIED_OUT, result.clone());
            self.scaling.failed = true;
        }
        self.scaling.pending = None;
        turn.transitions.push(Transition::EndDecision(DecisionEnd { id: pending.id, state, result }));
        self.follow_failed(turn);
    }

    /// The end of a decision is stored.
    pub(in crate::keeper) fn count_result(&self, state: DecisionState) {
        let (pool, result) = (self.model.pool.label(), state.as_str());
        metrics::counter!(families::SCALING_RESULTS.name, "pool" => pool, "result" => result).increment(1);
    }

    fn follow_failed(&mut self, turn: &Turn) {
        let target = self.model.pool.target_workers();
        if self.scaling.failed && target.is_none_or(|target| self.lacks_of(target, turn).is_none()) {
            self.scaling.failed = false;
            let pool = &self.model.pool.spec.pool_name;
            self.context.reporting.alerts.clear(AlertKind::ScalingFailed, Some(pool), NOT_CARRIED_OUT);
        }
    }

    /// What there is to do until there are as many workers as this, in words; none where nothing is.
    fn lacks_of(&self, to: u32, turn: &Turn) -> Option<String> {
        let workers = &self.model.workers;
        let counts = workers.counts(&self.model.pool, turn.now);
        let ready = counts.taking.saturating_sub(counts.starting);
        // Those of before, and those that nobody can reach, have reasons of their own to stay or to go.
        let ending = counts.open.saturating_sub(counts.taking + workers.outdated() + workers.unreachable_staying());
        if ready < to {
            let why = self.troubles.of_starts().map(|why| format!(": {why}")).unwrap_or_default();
            return Some(format!("only {ready} of {} ready in time{why}", are(to)));
        }
        let more = counts.taking.saturating_sub(to) + ending;
        (more > 0).then(|| {
            format!("{} more than {to} did not end in time: agents there have work", counted(more.into(), "worker"))
        })
    }

    /// Chooses who leaves where there are more workers than are to be, and takes their idle agents off them.
    pub(in crate::keeper) fn scale_in(&mut self, turn: &mut Turn) {
        let Some(target) = self.model.pool.target_workers().filter(|_| self.may_scale_in()) else {
            return self.model.workers.stay_all();
        };
        // Whoever is taken off somewhere could not begin anew now.
        if self.context.reporting.health.start_refusal().is_some() {
            return;
        }
        let candidates: Vec<LeaveCandidate> = self.leave_candidates(turn);
        if self.model.workers.open() <= target && self.model.workers.leaving() == 0 {
            return;
        }
        let planned = self.model.workers.planned(target, &self.model.pool);
        let ScaleIn { leave, stay, thin_out } = scaling::scale_in(&candidates, Some(target), planned);
        for id in stay {
            tracing::info!(process.id = %id, "a worker that was leaving stays");
            self.model.workers.set_leaving(id, false);
        }
        for id in leave {
            tracing::info!(process.id = %id, target, "a worker leaves: there are to be fewer");
            self.model.workers.set_leaving(id, true);
        }
        let leaving: Vec<ProcessId> = self.model.workers.leaving_ids();
        // By any other rule than packing whoever is moved off might come back.
        let consolidates = self.scaling_mode() == ScalingMode::On && self.model.pool.spec.config.packs();
        let thin_out = thin_out.filter(|_| consolidates);
        let from: BTreeSet<AgentId> = leaving
            .into_iter()
            .chain(thin_out)
            .filter_map(|id| self.model.workers.get(&id))
            .flat_map(|worker| worker.held.iter().copied())
            .collect();
        for id in from {
            self.take_off(id, turn);
        }
    }

    fn may_scale_in(&self) -> bool {
        // Before the tasks are known, an agent without one may only seem so.
        let pool = &self.model.pool;
        self.tasks.is_loaded() && !pool.draining && !pool.is_stopping
    }

    fn leave_candidates(&mut self, turn: &Turn) -> Vec<LeaveCandidate> {
        let mut candidates = Vec::new();
        let is_candidate = |worker: &&PoolWorker| {
            worker.is_wanted() || (worker.leaves && !worker.is_interrupted() && worker.status.takes_agents())
        };
        for worker in self.model.workers.values().filter(is_candidate) {
            let (mut busy, mut moving, mut ending) = (0, 0, 0);
            for agent in worker.held.iter().filter_map(|id| self.model.agent(*id)) {
                match AgentSort::of(agent) {
                    // One that is told to end or to move from a worker that leaves is on its way.
                    AgentSort::Busy if worker.leaves && matches!(agent.status, AgentStatus::Stopping { .. }) => {}
                    AgentSort::Busy => busy += 1,
                    AgentSort::Moving => moving += 1,
                    AgentSort::Ending => ending += 1,
                }
            }
            candidates.push(LeaveCandidate {
                process_id: worker.process_id,
                capacity: worker.capacity,
                tier: worker.origin.tier,
                leaves: worker.leaves,
                is_ready: worker.listens(),
                busy,
                moving,
                ending,
                worked_at: if busy > 0 { turn.now } else { worker.worked_at },
            });
        }
        let working: Vec<ProcessId> =
            candidates.iter().filter(|worker| worker.busy > 0).map(|worker| worker.process_id).collect();
        self.model.workers.note_working(&working, turn.now);
        candidates
    }

    /// An idle agent of a worker that leaves, or is thinned out, ends or runs anew elsewhere.
    fn take_off(&self, id: AgentId, turn: &mut Turn) {
        let Some(agent) = self.model.agent(id) else { return };
        match AgentSort::of(agent) {
            AgentSort::Busy => {}
            AgentSort::Ending => {
                let reason = StopReason::ScaledIn;
                turn.transitions.push(Transition::Stop { agent: id, reason, graceful: true, waiter: None });
            }
            AgentSort::Moving => self.move_elsewhere(id, turn),
        }
    }

    /// Without any worker no policy is waited for: the first task that could start gets one at once.
    pub(in crate::keeper) fn wants_first_worker(&self, turn: &Turn) -> bool {
        let target = self.model.pool.target;
        let is_held = target.person_until.is_some_and(|until| until > turn.at);
        let is_zero = self.model.pool.target_workers() == Some(0);
        if !is_zero || is_held || self.scaling_mode() != ScalingMode::On || !self.scaling.is_loaded() {
            return false;
        }
        let demand: Option<AgentDemand> = self.tasks.demand(PoolNow::of(&self.model, turn));
        // While agents fail at their start, one is tried when the next may be.
        let demand = demand.filter(|demand| demand.backoff.is_none());
        demand.is_some_and(|demand| matches!(scaling::agents_to_order(demand).reason, ScalingReason::TargetFull(0)))
    }
}

fn are(workers: u32) -> String {
    format!("{} {}", counted(workers.into(), "worker"), if workers == 1 { "is" } else { "are" })
}
