//! The world: a pool's workers, its tasks and its clock, in virtual time.
//!
//! Each tick goes in the same order: what was to happen now happens (workers are ready, tasks end, spot is taken away), tasks come, tasks
//! that wait start in the order in which they came, and, when it is time, the scaler is asked and its answer carried out.
//!
//! | file | what it holds |
//! |---|---|
//! | `fleet.rs` | workers and their slots |
//! | `backlog.rs` | tasks that wait |
//! | `capacity.rs` | carries a target out: launches and ends workers, tier by tier |
//! | `ledger.rs` | what is counted |

mod backlog;
mod capacity;
mod fleet;
mod ledger;

use std::iter::Peekable;
use std::time::Duration;

use muster_domain::{TierName, Timestamp};
use muster_policy::scaling::{Picture, PictureProgress, PictureWorkers, SlotUse};

use crate::calendar::Calendar;
use crate::clock::{PER_SECOND, Tick, duration, ticks};
use crate::load::{LoadFigures, LoadRows, TaskLoad};
use crate::report::{
    self, InterruptionReport, SimulationCounts, SimulationReport, TaskReport, TimelinePoint, WaitReport,
};
use crate::scaler::Scaler;
use crate::setup::Setup;
use backlog::{Backlog, Waiting};
use capacity::Capacity;
use fleet::{Fleet, Life, Run, WorkerRef};
use ledger::WorldLedger;

/// Points of a timeline, at the most.
const POINTS: u32 = 480;

/// Something that is to happen.
#[derive(Clone, Copy, Debug)]
enum Occasion {
    /// A worker takes tasks.
    Ready(WorkerRef),
    /// The task in a slot is over.
    Over(WorkerRef, u16),
    /// A spot worker is told that it will be taken away.
    Reclaimed(WorkerRef),
    /// A worker's time is up: what still runs is killed.
    TimeUp(WorkerRef, DismissalCause),
}

/// Why a worker ends that may still be busy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum DismissalCause {
    ScaleIn,
    Reclaimed,
}

/// Runs a load over a pool under a scaler, and says what came of it.
pub fn simulate(setup: &Setup, load: &TaskLoad, scaler: &mut dyn Scaler) -> SimulationReport {
    let mut world = World::new(setup, load);
    world.run(scaler);
    world.report(scaler.name())
}

struct World<'a> {
    setup: &'a Setup,
    load: &'a TaskLoad,
    rows: Peekable<LoadRows<'a>>,
    figures: LoadFigures,
    calendar: Calendar<Occasion>,
    fleet: Fleet,
    backlog: Backlog,
    capacity: Capacity,
    ledger: WorldLedger,
    late_after: Tick,
    now: Tick,
}

impl<'a> World<'a> {
    fn new(setup: &'a Setup, load: &'a TaskLoad) -> Self {
        Self {
            setup,
            load,
            rows: load.rows().peekable(),
            figures: LoadFigures::default(),
            calendar: Calendar::new(),
            fleet: Fleet::new(setup.slots, setup.placement),
            backlog: Backlog::default(),
            capacity: Capacity::new(setup),
            ledger: WorldLedger::default(),
            late_after: ticks(setup.late_after),
            now: 0,
        }
    }

    fn run(&mut self, scaler: &mut dyn Scaler) {
        let end = ticks(self.load.span);
        let check = ticks(scaler.interval()).max(1);
        let sample = (end / POINTS).max(1);
        let mut due = Vec::new();
        loop {
            self.arrivals();
            self.start_waiting();
            if self.now.is_multiple_of(check) {
                let picture = self.picture();
                let target = scaler.target(&picture, self.clock());
                self.capacity.set_target(target);
                self.rebalance();
            }
            if self.capacity.target() == 0 && self.backlog.tasks() > 0 && scaler.begins_at_once(self.clock()) {
                self.capacity.set_target(1);
            }
            self.carry_out(scaler);
            if self.now.is_multiple_of(sample) {
                self.look();
            }
            if self.now >= end && self.is_over(end) {
                break;
            }
            self.calendar.advance(&mut due);
            self.now += 1;
            for occasion in &due {
                self.happen(*occasion);
            }
            self.ledger.busy_ticks += u64::from(self.fleet.counts().running);
            self.ledger.peak_running = self.ledger.peak_running.max(self.fleet.counts().running);
        }
        self.close();
    }

