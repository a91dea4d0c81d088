//! Whether a newcomer could use the registry: all the while, beside the listening, since connections that stand say nothing
//! about a password that was changed or a right that was taken away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_domain::time::later;
use muster_registry::{Registry, RegistryError};
use tokio::task::JoinHandle;

/// Failures in a row that count where nobody answered: one may be a moment of a busy machine.
const LATE: u32 = 2;

/// How soon it is tried again while newcomers are kept out: callers are refused until that is over.
const AGAIN: Duration = Duration::from_secs(1);

/// One examination after the other.
pub(crate) struct RegistryCheck {
    registry: Arc<dyn Registry>,
    interval: Duration,
    running: Option<JoinHandle<Result<(), RegistryError>>>,
    due: Instant,
    unanswered: u32,
    found: Option<String>,
}

impl RegistryCheck {
    pub(crate) fn new(registry: Arc<dyn Registry>, interval: Duration, now: Instant) -> Self {
        Self { registry, interval, running: None, due: now, unanswered: 0, found: None }
    }

    /// What would keep a newcomer out, as far as it is known. Begins the next examination where it is time; never waits.
    /// While nobody answers at all (`answers`) there is nothing to examine, and what was found before says nothing.
    pub(crate) async fn look(&mut self, answers: bool, now: Instant) -> Option<String> {
        if !answers {
            (self.unanswered, self.found, self.due) = (0, None, now);
            return None;
        }
        if let Some(ended) = self.running.take_if(|running| running.is_finished()) {
            let outcome = ended.await.unwrap_or_else(|error| Err(RegistryError::Unexpected(error.to_string())));
            self.note(outcome);
            if self.found.is_some() {
                self.due = self.due.min(later(now, AGAIN));
            }
        }
        if self.running.is_none() && now >= self.due {
            self.due = later(now, self.interval);
            let registry = self.registry.clone();
            self.running = Some(tokio::spawn(async move { registry.examine().await }));
        }
        self.found.clone()
    }

    fn note(&mut self, outcome: Result<(), RegistryError>) {
        match outcome {
            Ok(()) => (self.unanswered, self.found) = (0, None),
            Err(RegistryError::Refused(why)) => (self.unanswered, self.found) = (0, Some(why)),
            Err(error) => {
                self.unanswered += 1;
                if self.unanswered >= LATE {
                    self.found = Some(format!("a new connection can't be made: {error}"));
                }
            }
        }
    }
}

impl Drop for RegistryCheck {
    fn drop(&mut self) {
        if let Some(running) = &self.running {
            running.abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use muster_registry::memory::MemoryRegistry;

    use super::*;

    #[tokio::test]
    async fn a_refusal_counts_at_once_and_silence_when_it_lasts() {
        let mut examination =
            RegistryCheck::new(Arc::new(MemoryRegistry::new()), Duration::from_secs(5), Instant::now());
        let away = || Err(RegistryError::Unavailable("late".to_owned()));
        examination.note(away());
        assert_eq!(examination.found, None, "it may be a moment of a busy machine");
        examination.note(away());
        assert!(examination.found.as_ref().is_some_and(|found| found.contains("late")));
        examination.note(Ok(()));
        assert_eq!(examination.found, None);
        examination.note(Err(RegistryError::Refused("no rights".to_owned())));
        assert_eq!(examination.found.as_deref(), Some("no rights"));
        assert_eq!(examination.look(false, Instant::now()).await, None, "nobody answers at all");
    }

    #[tokio::test]
    async fn the_end_of_a_refusal_is_seen_soon() {
        let (hour, now) = (Duration::from_secs(3_600), Instant::now());
        let mut examination = RegistryCheck::new(Arc::new(MemoryRegistry::new()), hour, now);
        examination.due = now + hour;
        examination.running = Some(tokio::spawn(async { Err(RegistryError::Refused("no rights".to_owned())) }));
        ended(&examination).await;
        assert_eq!(examination.look(true, now).await.as_deref(), Some("no rights"));
        assert_eq!(examination.look(true, now + AGAIN).await.as_deref(), Some("no rights"), "it is asked anew");
        ended(&examination).await;
        assert_eq!(examination.look(true, now + AGAIN).await, None);
        assert!(examination.running.is_none(), "what is well is asked as before");
    }

    /// Waits for the examination under way.
    async fn ended(examination: &RegistryCheck) {
        let under_way = || examination.running.as_ref().is_some_and(|running| !running.is_finished());
        assert!(examination.running.is_some());
        while under_way() {
            tokio::task::yield_now().await;
        }
    }
}
