//! An agent's log as those see it that add to it: lines go in at once, and batches go out, to a thread that may wait for the disk,
//! or to the one of several programs' tasks that has the file.

use std::path::Path;
use std::time::Duration;

use muster_domain::{AgentId, Timestamp};
use muster_files::DataPath;
use tokio::sync::mpsc;
use tokio::task::{JoinError, JoinHandle};

use super::blocking;
use super::per_task::Relayed;
use crate::log::{self, LogBatch, LogFile, LogStream};

/// Lines that wait for the disk, in bytes, at most; beyond that the program's output is not read, so a program that
/// prints faster than the disk takes it waits itself. One piece of output more may come on top.
const WAITING: usize = 256 * 1024;
/// A disk that hangs holds up the news of an agent's end for no longer than this.
const LAST_WRITE: Duration = Duration::from_secs(2);

/// A log with lines that wait to go out.
pub(super) struct Journal {
    batch: LogBatch,
    sink: Sink,
}

/// Where they go.
enum Sink {
    /// To the disk.
    Disk { file: Option<LogFile>, writing: Option<JoinHandle<Result<LogFile, JoinError>>> },
    /// To whoever has the file.
    Owner(mpsc::Sender<Relayed>),
}

impl Journal {
    pub(super) fn new(data_dir: &Path, agent_id: AgentId) -> Self {
        let file = LogFile::new(DataPath::agent_log(data_dir, agent_id), log::ROTATE_AT);
        Self { batch: LogBatch::default(), sink: Sink::Disk { file: Some(file), writing: None } }
    }

    /// A log whose lines somebody else writes, who gets them by this channel.
    pub(super) fn relayed(owner: mpsc::Sender<Relayed>) -> Self {
        Self { batch: LogBatch::default(), sink: Sink::Owner(owner) }
    }

    pub(super) fn add(&mut self, at: Timestamp, stream: LogStream, text: &[u8], cut: u64) {
        self.batch.add(at, stream, text, cut);
    }

    /// Adds lines that another log has relayed.
    pub(super) fn append(&mut self, lines: &[u8]) {
        self.batch.append(lines);
    }

    /// Whether more lines may be added.
    pub(super) fn has_room(&self) -> bool {
        match self.sink {
            Sink::Disk { .. } => self.batch.len() < WAITING,
            // The channel holds enough.
            Sink::Owner(_) => self.batch.is_empty(),
        }
    }

    /// Puts out what waits, and returns when a batch is out; waits for ever while there is nothing to put out. Cancel-safe.
    pub(super) async fn written(&mut self) {
        let Self { batch, sink } = self;
        match sink {
            Sink::Disk { file, writing } => {
                if writing.is_none() {
                    if batch.is_empty() {
                        return std::future::pending().await;
                    }
                    *writing = begin(batch, file);
                }
                if let Some(under_way) = writing {
                    let written = under_way.await;
                    *writing = None;
                    *file = written.ok().and_then(Result::ok);
                }
            }
            Sink::Owner(_) if batch.is_empty() => std::future::pending().await,
            Sink::Owner(owner) => {
                let permit = owner.reserve().await;
                let lines = batch.take();
                // Where nobody takes them, the worker is gone.
                if let Ok(permit) = permit {
                    permit.send(Relayed::Lines(lines));
                }
            }
        }
    }

    /// Puts out all that waits.
    pub(super) async fn flush(&mut self) {
        while !self.is_out() {
            self.written().await;
        }
    }

    /// The same, if the disk takes it within [`LAST_WRITE`].
    pub(super) async fn finish(&mut self) {
        if tokio::time::timeout(LAST_WRITE, self.flush()).await.is_err() {
            tracing::warn!("the disk does not take the end of an agent's log");
        }
    }

    fn is_out(&self) -> bool {
        self.batch.is_empty() && !matches!(self.sink, Sink::Disk { writing: Some(_), .. })
    }
}

/// Begins to write what waits.
fn begin(batch: &mut LogBatch, file: &mut Option<LogFile>) -> Option<JoinHandle<Result<LogFile, JoinError>>> {
    let lines = batch.take();
    // Without a file the writing thread died, and so does the log; the agent goes on.
    let mut file = file.take()?;
    let write = move || {
        file.append(&lines);
        file
    };
    // A task of its own, so that a batch which has begun is not dropped with whoever waits for it.
    Some(tokio::spawn(blocking::run(&blocking::LOGS, write)))
}
