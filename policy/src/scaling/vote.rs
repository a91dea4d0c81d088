//! What one policy votes for.

use std::time::Duration;

use muster_domain::scaling::{HoldKind, ScalingPolicy};
use muster_domain::{ScalingConfig, Timestamp};
use serde::{Deserialize, Serialize};

use super::{Picture, ScalingHistory, predictive, proactive, schedule, step, target};

/// The vote of one policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vote {
    /// Which policy: [`ScalingPolicy::label`].
    pub policy: String,
    /// So many workers; none where it abstains.
    pub workers: Option<u32>,
    /// What its figures ask for, before its cooldown.
    pub wanted: Option<u32>,
    /// Why it votes for what there is.
    pub held: Option<HoldKind>,
    /// Whether it only ever adds: it holds against other votes for fewer, and is none itself.
    pub adds_only: bool,
    /// Why, in words with the figures.
    pub reason: String,
}

/// What the figures of a policy ask for, before its cooldown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Opinion {
    /// So many workers; none where it abstains.
    pub(super) wanted: Option<u32>,
    /// Why it is what there is.
    pub(super) held: Option<HoldKind>,
    /// Why, in words with the figures.
    pub(super) reason: String,
}

impl Opinion {
    pub(super) const fn wants(workers: u32, reason: String) -> Self {
        Self { wanted: Some(workers), held: None, reason }
    }

    pub(super) const fn holds(current: u32, held: HoldKind, reason: String) -> Self {
        Self { wanted: Some(current), held: Some(held), reason }
    }

    pub(super) fn missing(current: u32, figure: &str) -> Self {
        Self::holds(current, HoldKind::MissingMetric, format!("{figure} is missing"))
    }

    pub(super) const fn abstains(reason: String) -> Self {
        Self { wanted: None, held: None, reason }
    }

    /// The same with the bound for waiting tasks: past it nothing is added for them.
    pub(super) fn within_queue_bound(self, picture: &Picture) -> Self {
        let Some(wanted) = self.wanted else { return self };
        let bounded = picture.within_queue_bound(wanted);
        if bounded == wanted {
            return self;
        }
        let agents = picture.on_demand_max_agents.unwrap_or_default();
        let reason = format!("{}, but on_demand.max_agents ({agents}) allows no more", self.reason);
        let held = (bounded == picture.workers.current).then_some(HoldKind::OnDemand);
        Self { wanted: Some(bounded), held, reason }
    }
}

/// The votes of all policies of a pool, in their order.
pub(super) fn all(config: &ScalingConfig, picture: &Picture, history: &ScalingHistory, now: Timestamp) -> Vec<Vote> {
    let policies = config.all_policies();
    let latest = schedule::latest_firing(&policies, now);
    let opinion = |policy: &ScalingPolicy| match policy {
        ScalingPolicy::Step(step) => step::opinion(step, picture),
        ScalingPolicy::Target(target) => target::opinion(target, picture),
        ScalingPolicy::Proactive(proactive) => proactive::opinion(proactive, picture),
        ScalingPolicy::Schedule(schedule) => schedule::opinion(schedule, latest, now),
        ScalingPolicy::Predictive(predictive) => predictive::opinion(predictive, picture, history, now),
    };
    policies.iter().map(|policy| after_cooldown(policy, opinion(policy), picture, history, now)).collect()
}

/// While a policy cools down after a change of the pool, its vote is for what there is. Each direction has its own time, as with the
/// target tracking of AWS. Every change begins that of the way in, so that what was needed at once is there for a while; that of the way out
/// is begun by votes only, so that a pool's first worker does not hold up the next ones.
fn after_cooldown(
    policy: &ScalingPolicy,
    opinion: Opinion,
    picture: &Picture,
    history: &ScalingHistory,
    now: Timestamp,
) -> Vote {
    let current = picture.workers.current;
    let Opinion { wanted, held, reason } = opinion;
    let (policy_name, adds_only) = (policy.label(), matches!(policy, ScalingPolicy::Predictive(_)));
    let vote = Vote { policy: policy_name, workers: wanted, wanted, held, adds_only, reason };
    let (cooldown, last) = match wanted.map(|wanted| wanted.cmp(&current)) {
        Some(std::cmp::Ordering::Greater) => (policy.cooldowns().out, history.last_voted(now)),
        Some(std::cmp::Ordering::Less) => (policy.cooldowns().scale_in, history.last_move(now)),
        Some(std::cmp::Ordering::Equal) | None => (Duration::ZERO, None),
    };
    let since = last.map(|last| now.since(last.at));
    match since.and_then(|since| cooldown.checked_sub(since)).filter(|rest| !rest.is_zero()) {
        Some(rest) => {
            let reason = format!("{}, but it cools down for {:.0} s more", vote.reason, rest.as_secs_f64().ceil());
            Vote { workers: Some(current), held: Some(HoldKind::Cooldown), reason, ..vote }
        }
        None => vote,
    }
}
