//! The tasks of the store in memory.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound::{Excluded, Unbounded};

use muster_domain::{After, AgentId, Attempt, AttemptEnd, Halt, PoolName, TaskId, TaskState, TaskStatus, Timestamp};
use muster_store::{
    IdempotencyKey, LineKey, LineRow, ListOrder, NewTask, Piece, QueueCounts, QueuedTask, RunningTask, SHORT_INPUT,
    TaskEnding, TaskFilter, TaskHalting, TaskOutcome, TaskRow, TaskStart, TaskVerdict, Write,
};

type Key = (String, String, String);

#[derive(Default)]
pub(super) struct Shelf {
    tasks: BTreeMap<TaskId, TaskRow>,
    keys: BTreeMap<Key, (TaskId, [u8; 32])>,
    /// The step of the clock for which a wait was moved last.
    moved_for: BTreeMap<TaskId, String>,
}

fn key_of(key: &IdempotencyKey) -> Key {
    (key.caller.clone(), key.route.clone(), key.key.clone())
}

fn outcomes<T>(items: &[T], change: impl FnMut(&T) -> bool) -> Vec<TaskOutcome> {
    let outcome = |changed| if changed { TaskOutcome::Applied } else { TaskOutcome::Unchanged };
    items.iter().map(change).map(outcome).collect()
}

/// Where a queued task waits: `None` where it does not, `Some(None)` where it waits for its time.
fn line_of(row: &TaskRow) -> Option<Option<LineKey>> {
    let TaskStatus::Queued { not_before } = row.status else { return None };
    let ready = match row.spec.agent_id {
        Some(agent) => LineKey::Own(agent),
        None => LineKey::Shared { tenant: row.spec.tenant.clone(), priority: row.spec.priority },
    };
    Some(not_before.is_none().then_some(ready))
}

fn queued(row: &TaskRow) -> QueuedTask {
    QueuedTask {
        task_id: row.spec.task_id,
        tenant: row.spec.tenant.clone(),
        priority: row.spec.priority,
        project_id: row.spec.project_id.clone(),
        agent_id: row.spec.agent_id,
        check: row.spec.check,
        max_attempts: row.spec.max_attempts,
        timeout: row.spec.timeout,
        expires_at: row.spec.expires_at,
        attempt: row.attempt,
        tally: row.tally,
        usage: row.usage,
        created_at: row.created_at,
        input: Some(row.input.clone()).filter(|input| input.len() <= SHORT_INPUT as usize),
    }
}

impl Shelf {
    pub(super) fn carry_out(&mut self, write: &Write, has_pool: impl Fn(&PoolName) -> bool) -> Vec<TaskOutcome> {
        match write {
            Write::AddTasks(new) => self.add(new, has_pool),
            Write::StartTasks(starts) => outcomes(starts, |start| self.start(start)),
            Write::HaltTasks(haltings) => outcomes(haltings, |halting| self.halt(halting)),
            Write::EndTasks(endings) => outcomes(endings, |ending| self.end(ending)),
            Write::SettleTasks(verdicts) => outcomes(verdicts, |verdict| self.settle(verdict)),
            Write::PromoteTasks(ids) => outcomes(ids, |id| self.promote(*id)),
            Write::RedriveTasks(ids) => outcomes(ids, |id| self.redrive(*id, &has_pool)),
            Write::WithdrawTasks(ids) => outcomes(ids, |id| self.withdraw(*id)),
            _ => Vec::new(),
        }
    }

    /// Those without a key go first, as in the other engines.
    fn add(&mut self, new: &[NewTask], has_pool: impl Fn(&PoolName) -> bool) -> Vec<TaskOutcome> {
        let mut outcomes = vec![TaskOutcome::Unchanged; new.len()];
        let (plain, keyed): (Vec<_>, Vec<_>) = new.iter().enumerate().partition(|(_, task)| task.key.is_none());
        for (place, task) in plain.into_iter().chain(keyed) {
            if has_pool(&task.spec.pool_name) {
                outcomes[place] = self.add_one(task);
            }
        }
        outcomes
    }

