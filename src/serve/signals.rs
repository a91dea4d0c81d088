//! SIGINT and SIGTERM: the first asks for an orderly end, the second for a quick one.

use std::time::Duration;

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// What was asked for by signals.
#[derive(Clone)]
pub(crate) struct Signals {
    /// Cancelled by the first signal, or by a request to stop a standby.
    pub(crate) stop: CancellationToken,
    /// Cancelled by the second.
    pub(crate) hurry: CancellationToken,
}

impl Signals {
    /// Listens from now on; `stop` is what the first signal cancels.
    pub(crate) fn listen(stop: CancellationToken) -> std::io::Result<Self> {
        let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        let signals = Self { stop, hurry: CancellationToken::new() };
        let told = signals.clone();
        tokio::spawn(async move {
            loop {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                if told.stop.is_cancelled() {
                    tracing::warn!("a second signal: ending at once");
                    told.hurry.cancel();
                } else {
                    tracing::info!("a signal: ending in order");
                    told.stop.cancel();
                }
            }
        });
        Ok(signals)
    }

    /// Waits this long, or until it is to end; says which.
    pub(crate) async fn stop_within(&self, time: Duration) -> bool {
        tokio::time::timeout(time, self.stop.cancelled()).await.is_ok()
    }
}
