//! What agents printed. A worker writes an agent's output to a file, line by line, and when the file is large it is
//! renamed to the same name with `.1` and a new one is begun.

mod follow;
mod tail;

pub(crate) use follow::follow;
pub(crate) use tail::{Tail, tail};

use std::fs::File;
use std::io;
use std::time::Duration;

use muster_files::Place;
use tokio::sync::Semaphore;

use crate::blocking::{self, Undone};

/// How long one waits for a place.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads from a log; never on the executor's threads, since files block, also for long where a disk is busy.
pub(crate) async fn reading<T: Send + 'static>(read: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    reading_among(&blocking::LOGS, read).await
}

async fn reading_among<T: Send + 'static>(
    reads: &'static Semaphore,
    read: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    blocking::run(reads, PATIENCE, read).await.map_err(|undone| match undone {
        Undone::Full => io::Error::other("too many logs are being read, and the disk does not answer"),
        Undone::Broken(error) => io::Error::other(error),
    })?
}

/// Opens the older part of a log. One that somebody has replaced is only what is missing before the newer lines.
fn open_older(log: &Place) -> io::Result<Option<File>> {
    match log.older().read() {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Ok(None),
        opened => opened,
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use muster_domain::AgentId;
    use tempfile::TempDir;

    use super::*;

    /// The place of a log in this data folder, and its path. The file is not there yet.
    pub(super) fn log_in(folder: &TempDir) -> (Place, PathBuf) {
        let log = Place::agent_log(folder.path(), AgentId::generate());
        std::fs::create_dir_all(folder.path().join("logs/agents")).expect("folders");
        let path = log.path();
        (log, path)
    }

    #[test]
    fn an_older_part_that_was_replaced_costs_the_newer_lines_nothing() {
        let folder = TempDir::new().expect("a folder");
        let (log, path) = log_in(&folder);
        std::fs::write(path, "1\n").expect("written");
        std::os::unix::fs::symlink("/dev/zero", log.older().path()).expect("a link");
        assert_eq!(tail(&log, 10).expect("a log").bytes, b"1\n");
    }

    #[tokio::test]
    async fn reads_that_hang_take_no_more_than_their_share() {
        static TWO: Semaphore = Semaphore::const_new(2);
        let (held, released) = std::sync::mpsc::channel::<()>();
        let released = std::sync::Arc::new(std::sync::Mutex::new(released));
        let hang = || {
            let released = released.clone();
            tokio::spawn(reading_among(&TWO, move || {
                // Until the sender goes.
                drop(released.lock().map(|released| released.recv()));
                Ok(())
            }))
        };
        let stuck = [hang(), hang()];
        while TWO.available_permits() > 0 {
            tokio::task::yield_now().await;
        }
        tokio::time::pause();
        let third = tokio::spawn(reading_among(&TWO, || Ok(())));
        tokio::task::yield_now().await;
        tokio::time::advance(PATIENCE + Duration::from_secs(1)).await;
        let refused = third.await.expect("it ends").expect_err("no place");
        assert!(refused.to_string().contains("does not answer"), "{refused}");
        // Other work finds a thread.
        tokio::task::spawn_blocking(|| {}).await.expect("done");
        drop(held);
        for read in stuck {
            read.await.expect("it ends").expect("read");
        }
        reading_among(&TWO, || Ok(())).await.expect("a place again");
    }
}
