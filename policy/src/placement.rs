//! Which worker gets an agent, and how many new workers a batch needs.
//!
//! Agents are packed: a ready worker before a starting one, the fullest first. So fifteen agents make one worker of ten
//! and one of five, and what is started later empties whole workers when agents end.

use muster_domain::{ProcessId, counted};

/// The bounds of a pool at this moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PlacementLimits {
    /// Agents that a new worker holds.
    pub capacity: u32,
    /// Workers that may have a process.
    pub open_workers: u32,
    /// Workers at the most; 0 is no bound.
    pub max_workers: u32,
    /// Workers that may be started beside these, e.g. as the pool's tiers hold no more.
    pub room: u32,
    /// Whether workers may be started now: not while starts fail and the backoff runs.
    pub may_start: bool,
}

/// An agent's place in a plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SlotChoice {
    /// A free slot of this worker.
    Worker(ProcessId),
    /// A slot of the n-th new worker of this plan, counted from 0.
    NewWorker(usize),
    /// None now: workers can't be started at this moment. It waits.
    Wait,
    /// None: every worker that the pool may have is full.
    Full,
}

/// A plan for a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// One per agent, in order.
    pub slots: Vec<SlotChoice>,
    /// Workers to start.
    pub new_workers: usize,
    /// Why, in words; empty where no worker is started and nobody is turned away.
    pub reason: String,
}

/// Places `agents` agents on `free` slots, given as (worker, free slots) in the order of preference, and on new workers.
pub fn place(agents: usize, free: impl IntoIterator<Item = (ProcessId, u32)>, bounds: PlacementLimits) -> Placement {
    let free_slots = free.into_iter().flat_map(|(worker, slots)| (0..slots).map(move |_| SlotChoice::Worker(worker)));
    let mut slots: Vec<SlotChoice> = free_slots.take(agents).collect();
    let unplaced = agents - slots.len();
    let addable = match (bounds.max_workers, bounds.may_start) {
        (_, false) => 0,
        (0, true) => bounds.room as usize,
        (max, true) => max.saturating_sub(bounds.open_workers).min(bounds.room) as usize,
    };
    let capacity = bounds.capacity.max(1) as usize;
    let new_workers = unplaced.div_ceil(capacity).min(addable);
    slots.extend((0..unplaced.min(new_workers.saturating_mul(capacity))).map(|n| SlotChoice::NewWorker(n / capacity)));
    let turned_away = agents - slots.len();
    // While the backoff runs the bound may still have room: as many as fit are to wait, and no more than that, since
    // whoever waits is promised a slot.
    let waiting = turned_away.min(room_to_wait(bounds));
    slots.resize(slots.len() + waiting, SlotChoice::Wait);
    slots.resize(agents, SlotChoice::Full);
    Placement { slots, new_workers, reason: explain(unplaced, new_workers, turned_away, bounds) }
}

/// Slots of the workers that may be started later, but not now.
fn room_to_wait(bounds: PlacementLimits) -> usize {
    let addable = match (bounds.may_start, bounds.max_workers) {
        (true, _) => 0,
        (false, 0) => bounds.room as usize,
        (false, max) => max.saturating_sub(bounds.open_workers).min(bounds.room) as usize,
    };
    addable.saturating_mul(bounds.capacity.max(1) as usize)
}

