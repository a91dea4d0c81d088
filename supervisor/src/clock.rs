//! The clocks that the supervisor goes by. Durations are measured by the monotonic one; the wall clock is for moments that
//! people name, and may jump.

use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use muster_domain::Timestamp;

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

impl fmt::Debug for WallClock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("WallClock").field(&self.now()).finish()
    }
}
