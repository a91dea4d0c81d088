//! The workers of a simulated pool, and what runs in their slots.
//!
//! A pool may have a hundred thousand workers, so nothing here looks at all of them in the course of a task: workers that take tasks
//! stand in a list for each number of busy slots, and a worker's free slots are a list through the slots themselves.

use muster_domain::{PlacementStrategy, TierName};
use muster_policy::tiers::TierCounts;

use crate::clock::Tick;

/// No slot.
const NONE: u16 = u16::MAX;

/// A worker; it is another one when its place was given away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct WorkerRef {
    pub(super) place: u32,
    serial: u32,
}

/// What a worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Life {
    /// It takes nothing yet.
    Starting,
    /// It takes tasks.
    Ready,
    /// It takes nothing more, and ends when it is empty.
    Leaving,
    /// It is no more; its place is free.
    Gone,
}

#[derive(Clone, Copy, Debug)]
struct Worker {
    life: Life,
    tier: TierName,
    busy: u16,
    free: u16,
    /// Where it stands in the list of those that are as busy.
    position: u32,
    serial: u32,
    launched: Tick,
}

/// A task in a slot. In a free slot `arrived` is the next free one.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Run {
    pub(super) arrived: Tick,
    pub(super) length: Tick,
    pub(super) attempts: u8,
    busy: bool,
}

/// How many workers do what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FleetCounts {
    pub(super) starting: u32,
    pub(super) ready: u32,
    pub(super) leaving: u32,
    /// Tasks that run.
    pub(super) running: u32,
    /// Tasks that run on workers that take tasks.
    pub(super) busy: u32,
    /// Those that start or take tasks.
    pub(super) taking: TierCounts,
}

/// All workers.
pub(super) struct Fleet {
    slots: u16,
    placement: PlacementStrategy,
    workers: Vec<Worker>,
    runs: Vec<Run>,
    places: Vec<u32>,
    /// Those that take tasks, by their busy slots.
    takers: Vec<Vec<u32>>,
    counts: FleetCounts,
}

impl Fleet {
    /// None, of which each has so many slots, which are filled like this.
    pub(super) fn new(slots: u16, placement: PlacementStrategy) -> Self {
        let takers = vec![Vec::new(); usize::from(slots) + 1];
        Self {
            slots,
            placement,
            workers: Vec::new(),
            runs: Vec::new(),
            places: Vec::new(),
            takers,
            counts: FleetCounts::default(),
        }
    }

    pub(super) const fn counts(&self) -> &FleetCounts {
        &self.counts
    }

    /// Workers that take tasks and have at least one.
    pub(super) fn busy_workers(&self) -> u32 {
        self.counts.ready - self.takers[0].len() as u32
    }

    /// Slots that a task could have now.
    pub(super) fn free_slots(&self) -> u64 {
        u64::from(self.counts.ready) * u64::from(self.slots) - u64::from(self.counts.busy)
    }

    fn at(&self, place: u32) -> &Worker {
        &self.workers[place as usize]
    }

    fn at_mut(&mut self, place: u32) -> &mut Worker {
        &mut self.workers[place as usize]
    }

    fn is(&self, worker: WorkerRef) -> bool {
        self.at(worker.place).serial == worker.serial
    }

    /// What a worker does, and of which tier it is.
    pub(super) fn life(&self, worker: WorkerRef) -> (Life, TierName) {
        let there = self.at(worker.place);
        (if self.is(worker) { there.life } else { Life::Gone }, there.tier)
    }

