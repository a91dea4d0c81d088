//! The reports of a worker: numbered, kept until they are settled, sent again where they may be lost.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use muster_domain::{AgentId, Epoch, Payload, PoolName, ProcessId, Report, ReportBody, Timestamp, WIRE_VERSION};
use tokio::time::Instant;

/// Reports in one call, at most.
const BATCH: usize = 256;
/// Their length in one call, in bytes and roughly, at most; a report that is longer by itself goes alone. The registry is
/// kept from others meanwhile.
const HEAVIEST: usize = 1024 * 1024;
/// From this length on what is kept is heavy, in bytes.
const HEAVY: usize = 8 * HEAVIEST;
/// The wait before unsettled reports are sent again doubles up to this multiple of the heartbeat, so that a store that
/// is away for long does not fill the stream with copies.
const LONGEST_WAIT: u32 = 16;

/// Every report that is not settled, in order.
///
/// Nothing is ever dropped before it is settled, and it is bounded nevertheless: starts and endings by the commands
/// that asked for them, which don't come while the registry is away; repeated answers and idleness by
/// [`repeat`](Self::repeat), which never keeps two of a kind.
#[derive(Debug)]
pub(crate) struct ReportOutbox {
    process_id: ProcessId,
    pool_name: PoolName,
    last: u64,
    /// The highest number that was dropped as settled. `kept` holds the numbers after it, without gaps.
    dropped: u64,
    kept: VecDeque<UnsettledReport>,
    /// The numbers of those that are to be sent with the next call: so it costs nothing to know, however many are kept.
    due: BTreeSet<u64>,
    /// The sum of what is kept.
    weight: usize,
    heartbeat: Duration,
    wait: Duration,
}

#[derive(Debug)]
struct UnsettledReport {
    report: Report,
    /// How long it is on the wire, roughly.
    weight: usize,
    sent_at: Option<Instant>,
}

impl ReportOutbox {
    pub(crate) fn new(process_id: ProcessId, pool_name: PoolName, heartbeat: Duration) -> Self {
        let (kept, due) = (VecDeque::new(), BTreeSet::new());
        Self { process_id, pool_name, last: 0, dropped: 0, kept, due, weight: 0, heartbeat, wait: heartbeat }
    }

    /// The number of the latest report.
    pub(crate) const fn last(&self) -> u64 {
        self.last
    }

    /// The number up to which reports were dropped as settled.
    pub(crate) const fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Whether everything is settled.
    pub(crate) fn is_settled(&self) -> bool {
        self.kept.is_empty()
    }

    /// Whether so much is kept that it is time to ask what of it is settled.
    pub(crate) const fn is_heavy(&self) -> bool {
        self.weight > HEAVY
    }

    /// Whether something is to be sent.
    pub(crate) fn is_due(&self) -> bool {
        !self.due.is_empty()
    }

    /// Numbers a report, keeps it, and says its number.
    pub(crate) fn put(&mut self, body: ReportBody, at: Timestamp) -> u64 {
        self.last += 1;
        let report = Report {
            v: WIRE_VERSION,
            process_id: self.process_id,
            pool_name: self.pool_name.clone(),
            seq: self.last,
            at,
            body,
        };
        let weight = weight_of(&report.body);
        self.weight += weight;
        self.kept.push_back(UnsettledReport { report, weight, sent_at: None });
        self.due.insert(self.last);
        self.last
    }

    /// Says something again: where a report of the same kind about the same epoch is still kept, that one is sent
    /// again; otherwise this is a new report, and its number is the answer.
    pub(crate) fn repeat(&mut self, body: ReportBody, at: Timestamp) -> Option<u64> {
        let same = self.kept.iter().rev().find(|kept| tells_the_same(&kept.report.body, &body));
        match same {
            Some(kept) => {
                self.due.insert(kept.report.seq);
                None
            }
            None => Some(self.put(body, at)),
        }
    }

    /// The report of this number is to be sent again, where it is kept.
    pub(crate) fn resend(&mut self, seq: u64) {
        if self.find(seq).is_some() {
            self.due.insert(seq);
        }
    }

    /// Takes the next reports to send, in order. They stay kept; [`sent`](Self::sent) or [`failed`](Self::failed) says
    /// how it went.
    pub(crate) fn take(&mut self) -> Vec<Report> {
        let (mut batch, mut weight) = (Vec::new(), 0);
        while batch.len() < BATCH
            && let Some(seq) = self.due.first().copied()
        {
            let Some(kept) = self.find(seq) else { break };
            weight += kept.weight;
            if weight > HEAVIEST && !batch.is_empty() {
                break;
            }
            batch.push(kept.report.clone());
            // Not due from now on: if it becomes due again while the call is under way (a flush), that must last.
            self.due.remove(&seq);
        }
        batch
    }

