//! Leadership: a fence that rises with every change of leader.

use muster_domain::Fence;

use crate::StoreError;

#[derive(Default)]
pub(super) struct LeaderRow {
    fence: Fence,
}

impl LeaderRow {
    pub(super) const fn lead(&mut self) -> Fence {
        self.fence = self.fence.next();
        self.fence
    }

    /// Whether this fence is the one in force.
    pub(super) fn admit(&self, fence: Fence) -> Result<(), StoreError> {
        if fence == self.fence { Ok(()) } else { Err(StoreError::Fenced { ours: fence, current: self.fence }) }
    }

    /// What the leader still has in flight is refused from now on.
    pub(super) fn resign(&mut self, fence: Fence) {
        if fence == self.fence {
            self.lead();
        }
    }
}
