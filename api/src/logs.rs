//! A log as it grows.

use std::io;
use std::time::Duration;

use axum::body::Bytes;
use futures_util::Stream;
use futures_util::stream::unfold;
use muster_supervisor::LogTail;
use tokio_util::sync::CancellationToken;

/// Between two looks at a log that did not grow. There is no wish for more than a person sees.
const LOOK: Duration = Duration::from_millis(200);

/// What `start` holds, then what is appended to the log, until the client goes, `end` is cancelled, or `is_over` says that nothing
/// more is to come and all was read.
pub(crate) fn follow<Over, Answer>(
    start: LogTail,
    is_over: Over,
    end: CancellationToken,
) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static
where
    Over: Fn() -> Answer + Send + 'static,
    Answer: Future<Output = bool> + Send,
{
    unfold((start, is_over, end), |(mut log, is_over, end)| async move {
        if !log.bytes.is_empty() {
            let first = std::mem::take(&mut log.bytes);
            return Some((Ok(first.into()), (log, is_over, end)));
        }
        loop {
            if end.is_cancelled() {
                return None;
            }
            // Asked before the look: last words are written before the end is told, so the look finds them all.
            let over = is_over().await;
            match log.reader.read().await {
                Ok(bytes) if bytes.is_empty() && over => return None,
                Ok(bytes) if bytes.is_empty() => {}
                read => return Some((read.map(Bytes::from), (log, is_over, end))),
            }
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = end.cancelled() => return None,
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use std::fs::{OpenOptions, write};
    use std::io::Write;
    use std::path::{Path, PathBuf};
    use std::pin::pin;

    use futures_util::StreamExt;
    use muster_domain::AgentId;
    use muster_files::Place;
    use muster_supervisor::{AgentLog, FileLog};
    use tempfile::TempDir;

    use super::*;

    /// A log in this data folder, and its path. The file is not there yet.
    fn log_in(folder: &TempDir) -> (FileLog, PathBuf) {
        let log = Place::agent_log(folder.path(), AgentId::generate());
        std::fs::create_dir_all(folder.path().join("logs/agents")).expect("folders");
        let path = log.path();
        (FileLog::new(log), path)
    }

    fn append(path: &Path, text: &str) {
        let mut file = OpenOptions::new().append(true).create(true).open(path).expect("opened");
        file.write_all(text.as_bytes()).expect("written");
    }

    #[tokio::test]
    async fn it_streams_until_the_token_ends_it() {
        let folder = TempDir::new().expect("a folder");
        let (log, path) = log_in(&folder);
        write(&path, "1\n2\n").expect("written");
        let end = CancellationToken::new();
        let start = log.tail(1).await.expect("a log");
        let mut stream = pin!(follow(start, || async { false }, end.clone()));
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
        let start = log.tail(1).await.expect("nothing is there yet");
        std::fs::create_dir(path).expect("a folder");
        let end = CancellationToken::new();
        let mut stream = pin!(follow(start, || async { false }, end));
        assert!(stream.next().await.expect("an answer").is_err(), "a folder is no log");
    }

    #[tokio::test]
    async fn it_ends_by_itself_when_all_was_read_and_nothing_more_is_to_come() {
        let folder = TempDir::new().expect("a folder");
        let (log, path) = log_in(&folder);
        write(&path, "1\n").expect("written");
        let start = log.tail(0).await.expect("a log");
        append(&path, "the last words\n");
        let mut stream = pin!(follow(start, || async { true }, CancellationToken::new()));
        assert_eq!(stream.next().await.expect("what was said before the end").expect("read"), "the last words\n");
        assert!(stream.next().await.is_none());
    }
}