    fn add_one(&mut self, new: &NewTask) -> TaskOutcome {
        let id = new.spec.task_id;
        if let Some(key) = &new.key {
            let (task_id, body_hash) = *self.keys.entry(key_of(key)).or_insert((id, key.body_hash));
            if task_id != id {
                return TaskOutcome::Replayed { task_id, body_hash };
            }
        }
        if self.tasks.contains_key(&id) {
            return TaskOutcome::Unchanged;
        }
        let row = TaskRow {
            spec: new.spec.clone(),
            input: new.input.clone(),
            status: new.start.map_or(TaskStatus::Queued { not_before: new.due_at() }, TaskStatus::Running),
            version: 1,
            attempt: new.start.map_or(0, |attempt| attempt.number),
            tally: Default::default(),
            redrives: 0,
            output: None,
            usage: Default::default(),
            history: Vec::new(),
            created_at: new.at,
            started_at: new.start.map(|_| new.at),
            finished_at: None,
        };
        self.tasks.insert(id, row);
        TaskOutcome::Applied
    }

    fn queued(&mut self, id: TaskId) -> Option<&mut TaskRow> {
        let is_queued = |row: &&mut TaskRow| row.status.state() == TaskState::Queued;
        let row = self.tasks.get_mut(&id).filter(is_queued)?;
        Some(row)
    }

    fn running(&mut self, id: TaskId, number: u32) -> Option<(&mut TaskRow, Attempt)> {
        let row = self.tasks.get_mut(&id)?;
        let attempt = row.status.attempt().filter(|attempt| attempt.number == number)?;
        Some((row, attempt))
    }

    fn start(&mut self, start: &TaskStart) -> bool {
        let Some(row) = self.queued(start.task_id).filter(|row| row.attempt + 1 == start.attempt.number) else {
            return false;
        };
        (row.status, row.attempt) = (TaskStatus::Running(start.attempt), start.attempt.number);
        row.started_at = Some(start.at);
        row.version += 1;
        true
    }

    fn halt(&mut self, halting: &TaskHalting) -> bool {
        let Some((row, attempt)) = self.running(halting.task_id, halting.number) else { return false };
        if matches!(row.status, TaskStatus::Halting(..)) && halting.halt != Halt::Cancelled {
            return false;
        }
        row.status = TaskStatus::Halting(attempt, halting.halt);
        row.version += 1;
        true
    }

    fn end(&mut self, ending: &TaskEnding) -> bool {
        let at = ending.record.ended_at;
        let Some((row, _)) = self.running(ending.task_id, ending.record.number) else { return false };
        row.status = match &ending.then {
            After::Retry { not_before } => TaskStatus::Queued { not_before: not_before.filter(|due| *due > at) },
            then => final_status(then),
        };
        row.finished_at = row.status.state().is_final().then_some(at);
        row.output.clone_from(&ending.output);
        // What never began is no part of the history.
        if !matches!(ending.record.end, AttemptEnd::NotBegun { .. }) {
            row.history.push(ending.record.clone());
        }
        (row.usage, row.tally) = (ending.usage, ending.tally);
        row.version += 1;
        true
    }

    fn settle(&mut self, verdict: &TaskVerdict) -> bool {
        if matches!(verdict.then, After::Succeed | After::Retry { .. }) {
            return false;
        }
        let Some(row) = self.queued(verdict.task_id) else { return false };
        (row.status, row.finished_at) = (final_status(&verdict.then), Some(verdict.at));
        row.version += 1;
        true
    }

    fn promote(&mut self, id: TaskId) -> bool {
        let Some(row) = self.queued(id).filter(|row| row.status != TaskStatus::Queued { not_before: None }) else {
            return false;
        };
        row.status = TaskStatus::Queued { not_before: None };
        row.version += 1;
        true
    }

