//! The lines in which ready tasks wait, as far as they are in memory: the heads of those whose turn comes next. The rest is in
//! the store and is read when it is needed, so that neither a million waiting tasks nor thousands of tenants cost much
//! more memory than a thousand tasks, and a turn of the keeper costs what it does, not what waits. Only tenants at their bound
//! are looked at beside it: no more than tasks run.

mod line;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use muster_domain::{AgentId, Priority, TaskId, Timestamp};
use muster_policy::dispatch::{LastTurn, Rota, Waiting};
use muster_store::{LineKey, Piece, QueuedTask};

use self::line::Line;
use crate::quotas::Share;

/// Bytes of tasks in memory at the most, of all lines together, give or take what one turn reads.
const IN_MEMORY: usize = 16 << 20;
/// Bytes of a task with a short input, so that the heads which are read at once fit into that.
const LARGE_TASK: usize = 1_536;
/// Tasks that are read of a line at once, at the least, however many lines there are, and at the most.
const HEAD: std::ops::RangeInclusive<usize> = 2..=1_024;

/// The lines of a pool. Empty ones are not kept.
pub(crate) struct Lines {
    /// For any agent: by priority and tenant.
    shared: BTreeMap<Priority, BTreeMap<String, Line>>,
    /// For one agent.
    own: BTreeMap<AgentId, Line>,
    /// Bytes of tasks in memory, and how many there may be.
    held: usize,
    most: usize,
}

/// The heads of the shared lines whose turn it is, as the policy looks at them.
#[derive(Default)]
pub(crate) struct Heads {
    pub(crate) lines: Vec<(Priority, String, Vec<Waiting>)>,
    /// Whether more of them has to be read before all the seats can be filled.
    pub(crate) is_short: bool,
}

/// A line whose turn it is.
struct Next<'a> {
    priority: Priority,
    tenant: &'a String,
    line: &'a Line,
    weight: u32,
    /// Tasks of it that may start, at the most.
    most: usize,
}

impl Next<'_> {
    /// Whether the store may have more of it that could start, too.
    fn is_cut(&self) -> bool {
        self.most >= self.line.len() && self.line.has_rest()
    }
}

impl Heads {
    /// Which line the one at this place is.
    pub(crate) fn key(&self, line: usize) -> Option<LineKey> {
        let (priority, tenant, _) = self.lines.get(line)?;
        Some(LineKey::Shared { tenant: tenant.clone(), priority: *priority })
    }
}

impl Default for Lines {
    fn default() -> Self {
        Self::of(IN_MEMORY)
    }
}

impl Lines {
    /// With about so many bytes in memory at the most.
    const fn of(most: usize) -> Self {
        Self { shared: BTreeMap::new(), own: BTreeMap::new(), held: 0, most }
    }

    /// A line that the store has, of which nothing is in memory yet. Its oldest task is `first`.
    pub(crate) fn expect(&mut self, key: &LineKey, first: TaskId) {
        *self.line_mut(key) = Line::unread(first);
    }

    /// A task became ready; the store has it, or will have it before anything is read again. One that belongs behind the head
    /// stays there.
    pub(crate) fn add(&mut self, task: QueuedTask) {
        let is_full = self.held >= self.most;
        self.change(&key_of(&task), |line| {
            let before = line.len();
            line.add(task);
            if is_full {
                line.shorten(before);
            } else if line.len() > HEAD.end() * 2 {
                line.shorten(*HEAD.end());
            }
        });
    }

    /// Takes a task out of its line; nothing where it is not in the head.
    pub(crate) fn take(&mut self, key: &LineKey, id: TaskId) -> Option<QueuedTask> {
        self.change(key, |line| line.take(id))
    }

