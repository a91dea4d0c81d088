//! The connections that are open: how many may be, what each of them does, and which one goes first.
//!
//! A connection is *idle* between two requests, in its *head* while a request begins, and *busy* from there until its
//! answer was given. Only the first two have a bound in time, and only they are closed for others. So a stream of
//! events, a log that is followed, a request that waits and a body that comes slowly are never cut for being long.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

/// How long a connection is idle before it gives its buffers back.
const REST: Duration = Duration::from_millis(500);
/// Of the connections that wait this part is closed at once where room is needed: looking for one costs a look at all.
const SHARE: usize = 32;
/// How long to wait for one that was told to leave before another one is asked.
const PATIENCE: Duration = Duration::from_millis(250);
/// How long a refusal counts as one of now.
const LATELY: Duration = Duration::from_secs(30);

/// What a connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionPhase {
    /// Nothing comes and nothing is answered.
    Idle,
    /// The beginning of a request came, and its head is not whole.
    Head,
    /// A request is being answered.
    Busy,
}

/// What a connection is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ConnectionOrder {
    /// To give back what it holds only to be quick.
    Rest,
    /// To end, unless a request has come meanwhile.
    Leave,
}

const NONE: u8 = 0;
const REST_ORDER: u8 = 1;
const LEAVE_ORDER: u8 = 2;

/// One connection, as the others see it. Only the task of the connection changes what it does.
pub(crate) struct Connection {
    begun: Instant,
    /// What it does in the lowest two bits, above them since when, in milliseconds: one number, so that nobody reads half.
    phase: AtomicU64,
    order: AtomicU8,
    ordered: Notify,
    /// Whether it rests.
    rests: AtomicBool,
    /// Whether its client has shown a key that is known.
    known: AtomicBool,
    /// Whether it has something to write that its client does not take.
    blocked: AtomicBool,
    /// Whether its last request was answered before its body had come to its end.
    unread: AtomicBool,
}

impl Connection {
    fn new(begun: Instant) -> Self {
        let connection = Self {
            begun,
            phase: AtomicU64::new(0),
            order: AtomicU8::new(NONE),
            ordered: Notify::new(),
            rests: AtomicBool::new(true),
            known: AtomicBool::new(false),
            blocked: AtomicBool::new(false),
            unread: AtomicBool::new(false),
        };
        connection.enter(ConnectionPhase::Idle);
        connection
    }

    /// One that belongs to no others.
    pub(crate) fn alone() -> Arc<Self> {
        Arc::new(Self::new(Instant::now()))
    }

    /// It does something else from now on.
    pub(crate) fn enter(&self, phase: ConnectionPhase) {
        let bits = match phase {
            ConnectionPhase::Idle => 0,
            ConnectionPhase::Head => 1,
            ConnectionPhase::Busy => 2,
        };
        self.phase.store((self.begun.elapsed().as_millis() as u64) << 2 | bits, Relaxed);
    }

    /// What it does, and for how long.
    pub(crate) fn phase(&self) -> (ConnectionPhase, Duration) {
        let value = self.phase.load(Relaxed);
        let phase = match value & 3 {
            0 => ConnectionPhase::Idle,
            1 => ConnectionPhase::Head,
            _ => ConnectionPhase::Busy,
        };
        (phase, self.begun.elapsed().saturating_sub(Duration::from_millis(value >> 2)))
    }

    /// Bytes came.
    pub(crate) fn heard(&self) {
        if self.phase().0 == ConnectionPhase::Idle {
            self.enter(ConnectionPhase::Head);
        }
    }

    /// Its client has shown a key that is known.
    pub(crate) fn recognise(&self) {
        self.known.store(true, Relaxed);
    }

    /// Whether its client takes nothing of what is to be written.
    pub(crate) fn set_blocked(&self, blocked: bool) {
        self.blocked.store(blocked, Relaxed);
    }

    /// Whether more may come of a request that was answered.
    pub(crate) fn set_unread(&self, unread: bool) {
        self.unread.store(unread, Relaxed);
    }

    /// Whether more may come of a request that was answered.
    pub(crate) fn is_unread(&self) -> bool {
        self.unread.load(Relaxed)
    }

    /// Whether it rests.
    pub(crate) fn set_resting(&self, rests: bool) {
        self.rests.store(rests, Relaxed);
    }

