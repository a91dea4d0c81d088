//! Counts what somebody else wrote under our names, and says it in the log.

use std::collections::HashSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use muster_domain::{ProcessId, Tampering};

/// Keys and channels that are remembered as told.
const REMEMBERED: usize = 1000;

#[derive(Default)]
pub(super) struct TamperingLog {
    replaced: AtomicU64,
    forged: AtomicU64,
    /// Each is told once.
    told: Mutex<HashSet<String>>,
}

impl TamperingLog {
    /// These keys were deleted, since what they held was none of ours.
    pub(super) fn replaced(&self, keys: &[String]) {
        for key in keys {
            self.replaced.fetch_add(1, Ordering::Relaxed);
            if self.is_news(key) {
                tracing::warn!(
                    key,
                    "somebody else wrote to this key of Muster's in Redis; what is none of Muster's is removed"
                );
            }
        }
    }

    /// A message on this channel or key was written by nobody of us, and is not believed.
    pub(super) fn forged(&self, place: &str) {
        self.forged.fetch_add(1, Ordering::Relaxed);
        if self.is_news(place) {
            tracing::warn!(place, "somebody else writes messages in Muster's name to Redis; they are not believed");
        }
    }

    /// A message of one of our workers is of another version than ours.
    pub(super) fn unreadable(&self, worker: ProcessId, why: &str) {
        if self.is_news(&worker.to_string()) {
            tracing::warn!(process.id = %worker, "what a worker says can't be read: {why}");
        }
    }

    pub(super) fn tampering(&self) -> Tampering {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Tampering { replaced_keys: read(&self.replaced), forged_messages: read(&self.forged) }
    }

    fn is_news(&self, key: &str) -> bool {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= REMEMBERED {
            told.clear();
        }
        told.insert(key.to_owned())
    }
}
