//! One worker process: slots, agent runtimes, heartbeat, drain.
//!
//! A worker is one loop on one task. It takes commands from the [`Bus`], owns the agents that it was told to run, says
//! what became of each as numbered reports, and beats with its whole picture. It has no store, reads no configuration
//! and makes no decision of policy: what is to run, and what follows from an end, is the master's affair.
//!
//! # Who does what
//! The loop (`worker`) waits for the next thing: a command (`intake`), news of an agent (`runtime`), the end of a call to
//! the registry (`exchange`, `registry_calls`), somebody at its probe socket, the sign to stop, or a moment. It awaits nothing else, so an outage of the
//! registry or an agent that floods its stdout holds up nobody. What to do is decided by values without IO, which are
//! tested as tables:
//!
//! | part | decides |
//! |---|---|
//! | `slots`, `held_agents`, `held_agent` | what a command or an end means for the agents that are held |
//! | `tasks` | what an order, a halt or an end means for the tasks of those agents, and what is reported of them |
//! | `memory` | what became of an epoch, for commands that come twice or late |
//! | `report_outbox` | which reports are kept, sent and sent again |
//! | `heartbeat` | when to beat, what an answer means, whether there is any master |
//! | `troubles` | what it says of itself when it is not heard |
//! | `shutdown` | how to leave, and when |
//!
//! Each agent with a program is a task of its own (`runtime::exec`): it reads the program's output, writes its [`log`],
//! keeps its deadlines, and sends the loop three small pieces of news in its life, and one of each piece of work. Output
//! never passes through the loop, nor does progress (`notes`): both are looked at when a heartbeat is made.
//!
//! A task that is a check is no agent's: a task of its own beside the loop (`checks`) tries what can be reached, and the loop
//! hears of its end.
//!
//! # What holds
//! - An agent has at most one tree here: a later epoch starts when the earlier tree is proven dead.
//! - A tree that is being stopped takes its slot until it is proven dead.
//! - An attempt at a task is begun once, and is over when nothing of its work goes on: when its program has answered, or
//!   when the tree that did it is proven dead.
//! - A report is kept until it is settled; what was lost in an outage or a flush is sent again.
//! - When [`run`] returns, no tree of this worker is left. When its future is dropped, each is killed.

mod checks;
mod exchange;
mod gauge;
mod heartbeat;
mod held_agent;
mod held_agents;
mod intake;
pub mod log;
mod memory;
mod notes;
mod registry_calls;
mod report_outbox;
mod runtime;
mod shutdown;
mod slots;
mod stop;
mod subscribing;
mod tasks;
mod troubles;
mod worker;
mod workload;

pub use stop::StopSign;

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use muster_domain::{WorkerIdentity, WorkerOrders};
use muster_process::{Alarm, ProbeSocket};
use muster_registry::{Bus, Peer, Registry, RegistryError};
use tokio::time::Instant;

use crate::subscribing::subscribe;
use crate::worker::WorkerLoop;

/// What a worker is given beside its orders: engines, and the sign to stop.
pub struct WorkerDeps {
    /// Where it beats.
    pub registry: Arc<dyn Registry>,
    /// Where its commands come from and its reports go to.
    pub bus: Arc<dyn Bus>,
    /// Who it is for the operating system; in single-process mode, who the master is.
    pub identity: WorkerIdentity,
    /// Where it is asked how it is, past the registry; closed for one inside the master, whose beats nothing can lose.
    pub probe_socket: ProbeSocket,
    /// What wakes it at its next moment.
    pub alarm: Alarm,
    /// Tells it to stop.
    pub stop: StopSign,
    /// Whether it runs inside the master. Then it never is an orphan, and its own use of the machine is not measured,
    /// since it can't be told from the master's.
    pub in_process: bool,
}

/// Why a worker ended. In each case no tree of it is left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkerExit {
    /// It was told to drain, and its last agent ended.
    Drained,
    /// It was told to shut down, by a command or by the sign to stop.
    ShutDown,
    /// It had been given up by the supervisor, and killed its agents.
    Fenced,
    /// No supervisor was there for `orphan_after`.
    Orphaned,
    /// [`StopSign::kill`] was given.
    Killed,
}

/// Why a worker could not serve.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// It could not subscribe to its commands within its start timeout, and nobody led who could have waited for it.
    #[error("could not subscribe to commands: {0}")]
    Subscription(#[source] RegistryError),
}

/// A worker at work. In a box, as whoever awaits the future itself compiles all that a worker does once more.
pub type WorkerRun = Pin<Box<dyn Future<Output = Result<WorkerExit, WorkerError>> + Send>>;

/// Serves as the worker of these orders until there is a reason to end. Needs a tokio runtime with IO and time.
///
/// Fails only where it can't subscribe to its commands within `clocks.start_timeout` and has no master that could say so; no
/// agent was started then.
pub fn run(orders: WorkerOrders, deps: WorkerDeps) -> WorkerRun {
    Box::pin(serve(orders, deps))
}

async fn serve(orders: WorkerOrders, mut deps: WorkerDeps) -> Result<WorkerExit, WorkerError> {
    let mut stop = deps.stop.watch();
    deps.bus.introduce(orders.process_id, Peer { pool: orders.pool_name.clone(), key: Some(orders.key) });
    let commands = match subscribe(&orders, &mut deps, &mut stop).await? {
        Ok(commands) => commands,
        Err(exit) => return Ok(exit),
    };
    Ok(WorkerLoop::new(orders, deps, commands, stop).serve().await)
}

/// The moment `by` after `now`; in a year where `by` is longer than that, since a configured duration may be anything.
pub(crate) fn later(now: Instant, by: Duration) -> Instant {
    now + by.min(Duration::from_secs(365 * 24 * 3600))
}

/// A duration in whole milliseconds.
pub(crate) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