    fn tell(&self, order: ConnectionOrder) {
        self.order.store(if order == ConnectionOrder::Leave { LEAVE_ORDER } else { REST_ORDER }, Relaxed);
        self.ordered.notify_one();
    }

    /// Waits for an order that still holds: who was told to rest or to leave may have got a request meanwhile.
    pub(crate) async fn order(&self) -> ConnectionOrder {
        loop {
            self.ordered.notified().await;
            let (order, phase) = (self.order.swap(NONE, Relaxed), self.phase().0);
            match order {
                LEAVE_ORDER if phase != ConnectionPhase::Busy => return ConnectionOrder::Leave,
                // What was not written yet would be lost with the buffer.
                REST_ORDER if phase == ConnectionPhase::Idle && !self.blocked.load(Relaxed) => {
                    return ConnectionOrder::Rest;
                }
                _ => {}
            }
        }
    }

    fn leaves(&self) -> bool {
        self.order.load(Relaxed) == LEAVE_ORDER
    }
}

/// How many connections there may be, and how long each may wait.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ConnectionLimits {
    pub(crate) most: usize,
    pub(crate) head: Duration,
    pub(crate) idle: Duration,
}

/// All connections.
pub(crate) struct Connections {
    begun: Instant,
    bounds: ConnectionLimits,
    taken: Mutex<HashMap<u64, Arc<Connection>>>,
    next: AtomicU64,
    /// Told each time that one is free again.
    freed: Notify,
    /// When somebody was refused last.
    refused: Mutex<Option<Instant>>,
}

/// A connection that is counted until this is dropped.
pub(crate) struct ConnectionGuard {
    connections: Arc<Connections>,
    number: u64,
    pub(crate) connection: Arc<Connection>,
}

impl Drop for ConnectionGuard {
    fn drop(&mut self) {
        self.connections.taken().remove(&self.number);
        self.connections.freed.notify_one();
    }
}

impl Connections {
    /// No connections yet.
    pub(crate) fn new(bounds: ConnectionLimits) -> Arc<Self> {
        Arc::new(Self {
            begun: Instant::now(),
            bounds,
            taken: Mutex::default(),
            next: AtomicU64::new(0),
            freed: Notify::new(),
            refused: Mutex::new(None),
        })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<u64, Arc<Connection>>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many connections are open.
    pub(crate) fn count(&self) -> usize {
        self.taken().len()
    }

    /// How many may be.
    pub(crate) const fn most(&self) -> usize {
        self.bounds.most
    }

    /// Takes one more connection, if there is room.
    pub(crate) fn try_take(self: &Arc<Self>) -> Option<ConnectionGuard> {
        let mut taken = self.taken();
        if taken.len() >= self.bounds.most {
            return None;
        }
        let number = self.next.fetch_add(1, Relaxed);
        let connection = Arc::new(Connection::new(self.begun));
        taken.insert(number, Arc::clone(&connection));
        Some(ConnectionGuard { connections: Arc::clone(self), number, connection })
    }

    /// Takes one more, if need be by closing one that waits. `None` where every connection is busy.
    pub(crate) async fn take(self: &Arc<Self>) -> Option<ConnectionGuard> {
        loop {
            if let Some(taken) = self.try_take() {
                return Some(taken);
            }
            if !self.make_room() {
                *self.refused.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
                return None;
            }
            // One that is told to leave may get a request in that moment, and stays: nobody is waited for without end.
            let _ = timeout(PATIENCE, self.freed.notified()).await;
        }
    }

    /// Whether somebody was refused lately.
    pub(crate) fn is_crowded(&self) -> bool {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner).is_some_and(|at| at.elapsed() < LATELY)
    }

    /// Tells those that have waited longest to leave, those without a known key first. Says whether anybody leaves.
    fn make_room(&self) -> bool {
        let taken = self.taken();
        let mut waiting: Vec<(bool, Duration, &Arc<Connection>)> = Vec::new();
        let mut leaving = false;
        for connection in taken.values() {
            let (phase, time) = connection.phase();
            leaving |= connection.leaves();
            if phase != ConnectionPhase::Busy && !connection.leaves() {
                waiting.push((connection.known.load(Relaxed), time, connection));
            }
        }
        if waiting.is_empty() || leaving {
            return leaving;
        }
        let count = (waiting.len() / SHARE).max(1);
        waiting.select_nth_unstable_by_key(count - 1, |(known, time, _)| (*known, std::cmp::Reverse(*time)));
        for (.., connection) in &waiting[..count] {
            connection.tell(ConnectionOrder::Leave);
        }
        true
    }