    /// These reports are on the stream.
    pub(crate) fn sent(&mut self, reports: &[Report], now: Instant) {
        for report in reports {
            if let Some(kept) = self.find(report.seq) {
                kept.sent_at = Some(now);
            }
        }
    }

    /// These reports may not be on the stream.
    pub(crate) fn failed(&mut self, reports: &[Report]) {
        for report in reports {
            self.resend(report.seq);
        }
    }

    /// Drops what is settled.
    pub(crate) fn settle(&mut self, up_to: u64) {
        while let Some(kept) = self.kept.pop_front_if(|kept| kept.report.seq <= up_to) {
            self.weight -= kept.weight;
            self.wait = self.heartbeat;
        }
        while self.due.first().is_some_and(|seq| *seq <= up_to) {
            self.due.pop_first();
        }
        self.dropped = self.dropped.max(up_to.min(self.last));
    }

    /// Everything that is kept is to be sent again: what was sent before may be lost.
    pub(crate) fn resend_all(&mut self) {
        self.due.extend(self.kept.iter().map(|kept| kept.report.seq));
    }

    /// What was sent and is not settled for longer than one heartbeat is to be sent again, then with doubling waits.
    /// To be called after a beat's answer, which is the only way to learn what is settled.
    pub(crate) fn resend_overdue(&mut self, now: Instant) {
        let wait = self.wait;
        let overdue = self.kept.iter().filter(|kept| kept.sent_at.is_some_and(|sent| now - sent > wait));
        let overdue: Vec<u64> = overdue.map(|kept| kept.report.seq).collect();
        if !overdue.is_empty() {
            self.wait = wait.saturating_mul(2).min(self.heartbeat.saturating_mul(LONGEST_WAIT));
        }
        self.due.extend(overdue);
    }

    fn find(&mut self, seq: u64) -> Option<&mut UnsettledReport> {
        let first = self.kept.front()?.report.seq;
        let index = usize::try_from(seq.checked_sub(first)?).ok()?;
        self.kept.get_mut(index)
    }
}

/// The agent and epoch that a report is about.
pub(crate) const fn subject(body: &ReportBody) -> Option<(AgentId, Epoch)> {
    match body {
        ReportBody::Started { agent_id, epoch, .. }
        | ReportBody::Ended { agent_id, epoch, .. }
        | ReportBody::Refused { agent_id, epoch, .. }
        | ReportBody::IdleTooLong { agent_id, epoch } => Some((*agent_id, *epoch)),
        ReportBody::Ready | ReportBody::Probed { .. } | ReportBody::Tasks { .. } => None,
    }
}

/// How long a report is on the wire, roughly: what others say in it, and some for the rest.
fn weight_of(body: &ReportBody) -> usize {
    const FRAME: usize = 200;
    let ReportBody::Tasks { begun, over } = body else { return FRAME };
    let outputs: usize = over.iter().filter_map(|over| over.output.as_ref()).map(Payload::len).sum();
    let words: usize = over.iter().map(|over| over.last_output.len()).sum();
    outputs + words + FRAME * (1 + over.len()) + FRAME / 2 * begun.len()
}

fn tells_the_same(kept: &ReportBody, new: &ReportBody) -> bool {
    std::mem::discriminant(kept) == std::mem::discriminant(new)
        && match (kept, new) {
            (ReportBody::Probed { command_id: old }, ReportBody::Probed { command_id: new }) => old == new,
            _ => subject(kept) == subject(new),
        }
}

#[cfg(test)]
mod tests {
    use muster_domain::{AttemptEnd, TaskId, TaskOver, Usage};

    use super::*;

    const BEAT: Duration = Duration::from_secs(2);

    fn outbox() -> ReportOutbox {
        ReportOutbox::new(ProcessId::generate(), "p".parse().expect("a name"), BEAT)
    }

    fn started(agent_id: AgentId) -> ReportBody {
        ReportBody::Started { agent_id, epoch: Epoch(1), pid: None }
    }

    fn put(outbox: &mut ReportOutbox, count: usize) {
        for _ in 0..count {
            outbox.put(started(AgentId::generate()), Timestamp::now());
        }
    }

    fn numbers(reports: &[Report]) -> Vec<u64> {
        reports.iter().map(|report| report.seq).collect()
    }

