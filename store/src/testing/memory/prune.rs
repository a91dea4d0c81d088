//! What goes with time.

use muster_domain::{AgentId, Timestamp};

use super::content::Content;
use crate::Pruned;

impl Content {
    /// The key of an agent or a task goes with it, and the row of a worker stays as long as an agent is placed on it.
    pub(super) fn prune(&mut self, events_before: Timestamp, ended_before: Timestamp) -> Pruned {
        let mut others = self.events.prune(events_before) + self.keys.prune(events_before);
        let agents = self.agents.prune(ended_before);
        agents.iter().for_each(|id| self.keys.forget(id));
        let workers = self.workers.prune(ended_before, |id| self.agents.on(id) > 0);
        others += self.accounts.prune(|name| name.parse().is_ok_and(|id: AgentId| self.agents.have(id)));
        others += self.decisions.prune(ended_before);
        let tasks = self.tasks.prune(ended_before);
        tasks.iter().for_each(|id| self.keys.forget(id));
        Pruned { others, agents, workers, tasks: tasks.len() as u64 }
    }
}