    /// What is to be read so that the next `seats` tasks can be chosen. Of the agents' own lines those count whose agents have
    /// room for so many tasks.
    pub(crate) fn gaps(
        &mut self,
        seats: usize,
        rota: &Rota,
        share: impl Fn(&str) -> Share,
        room: impl Fn(AgentId) -> Option<usize>,
    ) -> Vec<Piece> {
        if self.held > self.most {
            // What is needed of it is read again.
            self.lines_mut().for_each(|line| line.shorten(0));
            self.held = 0;
        }
        let enough = self.head_size() / 2;
        let own = self.own.iter().filter_map(|(agent, line)| {
            let enough = enough.max(room(*agent)?);
            gap(line, enough, || LineKey::Own(*agent))
        });
        let own = own.take(seats);
        let next = self.next(seats, rota, share);
        // However many other lines there are, these are to fill the seats.
        let enough = enough.max(seats.div_ceil(next.len().max(1)));
        let shared = next.into_iter().filter_map(|next| {
            let key = || LineKey::Shared { tenant: next.tenant.clone(), priority: next.priority };
            gap(next.line, enough.max(next.weight as usize), key)
        });
        own.chain(shared).collect()
    }

    /// What was read for a gap. Less than asked for means that there is no more.
    pub(crate) fn fill(&mut self, gap: &Piece, tasks: Vec<QueuedTask>) {
        let more = tasks.len() >= gap.limit as usize;
        self.change(&gap.line, |line| line.fill(tasks, more));
    }

    /// The shared lines from which the next `seats` tasks come, with as many of each as may start.
    pub(crate) fn heads(&self, seats: usize, rota: &Rota, share: impl Fn(&str) -> Share) -> Heads {
        let next = self.next(seats, rota, share);
        let known: usize = next.iter().map(|next| next.most.min(next.line.len())).sum();
        let is_short = known < seats && next.iter().any(Next::is_cut);
        let mut heads = Heads { lines: Vec::with_capacity(next.len()), is_short };
        for next in next.iter().filter(|next| !next.line.is_unread()) {
            let waiting = |task: &QueuedTask| Waiting { task_id: task.task_id, project_id: task.project_id.clone() };
            let tasks = next.line.tasks().take(next.most).map(waiting).collect();
            heads.lines.push((next.priority, next.tenant.clone(), tasks));
        }
        heads
    }

