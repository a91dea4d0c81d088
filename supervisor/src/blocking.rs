//! Work that waits for the disk or for `/proc`, each kind with a bound of its own: tokio's threads for such work are shared, and a
//! disk that does not answer must not keep from them what brings agents back. Nothing else in this crate asks for such a thread.

use std::time::Duration;

use tokio::sync::Semaphore;
use tokio::task::JoinError;

/// Workers that are made ready for their start at a time.
pub(crate) static STARTS: Semaphore = Semaphore::const_new(64);

/// Looks at all processes at a time, of each: for a worker that nobody found, and for what dead ones have left.
pub(crate) static LOOKS: Semaphore = Semaphore::const_new(4);
pub(crate) static SWEEPS: Semaphore = Semaphore::const_new(4);

/// Logs of dead workers that are read at a time.
pub(crate) static LAST_WORDS: Semaphore = Semaphore::const_new(16);

/// Looks at the host at a time: one for each thing that is looked at.
pub(crate) static HOST: Semaphore = Semaphore::const_new(16);

/// Looks at the password of the private Redis at a time.
pub(crate) static PASSWORD: Semaphore = Semaphore::const_new(1);

/// Counts of all processes and what they use, one for metrics and one for scaling: one that hangs is waited for before the next begins.
pub(crate) static CENSUS: Semaphore = Semaphore::const_new(2);

/// What ended long ago is removed.
pub(crate) static REMOVALS: Semaphore = Semaphore::const_new(2);

/// Logs of agents that are read at a time. Those that a disk does not answer keep their place.
pub(crate) static LOGS: Semaphore = Semaphore::const_new(16);

/// Why such work was not done.
#[derive(Debug)]
pub enum Undone {
    /// Others of its kind have all places.
    Full,
    /// It broke, or the process is ending.
    Broken(JoinError),
}

/// Does such work when its kind has a thread for it, for which it is waited so long at the most. It goes on where nobody waits for it
/// any more, and takes its place up to its end.
pub async fn run_within<T: Send + 'static>(
    patience: Duration,
    kind: &'static Semaphore,
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

/// Does such work when its kind has a thread for it. It goes on where nobody waits for it any more, and takes its place up to
/// its end.
pub(crate) async fn run<T: Send + 'static>(
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

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn one_kind_that_hangs_takes_no_more_than_its_own_threads() {
        static HANGS: Semaphore = Semaphore::const_new(3);
        static OTHER: Semaphore = Semaphore::const_new(1);
        let (begun, begins) = mpsc::channel();
        let (release, hung) = mpsc::channel::<()>();
        let hung = std::sync::Arc::new(std::sync::Mutex::new(hung));
        let works: Vec<_> = (0..1_000)
            .map(|n| {
                let (begun, hung) = (begun.clone(), hung.clone());
                tokio::spawn(run(&HANGS, move || {
                    let _ = begun.send(n);
                    let _ = hung.lock().map(|hung| hung.recv());
                }))
            })
            .collect();
        let other = tokio::time::timeout(Duration::from_secs(10), run(&OTHER, || 7)).await;
        assert_eq!(other.expect("a thread").expect("no panic"), 7);
        drop(release);
        for work in works {
            work.await.expect("no panic").expect("no panic");
        }
        assert_eq!(begins.try_iter().count(), 1_000);
    }
}