fn explain(unplaced: usize, new_workers: usize, turned_away: usize, bounds: PlacementLimits) -> String {
    let (agents, workers) = (counted(unplaced as u64, "agent"), counted(new_workers as u64, "new worker"));
    match (unplaced, turned_away) {
        (0, _) => String::new(),
        (_, 0) => format!("{agents} found no free slot: {workers} of {}", bounds.capacity),
        _ if bounds.may_start => {
            format!("{agents} found no free slot: {workers}, then max_workers ({}) is reached", bounds.max_workers)
        }
        _ => format!("{agents} found no free slot, and workers fail to start"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn worker(n: u128) -> ProcessId {
        ProcessId::from_uuid(Uuid::from_u128(n))
    }

    const BOUNDS: PlacementLimits =
        PlacementLimits { capacity: 10, open_workers: 0, max_workers: 20, room: u32::MAX, may_start: true };

    #[test]
    fn fifteen_agents_make_ten_and_five() {
        let plan = place(15, [], BOUNDS);
        assert_eq!(plan.new_workers, 2);
        let on = |n| plan.slots.iter().filter(|slot| **slot == SlotChoice::NewWorker(n)).count();
        assert_eq!((on(0), on(1)), (10, 5));
    }

    #[test]
    fn five_agents_on_workers_of_two_make_two_two_one() {
        let plan = place(5, [], PlacementLimits { capacity: 2, ..BOUNDS });
        use SlotChoice::NewWorker as N;
        assert_eq!(plan.slots, [N(0), N(0), N(1), N(1), N(2)]);
    }

    #[test]
    fn free_slots_go_first_in_the_order_given() {
        let plan = place(4, [(worker(1), 1), (worker(2), 2)], BOUNDS);
        assert_eq!(
            plan.slots,
            [
                SlotChoice::Worker(worker(1)),
                SlotChoice::Worker(worker(2)),
                SlotChoice::Worker(worker(2)),
                SlotChoice::NewWorker(0)
            ]
        );
        assert_eq!(plan.reason, "1 agent found no free slot: 1 new worker of 10");
    }

    #[test]
    fn past_the_bound_agents_are_turned_away_and_while_starts_fail_they_wait() {
        let full = place(1, [], PlacementLimits { open_workers: 20, ..BOUNDS });
        assert_eq!(full.slots, [SlotChoice::Full]);
        let wait = place(1, [], PlacementLimits { may_start: false, ..BOUNDS });
        assert_eq!(wait.slots, [SlotChoice::Wait]);
        let some = place(3, [], PlacementLimits { may_start: false, capacity: 2, open_workers: 19, ..BOUNDS });
        assert_eq!(
            some.slots,
            [SlotChoice::Wait, SlotChoice::Wait, SlotChoice::Full],
            "no more wait than there will be slots"
        );
        let both = place(1, [], PlacementLimits { may_start: false, open_workers: 20, ..BOUNDS });
        assert_eq!(both.slots, [SlotChoice::Full]);
    }

    proptest! {
        /// No worker gets more than its free slots, no new one more than its capacity, no pool more than its bound, and
        /// nobody is turned away while there is room.
        #[test]
        fn never_too_many_and_never_too_few(
            agents in 0_usize..200,
            free in prop::collection::vec(0_u32..12, 0..8),
            capacity in 1_u32..12,
            max_workers in 0_u32..12,
            may_start: bool,
        ) {
            let workers: Vec<_> = free.iter().enumerate().map(|(n, slots)| (worker(n as u128), *slots)).collect();
            let bounds = PlacementLimits { capacity, open_workers: workers.len() as u32, max_workers, room: u32::MAX, may_start };
            let plan = place(agents, workers.clone(), bounds);
            prop_assert_eq!(plan.slots.len(), agents);
            for (id, slots) in &workers {
                prop_assert!(plan.slots.iter().filter(|s| **s == SlotChoice::Worker(*id)).count() <= *slots as usize);
            }
            for n in 0..plan.new_workers {
                let taken = plan.slots.iter().filter(|s| **s == SlotChoice::NewWorker(n)).count();
                prop_assert!(taken >= 1 && taken <= capacity as usize);
            }
            if max_workers > 0 {
                prop_assert!(plan.new_workers as u32 <= max_workers.saturating_sub(bounds.open_workers));
            }
            let placed = plan.slots.iter().filter(|s| matches!(s, SlotChoice::Worker(_) | SlotChoice::NewWorker(_))).count();
            let slots: u32 = free.iter().sum();
            prop_assert!(placed >= agents.min(slots as usize));
            if placed < agents {
                prop_assert!(!may_start || (max_workers > 0 && plan.new_workers as u32 + bounds.open_workers >= max_workers));
            }
        }
    }
}
