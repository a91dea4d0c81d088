//! The queues in which ready tasks wait, as far as they are in memory: the heads of those whose turn comes next. The rest is in
//! the store and is read when it is needed, so that neither a million waiting tasks nor thousands of tenants cost much
//! more memory than a thousand tasks, and a turn of the keeper costs what it does, not what waits. Only tenants at their bound
//! are looked at beside it: no more than tasks run.

mod oldest;
mod ready_queue;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use muster_domain::{AgentId, Priority, TaskId, Timestamp};
use muster_policy::dispatch::{LastTurn, ReadyTask, RoundRobin};
use muster_store::{QueueKey, QueueSlice, QueuedTask};

use self::oldest::OldestTimes;
use self::ready_queue::ReadyQueue;
use crate::keeper::scaling::QueueLength;
use crate::quotas::TenantShare;

/// Bytes of tasks in memory at the most, of all queues together, give or take what one turn reads.
const IN_MEMORY: usize = 16 << 20;
/// Bytes of a task with a short input: so large they are taken for before any is in memory, so that the heads which are read at
/// once fit into that.
const LARGE_TASK: usize = 1_536;
/// Tasks that are read of a queue at once, at the least, however many queues there are, and at the most.
const HEAD: std::ops::RangeInclusive<usize> = 2..=1_024;

/// The queues of a pool. Empty ones are not kept.
pub(crate) struct ReadyQueues {
    /// For any agent: by priority and tenant.
    shared: BTreeMap<Priority, BTreeMap<String, ReadyQueue>>,
    /// For one agent.
    own: BTreeMap<AgentId, ReadyQueue>,
    /// When the oldest task of each queue was asked for.
    oldest: OldestTimes,
    /// Tasks in memory, their bytes, and how many bytes there may be.
    tasks: usize,
    held: usize,
    most: usize,
}

/// The heads of the shared queues whose turn it is, as the policy looks at them.
#[derive(Default)]
pub(crate) struct QueueHeads {
    pub(crate) queues: Vec<(Priority, String, Vec<ReadyTask>)>,
    /// Whether more of them has to be read before all the room can be filled.
    pub(crate) is_short: bool,
}

/// A queue whose turn it is.
struct NextQueue<'a> {
    priority: Priority,
    tenant: &'a String,
    queue: &'a ReadyQueue,
    weight: u32,
    /// Tasks of it that may start, at the most.
    most: usize,
}

impl NextQueue<'_> {
    /// Whether the store may have more of it that could start, too.
    fn is_cut(&self) -> bool {
        self.most >= self.queue.len() && self.queue.has_rest()
    }
}

impl QueueHeads {
    /// Which queue the one at this place is.
    pub(crate) fn key(&self, queue: usize) -> Option<QueueKey> {
        let (priority, tenant, _) = self.queues.get(queue)?;
        Some(QueueKey::Shared { tenant: tenant.clone(), priority: *priority })
    }
}

impl Default for ReadyQueues {
    fn default() -> Self {
        Self::of(IN_MEMORY)
    }
}

impl ReadyQueues {
    /// With about so many bytes in memory at the most.
    const fn of(most: usize) -> Self {
        Self { shared: BTreeMap::new(), own: BTreeMap::new(), oldest: OldestTimes::new(), tasks: 0, held: 0, most }
    }

    /// A queue that the store has, of which nothing is in memory yet. Its oldest task is `first`.
    pub(crate) fn expect(&mut self, key: &QueueKey, first: TaskId) {
        self.change(key, |queue| *queue = ReadyQueue::unread(first));
    }

    /// A task became ready; the store has it, or will have it before anything is read again. One that belongs behind the head
    /// stays there.
    pub(crate) fn add(&mut self, task: QueuedTask) {
        let is_full = self.held >= self.most;
        self.change(&key_of(&task), |queue| {
            let before = queue.len();
            queue.add(task);
            if is_full {
                queue.shorten(before);
            } else if queue.len() > HEAD.end() * 2 {
                queue.shorten(*HEAD.end());
            }
        });
    }

