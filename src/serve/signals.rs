//! SIGINT, SIGTERM and SIGHUP (its terminal was closed): the first asks for an orderly end, a second SIGINT or SIGTERM for
//! a quick one.
//!
//! SIGHUP never hurries, since the end of one terminal may bring several: from the shell, and from the kernel when the shell
//! has gone. One that was ignored at the start stays ignored: `nohup` means that the end of a terminal is to change nothing.

use std::time::Duration;

use muster_process::Signal as Name;
use tokio::signal::unix::{Signal, SignalKind, signal};
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
        let mut hangup = match muster_process::ignores(Name::SIGHUP)? {
            true => None,
            false => Some(signal(SignalKind::hangup())?),
        };
        let signals = Self { stop, hurry: CancellationToken::new() };
        let told = signals.clone();
        tokio::spawn(async move {
            loop {
                let signal = tokio::select! {
                    _ = interrupt.recv() => Name::SIGINT,
                    _ = terminate.recv() => Name::SIGTERM,
                    () = next(&mut hangup) => Name::SIGHUP,
                };
                told.take(signal);
            }
        });
        Ok(signals)
    }

    fn take(&self, signal: Name) {
        if !self.stop.is_cancelled() {
            tracing::info!(%signal, "a signal: ending in order");
            self.stop.cancel();
        } else if signal != Name::SIGHUP {
            tracing::warn!(%signal, "a second signal: ending at once");
            self.hurry.cancel();
        }
    }

    /// Waits this long, or until it is to end; says which.
    pub(crate) async fn stop_within(&self, time: Duration) -> bool {
        tokio::time::timeout(time, self.stop.cancelled()).await.is_ok()
    }
}

/// The next one; never where it is ignored.
async fn next(signal: &mut Option<Signal>) {
    match signal {
        Some(signal) => drop(signal.recv().await),
        None => std::future::pending().await,
    }
}
