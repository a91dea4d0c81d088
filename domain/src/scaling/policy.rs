//! The policies of a pool: each votes for a number of workers.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{PredictivePolicy, ProactivePolicy, SchedulePolicy, StepPolicy, TargetMetric, TargetPolicy};
use crate::schema;

/// One policy of a pool. `kind` says which, and it has the fields of that kind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum ScalingPolicy {
    /// So much more or less when a figure passes a bound.
    Step(StepPolicy),
    /// So many workers that a figure meets its target.
    Target(TargetPolicy),
    /// So many workers that slots are free ahead of the work.
    Proactive(ProactivePolicy),
    /// A minimum by the clock.
    Schedule(SchedulePolicy),
    /// Workers ahead of a demand that comes back.
    Predictive(PredictivePolicy),
}

/// The shortest times after a change of a pool before a policy votes for the next one, by its direction.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cooldowns {
    /// Before it votes for more workers.
    pub out: Duration,
    /// Before it votes for fewer.
    pub scale_in: Duration,
}

impl ScalingPolicy {
    /// How it is called in a vote and in a decision, e.g. `step`, `target queue_per_worker`, `schedule 0 13 ? * MON-FRI *`.
    pub fn label(&self) -> String {
        match self {
            Self::Step(_) => "step".to_owned(),
            Self::Target(target) => format!("target {}", target.metric.as_str()),
            Self::Proactive(_) => "proactive".to_owned(),
            Self::Schedule(schedule) => format!("schedule {}", schedule.cron),
            Self::Predictive(_) => "predictive".to_owned(),
        }
    }

    /// How long it waits after a change of the pool.
    pub const fn cooldowns(&self) -> Cooldowns {
        match self {
            Self::Step(step) => Cooldowns { out: step.cooldown, scale_in: step.cooldown },
            Self::Target(target) => Cooldowns { out: target.cooldown_out, scale_in: target.cooldown_in },
            Self::Proactive(proactive) => Cooldowns { out: Duration::ZERO, scale_in: proactive.cooldown_in },
            Self::Schedule(_) | Self::Predictive(_) => Cooldowns { out: Duration::ZERO, scale_in: Duration::ZERO },
        }
    }

    /// Whether waiting tasks are one of its figures. Such a policy needs the pool's `on_demand`: without it no worker that it adds would
    /// take one of them.
    pub fn uses_queue(&self) -> bool {
        match self {
            Self::Step(step) => step.uses_queue(),
            Self::Target(target) => target.metric == TargetMetric::QueuePerWorker,
            Self::Proactive(_) | Self::Schedule(_) | Self::Predictive(_) => false,
        }
    }

    /// Whether what the pool's processes use is one of its figures.
    pub fn uses_processes(&self) -> bool {
        match self {
            Self::Step(step) => step.uses_processes(),
            Self::Target(target) => target.metric == TargetMetric::Cpu,
            Self::Proactive(_) | Self::Schedule(_) | Self::Predictive(_) => false,
        }
    }

    /// Says what is wrong with it, in words that begin with the field.
    pub(super) fn validate(&self) -> Result<(), String> {
        match self {
            Self::Step(step) => step.validate(),
            Self::Target(target) => target.validate(),
            Self::Proactive(proactive) => schema::check(proactive),
            Self::Schedule(schedule) => schema::check(schedule),
            Self::Predictive(predictive) => predictive.validate(),
        }
    }
}