    /// Takes a task out of its queue; nothing where it is not in the head.
    pub(crate) fn take(&mut self, key: &QueueKey, id: TaskId) -> Option<QueuedTask> {
        self.change(key, |queue| queue.take(id))
    }

    /// What is to be read so that the next `starts` tasks can be chosen. Of the agents' own queues those count whose agents have
    /// room for so many tasks.
    pub(crate) fn gaps(
        &mut self,
        starts: usize,
        round_robin: &RoundRobin,
        share: impl Fn(&str) -> TenantShare,
        room: impl Fn(AgentId) -> Option<usize>,
    ) -> Vec<QueueSlice> {
        if self.held > self.most {
            // What is needed of it is read again.
            self.queues_mut().for_each(|queue| queue.shorten(0));
            (self.tasks, self.held) = (0, 0);
        }
        let enough = self.head_size() / 2;
        let own = self.own.iter().filter_map(|(agent, queue)| {
            let enough = enough.max(room(*agent)?);
            gap(queue, enough, || QueueKey::Own(*agent))
        });
        let own = own.take(starts);
        let next = self.next(starts, round_robin, share);
        // However many other queues there are, these are to fill the room.
        let enough = enough.max(starts.div_ceil(next.len().max(1)));
        let shared = next.into_iter().filter_map(|next| {
            let key = || QueueKey::Shared { tenant: next.tenant.clone(), priority: next.priority };
            gap(next.queue, enough.max(next.weight as usize), key)
        });
        own.chain(shared).collect()
    }

    /// What was read for a gap. Less than asked for means that there is no more.
    pub(crate) fn fill(&mut self, gap: &QueueSlice, tasks: Vec<QueuedTask>) {
        let more = tasks.len() >= gap.limit as usize;
        self.change(&gap.queue, |queue| queue.fill(tasks, more));
    }

    /// The shared queues from which the next `starts` tasks come, with as many of each as may start.
    pub(crate) fn heads(
        &self,
        starts: usize,
        round_robin: &RoundRobin,
        share: impl Fn(&str) -> TenantShare,
    ) -> QueueHeads {
        let next = self.next(starts, round_robin, share);
        let known: usize = next.iter().map(|next| next.most.min(next.queue.len())).sum();
        let is_short = known < starts && next.iter().any(NextQueue::is_cut);
        let mut heads = QueueHeads { queues: Vec::with_capacity(next.len()), is_short };
        for next in next.iter().filter(|next| !next.queue.is_unread()) {
            let waiting = |task: &QueuedTask| ReadyTask { task_id: task.task_id, project_id: task.project_id.clone() };
            let tasks = next.queue.tasks().take(next.most).map(waiting).collect();
            heads.queues.push((next.priority, next.tenant.clone(), tasks));
        }
        heads
    }

