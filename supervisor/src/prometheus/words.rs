//! Words of labels that are nobody else's.

use muster_domain::scaling::{DecisionState, Direction, ScalingRecord};
use muster_domain::{FollowUp, HoldKind, TaskState, Words};

muster_domain::words! {
    /// How the first start of a spawned agent went.
    pub enum SpawnOutcome {
        /// It runs.
        Succeeded = "succeeded",
        /// Its program failed.
        Failed = "failed",
    }
}

muster_domain::words! {
    /// What followed when a run of an agent was over.
    pub enum AgentOutcome {
        /// It runs again.
        Restarted = "restarted",
        /// It has ended by order.
        Terminated = "terminated",
        /// It has ended by itself, for good.
        Failed = "failed",
        /// It has crashed too often, and waits for a person.
        Quarantined = "quarantined",
    }
}

muster_domain::words! {
    /// What followed when an attempt at a task was over.
    pub enum AttemptOutcome {
        /// The task has its result.
        Succeeded = "succeeded",
        /// The task goes back to the queue.
        Retried = "retried",
        /// The task failed for good.
        Failed = "failed",
        /// The task was cancelled.
        Cancelled = "cancelled",
        /// The task is given up.
        Dead = "dead",
    }
}

impl From<&FollowUp> for AttemptOutcome {
    fn from(then: &FollowUp) -> Self {
        match then {
            FollowUp::Succeed => Self::Succeeded,
            FollowUp::Retry { .. } => Self::Retried,
            FollowUp::Fail(_) => Self::Failed,
            FollowUp::Cancel => Self::Cancelled,
            FollowUp::Die(_) => Self::Dead,
        }
    }
}

impl AttemptOutcome {
    /// The state in which the task has ended; none where it goes on.
    pub const fn ended(self) -> Option<TaskState> {
        match self {
            Self::Retried => None,
            Self::Succeeded => Some(TaskState::Succeeded),
            Self::Failed => Some(TaskState::Failed),
            Self::Cancelled => Some(TaskState::Cancelled),
            Self::Dead => Some(TaskState::Dead),
        }
    }
}

muster_domain::words! {
    /// What was decided about the workers of a pool.
    pub enum DecisionOutcome {
        /// More of them.
        Out = "out",
        /// Fewer of them.
        In = "in",
        /// It would have been another number, and something held that.
        Held = "held",
        /// It is advice: nothing changed.
        Advised = "advised",
        /// Nobody says how many any more.
        Released = "released",
        /// As many as there were to be before.
        Unchanged = "unchanged",
    }
}

impl From<&ScalingRecord> for DecisionOutcome {
    fn from(record: &ScalingRecord) -> Self {
        match record.direction() {
            _ if record.advised => Self::Advised,
            Some(Direction::Out) => Self::Out,
            Some(Direction::In) => Self::In,
            None if record.to.is_none() => Self::Released,
            None if record.hold.is_some() => Self::Held,
            None => Self::Unchanged,
        }
    }
}

muster_domain::words! {
    /// How a worker ended.
    pub enum WorkerOutcome {
        /// By order.
        Stopped = "stopped",
        /// By itself, by somebody else's signal, or condemned.
        Lost = "lost",
    }
}

muster_domain::words! {
    /// What runs beside the pools where the configuration wants it.
    pub enum Component {
        /// What measures pools, workers and agents.
        MetricsCollector = "metrics_collector",
        /// What asks the policies of pools.
        Autoscaler = "autoscaler",
    }
}

muster_domain::words! {
    /// What something on the host may wait for.
    pub enum Resource {
        /// A processor.
        Cpu = "cpu",
        /// Memory.
        Memory = "memory",
        /// A disk.
        Io = "io",
    }
}

muster_domain::words! {
    /// What becomes of the tasks of a queue.
    pub enum QueueState {
        /// They wait, and may start.
        Ready = "ready",
        /// They wait for their time.
        Delayed = "delayed",
        /// Agents have them.
        Running = "running",
        /// They were given up, and are kept for a person.
        Dead = "dead",
    }
}

muster_domain::words! {
    /// Which way tokens go.
    pub enum TokenUse {
        /// A model has read them.
        Input = "input",
        /// A model has written them.
        Output = "output",
    }
}

/// Why a pool's policies may be held, as far as it is told to people.
pub(super) fn held_words() -> Vec<&'static str> {
    HoldKind::all().filter(|hold| hold.is_told()).map(Words::word).collect()
}

/// The states in which a task is over.
pub(super) fn ended_words() -> Vec<&'static str> {
    TaskState::all().filter(|state| state.is_final()).map(Words::word).collect()
}

/// How decisions end that change something.
pub(super) fn result_words() -> Vec<&'static str> {
    [DecisionState::Done, DecisionState::Failed, DecisionState::Superseded].map(Words::word).to_vec()
}
