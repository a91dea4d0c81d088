//! The clocks that the supervisor goes by. Durations are measured by the monotonic one; the wall clock is for moments that
//! people name, and may be set.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use muster_domain::Timestamp;
use nix::time::{ClockId, clock_gettime};

/// The monotonic clock of the runtime. Its timers go by the same one, also in a test that plays with time.
pub(crate) fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}

/// The wall clock: the machine's, or one that a test moves as it likes.
#[derive(Clone)]
pub struct WallClock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl WallClock {
    /// One that shows what this function says.
    pub fn new(read: impl Fn() -> Timestamp + Send + Sync + 'static) -> Self {
        Self(Arc::new(read))
    }

    /// The time that it shows.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl Default for WallClock {
    fn default() -> Self {
        Self::new(Timestamp::now)
    }
}

/// A wall clock that runs apart from time that passes by so much between two looks was set.
const STEP: Duration = Duration::from_millis(500);

/// Two readings of a clock that are further apart were not taken in the same moment.
const MOMENT: Duration = Duration::from_millis(20);

/// Tells a clock that was set from time that passes, a suspend of the machine included. A copy goes on from the latest look.
#[derive(Clone)]
pub(crate) struct StepGauge {
    wall: WallClock,
    origin: Instant,
    /// The wall clock's time at the origin, as of the latest look.
    offset: i64,
}

/// What a look showed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ClockReading {
    /// What time it is.
    pub(crate) at: Timestamp,
    /// By how many milliseconds the clock was set since the look before, where it was.
    pub(crate) set_by: Option<i64>,
}

impl StepGauge {
    pub(crate) fn new(wall: WallClock) -> Self {
        let mut gauge = Self { wall, origin: now(), offset: 0 };
        gauge.look();
        gauge
    }

    /// Looks at both clocks. A drift, which a clock that is kept right by others always has, is followed.
    pub(crate) fn look(&mut self) -> ClockReading {
        // A process that is held up between the two readings would take that for a step.
        for _ in 0..8 {
            let before = self.passed();
            let at = self.wall.now();
            let after = self.passed();
            // The second may be the lower one: how long the machine slept is a difference of two clocks, and not exact.
            if after.abs_diff(before) < MOMENT {
                let offset = at.as_millis() - i64::try_from(after.as_millis()).unwrap_or(i64::MAX);
                let by = offset - std::mem::replace(&mut self.offset, offset);
                return ClockReading { at, set_by: (by.unsigned_abs() >= STEP.as_millis() as u64).then_some(by) };
            }
        }
        ClockReading { at: self.wall.now(), set_by: None }
    }

    fn passed(&self) -> Duration {
        now().saturating_duration_since(self.origin) + asleep()
    }
}

/// For how long the machine was suspended since its boot, which the monotonic clock leaves out.
fn asleep() -> Duration {
    let read = |clock| clock_gettime(clock).map_or(Duration::ZERO, Duration::from);
    let awake = read(ClockId::CLOCK_MONOTONIC);
    read(ClockId::CLOCK_BOOTTIME).saturating_sub(awake)
}

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WallClock").field(&self.now()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicI64, Ordering};

    use super::*;

    #[test]
    fn a_step_is_told_once_and_time_that_passes_is_none() {
        let skew = Arc::new(AtomicI64::new(0));
        let wall = {
            let skew = skew.clone();
            WallClock::new(move || Timestamp::from_millis(Timestamp::now().as_millis() + skew.load(Ordering::SeqCst)))
        };
        let mut gauge = StepGauge::new(wall);
        let mut set = |to: i64| {
            skew.store(to, Ordering::SeqCst);
            gauge.look().set_by
        };
        assert_eq!(set(0), None);
        assert_eq!(set(100), None, "a drift");
        let near = |set: Option<i64>, by: i64| set.is_some_and(|set| (set - by).abs() < 100);
        assert!(near(set(-3_600_000), -3_600_100));
        assert_eq!(set(-3_600_000), None, "it was told");
        assert!(near(set(0), 3_600_000));
        let mut copy = gauge.clone();
        skew.store(3_600_000, Ordering::SeqCst);
        assert!(near(gauge.look().set_by, 3_600_000) && near(copy.look().set_by, 3_600_000), "each tells it");
    }

    #[tokio::test(start_paused = true)]
    async fn time_that_is_waited_for_is_no_step() {
        let began = tokio::time::Instant::now();
        let wall =
            WallClock::new(move || Timestamp::from_millis(i64::try_from(began.elapsed().as_millis()).unwrap_or(0)));
        let mut gauge = StepGauge::new(wall);
        tokio::time::sleep(Duration::from_secs(3_600)).await;
        let look = gauge.look();
        assert_eq!((look.at, look.set_by), (Timestamp::from_millis(3_600_000), None));
    }

    #[tokio::test(start_paused = true)]
    async fn no_step_is_missed_however_often_the_clock_is_set() {
        let skew = Arc::new(AtomicI64::new(0));
        let wall = {
            let skew = skew.clone();
            WallClock::new(move || Timestamp::from_millis(skew.load(Ordering::SeqCst)))
        };
        let mut gauge = StepGauge::new(wall);
        for n in 0..50_000 {
            skew.fetch_add(3_600_000, Ordering::SeqCst);
            let set_by = gauge.look().set_by;
            // The machine may be busy elsewhere between two readings.
            assert!(set_by.is_some_and(|by| (by - 3_600_000).abs() < 100), "look {n}: {set_by:?}");
        }
    }
}
