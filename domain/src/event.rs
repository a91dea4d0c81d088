//! Events: what changed, for people and programs that watch. A row of the store, numbered by it.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::words::Words;
use crate::{AgentId, PoolName, ProcessId, Timestamp};

/// An event that has no number yet.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = EventFields, description = "What happened, when, and to what.")]
pub struct EventDraft {
    /// When it happened.
    #[schema(value_type = String, format = DateTime)]
    pub at: Timestamp,
    /// What happened.
    #[schema(value_type = String, example = "agent.started", extensions(("x-enum" = json!(EventKind::words()))))]
    pub kind: EventKind,
    /// To which pool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, required = false)]
    pub pool_name: Option<PoolName>,
    /// To which agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = Uuid, required = false)]
    pub agent_id: Option<AgentId>,
    /// To which worker, or on which.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = String, format = Uuid, required = false)]
    pub process_id: Option<ProcessId>,
    /// Why, in words an operator reads.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
}

crate::words! {
    /// What happened.
    pub enum EventKind {
        /// A pool was made.
        PoolCreated = "pool.created",
        /// A pool's bounds changed.
        PoolChanged = "pool.changed",
        /// A pool is going: its agents are stopped.
        PoolDraining = "pool.draining",
        /// A pool is gone.
        PoolRemoved = "pool.removed",
        /// A pool's tasks are not given to agents any more.
        PoolPaused = "pool.paused",
        /// A pool takes no new tasks any more, and gives none to agents.
        PoolDrained = "pool.drained",
        /// That is over.
        PoolResumed = "pool.resumed",
        /// How many workers a pool is to have was changed.
        PoolScaled = "pool.scaled",
        /// Its policies hold it, for another reason than before.
        PoolHeld = "pool.held",
        /// Its policies would change that, and only advise.
        PoolAdvised = "pool.advised",
        /// What was decided about its workers was not carried out in time.
        PoolScalingFailed = "pool.scaling_failed",
        /// So many of a pool's tasks fail that it gives out no more for a while.
        BreakerOpened = "pool.breaker_opened",
        /// That is over.
        BreakerClosed = "pool.breaker_closed",
        /// A worker was ordered.
        WorkerStarting = "worker.starting",
        /// A worker takes commands.
        WorkerReady = "worker.ready",
        /// A worker takes no more agents.
        WorkerDraining = "worker.draining",
        /// The capacity under a worker will be taken away at a moment that is known: it gets no more agents and tasks, and another one
        /// is started in its place.
        WorkerInterrupted = "worker.interrupted",
        /// A worker ended by order.
        WorkerStopped = "worker.stopped",
        /// A worker died or was condemned.
        WorkerLost = "worker.lost",
        /// Nobody can ask or end a worker, or see its end: its agents wait.
        WorkerUnreachable = "worker.unreachable",
        /// That is over: it was heard again.
        WorkerReachable = "worker.reachable",
        /// A worker that was declared dead was heard all the same. It is told to end.
        WorkerReturned = "worker.returned",
        /// Somebody asked for an agent.
        AgentSpawned = "agent.spawned",
        /// An agent runs.
        AgentStarted = "agent.started",
        /// An agent ended and is to run again.
        AgentRestarting = "agent.restarting",
        /// An agent was told to stop.
        AgentStopping = "agent.stopping",
        /// An agent ended by order.
        AgentTerminated = "agent.terminated",
        /// An agent ended for good.
        AgentFailed = "agent.failed",
        /// An agent crashed too often.
        AgentQuarantined = "agent.quarantined",
        /// A task was given up.
        TaskDead = "task.dead",
        /// The tasks of no pool are given to agents any more.
        SystemPaused = "system.paused",
        /// That is over.
        SystemResumed = "system.resumed",
        /// The clock of the supervisor's machine was set.
        ClockSet = "clock.set",
        /// A supervisor leads.
        SupervisorLeads = "supervisor.leads",
        /// Something is away or wrong; the supervisor goes on with less.
        HealthDegraded = "health.degraded",
        /// That is over.
        HealthRecovered = "health.recovered",
    }
}

impl std::str::FromStr for EventKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::of_word(text).ok_or_else(|| format!("no kind of event: {text:?}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_back() {
        for kind in EventKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
            assert_eq!(serde_json::to_string(&kind).expect("a word"), format!("\"{}\"", kind.as_str()));
        }
    }
}