    fn redrive(&mut self, id: TaskId, has_pool: impl Fn(&PoolName) -> bool) -> bool {
        let given_up = |row: &&mut TaskRow| matches!(row.status, TaskStatus::Dead(_) | TaskStatus::Failed(_));
        let Some(row) = self.tasks.get_mut(&id).filter(given_up).filter(|row| has_pool(&row.spec.pool_name)) else {
            return false;
        };
        row.status = TaskStatus::Queued { not_before: None };
        (row.tally, row.output, row.spec.expires_at, row.finished_at) = (Default::default(), None, None, None);
        row.redrives += 1;
        row.version += 1;
        true
    }

    fn withdraw(&mut self, id: TaskId) -> bool {
        self.keys.retain(|_, (made, _)| *made != id);
        self.tasks.remove(&id).is_some()
    }

    /// Waits that are durations end later by so much, each once for this step of the clock. Whether there were any.
    pub(super) fn shift(&mut self, pool: Option<&PoolName>, by_millis: i64, step: &str) -> bool {
        let (moved_for, mut found) = (&mut self.moved_for, false);
        let of_pool = self.tasks.values_mut().filter(|row| pool.is_none_or(|pool| row.spec.pool_name == *pool));
        for row in of_pool.filter(|row| row.attempt > 0 || row.spec.not_before.is_none()) {
            if let TaskStatus::Queued { not_before: Some(due) } = &mut row.status
                && moved_for.insert(row.spec.task_id, step.to_owned()).is_none_or(|last| last != step)
            {
                *due = Timestamp::from_millis(due.as_millis() + by_millis);
                row.version += 1;
                found = true;
            }
        }
        found
    }

    /// Nothing has ended after this moment.
    pub(super) fn bring_back(&mut self, to: Timestamp) {
        let ends = self.tasks.values_mut().filter_map(|row| row.finished_at.as_mut());
        ends.for_each(|end| *end = (*end).min(to));
    }

    pub(super) fn has_work(&self, pool: &PoolName) -> bool {
        self.tasks.values().any(|row| row.spec.pool_name == *pool && !row.status.state().is_final())
    }

    pub(super) fn task(&self, id: TaskId) -> Option<TaskRow> {
        self.tasks.get(&id).cloned()
    }

    pub(super) fn page(&self, filter: &TaskFilter, after: Option<TaskId>, limit: u32) -> Vec<TaskRow> {
        let wanted = |row: &&TaskRow| {
            filter.pool.as_ref().is_none_or(|pool| row.spec.pool_name == *pool)
                && filter.tenant.as_ref().is_none_or(|tenant| row.spec.tenant == *tenant)
                && (filter.project.is_none() || row.spec.project_id == filter.project)
                && (filter.states.is_empty() || filter.states.contains(&row.status.state()))
        };
        let (from, upto) = match filter.order {
            ListOrder::OldestFirst => (after.map_or(Unbounded, Excluded), Unbounded),
            ListOrder::NewestFirst => (Unbounded, after.map_or(Unbounded, Excluded)),
        };
        let rows = self.tasks.range((from, upto)).map(|(_, row)| row).filter(wanted);
        match filter.order {
            ListOrder::OldestFirst => rows.take(limit as usize).cloned().collect(),
            ListOrder::NewestFirst => rows.rev().take(limit as usize).cloned().collect(),
        }
    }

    pub(super) fn holder(&self, key: &IdempotencyKey) -> Option<(TaskId, [u8; 32])> {
        self.keys.get(&key_of(key)).copied()
    }

    fn of_pool(&self, pool: &PoolName) -> impl Iterator<Item = &TaskRow> {
        self.tasks.values().filter(move |row| row.spec.pool_name == *pool)
    }

    pub(super) fn lines(&self, pool: &PoolName) -> Vec<LineRow> {
        let mut lines: BTreeMap<LineKey, LineRow> = BTreeMap::new();
        for row in self.of_pool(pool) {
            let Some(line) = line_of(row).flatten() else { continue };
            // Rows are in the order of their ids.
            let first = row.spec.task_id;
            lines.entry(line.clone()).or_insert(LineRow { line, count: 0, first }).count += 1;
        }
        lines.into_values().collect()
    }

