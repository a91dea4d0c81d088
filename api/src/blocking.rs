//! Work that keeps a thread busy or waits for the disk, each kind with a bound of its own: tokio's threads for such work are shared
//! with what brings agents back. Nothing else in this crate asks for such a thread.

use tokio::sync::Semaphore;

pub(crate) use muster_supervisor::blocking::{Undone, run_within};

/// Bodies of many lines that are read at a time: they keep a core busy each.
pub(crate) static BODIES: Semaphore = Semaphore::const_new(4);

/// Memory is given back.
pub(crate) static MEMORY: Semaphore = Semaphore::const_new(1);
