//! Folds the write-ahead log into the file, beside the writer.
//!
//! A commit only appends to the log. Folding it waits for the disk, a tenth of a second and more for some megabytes, so it is
//! done on a connection and a thread of its own, and no commit waits for that. The log's file begins anew only when all
//! of it is folded and nobody reads from it, for which the writer must stand still for a moment: that is done when next to
//! nothing is left to fold, and its time is bounded.
//!
//! The log never takes more than a part of what is free on its disk. So there is always room for folding it, which may make
//! the file larger by as much.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::errors::explain;
use super::threads::Threads;
use crate::StoreError;

/// How long the writer stands still at the most, while the log begins anew.
pub(super) const STALL: Duration = Duration::from_millis(25);
/// Between two looks at the log while there are commits.
const INTERVAL: Duration = Duration::from_millis(200);
/// The same after somebody read from the log for so long that it could not begin anew.
const PAUSE: Duration = Duration::from_secs(2);
/// Bytes of a log that is folded beside the writer. A queue changes the same pages again and again, and each is folded once.
const LARGE: u64 = 16 << 20;
/// Bytes of a log for which the writer stands still even if much of it is left to fold.
const LARGEST: u64 = 64 << 20;
/// Pages that are folded in a moment.
const FEW_PAGES: i64 = 256;

/// What to do about the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fold {
    /// Nothing: it is small.
    Leave,
    /// Fold it beside the writer, and let it begin anew if that takes a moment.
    Beside,
    /// Let it begin anew in any case.
    Whole,
}

impl Fold {
    /// Judges by the bytes of the log and those that are free on its disk.
    fn judge(log: u64, free: u64) -> Self {
        let most = LARGEST.min(log.saturating_add(free) / 4);
        match log {
            0 => Self::Leave,
            log if log >= most => Self::Whole,
            log if log >= LARGE.min(most / 2) => Self::Beside,
            _ => Self::Leave,
        }
    }
}

/// The task that folds.
pub(super) struct Folding {
    wanted: Arc<Notify>,
    threads: Arc<Threads>,
    path: PathBuf,
    task: JoinHandle<()>,
}

impl Folding {
    /// Starts it, over the threads of one connection. Must be called within a runtime.
    pub(super) fn start(path: &Path, threads: Threads) -> Self {
        let (threads, wanted, path) = (Arc::new(threads), Arc::new(Notify::new()), log_of(path));
        let task = tokio::spawn(run(path.clone(), Arc::clone(&threads), Arc::clone(&wanted)));
        Self { wanted, threads, path, task }
    }

    /// Something was committed.
    pub(super) fn look(&self) {
        self.wanted.notify_one();
    }

    /// The disk is full: makes what room there is to be made. Says whether the log has begun anew.
    pub(super) async fn make_room(&self) -> bool {
        let before = size_of(&self.path);
        let folded = self.threads.run(|connection| fold(connection, Fold::Whole)).await;
        // What could not be done is tried again when there is room.
        self.look();
        matches!(folded, Ok(Ok(true))) && size_of(&self.path) < before
    }

    pub(super) async fn close(&self) {
        self.task.abort();
        self.threads.close().await;
    }
}

impl Drop for Folding {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn run(log: PathBuf, threads: Arc<Threads>, wanted: Arc<Notify>) {
    let mut told = false;
    loop {
        wanted.notified().await;
        let what = Fold::judge(size_of(&log), free_beside(&log));
        let folded = match what {
            Fold::Leave => Ok(true),
            what => match threads.run(move |connection| fold(connection, what)).await {
                Ok(folded) => folded,
                // It is closed.
                Err(_) => return,
            },
        };
        let pause = match folded {
            Ok(true) => {
                told = false;
                INTERVAL
            }
            Ok(false) => {
                wanted.notify_one();
                if what == Fold::Whole { PAUSE } else { INTERVAL }
            }
            Err(error) => {
                if !told {
                    tracing::warn!(%error, log = %log.display(), "the database's log can't be folded; it is tried again");
                    told = true;
                }
                wanted.notify_one();
                PAUSE
            }
        };
        tokio::time::sleep(pause).await;
    }
}

/// Folds the log. Says whether it has begun anew.
fn fold(connection: &mut Connection, what: Fold) -> Result<bool, StoreError> {
    // The last pages come while the others are folded; those are fewer each time.
    let mut left = i64::MAX;
    for _ in 0..3 {
        left = checkpoint(connection, "PASSIVE")?.1;
        if left <= FEW_PAGES {
            break;
        }
    }
    if left > FEW_PAGES && what != Fold::Whole {
        return Ok(false);
    }
    let (busy, _) = checkpoint(connection, "TRUNCATE")?;
    Ok(!busy)
}

/// Whether somebody was in the way, and how many pages are left to fold.
fn checkpoint(connection: &Connection, mode: &str) -> Result<(bool, i64), StoreError> {
    let read = |row: &rusqlite::Row<'_>| {
        let (busy, pages, folded): (i64, i64, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
        Ok((busy != 0, pages - folded))
    };
    connection.query_row(&format!("PRAGMA wal_checkpoint({mode})"), [], read).map_err(explain)
}

/// The log beside a database's file, which holds what was committed last.
pub fn log_of(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}

fn size_of(log: &Path) -> u64 {
    std::fs::metadata(log).map_or(0, |file| file.len())
}

/// Bytes that are free on the disk of the log; as many as anybody needs where that can't be told.
fn free_beside(log: &Path) -> u64 {
    let folder = log.parent().unwrap_or(log);
    nix::sys::statvfs::statvfs(folder)
        .map_or(u64::MAX, |disk| disk.blocks_available().saturating_mul(disk.fragment_size()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn a_log_is_folded_by_its_size_and_by_what_is_free() {
        let much = 100 << 30;
        let table = [
            (0, much, Fold::Leave),
            (15 * MIB, much, Fold::Leave),
            (16 * MIB, much, Fold::Beside),
            (63 * MIB, much, Fold::Beside),
            (64 * MIB, much, Fold::Whole),
            // A disk of 8 MiB.
            (MIB / 2, 7 * MIB, Fold::Leave),
            (MIB, 7 * MIB, Fold::Beside),
            (2 * MIB, 6 * MIB, Fold::Whole),
            // A full one.
            (0, 0, Fold::Leave),
            (4_096, 0, Fold::Whole),
            (MIB, u64::MAX, Fold::Leave),
        ];
        for (log, free, expected) in table {
            assert_eq!(Fold::judge(log, free), expected, "{log} bytes, {free} free");
        }
    }
}
