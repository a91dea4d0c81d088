//! The lines in which ready tasks wait, as far as they are in memory: the oldest of each. The rest is in the store, and is
//! read when the head gets short, so that a million waiting tasks cost no more memory than a thousand.

use std::collections::{BTreeMap, HashMap};

use muster_domain::{AgentId, Priority, TaskId, Timestamp};
use muster_policy::dispatch::Waiting;
use muster_store::{LineKey, QueuedTask, SHORT_INPUT};

/// Tasks in memory at the most, of all lines together, where there are few lines.
const IN_MEMORY: usize = 8_192;
/// A line's head at the least, however many lines there are, and at the most.
const HEAD: std::ops::RangeInclusive<usize> = 16..=1_024;

/// The lines of a pool. Empty ones are not kept.
#[derive(Default)]
pub(crate) struct Lines {
    lines: BTreeMap<LineKey, Line>,
}

/// One line. Everything up to its end is in `head`.
#[derive(Default)]
struct Line {
    head: BTreeMap<TaskId, QueuedTask>,
    rest: Rest,
}

/// What the store has of a line beyond its head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Rest {
    /// Nothing.
    #[default]
    None,
    /// Tasks after this one; from the beginning where nothing was read yet.
    After(Option<TaskId>),
}

/// A piece of a line that is to be read.
#[derive(Clone, Debug)]
pub(crate) struct Gap {
    pub(crate) line: LineKey,
    pub(crate) after: Option<TaskId>,
    pub(crate) limit: u32,
}

/// The shared heads as the policy looks at them.
#[derive(Default)]
pub(crate) struct Heads {
    pub(crate) lines: Vec<(Priority, String, Vec<Waiting>)>,
}

impl Heads {
    /// The line of each task.
    pub(crate) fn places(&self) -> HashMap<TaskId, LineKey> {
        let mut places = HashMap::new();
        for (priority, tenant, tasks) in &self.lines {
            let key = LineKey::Shared { tenant: tenant.clone(), priority: *priority };
            places.extend(tasks.iter().map(|task| (task.task_id, key.clone())));
        }
        places
    }
}

impl Lines {
    /// A line that the store has, of which nothing is in memory yet.
    pub(crate) fn expect(&mut self, key: LineKey) {
        self.lines.insert(key, Line { head: BTreeMap::new(), rest: Rest::After(None) });
    }

    /// A task became ready; the store has it. One that belongs behind the head stays there.
    pub(crate) fn add(&mut self, mut task: QueuedTask) {
        let most = self.head_size() * 2;
        let line = self.lines.entry(key_of(&task)).or_default();
        if !line.covers(task.task_id) {
            return;
        }
        task.input = task.input.filter(|input| input.len() <= SHORT_INPUT as usize);
        line.head.insert(task.task_id, task);
        if line.head.len() > most {
            line.shorten(most / 2);
        }
    }

    /// Takes a task out of its line; nothing where it is not in the head.
    pub(crate) fn take(&mut self, key: &LineKey, id: TaskId) -> Option<QueuedTask> {
        let line = self.lines.get_mut(key)?;
        let task = line.head.remove(&id);
        if line.is_empty() {
            self.lines.remove(key);
        }
        task
    }

    /// What is to be read before the heads can be looked at.
    pub(crate) fn gaps(&self) -> Vec<Gap> {
        let size = self.head_size();
        let gap = |(key, line): (&LineKey, &Line)| match line.rest {
            Rest::After(after) if line.head.len() < size / 2 => {
                Some(Gap { line: key.clone(), after, limit: u32::try_from(size).unwrap_or(u32::MAX) })
            }
            _ => None,
        };
        self.lines.iter().filter_map(gap).collect()
    }

