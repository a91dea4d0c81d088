//! What can go wrong with the store.

use muster_domain::Fence;

type ErrorSource = Box<dyn std::error::Error + Send + Sync>;

/// An error of a [`Store`](crate::Store).
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It does not answer, has no room or no connection left, or takes no writes for now. It may again.
    #[error("the store is not available: {0}")]
    Unavailable(#[source] ErrorSource),
    /// It answers, and a statement failed for a reason that lies in no value: a table or a right is missing. Somebody may
    /// mend that.
    #[error("the store failed: {0}")]
    Failed(#[source] ErrorSource),
    /// It answers, and will never take one of these values.
    #[error("the store refuses a value: {0}")]
    Refused(#[source] ErrorSource),
    /// Transactions of others came in between, again and again. Nothing was changed; it may go through the next time.
    #[error("the store was changed by others at the same time: {0}")]
    Conflict(#[source] ErrorSource),
    /// Another leader has taken over: the fence given is not the current one.
    #[error("another supervisor leads (fence {current}, ours was {ours})")]
    Fenced {
        /// The fence of this caller.
        ours: Fence,
        /// The fence in force.
        current: Fence,
    },
    /// The schema was made by a newer version of Muster.
    #[error(
        "the database has migration {found}, and this version of muster knows none after {known}: use a newer muster"
    )]
    TooNew {
        /// The newest migration found.
        found: i64,
        /// The newest migration known.
        known: i64,
    },
    /// Its file is no database any more, or has holes.
    #[error("the database file is damaged: {0}")]
    Damaged(#[source] ErrorSource),
    /// A row does not read as what it must be.
    #[error("the store holds something unreadable: {0}")]
    Corrupt(String),
    /// The address is no address, or the file can't be opened.
    #[error("{0}")]
    InvalidAddress(String),
}

impl StoreError {
    /// An outage, in words or by its cause.
    pub(crate) fn unavailable(why: impl Into<ErrorSource>) -> Self {
        Self::Unavailable(why.into())
    }

    /// The same for another caller of the same transaction.
    pub(crate) fn repeat(&self) -> Self {
        match self {
            Self::Unavailable(why) => Self::Unavailable(why.to_string().into()),
            Self::Failed(why) => Self::Failed(why.to_string().into()),
            Self::Refused(why) => Self::Refused(why.to_string().into()),
            Self::Conflict(why) => Self::Conflict(why.to_string().into()),
            Self::Fenced { ours, current } => Self::Fenced { ours: *ours, current: *current },
            Self::TooNew { found, known } => Self::TooNew { found: *found, known: *known },
            Self::Damaged(why) => Self::Damaged(why.to_string().into()),
            Self::Corrupt(why) => Self::Corrupt(why.clone()),
            Self::InvalidAddress(why) => Self::InvalidAddress(why.clone()),
        }
    }
}
