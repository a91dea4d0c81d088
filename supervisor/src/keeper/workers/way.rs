//! Whether there is a way to a worker past the registry, and what is known where there is none.

use std::sync::Arc;
use std::time::Instant;

use muster_domain::{Timestamp, WorkerIdentity};

use crate::launch::RunningWorker;

/// The way to a worker past the registry.
pub(crate) enum Way {
    /// It is being started. What is to be told meanwhile is told when that is through.
    Starting,
    /// It can be asked and killed.
    To(Arc<dyn RunningWorker>),
    /// It can be heard, and neither asked nor killed, for this reason.
    None(String),
}

impl Way {
    /// None, since it runs elsewhere.
    pub(super) fn elsewhere(identity: Option<&WorkerIdentity>) -> Self {
        Self::None(match identity {
            Some(WorkerIdentity::Local(local)) => {
                format!("it is of the host {}, and can't be asked or killed from this one", local.host)
            }
            Some(WorkerIdentity::Remote(remote)) => {
                format!("the engine {}, which runs it, can't be asked from here", remote.engine)
            }
            None => "nobody knows where it runs".to_owned(),
        })
    }

    pub(super) const fn to(&self) -> Option<&Arc<dyn RunningWorker>> {
        match self {
            Self::To(process) => Some(process),
            Self::Starting | Self::None(_) => None,
        }
    }
}

/// That nobody can ask or kill a worker which may be dead, or that does not end.
pub(crate) struct Unreachable {
    /// When that was noticed.
    pub(super) noticed: Instant,
    /// When this was made.
    pub(super) made: Instant,
    /// When it was heard last, as that was known when the words were made.
    pub(super) heard: Option<Instant>,
    /// The same by the wall clock; where it was never heard, when this was noticed.
    pub(super) since: Timestamp,
    pub(super) why: String,
    /// All of it, with what to type.
    pub(super) words: String,
}
