//! Which workers leave where a pool is to have fewer: the idlest, and none that has work.
//!
//! A worker that leaves takes no more agents. Its idle agents end where the pool started them for tasks, and move to workers that stay
//! where a person did; when it is empty it ends. A task that is placed on it meanwhile keeps it.

use std::cmp::Reverse;
use std::time::Instant;

use muster_domain::{ProcessId, TierName};

use crate::tiers::{Surplus, TierCounts};

/// A worker that takes agents, or one that leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LeaveCandidate {
    /// The worker.
    pub process_id: ProcessId,
    /// Its slots.
    pub capacity: u32,
    /// Of which tier of the pool's capacity it is.
    pub tier: Option<TierName>,
    /// Whether it leaves already.
    pub leaves: bool,
    /// Whether it is ready: one that is not has no room for those that move.
    pub is_ready: bool,
    /// Its agents that have work, wait for a person, or are on their way in or out.
    pub busy: u32,
    /// Idle agents that were spawned by somebody: they have to move.
    pub moving: u32,
    /// Idle agents that the pool has started for tasks: they end.
    pub ending: u32,
    /// When it was last seen with work, or began.
    pub worked_at: Instant,
}

/// What is to be done about them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScaleIn {
    /// These leave from now on.
    pub leave: Vec<ProcessId>,
    /// These stay after all.
    pub stay: Vec<ProcessId>,
    /// This one has work, and hardly anybody else: its idle agents go elsewhere, so that it is empty when that work ends.
    pub thin_out: Option<ProcessId>,
}

impl LeaveCandidate {
    const fn agents(&self) -> u32 {
        self.busy.saturating_add(self.moving).saturating_add(self.ending)
    }

    fn room(&self) -> u32 {
        if self.is_ready { self.capacity.saturating_sub(self.agents()) } else { 0 }
    }

    /// Whether it has work, and no more agents than a fifth of its slots, or two.
    const fn is_nearly_empty(&self) -> bool {
        let few = if self.capacity / 5 > 2 { self.capacity / 5 } else { 2 };
        self.busy > 0 && self.moving > 0 && self.agents() <= few
    }
}

/// Chooses among the workers of a pool that is to have `target` of them; none is as many as there are. Where the pool has tiers, `planned`
/// says how many of each are to be there: only workers of those with more leave, the dear ones first, and those of none.
pub fn scale_in(workers: &[LeaveCandidate], target: Option<u32>, planned: Option<TierCounts>) -> ScaleIn {
    let mut plan = ScaleIn::default();
    // What was placed on one meanwhile keeps it.
    let (mut leaving, mut staying): (Vec<_>, Vec<_>) =
        workers.iter().copied().partition(|worker| worker.leaves && worker.busy == 0 && target.is_some());
    plan.stay.extend(staying.iter().filter(|worker| worker.leaves).map(|worker| worker.process_id));
    let target = target.map_or(usize::MAX, |target| target as usize);
    // Of those that leave the ones come back that are cheap, and that would take most away with them.
    leaving.sort_by_key(|worker| (Reverse(rank(worker.tier)), worker.agents(), worker.process_id));
    while staying.len() < target {
        let Some(back) = leaving.pop() else { break };
        plan.stay.push(back.process_id);
        staying.push(back);
    }
    // The idlest are the last: nobody to move, nobody to end, then the longest without work.
    staying.sort_by_key(|worker| {
        let idle = (worker.busy == 0, worker.moving == 0, worker.ending == 0);
        let rest = Reverse((worker.moving, worker.ending, worker.worked_at));
        (worker.busy == 0, rank(worker.tier), idle, rest, worker.process_id)
    });
    let mut surplus = Surplus::of(TierCounts::of(staying.iter().filter_map(|worker| worker.tier)), planned);
    let mut room: u32 = staying.iter().map(LeaveCandidate::room).sum();
    let mut moving: u32 = leaving.iter().map(|worker| worker.moving).sum();
    while staying.len() > target {
        // Nobody who runs is left without a slot.
        let fits = |worker: &LeaveCandidate| {
            worker.moving == 0 || moving.saturating_add(worker.moving) <= room.saturating_sub(worker.room())
        };
        let may_leave = |worker: &LeaveCandidate| worker.busy == 0 && surplus.has(worker.tier) && fits(worker);
        let Some(place) = staying.iter().rposition(may_leave) else { break };
        let idlest = staying.remove(place);
        (room, moving) = (room.saturating_sub(idlest.room()), moving.saturating_add(idlest.moving));
        plan.leave.push(idlest.process_id);
        surplus.take(idlest.tier);
    }
    if staying.len() > target && plan.leave.is_empty() && moving == 0 {
        plan.thin_out = to_thin_out(&staying);
    }
    plan
}

