//! Agents with programs. A program is not its protocol: what holds a program knows nothing of what is said, and what is said knows
//! nothing of processes.
//!
//! ```text
//!             orders                          bytes, exit
//! the loop ───────────► life ─── driver ◄────────────────► host      a process, its pipes, the way to its end; limits
//!          ◄───────────          │    ▲
//!             news               │    └──────────────────► protocol  what is told and what is said; no IO, no time
//!          ◄─────────── notes ◄──┴──► log
//! ```
//!
//! | part | is |
//! |---|---|
//! | `host` | one program: process, pipes, lines, SIGTERM and SIGKILL. A limit of what a program may use belongs here, and only here |
//! | `protocol` | the trait for what is spoken with a program, and a file for each that there is |
//! | `driver` | moves what is said between the two, with all deadlines: ready, answer, stop |
//! | `open_tasks`, `excerpt` | the tasks that a program has, and what it printed during each |
//! | `journal`, `tail` | the agent's log, and the last that it printed |
//! | `resident`, `per_task` | the lives: a program that is started with its agent, or one per task |
//! | [`crate::notes`] | what a program says of a task beside its end |
//!
//! # The walk of a task
//! 1. [`Exec::start`] looks up the protocol of the profile's mode, and starts a task for the agent by the protocol's
//!    [`ProgramLife`]. It holds one end of a channel to it: orders go in, news come out.
//! 2. `Host::start` starts the program. `Driver::new` lets the protocol greet it, and waits for `Message::Ready`.
//! 3. `AgentOrder::Begin`: the protocol writes the task into the program's stdin, as its pipe takes it, and the open tasks keep it.
//! 4. What the program prints comes as lines. The protocol says which of them are messages; all others go to the log. A note goes to
//!    the task's notes, an end is news for the loop. While the log has no room, the program is not read.
//! 5. `AgentOrder::Halt`: the protocol tells the program, and the driver waits for the answer; where none comes, it ends the program.
//! 6. `AgentOrder::Stop`, or an end of itself: the host tells when the tree is proven dead. What was still in its pipes is read, the
//!    tasks that it had are over, and the last news is the agent's end.
//!
//! Dropping the handles kills all trees: the tasks see that nobody gives orders any more.
//!
//! # A new protocol
//! A file in `protocol` that implements [`AgentProtocol`], its line in [`Exec::start`], and its row in `tests/ugly.rs`, the suite of
//! programs that misbehave.

pub(super) mod blocking;
mod driver;
mod excerpt;
mod host;
mod journal;
mod open_tasks;
mod per_task;
mod protocol;
mod resident;
mod tail;

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use muster_domain::{AgentId, ExecMode, ExecProfile, Halt, PoolName, ProcessId, SpawnOrder, WorkerOrders};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::Instant;

use super::{RunChange, RunNews};
use crate::checks::Probing;
use crate::slots::StopMode;
use crate::tasks::{AttemptId, AttemptStart, Finish, Finished};
use protocol::json_lines::JsonLines;
use protocol::oneshot::Oneshot;
use protocol::{AgentProtocol, ProgramLife};

/// The agents of a worker that have programs.
pub(crate) struct Exec {
    common: Arc<Common>,
    agents: HashMap<AgentId, AgentTaskHandle>,
}

/// What all agents of a worker have in common.
struct Common {
    profile: ExecProfile,
    process_id: ProcessId,
    pool_name: PoolName,
    data_dir: std::path::PathBuf,
    news: UnboundedSender<RunNews>,
    /// After which time the worker kills all agents when it stops as a whole.
    worker_deadline: Duration,
    /// The zero of [`LastActive`].
    since: Instant,
}

/// One run of an agent, as whoever carries it out knows it.
struct RunContext {
    common: Arc<Common>,
    order: SpawnOrder,
    activity: LastActive,
}

impl RunContext {
    fn agent_id(&self) -> AgentId {
        self.order.agent.agent_id
    }

    /// There was a sign of it.
    fn is_active(&self, now: Instant) {
        self.activity.note(self.common.since, now);
    }

    /// Tells the loop.
    fn say(&self, what: RunChange) {
        // Where nobody listens, the worker is gone.
        let news = RunNews { agent_id: self.agent_id(), epoch: self.order.epoch, what };
        let _ = self.common.news.send(news);
    }
}

/// The loop's end of an agent's task.
struct AgentTaskHandle {
    run: Arc<RunContext>,
    orders: UnboundedSender<AgentOrder>,
}