    /// The shared queues that would fill so much room: of each priority those whose turns come first, so many that their turns
    /// alone are enough. A tenant that may start nothing is passed over. Where more has to be read of a priority first, nothing
    /// less urgent is in it.
    fn next(&self, starts: usize, round_robin: &RoundRobin, share: impl Fn(&str) -> TenantShare) -> Vec<NextQueue<'_>> {
        let mut chosen = Vec::new();
        let mut allowances: HashMap<&str, usize> = HashMap::new();
        let mut starts = starts;
        for (priority, queues) in self.shared.iter().rev() {
            let (mut turns, mut tasks) = (0, 0);
            for (tenant, queue, credit) in ring(queues, round_robin.last(*priority)) {
                if turns >= starts {
                    break;
                }
                let TenantShare { weight, allowance } = share(tenant);
                // Of one that is not read yet there is a task at least.
                let mut most = queue.len().max(1).min(starts);
                // Without a bound it is no matter how much of a tenant was chosen of another priority.
                if allowance != TenantShare::ANY.allowance {
                    let allowance = allowances.entry(tenant).or_insert(allowance as usize);
                    most = most.min(*allowance);
                    *allowance -= most;
                }
                if most == 0 {
                    continue;
                }
                turns += most.min(credit.unwrap_or(weight.max(1)) as usize);
                tasks += most;
                chosen.push(NextQueue { priority: *priority, tenant, queue, weight, most });
            }
            if tasks >= starts || chosen.iter().any(NextQueue::is_cut) {
                break;
            }
            starts -= tasks;
        }
        chosen
    }

    /// Agents for whom tasks wait by name.
    pub(crate) fn owners(&self) -> impl Iterator<Item = AgentId> {
        self.own.keys().copied()
    }

    /// The oldest tasks that wait for one agent by name.
    pub(crate) fn own(&self, agent: AgentId) -> impl Iterator<Item = &QueuedTask> {
        self.own.get(&agent).into_iter().flat_map(ReadyQueue::tasks)
    }

    /// Whether more of the tasks that wait for an agent by name have to be read before its room can be filled.
    pub(crate) fn is_short(&self, agent: AgentId, room: usize) -> bool {
        self.own.get(&agent).is_some_and(|queue| queue.len() < room && queue.has_rest())
    }

    /// Nobody waits for this agent any more.
    pub(crate) fn forget(&mut self, agent: AgentId) {
        self.change(&QueueKey::Own(agent), |queue| *queue = ReadyQueue::default());
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.own.is_empty() && self.shared.is_empty()
    }

    /// When the task that has waited longest was asked for.
    pub(crate) fn oldest(&self) -> Option<Timestamp> {
        self.oldest.first()
    }

    /// Tasks of any queues, at most `limit`, as far as they are in memory.
    pub(crate) fn some(&self, limit: usize) -> Vec<QueuedTask> {
        self.queues().flat_map(ReadyQueue::tasks).take(limit).cloned().collect()
    }

    /// The projects of the next `limit` tasks that wait for any agent.
    pub(crate) fn projects(
        &self,
        limit: usize,
        round_robin: &RoundRobin,
        share: impl Fn(&str) -> TenantShare,
    ) -> Vec<Option<String>> {
        let next = self.next(limit, round_robin, share);
        let tasks = next.iter().flat_map(|next| next.queue.tasks().take(next.most));
        tasks.take(limit).map(|task| task.project_id.clone()).collect()
    }

    /// How many tasks wait for any agent, and may start: counted up to `limit`.
    pub(crate) fn ready(&self, limit: usize, round_robin: &RoundRobin, share: impl Fn(&str) -> TenantShare) -> usize {
        let next = self.next(limit, round_robin, share);
        next.iter().flat_map(|next| next.queue.tasks().take(next.most)).take(limit).count()
    }

    /// How many tasks wait for any agent, and may start.
    pub(crate) fn startable(&self, share: impl Fn(&str) -> TenantShare) -> QueueLength {
        let mut waiting: HashMap<&str, usize> = HashMap::new();
        let mut is_cut = false;
        for (tenant, queue) in self.shared.values().flatten() {
            *waiting.entry(tenant).or_default() += queue.len();
            is_cut |= queue.has_rest();
        }
        let allowance = |tenant: &str| share(tenant).allowance;
        if is_cut {
            let bounded = waiting.into_keys().map(|tenant| (tenant, allowance(tenant)));
            let bounded = bounded.filter(|(_, allowance)| *allowance != TenantShare::ANY.allowance);
            return QueueLength::InStore { allowances: bounded.map(|(name, most)| (name.to_owned(), most)).collect() };
        }
        let may_start = waiting.into_iter().map(|(tenant, count)| count.min(allowance(tenant) as usize));
        QueueLength::Known(u32::try_from(may_start.sum::<usize>()).unwrap_or(u32::MAX))
    }

    fn queues(&self) -> impl Iterator<Item = &ReadyQueue> {
        self.own.values().chain(self.shared.values().flat_map(BTreeMap::values))
    }

    fn queues_mut(&mut self) -> impl Iterator<Item = &mut ReadyQueue> {
        self.own.values_mut().chain(self.shared.values_mut().flat_map(BTreeMap::values_mut))
    }

    /// The queue with this key; an empty one where there was none.
    fn queue_mut(&mut self, key: &QueueKey) -> &mut ReadyQueue {
        match key {
            QueueKey::Own(agent) => self.own.entry(*agent).or_default(),
            QueueKey::Shared { tenant, priority } => {
                self.shared.entry(*priority).or_default().entry(tenant.clone()).or_default()
            }
        }
    }

    fn remove(&mut self, key: &QueueKey) {
        match key {
            QueueKey::Own(agent) => drop(self.own.remove(agent)),
            QueueKey::Shared { tenant, priority } => {
                let Some(queues) = self.shared.get_mut(priority) else { return };
                queues.remove(tenant);
                if queues.is_empty() {
                    self.shared.remove(priority);
                }
            }
        }
    }

    /// Changes a queue, counts its memory, and drops it where nothing is left of it.
    fn change<T>(&mut self, key: &QueueKey, change: impl FnOnce(&mut ReadyQueue) -> T) -> T {
        let queue = self.queue_mut(key);
        let before = (queue.len(), queue.bytes(), queue.oldest());
        let changed = change(queue);
        let (after, is_empty) = ((queue.len(), queue.bytes(), queue.oldest()), queue.is_empty());
        self.tasks = self.tasks + after.0 - before.0;
        self.held = self.held + after.1 - before.1;
        self.oldest.replace(before.2, after.2);
        if is_empty {
            self.remove(key);
        }
        changed
    }

    fn head_size(&self) -> usize {
        let queues = self.own.len() + self.shared.values().map(BTreeMap::len).sum::<usize>();
        let each = self.held.checked_div(self.tasks).unwrap_or(LARGE_TASK);
        (self.most / each / queues.max(1)).clamp(*HEAD.start(), *HEAD.end())
    }
}

