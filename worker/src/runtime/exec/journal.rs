//! An agent's log as its task sees it: lines go in at once, batches are written by a thread that may wait for the disk.

use std::path::Path;
use std::time::Duration;

use muster_domain::{AgentId, Timestamp};
use muster_files::Place;
use tokio::task::{JoinError, JoinHandle};

use super::blocking;
use crate::log::{self, Batch, LogFile, Stream};

/// Lines that wait for the disk, in bytes, at most; beyond that the program's output is not read, so a program that
/// prints faster than the disk takes it waits itself. One piece of output more may come on top.
const WAITING: usize = 256 * 1024;
/// A disk that hangs holds up the news of an agent's end for no longer than this.
const LAST_WRITE: Duration = Duration::from_secs(2);

/// A log with lines that wait to be written.
pub(super) struct Journal {
    batch: Batch,
    file: Option<LogFile>,
    writing: Option<JoinHandle<Result<LogFile, JoinError>>>,
}

impl Journal {
    pub(super) fn new(data_dir: &Path, agent_id: AgentId) -> Self {
        let file = LogFile::new(Place::agent_log(data_dir, agent_id), log::ROTATE_AT);
        Self { batch: Batch::default(), file: Some(file), writing: None }
    }

    pub(super) fn add(&mut self, at: Timestamp, stream: Stream, text: &[u8], cut: u64) {
        self.batch.add(at, stream, text, cut);
    }

    /// Whether more lines may be added.
    pub(super) fn has_room(&self) -> bool {
        self.batch.len() < WAITING
    }

    /// Writes what waits, and returns when a batch is written; waits for ever while there is nothing to write.
    /// Cancel-safe.
    pub(super) async fn written(&mut self) {
        if self.writing.is_none() {
            if self.batch.is_empty() {
                return std::future::pending().await;
            }
            self.begin();
        }
        if let Some(writing) = &mut self.writing {
            let written = writing.await;
            self.writing = None;
            self.file = written.ok().and_then(Result::ok);
        }
    }

    /// Writes all that waits, if the disk takes it within [`LAST_WRITE`].
    pub(super) async fn finish(&mut self) {
        let write_all = async {
            while self.writing.is_some() || !self.batch.is_empty() {
                self.written().await;
            }
        };
        if tokio::time::timeout(LAST_WRITE, write_all).await.is_err() {
            tracing::warn!("the disk does not take the end of an agent's log");
        }
    }

    fn begin(&mut self) {
        let lines = self.batch.take();
        // Without a file the writing thread died, and so does the log; the agent goes on.
        let Some(mut file) = self.file.take() else { return };
        let write = move || {
            file.append(&lines);
            file
        };
        // A task of its own, so that a batch which has begun is not dropped with whoever waits for it.
        self.writing = Some(tokio::spawn(blocking::run(&blocking::LOGS, write)));
    }
}
