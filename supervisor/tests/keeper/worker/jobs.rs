//! The tasks of a fake worker: which it has begun, and what became of the others. It only keeps; the real worker's rules are
//! the same.

use std::collections::{BTreeMap, HashMap};

use muster_domain::{
    AgentId, AttemptEnd, Halt, Payload, Progress, ReportBody, TaskBegun, TaskHalt, TaskId, TaskOrder, TaskOver,
    TaskSnapshot, Usage,
};
use tokio::time::Instant;

pub(super) type Attempt = (TaskId, u32);

/// An attempt that was begun and is not over.
pub(super) struct Job {
    pub(super) agent: AgentId,
    pub(super) input: Payload,
    pub(super) halt: Option<Halt>,
    pub(super) deadline: Option<Instant>,
    pub(super) progress: Option<Progress>,
    pub(super) usage: Usage,
}

/// An attempt that is over, and the number of the report that says so.
struct Past {
    over: TaskOver,
    said: Option<u64>,
}

/// What a worker has to do because of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Todo {
    Nothing,
    /// It is new and was taken in.
    Begun,
    /// It is to stop, for the first time.
    Stop,
    /// The report of this number is to be sent again.
    Repeat(u64),
}

#[derive(Default)]
pub(super) struct Jobs {
    pub(super) held: BTreeMap<Attempt, Job>,
    past: HashMap<Attempt, Past>,
    begun: Vec<Attempt>,
    unsaid: Vec<Attempt>,
}

impl Jobs {
    /// Each attempt is begun once. `refusal` says why it is not begun at all.
    pub(super) fn order(&mut self, order: TaskOrder, refusal: Option<&str>) -> Todo {
        let id = (order.task_id, order.attempt);
        if self.held.contains_key(&id) {
            self.begun.push(id);
            return Todo::Nothing;
        }
        if self.past.contains_key(&id) {
            return self.repeat(id);
        }
        if let Some(refusal) = refusal {
            self.put(over(id, AttemptEnd::NotBegun { message: refusal.to_owned() }));
            return Todo::Nothing;
        }
        let deadline = order.timeout.map(|timeout| Instant::now() + timeout);
        let (agent, input) = (order.agent_id, order.input);
        let job = Job { agent, input, halt: None, deadline, progress: None, usage: Usage::default() };
        self.held.insert(id, job);
        self.begun.push(id);
        Todo::Begun
    }

    /// The first reason counts; of one that never came it is remembered that it is over.
    pub(super) fn halt(&mut self, halt: &TaskHalt) -> Todo {
        let id = (halt.task_id, halt.attempt);
        if let Some(job) = self.held.get_mut(&id) {
            let first = job.halt.is_none();
            job.halt.get_or_insert(halt.halt);
            return if first { Todo::Stop } else { Todo::Nothing };
        }
        if self.past.contains_key(&id) {
            return self.repeat(id);
        }
        self.put(over(id, AttemptEnd::Halted { halt: halt.halt }));
        Todo::Nothing
    }

    fn repeat(&mut self, id: Attempt) -> Todo {
        match self.past.get(&id).and_then(|past| past.said) {
            Some(seq) => Todo::Repeat(seq),
            None => {
                if !self.unsaid.contains(&id) {
                    self.unsaid.push(id);
                }
                Todo::Nothing
            }
        }
    }

    /// What is over is said only when somebody asks.
    pub(super) fn keep_quiet(&mut self) {
        self.unsaid.clear();
    }

    /// The report that said so is settled and gone, and somebody asks again.
    pub(super) fn say_again(&mut self, gone: u64) {
        for (id, past) in &mut self.past {
            if past.said == Some(gone) {
                past.said = None;
                self.unsaid.push(*id);
            }
        }
    }

    /// What takes longer than it may: these stop now.
    pub(super) fn late(&mut self, now: Instant) -> Vec<Attempt> {
        let late = |job: &Job| job.halt.is_none() && job.deadline.is_some_and(|deadline| deadline <= now);
        let late: Vec<Attempt> = self.held.iter().filter(|(_, job)| late(job)).map(|(id, _)| *id).collect();
        for id in &late {
            self.held.get_mut(id).expect("it is held").halt = Some(Halt::TimedOut);
        }
        late
    }

    /// An attempt is over. One that was to stop was stopped, unless it was done.
    pub(super) fn end(&mut self, id: Attempt, end: AttemptEnd) -> bool {
        let Some(job) = self.held.remove(&id) else { return false };
        let output = (end == AttemptEnd::Succeeded).then_some(job.input);
        let end = match (end, job.halt) {
            (AttemptEnd::Succeeded, _) => AttemptEnd::Succeeded,
            (_, Some(halt)) => AttemptEnd::Halted { halt },
            (end, None) => end,
        };
        self.put(TaskOver { output, usage: job.usage, ..over(id, end) });
        true
    }

    fn put(&mut self, over: TaskOver) {
        let id = (over.task_id, over.attempt);
        self.past.insert(id, Past { over, said: None });
        self.unsaid.push(id);
    }

    /// What is new, for the report with this number. What is over is not named as begun beside it.
    pub(super) fn report(&mut self, seq: u64) -> Option<ReportBody> {
        let begun = std::mem::take(&mut self.begun).into_iter().filter(|id| self.held.contains_key(id));
        let begun: Vec<TaskBegun> = begun.map(|(task_id, attempt)| TaskBegun { task_id, attempt }).collect();
        let mut over = Vec::new();
        for id in std::mem::take(&mut self.unsaid) {
            if let Some(past) = self.past.get_mut(&id) {
                past.said = Some(seq);
                over.push(past.over.clone());
            }
        }
        (!begun.is_empty() || !over.is_empty()).then_some(ReportBody::Tasks { begun, over })
    }

    pub(super) fn of_agent(&self, agent: AgentId) -> Vec<Attempt> {
        self.held.iter().filter(|(_, job)| job.agent == agent).map(|(id, _)| *id).collect()
    }

    /// The attempt at a task that is under way.
    pub(super) fn current(&self, task: TaskId) -> Option<Attempt> {
        self.held.keys().find(|(id, _)| *id == task).copied()
    }

    pub(super) fn pictures(&self, agent: AgentId, quiet: bool) -> Vec<TaskSnapshot> {
        let picture = |((task_id, attempt), job): (&Attempt, &Job)| TaskSnapshot {
            task_id: *task_id,
            attempt: *attempt,
            quiet_ms: if quiet { u64::MAX / 2 } else { 0 },
            progress: job.progress.clone(),
            usage: job.usage,
        };
        self.held.iter().filter(|(_, job)| job.agent == agent).map(picture).collect()
    }
}

fn over((task_id, attempt): Attempt, end: AttemptEnd) -> TaskOver {
    TaskOver { task_id, attempt, end, output: None, last_output: String::new(), usage: Usage::default() }
}
