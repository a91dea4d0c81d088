//! What is written of a transition.

use muster_domain::scaling::DecisionState;
use muster_domain::{EventDraft, EventKind, Gate, PoolSpec};
use muster_store::Write;

use super::Turn;
use super::model::Model;
use super::scaling::DecisionEnd;
use super::transitions::Transition;

impl Transition {
    /// What is written of it, the transition first.
    pub(super) fn write(&self, model: &Model, turn: &Turn, writes: &mut Vec<Write>) {
        let (pool, at) = (&model.pool, turn.at);
        let name = || pool.spec.pool_name.clone();
        let (write, event) = match self {
            Self::Leave { agent, epoch, ending, then } => {
                let (ending, words) = (ending.clone(), format!("it {}", ending.cause));
                let write = Write::Release { agent_id: *agent, epoch: *epoch, ending, then: then.final_state(), at };
                (write, Some(model.agent_event(then.event_kind(), *agent, at, words)))
            }
            Self::Stop { agent, reason, .. } => {
                let held = model.agent(*agent).is_some_and(|agent| agent.status.assignment().is_some());
                let kind = if held { EventKind::AgentStopping } else { EventKind::AgentTerminated };
                let event = model.agent_event(kind, *agent, at, reason.as_str().to_owned());
                (Write::StopAgent { agent_id: *agent, reason: *reason, at }, Some(event))
            }
            Self::Revive { agent, .. } => (Write::ReviveAgent { agent_id: *agent, at }, None),
            Self::Restart { agent, epoch, .. } => (Write::RestartAgent { agent_id: *agent, epoch: *epoch, at }, None),
            Self::Identify { worker, identity } => {
                (Write::IdentifyWorker { process_id: *worker, identity: identity.clone() }, None)
            }
            Self::Interrupt(noticed) => return writes.extend(noticed.writes(model, turn)),
            Self::Retire { worker, reason } => {
                let event = pool.worker_event(EventKind::WorkerDraining, *worker, at, reason.clone());
                (Write::DrainWorker { process_id: *worker }, Some(event))
            }
            Self::EndWorker { worker, lost, ending } => {
                let kind = if *lost { EventKind::WorkerLost } else { EventKind::WorkerStopped };
                let event = pool.worker_event(kind, *worker, at, format!("it {ending}"));
                (Write::EndWorker { process_id: *worker, lost: *lost, ending: ending.clone(), at }, Some(event))
            }
            Self::Change { spec, .. } => {
                let write = Write::ChangePool { spec: PoolSpec::clone(spec) };
                (write, Some(pool.event(EventKind::PoolChanged, at)))
            }
            Self::Gate { gate, .. } => {
                (Write::GatePool { pool: name(), gate: *gate }, Some(pool.event(gate_event(*gate), at)))
            }
            Self::Scale { decided, .. } => return writes.extend(decided.writes(model)),
            Self::EndDecision(DecisionEnd { id, state, result }) => {
                let end = Write::EndDecision { decision_id: *id, state: *state, result: result.clone(), at };
                let told = (*state == DecisionState::Failed)
                    .then(|| EventDraft { reason: result.clone(), ..pool.event(EventKind::PoolScalingFailed, at) });
                (end, told)
            }
            Self::DrainPool { .. } => {
                (Write::DrainPool { pool: name() }, Some(pool.event(EventKind::PoolDraining, at)))
            }
        };
        writes.push(write);
        writes.extend(event.map(Write::Event));
    }
}

const fn gate_event(gate: Gate) -> EventKind {
    match (gate.closed, gate.paused) {
        (true, _) => EventKind::PoolDrained,
        (false, true) => EventKind::PoolPaused,
        (false, false) => EventKind::PoolResumed,
    }
}
