//! One moment at which a task is to be woken.
//!
//! A runtime sorts its timers by wheels: one that is seconds away is looked at two or three times before it is due, and each look
//! wakes the process. That is nothing where many tasks share a runtime; a process that only waits for its next heartbeat wakes twice as
//! often for it. Such a process has a timer of the kernel's, which wakes it once.
//!
//! And it wakes together with others. A thousand that wake one by one each find the processor's caches, and the server that they all
//! call, with somebody else's affairs; those that wake in the same moment share what the first of them has fetched. So a moment that is
//! far away is put off to the next of those that all processes of a host share.

use std::io;
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::pin::Pin;
use std::time::Duration;

use nix::sys::time::TimeSpec;
use nix::sys::timerfd::{self, Expiration, TimerFd, TimerFlags, TimerSetTimeFlags};
use nix::time::{ClockId, clock_gettime};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::time::{Instant, Sleep, sleep_until};

/// Between two moments that processes share: some tens of a thousand workers then wake at once, and are done within a few milliseconds.
const SHARED: Duration = Duration::from_millis(50);
/// A moment that is so far away need not be met to the millisecond.
const FAR: Duration = Duration::from_secs(1);

/// Wakes whoever awaits [`Alarm::rings`], once for each moment that it is set to.
#[derive(Debug)]
pub struct Alarm {
    /// When it rings; it does not where there is none.
    at: Option<Instant>,
    clock: AlarmClock,
}

#[derive(Debug)]
enum AlarmClock {
    Runtime(Pin<Box<Sleep>>),
    Kernel(AsyncFd<KernelTimer>),
}

#[derive(Debug)]
struct KernelTimer(TimerFd);

impl AsRawFd for KernelTimer {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

impl Alarm {
    /// One of the runtime's timers: for a task among many, and for tests, whose clock the runtime moves. Needs a tokio runtime
    /// with time.
    pub fn of_runtime() -> Self {
        Self { at: None, clock: AlarmClock::of_runtime() }
    }

    /// One of the kernel's timers: for a process that waits for nothing else. It rings up to a twentieth later where it is set to a moment
    /// a second away or more. Needs a tokio runtime with IO and time.
    pub fn of_kernel() -> io::Result<Self> {
        let timer =
            TimerFd::new(timerfd::ClockId::CLOCK_MONOTONIC, TimerFlags::TFD_NONBLOCK | TimerFlags::TFD_CLOEXEC)?;
        // SAFETY: the timer owns its descriptor, which neither changes nor closes before it is dropped.
        let timer = unsafe { AsyncFd::register_with_interest(KernelTimer(timer), Interest::READABLE)? };
        Ok(Self { at: None, clock: AlarmClock::Kernel(timer) })
    }

    /// Sets it to this moment instead of the former one, or to none.
    pub fn set(&mut self, at: Option<Instant>) {
        if self.at == at {
            return;
        }
        self.at = at;
        if self.clock.set(at).is_err() {
            self.clock = AlarmClock::of_runtime();
            // That of a runtime takes every moment.
            let _ = self.clock.set(at);
        }
    }

    /// Waits until it rings; for ever where it is set to no moment. It is set to none afterwards. Cancel-safe.
    pub async fn rings(&mut self) {
        let Some(at) = self.at else { return std::future::pending().await };
        match &mut self.clock {
            AlarmClock::Runtime(sleep) => sleep.await,
            AlarmClock::Kernel(timer) => rung(timer, at).await,
        }
        self.at = None;
    }
}

impl AlarmClock {
    fn of_runtime() -> Self {
        Self::Runtime(Box::pin(sleep_until(Instant::now())))
    }

