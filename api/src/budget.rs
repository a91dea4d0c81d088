//! How much of bodies may be in memory at the same time. A body of lines is 64 MiB at the most, and a dozen of them at once
//! would take a gigabyte and the time of everybody else.

use std::sync::Arc;
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::problem::Problem;

/// What permits count in, in bytes: a semaphore has 32 bits for them.
const UNIT: usize = 1024;
/// For bodies of one thing, in bytes.
const SMALL: usize = 64 * 1024 * 1024;
/// For bodies of lines, in bytes: two of the largest.
const LINES: usize = 128 * 1024 * 1024;
/// How long a body waits for others to be done with.
const PATIENCE: Duration = Duration::from_secs(10);
/// When to come again, where that was not enough.
const RETRY: Duration = Duration::from_secs(2);

/// Which share of the memory a body comes out of: large ones never keep small ones waiting.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Share {
    /// That of bodies of one thing.
    Small,
    /// That of bodies of lines.
    Lines,
}

/// What is left of the shares.
pub(crate) struct Budget {
    small: Arc<Semaphore>,
    lines: Arc<Semaphore>,
}

impl Default for Budget {
    fn default() -> Self {
        let share = |bytes: usize| Arc::new(Semaphore::new(bytes / UNIT));
        Self { small: share(SMALL), lines: share(LINES) }
    }
}

impl Budget {
    /// Takes the room for a body of `bytes`, which is given back when the answer is dropped. Waits its turn; 503 where that
    /// takes too long.
    pub(crate) async fn take(&self, share: Share, bytes: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let semaphore = match share {
            Share::Small => &self.small,
            Share::Lines => &self.lines,
        };
        let units = bytes.div_ceil(UNIT) as u32;
        match timeout(PATIENCE, Arc::clone(semaphore).acquire_many_owned(units)).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => {
                let detail = "too many large bodies are being read at the same time: try again in a moment";
                Err(Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail).retry_after(RETRY))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: usize = 64 * 1024 * 1024;

    #[tokio::test(start_paused = true)]
    async fn who_does_not_fit_waits_and_then_is_told_to_come_again() {
        let budget = Budget::default();
        let first = budget.take(Share::Lines, MANY).await.expect("room");
        let _second = budget.take(Share::Lines, MANY).await.expect("room for two");
        let problem = budget.take(Share::Lines, 1).await.expect_err("no room");
        assert_eq!((problem.status().as_u16(), problem.code()), (503, "busy"));
        assert!(budget.take(Share::Small, 1).await.is_ok(), "small ones have a share of their own");
        let (third, ()) = tokio::join!(budget.take(Share::Lines, MANY), async {
            tokio::time::sleep(PATIENCE / 2).await;
            drop(first);
        });
        assert!(third.is_ok(), "it waited its turn");
    }
}