/// What the loop tells an agent's task.
enum AgentOrder {
    /// Stop, and end.
    Stop(StopMode),
    /// Have this done.
    Begin(Box<AttemptStart>),
    /// Stop this, for this reason.
    Halt(AttemptId, Halt),
}

/// When an agent was last active, in milliseconds since the worker's start. Written for each piece of output and read
/// when idleness is judged, so that output costs the loop nothing.
#[derive(Debug, Default)]
struct LastActive(AtomicU64);

impl LastActive {
    fn note(&self, since: Instant, now: Instant) {
        let millis = u64::try_from((now - since).as_millis()).unwrap_or(u64::MAX);
        self.0.store(millis, Ordering::Relaxed);
    }

    fn last(&self, since: Instant) -> Instant {
        since + Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

impl Common {
    /// How long a task that is to stop for this reason may take for it.
    const fn patience(&self, halt: Halt) -> Duration {
        match halt {
            Halt::BudgetExceeded => self.profile.budget_grace,
            Halt::Cancelled | Halt::TimedOut | Halt::LeaseLost | Halt::HandedBack | Halt::Preempted => {
                self.profile.stop_deadline
            }
        }
    }
}

impl Exec {
    pub(super) fn new(orders: &WorkerOrders, profile: ExecProfile, news: UnboundedSender<RunNews>) -> Self {
        let common = Common {
            profile,
            process_id: orders.process_id,
            pool_name: orders.pool_name.clone(),
            data_dir: orders.data_dir.clone(),
            news,
            worker_deadline: orders.clocks.stop_deadline,
            since: Instant::now(),
        };
        tokio::spawn(host::warm_up());
        Self { common: Arc::new(common), agents: HashMap::new() }
    }

    pub(super) fn start(&mut self, order: SpawnOrder) {
        let (orders, ordered) = unbounded_channel();
        let run = Arc::new(RunContext { common: Arc::clone(&self.common), order, activity: LastActive::default() });
        self.agents.insert(run.agent_id(), AgentTaskHandle { run: Arc::clone(&run), orders });
        match self.common.profile.mode {
            ExecMode::Agent => carry_out(run, ordered, || JsonLines),
            ExecMode::Oneshot => carry_out(run, ordered, Oneshot::default),
        }
    }

    pub(super) fn stop(&mut self, agent_id: &AgentId, how: StopMode) {
        if let Some(handle) = self.agents.get(agent_id) {
            // Where the task has ended, its last news is on the way.
            let _ = handle.orders.send(AgentOrder::Stop(how));
        }
    }

    /// Hands on a task. Answers where there is nobody to take it.
    pub(super) fn begin(&mut self, start: AttemptStart) -> Option<Finish> {
        let (id, handle) = (start.id(), self.agents.get(&start.order.agent_id));
        let taken = handle.is_some_and(|handle| handle.orders.send(AgentOrder::Begin(Box::new(start))).is_ok());
        (!taken).then(|| not_begun(id))
    }

    pub(super) fn halt(&mut self, agent_id: &AgentId, id: AttemptId, halt: Halt) {
        if let Some(handle) = self.agents.get(agent_id) {
            let _ = handle.orders.send(AgentOrder::Halt(id, halt));
        }
    }

    pub(super) fn look(&self, agent_id: &AgentId) -> Option<Probing> {
        let handle = self.agents.get(agent_id)?;
        Some(Box::pin(host::look(Arc::clone(&handle.run))))
    }

    pub(super) fn forget(&mut self, agent_id: &AgentId) {
        self.agents.remove(agent_id);
    }

    pub(super) fn last_active(&self, agent_id: &AgentId) -> Option<Instant> {
        self.agents.get(agent_id).map(|handle| handle.run.activity.last(self.common.since))
    }
}

/// Has a task of its own carry out the run of an agent whose programs speak this.
fn carry_out<P: AgentProtocol>(
    run: Arc<RunContext>,
    orders: UnboundedReceiver<AgentOrder>,
    protocol: impl Fn() -> P + Send + Sync + 'static,
) {
    match P::LIFE {
        ProgramLife::Agent => drop(tokio::spawn(resident::run(run, orders, protocol))),
        ProgramLife::Task => drop(tokio::spawn(per_task::run(run, orders, protocol))),
    }
}

/// The answer for a task that comes when its agent takes none any more.
fn not_begun(id: AttemptId) -> Finish {
    let end = Finished::NotBegun("its agent is ending".to_owned());
    Finish { id, end, last_output: String::new() }
}