    /// A new one, which starts.
    pub(super) fn launch(&mut self, tier: TierName, now: Tick) -> WorkerRef {
        let place = self.places.pop().unwrap_or_else(|| {
            let (position, serial) = (0, 0);
            self.workers.push(Worker { life: Life::Gone, tier, busy: 0, free: 0, position, serial, launched: now });
            self.runs.resize(self.workers.len() * usize::from(self.slots), Run::default());
            self.workers.len() as u32 - 1
        });
        let first = place as usize * usize::from(self.slots);
        for (slot, run) in self.runs[first..first + usize::from(self.slots)].iter_mut().enumerate() {
            let next = if slot as u16 + 1 < self.slots { slot as u32 + 1 } else { u32::from(NONE) };
            *run = Run { arrived: next, ..Run::default() };
        }
        let worker = self.at_mut(place);
        *worker = Worker { life: Life::Starting, tier, busy: 0, free: 0, launched: now, ..*worker };
        let serial = worker.serial;
        self.counts.starting += 1;
        *self.counts.taking.get_mut(tier) += 1;
        WorkerRef { place, serial }
    }

    /// A worker that starts takes tasks from now on.
    pub(super) fn ready(&mut self, worker: WorkerRef) {
        if self.life(worker).0 == Life::Starting {
            self.at_mut(worker.place).life = Life::Ready;
            (self.counts.starting, self.counts.ready) = (self.counts.starting - 1, self.counts.ready + 1);
            self.enlist(worker.place);
        }
    }

    /// Puts a task onto a worker that has a free slot, as Muster places agents: the fullest one, or the emptiest. None if there is no slot.
    pub(super) fn start(&mut self, run: Run) -> Option<(WorkerRef, u16)> {
        let with_room = &self.takers[..usize::from(self.slots)];
        let place = *match self.placement {
            PlacementStrategy::Pack => with_room.iter().rev().find_map(|as_busy| as_busy.last()),
            PlacementStrategy::Spread | PlacementStrategy::LeastLoaded => {
                with_room.iter().find_map(|as_busy| as_busy.last())
            }
        }?;
        self.delist(place);
        let worker = self.at_mut(place);
        let (slot, serial) = (worker.free, worker.serial);
        worker.busy += 1;
        let there = &mut self.runs[place as usize * usize::from(self.slots) + usize::from(slot)];
        let next = there.arrived as u16;
        *there = Run { busy: true, ..run };
        self.at_mut(place).free = next;
        (self.counts.running, self.counts.busy) = (self.counts.running + 1, self.counts.busy + 1);
        self.enlist(place);
        Some((WorkerRef { place, serial }, slot))
    }

    /// The task in a slot is over. Says whether its worker leaves and is empty now; none if that worker has ended, and the task with it.
    pub(super) fn finish(&mut self, worker: WorkerRef, slot: u16) -> Option<bool> {
        if !self.is(worker) {
            return None;
        }
        let place = worker.place;
        let ready = self.at(place).life == Life::Ready;
        if ready {
            self.delist(place);
            self.counts.busy -= 1;
        }
        let there = self.at_mut(place);
        there.busy -= 1;
        let (next, is_empty) = (there.free, there.busy == 0);
        there.free = slot;
        self.runs[place as usize * usize::from(self.slots) + usize::from(slot)] =
            Run { arrived: u32::from(next), ..Run::default() };
        self.counts.running -= 1;
        if ready {
            self.enlist(place);
        }
        Some(!ready && is_empty)
    }

    /// A worker takes no more tasks. Says whether it is empty.
    pub(super) fn leave(&mut self, worker: WorkerRef) -> bool {
        let (place, life) = (worker.place, self.life(worker).0);
        match life {
            Life::Starting => self.counts.starting -= 1,
            Life::Ready => {
                self.delist(place);
                self.counts.ready -= 1;
                self.counts.busy -= u32::from(self.at(place).busy);
            }
            Life::Leaving | Life::Gone => return false,
        }
        let tier = self.at(place).tier;
        *self.counts.taking.get_mut(tier) -= 1;
        self.counts.leaving += 1;
        self.at_mut(place).life = Life::Leaving;
        self.at(place).busy == 0
    }

