//! The tasks: what this worker has begun, and what each order, halt and end means for it.
//!
//! Nothing here acts. Every method changes the table, answers with what is to be done, and collects what is to be
//! reported. The races of the messages are decided here, so they can be tested in both orders:
//!
//! - An order may come twice, or again after its work is done: each attempt is begun once, and a repeated order is
//!   answered with what became of it.
//! - A halt may overtake its order: the attempt is remembered as over, and the order that comes late begins nothing.
//! - A halt and an end may cross: an end that is a result counts, since the work was done before the halt was heard.
//! - A refusal is final for its attempt: the master may have given the task to another agent because of it.
//! - An agent's end is the proof that the work on its tasks has stopped: they are over before that end is reported.

mod past;

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use muster_domain::{
    Activity, AgentId, AttemptEnd, Cause, Ending, Epoch, Halt, Payload, ReportBody, TaskBegun, TaskHalt, TaskId,
    TaskOrder, TaskOver, TaskSnapshot, Timestamp,
};
use tokio::time::Instant;

use crate::later;
use crate::notes::Notes;
use past::{PastAttempts, Repeat};

/// Beginnings in one report, at most.
const BEGUN_AT_ONCE: usize = 1024;

/// One attempt at a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct AttemptId {
    pub(crate) task_id: TaskId,
    pub(crate) attempt: u32,
}

/// A task that is to be begun, and where its notes go.
#[derive(Debug)]
pub(crate) struct AttemptStart {
    pub(crate) order: TaskOrder,
    pub(crate) notes: Arc<Notes>,
}

impl AttemptStart {
    pub(crate) const fn id(&self) -> AttemptId {
        AttemptId { task_id: self.order.task_id, attempt: self.order.attempt }
    }
}

/// What is to be done next.
#[derive(Debug)]
pub(crate) enum TaskStep {
    /// Have this task begun.
    Begin(AttemptStart),
    /// Have this agent stop this attempt.
    Halt(AgentId, AttemptId, Halt),
    /// Send the report of this number again.
    Resend(u64),
}

/// What a runtime says when an attempt is over and nothing of its work goes on.
#[derive(Debug)]
pub(crate) struct Finish {
    pub(crate) id: AttemptId,
    pub(crate) end: Finished,
    /// What the program printed last during the attempt, where it did not succeed.
    pub(crate) last_output: String,
}

/// How an attempt ended, as its runtime sees it.
#[derive(Debug, PartialEq)]
pub(crate) enum Finished {
    /// With this result.
    Done(Payload),
    /// With an error.
    Failed { message: String, retryable: bool },
    /// There was no program: this is why.
    StartFailed(String),
    /// Its program was stopped as it was ordered.
    Stopped,
    /// Its agent is gone with all that it had begun, for this reason.
    Lost(Cause),
    /// It was never begun.
    NotBegun(String),
}

/// An attempt that was begun and is not over.
#[derive(Debug)]
struct OpenAttempt {
    agent_id: AgentId,
    notes: Arc<Notes>,
    /// Whether its beginning was reported.
    told: bool,
    /// Why it is being stopped.
    halt: Option<Halt>,
    deadline: Option<Instant>,
}

/// What one run of an agent has to do.
#[derive(Debug)]
struct Load {
    epoch: Epoch,
    attempts: HashSet<AttemptId>,
    /// When its last task was over.
    rests_since: Instant,
    /// When it last turned from idle to busy or back.
    turned_at: Timestamp,
}

/// What a run of an agent has to do, as it is told to the master.
#[derive(Debug)]
pub(crate) struct AgentWork {
    pub(crate) activity: Activity,
    /// When that last changed; none where it never had a task.
    pub(crate) turned_at: Option<Timestamp>,
    pub(crate) tasks: Vec<TaskSnapshot>,
}

/// Nothing.
impl Default for AgentWork {
    fn default() -> Self {
        Self { activity: Activity::Idle, turned_at: None, tasks: Vec::new() }
    }
}

/// The table.
#[derive(Debug)]
pub(crate) struct AttemptTable {
    held: HashMap<AttemptId, OpenAttempt>,
    loads: HashMap<AgentId, Load>,
    deadlines: BTreeSet<(Instant, AttemptId)>,
    past: PastAttempts,
    /// Those that may have been begun and not reported.
    begun: VecDeque<AttemptId>,
    /// Silence counts from here on, at the earliest.
    listening_since: Instant,
}

impl AttemptTable {
    pub(crate) fn new(heartbeat: Duration, now: Instant) -> Self {
        Self {
            held: HashMap::new(),
            loads: HashMap::new(),
            deadlines: BTreeSet::new(),
            past: PastAttempts::new(heartbeat.saturating_mul(2)),
            begun: VecDeque::new(),
            listening_since: now,
        }
    }

