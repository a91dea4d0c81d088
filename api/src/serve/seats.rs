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
pub(crate) enum Phase {
    /// Nothing comes and nothing is answered.
    Idle,
    /// The beginning of a request came, and its head is not whole.
    Head,
    /// A request is being answered.
    Busy,
}

/// What a connection is told to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// To give back what it holds only to be quick.
    Rest,
    /// To end, unless a request has come meanwhile.
    Leave,
}

const NONE: u8 = 0;
const REST_ORDER: u8 = 1;
const LEAVE_ORDER: u8 = 2;

/// One connection, as the others see it. Only the task of the connection changes what it does.
pub(crate) struct Seat {
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

impl Seat {
    fn new(begun: Instant) -> Self {
        let seat = Self {
            begun,
            phase: AtomicU64::new(0),
            order: AtomicU8::new(NONE),
            ordered: Notify::new(),
            rests: AtomicBool::new(true),
            known: AtomicBool::new(false),
            blocked: AtomicBool::new(false),
            unread: AtomicBool::new(false),
        };
        seat.enter(Phase::Idle);
        seat
    }

    /// One that belongs to no others.
    pub(crate) fn alone() -> Arc<Self> {
        Arc::new(Self::new(Instant::now()))
    }

    /// It does something else from now on.
    pub(crate) fn enter(&self, phase: Phase) {
        let bits = match phase {
            Phase::Idle => 0,
            Phase::Head => 1,
            Phase::Busy => 2,
        };
        self.phase.store((self.begun.elapsed().as_millis() as u64) << 2 | bits, Relaxed);
    }

    /// What it does, and for how long.
    pub(crate) fn phase(&self) -> (Phase, Duration) {
        let value = self.phase.load(Relaxed);
        let phase = match value & 3 {
            0 => Phase::Idle,
            1 => Phase::Head,
            _ => Phase::Busy,
        };
        (phase, self.begun.elapsed().saturating_sub(Duration::from_millis(value >> 2)))
    }

