//! What a worker remembers of attempts that are over. This is what makes an order that is sent again, doubled or late
//! harmless, and where the ends wait until they are reported.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use muster_domain::TaskOver;
use tokio::time::Instant;

use super::AttemptId;

/// Ends in one report, at most.
pub(super) const OVER_AT_ONCE: usize = 512;
/// Output that one report carries, in bytes, at most; what is longer by itself travels alone.
pub(super) const OUTPUT_AT_ONCE: usize = 256 * 1024;
/// Settled ends that are remembered, at most.
const KEPT: usize = 65_536;

/// An attempt that is over.
#[derive(Debug)]
struct OverRecord {
    over: TaskOver,
    /// The number of the report that tells it, where there is one.
    said: Option<u64>,
}

/// The ends of all attempts.
///
/// It is bounded: an end is dropped when its report was settled some time ago. A settled report means that the leader has
/// committed that end, so no leader orders that attempt again, and what is left is an order that was on its way at that
/// moment.
#[derive(Debug)]
pub(super) struct PastAttempts {
    records: HashMap<AttemptId, OverRecord>,
    /// Those that are to be reported, in order.
    unsaid: VecDeque<AttemptId>,
    /// Those that were reported and are not settled, by the number of their report.
    said: VecDeque<(u64, AttemptId)>,
    /// Those that are settled, since when.
    settled: VecDeque<(Instant, u64, AttemptId)>,
    settled_up_to: u64,
    /// How long a settled one is remembered.
    grace: Duration,
}

/// What becomes of an answer that is wanted again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It goes with the next report.
    Soon,
    /// It is in the report of this number, which is kept.
    Report(u64),
}

impl PastAttempts {
    pub(super) fn new(grace: Duration) -> Self {
        Self {
            records: HashMap::new(),
            unsaid: VecDeque::new(),
            said: VecDeque::new(),
            settled: VecDeque::new(),
            settled_up_to: 0,
            grace,
        }
    }

    /// Whether something is to be reported.
    pub(super) fn has_news(&self) -> bool {
        !self.unsaid.is_empty()
    }

    /// An attempt is over. It is reported once, and whenever somebody asks again.
    pub(super) fn put(&mut self, over: TaskOver) {
        let id = AttemptId { task_id: over.task_id, attempt: over.attempt };
        self.records.insert(id, OverRecord { over, said: None });
        self.unsaid.push_back(id);
    }

    /// Sees to it that the end of this attempt is told again, where it is known.
    pub(super) fn repeat(&mut self, id: AttemptId) -> Option<Repeat> {
        let record = self.records.get_mut(&id)?;
        match record.said {
            Some(seq) if seq > self.settled_up_to => return Some(Repeat::Report(seq)),
            Some(_) => {
                record.said = None;
                self.unsaid.push_back(id);
            }
            None => {}
        }
        Some(Repeat::Soon)
    }

    /// Takes the next ends to report, in order and bounded, for the report with this number.
    pub(super) fn take(&mut self, seq: u64) -> Vec<TaskOver> {
        let mut overs = Vec::with_capacity(self.unsaid.len().min(OVER_AT_ONCE));
        let mut bytes = 0;
        while overs.len() < OVER_AT_ONCE
            && let Some(id) = self.unsaid.front()
        {
            if let Some(record) = self.records.get_mut(id) {
                bytes += record.over.output.as_ref().map_or(0, |output| output.len()) + record.over.last_output.len();
                if bytes > OUTPUT_AT_ONCE && !overs.is_empty() {
                    break;
                }
                record.said = Some(seq);
                self.said.push_back((seq, *id));
                overs.push(record.over.clone());
            }
            self.unsaid.pop_front();
        }
        overs
    }

    /// Reports up to this number are settled.
    pub(super) fn settle(&mut self, up_to: u64, now: Instant) {
        self.settled_up_to = self.settled_up_to.max(up_to);
        while let Some((seq, id)) = self.said.pop_front_if(|(seq, _)| *seq <= up_to) {
            let Some(record) = self.records.get_mut(&id).filter(|record| record.said == Some(seq)) else { continue };
            // The master has them; a repeated answer does without.
            (record.over.output, record.over.last_output) = (None, String::new());
            self.settled.push_back((now, seq, id));
        }
        while let Some((since, seq, id)) = self.settled.front().copied() {
            if self.settled.len() <= KEPT && now.saturating_duration_since(since) < self.grace {
                break;
            }
            self.settled.pop_front();
            if self.records.get(&id).is_some_and(|record| record.said == Some(seq)) {
                self.records.remove(&id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use muster_domain::{AttemptEnd, Payload, TaskId, Usage};

    use super::*;

    const GRACE: Duration = Duration::from_secs(4);

    fn over(output: usize) -> TaskOver {
        TaskOver {
            task_id: TaskId::generate(),
            attempt: 1,
            end: AttemptEnd::Succeeded,
            output: Some(Payload::quoted(&"x".repeat(output))),
            last_output: String::new(),
            usage: Usage::default(),
        }
    }

    fn id(over: &TaskOver) -> AttemptId {
        AttemptId { task_id: over.task_id, attempt: over.attempt }
    }

    #[test]
    fn an_end_is_repeated_by_its_report_while_that_is_kept_and_by_a_new_one_after() {
        let (mut past, now, over) = (PastAttempts::new(GRACE), Instant::now(), over(10));
        assert_eq!(past.repeat(id(&over)), None);
        past.put(over.clone());
        assert_eq!(past.repeat(id(&over)), Some(Repeat::Soon));
        assert_eq!(past.take(7), std::slice::from_ref(&over), "once, though it was asked for twice");
        assert_eq!(past.repeat(id(&over)), Some(Repeat::Report(7)));
        past.settle(7, now);
        assert_eq!((past.repeat(id(&over)), past.repeat(id(&over))), (Some(Repeat::Soon), Some(Repeat::Soon)));
        assert_eq!(past.take(8), [TaskOver { output: None, ..over.clone() }], "the master has its output");
        // The first report's time is over, and that of the second is not.
        past.settle(7, now + GRACE * 2);
        assert_eq!(past.repeat(id(&over)), Some(Repeat::Report(8)));
        past.settle(8, now + GRACE * 2);
        past.settle(8, now + GRACE * 3);
        assert_eq!(past.repeat(id(&over)), None);
        assert!(past.records.is_empty() && past.said.is_empty() && past.settled.is_empty());
    }

    #[test]
    fn what_is_not_settled_is_never_dropped_and_what_is_settled_is_bounded() {
        let (mut past, now) = (PastAttempts::new(GRACE), Instant::now());
        for _ in 0..KEPT + 100 {
            past.put(over(0));
        }
        let mut seq = 0;
        while past.has_news() {
            seq += 1;
            assert!(past.take(seq).len() <= OVER_AT_ONCE);
        }
        past.settle(0, now + GRACE * 9);
        assert_eq!(past.records.len(), KEPT + 100);
        past.settle(seq, now);
        assert_eq!((past.records.len(), past.settled.len()), (KEPT, KEPT));
    }

    #[test]
    fn a_report_carries_a_bounded_length_and_a_longer_output_alone() {
        let mut past = PastAttempts::new(GRACE);
        for length in [OUTPUT_AT_ONCE / 2, OUTPUT_AT_ONCE / 3, OUTPUT_AT_ONCE * 2, 1, 1] {
            past.put(over(length));
        }
        let mut taken = Vec::new();
        while past.has_news() {
            taken.push(past.take(1).len());
        }
        assert_eq!(taken, [2, 1, 2]);
    }
}
