//! One slot that is taken: an agent's tree, from the order to start it to the proof of its death.

use std::time::Duration;

use muster_domain::agent::SHORTEST_INTERVAL;
use muster_domain::{AgentId, AgentSnapshot, CommandRefusal, Epoch, ObservedState, ReportBody, SpawnOrder, Timestamp};
use tokio::time::Instant;

use crate::later;
use crate::slots::{SlotStep, StopMode};
use crate::tasks::AgentWork;

/// An agent that is held.
#[derive(Debug)]
pub(crate) struct HeldAgent {
    order: SpawnOrder,
    phase: AgentPhase,
    /// When it was last seen active, or last reported as idle.
    idle_from: Instant,
    updated_at: Timestamp,
    /// What comes when its tree is dead. Set only together with the order to kill it.
    then: Option<AfterDeath>,
}

/// How far it is.
#[derive(Debug)]
pub(crate) enum AgentPhase {
    /// Its program is being started, or has not said yet that it is ready.
    Starting,
    /// It runs.
    Running { pid: Option<u32> },
    /// It was told to stop.
    Stopping {
        /// As urgently as this.
        how: StopMode,
        /// Whether it ran before.
        ready: bool,
        pid: Option<u32>,
        /// Why it is not gone yet.
        reason: Option<String>,
    },
}

/// What comes after the end of an agent.
#[derive(Debug)]
pub(crate) enum AfterDeath {
    /// A later epoch of it, in the same slot.
    Start(SpawnOrder),
    /// The answer to a command about a later epoch.
    Say(ReportBody),
}

impl AfterDeath {
    fn epoch(&self) -> Option<Epoch> {
        match self {
            Self::Start(order) => Some(order.epoch),
            Self::Say(body) => crate::report_outbox::subject(body).map(|(_, epoch)| epoch),
        }
    }
}

impl HeldAgent {
    pub(crate) const fn starting(order: SpawnOrder, now: Instant, at: Timestamp) -> Self {
        Self { order, phase: AgentPhase::Starting, idle_from: now, updated_at: at, then: None }
    }

    pub(crate) const fn agent_id(&self) -> AgentId {
        self.order.agent.agent_id
    }

    /// How old its picture may be. At least a second, so that an order that is wrong makes no busy loop.
    pub(crate) fn heartbeat_interval(&self) -> Duration {
        self.order.agent.heartbeat_interval.max(SHORTEST_INTERVAL)
    }

    pub(crate) const fn epoch(&self) -> Epoch {
        self.order.epoch
    }

    pub(crate) const fn phase(&self) -> &AgentPhase {
        &self.phase
    }

    /// The later epoch that waits for the end of this one.
    pub(crate) fn next_epoch(&self) -> Option<Epoch> {
        self.then.as_ref().and_then(AfterDeath::epoch)
    }

    pub(crate) fn into_then(self) -> Option<AfterDeath> {
        self.then
    }

    /// Whether it ever ran.
    pub(crate) const fn ready(&self) -> bool {
        matches!(self.phase, AgentPhase::Running { .. } | AgentPhase::Stopping { ready: true, .. })
    }

    /// It runs. Answers whether that is news to tell: of one that is being stopped it is not.
    pub(crate) fn started(&mut self, pid: Option<u32>, now: Instant, at: Timestamp) -> bool {
        self.updated_at = at;
        match &mut self.phase {
            AgentPhase::Starting => {
                (self.phase, self.idle_from) = (AgentPhase::Running { pid }, now);
                true
            }
            AgentPhase::Stopping { ready, .. } => {
                *ready = true;
                false
            }
            AgentPhase::Running { .. } => false,
        }
    }

    /// It is to stop. Answers with nothing where it was told so before, as urgently.
    pub(crate) fn stop(&mut self, how: StopMode, at: Timestamp) -> Option<SlotStep> {
        let step = Some(SlotStep::Stop(self.agent_id(), self.epoch(), how));
        let (ready, pid) = match &mut self.phase {
            AgentPhase::Stopping { how: before, .. } => {
                let more = how > *before;
                *before = how.max(*before);
                return if more { step } else { None };
            }
            AgentPhase::Running { pid } => (true, *pid),
            AgentPhase::Starting => (false, None),
        };
        self.phase = AgentPhase::Stopping { how, ready, pid, reason: None };
        self.updated_at = at;
        step
    }

    /// It is to be killed, and then this is to happen.
    pub(crate) fn replace(&mut self, then: AfterDeath, at: Timestamp) -> Option<SlotStep> {
        self.then = Some(then);
        self.stop(StopMode::Kill, at)
    }

    /// What waits for its end to start is refused instead. Answers who that was.
    pub(crate) fn give_up_next(&mut self) -> Option<(AgentId, Epoch)> {
        let Some(AfterDeath::Start(order)) = &self.then else { return None };
        let (agent_id, epoch) = (order.agent.agent_id, order.epoch);
        self.then = Some(AfterDeath::Say(ReportBody::Refused { agent_id, epoch, refusal: CommandRefusal::Draining }));
        Some((agent_id, epoch))
    }

    /// Says why it is not gone yet.
    pub(crate) fn explain(&mut self, why: Option<String>, at: Timestamp) {
        if let AgentPhase::Stopping { reason, .. } = &mut self.phase
            && *reason != why
        {
            (*reason, self.updated_at) = (why, at);
        }
    }

    /// When it will have been idle for too long, as far as the loop knows.
    pub(crate) fn idle_at(&self) -> Option<Instant> {
        match self.phase {
            AgentPhase::Running { .. } => {
                Some(later(self.idle_from, self.order.agent.max_idle_time.max(SHORTEST_INTERVAL)))
            }
            AgentPhase::Starting | AgentPhase::Stopping { .. } => None,
        }
    }

    /// Whether it has been idle for too long, now that its last activity is known. The count begins anew.
    pub(crate) fn is_idle_since(&mut self, active: Option<Instant>, now: Instant) -> bool {
        self.idle_from = active.map_or(self.idle_from, |at| at.max(self.idle_from));
        let idle = self.idle_at().is_some_and(|at| at <= now);
        if idle {
            self.idle_from = now;
        }
        idle
    }

    /// The picture of it, with what it has to do.
    pub(crate) fn picture(&self, work: AgentWork) -> AgentSnapshot {
        let (state, pid, reason) = match &self.phase {
            AgentPhase::Starting => (ObservedState::Starting, None, None),
            AgentPhase::Running { pid } => (ObservedState::Running(work.activity), *pid, None),
            AgentPhase::Stopping { pid, reason, .. } => (ObservedState::Stopping, *pid, reason.clone()),
        };
        AgentSnapshot {
            agent_id: self.agent_id(),
            epoch: self.epoch(),
            state,
            role_type: self.order.agent.role_type.clone(),
            project_id: self.order.agent.project_id.clone(),
            pid,
            updated_at: work.turned_at.map_or(self.updated_at, |at| self.updated_at.max(at)),
            reason,
            tasks: work.tasks,
        }
    }
}