    /// Whether nobody looks on after the end of the load's span.
    fn is_over(&self, end: Tick) -> bool {
        let is_done = self.backlog.tasks() == 0 && self.fleet.counts().running == 0;
        !self.load.until_done || is_done || self.now >= end.saturating_mul(2)
    }

    /// The wall clock of this world.
    fn clock(&self) -> Timestamp {
        self.load.start.after(duration(self.now))
    }

    fn arrivals(&mut self) {
        let now = self.now;
        while let Some(row) = self.rows.next_if(|row| row.at <= now) {
            self.figures.add(row.length, row.count);
            let mut new = Waiting { arrived: now, length: row.length, attempts: 0, count: row.count };
            // Most tasks start at once, and need not go through the queue.
            while new.count > 0 && self.backlog.tasks() == 0 && self.fleet.free_slots() > 0 {
                self.start(Waiting { count: 1, ..new });
                new.count -= 1;
            }
            if new.count > 0 {
                self.backlog.add(new);
            }
        }
    }

    fn start_waiting(&mut self) {
        while self.backlog.tasks() > 0 && self.fleet.free_slots() > 0 {
            if let Some(task) = self.backlog.take() {
                self.start(task);
            }
        }
    }

    fn start(&mut self, task: Waiting) {
        let Waiting { arrived, length, attempts, .. } = task;
        if attempts == 0 {
            self.ledger.waited(self.now - arrived, 1, self.late_after);
        }
        if let Some((worker, slot)) = self.fleet.start(Run::new(arrived, length, attempts + 1)) {
            self.calendar.add(length, Occasion::Over(worker, slot));
        }
    }

    fn happen(&mut self, occasion: Occasion) {
        match occasion {
            Occasion::Ready(worker) => self.fleet.ready(worker),
            Occasion::Over(worker, slot) => {
                if let Some(last) = self.fleet.finish(worker, slot) {
                    self.ledger.finished += 1;
                    if last {
                        self.end(worker, DismissalCause::ScaleIn);
                    }
                }
            }
            Occasion::Reclaimed(worker) => {
                if matches!(self.fleet.life(worker).0, Life::Starting | Life::Ready) {
                    self.ledger.reclaimed += 1;
                    self.capacity.spot_failed(&self.setup.tiers, self.now);
                    self.dismiss(worker, Some((self.setup.reclaim_notice, DismissalCause::Reclaimed)));
                }
            }
            Occasion::TimeUp(worker, cause) => self.end(worker, cause),
        }
    }

    /// A worker takes nothing more. It ends when it is empty, and at the latest when its time is up, if that is bounded.
    fn dismiss(&mut self, worker: WorkerRef, bound: Option<(Duration, DismissalCause)>) {
        if self.fleet.leave(worker) {
            self.end(worker, DismissalCause::ScaleIn);
        } else if let Some((time, cause)) = bound {
            self.calendar.add(ticks(time), Occasion::TimeUp(worker, cause));
        }
    }

    /// A worker is no more. What it ran starts again elsewhere, before all that waits, unless that was its last attempt.
    fn end(&mut self, worker: WorkerRef, cause: DismissalCause) {
        let (backlog, ledger, most) = (&mut self.backlog, &mut self.ledger, self.setup.max_attempts);
        let lost = ledger.lost;
        let killed = |run: Run| {
            match cause {
                DismissalCause::ScaleIn => ledger.killed += 1,
                DismissalCause::Reclaimed => ledger.requeued += 1,
            }
            if run.attempts >= most {
                ledger.lost += 1;
            } else {
                let Run { arrived, length, attempts, .. } = run;
                backlog.put_back(Waiting { arrived, length, attempts, count: 1 });
            }
        };
        if let Some((tier, launched)) = self.fleet.end(worker, killed) {
            self.ledger.used(tier, self.now - launched);
            self.ledger.not_survived += u64::from(cause == DismissalCause::Reclaimed && self.ledger.lost > lost);
        }
    }

