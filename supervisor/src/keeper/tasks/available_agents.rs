//! The agents that could take a task now.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use muster_domain::AgentId;

/// Agents with room for tasks. The oldest agents are used first, so that those that are not needed become idle.
#[derive(Default)]
pub(crate) struct AvailableAgents {
    free: BTreeMap<AgentId, AvailableAgent>,
    by_project: HashMap<String, BTreeSet<AgentId>>,
}

/// The room of one agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct AvailableAgent {
    /// Tasks that it takes now, at least 1.
    pub(crate) tasks: u32,
    /// The project that it works for.
    pub(crate) project: String,
}

impl AvailableAgents {
    /// An agent takes so many tasks now.
    pub(crate) fn set(&mut self, agent: AgentId, tasks: u32, project: &str) {
        if tasks == 0 {
            return self.close(agent);
        }
        if let Some(room) = self.free.get_mut(&agent) {
            room.tasks = tasks;
            return;
        }
        self.free.insert(agent, AvailableAgent { tasks, project: project.to_owned() });
        self.by_project.entry(project.to_owned()).or_default().insert(agent);
    }

    /// An agent takes none.
    pub(crate) fn close(&mut self, agent: AgentId) {
        let Some(room) = self.free.remove(&agent) else { return };
        if let Some(agents) = self.by_project.get_mut(&room.project) {
            agents.remove(&agent);
            if agents.is_empty() {
                self.by_project.remove(&room.project);
            }
        }
    }

    pub(crate) fn get(&self, agent: AgentId) -> Option<&AvailableAgent> {
        self.free.get(&agent)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.free.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.free.len()
    }

    /// The agents that tasks of these projects may go to: those of the same project, and the next ones in order, as many as
    /// there are tasks.
    pub(crate) fn candidates<'a>(&self, projects: impl Iterator<Item = Option<&'a str>>) -> BTreeSet<AgentId> {
        let mut chosen = BTreeSet::new();
        let mut asked: BTreeMap<&str, usize> = BTreeMap::new();
        let mut tasks = 0;
        for project in projects {
            tasks += 1;
            if let Some(project) = project {
                *asked.entry(project).or_default() += 1;
            }
        }
        for (project, count) in asked {
            chosen.extend(self.by_project.get(project).into_iter().flatten().take(count));
        }
        chosen.extend(self.free.keys().take(tasks));
        chosen
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_are_those_of_the_project_and_the_next_in_order() {
        let agents: Vec<AgentId> = (0..5).map(|_| AgentId::generate()).collect();
        let mut available_agents = AvailableAgents::default();
        for (n, agent) in agents.iter().enumerate() {
            available_agents.set(*agent, 1, if n == 4 { "shop" } else { "other" });
        }
        let chosen = available_agents.candidates([None, Some("shop")].into_iter());
        assert_eq!(chosen.into_iter().collect::<Vec<_>>(), [agents[0], agents[1], agents[4]]);
        available_agents.set(agents[4], 0, "shop");
        assert_eq!(available_agents.candidates([Some("shop")].into_iter()).len(), 1);
        available_agents.close(agents[0]);
        assert_eq!((available_agents.len(), available_agents.get(agents[0])), (3, None));
    }
}