    fn set(&mut self, at: Option<Instant>) -> nix::Result<()> {
        match (self, at) {
            (Self::Runtime(sleep), Some(at)) => sleep.as_mut().reset(at),
            // Nobody awaits it.
            (Self::Runtime(_), None) => {}
            (Self::Kernel(timer), Some(at)) => {
                let wait = at.saturating_duration_since(Instant::now());
                let due = shared(clock_gettime(ClockId::CLOCK_MONOTONIC)?.into(), wait);
                timer
                    .get_ref()
                    .0
                    .set(Expiration::OneShot(TimeSpec::from_duration(due)), TimerSetTimeFlags::TFD_TIMER_ABSTIME)?;
            }
            (Self::Kernel(timer), None) => timer.get_ref().0.unset()?,
        }
        Ok(())
    }
}

/// When it rings by the kernel's clock. Not before, and where it is far away up to [`SHARED`] later.
fn shared(now: Duration, wait: Duration) -> Duration {
    let due = now.saturating_add(wait);
    if wait < FAR {
        return due;
    }
    let past = due.as_nanos() % SHARED.as_nanos();
    let up = if past == 0 { 0 } else { SHARED.as_nanos() - past };
    due.saturating_add(Duration::from_nanos(u64::try_from(up).unwrap_or(0)))
}

/// It is not read: setting it anew makes it unreadable.
async fn rung(timer: &AsyncFd<KernelTimer>, at: Instant) {
    // What the runtime heard may be of a former moment.
    while Instant::now() < at {
        match timer.readable().await {
            Ok(mut ready) => ready.clear_ready(),
            // The runtime ends.
            Err(_) => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    const SHORT: Duration = Duration::from_millis(30);

    fn both() -> [Alarm; 2] {
        [Alarm::of_runtime(), Alarm::of_kernel().expect("a timer")]
    }

    async fn is_silent(alarm: &mut Alarm) -> bool {
        timeout(SHORT * 3, alarm.rings()).await.is_err()
    }

    #[tokio::test]
    async fn it_rings_once_for_each_moment_and_not_before() {
        for mut alarm in both() {
            assert!(is_silent(&mut alarm).await, "it was never set: {alarm:?}");
            for _ in 0..3 {
                let at = Instant::now() + SHORT;
                alarm.set(Some(at));
                alarm.rings().await;
                assert!(Instant::now() >= at, "{alarm:?}");
                assert!(is_silent(&mut alarm).await, "{alarm:?}");
            }
        }
    }

    #[test]
    fn what_is_far_away_rings_together_and_nothing_rings_early() {
        let ms = Duration::from_millis;
        let rows = [
            (ms(1_000_003), ms(20), ms(1_000_023)),
            (ms(1_000_003), ms(999), ms(1_001_002)),
            (ms(1_000_000), ms(2_000), ms(1_002_000)),
            (ms(1_000_003), ms(2_000), ms(1_002_050)),
            (ms(1_000_049), ms(2_000), ms(1_002_050)),
            (ms(1_000_051), ms(2_000), ms(1_002_100)),
            (ms(1), Duration::MAX, Duration::MAX),
        ];
        for (now, wait, due) in rows {
            assert_eq!(shared(now, wait), due, "{now:?} {wait:?}");
        }
    }

    #[tokio::test]
    async fn the_latest_moment_is_the_one() {
        for mut alarm in both() {
            let began = Instant::now();
            alarm.set(Some(began + SHORT * 1000));
            alarm.set(Some(began));
            alarm.rings().await;
            alarm.set(Some(began + SHORT));
            alarm.set(None);
            assert!(is_silent(&mut alarm).await, "{alarm:?}");
            // It is due, the runtime has heard of it, and nobody has awaited it.
            alarm.set(Some(Instant::now()));
            tokio::time::sleep(SHORT).await;
            let at = Instant::now() + SHORT;
            alarm.set(Some(at));
            alarm.rings().await;
            assert!(Instant::now() >= at, "{alarm:?}");
        }
    }

    #[tokio::test]
    async fn who_stops_waiting_loses_nothing() {
        for mut alarm in both() {
            alarm.set(Some(Instant::now() + SHORT * 4));
            assert!(is_silent(&mut alarm).await, "{alarm:?}");
            alarm.rings().await;
        }
    }
}
