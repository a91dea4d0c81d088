//! The agents of a pool: one part of its keeper.
//!
//! It takes facts (what workers report, what people ask for), and puts what follows into the [`Turn`]: transitions for the
//! controller to commit, commands for it to send, answers. What concerns a worker's slots it returns as a [`SlotChange`].
//!
//! [`reports`] takes what workers say, [`requests`] what people ask for; [`commands`] looks at each agent at the end of a turn.

pub(crate) mod agent;
mod commands;
mod reports;
mod requests;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_domain::{Activity, AgentEvent, AgentId, AgentStatus, Assignment, EventDraft, EventKind, Fence, Timestamp};

use self::agent::PoolAgent;
pub(super) use self::reports::{AgentStart, Compared, FirstStart, StartNews};
use super::Turn;
use super::model::Pool;
use crate::alerts::Alerts;
use crate::context::Counters;

/// What this part needs of the supervisor.
pub(crate) struct PoolAgentsDeps {
    pub(crate) fence: Fence,
    /// After what time a command that was not heard is sent again.
    pub(crate) resend: Duration,
    pub(crate) counters: Arc<Counters>,
    pub(crate) alerts: Arc<Alerts>,
}

/// The agents of a pool, by several ways to find them.
pub(crate) struct PoolAgents {
    deps: PoolAgentsDeps,
    by_id: BTreeMap<AgentId, PoolAgent>,
    /// Those without a slot, in the order of their making.
    pending: BTreeSet<AgentId>,
    /// When each is to be looked at again.
    agenda: BTreeSet<(Instant, AgentId)>,
}

/// What a move of an agent means for slots.
#[must_use]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SlotChange {
    /// The one that it has left.
    pub(super) left: Option<Assignment>,
    /// The one that it has taken.
    pub(super) taken: Option<Assignment>,
}

impl SlotChange {
    fn between(before: Option<Assignment>, after: Option<Assignment>) -> Self {
        if before == after { Self::default() } else { Self { left: before, taken: after } }
    }
}

impl PoolAgents {
    pub(super) const fn new(deps: PoolAgentsDeps) -> Self {
        Self { deps, by_id: BTreeMap::new(), pending: BTreeSet::new(), agenda: BTreeSet::new() }
    }

    pub(crate) fn get(&self, id: AgentId) -> Option<&PoolAgent> {
        self.by_id.get(&id)
    }

    /// For all but the status, which moves by [`PoolAgents::apply`] only.
    pub(crate) fn get_mut(&mut self, id: AgentId) -> Option<&mut PoolAgent> {
        self.by_id.get_mut(&id)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &PoolAgent> {
        self.by_id.values()
    }

    /// Those after this one, in the order of their making.
    pub(crate) fn after(&self, agent: Option<AgentId>) -> impl Iterator<Item = &PoolAgent> {
        let from = agent.map_or(Bound::Unbounded, Bound::Excluded);
        self.by_id.range((from, Bound::Unbounded)).map(|(_, agent)| agent)
    }

    pub(crate) fn ids(&self) -> Vec<AgentId> {
        self.by_id.keys().copied().collect()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// Takes an agent in, or a fresh copy of one: whoever waited for the old copy waits for the new one.
    pub(super) fn put(&mut self, mut agent: PoolAgent) -> SlotChange {
        let id = agent.spec.agent_id;
        let old = self.remove(id);
        let before = old.as_ref().and_then(|old| old.status.assignment());
        if let Some(old) = old {
            agent.waiters = old.waiters;
            agent.history = old.history;
        }
        let after = agent.status.assignment();
        if agent.status.is_pending() {
            self.pending.insert(id);
        }
        self.by_id.insert(id, agent);
        SlotChange::between(before, after)
    }

    /// Forgets an agent, whose slot was taken from it before.
    pub(super) fn take(&mut self, id: AgentId) {
        self.remove(id);
    }

    fn remove(&mut self, id: AgentId) -> Option<PoolAgent> {
        let agent = self.by_id.remove(&id)?;
        if let Some(due) = agent.due {
            self.agenda.remove(&(due, id));
        }
        self.pending.remove(&id);
        Some(agent)
    }

    /// Moves an agent's status, and keeps those without a slot in step with it.
    pub(super) fn apply(&mut self, id: AgentId, event: &AgentEvent) -> SlotChange {
        let Some(agent) = self.by_id.get_mut(&id) else { return SlotChange::default() };
        let before = agent.status.assignment();
        agent.apply(event);
        if agent.status.is_pending() {
            self.pending.insert(id);
        } else {
            self.pending.remove(&id);
        }
        SlotChange::between(before, agent.status.assignment())
    }

    /// A move that leaves the agent where it is.
    fn turn(&mut self, id: AgentId, event: &AgentEvent) {
        let change = self.apply(id, event);
        debug_assert_eq!(change, SlotChange::default(), "{event:?} gives and takes no slot");
    }

    /// What an agent does, where it runs: by its worker's word, if there is news of it, and by whether it has work.
    pub(super) fn note_activity(&mut self, id: AgentId, seen: Option<Activity>, has_work: bool) {
        let Some(agent) = self.by_id.get_mut(&id) else { return };
        let (Some(at), Some(before)) = (agent.status.runs_at(), agent.status.activity()) else { return };
        let now = seen.unwrap_or(before).given(has_work);
        if now != before {
            agent.apply(&AgentEvent::Turned(at.epoch, now));
        }
    }

    /// Agents that wait for a slot and whose backoff is over, the oldest first.
    pub(super) fn placeable(&self, now: Instant) -> Vec<AgentId> {
        let ready = |id: &&AgentId| match self.by_id.get(*id).map(|agent| &agent.status) {
            Some(AgentStatus::Pending { not_before }) => not_before.is_none_or(|at| at <= now),
            _ => false,
        };
        self.pending.iter().filter(ready).copied().collect()
    }

    /// How many have no slot, whether they may be placed now or not.
    pub(super) fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Notes when an agent is to be looked at again.
    fn schedule(&mut self, id: AgentId, due: Option<Instant>) {
        let Some(agent) = self.by_id.get_mut(&id) else { return };
        if agent.due == due {
            return;
        }
        if let Some(old) = std::mem::replace(&mut agent.due, due) {
            self.agenda.remove(&(old, id));
        }
        if let Some(due) = due {
            self.agenda.insert((due, id));
        }
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.agenda.first().map(|(due, _)| *due)
    }

    /// Takes those that are due off the agenda.
    pub(super) fn take_due(&mut self, now: Instant) -> Vec<AgentId> {
        let mut due = Vec::new();
        while let Some((at, id)) = self.agenda.first().copied().filter(|(at, _)| *at <= now) {
            self.agenda.remove(&(at, id));
            if let Some(agent) = self.by_id.get_mut(&id) {
                agent.due = None;
            }
            due.push(id);
        }
        due
    }

    pub(super) fn event(
        &self,
        pool: &Pool,
        kind: EventKind,
        agent: AgentId,
        at: Timestamp,
        reason: String,
    ) -> EventDraft {
        let process_id = self.get(agent).and_then(|agent| agent.status.assignment()).map(|place| place.process_id);
        EventDraft { process_id, agent_id: Some(agent), reason, ..pool.event(kind, at) }
    }
}
