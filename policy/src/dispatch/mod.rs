//! Which waiting task goes to which idle agent.
//!
//! By priority; among equals fair between tenants (deficit round robin, Shreedhar and Varghese 1995, where every task costs
//! one), so that a tenant with ten thousand waiting tasks does not delay another's one; within a tenant by age. A task goes to
//! an agent of its own project where one is idle. A task for a named agent waits in that agent's own queue, never in a shared
//! one, so it delays nobody.
//!
//! Only the heads of the queues are looked at: the caller gives a bounded piece of each, and calls again when they have moved.
//! A call costs some tens of nanoseconds per task and agent, however many tenants there are.
//!
//! Why a task that waits did not start is a question to [`blocked()`].

mod blocked;
mod idle_agents;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, VecDeque};

use muster_domain::{AgentId, Priority, TaskId};

pub use blocked::{
    AgentAvailability, AgentCounts, Blocked, Candidate, GateHold, Gates, NamedAgent, NoAgent, PoolHolds, blocked,
    no_agent, not_due,
};
use idle_agents::IdleAgents;

/// The head of the queue of one tenant and one priority.
#[derive(Clone, Debug)]
pub struct QueueHead<'a> {
    /// Their priority.
    pub priority: Priority,
    /// Their tenant, as an index into [`DispatchInput::tenants`].
    pub tenant: usize,
    /// The oldest of them, in order: all, or at least as many as may start ([`DispatchInput::most`], and the room of all idle
    /// agents). With fewer the tenant would lose what is left of its turn.
    pub tasks: &'a [ReadyTask],
}

/// A task that may start now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadyTask {
    /// The task.
    pub task_id: TaskId,
    /// Its project.
    pub project_id: Option<String>,
}

/// A tenant's share and what it may still start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tenant<'a> {
    /// Its name.
    pub name: &'a str,
    /// Tasks that it gets in a round, at least 1.
    pub weight: u32,
    /// Tasks that its limits (concurrency, rate, quota) let it start now.
    pub allowance: u32,
}

/// An agent with room for tasks.
#[derive(Clone, Debug)]
pub struct IdleAgent<'a> {
    /// The agent.
    pub agent_id: AgentId,
    /// The project that it works for.
    pub project_id: &'a str,
    /// Tasks that it takes now, at least 1.
    pub room: u32,
    /// The head of its own queue: tasks that only it may do, with their tenants. They come before all others.
    pub own: &'a [(usize, TaskId)],
}

/// What waits, and who is idle.
#[derive(Clone, Debug)]
pub struct DispatchInput<'a> {
    /// Every tenant of these queues, in the order of their names, which is the order of the round.
    pub tenants: Vec<Tenant<'a>>,
    /// The heads of the shared queues, one per tenant and priority, in any order: all of them, or those whose turns come next
    /// ([`RoundRobin::last`]), as many as use up the room.
    pub queues: Vec<QueueHead<'a>>,
    /// Agents in the order in which they are to be used: each gets one task before any gets a second.
    pub idle: Vec<IdleAgent<'a>>,
    /// Tasks to start at the most, however much room there is.
    pub most: u32,
}

/// Whose turn it is in each priority. It is kept from one call to the next, so that rounds go on where they stopped.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RoundRobin {
    turns: BTreeMap<Priority, TenantTurn>,
}

/// The turn that was served last in a priority.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LastTurn<'a> {
    /// Whose it was.
    pub tenant: &'a str,
    /// Tasks that the tenant may still start in it; with none, the next tenant is next.
    pub left: u32,
}

impl RoundRobin {
    /// Where the round of a priority goes on; from its beginning where nothing was served yet. A caller with more queues than
    /// it wants to show gives those that come next.
    pub fn last(&self, priority: Priority) -> Option<LastTurn<'_>> {
        let turn = self.turns.get(&priority)?;
        Some(LastTurn { tenant: &turn.tenant, left: turn.left })
    }
}

/// The turn that was served last.
#[derive(Clone, Debug, PartialEq, Eq)]
struct TenantTurn {
    tenant: String,
    /// Tasks that the tenant may still start in it: more than none where agents ran out in the middle of it.
    left: u32,
}

/// Why this task goes to this agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChoiceReason {
    /// It was asked for by name.
    Named,
    /// It works for the same project.
    SameProject,
    /// It is the next idle one.
    NextIdle,
}

impl ChoiceReason {
    /// In words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Named => "asked for by name",
            Self::SameProject => "idle agent of the same project",
            Self::NextIdle => "next idle agent",
        }
    }
}

/// One task for one agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Choice {
    /// The task.
    pub task_id: TaskId,
    /// Who gets it.
    pub agent_id: AgentId,
    /// Where it waits, as an index into [`DispatchInput::queues`]; none: in the agent's own queue.
    pub queue: Option<usize>,
    /// Why.
    pub why: ChoiceReason,
}

