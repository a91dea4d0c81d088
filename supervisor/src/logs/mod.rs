//! What agents printed, read wherever their workers write it: a launcher knows where that is.

mod file;
mod tail;

use std::io;

use async_trait::async_trait;

pub use file::FileLog;

/// What one agent printed, and prints. Lines are as its worker has written them.
#[async_trait]
pub trait AgentLog: Send + Sync + 'static {
    /// The last `lines` lines, and the way to what is printed from then on. Empty where it printed nothing yet. The answer has a
    /// bound in bytes, however long the lines are.
    async fn tail(&self, lines: usize) -> io::Result<LogTail>;
}

/// Reads on where a tail ends. Nothing is lost or comes twice while the log is rotated.
#[async_trait]
pub trait LogReader: Send + 'static {
    /// What is new; empty where nothing is.
    async fn read(&mut self) -> io::Result<Vec<u8>>;
}

/// The end of a log.
pub struct LogTail {
    /// The lines. The last one may lack its newline.
    pub bytes: Vec<u8>,
    /// Reads what comes after them.
    pub reader: Box<dyn LogReader>,
}
