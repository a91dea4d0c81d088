//! A log as it grows.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use axum::body::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use muster_files::{FileId, Place};
use tokio_util::sync::CancellationToken;

use super::{Tail, reading};

/// Between two looks at a file that did not grow. There is no wish for more than a person sees.
const LOOK: Duration = Duration::from_millis(200);
/// What is read at once, in bytes. The client's pace bounds how often.
const CHUNK: usize = 256 * 1024;

/// What `start` holds, then what is appended to the log, over rotations, until the client goes, `end` is
/// cancelled, or `is_over` says that nothing more is to come and all was read.
pub(crate) fn follow<Over, Answer>(
    log: Place,
    start: Tail,
    is_over: Over,
    end: CancellationToken,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static
where
    Over: Fn() -> Answer + Send + 'static,
    Answer: Future<Output = bool> + Send,
{
    let follower = Follower { log, at: start.end };
    unfold((follower, start.bytes, is_over, end), |(mut follower, first, is_over, end)| async move {
        if !first.is_empty() {
            return Some((Ok(first.into()), (follower, Vec::new(), is_over, end)));
        }
        loop {
            if end.is_cancelled() {
                return None;
            }
            // Asked before the look: last words are written before the end is told, so the look finds them all.
            let over = is_over().await;
            let looked = reading(move || {
                let read = follower.read();
                Ok((follower, read))
            });
            let (after, read) = looked.await.ok()?;
            follower = after;
            match read {
                Ok(bytes) if bytes.is_empty() && over => return None,
                Ok(bytes) if bytes.is_empty() => {}
                read => return Some((read.map(Bytes::from), (follower, Vec::new(), is_over, end))),
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = end.cancelled() => return None,
            }
        }
    })
}

/// Where the reader is.
struct Follower {
    log: Place,
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
    use super::*;
    use std::fs::{OpenOptions, rename, write};
    use std::io::Write;
    use std::path::Path;
    use std::pin::pin;

    use crate::logs::tail;
    use crate::logs::tests::log_in;
    use futures_util::StreamExt;
    use tempfile::TempDir;

    fn append(path: &Path, text: &str) {
        let mut file = OpenOptions::new().append(true).create(true).open(path).expect("opened");
        file.write_all(text.as_bytes()).expect("written");
    }

    fn follower(log: &Place) -> Follower {
        Follower { log: log.clone(), at: tail(log, 0).expect("a log").end }
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
    async fn it_streams_until_the_token_ends_it() {
        let folder = TempDir::new().expect("a folder");
        let (log, path) = log_in(&folder);
        write(&path, "1\n2\n").expect("written");
        let end = CancellationToken::new();
        let start = tail(&log, 1).expect("a log");
        let mut stream = pin!(follow(log.clone(), start, || async { false }, end.clone()));
        assert_eq!(stream.next().await.expect("the tail").expect("read"), "2\n");
        append(&path, "3\n");
        assert_eq!(stream.next().await.expect("growth").expect("read"), "3\n");
        end.cancel();
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn a_file_that_cannot_be_read_is_an_error() {
        let folder = TempDir::new().expect("a folder");
        let (log, path) = log_in(&folder);
        std::fs::create_dir(path).expect("a folder");
        let start = Tail { bytes: Vec::new(), end: None };
        let end = CancellationToken::new();
        let mut stream = pin!(follow(log, start, || async { false }, end));
        assert!(stream.next().await.expect("an answer").is_err(), "a folder is no log");
    }

    #[tokio::test]
    async fn it_ends_by_itself_when_all_was_read_and_nothing_more_is_to_come() {
        let folder = TempDir::new().expect("a folder");
        let (log, path) = log_in(&folder);
        write(&path, "1\n").expect("written");
        let start = tail(&log, 0).expect("a log");
        append(&path, "the last words\n");
        let mut stream = pin!(follow(log.clone(), start, || async { true }, CancellationToken::new()));
        assert_eq!(stream.next().await.expect("what was said before the end").expect("read"), "the last words\n");
        assert!(stream.next().await.is_none());
    }
}