    /// Bytes came.
    pub(crate) fn heard(&self) {
        if self.phase().0 == Phase::Idle {
            self.enter(Phase::Head);
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

    fn tell(&self, order: Order) {
        self.order.store(if order == Order::Leave { LEAVE_ORDER } else { REST_ORDER }, Relaxed);
        self.ordered.notify_one();
    }

    /// Waits for an order that still holds: who was told to rest or to leave may have got a request meanwhile.
    pub(crate) async fn order(&self) -> Order {
        loop {
            self.ordered.notified().await;
            let (order, phase) = (self.order.swap(NONE, Relaxed), self.phase().0);
            match order {
                LEAVE_ORDER if phase != Phase::Busy => return Order::Leave,
                // What was not written yet would be lost with the buffer.
                REST_ORDER if phase == Phase::Idle && !self.blocked.load(Relaxed) => return Order::Rest,
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
pub(crate) struct Bounds {
    pub(crate) most: usize,
    pub(crate) head: Duration,
    pub(crate) idle: Duration,
}

/// All connections.
pub(crate) struct Seats {
    begun: Instant,
    bounds: Bounds,
    taken: Mutex<HashMap<u64, Arc<Seat>>>,
    next: AtomicU64,
    /// Told each time that one is free again.
    freed: Notify,
    /// When somebody was refused last.
    refused: Mutex<Option<Instant>>,
}

/// A seat that is taken until this is dropped.
pub(crate) struct Taken {
    seats: Arc<Seats>,
    number: u64,
    pub(crate) seat: Arc<Seat>,
}

impl Drop for Taken {
    fn drop(&mut self) {
        self.seats.taken().remove(&self.number);
        self.seats.freed.notify_one();
    }
}

impl Seats {
    /// No connections yet.
    pub(crate) fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self {
            begun: Instant::now(),
            bounds,
            taken: Mutex::default(),
            next: AtomicU64::new(0),
            freed: Notify::new(),
            refused: Mutex::new(None),
        })
    }

    fn taken(&self) -> MutexGuard<'_, HashMap<u64, Arc<Seat>>> {
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

    /// Takes a seat, if one is free.
    pub(crate) fn try_take(self: &Arc<Self>) -> Option<Taken> {
        let mut taken = self.taken();
        if taken.len() >= self.bounds.most {
            return None;
        }
        let number = self.next.fetch_add(1, Relaxed);
        let seat = Arc::new(Seat::new(self.begun));
        taken.insert(number, Arc::clone(&seat));
        Some(Taken { seats: Arc::clone(self), number, seat })
    }

    /// Takes a seat, if need be that of one that waits. `None` where every connection is busy.
    pub(crate) async fn take(self: &Arc<Self>) -> Option<Taken> {
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
        let mut waiting: Vec<(bool, Duration, &Arc<Seat>)> = Vec::new();
        let mut leaving = false;
        for seat in taken.values() {
            let (phase, time) = seat.phase();
            leaving |= seat.leaves();
            if phase != Phase::Busy && !seat.leaves() {
                waiting.push((seat.known.load(Relaxed), time, seat));
            }
        }
        if waiting.is_empty() || leaving {
            return leaving;
        }
        let count = (waiting.len() / SHARE).max(1);
        waiting.select_nth_unstable_by_key(count - 1, |(known, time, _)| (*known, std::cmp::Reverse(*time)));
        for (.., seat) in &waiting[..count] {
            seat.tell(Order::Leave);
        }
        true
    }

    /// Looks at every connection: what has waited too long is told to leave, what is idle to rest. Says how many were told.
    pub(crate) fn sweep(&self) -> usize {
        let mut told = 0;
        for seat in self.taken().values() {
            let order = match seat.phase() {
                (Phase::Head, time) if time >= self.bounds.head => Order::Leave,
                (Phase::Idle, time) if time >= self.bounds.idle => Order::Leave,
                (Phase::Idle, time) if time >= REST && !seat.rests.load(Relaxed) => Order::Rest,
                _ => continue,
            };
            seat.tell(order);
            told += 1;
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seats(most: usize) -> Arc<Seats> {
        let (head, idle) = (Duration::from_secs(20), Duration::from_secs(75));
        Seats::new(Bounds { most, head, idle })
    }

    async fn pass(time: Duration) {
        tokio::time::advance(time).await;
    }

    async fn told(seat: &Taken) -> Option<Order> {
        tokio::time::timeout(Duration::ZERO, seat.seat.order()).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_too_long_leaves_and_who_is_busy_stays() {
        let seats = seats(9);
        let [idle, head, busy] = [(); 3].map(|()| seats.try_take().expect("a free seat"));
        head.seat.heard();
        busy.seat.heard();
        busy.seat.enter(Phase::Busy);
        pass(Duration::from_secs(21)).await;
        // More of a head does not begin its time anew.
        head.seat.heard();
        seats.sweep();
        assert_eq!((told(&idle).await, told(&head).await, told(&busy).await), (None, Some(Order::Leave), None));
        pass(Duration::from_secs(3600)).await;
        seats.sweep();
        assert_eq!((told(&idle).await, told(&busy).await), (Some(Order::Leave), None));
        drop(head);
        assert_eq!(seats.count(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn the_longest_idle_without_a_key_makes_room() {
        let seats = seats(3);
        let known = seats.try_take().expect("a free seat");
        known.seat.recognise();
        pass(Duration::from_secs(5)).await;
        let old = seats.try_take().expect("a free seat");
        pass(Duration::from_secs(5)).await;
        let young = seats.try_take().expect("a free seat");
        assert!(seats.try_take().is_none());
        let leaves = async {
            assert_eq!(old.seat.order().await, Order::Leave);
            drop(old);
        };
        let (next, ()) = tokio::join!(seats.take(), leaves);
        assert!(next.is_some() && !seats.is_crowded());
        assert_eq!((told(&known).await, told(&young).await), (None, None));
    }

    #[tokio::test(start_paused = true)]
    async fn where_all_are_busy_the_next_is_refused() {
        let seats = seats(1);
        let busy = seats.try_take().expect("a free seat");
        busy.seat.enter(Phase::Busy);
        assert!(seats.take().await.is_none());
        assert!(seats.is_crowded());
        pass(LATELY).await;
        assert!(!seats.is_crowded());
        drop(busy);
        assert!(seats.take().await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn an_order_that_comes_too_late_is_dropped() {
        let seats = seats(1);
        let seat = seats.try_take().expect("a free seat");
        seat.seat.tell(Order::Leave);
        seat.seat.enter(Phase::Busy);
        assert_eq!(told(&seat).await, None);
        seat.seat.enter(Phase::Idle);
        seat.seat.set_resting(false);
        seat.seat.set_blocked(true);
        pass(REST).await;
        assert_eq!((seats.sweep(), told(&seat).await), (1, None), "what is still to be written is kept");
        seat.seat.set_blocked(false);
        assert_eq!((seats.sweep(), told(&seat).await), (1, Some(Order::Rest)));
        seat.seat.set_resting(true);
        assert_eq!(seats.sweep(), 0);
    }
}
