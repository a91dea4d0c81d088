//! Which tiers may give workers away.

use muster_domain::{TierName, Words};

use super::TierCounts;

/// How many workers of each tier there are beyond those that are to be there; none where the pool has no tiers, and any may go.
#[derive(Clone, Copy, Debug)]
pub struct Surplus(Option<TierCounts>);

impl Surplus {
    /// Of those that there are, beyond what is planned.
    pub fn of(there: TierCounts, planned: Option<TierCounts>) -> Self {
        Self(planned.map(|planned| {
            let mut surplus = there;
            for name in TierName::all() {
                *surplus.get_mut(name) = there.get(name).saturating_sub(planned.get(name));
            }
            surplus
        }))
    }

    /// Whether one of this tier may go. One of no tier is of before the pool had any, and may.
    pub fn has(&self, tier: Option<TierName>) -> bool {
        self.0.zip(tier).is_none_or(|(surplus, tier)| surplus.get(tier) > 0)
    }

    /// One of this tier goes.
    pub const fn take(&mut self, tier: Option<TierName>) {
        if let (Some(surplus), Some(tier)) = (&mut self.0, tier) {
            *surplus.get_mut(tier) = surplus.get(tier).saturating_sub(1);
        }
    }
}
