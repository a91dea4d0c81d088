//! One slot that is taken: an agent's tree, from the order to start it to the proof of its death.

use std::time::Duration;

use muster_domain::{AgentId, AgentPicture, Epoch, Refusal, ReportBody, SeenState, SpawnOrder, Timestamp};
use tokio::time::Instant;

use crate::later;
use crate::slots::{How, SlotStep};
use crate::tasks::Work;

/// What `heartbeat_interval` is at least.
const SHORTEST_FRESHNESS: Duration = Duration::from_secs(1);
/// What `max_idle_time` is at least, so that reporting idleness never becomes a busy loop.
const SHORTEST_IDLE: Duration = Duration::from_secs(1);

/// An agent that is held.
#[derive(Debug)]
pub(crate) struct Held {
    order: SpawnOrder,
    phase: Phase,
    /// When it was last seen active, or last reported as idle.
    idle_from: Instant,
    updated_at: Timestamp,
    /// What comes when its tree is dead. Set only together with the order to kill it.
    then: Option<Then>,
}

/// How far it is.
#[derive(Debug)]
pub(crate) enum Phase {
    /// Its program is being started, or has not said yet that it is ready.
    Starting,
    /// It runs.
    Running { pid: Option<u32> },
    /// It was told to stop.
    Stopping {
        /// As urgently as this.
        how: How,
        /// Whether it ran before.
        ready: bool,
        pid: Option<u32>,
        /// Why it is not gone yet.
        reason: Option<String>,
    },
}

/// What comes after the end of an agent.
#[derive(Debug)]
pub(crate) enum Then {
    /// A later epoch of it, in the same slot.
    Start(SpawnOrder),
    /// The answer to a command about a later epoch.
    Say(ReportBody),
}

impl Then {
    fn epoch(&self) -> Option<Epoch> {
        match self {
            Self::Start(order) => Some(order.epoch),
            Self::Say(body) => crate::post::subject(body).map(|(_, epoch)| epoch),
        }
    }
}

impl Held {
    pub(crate) const fn starting(order: SpawnOrder, now: Instant, at: Timestamp) -> Self {
        Self { order, phase: Phase::Starting, idle_from: now, updated_at: at, then: None }
    }

    pub(crate) const fn agent_id(&self) -> AgentId {
        self.order.agent.agent_id
    }

    /// How old its picture may be. At least a second, so that an order that is wrong makes no busy loop.
    pub(crate) fn heartbeat_interval(&self) -> Duration {
        self.order.agent.heartbeat_interval.max(SHORTEST_FRESHNESS)
    }

    pub(crate) const fn epoch(&self) -> Epoch {
        self.order.epoch
    }

    pub(crate) const fn phase(&self) -> &Phase {
        &self.phase
    }

    /// The later epoch that waits for the end of this one.
    pub(crate) fn next_epoch(&self) -> Option<Epoch> {
        self.then.as_ref().and_then(Then::epoch)
    }

    pub(crate) fn into_then(self) -> Option<Then> {
        self.then
    }

    /// Whether it ever ran.
    pub(crate) const fn ready(&self) -> bool {
        matches!(self.phase, Phase::Running { .. } | Phase::Stopping { ready: true, .. })
    }

    /// It runs. Answers whether that is news to tell: of one that is being stopped it is not.
    pub(crate) fn started(&mut self, pid: Option<u32>, now: Instant, at: Timestamp) -> bool {
        self.updated_at = at;
        match &mut self.phase {
            Phase::Starting => {
                (self.phase, self.idle_from) = (Phase::Running { pid }, now);
                true
            }
            Phase::Stopping { ready, .. } => {
                *ready = true;
                false
            }
            Phase::Running { .. } => false,
        }
    }

    /// It is to stop. Answers with nothing where it was told so before, as urgently.
    pub(crate) fn stop(&mut self, how: How, at: Timestamp) -> Option<SlotStep> {
        let step = Some(SlotStep::Stop(self.agent_id(), self.epoch(), how));
        let (ready, pid) = match &mut self.phase {
            Phase::Stopping { how: before, .. } => {
                let more = how > *before;
                *before = how.max(*before);
                return if more { step } else { None };
            }
            Phase::Running { pid } => (true, *pid),
            Phase::Starting => (false, None),
        };
        self.phase = Phase::Stopping { how, ready, pid, reason: None };
        self.updated_at = at;
        step
    }

    /// It is to be killed, and then this is to happen.
    pub(crate) fn replace(&mut self, then: Then, at: Timestamp) -> Option<SlotStep> {
        self.then = Some(then);
        self.stop(How::Kill, at)
    }

    /// What waits for its end to start is refused instead. Answers who that was.
    pub(crate) fn give_up_next(&mut self) -> Option<(AgentId, Epoch)> {
        let Some(Then::Start(order)) = &self.then else { return None };
        let (agent_id, epoch) = (order.agent.agent_id, order.epoch);
        self.then = Some(Then::Say(ReportBody::Refused { agent_id, epoch, refusal: Refusal::Draining }));
        Some((agent_id, epoch))
    }

    /// Says why it is not gone yet.
    pub(crate) fn explain(&mut self, why: Option<String>, at: Timestamp) {
        if let Phase::Stopping { reason, .. } = &mut self.phase
            && *reason != why
        {
            (*reason, self.updated_at) = (why, at);
        }
    }

    /// When it will have been idle for too long, as far as the loop knows.
    pub(crate) fn idle_at(&self) -> Option<Instant> {
        match self.phase {
            Phase::Running { .. } => Some(later(self.idle_from, self.order.agent.max_idle_time.max(SHORTEST_IDLE))),
            Phase::Starting | Phase::Stopping { .. } => None,
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
    pub(crate) fn picture(&self, work: Work) -> AgentPicture {
        let (state, pid, reason) = match &self.phase {
            Phase::Starting => (SeenState::Starting, None, None),
            Phase::Running { pid } => (SeenState::Running(work.activity), *pid, None),
            Phase::Stopping { pid, reason, .. } => (SeenState::Stopping, *pid, reason.clone()),
        };
        AgentPicture {
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
