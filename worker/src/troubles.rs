//! What keeps the worker from being heard or from hearing, and since when: it says so itself, since nobody else can know.

use muster_domain::OngoingTrouble;
use tokio::time::Instant;

/// What does not work between this worker and the registry.
#[derive(Debug, Default)]
pub(crate) struct RegistryTroubles {
    /// Its calls fail.
    calls: Option<Lasting>,
    /// Its subscription to commands does not stand.
    subscription: Option<Lasting>,
}

#[derive(Debug)]
struct Lasting {
    since: Instant,
    error: String,
}

impl RegistryTroubles {
    /// A call to the registry was answered, or failed.
    pub(crate) fn called<T, E: ToString>(&mut self, outcome: &Result<T, E>, now: Instant) {
        note(&mut self.calls, outcome, now);
    }

    /// The subscription was tested.
    pub(crate) fn listened<T, E: ToString>(&mut self, outcome: &Result<T, E>, now: Instant) {
        note(&mut self.subscription, outcome, now);
    }

    /// The subscription stands again.
    pub(crate) fn hears(&mut self) {
        self.subscription = None;
    }

    /// Why commands do not come, if so.
    pub(crate) fn deafness(&self) -> Option<String> {
        self.subscription.as_ref().map(|lasting| lasting.error.clone())
    }

    /// What it says at its probe socket.
    pub(crate) fn tell(&self, now: Instant) -> Option<OngoingTrouble> {
        let (what, lasting) = match (&self.calls, &self.subscription) {
            (Some(calls), _) => ("its heartbeats do not get through", calls),
            (None, Some(subscription)) => ("it does not hear its commands", subscription),
            (None, None) => return None,
        };
        let for_ms = crate::millis(now.saturating_duration_since(lasting.since));
        Some(OngoingTrouble { for_ms, error: format!("{what}: {}", lasting.error) })
    }
}

fn note<T, E: ToString>(trouble: &mut Option<Lasting>, outcome: &Result<T, E>, now: Instant) {
    match outcome {
        Ok(_) => *trouble = None,
        Err(error) => {
            let since = trouble.as_ref().map_or(now, |lasting| lasting.since);
            *trouble = Some(Lasting { since, error: error.to_string() });
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_latest_error_is_told_and_since_when_there_was_any() {
        let (mut troubles, start) = (RegistryTroubles::default(), Instant::now());
        assert_eq!(troubles.tell(start), None);
        troubles.listened(&Err::<(), _>("no rights"), start);
        assert_eq!(troubles.deafness().as_deref(), Some("no rights"));
        let later = start + Duration::from_secs(3);
        let told = |troubles: &RegistryTroubles| troubles.tell(later).map(|told| (told.for_ms, told.error));
        assert_eq!(told(&troubles), Some((3000, "it does not hear its commands: no rights".to_owned())));
        troubles.called(&Err::<(), _>("away"), start + Duration::from_secs(1));
        troubles.called(&Err::<(), _>("still away"), start + Duration::from_secs(2));
        assert_eq!(told(&troubles), Some((2000, "its heartbeats do not get through: still away".to_owned())));
        troubles.called(&Ok::<_, &str>(()), later);
        troubles.hears();
        assert_eq!((told(&troubles), troubles.deafness()), (None, None));
    }
}