    /// What the policies see.
    fn picture(&self) -> Picture {
        let counts = self.fleet.counts();
        let all = counts.ready * u32::from(self.setup.slots);
        // A pool whose slots are all busy uses its machines wholly: the simulated tasks are what the machines were sized for.
        let load = 100.0 * f64::from(counts.busy) / f64::from(all.max(1));
        let target = self.capacity.target();
        Picture {
            age: Some(Duration::ZERO),
            workers: PictureWorkers {
                current: target,
                min: self.setup.floor(),
                max: self.setup.ceiling(),
                starting: counts.starting,
                max_agents: u32::from(self.setup.slots),
                needed: self.fleet.busy_workers(),
            },
            queue: Some(u32::try_from(self.backlog.tasks()).unwrap_or(u32::MAX)),
            running: Some(counts.running),
            on_demand_max_agents: Some(0),
            slots: Some(SlotUse { all, taken: counts.busy, busy: counts.busy }),
            cpu: Some(load),
            memory: Some(load),
            host_memory: None,
            price: self.capacity.price(&self.setup.tiers, counts),
            progress: PictureProgress { unfinished: counts.starting > 0, drains: 0 },
            ..Picture::default()
        }
    }

    /// A point of the timeline.
    fn look(&mut self) {
        let counts = self.fleet.counts();
        self.ledger.timeline.push(TimelinePoint {
            seconds: duration(self.now).as_secs(),
            workers: counts.starting + counts.ready + counts.leaving,
            running: counts.running,
            waiting: self.backlog.tasks(),
        });
    }

    /// Counts what is still there at the end.
    fn close(&mut self) {
        for (tier, launched) in self.fleet.there() {
            self.ledger.used(tier, self.now - launched);
        }
        // What never started has waited too.
        for waiting in self.backlog.iter().filter(|waiting| waiting.attempts == 0) {
            self.ledger.waited(self.now - waiting.arrived, waiting.count.into(), self.late_after);
        }
    }

    fn report(self, scaler: String) -> SimulationReport {
        let waits = self.ledger.waits();
        let quantile = |share| waits.quantile(share).unwrap_or_default().as_secs_f64();
        let ledger = self.ledger;
        let counts = SimulationCounts {
            seconds: crate::clock::seconds(self.now),
            wait: WaitReport {
                p50_seconds: quantile(0.5),
                p95_seconds: quantile(0.95),
                p99_seconds: quantile(0.99),
                late_after_seconds: self.setup.late_after.as_secs_f64(),
                late: ledger.late,
            },
            tasks: TaskReport {
                finished: ledger.finished,
                running: self.fleet.counts().running.into(),
                waiting: self.backlog.tasks(),
                lost: ledger.lost,
                killed_runs: ledger.killed,
                peak_running: ledger.peak_running,
            },
            peak_workers: ledger.peak_workers,
            started_workers: ledger.started_workers,
            busy_slot_hours: ledger.busy_ticks as f64 / (3_600.0 * f64::from(PER_SECOND)),
            interruptions: InterruptionReport {
                workers: ledger.reclaimed,
                survived: ledger.reclaimed - ledger.not_survived,
                requeued_runs: ledger.requeued,
            },
            worker_hours: TierName::ALL.map(|tier| (tier, ledger.worker_hours(tier))),
            timeline: ledger.timeline,
        };
        report::made_of(self.setup, self.load, &self.figures, scaler, counts)
    }
}

#[cfg(test)]
mod tests;
