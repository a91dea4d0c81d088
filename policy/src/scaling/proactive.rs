//! The vote for free slots ahead of the work.

use muster_domain::counted;
use muster_domain::scaling::ProactivePolicy;

use super::Picture;
use super::vote::Opinion;

/// The fewest workers of whose slots at most the share is taken, and that leave the slots of the spare ones free.
pub(super) fn opinion(policy: &ProactivePolicy, picture: &Picture) -> Opinion {
    let workers = picture.workers;
    let Some(slots) = picture.slots else { return Opinion::missing(workers.current, "slots") };
    let each = workers.max_agents.max(1);
    let by_share = (f64::from(slots.taken) / (policy.used_above * f64::from(each)) - 1e-9).ceil().max(0.0) as u32;
    let by_spare = slots.taken.div_ceil(each).saturating_add(policy.spare_workers);
    let words = format!(
        "{} of {} taken; at most {:.0}% are to be, and the slots of {} free",
        slots.taken,
        counted(slots.all.into(), "slot"),
        100.0 * policy.used_above,
        counted(policy.spare_workers.into(), "worker"),
    );
    Opinion::wants(by_share.max(by_spare), words)
}