    /// Looks at every connection: what has waited too long is told to leave, what is idle to rest. Says how many were told.
    pub(crate) fn sweep(&self) -> usize {
        let mut told = 0;
        for connection in self.taken().values() {
            let order = match connection.phase() {
                (ConnectionPhase::Head, time) if time >= self.bounds.head => ConnectionOrder::Leave,
                (ConnectionPhase::Idle, time) if time >= self.bounds.idle => ConnectionOrder::Leave,
                (ConnectionPhase::Idle, time) if time >= REST && !connection.rests.load(Relaxed) => {
                    ConnectionOrder::Rest
                }
                _ => continue,
            };
            connection.tell(order);
            told += 1;
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connections(most: usize) -> Arc<Connections> {
        let (head, idle) = (Duration::from_secs(20), Duration::from_secs(75));
        Connections::new(ConnectionLimits { most, head, idle })
    }

    async fn pass(time: Duration) {
        tokio::time::advance(time).await;
    }

    async fn told(connection: &ConnectionGuard) -> Option<ConnectionOrder> {
        tokio::time::timeout(Duration::ZERO, connection.connection.order()).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_leaves_and_who_is_busy_stays() {
        let connections = connections(9);
        let [idle, head, busy] = [(); 3].map(|()| connections.try_take().expect("room for one more"));
        head.connection.heard();
        busy.connection.heard();
        busy.connection.enter(ConnectionPhase::Busy);
        pass(Duration::from_secs(21)).await;
        // More of a head does not begin its time anew.
        head.connection.heard();
        connections.sweep();
        assert_eq!(
            (told(&idle).await, told(&head).await, told(&busy).await),
            (None, Some(ConnectionOrder::Leave), None)
        );
        pass(Duration::from_secs(3600)).await;
        connections.sweep();
        assert_eq!((told(&idle).await, told(&busy).await), (Some(ConnectionOrder::Leave), None));
        drop(head);
        assert_eq!(connections.count(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_without_a_key_makes_room() {
        let connections = connections(3);
        let known = connections.try_take().expect("room for one more");
        known.connection.recognise();
        pass(Duration::from_secs(5)).await;
        let old = connections.try_take().expect("room for one more");
        pass(Duration::from_secs(5)).await;
        let young = connections.try_take().expect("room for one more");
        assert!(connections.try_take().is_none());
        let leaves = async {
            assert_eq!(old.connection.order().await, ConnectionOrder::Leave);
            drop(old);
        };
        let (next, ()) = tokio::join!(connections.take(), leaves);
        assert!(next.is_some() && !connections.is_crowded());
        assert_eq!((told(&known).await, told(&young).await), (None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_are_busy_the_next_is_refused() {
        let connections = connections(1);
        let busy = connections.try_take().expect("room for one more");
        busy.connection.enter(ConnectionPhase::Busy);
        assert!(connections.take().await.is_none());
        assert!(connections.is_crowded());
        pass(LATELY).await;
        assert!(!connections.is_crowded());
        drop(busy);
        assert!(connections.take().await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_that_comes_too_late_is_dropped() {
        let connections = connections(1);
        let connection = connections.try_take().expect("room for one more");
        connection.connection.tell(ConnectionOrder::Leave);
        connection.connection.enter(ConnectionPhase::Busy);
        assert_eq!(told(&connection).await, None);
        connection.connection.enter(ConnectionPhase::Idle);
        connection.connection.set_resting(false);
        connection.connection.set_blocked(true);
        pass(REST).await;
        assert_eq!((connections.sweep(), told(&connection).await), (1, None), "what is still to be written is kept");
        connection.connection.set_blocked(false);
        assert_eq!((connections.sweep(), told(&connection).await), (1, Some(ConnectionOrder::Rest)));
        connection.connection.set_resting(true);
        assert_eq!(connections.sweep(), 0);
    }
}
