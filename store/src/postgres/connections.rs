//! Connections: one for whoever writes, and a few for those who read.
//!
//! That of the writers is kept for them, so that readers never hold up a commit. They are one after the other anyway, by the
//! lock on the leader's row. How many readers there may be is learned: where the server says that it gives no more
//! connections, those that there are do the work. A library's pool would ask for another one until its time is over, while
//! others become free.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use sqlx::postgres::PgConnectOptions;
use sqlx::{ConnectOptions, Connection, Executor, PgConnection};
use tokio::sync::{Semaphore, SemaphorePermit};

use super::errors::{explain, is_full};
use super::limit::{AfterLoss, CountedConnection, ReaderLimit};
use super::{CONNECT_TIMEOUT, PLANNING, within};
use crate::StoreError;

/// For how long a connection that was used is taken for the next one as it is. One that was idle for longer is asked whether it
/// still works: a server or something in between may have ended it.
const TRUSTED_FOR: Duration = Duration::from_secs(1);
/// How long that answer is waited for.
const PROBE_TIMEOUT: Duration = Duration::from_secs(1);
/// Connections that nobody has needed for so long are given back.
const IDLE_FOR: Duration = Duration::from_secs(600);
/// How long a reader waits for a connection.
const WAIT: Duration = Duration::from_secs(3);
/// Between two tries of a writer that has no connection.
const MOMENT: Duration = Duration::from_millis(20);
/// After a server did not answer in time, so long nobody asks it: else each one in a line would wait as long as the first.
const SILENCE: Duration = Duration::from_secs(2);

/// The connections to one server.
pub(super) struct ConnectionPool {
    options: PgConnectOptions,
    /// Whether connections keep statements prepared, and get settings for that.
    prepared: bool,
    writer: tokio::sync::Mutex<Option<IdleConnection>>,
    readers: Mutex<Vec<IdleConnection>>,
    /// A permit for each reader. None where all share the writer's connection.
    permits: Semaphore,
    limit: Mutex<ReaderLimit>,
    /// How many are open.
    open: Arc<AtomicUsize>,
    silent_until: Mutex<Option<Instant>>,
    /// Whether the server gave a writer none at all, the last time that one was asked for.
    refuses: AtomicBool,
    /// When one was last seen to break. Those that were idle by then may have broken with it.
    broke_at: Mutex<Option<Instant>>,
    closed: AtomicBool,
}

/// A connection that nobody uses.
struct IdleConnection {
    wire: OpenConnection,
    since: Instant,
}

/// A connection of ours, which is counted for as long as it lives.
struct OpenConnection {
    connection: PgConnection,
    counted: CountedConnection,
}

/// Why there is no connection.
enum NoConnection {
    /// The server or the role has none left.
    Full(StoreError),
    Other(StoreError),
}

/// A connection that is in use. It is closed unless it is given back.
pub(super) struct BorrowedConnection<'a> {
    pub(super) connection: PgConnection,
    counted: CountedConnection,
    home: &'a ConnectionPool,
    permit: ConnectionPermit<'a>,
}

