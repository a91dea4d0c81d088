//! Connections to SQLite, each on a thread of its own, since it blocks whoever calls it.
//!
//! A job is a whole transaction or a whole read: it goes to a thread once and its answer comes back once. Waking a thread
//! costs more than a small statement, so a message per statement or per row would cost more than the work.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::thread;

use rusqlite::Connection;
use tokio::sync::oneshot;

use crate::StoreError;

type ThreadJob = Box<dyn FnOnce(&mut Connection) + Send>;

/// Threads that share the jobs that come, until they are closed or dropped.
pub(super) struct Threads {
    /// None once they are closed.
    jobs: Mutex<Option<mpsc::Sender<ThreadJob>>>,
    /// One per thread; nothing is ever sent, the end says that the connection is closed.
    ends: Mutex<Vec<oneshot::Receiver<Infallible>>>,
}

impl Threads {
    /// Starts a thread per connection.
    pub(super) fn start(name: &str, connections: Vec<Connection>) -> io::Result<Self> {
        let (jobs, waiting) = mpsc::channel();
        let waiting = Arc::new(Mutex::new(waiting));
        let mut ends = Vec::with_capacity(connections.len());
        for connection in connections {
            let (ended, end) = oneshot::channel();
            let waiting = Arc::clone(&waiting);
            thread::Builder::new().name(name.to_owned()).spawn(move || {
                work(connection, &waiting);
                drop(ended);
            })?;
            ends.push(end);
        }
        Ok(Self { jobs: Mutex::new(Some(jobs)), ends: Mutex::new(ends) })
    }

    /// Has a job done. It is done to its end also where the caller stops waiting for it.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce(&mut Connection) -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let (reply, answer) = oneshot::channel();
        let job: ThreadJob = Box::new(move |connection| {
            // A caller that has gone away does not need the answer.
            let _ = reply.send(job(connection));
        });
        // The end of the statement gives the lock back before anybody waits.
        lock(&self.jobs).as_ref().ok_or_else(closed)?.send(job).map_err(|_| closed())?;
        answer.await.map_err(|_| closed())
    }

    /// Takes no more jobs, and waits until those taken are done and the connections are closed.
    pub(super) async fn close(&self) {
        lock(&self.jobs).take();
        let ends = std::mem::take(&mut *lock(&self.ends));
        for end in ends {
            let _ = end.await;
        }
    }
}

fn work(mut connection: Connection, waiting: &Mutex<mpsc::Receiver<ThreadJob>>) {
    loop {
        // One thread waits for a job while it holds the lock, the others for the lock.
        let next = lock(waiting).recv();
        match next {
            Ok(job) => job(&mut connection),
            Err(mpsc::RecvError) => return,
        }
    }
}

/// Nobody panics while holding one of these locks; should it ever happen, what they guard is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn closed() -> StoreError {
    StoreError::unavailable("it was closed")
}
