//! One connection, from its first byte to its end.
//!
//! While nothing comes it rests: it holds the socket and nothing else. An HTTP connection takes some 30 KiB for its buffers,
//! which 16,000 idle ones would keep for nothing.

use std::convert::Infallible;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes, HttpBody};
use axum::http::{Request, Response};
use futures_util::FutureExt;
use hyper::body::{Frame, Incoming, SizeHint};
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

use super::connections::{Connection, ConnectionOrder, ConnectionPhase};
use super::patient::PatientStream;

/// The largest head of a request, and what is read of a body at once.
const BUFFER: usize = 64 * 1024;

/// What every connection is served with.
#[derive(Clone)]
pub(super) struct ServeOptions {
    pub(super) router: Router,
    pub(super) stall: Duration,
    pub(super) closing: CancellationToken,
}

/// Serves a connection to its end.
pub(super) async fn attend(mut stream: TcpStream, connection: Arc<Connection>, terms: ServeOptions) {
    let mut before = Bytes::new();
    loop {
        if before.is_empty() && !wakes(&stream, &connection, &terms.closing).await {
            return;
        }
        connection.set_resting(false);
        // In a box: what rests should not have the size of what is awake.
        match Box::pin(converse(stream, before, &connection, &terms)).await {
            Some(rest) => (stream, before) = rest,
            None => return,
        }
        connection.set_resting(true);
    }
}

/// Waits for the first byte, or the end. Says whether there is something to read.
async fn wakes(stream: &TcpStream, connection: &Connection, closing: &CancellationToken) -> bool {
    loop {
        tokio::select! {
            readable = stream.readable() => return readable.is_ok(),
            order = connection.order() => if order == ConnectionOrder::Leave { return false },
            () = closing.cancelled() => return false,
        }
    }
}

/// Answers requests until the connection ends; or until it is told to rest, and then gives the socket back, with what
/// was read of a next request.
async fn converse(
    stream: TcpStream,
    before: Bytes,
    connection: &Arc<Connection>,
    terms: &ServeOptions,
) -> Option<(TcpStream, Bytes)> {
    let io = TokioIo::new(PatientStream::new(stream, terms.stall, Arc::clone(connection), before));
    let service = service_fn(|request| answer(request, Arc::clone(connection), &terms.router));
    let mut http = http1::Builder::new().max_buf_size(BUFFER).serve_connection(io, service);
    let mut closing = pin!(terms.closing.cancelled().fuse());
    loop {
        tokio::select! {
            // What comes goes before what is told: who is heard again does not leave.
            biased;
            // How it ended is the client's affair.
            _ = &mut http => return None,
            () = &mut closing => Pin::new(&mut http).graceful_shutdown(),
            order = connection.order() => match order {
                ConnectionOrder::Leave => return None,
                ConnectionOrder::Rest => {
                    let parts = http.into_parts();
                    return Some((parts.io.into_inner().into_inner(), parts.read_buf));
                }
            },
        }
    }
}

/// Answers one request. The connection is busy until the body of the answer is gone.
fn answer(
    request: Request<Incoming>,
    connection: Arc<Connection>,
    router: &Router,
) -> impl Future<Output = Result<Response<ResponseBody>, Infallible>> + use<> {
    connection.enter(ConnectionPhase::Busy);
    connection.set_unread(false);
    let busy = Busy(Arc::clone(&connection));
    let mut request =
        request.map(|body| Body::new(RequestBody { body, connection: Arc::clone(&connection), ended: false }));
    // The guard says there whether the client is known.
    request.extensions_mut().insert(connection);
    let response = TowerToHyperService::new(router.clone()).call(request);
    async move { response.await.map(|response| response.map(|body| ResponseBody { body, _busy: busy })) }
}

/// The body of a request. What nobody reads of it may still be on its way when the answer is.
struct RequestBody {
    body: Incoming,
    connection: Arc<Connection>,
    ended: bool,
}

impl HttpBody for RequestBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        self.ended |= frame.is_none();
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for RequestBody {
    fn drop(&mut self) {
        if !self.ended && !self.body.is_end_stream() {
            self.connection.set_unread(true);
        }
    }
}

/// Ends the time of a request.
struct Busy(Arc<Connection>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.enter(ConnectionPhase::Idle);
    }
}

/// The body of an answer, which keeps its connection busy.
struct ResponseBody {
    body: Body,
    _busy: Busy,
}

impl HttpBody for ResponseBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
