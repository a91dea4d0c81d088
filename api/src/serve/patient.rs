//! The bytes of a connection: a client that takes nothing is cut off, its place learns when something comes, and who still
//! sends a body that nobody reads is heard out, so that it gets its answer.

use std::io;
use std::mem::MaybeUninit;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::Bytes;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

use super::connections::{Connection, ConnectionPhase};

/// How long a client that still sends may be silent before its connection is closed.
const QUIET: Duration = Duration::from_secs(2);
/// How long it may go on in all.
const HEARD_OUT: Duration = Duration::from_secs(30);

/// A connection whose writes fail when the other side takes nothing for `stall`: a stream of events is never at its
/// end, so that nothing else would part from a client that has stopped reading.
pub(super) struct PatientStream<S> {
    stream: S,
    stall: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
    connection: Arc<Connection>,
    /// What was read before, and comes first.
    before: Bytes,
    hearing_out: Option<DrainingStream>,
}

/// The end of a connection whose client still sends. A close would be a reset for it, which takes the answer along that it has
/// not read yet.
struct DrainingStream {
    end: Instant,
    silence: Pin<Box<Sleep>>,
}

impl DrainingStream {
    fn new() -> Self {
        let now = Instant::now();
        Self { end: now + HEARD_OUT, silence: Box::pin(sleep_until(now + QUIET)) }
    }

    /// Throws away what comes, until nothing does.
    fn poll<S: AsyncRead + Unpin>(&mut self, stream: &mut S, context: &mut Context<'_>) -> Poll<()> {
        let mut scratch = [MaybeUninit::uninit(); 16 * 1024];
        loop {
            let mut buffer = ReadBuf::uninit(&mut scratch);
            match Pin::new(&mut *stream).poll_read(context, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    let now = Instant::now();
                    if now >= self.end {
                        return Poll::Ready(());
                    }
                    self.silence.as_mut().reset((now + QUIET).min(self.end));
                }
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending => return self.silence.as_mut().poll(context),
            }
        }
    }
}

impl<S> PatientStream<S> {
    pub(super) const fn new(stream: S, stall: Duration, connection: Arc<Connection>, before: Bytes) -> Self {
        Self { stream, stall, stalled: None, connection, before, hearing_out: None }
    }

    /// The connection itself. Whoever asks has seen that nothing is left to be written.
    pub(super) fn into_inner(self) -> S {
        self.stream
    }

    /// Passes the result of a write on, and watches the time where there is none.
    fn watch<T>(&mut self, result: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            if self.stalled.take().is_some() {
                self.connection.set_blocked(false);
            }
            return result;
        }
        let (stall, connection) = (self.stall, &self.connection);
        let timer = self.stalled.get_or_insert_with(|| {
            connection.set_blocked(true);
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
            self.connection.heard();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for PatientStream<S> {
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

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        if this.hearing_out.is_none() {
            ready!(Pin::new(&mut this.stream).poll_shutdown(context))?;
            if !this.connection.is_unread() {
                return Poll::Ready(Ok(()));
            }
            // What comes now is no request, for which it would be told to rest.
            this.connection.enter(ConnectionPhase::Busy);
        }
        let hearing_out = this.hearing_out.get_or_insert_with(DrainingStream::new);
        hearing_out.poll(&mut this.stream, context).map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_cut_off() {
        let (near, mut far) = duplex(8);
        let mut stream = PatientStream::new(near, Duration::from_secs(30), Connection::alone(), Bytes::new());
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

    /// How many seconds the end of a connection takes whose client goes on as told.
    async fn end_beside(unread: bool, client: impl AsyncFnOnce(DuplexStream)) -> u64 {
        let (near, far) = duplex(8);
        let connection = Connection::alone();
        connection.set_unread(unread);
        let mut stream = PatientStream::new(near, Duration::from_secs(30), connection, Bytes::new());
        let begun = Instant::now();
        let end = async {
            stream.shutdown().await.expect("an end");
            let took = begun.elapsed().as_secs();
            drop(stream);
            took
        };
        tokio::join!(end, client(far)).0
    }

    #[tokio::test(start_paused = true)]
    async fn who_still_sends_is_heard_out_for_a_time() {
        async fn silent(far: DuplexStream) {
            sleep(HEARD_OUT * 2).await;
            drop(far);
        }
        assert_eq!(end_beside(false, silent).await, 0, "its request was read");
        assert_eq!(end_beside(true, silent).await, QUIET.as_secs());
        assert_eq!(end_beside(true, async |far: DuplexStream| drop(far)).await, 0, "it has gone");
        let endless = async |mut far: DuplexStream| {
            while far.write_all(b"x").await.is_ok() {
                sleep(QUIET / 2).await;
            }
        };
        assert_eq!(end_beside(true, endless).await, HEARD_OUT.as_secs());
    }

    #[tokio::test]
    async fn what_was_read_before_comes_first() {
        let (near, mut far) = duplex(8);
        let before = Bytes::from_static(b"GET / ");
        let mut stream = PatientStream::new(near, Duration::from_secs(30), Connection::alone(), before);
        far.write_all(b"HTTP").await.expect("sent");
        let mut bytes = [0; 10];
        stream.read_exact(&mut bytes).await.expect("both");
        assert_eq!(&bytes, b"GET / HTTP");
    }
}
