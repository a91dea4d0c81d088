//! Which workers have agents of which project. It is kept while the pool places agents by that; else it is empty and costs nothing.

use std::collections::{BTreeMap, HashMap};

use muster_domain::{AgentSpec, ProcessId};

use super::agents::SlotChange;
use super::agents::agent::PoolAgent;

/// The project of an agent that was started for a task without one.
pub(super) const NO_PROJECT: &str = "on_demand";

/// The project that an agent works for; none of one that works for whoever comes.
pub(super) fn project_of(agent: &AgentSpec) -> Option<&str> {
    let project = agent.project_id.as_str();
    (!agent.on_demand || project != NO_PROJECT).then_some(project)
}

/// Agents by project and worker; none while nobody asks.
#[derive(Default)]
pub(super) struct ProjectIndex(Option<HashMap<String, BTreeMap<ProcessId, u32>>>);

impl ProjectIndex {
    /// Begins to keep it, of all that have a slot now, or ends that.
    pub(super) fn keep<'a>(&mut self, is_wanted: bool, agents: impl Iterator<Item = &'a PoolAgent>) {
        if is_wanted == self.0.is_some() {
            return;
        }
        self.0 = is_wanted.then(HashMap::new);
        if is_wanted {
            agents.for_each(|agent| {
                self.follow(&agent.spec, SlotChange { left: None, taken: agent.status.assignment() });
            });
        }
    }

    /// An agent has left a slot, has taken one, or both.
    pub(super) fn follow(&mut self, agent: &AgentSpec, change: SlotChange) {
        let (Some(index), Some(project)) = (&mut self.0, project_of(agent)) else { return };
        if let Some(at) = change.taken {
            *index.entry(project.to_owned()).or_default().entry(at.process_id).or_default() += 1;
        }
        let Some((at, workers)) = change.left.and_then(|at| Some((at.process_id, index.get_mut(project)?))) else {
            return;
        };
        if let Some(agents) = workers.get_mut(&at) {
            *agents -= 1;
            if *agents == 0 {
                workers.remove(&at);
            }
        }
        if workers.is_empty() {
            index.remove(project);
        }
    }

    /// The workers that have agents of this project.
    pub(super) fn workers(&self, project: &str) -> Vec<ProcessId> {
        let workers = self.0.as_ref().and_then(|index| index.get(project));
        workers.into_iter().flat_map(|workers| workers.keys().copied()).collect()
    }
}

#[cfg(test)]
mod tests {
    use muster_domain::agent::DEFAULT_HEARTBEAT_INTERVAL;
    use muster_domain::{AgentEvent, AgentId, Assignment, Epoch, Timestamp};

    use super::*;

    fn agent(project: &str, on_demand: bool) -> AgentSpec {
        AgentSpec {
            agent_id: AgentId::generate(),
            pool_name: "p".parse().expect("a name"),
            role_type: "developer".to_owned(),
            project_id: project.to_owned(),
            human_name: "Ada".to_owned(),
            heartbeat_interval: DEFAULT_HEARTBEAT_INTERVAL,
            max_idle_time: DEFAULT_HEARTBEAT_INTERVAL,
            on_demand,
        }
    }

    #[test]
    fn a_worker_has_a_project_from_its_first_agent_to_its_last() {
        let (one, other) = (ProcessId::generate(), ProcessId::generate());
        let [in_one, in_other] = [one, other].map(|process_id| Some(Assignment { process_id, epoch: Epoch(1) }));
        let (shop, anybodys) = (agent("shop", false), agent(NO_PROJECT, true));
        let mut index = ProjectIndex::default();
        index.follow(&shop, SlotChange { left: None, taken: in_one });
        assert_eq!(index.workers("shop"), [], "nobody asks");
        let mut placed = PoolAgent::new(shop.clone(), Timestamp::from_millis(0));
        placed.apply(&AgentEvent::Assigned(in_one.expect("a slot")));
        index.keep(true, [placed].iter());
        assert_eq!(index.workers("shop"), [one], "who was there before");
        index.follow(&shop, SlotChange { left: None, taken: in_one });
        index.follow(&anybodys, SlotChange { left: None, taken: in_other });
        index.follow(&shop, SlotChange { left: in_one, taken: in_other });
        assert_eq!(index.workers("shop").len(), 2);
        assert_eq!(index.workers(NO_PROJECT), []);
        index.follow(&shop, SlotChange { left: in_one, taken: None });
        assert_eq!(index.workers("shop"), [other]);
        index.follow(&shop, SlotChange { left: in_other, taken: None });
        assert_eq!(
            (index.workers("shop"), index.0.as_ref().map(HashMap::len)),
            (Vec::new(), Some(0)),
            "nothing is left"
        );
        assert_eq!(project_of(&agent(NO_PROJECT, false)), Some(NO_PROJECT), "somebody has named it so");
    }
}
