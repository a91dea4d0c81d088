//! Commits that go through and take long. Nothing is refused for that, and everything that waits for a commit is late.

use std::time::{Duration, Instant};

/// A commit that takes longer is slow: one takes milliseconds, and some tens of them where a disk or a network is busy.
const SLOW: Duration = Duration::from_secs(1);

/// A burst of work, or a pass of the database's own, makes some commits slow. That lasts no longer than this.
const BURST: Duration = Duration::from_secs(10);

/// Whether no commit was quick for a while. Where nothing else is stored, the lease is renewed all the while.
#[derive(Debug, Default)]
pub(crate) struct Slowness {
    /// When the first of the slow commits was over that no quick one has followed. Its end, since all that one halt of the
    /// store held up is over together.
    since: Option<Instant>,
}

/// What is known after a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// It was quick.
    Quick,
    /// It was slow, which may pass.
    Late,
    /// So it has been for a while.
    Slow,
}

impl Slowness {
    /// A commit went through.
    pub(crate) fn took(&mut self, begun: Instant, now: Instant) -> Pace {
        if now.saturating_duration_since(begun) < SLOW {
            self.since = None;
            return Pace::Quick;
        }
        let since = *self.since.get_or_insert(now);
        if now.saturating_duration_since(since) < BURST { Pace::Late } else { Pace::Slow }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_slow_for_a_while_is_slow_and_one_quick_commit_ends_it() {
        let (mut slowness, start, second) = (Slowness::default(), Instant::now(), Duration::from_secs(1));
        let mut took = |begun: u32, end: u32| slowness.took(start + second * begun, start + second * end);
        assert_eq!(took(0, 0), Pace::Quick);
        assert_eq!((took(100, 102), took(102, 105), took(105, 109)), (Pace::Late, Pace::Late, Pace::Late));
        assert_eq!((took(109, 111), took(111, 112)), (Pace::Late, Pace::Slow));
        assert_eq!((took(112, 112), took(112, 114)), (Pace::Quick, Pace::Late), "it begins anew");
        assert_eq!(took(114, 114), Pace::Quick);
        assert_eq!((took(200, 260), took(205, 260)), (Pace::Late, Pace::Late), "one halt");
    }
}