    /// An order came. `refusal` says why it is not to be begun, if it is not; it is asked only of an attempt that is not
    /// known, since an answer changes nothing, and "not begun" would be untrue of one that was.
    pub(crate) fn on_order(
        &mut self,
        order: TaskOrder,
        refusal: impl FnOnce(&TaskOrder) -> Option<String>,
        now: Instant,
        at: Timestamp,
    ) -> Option<TaskStep> {
        let id = AttemptId { task_id: order.task_id, attempt: order.attempt };
        if let Some(held) = self.held.get_mut(&id) {
            if std::mem::replace(&mut held.told, false) {
                self.begun.push_back(id);
            }
            return None;
        }
        if let Some(repeat) = self.past.repeat(id) {
            return resend(repeat);
        }
        if let Some(message) = refusal(&order) {
            self.past.put(over(id, AttemptEnd::NotBegun { message }));
            return None;
        }
        Some(TaskStep::Begin(self.hold(order, now, at)))
    }

    fn hold(&mut self, order: TaskOrder, now: Instant, at: Timestamp) -> AttemptStart {
        let start = AttemptStart { order, notes: Arc::new(Notes::new(now)) };
        let (id, order) = (start.id(), &start.order);
        let deadline = order.timeout.map(|timeout| later(now, timeout));
        self.deadlines.extend(deadline.map(|at| (at, id)));
        let held = OpenAttempt {
            agent_id: order.agent_id,
            notes: Arc::clone(&start.notes),
            told: false,
            halt: None,
            deadline,
        };
        self.held.insert(id, held);
        self.begun.push_back(id);
        let new = || Load { epoch: order.epoch, attempts: HashSet::new(), rests_since: now, turned_at: at };
        let load = self.loads.entry(order.agent_id).or_insert_with(new);
        load.epoch = order.epoch;
        if load.attempts.is_empty() {
            load.turned_at = at;
        }
        load.attempts.insert(id);
        start
    }

    /// A halt came.
    pub(crate) fn on_halt(&mut self, order: TaskHalt) -> Option<TaskStep> {
        let id = AttemptId { task_id: order.task_id, attempt: order.attempt };
        if self.held.contains_key(&id) {
            return self.halt(id, order.halt);
        }
        match self.past.repeat(id) {
            Some(repeat) => resend(repeat),
            None => {
                self.past.put(over(id, AttemptEnd::Halted { halt: order.halt }));
                None
            }
        }
    }

    /// The first reason counts, and is passed on once.
    fn halt(&mut self, id: AttemptId, halt: Halt) -> Option<TaskStep> {
        let held = self.held.get_mut(&id).filter(|held| held.halt.is_none())?;
        held.halt = Some(halt);
        Some(TaskStep::Halt(held.agent_id, id, halt))
    }

