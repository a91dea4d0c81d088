//! The bytes of a connection: a client that takes nothing is cut off, and its seat learns when something comes.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use super::seats::Seat;

/// A connection whose writes fail when the other side takes nothing for `stall`: a stream of events is never at its
/// end, so that nothing else would part from a client that has stopped reading.
pub(super) struct PatientStream<S> {
    stream: S,
    stall: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    seat: Arc<Seat>,
    /// What was read before, and comes first.
    before: Bytes,
}

impl<S> PatientStream<S> {
    pub(super) const fn new(stream: S, stall: Duration, seat: Arc<Seat>, before: Bytes) -> Self {
        Self { stream, stall, stalled: None, seat, before }
    }

    /// The connection itself. Whoever asks has seen that nothing is left to be written.
    pub(super) fn into_inner(self) -> S {
        self.stream
    }

    /// Passes the result of a write on, and watches the time where there is none.
    fn watch<T>(&mut self, result: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            if self.stalled.take().is_some() {
                self.seat.set_blocked(false);
            }
            return result;
        }
        let (stall, seat) = (self.stall, &self.seat);
        let timer = self.stalled.get_or_insert_with(|| {
            seat.set_blocked(true);
            Box::pin(sleep(stall))
        });
        ready!(timer.as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, "the client takes nothing")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for PatientStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.before.is_empty() {
            let count = self.before.len().min(buffer.remaining());
            buffer.put_slice(&self.before.split_to(count));
            return Poll::Ready(Ok(()));
        }
        let filled = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        if buffer.filled().len() > filled {
            self.seat.heard();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for PatientStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.watch(written, context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.watch(written, context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(context);
        self.watch(flushed, context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_cut_off() {
        let (near, mut far) = duplex(8);
        let mut stream = PatientStream::new(near, Duration::from_secs(30), Seat::alone(), Bytes::new());
        // One that is slow is not: each byte that it takes begins the time anew.
        let slow = async {
            let mut bytes = [0; 8];
            for _ in 0..3 {
                sleep(Duration::from_secs(20)).await;
                far.read_exact(&mut bytes).await.expect("bytes");
            }
        };
        let (written, ()) = tokio::join!(stream.write_all(&[b'x'; 32]), slow);
        written.expect("taken, if slowly");
        let error = stream.write_all(b"y").await.expect_err("nobody reads");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }

    #[tokio::test]
    async fn what_was_read_before_comes_first() {
        let (near, mut far) = duplex(8);
        let before = Bytes::from_static(b"GET / ");
        let mut stream = PatientStream::new(near, Duration::from_secs(30), Seat::alone(), before);
        far.write_all(b"HTTP").await.expect("sent");
        let mut bytes = [0; 10];
        stream.read_exact(&mut bytes).await.expect("both");
        assert_eq!(&bytes, b"GET / HTTP");
    }
}
