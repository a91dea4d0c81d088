//! What the registry says of the workers: heartbeats are taken, and the living are told from the dead.

use std::time::{Duration, Instant};

use muster_domain::worker::{WorkerEnd, WorkerEvent};
use muster_domain::{CommandRefusal, EventKind, Heartbeat, ProcessId, Report};
use muster_policy::scaling;
use muster_policy::tiers::Surplus;
use muster_policy::worker::{HeartbeatWatch, WorkerLimits, WorkerStep, next_step};

use super::super::mailbox::WorkerHeartbeat;
use super::super::transitions::Transition;
use super::worker::PoolWorker;
use super::{Pool, PoolWorkers, Turn};

impl PoolWorkers {
    /// Takes what was heard of a worker. Returns its heartbeat where there is one to compare the rest with.
    pub(in crate::keeper) fn hear<'a>(
        &mut self,
        heartbeat: &'a WorkerHeartbeat,
        turn: &mut Turn,
    ) -> Option<&'a Heartbeat> {
        let id = heartbeat.heard.process_id;
        let worker = self.get_mut(id)?;
        // Its "ready" may have been heard after its beat.
        let heard_at = worker.contact.pulse.map_or(heartbeat.at, |pulse| pulse.heard.max(heartbeat.at));
        worker.hear(heard_at, heartbeat.heard.beat.as_deref());
        let beat = heartbeat.heard.beat.as_deref()?;
        self.note_heard(id, true);
        if beat.fence > self.deps.fence {
            tracing::warn!(process.id = %id, fence = beat.fence.0, "a worker has seen a later leader");
            turn.is_outranked = true;
            return None;
        }
        Some(beat)
    }

    /// It is heard for the first time, or again. Says whether that is news.
    pub(in crate::keeper) fn ready(&mut self, id: ProcessId, pool: &Pool, turn: &mut Turn) -> bool {
        if !self.apply(id, WorkerEvent::Heard) {
            return false;
        }
        let Some(worker) = self.get_mut(id) else { return false };
        if worker.contact.pulse.is_none() {
            // It beat before it said so, but news of the registry that were read before that beat may come after this.
            // Its silence counts from now, not from when the listening began.
            worker.hear(turn.now, None);
        }
        tracing::info!(process.id = %id, pool.name = %pool.spec.pool_name, "a worker is ready");
        turn.touched.extend(worker.held.iter().copied());
        turn.notes.push(pool.worker_event(EventKind::WorkerReady, id, turn.at, String::new()));
        true
    }

    /// It ends by itself.
    pub(in crate::keeper) fn drains(&mut self, id: ProcessId, now: Instant) {
        self.apply(id, WorkerEvent::DrainOrdered(now));
    }

    /// It refused a command.
    pub(in crate::keeper) fn refused(&mut self, id: ProcessId, refusal: CommandRefusal, turn: &mut Turn) {
        match refusal {
            CommandRefusal::StaleFence { seen } if seen > self.deps.fence => turn.is_outranked = true,
            // It was a leader before this one that was refused; but for the worker that epoch is over.
            CommandRefusal::StaleFence { .. } => {}
            CommandRefusal::Draining => self.drains(id, turn.now),
            CommandRefusal::Full { .. } | CommandRefusal::StaleEpoch { .. } => {}
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
    pub(in crate::keeper) fn judge(&mut self, watch: HeartbeatWatch, at: Instant, pool: &Pool, turn: &mut Turn) {
        let counts = self.counts(pool, at);
        let to_spare = scaling::workers_to_spare(counts);
        let bounds = WorkerLimits { idle_timeout: scaling::idle_timeout(counts), at_minimum: to_spare == 0 };
        let clocks = self.clocks(pool);
        let awaited = self.replacements();
        let judge = |worker: &PoolWorker| {
            let bounds = match () {
                // One that is on its way out is not needed as soon as it is empty.
                () if worker.is_on_its_way_out() => WorkerLimits { idle_timeout: Duration::ZERO, at_minimum: false },
                // One that was started in the place of another waits for that one's agents.
                () if awaited.contains(&worker.process_id) => WorkerLimits { at_minimum: true, ..bounds },
                () => bounds,
            };
            next_step(worker.facts(), watch, &worker.clocks(&clocks), bounds, at)
        };
        // Of one whose end is decided nothing more is to be known.
        let judged = self.values().filter(|worker| !worker.is_over);
        let steps: Vec<(ProcessId, WorkerStep)> = judged.map(|worker| (worker.process_id, judge(worker))).collect();
        let mut retiring = 0;
        let mut surplus = Surplus::of(self.taking_of_tiers(), self.planned(counts.kept(), pool));
        for (id, step) in steps {
            let is_unreachable = matches!(step, WorkerStep::Unreachable(_));
            if !is_unreachable && self.get(&id).is_some_and(PoolWorker::is_heard_again) {
                self.reachable(id, pool, turn);
            }
            match step {
                WorkerStep::Rest | WorkerStep::Wait(_) => {}
                WorkerStep::Hold(reason) => {
                    let words = format!("most workers are silent, so none is judged: {reason}");
                    self.deps.health.degrade("silence", words);
                }
                WorkerStep::Probe(patience) => self.probe(id, patience, at),
                WorkerStep::Name(reason) => self.name_unheard(id, &reason, pool),
                WorkerStep::Unreachable(reason) => self.name_unreachable(id, &reason, pool, turn),
                WorkerStep::Condemn(reason) => self.condemn(id, &reason, pool, turn),
                WorkerStep::Kill(reason) => self.kill(id, &reason, pool, turn),
                WorkerStep::Retire(reason) => {
                    // One that takes no agents goes at the minimum too.
                    let Some(worker) = self.get(&id) else { continue };
                    let (takes_none, tier) = (worker.is_on_its_way_out(), worker.origin.tier);
                    // Of several idle workers only so many retire that the minimum stays, of each tier.
                    if takes_none || (retiring < to_spare && surplus.has(tier)) {
                        if !takes_none {
                            retiring += 1;
                            surplus.take(tier);
                        }
                        turn.transitions.push(Transition::Retire { worker: id, reason });
                    }
                }
            }
        }
    }

    fn condemn(&mut self, id: ProcessId, reason: &str, pool: &Pool, turn: &mut Turn) {
        tracing::warn!(process.id = %id, pool.name = %pool.spec.pool_name, reason, "a worker hangs; it is killed");
        self.apply(id, WorkerEvent::EndOrdered(turn.now, WorkerEnd::Lost));
        self.deps.command_sender.condemn(id);
        self.kill(id, reason, pool, turn);
    }
}
