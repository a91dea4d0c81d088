//! Work that keeps a thread busy or waits for the disk, each kind with a bound of its own: tokio's threads for such work are shared
//! with what brings agents back. Nothing else in this crate asks for such a thread.

use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinError;

/// Logs that are read at a time. Those that a disk does not answer keep their place.
pub(crate) static LOGS: Semaphore = Semaphore::const_new(16);

/// Bodies of many lines that are read at a time: they keep a core busy each.
pub(crate) static BODIES: Semaphore = Semaphore::const_new(4);

/// Memory is given back.
pub(crate) static MEMORY: Semaphore = Semaphore::const_new(1);

/// Why such work was not done.
#[derive(Debug)]
pub(crate) enum Undone {
    /// Others of its kind have all places.
    Full,
    /// It broke, or the process is ending.
    Broken(JoinError),
}

/// Does such work when its kind has a place, for which it is waited so long at the most. It goes on where nobody waits for it any
/// more, and takes its place up to its end.
pub(crate) async fn run<T: Send + 'static>(
    kind: &'static Semaphore,
    patience: Duration,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Undone> {
    let place = tokio::time::timeout(patience, kind.acquire()).await.map_err(|_| Undone::Full)?;
    let work = tokio::task::spawn_blocking(move || {
        let done = work();
        drop(place);
        done
    });
    work.await.map_err(Undone::Broken)
}