    /// A worker that leaves is no more. What still ran is handed to `killed`. Answers its tier, and since when it was there.
    pub(super) fn end(&mut self, worker: WorkerRef, mut killed: impl FnMut(Run)) -> Option<(TierName, Tick)> {
        if self.life(worker).0 != Life::Leaving {
            return None;
        }
        let first = worker.place as usize * usize::from(self.slots);
        let runs = self.runs[first..first + usize::from(self.slots)].iter();
        runs.filter(|run| run.busy).for_each(|run| killed(*run));
        let there = self.at_mut(worker.place);
        let (busy, ended) = (there.busy, (there.tier, there.launched));
        (there.life, there.serial) = (Life::Gone, there.serial.wrapping_add(1));
        self.counts.running -= u32::from(busy);
        self.counts.leaving -= 1;
        self.places.push(worker.place);
        Some(ended)
    }

    /// Up to so many workers of a tier that have nothing to do.
    pub(super) fn idle(&self, tier: TierName, most: u32) -> Vec<WorkerRef> {
        let of_tier = |place: &&u32| self.at(**place).tier == tier;
        self.takers[0].iter().rev().filter(of_tier).take(most as usize).map(|place| self.reference(*place)).collect()
    }

    /// Up to so many workers that take tasks, the idlest first.
    pub(super) fn idlest(&self, most: u32) -> Vec<WorkerRef> {
        let all = self.takers.iter().flat_map(|as_busy| as_busy.iter().rev());
        all.take(most as usize).map(|place| self.reference(*place)).collect()
    }

    /// Up to so many workers of a tier that take tasks, the idlest first.
    pub(super) fn idlest_of(&self, tier: TierName, most: u32) -> Vec<WorkerRef> {
        let all = self.takers.iter().flat_map(|as_busy| as_busy.iter().rev());
        let of_tier = all.filter(|place| self.at(**place).tier == tier);
        of_tier.take(most as usize).map(|place| self.reference(*place)).collect()
    }

    /// Up to so many workers, those that start first, then the newest.
    pub(super) fn newest(&self, most: u32) -> Vec<WorkerRef> {
        let takes = |place: &u32| matches!(self.at(*place).life, Life::Starting | Life::Ready);
        let mut found: Vec<u32> = (0..self.workers.len() as u32).filter(takes).collect();
        found.sort_by_key(|place| (self.at(*place).life == Life::Ready, std::cmp::Reverse(self.at(*place).launched)));
        found.truncate(most as usize);
        found.into_iter().map(|place| self.reference(place)).collect()
    }

    /// Each worker that there is, with its tier and since when.
    pub(super) fn there(&self) -> impl Iterator<Item = (TierName, Tick)> + '_ {
        let there = self.workers.iter().filter(|worker| worker.life != Life::Gone);
        there.map(|worker| (worker.tier, worker.launched))
    }

    fn reference(&self, place: u32) -> WorkerRef {
        WorkerRef { place, serial: self.at(place).serial }
    }

    fn enlist(&mut self, place: u32) {
        let list = &mut self.takers[usize::from(self.workers[place as usize].busy)];
        self.workers[place as usize].position = list.len() as u32;
        list.push(place);
    }

    fn delist(&mut self, place: u32) {
        let Worker { busy, position, .. } = *self.at(place);
        let list = &mut self.takers[usize::from(busy)];
        list.swap_remove(position as usize);
        if let Some(moved) = list.get(position as usize).copied() {
            self.at_mut(moved).position = position;
        }
    }
}

