//! Since when supervisors lived.

use std::collections::BTreeMap;

use muster_domain::Fence;

use crate::LifeRow;

#[derive(Default)]
pub(super) struct Lives {
    /// By leader and part.
    lives: BTreeMap<(Fence, u32), LifeRow>,
}

impl Lives {
    /// The beginning of one that is known stays.
    pub(super) fn note(&mut self, life: &LifeRow) -> bool {
        self.lives.entry((life.fence, life.part)).or_insert_with(|| life.clone()).seen_at = life.seen_at;
        true
    }

    /// The latest first.
    pub(super) fn all(&self) -> Vec<LifeRow> {
        self.lives.values().rev().cloned().collect()
    }

    pub(super) fn prune(&mut self, oldest: &LifeRow) {
        self.lives = self.lives.split_off(&(oldest.fence, oldest.part));
    }
}
