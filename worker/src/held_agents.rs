//! All agents that are held, with the moments at which they may have been idle for too long in order: nobody looks at every agent to
//! find the next one.

use std::collections::{BTreeSet, HashMap};

use muster_domain::AgentId;
use tokio::time::Instant;

use crate::held_agent::HeldAgent;

/// The agents that are held.
#[derive(Default)]
pub(crate) struct HeldAgents {
    by_id: HashMap<AgentId, HeldAgent>,
    idle: BTreeSet<(Instant, AgentId)>,
}

impl HeldAgents {
    pub(crate) fn get(&self, id: &AgentId) -> Option<&HeldAgent> {
        self.by_id.get(id)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &HeldAgent> {
        self.by_id.values()
    }

    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    pub(crate) fn insert(&mut self, held: HeldAgent) {
        let id = held.agent_id();
        self.remove(id);
        self.idle.extend(held.idle_at().map(|at| (at, id)));
        self.by_id.insert(id, held);
    }

    pub(crate) fn remove(&mut self, id: AgentId) -> Option<HeldAgent> {
        let held = self.by_id.remove(&id)?;
        if let Some(at) = held.idle_at() {
            self.idle.remove(&(at, id));
        }
        Some(held)
    }

    /// Every change of one goes through here, so that the order of the idle never lags. None where it is not held.
    pub(crate) fn change<T>(&mut self, id: AgentId, change: impl FnOnce(&mut HeldAgent) -> T) -> Option<T> {
        let held = self.by_id.get_mut(&id)?;
        let before = held.idle_at();
        let result = change(held);
        let after = held.idle_at();
        if before != after {
            if let Some(at) = before {
                self.idle.remove(&(at, id));
            }
            self.idle.extend(after.map(|at| (at, id)));
        }
        Some(result)
    }

    /// Changes all of them, in no order.
    pub(crate) fn change_all<T>(&mut self, change: impl Fn(&mut HeldAgent) -> Option<T>) -> Vec<T> {
        let ids: Vec<AgentId> = self.by_id.keys().copied().collect();
        ids.into_iter().filter_map(|id| self.change(id, &change).flatten()).collect()
    }

    /// The earliest moment at which one may have been idle for too long.
    pub(crate) fn next_idle(&self) -> Option<Instant> {
        self.idle.first().map(|(at, _)| *at)
    }

    /// Those that may have been by `now`.
    pub(crate) fn idle_by(&self, now: Instant) -> Vec<AgentId> {
        self.idle.iter().take_while(|(at, _)| *at <= now).map(|(_, id)| *id).collect()
    }
}
