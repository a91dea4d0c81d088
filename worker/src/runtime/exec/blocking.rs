//! Work that waits for the disk, each kind with a bound of its own: tokio's threads for such work are few and shared, also with
//! the look-up of names, and a disk that takes no logs must not keep agents from being started.

use tokio::sync::Semaphore;
use tokio::task::JoinError;

/// Batches of log lines that are written at a time. The agents of one worker share a disk.
pub(in crate::runtime) static LOGS: Semaphore = Semaphore::const_new(64);

/// Programs that are made ready at a time: folders, and where the program is.
pub(super) static STARTS: Semaphore = Semaphore::const_new(64);

/// Does such work when its kind has a thread for it. It goes on where nobody waits for it any more, and takes its place up to
/// its end.
pub(in crate::runtime) async fn run<T: Send + 'static>(
    kind: &'static Semaphore,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, JoinError> {
    // Nobody closes it.
    let place = kind.acquire().await.ok();
    tokio::task::spawn_blocking(move || {
        let done = work();
        drop(place);
        done
    })
    .await
}
