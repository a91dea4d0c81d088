//! Says that somebody else writes to the registry under Muster's names. Each such thing is mended where it is met, and counted by
//! who met it; here it is added up and told.

use std::time::{Duration, Instant};

use muster_domain::Tampering;

use crate::health_board::HealthBoard;
use crate::prometheus::families;

/// On the board.
const SUBJECT: &str = "tampering";

/// After so long without anything new it is over.
const QUIET: Duration = Duration::from_secs(60);

/// All that was met since this supervisor leads.
#[derive(Debug, Default)]
pub(crate) struct Tampered {
    total: Tampering,
    /// What this process had met when it was last asked.
    own: Tampering,
    latest: Option<Instant>,
}

impl Tampered {
    /// Takes what this process has met by now, and what workers have met since the last time.
    pub(crate) fn take(&mut self, own: Tampering, by_workers: Tampering, now: Instant, health: &HealthBoard) {
        let news = own.since(self.own).and(by_workers);
        self.own = own;
        if !news.is_none() {
            self.total = self.total.and(news);
            self.latest = Some(now);
            metrics::counter!(families::REPLACED_KEYS.name).increment(news.replaced_keys);
            metrics::counter!(families::FORGED_MESSAGES.name).increment(news.forged_messages);
            health.degrade(SUBJECT, words(self.total));
        } else if self.latest.take_if(|at| now.saturating_duration_since(*at) >= QUIET).is_some() {
            health.recover(SUBJECT);
        }
    }
}

fn words(total: Tampering) -> String {
    let Tampering { replaced_keys, forged_messages } = total;
    format!(
        "somebody else writes to Muster's keys and channels in Redis: {replaced_keys} times a key held what is none of Muster's, and \
         was written anew; {forged_messages} messages in Muster's name were forged, and not believed; give Muster a Redis, or a user \
         and a redis.prefix, that nobody else writes to"
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::mpsc;

    use super::*;
    use crate::alerts::{AlertParts, Alerts};
    use crate::clock::WallClock;

    const fn met(replaced_keys: u64) -> Tampering {
        Tampering { replaced_keys, forged_messages: 0 }
    }

    #[test]
    fn it_is_told_while_it_goes_on_and_over_when_it_was_quiet() {
        let (events, _told) = mpsc::unbounded_channel();
        let alerts = Arc::new(Alerts::new(&AlertParts::default(), WallClock::default()));
        let health = HealthBoard::new(events, alerts, WallClock::default());
        let (mut tampered, start) = (Tampered::default(), Instant::now());
        let mut take = |own, by_workers, seconds| {
            tampered.take(met(own), met(by_workers), start + Duration::from_secs(seconds), &health);
            health.read()
        };
        assert!(take(0, 0, 0).is_empty());
        assert!(take(1, 0, 1)[0].contains(": 1 times"), "what it met itself");
        assert!(take(1, 2, 2)[0].contains(": 3 times"), "and its workers");
        assert_eq!(take(1, 0, 61).len(), 1, "it may begin again soon");
        assert!(take(1, 0, 62).is_empty());
    }
}