/// In which order tiers are emptied: the last first.
const fn rank(tier: Option<TierName>) -> u8 {
    match tier {
        Some(TierName::Base) => 0,
        Some(TierName::Spot) => 1,
        Some(TierName::Burst) => 2,
        None => 3,
    }
}

/// The worker whose idle agents go elsewhere: the emptiest that has work, where all of them find room on workers that are fuller than it
/// is even with them. Those are preferred when they are placed, so that nobody comes back, nor goes from there again.
fn to_thin_out(staying: &[LeaveCandidate]) -> Option<ProcessId> {
    let nearly_empty = staying.iter().filter(|worker| worker.is_nearly_empty());
    let emptiest = nearly_empty.min_by_key(|worker| (worker.agents(), worker.process_id))?;
    let is_fuller = |other: &&LeaveCandidate| other.is_ready && other.room() < emptiest.room();
    let room: u32 = staying.iter().filter(is_fuller).map(LeaveCandidate::room).sum();
    (emptiest.moving <= room).then_some(emptiest.process_id)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn id(n: u128) -> ProcessId {
        ProcessId::from_uuid(Uuid::from_u128(n))
    }

    /// Ready workers of ten slots, each with so many busy, moving and ending agents.
    fn workers(agents: &[(u32, u32, u32)]) -> Vec<LeaveCandidate> {
        let now = Instant::now();
        let worker = |(n, (busy, moving, ending)): (usize, &(u32, u32, u32))| LeaveCandidate {
            process_id: id(n as u128),
            capacity: 10,
            tier: None,
            leaves: false,
            is_ready: true,
            busy: *busy,
            moving: *moving,
            ending: *ending,
            worked_at: now,
        };
        agents.iter().enumerate().map(worker).collect()
    }

    fn leavers(agents: &[(u32, u32, u32)], target: u32) -> Vec<ProcessId> {
        scale_in(&workers(agents), Some(target), None).leave
    }

    #[test]
    fn the_idlest_leave_and_none_with_work() {
        assert_eq!(leavers(&[(1, 0, 0), (0, 0, 3), (0, 0, 0), (0, 2, 0)], 3), [id(2)], "the empty one");
        assert_eq!(
            leavers(&[(1, 0, 0), (0, 0, 3), (0, 0, 0), (0, 2, 0)], 2),
            [id(2), id(1)],
            "then nobody has to move"
        );
        assert_eq!(leavers(&[(1, 0, 0), (0, 0, 3), (0, 0, 0), (0, 2, 0)], 0), [id(2), id(1), id(3)]);
        assert_eq!(leavers(&[(1, 0, 0), (1, 9, 0)], 0), [], "both have work");
        let mut two = workers(&[(0, 0, 1), (0, 0, 1)]);
        two[0].worked_at += Duration::from_secs(1);
        assert_eq!(scale_in(&two, Some(1), None).leave, [id(1)], "the one that was idle for longer");
    }

    #[test]
    fn nobody_who_moves_is_left_without_a_slot() {
        assert_eq!(leavers(&[(9, 0, 0), (0, 1, 0)], 1), [id(1)]);
        assert_eq!(leavers(&[(9, 0, 0), (0, 2, 0)], 1), [], "there is room for one");
        let mut starting = workers(&[(0, 0, 0), (0, 2, 0), (1, 0, 0)]);
        (starting[0].is_ready, starting[2].is_ready) = (false, false);
        assert_eq!(scale_in(&starting, Some(1), None).leave, [id(0)], "none of the others has room yet");
    }

    #[test]
    fn one_that_leaves_stays_where_it_has_work_again_or_is_wanted() {
        let mut some = workers(&[(0, 0, 0), (1, 0, 0), (0, 0, 4)]);
        some.iter_mut().for_each(|worker| worker.leaves = true);
        assert_eq!(scale_in(&some, Some(1), None), ScaleIn { stay: vec![id(1)], ..ScaleIn::default() });
        assert_eq!(scale_in(&some, Some(2), None).stay, [id(1), id(2)], "the one that would take most away");
        assert_eq!(scale_in(&some, None, None).stay, [id(0), id(1), id(2)], "nobody says how many any more");
    }

    #[test]
    fn one_with_hardly_any_work_is_thinned_out_where_none_can_leave() {
        let thinned = |agents: &[(u32, u32, u32)], target| scale_in(&workers(agents), Some(target), None).thin_out;
        assert_eq!(thinned(&[(5, 2, 0), (1, 1, 0)], 1), Some(id(1)));
        assert_eq!(thinned(&[(1, 1, 0), (5, 2, 0)], 1), Some(id(0)));
        assert_eq!(thinned(&[(9, 1, 0), (1, 1, 0)], 1), None, "nowhere to go");
        assert_eq!(thinned(&[(5, 2, 0), (1, 1, 0)], 2), None, "as many as wanted");
        // Placed anew, it might come back, or come from there again.
        for even in [[(1, 0, 0), (1, 1, 0)], [(1, 1, 0), (1, 0, 0)], [(1, 1, 0), (1, 1, 0)]] {
            assert_eq!(thinned(&even, 1), None, "{even:?}");
        }
    }

    #[test]
    fn of_tiers_only_those_with_more_than_is_planned_give_workers_the_dear_ones_first() {
        let tiers = [Some(TierName::Base), Some(TierName::Spot), Some(TierName::Burst), Some(TierName::Burst), None];
        let mut all = workers(&[(0, 0, 0); 5]);
        all.iter_mut().zip(tiers).for_each(|(worker, tier)| worker.tier = tier);
        let planned = TierCounts { base: 1, spot: 1, burst: 1 };
        let left = |workers: &[LeaveCandidate], target| scale_in(workers, Some(target), Some(planned)).leave;
        assert_eq!(left(&all, 4), [id(4)], "one of no tier first");
        assert_eq!(left(&all, 3), [id(4), id(3)]);
        assert_eq!(left(&all, 0), [id(4), id(3)], "no tier gets fewer than is planned");
        all[3].busy = 1;
        assert_eq!(left(&all, 3), [id(4), id(2)], "of a tier the one that is idle");
    }

    proptest! {
        #[test]
        fn no_choice_ends_work_or_goes_below_the_target(
            agents in proptest::collection::vec(((0_u32..3, 0_u32..4, 0_u32..4), any::<bool>()), 0..12), target in 0_u32..12
        ) {
            let mut all = workers(&agents.iter().map(|(agents, _)| *agents).collect::<Vec<_>>());
            all.iter_mut().zip(&agents).for_each(|(worker, (_, leaves))| worker.leaves = *leaves);
            let plan = scale_in(&all, Some(target), None);
            let of = |id: &ProcessId| all.iter().find(|worker| worker.process_id == *id).expect("one of them");
            prop_assert!(plan.leave.iter().all(|id| of(id).busy == 0 && !of(id).leaves && !plan.stay.contains(id)));
            let stays = |worker: &&LeaveCandidate| {
                let id = &worker.process_id;
                (!worker.leaves || plan.stay.contains(id)) && !plan.leave.contains(id)
            };
            let staying: Vec<&LeaveCandidate> = all.iter().filter(stays).collect();
            prop_assert!(staying.len() as u32 >= target.min(all.len() as u32));
            // Whoever begins to move finds room.
            let moving: u32 = all.iter().filter(|worker| !stays(worker)).map(|worker| worker.moving).sum();
            let room: u32 = staying.iter().map(|worker| worker.room()).sum();
            let begins = plan.leave.iter().any(|id| of(id).moving > 0);
            prop_assert!(!begins || moving <= room);
            // And once it is carried out nothing changes any more.
            let after: Vec<LeaveCandidate> =
                all.iter().map(|worker| LeaveCandidate { leaves: !stays(&worker), ..*worker }).collect();
            prop_assert_eq!(scale_in(&after, Some(target), None).stay, Vec::new());
        }

        #[test]
        fn whoever_is_moved_off_stays_where_he_is_placed(
            agents in proptest::collection::vec((0_u32..3, 0_u32..4, 0_u32..2), 1..8), target in 0_u32..8
        ) {
            let mut all = workers(&agents);
            let mut thinned = Vec::new();
            while let Some(from) = scale_in(&all, Some(target), None).thin_out {
                prop_assert!(!thinned.contains(&from), "{from} is thinned out again");
                thinned.push(from);
                let place = all.iter().position(|worker| worker.process_id == from).expect("one of them");
                for _ in 0..std::mem::take(&mut all[place].moving) {
                    // As placing prefers them: the fullest first.
                    let fullest = all.iter_mut().filter(|worker| worker.room() > 0);
                    let fullest = fullest.min_by_key(|worker| (worker.room(), worker.process_id)).expect("room");
                    prop_assert!(fullest.process_id != from, "it comes back");
                    fullest.moving += 1;
                }
            }
        }
    }
}
