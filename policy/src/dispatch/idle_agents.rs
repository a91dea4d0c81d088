//! The room of idle agents, found by project or in order.
//!
//! Agents sit in circles: one of all, and one per project. A circle is a list of "who comes next" in one vector, so making
//! them costs no allocation per agent or project, and finding an idle agent is a step on the circle.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use muster_domain::AgentId;

use super::{ChoiceReason, IdleAgent};

/// Idle agents with what is left of their room.
pub(super) struct IdleAgents<'q, 'a> {
    idle: &'q [IdleAgent<'a>],
    /// What is left of each one's room.
    room: Vec<u32>,
    /// Tasks that all of them together may still get.
    free: u64,
    /// The agent that was used last, on the circle of all.
    last: Option<usize>,
    /// The circle of all.
    next: Vec<usize>,
    /// The circles of the projects; made when the first task asks for one.
    projects: Option<Projects<'a>>,
}

/// The circles of the projects.
struct Projects<'a> {
    /// By project: the agent that was used last, whose successor is the next.
    last: HashMap<&'a str, usize>,
    next: Vec<usize>,
}

impl<'q, 'a> IdleAgents<'q, 'a> {
    /// Of these agents, who together get so many tasks at the most.
    pub(super) fn of(idle: &'q [IdleAgent<'a>], most: u32) -> Self {
        let room: u64 = idle.iter().map(|agent| u64::from(agent.room)).sum();
        Self {
            idle,
            room: idle.iter().map(|agent| agent.room).collect(),
            free: room.min(u64::from(most)),
            last: idle.len().checked_sub(1),
            next: (1..idle.len()).chain([0]).collect(),
            projects: None,
        }
    }

    /// Tasks that all of them together may still get.
    pub(super) const fn free(&self) -> u64 {
        self.free
    }

    /// Whether this one may get a task.
    pub(super) fn has_room(&self, index: usize) -> bool {
        self.free > 0 && self.room[index] > 0
    }

    /// Takes room for one task at this one, which has it.
    pub(super) fn take(&mut self, index: usize) {
        self.room[index] -= 1;
        self.free -= 1;
    }

    /// Takes room for one task: at an agent of this project, else at the next one.
    pub(super) fn find(&mut self, project: Option<&str>) -> Option<(AgentId, ChoiceReason)> {
        if self.free == 0 {
            return None;
        }
        let (index, why) = match project.and_then(|project| self.of_project(project)) {
            Some(index) => (index, ChoiceReason::SameProject),
            None => (next_with_room(&mut self.last, &mut self.next, &self.room)?, ChoiceReason::NextIdle),
        };
        self.take(index);
        Some((self.idle[index].agent_id, why))
    }

    fn of_project(&mut self, project: &str) -> Option<usize> {
        let projects = self.projects.get_or_insert_with(|| Projects::of(self.idle));
        let last = projects.last.get_mut(project)?;
        let mut at = Some(*last);
        let found = next_with_room(&mut at, &mut projects.next, &self.room);
        match at {
            Some(at) => *last = at,
            None => {
                projects.last.remove(project);
            }
        }
        found
    }
}

impl<'a> Projects<'a> {
    fn of(idle: &[IdleAgent<'a>]) -> Self {
        let mut last: HashMap<&str, usize> = HashMap::with_capacity(idle.len());
        let mut next: Vec<usize> = (0..idle.len()).collect();
        for (index, agent) in idle.iter().enumerate() {
            match last.entry(agent.project_id) {
                // Alone, it comes after itself.
                Entry::Vacant(project) => {
                    project.insert(index);
                }
                Entry::Occupied(mut project) => {
                    next.swap(index, *project.get());
                    project.insert(index);
                }
            }
        }
        Self { last, next }
    }
}

/// Goes on to the next agent with room, and takes those without it out of the circle. `last` is none once nobody is left.
fn next_with_room(last: &mut Option<usize>, next: &mut [usize], room: &[u32]) -> Option<usize> {
    while let Some(before) = *last {
        let index = next[before];
        if room[index] > 0 {
            *last = Some(index);
            return Some(index);
        }
        next[before] = next[index];
        *last = (index != before).then_some(before);
    }
    None
}
