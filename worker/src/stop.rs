//! The sign by which the owner of a worker tells it to stop: a signal handler in a worker process, the launcher in
//! single-process mode.

use tokio::sync::watch;

/// Tells a worker to stop. Every clone is the same sign. A sign only ever gets more urgent.
#[derive(Clone, Debug)]
pub struct StopSign(watch::Sender<Urgency>);

/// How urgently a worker is to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Urgency {
    /// Not at all.
    None,
    /// Ask every agent, and wait for it up to its deadline.
    Drain,
    /// Kill every agent, report each end, and leave.
    Force,
    /// Be gone as if killed: no reports, no beat.
    Kill,
}

impl Default for StopSign {
    fn default() -> Self {
        Self::new()
    }
}

impl StopSign {
    /// A sign that nobody has given.
    pub fn new() -> Self {
        Self(watch::Sender::new(Urgency::None))
    }

    /// Stop: take no more agents, ask every agent to end (the stop message first, SIGTERM after a pause within the
    /// deadline), kill what is left at the deadline, and leave (SIGTERM to the worker).
    pub fn drain(&self) {
        self.raise(Urgency::Drain);
    }

    /// Stop now: kill every agent, report each ending, and leave (the second SIGTERM).
    pub fn force(&self) {
        self.raise(Urgency::Force);
    }

    /// Vanish as a worker process does under SIGKILL: every agent is killed, and nothing is reported. For in-process
    /// workers, whose master proves them dead by the return of [`run`](crate::run).
    pub fn kill(&self) {
        self.raise(Urgency::Kill);
    }

    fn raise(&self, urgency: Urgency) {
        self.0.send_if_modified(|now| {
            let more = urgency > *now;
            *now = urgency.max(*now);
            more
        });
    }

    pub(crate) fn watch(&self) -> StopWatch {
        StopWatch { sign: self.clone(), seen: self.0.subscribe(), known: Urgency::None }
    }
}

/// The worker's end of a [`StopSign`].
pub(crate) struct StopWatch {
    /// Held so that the channel never closes, and waiting on it is never busy.
    sign: StopSign,
    seen: watch::Receiver<Urgency>,
    known: Urgency,
}

impl StopWatch {
    /// Waits until the sign is more urgent than the last answer of this method. Cancel-safe.
    pub(crate) async fn changed(&mut self) -> Urgency {
        let known = self.known;
        match self.seen.wait_for(|urgency| *urgency > known).await {
            Ok(urgency) => self.known = *urgency,
            // The sender lives in `self.sign`, so the channel can't be closed.
            Err(_) => self.known = *self.sign.0.borrow(),
        }
        self.known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_sign_only_gets_more_urgent() {
        let sign = StopSign::new();
        let mut watch = sign.watch();
        sign.clone().drain();
        assert_eq!(watch.changed().await, Urgency::Drain);
        sign.force();
        sign.drain();
        assert_eq!(watch.changed().await, Urgency::Force);
        sign.kill();
        assert_eq!(watch.changed().await, Urgency::Kill);
    }

    #[tokio::test]
    async fn a_sign_given_before_anybody_watched_is_seen() {
        let sign = StopSign::new();
        sign.drain();
        assert_eq!(sign.watch().changed().await, Urgency::Drain);
    }
}