    /// When the next timeout is due.
    pub(crate) fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.first().map(|(at, _)| *at)
    }

    /// Halts what has taken too long.
    pub(crate) fn on_time(&mut self, now: Instant) -> Vec<TaskStep> {
        let mut acts = Vec::new();
        while let Some((at, id)) = self.deadlines.first().copied()
            && at <= now
        {
            self.deadlines.pop_first();
            acts.extend(self.halt(id, Halt::TimedOut));
        }
        acts
    }

    /// The runtime says that an attempt is over. News of one that is over already are none.
    pub(crate) fn on_finish(&mut self, finish: Finish, now: Instant, at: Timestamp) {
        let Finish { id, end, last_output } = finish;
        let Some(held) = self.drop_held(id, now, at) else { return };
        let (end, output) = match (end, held.halt) {
            (Finished::Done(output), _) => (AttemptEnd::Succeeded, Some(output)),
            (_, Some(halt)) => (AttemptEnd::Halted { halt }, None),
            (Finished::Failed { message, retryable }, None) => (AttemptEnd::Failed { message, retryable }, None),
            (Finished::StartFailed(message), None) => (AttemptEnd::StartFailed { message }, None),
            (Finished::Lost(cause), None) => (lost(&cause), None),
            (Finished::Stopped, None) => (interrupted("its program was stopped"), None),
            (Finished::NotBegun(message), None) => (AttemptEnd::NotBegun { message }, None),
        };
        let usage = held.notes.said().usage;
        self.past.put(TaskOver { output, last_output, usage, ..over(id, end) });
    }

    /// The tree of this run of an agent is proven dead, and with it the work on all of its tasks.
    pub(crate) fn on_agent_ended(&mut self, agent_id: AgentId, epoch: Epoch, ending: &Ending, now: Instant) {
        if self.loads.get(&agent_id).is_none_or(|load| load.epoch != epoch) {
            return;
        }
        let Some(load) = self.loads.remove(&agent_id) else { return };
        for id in load.attempts {
            let Some(held) = self.drop_held(id, now, ending.at) else { continue };
            let end = held.halt.map_or_else(|| lost(&ending.cause), |halt| AttemptEnd::Halted { halt });
            // What the agent printed last may be about anything.
            self.past.put(TaskOver { usage: held.notes.said().usage, ..over(id, end) });
        }
    }

    fn drop_held(&mut self, id: AttemptId, now: Instant, at: Timestamp) -> Option<OpenAttempt> {
        let held = self.held.remove(&id)?;
        if let Some(deadline) = held.deadline {
            self.deadlines.remove(&(deadline, id));
        }
        if let Some(load) = self.loads.get_mut(&held.agent_id) {
            load.attempts.remove(&id);
            load.rests_since = now;
            if load.attempts.is_empty() {
                load.turned_at = at;
            }
        }
        Some(held)
    }

    /// Whether something is to be reported.
    pub(crate) fn has_news(&self) -> bool {
        !self.begun.is_empty() || self.past.has_news()
    }

    /// The next report, which gets this number. An attempt that is over is not named as begun beside it.
    pub(crate) fn next_report(&mut self, seq: u64) -> Option<ReportBody> {
        let mut begun = Vec::new();
        while begun.len() < BEGUN_AT_ONCE
            && let Some(id) = self.begun.pop_front()
        {
            if let Some(held) = self.held.get_mut(&id)
                && !std::mem::replace(&mut held.told, true)
            {
                begun.push(TaskBegun { task_id: id.task_id, attempt: id.attempt });
            }
        }
        let over = self.past.take(seq);
        (!begun.is_empty() || !over.is_empty()).then_some(ReportBody::Tasks { begun, over })
    }

    /// Reports up to this number are settled.
    pub(crate) fn settle(&mut self, up_to: u64, now: Instant) {
        self.past.settle(up_to, now);
    }

    /// Nobody could hear of any progress until now: silence counts anew.
    pub(crate) const fn listen_anew(&mut self, now: Instant) {
        self.listening_since = now;
    }

    /// When an agent was last busy; none where it never was.
    pub(crate) fn last_busy(&self, agent_id: &AgentId, now: Instant) -> Option<Instant> {
        let load = self.loads.get(agent_id)?;
        Some(if load.attempts.is_empty() { load.rests_since } else { now })
    }

    /// What a run of an agent has to do.
    pub(crate) fn work_of(&self, agent_id: AgentId, epoch: Epoch, now: Instant) -> AgentWork {
        let Some(load) = self.loads.get(&agent_id).filter(|load| load.epoch == epoch) else {
            return AgentWork::default();
        };
        AgentWork {
            activity: Activity::Idle.given(!load.attempts.is_empty()),
            turned_at: Some(load.turned_at),
            tasks: load.attempts.iter().filter_map(|id| self.picture(*id, now)).collect(),
        }
    }

    fn picture(&self, id: AttemptId, now: Instant) -> Option<TaskSnapshot> {
        let notes = &self.held.get(&id)?.notes;
        let quiet = now.saturating_duration_since(notes.last_sign().max(self.listening_since));
        let said = notes.said();
        Some(TaskSnapshot {
            task_id: id.task_id,
            attempt: id.attempt,
            quiet_ms: u64::try_from(quiet.as_millis()).unwrap_or(u64::MAX),
            progress: said.progress,
            usage: said.usage,
        })
    }
}

const fn resend(repeat: Repeat) -> Option<TaskStep> {
    match repeat {
        Repeat::Soon => None,
        Repeat::Report(seq) => Some(TaskStep::Resend(seq)),
    }
}

fn over(id: AttemptId, end: AttemptEnd) -> TaskOver {
    let AttemptId { task_id, attempt } = id;
    TaskOver { task_id, attempt, end, output: None, last_output: String::new(), usage: Default::default() }
}

fn interrupted(why: &str) -> AttemptEnd {
    AttemptEnd::Interrupted { message: why.to_owned() }
}

/// What an agent's end means for a task that nobody asked to stop.
fn lost(cause: &Cause) -> AttemptEnd {
    match cause {
        Cause::Stopped => interrupted("its agent was stopped"),
        Cause::TaskHalted => interrupted("its agent was ended with another task that did not stop"),
        cause => AttemptEnd::AgentDied { message: cause.to_string() },
    }
}

#[cfg(test)]
mod tests;