/// Gives tasks to agents until either runs out, and moves the rota on.
pub fn dispatch(queue: &DispatchInput<'_>, round_robin: &mut RoundRobin) -> Vec<Choice> {
    debug_assert!(queue.tenants.is_sorted_by_key(|tenant| tenant.name), "the order of the round is that of the names");
    let mut round = DispatchRound {
        tenants: &queue.tenants,
        allowance: queue.tenants.iter().map(|tenant| tenant.allowance).collect(),
        idle_agents: IdleAgents::of(&queue.idle, queue.most),
        choices: Vec::new(),
    };
    for (index, idle) in queue.idle.iter().enumerate() {
        round.serve_own_queue(index, idle);
    }
    let mut queues: Vec<RemainingTasks<'_>> = queue.queues.iter().enumerate().map(RemainingTasks::from).collect();
    queues.sort_unstable_by_key(|queue| (std::cmp::Reverse(queue.priority), queue.tenant));
    for queues in queues.chunk_by(|a, b| a.priority == b.priority) {
        round.serve_queues(queues, round_robin);
    }
    round.choices
}

/// A queue with what is left of it.
#[derive(Clone, Copy)]
struct RemainingTasks<'a> {
    /// Which queue.
    queue: usize,
    priority: Priority,
    tenant: usize,
    tasks: &'a [ReadyTask],
}

impl<'a> From<(usize, &QueueHead<'a>)> for RemainingTasks<'a> {
    fn from((queue, head): (usize, &QueueHead<'a>)) -> Self {
        Self { queue, priority: head.priority, tenant: head.tenant, tasks: head.tasks }
    }
}

struct DispatchRound<'q, 'a> {
    tenants: &'q [Tenant<'a>],
    /// What each tenant may still start.
    allowance: Vec<u32>,
    idle_agents: IdleAgents<'q, 'a>,
    choices: Vec<Choice>,
}

impl DispatchRound<'_, '_> {
    fn serve_own_queue(&mut self, index: usize, idle: &IdleAgent<'_>) {
        for (tenant, task_id) in idle.own {
            if !self.idle_agents.has_room(index) {
                return;
            }
            // A tenant at its limit does not hold up another's task behind it.
            if self.allowance[*tenant] > 0 {
                self.allowance[*tenant] -= 1;
                self.idle_agents.take(index);
                let (task_id, agent_id) = (*task_id, idle.agent_id);
                self.choices.push(Choice { task_id, agent_id, queue: None, why: ChoiceReason::Named });
            }
        }
    }

    /// Serves the tenants of one priority in turn. `queues` are in the order of their tenants.
    fn serve_queues(&mut self, queues: &[RemainingTasks<'_>], round_robin: &mut RoundRobin) {
        let Some(priority) = queues.first().map(|queue| queue.priority) else { return };
        let mut ring: VecDeque<RemainingTasks<'_>> = queues.iter().copied().collect();
        let mut credit = self.resume(&mut ring, round_robin.turns.get(&priority));
        let mut last = None;
        while self.idle_agents.free() > 0
            && let Some(rest) = ring.pop_front()
        {
            let tenant = rest.tenant;
            let turn = credit.take().unwrap_or(self.tenants[tenant].weight.max(1));
            let served = self.serve_turn(rest, turn);
            if served > 0 {
                last = Some((tenant, turn - served));
            }
            // Whoever has nothing more to start is out; an unused turn is not saved up.
            let tasks = &rest.tasks[served as usize..];
            if !tasks.is_empty() && self.allowance[tenant] > 0 {
                ring.push_back(RemainingTasks { tasks, ..rest });
            }
        }
        if let Some((tenant, left)) = last {
            round_robin.turns.insert(priority, TenantTurn { tenant: self.tenants[tenant].name.to_owned(), left });
        }
    }

    /// Turns the ring to where the last call stopped. The credit is what is left of the first tenant's turn, if it was cut
    /// short.
    fn resume(&self, ring: &mut VecDeque<RemainingTasks<'_>>, turn: Option<&TenantTurn>) -> Option<u32> {
        let turn = turn?;
        let goes_on = |name: &str| turn.left > 0 && name == turn.tenant;
        let name = |rest: &RemainingTasks<'_>| self.tenants[rest.tenant].name;
        let at = ring.partition_point(|rest| name(rest) <= turn.tenant.as_str() && !goes_on(name(rest)));
        ring.rotate_left(at % ring.len().max(1));
        ring.front().is_some_and(|first| goes_on(name(first))).then_some(turn.left)
    }

    /// Serves up to `most` tasks of one queue, and says how many.
    fn serve_turn(&mut self, rest: RemainingTasks<'_>, most: u32) -> u32 {
        let RemainingTasks { queue, tenant, tasks, .. } = rest;
        let mut served = 0;
        for task in tasks {
            if served == most || self.allowance[tenant] == 0 {
                break;
            }
            let Some((agent_id, why)) = self.idle_agents.find(task.project_id.as_deref()) else { break };
            self.allowance[tenant] -= 1;
            served += 1;
            self.choices.push(Choice { task_id: task.task_id, agent_id, queue: Some(queue), why });
        }
        served
    }
}