impl Run {
    /// A task that came then, and runs for so long.
    pub(super) const fn new(arrived: Tick, length: Tick, attempts: u8) -> Self {
        Self { arrived, length, attempts, busy: true }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fleet(workers: u32) -> (Fleet, Vec<WorkerRef>) {
        let mut fleet = Fleet::new(3, PlacementStrategy::Pack);
        let made: Vec<WorkerRef> = (0..workers).map(|at| fleet.launch(TierName::Base, at)).collect();
        made.iter().for_each(|worker| fleet.ready(*worker));
        (fleet, made)
    }

    fn start(fleet: &mut Fleet, tasks: u32) -> Vec<(WorkerRef, u16)> {
        (0..tasks).filter_map(|at| fleet.start(Run::new(at, 5, 1))).collect()
    }

    #[test]
    fn spread_tasks_go_round_the_workers() {
        for placement in [PlacementStrategy::Spread, PlacementStrategy::LeastLoaded] {
            let (mut fleet, made) = fleet(3);
            fleet.placement = placement;
            let runs = start(&mut fleet, 6);
            let of = |worker: &WorkerRef| runs.iter().filter(|(at, _)| at == worker).count();
            assert_eq!((made.iter().map(of).collect::<Vec<_>>(), fleet.busy_workers()), (vec![2, 2, 2], 3));
        }
    }

    #[test]
    fn workers_are_filled_one_after_the_other() {
        let (mut fleet, _) = fleet(2);
        let runs = start(&mut fleet, 7);
        assert_eq!(runs.len(), 6, "there are no more slots");
        let places: Vec<u32> = runs.iter().map(|(worker, _)| worker.place).collect();
        assert!(
            places[..3].iter().all(|place| *place == places[0]) && places[3..].iter().all(|place| *place == places[3])
        );
        assert_eq!((fleet.busy_workers(), fleet.free_slots(), fleet.counts().running), (2, 0, 6));
        assert_eq!(fleet.finish(runs[4].0, runs[4].1), Some(false));
        assert_eq!((start(&mut fleet, 1)[0], fleet.free_slots()), (runs[4], 0), "the slot is used again");
    }

    #[test]
    fn one_that_leaves_takes_nothing_and_is_gone_when_it_is_empty() {
        let (mut fleet, workers) = fleet(1);
        let runs = start(&mut fleet, 2);
        assert!(!fleet.leave(workers[0]), "it is not empty");
        assert_eq!((start(&mut fleet, 1).len(), fleet.counts().taking.total()), (0, 0));
        assert_eq!(fleet.finish(runs[0].0, runs[0].1), Some(false));
        assert_eq!(fleet.finish(runs[1].0, runs[1].1), Some(true));
        assert_eq!(fleet.end(workers[0], |_| panic!("nothing runs")), Some((TierName::Base, 0)));
        assert_eq!((fleet.life(workers[0]).0, fleet.there().count()), (Life::Gone, 0));
        let next = fleet.launch(TierName::Spot, 9);
        assert_eq!(next.place, workers[0].place, "its place is given away");
        assert_eq!((fleet.life(workers[0]).0, fleet.life(next).0), (Life::Gone, Life::Starting));
    }

    #[test]
    fn what_runs_when_a_worker_ends_is_told_and_its_end_is_nobodys() {
        let (mut fleet, workers) = fleet(1);
        let runs = start(&mut fleet, 2);
        fleet.leave(workers[0]);
        let mut killed = Vec::new();
        fleet.end(workers[0], |run| killed.push(run.arrived));
        assert_eq!((killed.as_slice(), fleet.counts().running), (&[0, 1][..], 0), "by their slots");
        assert_eq!(fleet.finish(runs[0].0, runs[0].1), None);
    }

    #[test]
    fn those_that_are_too_many_are_found() {
        let (mut fleet, workers) = fleet(3);
        let runs = start(&mut fleet, 4);
        let idle = fleet.idle(TierName::Base, 9);
        assert_eq!(idle.len(), 1);
        assert!(runs.iter().all(|(worker, _)| *worker != idle[0]) && fleet.idle(TierName::Spot, 9).is_empty());
        assert_eq!(fleet.idlest(2), [idle[0], runs[3].0]);
        let starting = fleet.launch(TierName::Base, 0);
        assert_eq!(fleet.newest(2), [starting, workers[2]]);
    }
}
