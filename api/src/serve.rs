//! The server: it takes connections until it is told to end, and then gives the requests that are being answered a
//! bounded time.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::serve::Listener;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Sleep, sleep};
use tokio_util::sync::CancellationToken;

use crate::door::Door;

/// Between two runs of the recorder's housekeeping, without which its histograms grow.
const UPKEEP: Duration = Duration::from_secs(5);

/// Serves the API on `listener` until `shutdown` is cancelled. Then no connection is taken any more, idle ones are
/// closed, and requests that are being answered may take [`ApiConfig::drain`](crate::ApiConfig::drain). Streams of
/// events and logs end by the supervisor's own token, which must be cancelled before or with `shutdown`.
pub async fn serve(listener: TcpListener, door: Arc<Door>, shutdown: CancellationToken) -> io::Result<()> {
    let config = door.config();
    let (drain, stall) = (config.drain, config.stall);
    let upkeep = keep_metrics(Arc::clone(&door), shutdown.clone());
    let server = axum::serve(PatientListener { listener, stall }, crate::router(Arc::clone(&door)))
        .with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let deadline = async {
        shutdown.cancelled().await;
        sleep(drain).await;
    };
    tokio::select! {
        served = async { tokio::join!(server, upkeep).0 } => served,
        () = deadline => {
            tracing::warn!(drain.seconds = drain.as_secs_f64(), "requests were still being answered when the server ended");
            Ok(())
        }
    }
}

async fn keep_metrics(door: Arc<Door>, shutdown: CancellationToken) {
    let Some(metrics) = door.metrics() else { return };
    while shutdown.run_until_cancelled(sleep(UPKEEP)).await.is_some() {
        metrics.run_upkeep();
    }
}

/// Takes connections, each of which is cut when its client takes no byte for `stall`.
struct PatientListener {
    listener: TcpListener,
    stall: Duration,
}

impl Listener for PatientListener {
    type Io = PatientStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        // axum's own accept: it waits a second when file descriptors have run out, instead of spinning.
        let (stream, address) = Listener::accept(&mut self.listener).await;
        // An answer is written at once; waiting for more of it (Nagle) would cost up to 40 ms. Where the option can't
        // be set the connection is gone already.
        let _ = stream.set_nodelay(true);
        (PatientStream { stream, stall: self.stall, stalled: None }, address)
    }

    fn local_addr(&self) -> io::Result<Self::Addr> {
        self.listener.local_addr()
    }
}

/// A connection whose writes fail when the other side takes nothing for `stall`: a stream of events is never at its
/// end, so that nothing else would part from a client that has stopped reading.
struct PatientStream<S> {
    stream: S,
    stall: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S> PatientStream<S> {
    /// Passes the result of a write on, and watches the time where there is none.
    fn watch<T>(&mut self, result: Poll<io::Result<T>>, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if result.is_ready() {
            self.stalled = None;
            return result;
        }
        let stall = self.stall;
        let timer = self.stalled.get_or_insert_with(|| Box::pin(sleep(stall)));
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
        Pin::new(&mut self.stream).poll_read(context, buffer)
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
    use crate::config::ApiConfig;
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    #[tokio::test(start_paused = true)]
    async fn a_client_that_takes_nothing_is_cut_off() {
        let (near, mut far) = duplex(8);
        let mut stream = PatientStream { stream: near, stall: Duration::from_secs(30), stalled: None };
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
    async fn it_serves_and_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shutdown = CancellationToken::new();
        let server = tokio::spawn(serve(listener, Door::new(ApiConfig::new(address, "9"), None), shutdown.clone()));
        let mut client = TcpStream::connect(address).await.expect("a connection");
        let request = format!("GET /health HTTP/1.1\r\nHost: {address}\r\n\r\n");
        client.write_all(request.as_bytes()).await.expect("sent");
        let mut answer = vec![0; 15];
        client.read_exact(&mut answer).await.expect("an answer");
        assert_eq!(answer, b"HTTP/1.1 200 OK");
        shutdown.cancel();
        server.await.expect("no panic").expect("no error");
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.expect("the idle connection is closed");
        assert!(String::from_utf8_lossy(&rest).contains("\"version\":\"9\""));
    }

    #[tokio::test]
    async fn a_refusal_before_the_body_is_read_reaches_the_client() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shutdown = CancellationToken::new();
        let door = Door::new(ApiConfig::new(address, "9"), None);
        // Nobody leads, so that the request is refused before its body is read.
        let server = tokio::spawn(serve(listener, door, shutdown.clone()));
        let client = TcpStream::connect(address).await.expect("a connection");
        let (mut read, mut write) = client.into_split();
        let head = format!(
            "POST /api/v1/agents/spawn HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n\
             Content-Length: 4\r\nConnection: close\r\n\r\n{{}}\n\n"
        );
        write.write_all(head.as_bytes()).await.expect("sent");
        let mut answer = String::new();
        read.read_to_string(&mut answer).await.expect("an answer and the end");
        assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 1\r\n"), "{answer}");
        assert!(answer.contains("\"code\":\"starting\""), "{answer}");
        shutdown.cancel();
        server.await.expect("no panic").expect("no error");
    }

    #[tokio::test]
    async fn a_request_that_hangs_does_not_hold_the_end_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let shutdown = CancellationToken::new();
        let config = ApiConfig { drain: Duration::from_millis(50), ..ApiConfig::new(address, "9") };
        let server = tokio::spawn(serve(listener, Door::new(config, None), shutdown.clone()));
        let mut client = TcpStream::connect(address).await.expect("a connection");
        client.write_all(b"GET /health HTTP/1.1\r\nHost: local").await.expect("half a request");
        shutdown.cancel();
        server.await.expect("no panic").expect("ended by the deadline");
    }
}
