//! Logs in the data folder of this host. A worker writes an agent's output to a file, line by line, and when the file is large
//! it is renamed to the same name with `.1` and a new one is begun.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use async_trait::async_trait;
use muster_files::{DataPath, FileId};
use tokio::sync::Semaphore;

use super::tail::tail;
use super::{AgentLog, LogReader, LogTail};
use crate::blocking::{self, Undone};

/// How long a read waits for its turn.
const PATIENCE: Duration = Duration::from_secs(10);
/// What is read at once, in bytes. The client's pace bounds how often.
const CHUNK: usize = 256 * 1024;

/// A log in a data folder.
pub struct FileLog(DataPath);

impl FileLog {
    /// The log that is written there. It need not be there yet.
    pub const fn new(place: DataPath) -> Self {
        Self(place)
    }
}

#[async_trait]
impl AgentLog for FileLog {
    async fn tail(&self, lines: usize) -> io::Result<LogTail> {
        let log = self.0.clone();
        let (bytes, at) = reading(&blocking::LOGS, move || tail(&log, lines)).await?;
        let follower = Follower { log: self.0.clone(), at };
        Ok(LogTail { bytes, reader: Box::new(FileReader { follower: Some(follower) }) })
    }
}

/// Reads on in a log.
struct FileReader {
    /// None while it is away to read, which nobody may have waited for.
    follower: Option<Follower>,
}

#[async_trait]
impl LogReader for FileReader {
    async fn read(&mut self) -> io::Result<Vec<u8>> {
        let lost = || io::Error::other("an earlier read was given up");
        let mut follower = self.follower.take().ok_or_else(lost)?;
        let (follower, read) = reading(&blocking::LOGS, move || {
            let read = follower.read();
            Ok((follower, read))
        })
        .await?;
        self.follower = Some(follower);
        read
    }
}

/// Reads from a log; never on the executor's threads, since files block, also for long where a disk is busy.
async fn reading<T: Send + 'static>(
    reads: &'static Semaphore,
    read: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    blocking::run_within(PATIENCE, reads, read).await.map_err(|undone| match undone {
        Undone::Full => io::Error::other("too many logs are being read, and the disk does not answer"),
        Undone::Broken(error) => io::Error::other(error),
    })?
}

/// Where the reader is.
struct Follower {
    log: DataPath,
    /// The file and the offset up to which it was read; none before there is a file.
    at: Option<(File, u64)>,
}

impl Follower {
    /// What is new; empty where nothing is.
    fn read(&mut self) -> io::Result<Vec<u8>> {
        // Whether there is a newer file is asked first: what is in the old one after that was written before.
        let newer = self.newer_file()?;
        let mut bytes = Vec::new();
        if let Some((file, offset)) = &mut self.at {
            bytes = vec![0; CHUNK];
            let size = file.read_at(&mut bytes, *offset)?;
            bytes.truncate(size);
            *offset += size as u64;
        }
        // The old file is left only at its end.
        if bytes.is_empty()
            && let Some(file) = newer
        {
            self.at = Some((file, 0));
            return self.read();
        }
        Ok(bytes)
    }

    /// The file that is now at the path, where it is another one than ours.
    fn newer_file(&self) -> io::Result<Option<File>> {
        let Some(present) = self.log.read()? else { return Ok(None) };
        match &self.at {
            Some((file, _)) if FileId::of(file)? == FileId::of(&present)? => Ok(None),
            _ => Ok(Some(present)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{OpenOptions, rename, write};
    use std::io::Write;
    use std::path::Path;

    use tempfile::TempDir;

    use super::*;
    use crate::logs::tail::log_in;

    fn append(path: &Path, text: &str) {
        let mut file = OpenOptions::new().append(true).create(true).open(path).expect("opened");
        file.write_all(text.as_bytes()).expect("written");
    }

    fn follower(log: &DataPath) -> Follower {
        Follower { log: log.clone(), at: tail(log, 0).expect("a log").1 }
    }

    #[test]
    fn only_what_is_new_is_read() {
        let folder = TempDir::new().expect("a folder");
        let (log, path) = log_in(&folder);
        write(&path, "old\n").expect("written");
        let mut follower = follower(&log);
        assert_eq!(follower.read().expect("read"), b"");
        append(&path, "new\n");
        assert_eq!(follower.read().expect("read"), b"new\n");
        assert_eq!(follower.read().expect("read"), b"");
    }

    #[test]
    fn a_rotation_loses_and_doubles_nothing() {
        let folder = TempDir::new().expect("a folder");
        let (log, path) = log_in(&folder);
        let mut follower = follower(&log);
        assert_eq!(follower.read().expect("no file yet"), b"");
        append(&path, "1\n");
        assert_eq!(follower.read().expect("read"), b"1\n");
        append(&path, "2\n");
        rename(&path, log.older().path()).expect("rotated");
        assert_eq!(follower.read().expect("the rest of the old file"), b"2\n");
        assert_eq!(follower.read().expect("no new file yet"), b"");
        append(&path, "3\n");
        assert_eq!(follower.read().expect("the new file"), b"3\n");
        rename(&path, log.older().path()).expect("rotated");
        append(&path, "4\n");
        assert_eq!(follower.read().expect("straight on"), b"4\n");
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_is_an_error() {
        let folder = TempDir::new().expect("a folder");
        let (log, path) = log_in(&folder);
        let mut start = FileLog::new(log).tail(1).await.expect("nothing is there yet");
        assert_eq!(start.bytes, b"");
        std::fs::create_dir(path).expect("a folder");
        start.reader.read().await.expect_err("a folder is no log");
    }

    #[tokio::test]
    async fn reads_that_hang_take_no_more_than_their_share() {
        static TWO: Semaphore = Semaphore::const_new(2);
        let (held, released) = std::sync::mpsc::channel::<()>();
        let released = std::sync::Arc::new(std::sync::Mutex::new(released));
        let hang = || {
            let released = released.clone();
            tokio::spawn(reading(&TWO, move || {
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
        let third = tokio::spawn(reading(&TWO, || Ok(())));
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
        reading(&TWO, || Ok(())).await.expect("a place again");
    }
}
