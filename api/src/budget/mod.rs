//! How much of bodies may be in memory at the same time. A body of lines is 64 MiB at the most, and a dozen of them at once
//! would take a gigabyte and the time of everybody else.
//!
//! Only bytes that have come count: who announces much and sends nothing takes nothing. Who comes first in the line for more,
//! and who gives way where there is none, is in `ledger`.

mod ledger;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::StatusCode;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::problem::Problem;
use ledger::{Ledger, Standing};

/// For bodies of one thing, in bytes.
const SMALL: usize = 64 * 1024 * 1024;
/// For bodies of lines, in bytes: two of the largest.
const LINES: usize = 128 * 1024 * 1024;
/// How long a body waits for others to be done with.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks of a body that waits at who has become slow meanwhile.
const LOOK: Duration = Duration::from_millis(250);
/// When to come again, where that was not enough.
const RETRY: Duration = Duration::from_secs(2);

/// Which share of the memory a body comes out of: large ones never keep small ones waiting.
#[derive(Clone, Copy, Debug)]
pub(crate) enum BodyClass {
    /// That of bodies of one thing.
    Small,
    /// That of bodies of lines.
    Lines,
}

/// What is left of the shares.
pub(crate) struct BodyMemory {
    small: Arc<Mutex<Ledger>>,
    lines: Arc<Mutex<Ledger>>,
}

impl Default for BodyMemory {
    fn default() -> Self {
        let share = |bytes: usize| Arc::new(Mutex::new(Ledger::new(bytes)));
        Self { small: share(SMALL), lines: share(LINES) }
    }
}

impl BodyMemory {
    /// A body of `claim` bytes at the most begins. It has no room yet.
    pub(crate) fn enter(&self, share: BodyClass, claim: usize) -> MemoryReservation {
        let ledger = Arc::clone(self.of(share));
        let (id, bell) = lock(&ledger).enter(claim, Instant::now());
        MemoryReservation { ledger, id, bell }
    }

    const fn of(&self, share: BodyClass) -> &Arc<Mutex<Ledger>> {
        match share {
            BodyClass::Small => &self.small,
            BodyClass::Lines => &self.lines,
        }
    }

    /// What nobody has of a share.
    #[cfg(test)]
    pub(crate) fn free(&self, share: BodyClass) -> usize {
        lock(self.of(share)).free()
    }
}

/// The room in memory of one body, which is given back when this is dropped.
pub(crate) struct MemoryReservation {
    ledger: Arc<Mutex<Ledger>>,
    id: u64,
    bell: Arc<Notify>,
}

impl MemoryReservation {
    /// Takes room for bytes that have come. Waits its turn; 503 where that takes too long, or where this body is the one that
    /// gives way to another.
    pub(crate) async fn grow(&self, bytes: usize) -> Result<(), Problem> {
        let deadline = Instant::now() + PATIENCE;
        lock(&self.ledger).ask(self.id, bytes, Instant::now());
        loop {
            let now = Instant::now();
            match lock(&self.ledger).standing(self.id) {
                Standing::Settled => return Ok(()),
                Standing::GivesWay => return Err(busy()),
                Standing::Waits if now >= deadline => return Err(busy()),
                Standing::Waits => {}
            }
            // Whichever it was, a look tells.
            let _ = timeout_at(deadline.min(now + LOOK), self.bell.notified()).await;
            lock(&self.ledger).settle(Instant::now());
        }
    }

    /// Resolves when this body has to give way, and says so.
    pub(crate) async fn gives_way(&self) -> Problem {
        loop {
            if lock(&self.ledger).standing(self.id) == Standing::GivesWay {
                return busy();
            }
            self.bell.notified().await;
        }
    }

    /// The body has come to its end: it gives way to nobody any more.
    pub(crate) fn complete(&self) {
        lock(&self.ledger).complete(self.id, Instant::now());
    }
}

impl Drop for MemoryReservation {
    fn drop(&mut self) {
        lock(&self.ledger).leave(self.id, Instant::now());
    }
}

fn busy() -> Problem {
    let detail = "too many large bodies are being read at the same time: try again in a moment";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, "busy", detail).retry_after(RETRY)
}

/// Nobody panics while holding one of these.
fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MANY: usize = 64 * 1024 * 1024;

    async fn whole(budget: &BodyMemory, share: BodyClass, bytes: usize) -> Result<MemoryReservation, Problem> {
        let room = budget.enter(share, bytes);
        room.grow(bytes).await?;
        room.complete();
        Ok(room)
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_fit_waits_and_then_is_told_to_come_again() {
        let budget = BodyMemory::default();
        let first = whole(&budget, BodyClass::Lines, MANY).await.expect("room");
        let _second = whole(&budget, BodyClass::Lines, MANY).await.expect("room for two");
        let problem = whole(&budget, BodyClass::Lines, 1).await.map(drop).expect_err("no room");
        assert_eq!((problem.status().as_u16(), problem.code()), (503, "busy"));
        assert!(whole(&budget, BodyClass::Small, 1).await.is_ok(), "small ones have a share of their own");
        let (third, ()) = tokio::join!(whole(&budget, BodyClass::Lines, MANY), async {
            tokio::time::sleep(PATIENCE / 2).await;
            drop(first);
        });
        assert!(third.is_ok(), "it waited its turn");
    }

    #[tokio::test(start_paused = true)]
    async fn who_gives_up_waiting_leaves_nothing() {
        let budget = BodyMemory::default();
        let all = whole(&budget, BodyClass::Small, MANY).await.expect("room");
        let waits = tokio::time::timeout(PATIENCE / 2, whole(&budget, BodyClass::Small, 1)).await;
        assert!(waits.is_err(), "its caller has gone");
        drop(all);
        assert_eq!(budget.free(BodyClass::Small), SMALL);
    }
}
