//! Checks: tasks that the worker answers itself, with what it reaches. The agent that such a task is for does not hear of it.
//!
//! Each check is a task beside the loop, and tries everything at once, each with a bound of its own: so it is over soon,
//! whatever is away. Dropping [`Checks`] ends them all.

mod dependency;
mod trust;

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use muster_domain::check::{COMMAND_PATH, PROGRAM, REGISTRY, STORE};
use muster_domain::{AgentId, CheckOrder, Connectivity, Payload, ProcessId, Reach};
use muster_registry::{Bus, Registry};
use tokio::sync::Semaphore;
use tokio::task::{AbortHandle, Id, JoinSet};
use tokio::time::{Instant, timeout};

use trust::Trust;

use crate::tasks::{AttemptId, AttemptStart, Finish, Finished};

/// How long one thing is tried.
const LIMIT: Duration = Duration::from_secs(5);

/// Checks that go on at a time; others wait, so that a flood of them is no flood of connections.
const AT_ONCE: usize = 8;

/// An attempt at something.
pub(crate) type Probing = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// The checks under way.
pub(crate) struct Checks {
    registry: Arc<dyn Registry>,
    bus: Arc<dyn Bus>,
    worker: ProcessId,
    trust: Arc<Trust>,
    room: Arc<Semaphore>,
    running: JoinSet<Connectivity>,
    flights: HashMap<Id, PendingCheck>,
}

/// One check.
struct PendingCheck {
    id: AttemptId,
    agent_id: AgentId,
    handle: AbortHandle,
}

impl Checks {
    pub(crate) fn new(registry: Arc<dyn Registry>, bus: Arc<dyn Bus>, worker: ProcessId) -> Self {
        let room = Arc::new(Semaphore::new(AT_ONCE));
        let trust = Arc::new(Trust::default());
        Self { registry, bus, worker, trust, room, running: JoinSet::new(), flights: HashMap::new() }
    }

    /// Begins a check. `program` looks at the program of its agent, where that has one. Its end is heard by [`Checks::landed`].
    pub(crate) fn begin(&mut self, start: &AttemptStart, check: CheckOrder, program: Option<Probing>) {
        let (registry, bus, room) = (Arc::clone(&self.registry), Arc::clone(&self.bus), Arc::clone(&self.room));
        let (worker, trust) = (self.worker, Arc::clone(&self.trust));
        let handle = self.running.spawn(async move {
            // Nobody closes it.
            let _turn = room.acquire().await;
            examine(registry, bus, worker, check, program, trust).await
        });
        let flight = PendingCheck { id: start.id(), agent_id: start.order.agent_id, handle: handle.clone() };
        self.flights.insert(handle.id(), flight);
    }

    /// Stops a check, if this attempt is one. It is over when [`Checks::landed`] says so.
    pub(crate) fn halt(&self, id: AttemptId) -> bool {
        let flight = self.flights.values().find(|flight| flight.id == id);
        flight.inspect(|flight| flight.handle.abort()).is_some()
    }

    /// An agent is gone, and what was for it is over.
    pub(crate) fn drop_of(&self, agent_id: AgentId) {
        self.flights.values().filter(|flight| flight.agent_id == agent_id).for_each(|flight| flight.handle.abort());
    }

    /// Waits for the next check that is over; for ever where none is under way. Cancel-safe.
    pub(crate) async fn next_outcome(&mut self) -> Finish {
        while let Some(joined) = self.running.join_next_with_id().await {
            let (task, end) = match joined {
                Ok((task, found)) => (task, answer(&found)),
                Err(error) if error.is_cancelled() => (error.id(), Finished::Stopped),
                Err(error) => (error.id(), broken(&error.to_string())),
            };
            if let Some(flight) = self.flights.remove(&task) {
                return Finish { id: flight.id, end, last_output: String::new() };
            }
        }
        std::future::pending().await
    }
}

fn answer(found: &Connectivity) -> Finished {
    match serde_json::to_string(found) {
        Ok(json) => Finished::Done(Payload::trusted(json)),
        Err(error) => broken(&error.to_string()),
    }
}

fn broken(why: &str) -> Finished {
    Finished::Failed { message: format!("the check itself failed: {why}"), retryable: true }
}

/// Tries everything at once.
async fn examine(
    registry: Arc<dyn Registry>,
    bus: Arc<dyn Bus>,
    worker: ProcessId,
    check: CheckOrder,
    program: Option<Probing>,
    trust: Arc<Trust>,
) -> Connectivity {
    let mut attempts = JoinSet::new();
    let ping = async move { registry.ping().await.map(drop).map_err(|error| error.to_string()) };
    attempts.spawn(named(REGISTRY.to_owned(), within_limit(ping)));
    // That a command came is known: this is one. How far away it came from, the same subscription tells.
    let path = async move { bus.check_commands(worker).await.map_err(|error| error.to_string()) };
    attempts.spawn(named(COMMAND_PATH.to_owned(), within_limit(path)));
    if let Some(look) = program {
        attempts.spawn(named(PROGRAM.to_owned(), within_limit(look)));
    }
    for (name, dependency) in check.dependencies {
        attempts.spawn(named(name, dependency::reach(dependency, Arc::clone(&trust))));
    }
    let mut found: BTreeMap<String, Reach> = attempts.join_all().await.into_iter().collect();
    found.insert(STORE.to_owned(), check.store);
    found.into()
}

/// One attempt, with its time.
async fn named(name: String, attempt: impl Future<Output = Result<(), String>>) -> (String, Reach) {
    let begun = Instant::now();
    let outcome = attempt.await;
    (name, Reach::new(begun.elapsed(), outcome))
}

/// Gives an attempt up that takes too long.
async fn within_limit(attempt: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    timeout(LIMIT, attempt).await.unwrap_or_else(|_| Err(no_answer()))
}

fn no_answer() -> String {
    format!("no answer within {} s", LIMIT.as_secs())
}

#[cfg(test)]
mod tests;