enum ConnectionPermit<'a> {
    Writer(tokio::sync::MutexGuard<'a, Option<IdleConnection>>),
    /// Held for as long as the connection is.
    Reader(SemaphorePermit<'a>),
}

impl ConnectionPool {
    /// At most so many. None is opened yet.
    pub(super) fn new(options: PgConnectOptions, prepared: bool, most: u32) -> Self {
        let permits = (most as usize).saturating_sub(1);
        Self {
            options,
            prepared,
            writer: tokio::sync::Mutex::default(),
            readers: Mutex::default(),
            permits: Semaphore::new(permits),
            limit: Mutex::new(ReaderLimit::new(permits, Instant::now())),
            open: Arc::default(),
            silent_until: Mutex::default(),
            refuses: AtomicBool::new(false),
            broke_at: Mutex::default(),
            closed: AtomicBool::new(false),
        }
    }

    /// The connection for writing, after those who asked before.
    pub(super) async fn writer(&self) -> Result<BorrowedConnection<'_>, StoreError> {
        let mut slot = self.writer.lock().await;
        self.admit()?;
        let wire = match slot.take() {
            Some(idle) => self.probe(idle).await,
            None => None,
        };
        let wire = match wire {
            Some(wire) => wire,
            None => self.connect_writer().await?,
        };
        Ok(self.lend(wire, ConnectionPermit::Writer(slot)))
    }

    fn lend<'a>(
        &'a self,
        OpenConnection { connection, counted }: OpenConnection,
        permit: ConnectionPermit<'a>,
    ) -> BorrowedConnection<'a> {
        BorrowedConnection { connection, counted, home: self, permit }
    }

    /// A connection for reading.
    pub(super) async fn reader(&self) -> Result<BorrowedConnection<'_>, StoreError> {
        self.admit()?;
        self.regain();
        if lock(&self.limit).permits() == 0 {
            return self.writer().await;
        }
        match tokio::time::timeout(WAIT, self.permitted_reader()).await {
            Ok(Ok(Some(lent))) => Ok(lent),
            Ok(Ok(None)) => self.writer().await,
            Ok(Err(error)) => Err(error),
            Err(_) => Err(self.crowded()),
        }
    }

    /// A connection with a permit; `None` where only the writer's is to be had.
    async fn permitted_reader(&self) -> Result<Option<BorrowedConnection<'_>>, StoreError> {
        loop {
            let Ok(permit) = self.permits.acquire().await else { return Err(closed()) };
            while let Some(idle) = self.idle_reader() {
                if let Some(wire) = self.probe(idle).await {
                    return Ok(Some(self.lend(wire, ConnectionPermit::Reader(permit))));
                }
            }
            match self.connect().await {
                Ok(wire) => return Ok(Some(self.lend(wire, ConnectionPermit::Reader(permit)))),
                Err(NoConnection::Other(error)) => return Err(error),
                Err(NoConnection::Full(error)) => {
                    if !self.lose_permit(&error) {
                        return Ok(None);
                    }
                    permit.forget();
                }
            }
        }
    }

    /// The server gives no more: from now on there is a permit less, unless it is the last one.
    fn lose_permit(&self, error: &StoreError) -> bool {
        let loss = lock(&self.limit).lose(self.open.load(Ordering::Relaxed), Instant::now());
        if loss == (AfterLoss::OneFewer { is_news: true }) {
            tracing::warn!(%error, "PostgreSQL gives fewer connections than configured; those that there are do the work");
        }
        loss != AfterLoss::Last
    }

    fn regain(&self) {
        self.permits.add_permits(lock(&self.limit).regain(Instant::now()));
    }

    fn crowded(&self) -> StoreError {
        let limit = lock(&self.limit);
        let why = if limit.is_short() {
            "PostgreSQL gives no more: raise the limit of the role or of the server"
        } else {
            "raise database.max_connections"
        };
        StoreError::unavailable(format!(
            "all {} connections were in use for {} s ({why})",
            limit.permits() + 1,
            WAIT.as_secs()
        ))
    }

    /// Commits come first: where there is no connection left for them, a reader's is given up. The server takes a moment to
    /// notice. One that gives none at all is not waited for a second time: else each step of a keeper's turn would wait as long
    /// as the first.
    async fn connect_writer(&self) -> Result<OpenConnection, StoreError> {
        let waits = if self.refuses.load(Ordering::Relaxed) { Duration::ZERO } else { WAIT };
        let mut deadline = Instant::now() + waits;
        loop {
            let error = match self.connect().await {
                Ok(wire) => {
                    self.refuses.store(false, Ordering::Relaxed);
                    return Ok(wire);
                }
                Err(NoConnection::Other(error)) => return Err(error),
                Err(NoConnection::Full(error)) => error,
            };
            match self.idle_reader() {
                Some(idle) => {
                    goodbye(idle).await;
                    deadline = Instant::now() + WAIT;
                }
                None if Instant::now() >= deadline => {
                    self.refuses.store(true, Ordering::Relaxed);
                    return Err(error);
                }
                None => tokio::time::sleep(MOMENT).await,
            }
        }
    }

    async fn connect(&self) -> Result<OpenConnection, NoConnection> {
        let work = async {
            let mut connection = self.options.connect().await?;
            if self.prepared {
                connection.execute(PLANNING).await?;
            }
            Ok(connection)
        };
        match tokio::time::timeout(CONNECT_TIMEOUT, work).await {
            Ok(Ok(connection)) => {
                let counted = CountedConnection::one_of(&self.open);
                lock(&self.limit).given(self.open.load(Ordering::Relaxed));
                Ok(OpenConnection { connection, counted })
            }
            Ok(Err(error)) if is_full(&error) => Err(NoConnection::Full(explain(error))),
            Ok(Err(error)) => {
                self.note_break();
                Err(NoConnection::Other(explain(error)))
            }
            Err(_) => Err(NoConnection::Other(self.silent(CONNECT_TIMEOUT))),
        }
    }

    /// A connection that was idle, if it still works.
    async fn probe(&self, IdleConnection { mut wire, since }: IdleConnection) -> Option<OpenConnection> {
        let is_trusted = since.elapsed() < TRUSTED_FOR && lock(&self.broke_at).is_none_or(|at| at < since);
        let works = is_trusted || within(PROBE_TIMEOUT, wire.connection.ping()).await.is_ok();
        works.then_some(wire)
    }

    /// A connection broke, or none was to be had.
    pub(super) fn note_break(&self) {
        *lock(&self.broke_at) = Some(Instant::now());
    }

    fn idle_reader(&self) -> Option<IdleConnection> {
        lock(&self.readers).pop()
    }

    /// Nobody waits for a server of which somebody has just heard nothing.
    fn admit(&self) -> Result<(), StoreError> {
        if self.closed.load(Ordering::Acquire) {
            return Err(closed());
        }
        match *lock(&self.silent_until) {
            Some(until) if Instant::now() < until => Err(StoreError::unavailable("the server does not answer")),
            _ => Ok(()),
        }
    }

    /// There was no answer within this time. It may be that somebody holds a lock; a server that does not answer anybody is left
    /// in peace for a while.
    pub(super) async fn missed(&self, time: Duration) -> StoreError {
        let question = async { self.options.connect().await?.execute("SELECT 1").await };
        match tokio::time::timeout(PROBE_TIMEOUT, question).await {
            Ok(Ok(_)) => StoreError::unavailable(in_words(time)),
            // A refusal is an answer too.
            Ok(Err(error)) if error.as_database_error().is_some() => {
                StoreError::unavailable(format!("{}, and then: {}", in_words(time), explain(error)))
            }
            Ok(Err(_)) | Err(_) => self.silent(time),
        }
    }

    fn silent(&self, time: Duration) -> StoreError {
        *lock(&self.silent_until) = Some(Instant::now() + SILENCE);
        StoreError::unavailable(in_words(time))
    }

    /// Closes those that nobody uses, waits for the writer's, and gives out no more.
    pub(super) async fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.permits.close();
        let writer = self.writer.lock().await.take();
        let readers = std::mem::take(&mut *lock(&self.readers));
        futures_util::future::join_all(writer.into_iter().chain(readers).map(goodbye)).await;
    }
}

impl BorrowedConnection<'_> {
    /// Its work is done, and it can be used again.
    pub(super) fn give_back(self) {
        let Self { connection, counted, home, permit } = self;
        *lock(&home.silent_until) = None;
        if home.closed.load(Ordering::Acquire) {
            return;
        }
        let idle = IdleConnection { wire: OpenConnection { connection, counted }, since: Instant::now() };
        match permit {
            ConnectionPermit::Writer(mut slot) => *slot = Some(idle),
            ConnectionPermit::Reader(permit) => {
                let mut readers = lock(&home.readers);
                readers.retain(|other| other.since.elapsed() < IDLE_FOR);
                readers.push(idle);
                // Whoever gets the permit finds the connection.
                drop(readers);
                drop(permit);
            }
        }
    }
}

/// Closes a connection in order, so that the server need not find out.
async fn goodbye(idle: IdleConnection) {
    let _ = within(PROBE_TIMEOUT, idle.wire.connection.close()).await;
}

fn in_words(time: Duration) -> String {
    format!("no answer within {} s", time.as_secs())
}

fn closed() -> StoreError {
    StoreError::unavailable("it was closed")
}

/// Nobody panics while holding one of these locks; should it ever happen, what they guard is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
