//! How many readers there may be. It is learned: from a server that gives no more connections, and anew after a while.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// After so long more connections than the server gave are asked for again.
const REGAIN: Duration = Duration::from_secs(60);

pub(super) struct ReaderLimit {
    permits: usize,
    /// Permits that were given up, and since when.
    lost: usize,
    since: Instant,
    /// The most connections that were open when the server gave no more, since it was last told. Told once: until it gives more
    /// than that.
    told: Option<usize>,
}

/// What follows where the server gave no connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AfterLoss {
    /// The last permit stays.
    Last,
    /// There is a permit less.
    OneFewer {
        /// Whether nobody was told yet.
        is_news: bool,
    },
}

impl ReaderLimit {
    pub(super) const fn new(permits: usize, now: Instant) -> Self {
        Self { permits, lost: 0, since: now, told: None }
    }

    pub(super) const fn permits(&self) -> usize {
        self.permits
    }

    /// Whether the server gives fewer than there may be, as far as is known.
    pub(super) const fn is_short(&self) -> bool {
        self.told.is_some()
    }

    /// The server gave no more while so many were open: from now on there is a permit less. Not the last one.
    pub(super) fn lose(&mut self, open: usize, now: Instant) -> AfterLoss {
        if self.permits < 2 {
            return AfterLoss::Last;
        }
        (self.permits, self.lost, self.since) = (self.permits - 1, self.lost + 1, now);
        let before = self.told.replace(self.told.map_or(open, |most| most.max(open)));
        AfterLoss::OneFewer { is_news: before.is_none() }
    }

    /// The permits that are there again, to be tried.
    pub(super) fn regain(&mut self, now: Instant) -> usize {
        if now.saturating_duration_since(self.since) <= REGAIN {
            return 0;
        }
        let lost = std::mem::take(&mut self.lost);
        self.permits += lost;
        lost
    }

    /// The server gave a connection, and so many are open now.
    pub(super) fn given(&mut self, open: usize) {
        if self.told.is_some_and(|most| open > most) {
            self.told = None;
        }
    }
}

/// One of the connections that are open.
pub(super) struct CountedConnection(Arc<AtomicUsize>);

impl CountedConnection {
    pub(super) fn one_of(open: &Arc<AtomicUsize>) -> Self {
        open.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(open))
    }
}

impl Drop for CountedConnection {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_that_gives_fewer_is_told_once_until_it_gives_more() {
        let start = Instant::now();
        let at = |minutes: u64| start + Duration::from_secs(61 * minutes);
        let mut limit = ReaderLimit::new(9, start);
        assert_eq!(limit.lose(3, start), AfterLoss::OneFewer { is_news: true });
        for _ in 0..5 {
            assert_eq!(limit.lose(3, start), AfterLoss::OneFewer { is_news: false });
        }
        assert_eq!(limit.regain(start), 0);
        for minute in 1..10 {
            assert_eq!(limit.regain(at(minute)), if minute == 1 { 6 } else { 1 });
            limit.given(3);
            assert_eq!(limit.lose(2, at(minute)), AfterLoss::OneFewer { is_news: false }, "minute {minute}");
            assert!(limit.is_short());
        }
        limit.given(4);
        assert!(!limit.is_short());
        assert_eq!(limit.lose(4, at(10)), AfterLoss::OneFewer { is_news: true });
    }

    #[test]
    fn the_last_permit_stays() {
        let mut limit = ReaderLimit::new(1, Instant::now());
        assert_eq!(limit.lose(1, Instant::now()), AfterLoss::Last);
        assert_eq!(limit.permits(), 1);
    }
}
