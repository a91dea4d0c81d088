//! What can go wrong with the store.

use muster_domain::Fence;

/// An error of a [`Store`](crate::Store).
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It does not answer, its disk is full, or the statement failed. It may answer again.
    #[error("the store is not available: {0}")]
    Unavailable(#[source] Box<dyn std::error::Error + Send + Sync>),
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
    /// A row does not read as what it must be.
    #[error("the store holds something unreadable: {0}")]
    Corrupt(String),
    /// The address is no address, or the file can't be opened.
    #[error("{0}")]
    InvalidAddress(String),
}
