//! What the registry says of the workers: heartbeats are taken, and the living are told from the dead.

use std::time::{Duration, Instant};

use muster_domain::worker::{WorkerEnd, WorkerEvent};
use muster_domain::{Beat, EventKind, ProcessId, Refusal, Report};
use muster_policy::scaling;
use muster_policy::worker::{Bounds, Hearing, Step, next_step};

use super::super::mailbox::Voice;
use super::super::moves::Move;
use super::worker::Worker;
use super::{Pool, Round, Workers};

impl Workers {
    /// Takes what was heard of a worker. Returns its heartbeat where there is one to compare the rest with.
    pub(in crate::keeper) fn hear<'a>(&mut self, voice: &'a Voice, round: &mut Round) -> Option<&'a Beat> {
        let id = voice.heard.process_id;
        let worker = self.get_mut(id)?;
        // Its "ready" may have been heard after its beat.
        let heard_at = worker.contact.pulse.map_or(voice.at, |pulse| pulse.heard.max(voice.at));
        worker.hear(heard_at, voice.heard.beat.as_deref());
        let beat = voice.heard.beat.as_deref()?;
        self.note_heard(id, true);
        if beat.fence > self.deps.fence {
            tracing::warn!(process.id = %id, fence = beat.fence.0, "a worker has seen a later leader");
            round.is_outranked = true;
            return None;
        }
        Some(beat)
    }

    /// It is heard for the first time, or again. Says whether that is news.
    pub(in crate::keeper) fn ready(&mut self, id: ProcessId, pool: &Pool, round: &mut Round) -> bool {
        if !self.apply(id, WorkerEvent::Heard) {
            return false;
        }
        let Some(worker) = self.get_mut(id) else { return false };
        if worker.contact.pulse.is_none() {
            // It beat before it said so, but news of the registry that were read before that beat may come after this.
            // Its silence counts from now, not from when the listening began.
            worker.hear(round.now, None);
        }
        tracing::info!(process.id = %id, pool.name = %pool.spec.pool_name, "a worker is ready");
        round.touched.extend(worker.held.iter().copied());
        round.notes.push(pool.worker_event(EventKind::WorkerReady, id, round.at, String::new()));
        true
    }

    /// It ends by itself.
    pub(in crate::keeper) fn drains(&mut self, id: ProcessId, now: Instant) {
        self.apply(id, WorkerEvent::DrainOrdered(now));
    }

    /// It refused a command.
    pub(in crate::keeper) fn refused(&mut self, id: ProcessId, refusal: Refusal, round: &mut Round) {
        match refusal {
            Refusal::StaleFence { seen } if seen > self.deps.fence => round.is_outranked = true,
            // It was a leader before this one that was refused; but for the worker that epoch is over.
            Refusal::StaleFence { .. } => {}
            Refusal::Draining => self.drains(id, round.now),
            Refusal::Full { .. } | Refusal::StaleEpoch { .. } => {}
        }
    }

    /// A report was taken. Returns the number up to which all of this worker's are, of one that is in the model.
    pub(in crate::keeper) fn settle(&mut self, report: &Report) -> Option<u64> {
        Some(self.get_mut(report.process_id)?.reports.settle(report.seq))
    }

    /// Whether this report was taken before.
    pub(in crate::keeper) fn was_taken(&self, report: &Report) -> bool {
        self.get(&report.process_id).is_some_and(|worker| worker.reports.was_taken(report.seq))
    }

    /// Judges by the time of the listening: how long the news lay in the mailbox, e.g. while this process stood still,
    /// says nothing about a worker.
    pub(in crate::keeper) fn judge(&mut self, hearing: Hearing, at: Instant, pool: &Pool, round: &mut Round) {
        let scale = self.scale(pool, at);
        let to_spare = scaling::workers_to_spare(scale);
        let bounds = Bounds { idle_timeout: scaling::idle_timeout(scale), at_minimum: to_spare == 0 };
        let clocks = self.clocks(pool);
        let judge = |worker: &Worker| {
            // One without a key is not needed as soon as it is empty.
            let unneeded = Bounds { idle_timeout: Duration::ZERO, at_minimum: false };
            let bounds = if worker.origin.has_key { bounds } else { unneeded };
            next_step(worker.facts(), hearing, &worker.clocks(&clocks), bounds, at)
        };
        let steps: Vec<(ProcessId, Step)> = self.values().map(|worker| (worker.process_id, judge(worker))).collect();
        let mut retiring = 0;
        for (id, step) in steps {
            let is_unreachable = matches!(step, Step::Unreachable(_));
            if !is_unreachable && self.get(&id).is_some_and(Worker::is_heard_again) {
                self.reachable(id, pool);
                round.notes.push(pool.worker_event(EventKind::WorkerReachable, id, round.at, String::new()));
            }
            match step {
                Step::Rest | Step::Wait(_) => {}
                Step::Hold(reason) => {
                    let words = format!("most workers are silent, so none is judged: {reason}");
                    self.deps.board.degrade("silence", words);
                }
                Step::Probe(patience) => self.probe(id, patience, at),
                Step::Name(reason) => self.name_unheard(id, &reason, pool),
                Step::Unreachable(reason) => self.name_unreachable(id, &reason, pool, round),
                Step::Condemn(reason) => self.condemn(id, &reason, pool, round.now),
                Step::Kill(reason) => self.kill(id, &reason),
                Step::Retire(reason) => {
                    // One of before takes no agents, so it goes at the minimum too.
                    let is_of_before = self.get(&id).is_some_and(Worker::is_of_before);
                    // Of several idle workers only so many retire that the minimum stays.
                    if is_of_before || retiring < to_spare {
                        retiring += u32::from(!is_of_before);
                        round.moves.push(Move::Retire { worker: id, reason });
                    }
                }
            }
        }
    }

    fn condemn(&mut self, id: ProcessId, reason: &str, pool: &Pool, now: Instant) {
        tracing::warn!(process.id = %id, pool.name = %pool.spec.pool_name, reason, "a worker hangs; it is killed");
        self.apply(id, WorkerEvent::EndOrdered(now, WorkerEnd::Lost));
        self.deps.postman.condemn(id);
        self.kill(id, reason);
    }
}
