//! The tasks that agents have.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Instant;

use muster_domain::{AgentId, Attempt, Halt, Progress, TaskId, TaskOrder, Timestamp, Usage};
use muster_policy::agent::SentCommand;
use muster_store::{QueuedTask, RunningTask};

/// One task that an agent has.
#[derive(Debug)]
pub(crate) struct RunningAttempt {
    pub(crate) task: QueuedTask,
    pub(crate) attempt: Attempt,
    /// Why it is being stopped, where it is.
    pub(crate) halt: Option<Halt>,
    pub(crate) started_at: Timestamp,
    /// The order, until its worker has acknowledged it: it may have to be sent again.
    pub(crate) order: Option<TaskOrder>,
    /// How far the worker knows: the latest command about it.
    pub(crate) sent: Option<SentCommand>,
    /// The number of its worker's report that acknowledged it, or that was the latest when a heartbeat did.
    pub(crate) begun_by: Option<u64>,
    pub(crate) progress: Option<Progress>,
    /// What this attempt has used so far.
    pub(crate) used: Usage,
    due: Option<Instant>,
}

impl RunningAttempt {
    pub(crate) fn new(task: QueuedTask, attempt: Attempt, started_at: Timestamp) -> Self {
        Self {
            task,
            attempt,
            halt: None,
            started_at,
            order: None,
            sent: None,
            begun_by: None,
            progress: None,
            used: Usage::default(),
            due: None,
        }
    }

    pub(crate) fn with_halt(self, halt: Option<Halt>) -> Self {
        Self { halt, ..self }
    }

    /// Whether its worker has still to say that it knows of the latest wish: to run it, or to stop it.
    pub(crate) const fn is_unheard(&self) -> bool {
        self.begun_by.is_none() || self.halt.is_some()
    }
}

impl From<RunningTask> for RunningAttempt {
    fn from(row: RunningTask) -> Self {
        Self { halt: row.halt, ..Self::new(row.task, row.attempt, row.started_at) }
    }
}

/// All of a pool.
#[derive(Default)]
pub(crate) struct RunningAttempts {
    by_task: HashMap<TaskId, RunningAttempt>,
    by_agent: BTreeMap<AgentId, Vec<TaskId>>,
    by_tenant: HashMap<String, u32>,
    /// When each is to be looked at again.
    agenda: BTreeSet<(Instant, TaskId)>,
}

impl RunningAttempts {
    pub(crate) fn put(&mut self, run: RunningAttempt) {
        let id = run.task.task_id;
        self.by_agent.entry(run.attempt.agent_id).or_default().push(id);
        match self.by_tenant.get_mut(&run.task.tenant) {
            Some(count) => *count += 1,
            None => drop(self.by_tenant.insert(run.task.tenant.clone(), 1)),
        }
        self.by_task.insert(id, run);
    }

    pub(crate) fn take(&mut self, id: TaskId) -> Option<RunningAttempt> {
        let run = self.by_task.remove(&id)?;
        if let Some(due) = run.due {
            self.agenda.remove(&(due, id));
        }
        if let Some(tasks) = self.by_agent.get_mut(&run.attempt.agent_id) {
            tasks.retain(|task| *task != id);
            if tasks.is_empty() {
                self.by_agent.remove(&run.attempt.agent_id);
            }
        }
        if let Some(count) = self.by_tenant.get_mut(&run.task.tenant) {
            *count -= 1;
            if *count == 0 {
                self.by_tenant.remove(&run.task.tenant);
            }
        }
        Some(run)
    }

    pub(crate) fn get(&self, id: TaskId) -> Option<&RunningAttempt> {
        self.by_task.get(&id)
    }

    /// How far a task is.
    pub(crate) fn progress(&self, id: TaskId) -> Option<Progress> {
        self.get(id)?.progress.clone()
    }

    /// For all but who has it.
    pub(crate) fn get_mut(&mut self, id: TaskId) -> Option<&mut RunningAttempt> {
        self.by_task.get_mut(&id)
    }

    /// The tasks of an agent.
    pub(crate) fn of_agent(&self, agent: AgentId) -> &[TaskId] {
        self.by_agent.get(&agent).map_or(&[], Vec::as_slice)
    }

    /// The agents that have any.
    pub(crate) fn agents(&self) -> impl Iterator<Item = AgentId> {
        self.by_agent.keys().copied()
    }

    /// How many tasks of each tenant run.
    pub(crate) const fn by_tenant(&self) -> &HashMap<String, u32> {
        &self.by_tenant
    }

    /// How many tasks an agent has.
    pub(crate) fn held_by(&self, agent: AgentId) -> u32 {
        u32::try_from(self.of_agent(agent).len()).unwrap_or(u32::MAX)
    }

    /// All of them, as they were put in.
    pub(crate) fn into_runs(self) -> impl Iterator<Item = RunningAttempt> {
        self.by_task.into_values().map(|run| RunningAttempt { due: None, ..run })
    }

    /// All of them, in order.
    pub(crate) fn ids(&self) -> Vec<TaskId> {
        let mut ids: Vec<TaskId> = self.by_task.keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    pub(crate) fn len(&self) -> usize {
        self.by_task.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_task.is_empty()
    }

    /// Notes when a run is to be looked at again.
    pub(crate) fn schedule(&mut self, id: TaskId, due: Option<Instant>) {
        let Some(run) = self.by_task.get_mut(&id) else { return };
        if let Some(old) = std::mem::replace(&mut run.due, due) {
            self.agenda.remove(&(old, id));
        }
        if let Some(due) = due {
            self.agenda.insert((due, id));
        }
    }

    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.agenda.first().map(|(due, _)| *due)
    }

    /// Those that are due; they stay so until they are scheduled anew.
    pub(crate) fn due(&self, now: Instant) -> Vec<TaskId> {
        self.agenda.iter().take_while(|(due, _)| *due <= now).map(|(_, id)| *id).collect()
    }
}
