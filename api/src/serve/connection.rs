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

use super::patient::PatientStream;
use super::seats::{Order, Phase, Seat};

/// The largest head of a request, and what is read of a body at once.
const BUFFER: usize = 64 * 1024;

/// What every connection is served with.
#[derive(Clone)]
pub(super) struct Terms {
    pub(super) router: Router,
    pub(super) stall: Duration,
    pub(super) closing: CancellationToken,
}

/// Serves a connection to its end.
pub(super) async fn attend(mut stream: TcpStream, seat: Arc<Seat>, terms: Terms) {
    let mut before = Bytes::new();
    loop {
        if before.is_empty() && !wakes(&stream, &seat, &terms.closing).await {
            return;
        }
        seat.set_resting(false);
        // In a box: what rests should not have the size of what is awake.
        match Box::pin(converse(stream, before, &seat, &terms)).await {
            Some(rest) => (stream, before) = rest,
            None => return,
        }
        seat.set_resting(true);
    }
}

/// Waits for the first byte, or the end. Says whether there is something to read.
async fn wakes(stream: &TcpStream, seat: &Seat, closing: &CancellationToken) -> bool {
    loop {
        tokio::select! {
            readable = stream.readable() => return readable.is_ok(),
            order = seat.order() => if order == Order::Leave { return false },
            () = closing.cancelled() => return false,
        }
    }
}

/// Answers requests until the connection ends; or until it is told to rest, and then gives the socket back, with what
/// was read of a next request.
async fn converse(stream: TcpStream, before: Bytes, seat: &Arc<Seat>, terms: &Terms) -> Option<(TcpStream, Bytes)> {
    let io = TokioIo::new(PatientStream::new(stream, terms.stall, Arc::clone(seat), before));
    let service = service_fn(|request| answer(request, Arc::clone(seat), &terms.router));
    let mut connection = http1::Builder::new().max_buf_size(BUFFER).serve_connection(io, service);
    let mut closing = pin!(terms.closing.cancelled().fuse());
    loop {
        tokio::select! {
            // What comes goes before what is told: who is heard again does not leave.
            biased;
            // How it ended is the client's affair.
            _ = &mut connection => return None,
            () = &mut closing => Pin::new(&mut connection).graceful_shutdown(),
            order = seat.order() => match order {
                Order::Leave => return None,
                Order::Rest => {
                    let parts = connection.into_parts();
                    return Some((parts.io.into_inner().into_inner(), parts.read_buf));
                }
            },
        }
    }
}

/// Answers one request. The connection is busy until the body of the answer is gone.
fn answer(
    request: Request<Incoming>,
    seat: Arc<Seat>,
    router: &Router,
) -> impl Future<Output = Result<Response<Counted>, Infallible>> + use<> {
    seat.enter(Phase::Busy);
    seat.set_unread(false);
    let busy = Busy(Arc::clone(&seat));
    let mut request = request.map(|body| Body::new(Asked { body, seat: Arc::clone(&seat), ended: false }));
    // The guard says there whether the client is known.
    request.extensions_mut().insert(seat);
    let response = TowerToHyperService::new(router.clone()).call(request);
    async move { response.await.map(|response| response.map(|body| Counted { body, _busy: busy })) }
}

/// The body of a request. What nobody reads of it may still be on its way when the answer is.
struct Asked {
    body: Incoming,
    seat: Arc<Seat>,
    ended: bool,
}

impl HttpBody for Asked {
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

impl Drop for Asked {
    fn drop(&mut self) {
        if !self.ended && !self.body.is_end_stream() {
            self.seat.set_unread(true);
        }
    }
}

/// Ends the time of a request.
struct Busy(Arc<Seat>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.enter(Phase::Idle);
    }
}

/// The body of an answer, which keeps its connection busy.
struct Counted {
    body: Body,
    _busy: Busy,
}

impl HttpBody for Counted {
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