    #[test]
    fn reports_are_numbered_from_one_and_sent_once() {
        let (mut outbox, now) = (outbox(), Instant::now());
        put(&mut outbox, 3);
        let batch = outbox.take();
        assert_eq!(numbers(&batch), [1, 2, 3]);
        put(&mut outbox, 1);
        outbox.sent(&batch, now);
        assert_eq!(numbers(&outbox.take()), [4], "what came during the call goes with the next one");
        assert!(!outbox.is_due());
    }

    #[test]
    fn what_is_settled_is_dropped_and_never_sent_again() {
        let (mut outbox, now) = (outbox(), Instant::now());
        put(&mut outbox, 3);
        let batch = outbox.take();
        outbox.sent(&batch, now);
        outbox.settle(2);
        assert_eq!((outbox.dropped(), outbox.last(), outbox.is_settled()), (2, 3, false));
        outbox.resend_all();
        assert_eq!(numbers(&outbox.take()), [3]);
        outbox.settle(99);
        assert_eq!(
            (outbox.dropped(), outbox.is_settled()),
            (3, true),
            "a number from nowhere drops only what there is"
        );
    }

    #[test]
    fn a_failed_call_loses_nothing_and_keeps_the_order() {
        let (mut outbox, now) = (outbox(), Instant::now());
        put(&mut outbox, 2);
        let batch = outbox.take();
        put(&mut outbox, 1);
        outbox.failed(&batch);
        let batch = outbox.take();
        assert_eq!(numbers(&batch), [1, 2, 3]);
        // A flush while the call is under way: it may have been written before the flush.
        outbox.resend_all();
        outbox.sent(&batch, now);
        assert_eq!(numbers(&outbox.take()), [1, 2, 3]);
    }

    #[test]
    fn what_stays_unsettled_is_sent_again_with_growing_waits() {
        let (mut outbox, start) = (outbox(), Instant::now());
        put(&mut outbox, 1);
        let mut resent = Vec::new();
        for beat in 0..40 {
            let now = start + BEAT * beat;
            outbox.resend_overdue(now);
            if outbox.is_due() {
                let batch = outbox.take();
                outbox.sent(&batch, now);
                resent.push(beat);
            }
        }
        assert_eq!(resent, [0, 2, 5, 10, 19, 36]);
    }

    #[test]
    fn a_repeated_answer_is_kept_once() {
        let (mut outbox, now, agent) = (outbox(), Instant::now(), AgentId::generate());
        outbox.put(started(agent), Timestamp::now());
        let batch = outbox.take();
        outbox.sent(&batch, now);
        assert_eq!(outbox.repeat(started(agent), Timestamp::now()), None);
        assert_eq!(numbers(&outbox.take()), [1], "the one that is kept goes out again");
        outbox.settle(1);
        assert_eq!(outbox.repeat(started(agent), Timestamp::now()), Some(2));
        let ended = ReportBody::IdleTooLong { agent_id: agent, epoch: Epoch(1) };
        assert_eq!(outbox.repeat(ended, Timestamp::now()), Some(3), "another kind is another report");
    }

    #[test]
    fn a_call_carries_a_bounded_length_and_a_longer_report_alone() {
        let mut outbox = outbox();
        for length in [HEAVIEST / 2, HEAVIEST / 3, HEAVIEST * 2, 10] {
            let over = TaskOver {
                task_id: TaskId::generate(),
                attempt: 1,
                end: AttemptEnd::Succeeded,
                output: Some(Payload::quoted(&"x".repeat(length))),
                last_output: String::new(),
                usage: Usage::default(),
            };
            outbox.put(ReportBody::Tasks { begun: Vec::new(), over: vec![over] }, Timestamp::now());
        }
        let calls: Vec<_> = std::iter::from_fn(|| outbox.is_due().then(|| numbers(&outbox.take()))).collect();
        assert_eq!(calls, [vec![1, 2], vec![3], vec![4]]);
        assert!(outbox.weight > 2 * HEAVIEST && !outbox.is_heavy());
        outbox.resend(2);
        outbox.settle(1);
        outbox.resend(1);
        assert_eq!(numbers(&outbox.take()), [2], "what is settled is not kept");
        outbox.settle(4);
        assert_eq!(outbox.weight, 0);
    }

    #[test]
    fn a_call_carries_a_bounded_number() {
        let mut outbox = outbox();
        put(&mut outbox, BATCH + 1);
        assert_eq!(outbox.take().len(), BATCH);
        assert_eq!(outbox.take().len(), 1);
    }
}
