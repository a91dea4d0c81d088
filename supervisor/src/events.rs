//! What callers ask about events.

use std::collections::VecDeque;
use std::sync::Arc;

use tokio::sync::{Mutex, watch};

use crate::context::Context;
use crate::error::SupervisorError;
use crate::view::Event;

/// Events that are kept in memory for those that listen: whoever is further behind reads the store.
const RECENT: usize = 2_000;

/// Events that are read from the store at once for them.
const BATCH: u32 = 500;

/// The events that are kept. Cloneable.
#[derive(Clone)]
pub struct Events {
    pub(crate) context: Arc<Context>,
}

/// An event, written out once for all that listen.
#[derive(Debug, PartialEq)]
pub struct EventLine {
    /// The event.
    pub event: Event,
    /// As JSON.
    pub json: String,
}

impl From<Event> for EventLine {
    fn from(event: Event) -> Self {
        let json = serde_json::to_string(&event).unwrap_or_default();
        Self { event, json }
    }
}

impl Events {
    /// Those with a number above `seq`, at most `limit`. Those that listen to the latest ones share them; the store is read once
    /// for all of them.
    pub async fn after(&self, seq: u64, limit: u32) -> Result<Vec<Arc<EventLine>>, SupervisorError> {
        {
            let mut recent = self.context.reporting.recent.0.lock().await;
            self.read_on(&mut recent).await?;
            if let Some(lines) = recent.after(seq, limit) {
                return Ok(lines);
            }
        }
        Ok(self.read(seq, limit).await?.into_iter().map(Arc::new).collect())
    }

    /// The lowest and the highest number.
    pub async fn bounds(&self) -> Result<(u64, u64), SupervisorError> {
        // What is known before the store is asked: what comes meanwhile is no sign that the store is another.
        let known = self.context.reporting.recent.0.lock().await.last;
        let bounds = self.stored_bounds().await?;
        if known.is_some_and(|last| last > bounds.1) {
            self.context.reporting.recent.0.lock().await.compare(bounds.1);
        }
        Ok(bounds)
    }

    async fn stored_bounds(&self) -> Result<(u64, u64), SupervisorError> {
        self.context.store.event_bounds().await.map_err(|error| self.context.store_failed(&error))
    }

    /// Changes whenever there may be new ones.
    pub fn signal(&self) -> watch::Receiver<u64> {
        self.context.reporting.events.subscribe()
    }

    /// Reads what has come since it was read last.
    async fn read_on(&self, recent: &mut Recent) -> Result<(), SupervisorError> {
        // Seen before the store is asked: what is written after that changes it again.
        let signal = *self.context.reporting.events.borrow();
        let Some(last) = recent.last else {
            // The first that asks: from here on.
            let (_, highest) = self.stored_bounds().await?;
            *recent = Recent { last: Some(highest), since: highest, signal: Some(signal), lines: VecDeque::new() };
            return Ok(());
        };
        if recent.signal == Some(signal) {
            return Ok(());
        }
        let new = self.read(last, BATCH).await?;
        let (is_none, is_all) = (new.is_empty(), new.len() < BATCH as usize);
        recent.signal = is_all.then_some(signal);
        recent.add(new);
        if is_none {
            recent.compare(self.stored_bounds().await?.1);
        }
        Ok(())
    }

    async fn read(&self, seq: u64, limit: u32) -> Result<Vec<EventLine>, SupervisorError> {
        let rows = self.context.store.events(seq, limit).await.map_err(|error| self.context.store_failed(&error))?;
        Ok(rows.into_iter().map(|row| EventLine::from(Event { seq: row.seq, event: row.event })).collect())
    }
}

/// The latest events, for all that listen.
#[derive(Default)]
pub(crate) struct RecentEvents(Mutex<Recent>);

#[derive(Default)]
struct Recent {
    /// The highest number that was read; none before the first question.
    last: Option<u64>,
    /// Every event with a number above this one, up to the last, is here.
    since: u64,
    /// What the signal said when all were here; none while more are stored.
    signal: Option<u64>,
    lines: VecDeque<Arc<EventLine>>,
}

impl Recent {
    fn add(&mut self, lines: Vec<EventLine>) {
        self.last = lines.last().map(|line| line.event.seq).or(self.last);
        self.lines.extend(lines.into_iter().map(Arc::new));
        while self.lines.len() > RECENT {
            self.since = self.lines.pop_front().map_or(self.since, |line| line.event.seq);
        }
    }

    /// Begins anew where the store is another, or an earlier copy of itself: this is the highest number that it has.
    fn compare(&mut self, highest: u64) {
        if self.last.is_some_and(|last| last > highest) {
            *self = Self::default();
        }
    }

    /// Those above this number; none where they are not all here, or nobody knows.
    fn after(&self, seq: u64, limit: u32) -> Option<Vec<Arc<EventLine>>> {
        let is_here = self.signal.is_some() && (self.since..=self.last?).contains(&seq);
        let first = self.lines.partition_point(|line| line.event.seq <= seq);
        is_here.then(|| self.lines.iter().skip(first).take(limit as usize).cloned().collect())
    }
}

#[cfg(test)]
mod tests {
    use muster_domain::{EventDraft, EventKind, Timestamp};

    use super::*;

    fn lines(seqs: impl IntoIterator<Item = u64>) -> Vec<EventLine> {
        let event = |seq| Event {
            seq,
            event: EventDraft {
                at: Timestamp::from_millis(0),
                kind: EventKind::AgentStarted,
                pool_name: None,
                agent_id: None,
                process_id: None,
                reason: String::new(),
            },
        };
        seqs.into_iter().map(|seq| event(seq).into()).collect()
    }

    fn seqs(found: Option<Vec<Arc<EventLine>>>) -> Option<Vec<u64>> {
        Some(found?.iter().map(|line| line.event.seq).collect())
    }

    #[test]
    fn those_that_listen_share_the_latest_and_nobody_gets_a_part_of_what_was_let_go() {
        let mut recent = Recent { last: Some(10), since: 10, signal: Some(1), ..Recent::default() };
        recent.add(lines([12, 13, 15]));
        assert_eq!(seqs(recent.after(10, 9)), Some(vec![12, 13, 15]));
        assert_eq!(seqs(recent.after(12, 1)), Some(vec![13]));
        assert_eq!(seqs(recent.after(14, 9)), Some(vec![15]), "numbers have gaps");
        assert_eq!(seqs(recent.after(15, 9)), Some(Vec::new()));
        assert_eq!((seqs(recent.after(9, 9)), seqs(recent.after(16, 9))), (None, None), "the store knows");
        recent.add(lines((0..RECENT as u64).map(|n| 100 + n)));
        assert_eq!((recent.lines.len(), recent.since), (RECENT, 15));
        assert_eq!(seqs(recent.after(14, 1)), None);
        assert_eq!(seqs(recent.after(15, 1)), Some(vec![100]));
        assert_eq!(seqs(Recent::default().after(0, 1)), None);
        let last = recent.last.expect("a number");
        recent.signal = None;
        assert_eq!(
            seqs(recent.after(last, 1)),
            None,
            "more are stored, and one that waited would not be woken for them"
        );
        recent.signal = Some(2);
        recent.compare(last);
        assert_eq!(seqs(recent.after(last, 1)), Some(Vec::new()));
        recent.compare(last - 1);
        assert_eq!(seqs(recent.after(last, 1)), None, "what is here is of another store");
    }
}
