//! Notices that the capacity under a worker will be taken away.
//!
//! Whoever sells spare capacity says so before: EC2 two minutes before a spot instance ends, Azure and Google Cloud 30 seconds, and a
//! host that is to be maintained hours. Until then the worker does what it has begun.

use std::time::Duration;

use crate::{ProcessId, Timestamp};

/// The notice where none is said: EC2's.
pub const DEFAULT_NOTICE: Duration = Duration::from_secs(120);

/// The longest notice that is taken.
pub const LONGEST_NOTICE: Duration = Duration::from_secs(24 * 60 * 60);

/// A notice that the capacity under a worker will be taken away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interruption {
    /// When the first notice came.
    pub noticed_at: Timestamp,
    /// When the capacity goes, of several notices by the earliest. What the worker has by then is handed over.
    pub deadline: Timestamp,
    /// The worker that was started in its place; none where none was needed, or none could be started yet.
    pub replaced_by: Option<ProcessId>,
}