    /// What was read for a gap. Less than asked for means that there is no more.
    pub(crate) fn fill(&mut self, gap: &Gap, tasks: Vec<QueuedTask>) {
        let Some(line) = self.lines.get_mut(&gap.line) else { return };
        let last = tasks.last().map(|task| task.task_id);
        let more = tasks.len() >= gap.limit as usize;
        line.head.extend(tasks.into_iter().map(|task| (task.task_id, task)));
        line.rest = if more { Rest::After(last) } else { Rest::None };
        if line.is_empty() {
            self.lines.remove(&gap.line);
        }
    }

    /// The heads of the shared lines, at most `limit` tasks of each.
    pub(crate) fn shared(&self, limit: usize) -> Heads {
        let mut heads = Heads::default();
        for (key, line) in &self.lines {
            let LineKey::Shared { tenant, priority } = key else { continue };
            let waiting = |task: &QueuedTask| Waiting { task_id: task.task_id, project_id: task.project_id.clone() };
            let tasks: Vec<Waiting> = line.head.values().take(limit).map(waiting).collect();
            if !tasks.is_empty() {
                heads.lines.push((*priority, tenant.clone(), tasks));
            }
        }
        heads
    }

    /// Agents for whom tasks wait by name.
    pub(crate) fn owners(&self) -> impl Iterator<Item = AgentId> {
        self.lines.keys().filter_map(|key| match key {
            LineKey::Own(agent) => Some(*agent),
            LineKey::Shared { .. } => None,
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// When the task that has waited longest was asked for.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        self.lines.values().filter_map(|line| Some(line.head.values().next()?.created_at)).min()
    }

    /// Tasks of any lines, at most `limit`.
    pub(crate) fn some(&self, limit: usize) -> Vec<QueuedTask> {
        self.lines.values().flat_map(|line| line.head.values()).take(limit).cloned().collect()
    }

    /// The oldest tasks that wait for one agent by name.
    pub(crate) fn own(&self, agent: AgentId) -> impl Iterator<Item = &QueuedTask> {
        self.lines.get(&LineKey::Own(agent)).into_iter().flat_map(|line| line.head.values())
    }

    /// The projects of tasks that wait for any agent, at most `limit` of them and `allowance` of each tenant, the most urgent
    /// first.
    pub(crate) fn projects(&self, limit: usize, allowance: impl Fn(&str) -> u32) -> Vec<Option<String>> {
        let mut left: HashMap<&str, u32> = HashMap::new();
        let mut projects = Vec::new();
        for (key, line) in self.lines.iter().rev() {
            let LineKey::Shared { tenant, .. } = key else { continue };
            let left = left.entry(tenant).or_insert_with(|| allowance(tenant));
            let most = (*left as usize).min(limit - projects.len());
            projects.extend(line.head.values().take(most).map(|task| task.project_id.clone()));
            *left -= u32::try_from(line.head.len().min(most)).unwrap_or(*left);
        }
        projects
    }

    /// Takes a task out of whichever line it is in.
    pub(crate) fn take_anywhere(&mut self, id: TaskId) -> Option<QueuedTask> {
        let key = self.lines.iter().find(|(_, line)| line.head.contains_key(&id))?.0.clone();
        self.take(&key, id)
    }

    fn head_size(&self) -> usize {
        (IN_MEMORY / self.lines.len().max(1)).clamp(*HEAD.start(), *HEAD.end())
    }
}

impl Line {
    fn covers(&self, id: TaskId) -> bool {
        match self.rest {
            Rest::None => true,
            Rest::After(end) => end.is_some_and(|end| id <= end),
        }
    }

    fn shorten(&mut self, to: usize) {
        while self.head.len() > to {
            self.head.pop_last();
        }
        self.rest = Rest::After(self.head.keys().next_back().copied());
    }

    fn is_empty(&self) -> bool {
        self.head.is_empty() && self.rest == Rest::None
    }
}

/// The line in which a task waits.
pub(crate) fn key_of(task: &QueuedTask) -> LineKey {
    match task.agent_id {
        Some(agent) => LineKey::Own(agent),
        None => LineKey::Shared { tenant: task.tenant.clone(), priority: task.priority },
    }
}

#[cfg(test)]
mod tests {
    use muster_domain::{Tally, Usage};
    use uuid::Uuid;

    use super::*;

    fn task(n: u128) -> QueuedTask {
        QueuedTask {
            task_id: id(n),
            tenant: "t".to_owned(),
            priority: Priority::NORMAL,
            project_id: None,
            agent_id: None,
            check: false,
            max_attempts: 3,
            timeout: None,
            expires_at: None,
            attempt: 0,
            tally: Tally::default(),
            usage: Usage::default(),
            created_at: Timestamp::from_millis(0),
            input: None,
        }
    }

    fn id(n: u128) -> TaskId {
        TaskId::from_uuid(Uuid::from_u128(n))
    }

    fn shown(lines: &Lines) -> Vec<u128> {
        let heads = lines.shared(usize::MAX);
        heads.lines.iter().flat_map(|(_, _, tasks)| tasks.iter().map(|task| task.task_id.as_uuid().as_u128())).collect()
    }

    /// Reads what is missing from a store that has these tasks.
    fn refill(lines: &mut Lines, store: &[u128]) {
        for gap in lines.gaps() {
            let after = gap.after.map_or(0, |id| id.as_uuid().as_u128());
            let rows = store.iter().filter(|n| **n > after).take(gap.limit as usize).map(|n| task(*n)).collect();
            lines.fill(&gap, rows);
        }
    }

    #[test]
    fn what_is_ready_is_in_the_order_of_age() {
        let mut lines = Lines::default();
        [3, 1, 2].into_iter().for_each(|n| lines.add(task(n)));
        assert_eq!(shown(&lines), [1, 2, 3]);
        assert!(lines.take(&key_of(&task(2)), id(2)).is_some() && lines.take_anywhere(id(1)).is_some());
        assert!(lines.take_anywhere(id(9)).is_none() && lines.take_anywhere(id(3)).is_some());
        assert!(lines.is_empty() && lines.gaps().is_empty());
    }

    #[test]
    fn a_long_line_is_held_in_part_and_nothing_of_it_is_lost_or_doubled() {
        let mut lines = Lines::default();
        let all: Vec<u128> = (1..=10_000).collect();
        for n in &all {
            lines.add(task(*n));
        }
        let mut seen = Vec::new();
        let mut store = all.clone();
        while !lines.is_empty() {
            refill(&mut lines, &store);
            let head = shown(&lines);
            assert!(head.len() <= 2 * HEAD.end(), "{} in memory", head.len());
            for n in head.into_iter().take(100) {
                assert!(lines.take(&key_of(&task(n)), id(n)).is_some());
                store.retain(|kept| *kept != n);
                seen.push(n);
            }
        }
        assert_eq!(seen, all);
    }

    #[test]
    fn a_task_behind_the_head_is_left_to_the_store_and_one_within_it_is_not() {
        let mut lines = Lines::default();
        lines.expect(key_of(&task(1)));
        lines.add(task(5));
        assert_eq!(shown(&lines), [0_u128; 0], "nothing was read yet, so its place is not known");
        let store: Vec<u128> = (1..=3_000).filter(|n| *n != 7).collect();
        refill(&mut lines, &store);
        assert_eq!(shown(&lines).len(), *HEAD.end());
        lines.add(task(7));
        lines.add(task(5_000));
        let head = shown(&lines);
        assert!(head.contains(&7) && !head.contains(&5_000));
    }

    #[test]
    fn an_expected_line_that_turns_out_empty_is_gone() {
        let mut lines = Lines::default();
        lines.expect(key_of(&task(1)));
        refill(&mut lines, &[]);
        assert!(lines.is_empty());
    }

    #[test]
    fn many_lines_share_the_memory() {
        let mut lines = Lines::default();
        for tenant in 0..1_000 {
            lines.expect(LineKey::Shared { tenant: tenant.to_string(), priority: Priority::NORMAL });
        }
        assert!(lines.gaps().iter().all(|gap| gap.limit as usize == *HEAD.start()));
    }
}
