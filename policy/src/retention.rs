//! Until when what ended is kept.
//!
//! The time for which something is kept is time in which a supervisor lived. A clock that is set, or a start in another
//! century, makes nothing older.

use std::time::Duration;

use muster_domain::Timestamp;

/// A stretch of time in which a supervisor lived: from its beginning to when it was seen last.
pub type Lived = (Timestamp, Timestamp);

/// What ended before this moment is old enough to go, with the life in which that moment lies; `None` where nothing is. The lives
/// are given the latest first.
///
/// It is at least `kept` ago by the clock too, and in no life that is later than the one in which it lies, which a clock that
/// was set back could make it seem.
pub fn cutoff(lives: &[Lived], kept: Duration, now: Timestamp) -> Option<(Timestamp, usize)> {
    let mut left = kept;
    let mut most = now.before(kept);
    for (index, (began, seen)) in lives.iter().enumerate() {
        let lived = seen.since(*began);
        if lived >= left {
            return Some((seen.before(left).min(most), index));
        }
        left -= lived;
        most = most.min(*began);
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const H: i64 = 3_600_000;

    const fn at(hours: i64) -> Timestamp {
        Timestamp::from_millis(hours * H)
    }

    fn hours(count: u64) -> Duration {
        Duration::from_hours(count)
    }

    #[test]
    fn only_time_that_was_lived_counts() {
        let cut = |lives: &[(i64, i64)], now| {
            let lives: Vec<Lived> = lives.iter().map(|(began, seen)| (at(*began), at(*seen))).collect();
            cutoff(&lives, hours(4), at(now)).map(|(at, index)| (at.as_millis() / H, index))
        };
        assert_eq!(cut(&[], 100), None, "nobody has lived yet");
        assert_eq!(cut(&[(0, 3)], 3), None, "not for so long");
        assert_eq!(cut(&[(0, 10)], 10), Some((6, 0)));
        assert_eq!(cut(&[(20, 21), (0, 10)], 21), Some((7, 1)), "the time in between does not count");
        assert_eq!(cut(&[(90_000, 90_000), (0, 10)], 90_000), Some((6, 1)), "a start ten years ahead");
        assert_eq!(cut(&[(11, 12), (90_000, 90_003), (0, 10)], 12), Some((8, 1)), "and back again");
        assert_eq!(cut(&[(9, 10), (0, 10)], 10), Some((6, 1)), "set back by an hour");
        assert_eq!(cut(&[(2, 3), (0, 10)], 3), Some((-1, 1)), "set back by far: nothing of the later life");
    }

    proptest! {
        #[test]
        fn nothing_goes_before_its_time(
            steps in proptest::collection::vec((-50_i64..100, 0_i64..50), 1..8), kept in 0_u64..100
        ) {
            let mut clock = 1_000;
            let mut lives = Vec::new();
            for (step, lived) in steps {
                lives.insert(0, (at(clock + step), at(clock + step + lived)));
                clock += step + lived;
            }
            let now = at(clock);
            if let Some((cut, index)) = cutoff(&lives, hours(kept), now) {
                prop_assert!(cut <= now.before(hours(kept)));
                prop_assert!(lives[..index].iter().all(|(began, _)| cut <= *began));
                let (began, seen) = lives[index];
                let since: Duration = lives[..index].iter().map(|(began, seen)| seen.since(*began)).sum();
                prop_assert!(since + seen.since(cut.max(began)) >= hours(kept));
            }
        }
    }
}
