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
    use std::collections::VecDeque;
    use std::pin::pin;

    use async_trait::async_trait;
    use futures_util::{StreamExt, poll};
    use muster_supervisor::LogReader;

    use super::*;

    /// Reads what is in it, one after the other, then nothing.
    struct Script(VecDeque<io::Result<&'static str>>);

    #[async_trait]
    impl LogReader for Script {
        async fn read(&mut self) -> io::Result<Vec<u8>> {
            let read = self.0.pop_front().unwrap_or(Ok(""));
            read.map(|text| text.as_bytes().to_vec())
        }
    }

    fn log(bytes: &str, then: impl IntoIterator<Item = io::Result<&'static str>>) -> LogTail {
        LogTail { bytes: bytes.as_bytes().to_vec(), reader: Box::new(Script(then.into_iter().collect())) }
    }

    #[tokio::test(start_paused = true)]
    async fn it_streams_until_the_token_ends_it() {
        let end = CancellationToken::new();
        let mut stream = pin!(follow(log("2\n", [Ok(""), Ok("3\n")]), || async { false }, end.clone()));
        assert_eq!(stream.next().await.expect("the tail").expect("read"), "2\n");
        assert_eq!(stream.next().await.expect("growth").expect("read"), "3\n");
        assert!(poll!(stream.next()).is_pending(), "nothing is new");
        end.cancel();
        assert!(stream.next().await.is_none());
    }

    #[tokio::test]
    async fn a_log_that_cannot_be_read_is_an_error() {
        let broken = log("", [Err(io::Error::other("no log"))]);
        let mut stream = pin!(follow(broken, || async { false }, CancellationToken::new()));
        assert!(stream.next().await.expect("an answer").is_err());
    }

    #[tokio::test]
    async fn it_ends_by_itself_when_all_was_read_and_nothing_more_is_to_come() {
        let mut stream = pin!(follow(log("", [Ok("the last words\n")]), || async { true }, CancellationToken::new()));
        assert_eq!(stream.next().await.expect("what was said before the end").expect("read"), "the last words\n");
        assert!(stream.next().await.is_none());
    }
}