    pub(super) fn piece(&self, pool: &PoolName, piece: &Piece) -> Vec<QueuedTask> {
        let Piece { line, after, limit } = piece;
        let there = |row: &&TaskRow| {
            line_of(row).flatten().as_ref() == Some(line) && after.is_none_or(|after| row.spec.task_id > after)
        };
        self.of_pool(pool).filter(there).take(*limit as usize).map(queued).collect()
    }

    pub(super) fn running_tasks(&self, pool: &PoolName) -> Vec<RunningTask> {
        let running = |row: &TaskRow| {
            let (attempt, halt) = match row.status {
                TaskStatus::Running(attempt) => (attempt, None),
                TaskStatus::Halting(attempt, halt) => (attempt, Some(halt)),
                _ => return None,
            };
            let task = QueuedTask { input: None, ..queued(row) };
            Some(RunningTask { task, attempt, halt, started_at: row.started_at? })
        };
        self.of_pool(pool).filter_map(running).collect()
    }

    /// Delayed tasks with their times, the earliest first.
    fn delayed(&self, pool: &PoolName) -> BTreeSet<(Timestamp, TaskId)> {
        let due = |row: &TaskRow| match row.status {
            TaskStatus::Queued { not_before: Some(due) } => Some((due, row.spec.task_id)),
            _ => None,
        };
        self.of_pool(pool).filter_map(due).collect()
    }

    /// Waiting tasks with the times at which they expire, the earliest first.
    fn expiring(&self, pool: &PoolName) -> BTreeSet<(Timestamp, TaskId)> {
        let waits = |row: &&TaskRow| row.status.state() == TaskState::Queued;
        let expiry = |row: &TaskRow| Some((row.spec.expires_at?, row.spec.task_id));
        self.of_pool(pool).filter(waits).filter_map(expiry).collect()
    }

    fn read(&self, found: BTreeSet<(Timestamp, TaskId)>, by: Timestamp, limit: u32) -> Vec<QueuedTask> {
        let early = found.into_iter().take_while(|(at, _)| *at <= by).take(limit as usize);
        early.filter_map(|(_, id)| self.tasks.get(&id)).map(queued).collect()
    }

    pub(super) fn due(&self, pool: &PoolName, by: Timestamp, limit: u32) -> Vec<QueuedTask> {
        self.read(self.delayed(pool), by, limit)
    }

    pub(super) fn next_due(&self, pool: &PoolName, after: Timestamp) -> Option<Timestamp> {
        self.delayed(pool).into_iter().map(|(at, _)| at).find(|at| *at > after)
    }

    pub(super) fn expired(&self, pool: &PoolName, by: Timestamp, limit: u32) -> Vec<QueuedTask> {
        self.read(self.expiring(pool), by, limit)
    }

    pub(super) fn next_expiry(&self, pool: &PoolName, after: Timestamp) -> Option<Timestamp> {
        self.expiring(pool).into_iter().map(|(at, _)| at).find(|at| *at > after)
    }

    pub(super) fn of_agent(&self, pool: &PoolName, agent: AgentId, limit: u32) -> Vec<QueuedTask> {
        let is_own = |row: &&TaskRow| row.spec.agent_id == Some(agent) && line_of(row).is_some();
        self.of_pool(pool).filter(is_own).take(limit as usize).map(queued).collect()
    }

    pub(super) fn made_since(&self, tenant: &str, since: Timestamp) -> u64 {
        let first = TaskId::first_at(since);
        self.tasks.range(first..).filter(|(_, row)| row.spec.tenant == tenant).count() as u64
    }

    pub(super) fn counts(&self, pool: &PoolName) -> QueueCounts {
        let dead = self.of_pool(pool).filter(|row| row.status.state() == TaskState::Dead).count() as u64;
        QueueCounts { delayed: self.delayed(pool).len() as u64, dead }
    }
}

fn final_status(then: &After) -> TaskStatus {
    match then {
        After::Fail(error) => TaskStatus::Failed(error.clone()),
        After::Die(error) => TaskStatus::Dead(error.clone()),
        After::Cancel => TaskStatus::Cancelled,
        After::Succeed | After::Retry { .. } => TaskStatus::Succeeded,
    }
}
