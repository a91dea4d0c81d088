//! The server: it takes connections until it is told to end, and then gives the requests that are being answered a
//! bounded time.
//!
//! axum's own server has no bounds for connections that wait, so this one is made of hyper's parts:
//!
//! | file | its part |
//! |---|---|
//! | `connections` | how many connections there may be, and which one goes first |
//! | `connection` | one connection from its first byte to its end |
//! | `patient` | its bytes: a client that takes nothing is cut off |

mod connection;
mod connections;
mod patient;

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use futures_util::future::BoxFuture;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, interval, sleep, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::blocking;
use crate::problem::Problem;
use crate::state::ApiState;
use connection::{ServeOptions, attend};
pub(crate) use connections::{Connection, ConnectionLimits, Connections};

/// Between two runs of the recorder's housekeeping, without which its histograms grow.
const UPKEEP: Duration = Duration::from_secs(5);
/// Between two looks at the connections.
const SWEEP: Duration = Duration::from_millis(500);
/// Connections that are told at the same time why they are not served.
const REFUSALS: usize = 32;
/// How long one of them may take to hear it.
const REFUSAL: Duration = Duration::from_secs(2);
/// After an error that is not about one connection, as where no file may be opened.
const PAUSE: Duration = Duration::from_millis(250);
/// Between two lines in the log about the same.
const REMINDER: Duration = Duration::from_secs(60);
/// After so many connections went to rest, or went, the memory that they had is given back.
const MANY: usize = 1_000;

/// Serves the API on `listener` until `shutdown` is cancelled. Then no connection is taken any more, idle ones are
/// closed, and requests that are being answered may take [`ApiConfig::drain`](crate::ApiConfig::drain). Streams of
/// events and logs end by the supervisor's own token, which must be cancelled before or with `shutdown`.
pub fn serve(
    listener: TcpListener,
    state: Arc<ApiState>,
    shutdown: CancellationToken,
) -> BoxFuture<'static, io::Result<()>> {
    // In a box, as whoever awaits the future itself compiles all that it does once more.
    Box::pin(async move {
        let router = crate::router(Arc::clone(&state));
        serve_router(listener, state, router, shutdown).await;
        Ok(())
    })
}

async fn serve_router(listener: TcpListener, state: Arc<ApiState>, router: Router, shutdown: CancellationToken) {
    let drain = state.config().drain;
    let guests = TaskTracker::new();
    let terms = ServeOptions { router, stall: state.config().stall, closing: shutdown.clone() };
    let upkeep = async {
        tokio::join!(keep_metrics(Arc::clone(&state)), sweep(Arc::clone(&state)));
    };
    tokio::select! {
        () = take_in(&listener, &state, &terms, &guests) => {}
        () = upkeep => {}
        () = shutdown.cancelled() => {}
    }
    // Nobody waits for an answer that never comes.
    drop(listener);
    guests.close();
    if timeout(drain, guests.wait()).await.is_err() {
        tracing::warn!(drain.seconds = drain.as_secs_f64(), "requests were still being answered when the server ended");
    }
}

async fn keep_metrics(state: Arc<ApiState>) {
    let Some(metrics) = state.metrics() else { return std::future::pending().await };
    loop {
        sleep(UPKEEP).await;
        metrics.run_upkeep();
    }
}

/// Ends what waits too long, and gives memory back after many.
async fn sweep(state: Arc<ApiState>) {
    let (mut ticks, mut told) = (interval(SWEEP), 0);
    loop {
        ticks.tick().await;
        let now = state.connections().sweep();
        told += now;
        // Not while more of them come to rest: they would take what was just given back.
        if now == 0 && told >= MANY {
            told = 0;
            let give_back = state.config().give_back;
            // It takes some milliseconds, in which nobody is kept waiting.
            let _ = blocking::run_within(SWEEP, &blocking::MEMORY, give_back).await;
        }
    }
}

/// Takes connections for ever.
async fn take_in(listener: &TcpListener, state: &ApiState, terms: &ServeOptions, guests: &TaskTracker) {
    let refusals = Arc::new(Semaphore::new(REFUSALS));
    let mut refusing = ServeOptions { router: refusing_router(state.connections().most()), ..terms.clone() };
    refusing.stall = REFUSAL;
    let (mut failed, mut full) = (Reminder::default(), Reminder::default());
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) if is_of_one_connection(&error) => continue,
            Err(error) => {
                if failed.is_due() {
                    tracing::error!(%error, "cannot take connections: if files have run out, raise the limit (ulimit -n)");
                }
                sleep(PAUSE).await;
                continue;
            }
        };
        // An answer is written at once; waiting for more of it (Nagle) would cost up to 40 ms. Where the option can't
        // be set the connection is gone already.
        let _ = stream.set_nodelay(true);
        if let Some(taken) = state.connections().take().await {
            let terms = terms.clone();
            guests.spawn(async move { attend(stream, Arc::clone(&taken.connection), terms).await });
            continue;
        }
        if full.is_due() {
            let most = state.connections().most();
            tracing::warn!(most, "all connections answer requests; more are refused (raise the limit of open files)");
        }
        refuse(stream, &refusals, &refusing).await;
    }
}

/// Tells a client that there is no room for it. Waits where many are being told.
async fn refuse(stream: TcpStream, refusals: &Arc<Semaphore>, terms: &ServeOptions) {
    // Never closed.
    let Ok(permit) = Arc::clone(refusals).acquire_owned().await else { return };
    let terms = terms.clone();
    tokio::spawn(async move {
        // Who does not listen is not waited for.
        let _ = timeout(REFUSAL, attend(stream, Connection::alone(), terms)).await;
        drop(permit);
    });
}

fn refusing_router(most: usize) -> Router {
    let refusal = move || async move {
        let detail =
            format!("all {most} connections of this server are busy: try again, or raise its limit of open files");
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, "too_many_connections", detail);
        ([("connection", "close")], problem.retry_after(Duration::from_secs(1)))
    };
    Router::new().fallback(refusal)
}

/// Whether an error of accept(2) is about the connection that would have come, and not about this server.
fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionRefused | ConnectionAborted | ConnectionReset)
}

/// Says the same not more often than once a minute.
#[derive(Default)]
struct Reminder(Option<Instant>);

impl Reminder {
    fn is_due(&mut self) -> bool {
        let due = self.0.is_none_or(|last| last.elapsed() >= REMINDER);
        if due {
            self.0 = Some(Instant::now());
        }
        due
    }
}

#[cfg(test)]
mod tests;
