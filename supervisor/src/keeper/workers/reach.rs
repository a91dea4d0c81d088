//! The way to a worker past the registry, and what is said where there is none.

use std::fmt;
use std::time::{Duration, Instant};

use muster_domain::{PoolName, Timestamp, counted};

use super::super::mailbox::WorkerNews;
use super::way::Unreachable;
use super::worker::PoolWorker;
use crate::directory::Mailbox;
use crate::launch::{RunningWorker, Sent};

/// How long whoever runs a worker may take to pass something on.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

impl Unreachable {
    /// As it is now. What was known of it at its beginning stays: the words change only where there is something new to say.
    pub(super) fn of(worker: &PoolWorker, pool: &PoolName, why: &str, now: Instant, at: Timestamp) -> Self {
        let heard = worker.contact.pulse.map(|pulse| pulse.heard);
        let ago = |heard| at.before(now.saturating_duration_since(heard));
        let known = worker.contact.unreachable.as_ref();
        let since = known.filter(|known| known.heard == heard).map(|known| known.since);
        let mut state = Self {
            noticed: known.map_or(now, |known| known.noticed),
            made: now,
            heard,
            since: since.unwrap_or_else(|| heard.map_or(at, ago)),
            why: why.to_owned(),
            words: String::new(),
        };
        // Only one that is to end is unreachable though it is heard.
        let is_heard_since = known.zip(heard).is_some_and(|(known, heard)| heard > known.made);
        let goes_on = worker.status.is_ending() && is_heard_since;
        state.words = UnreachableWords { state: &state, worker, pool, goes_on }.to_string();
        state
    }
}

struct UnreachableWords<'a> {
    state: &'a Unreachable,
    worker: &'a PoolWorker,
    pool: &'a PoolName,
    /// Whether it was told to end and goes on.
    goes_on: bool,
}

impl fmt::Display for UnreachableWords<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { state: Unreachable { heard, since, why, .. }, worker, pool, goes_on } = self;
        let id = worker.process_id;
        write!(f, "worker {id} of the pool {pool} ")?;
        if let Some(identity) = &worker.process.identity {
            write!(f, "({identity}) ")?;
        }
        match heard {
            Some(_) if *goes_on => write!(f, "was told to end and goes on: it was heard since, and {why}; ")?,
            Some(_) => write!(f, "is unreachable: it was last heard at {since}, and {why}; ")?,
            None => write!(f, "is unreachable: this supervisor has never heard it (noticed at {since}), and {why}; ")?,
        }
        match worker.used() {
            0 => f.write_str("it holds no agents")?,
            1 => f.write_str("its agent keeps its place and waits")?,
            agents => write!(f, "its {} keep their places and wait", counted(agents.into(), "agent"))?,
        }
        if *goes_on {
            f.write_str("; end it where it runs")?;
        }
        write!(f, "; if it is certainly dead, type `muster declare-dead {id}`")
    }
}

/// What a worker is told past the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// To drain; the second time to hurry.
    Ask,
    /// To end at once.
    Kill,
}

/// Tells a worker something beside the turn, and the keeper what came of it.
pub(super) fn tell(worker: &PoolWorker, order: Order, keeper: Mailbox) {
    let Some(process) = worker.process.way.to().cloned() else { return };
    let id = worker.process_id;
    tokio::spawn(async move {
        let sent = send(process.as_ref(), order).await;
        // A keeper that has ended tells nobody.
        drop(keeper.send(WorkerNews::Told(id, order, sent).into()));
    });
}

/// Tells a worker something, and waits for that within bounds.
pub(super) async fn send(process: &dyn RunningWorker, order: Order) -> Sent {
    let told = async {
        match order {
            Order::Ask => process.ask().await,
            Order::Kill => process.kill().await,
        }
    };
    let late = |_| Sent::Unreachable(format!("whoever runs it does not answer within {} s", ANSWER_WITHIN.as_secs()));
    tokio::time::timeout(ANSWER_WITHIN, told).await.unwrap_or_else(late)
}
