//! Tasks whose beginning and end people want to see in the log.

use std::time::Duration;

/// Says in the log that a task begins, and, when it is dropped, that it has ended.
pub(crate) struct Announced(&'static str);

impl Announced {
    /// A task that does something once in each `interval`.
    pub(crate) fn begin(name: &'static str, interval: Duration) -> Self {
        tracing::info!("{name} started (interval: {}s)", interval.as_secs_f64());
        Self(name)
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        tracing::info!("{} stopped", self.0);
    }
}