    /// The shared lines that would fill so many seats: of each priority those whose turns come first, so many that their turns
    /// alone are enough. A tenant that may start nothing is passed over. Where more has to be read of a priority first, nothing
    /// less urgent is in it.
    fn next(&self, seats: usize, rota: &Rota, share: impl Fn(&str) -> Share) -> Vec<Next<'_>> {
        let mut chosen = Vec::new();
        let mut allowances: HashMap<&str, usize> = HashMap::new();
        let mut seats = seats;
        for (priority, lines) in self.shared.iter().rev() {
            let (mut turns, mut tasks) = (0, 0);
            for (tenant, line, credit) in ring(lines, rota.last(*priority)) {
                if turns >= seats {
                    break;
                }
                let Share { weight, allowance } = share(tenant);
                let allowance = allowances.entry(tenant).or_insert(allowance as usize);
                // Of one that is not read yet there is a task at least.
                let most = line.len().max(1).min(*allowance).min(seats);
                if most == 0 {
                    continue;
                }
                *allowance -= most;
                turns += most.min(credit.unwrap_or(weight.max(1)) as usize);
                tasks += most;
                chosen.push(Next { priority: *priority, tenant, line, weight, most });
            }
            if tasks >= seats || chosen.iter().any(Next::is_cut) {
                break;
            }
            seats -= tasks;
        }
        chosen
    }

    /// Agents for whom tasks wait by name.
    pub(crate) fn owners(&self) -> impl Iterator<Item = AgentId> {
        self.own.keys().copied()
    }

    /// The oldest tasks that wait for one agent by name.
    pub(crate) fn own(&self, agent: AgentId) -> impl Iterator<Item = &QueuedTask> {
        self.own.get(&agent).into_iter().flat_map(Line::tasks)
    }

    /// Whether more of the tasks that wait for an agent by name have to be read before its room can be filled.
    pub(crate) fn is_short(&self, agent: AgentId, room: usize) -> bool {
        self.own.get(&agent).is_some_and(|line| line.len() < room && line.has_rest())
    }

    /// Nobody waits for this agent any more.
    pub(crate) fn forget(&mut self, agent: AgentId) {
        self.held -= self.own.remove(&agent).map_or(0, |line| line.bytes());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.own.is_empty() && self.shared.is_empty()
    }

    /// When the task that has waited longest was asked for.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        self.lines().filter_map(Line::oldest).min()
    }

    /// Tasks of any lines, at most `limit`, as far as they are in memory.
    pub(crate) fn some(&self, limit: usize) -> Vec<QueuedTask> {
        self.lines().flat_map(Line::tasks).take(limit).cloned().collect()
    }

    /// The projects of the next `limit` tasks that wait for any agent.
    pub(crate) fn projects(&self, limit: usize, rota: &Rota, share: impl Fn(&str) -> Share) -> Vec<Option<String>> {
        let next = self.next(limit, rota, share);
        let tasks = next.iter().flat_map(|next| next.line.tasks().take(next.most));
        tasks.take(limit).map(|task| task.project_id.clone()).collect()
    }

    fn lines(&self) -> impl Iterator<Item = &Line> {
        self.own.values().chain(self.shared.values().flat_map(BTreeMap::values))
    }

    fn lines_mut(&mut self) -> impl Iterator<Item = &mut Line> {
        self.own.values_mut().chain(self.shared.values_mut().flat_map(BTreeMap::values_mut))
    }

    /// The line with this key; an empty one where there was none.
    fn line_mut(&mut self, key: &LineKey) -> &mut Line {
        match key {
            LineKey::Own(agent) => self.own.entry(*agent).or_default(),
            LineKey::Shared { tenant, priority } => {
                self.shared.entry(*priority).or_default().entry(tenant.clone()).or_default()
            }
        }
    }

    fn remove(&mut self, key: &LineKey) {
        match key {
            LineKey::Own(agent) => drop(self.own.remove(agent)),
            LineKey::Shared { tenant, priority } => {
                let Some(lines) = self.shared.get_mut(priority) else { return };
                lines.remove(tenant);
                if lines.is_empty() {
                    self.shared.remove(priority);
                }
            }
        }
    }

    /// Changes a line, counts its memory, and drops it where nothing is left of it.
    fn change<T>(&mut self, key: &LineKey, change: impl FnOnce(&mut Line) -> T) -> T {
        let line = self.line_mut(key);
        let before = line.bytes();
        let changed = change(line);
        let (after, is_empty) = (line.bytes(), line.is_empty());
        self.held = self.held + after - before;
        if is_empty {
            self.remove(key);
        }
        changed
    }

    fn head_size(&self) -> usize {
        let lines = self.own.len() + self.shared.values().map(BTreeMap::len).sum::<usize>();
        (self.most / LARGE_TASK / lines.max(1)).clamp(*HEAD.start(), *HEAD.end())
    }
}

/// What is to be read of a line with less than `enough` tasks in memory.
fn gap(line: &Line, enough: usize, key: impl FnOnce() -> LineKey) -> Option<Piece> {
    let after = line.gap(enough)?;
    Some(Piece { line: key(), after, limit: u32::try_from(enough * 2).unwrap_or(u32::MAX) })
}

/// The lines of a priority in the order of their turns, with what is left of the first one's turn where that was cut short.
fn ring<'a, 'r>(
    lines: &'a BTreeMap<String, Line>,
    last: Option<LastTurn<'r>>,
) -> impl Iterator<Item = (&'a String, &'a Line, Option<u32>)> + use<'a, 'r> {
    let (from, to) = match last {
        None => (Bound::Unbounded, Bound::Excluded("")),
        Some(LastTurn { tenant, left: 0 }) => (Bound::Excluded(tenant), Bound::Included(tenant)),
        Some(LastTurn { tenant, .. }) => (Bound::Included(tenant), Bound::Excluded(tenant)),
    };
    let goes_on = move |name: &str| last.filter(|last| last.left > 0 && last.tenant == name).map(|last| last.left);
    let rest = lines.range::<str, _>((from, Bound::Unbounded));
    rest.chain(lines.range::<str, _>((Bound::Unbounded, to))).map(move |(tenant, line)| (tenant, line, goes_on(tenant)))
}

/// The line in which a task waits.
pub(crate) fn key_of(task: &QueuedTask) -> LineKey {
    LineKey::of(task.agent_id, &task.tenant, task.priority)
}