/// What is to be read of a queue with less than `enough` tasks in memory.
fn gap(queue: &ReadyQueue, enough: usize, key: impl FnOnce() -> QueueKey) -> Option<QueueSlice> {
    let after = queue.gap(enough)?;
    Some(QueueSlice { queue: key(), after, limit: u32::try_from(enough * 2).unwrap_or(u32::MAX) })
}

/// The queues of a priority in the order of their turns, with what is left of the first one's turn where that was cut short.
fn ring<'a, 'r>(
    queues: &'a BTreeMap<String, ReadyQueue>,
    last: Option<LastTurn<'r>>,
) -> impl Iterator<Item = (&'a String, &'a ReadyQueue, Option<u32>)> + use<'a, 'r> {
    let (from, to) = match last {
        None => (Bound::Unbounded, Bound::Excluded("")),
        Some(LastTurn { tenant, left: 0 }) => (Bound::Excluded(tenant), Bound::Included(tenant)),
        Some(LastTurn { tenant, .. }) => (Bound::Included(tenant), Bound::Excluded(tenant)),
    };
    let goes_on = move |name: &str| last.filter(|last| last.left > 0 && last.tenant == name).map(|last| last.left);
    let rest = queues.range::<str, _>((from, Bound::Unbounded));
    rest.chain(queues.range::<str, _>((Bound::Unbounded, to)))
        .map(move |(tenant, queue)| (tenant, queue, goes_on(tenant)))
}

/// The queue in which a task waits.
pub(crate) fn key_of(task: &QueuedTask) -> QueueKey {
    QueueKey::of(task.agent_id, &task.tenant, task.priority)
}
