//! How the workers of a pool grow and shrink with what is measured: what people set.
//!
//! Each policy votes for a number of workers, and the highest vote wins: out needs one of them, in needs all that have an opinion. The
//! judgement is in `muster-policy`; here is what it is told.
//!
//! | file | what it says |
//! |---|---|
//! | [`step`], [`target`], [`proactive`], [`schedule`], [`predictive`] | the settings of one policy each |
//! | [`policy`], [`preset`] | any of them; named sets of them |
//! | [`amount`], [`cron`], [`zone`] | how far a step goes; when a schedule fires, and by which clock |
//! | [`outcome`] | what became of the votes, in one word |
//! | [`record`] | a decision as it is stored |

pub mod amount;
pub mod cron;
pub mod outcome;
pub mod policy;
pub mod predictive;
pub mod preset;
pub mod proactive;
pub mod record;
pub mod schedule;
pub mod step;
pub mod target;
pub mod zone;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;
use utoipa::ToSchema;

use crate::time::seconds;
use crate::{OnDemand, described, number, schema};

pub use amount::Amount;
pub use cron::CronExpression;
pub use outcome::{Direction, HoldKind};
pub use policy::{Cooldowns, ScalingPolicy};
pub use predictive::{PredictivePolicy, Season};
pub use preset::ScalingPreset;
pub use proactive::ProactivePolicy;
pub use record::{DecisionState, ScalingActor, ScalingRecord, WorkerTarget};
pub use schedule::SchedulePolicy;
pub use step::{QueueStep, StepPolicy};
pub use target::{Aim, TargetMetric, TargetPolicy};
pub use zone::ZoneName;

/// For how long a person's decision holds the policies where none of them has a cooldown.
pub const PERSON_HOLD: Duration = Duration::from_secs(300);

crate::words! {
    /// Whether a pool's policies act.
    #[derive(ToSchema)]
    pub enum ScalingMode {
        /// They don't, and nothing is decided.
        Off = "off",
        /// What they would do is decided, explained and recorded; nothing changes.
        Advise = "advise",
        /// They do.
        On = "on",
    }
}

/// How a pool grows and shrinks with what is measured. Every field has a default.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SmartDefault, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ScalingConfig {
    /// Whether its policies act: `off`, `advise` (decide, explain and record, but change nothing) or `on`.
    #[default(ScalingMode::Off)]
    pub mode: ScalingMode,
    /// The time between two decisions.
    #[serde(with = "seconds")]
    #[schema(value_type = f64, format = "seconds", minimum = 0.1)]
    #[default(Duration::from_secs(60))]
    pub check_interval: Duration,
    /// For how long earlier votes count.
    pub stabilization: Stabilization,
    /// Workers by which one decision changes the pool at the most; 0 is no bound.
    #[schema(maximum = 10000)]
    pub max_change: u32,
    /// What its workers may cost an hour, in US dollars; 0 is no bound. Past it no worker is added, and none is taken. It counts where a
    /// worker of the pool has a price.
    #[serde(with = "number")]
    #[schema(minimum = 0, maximum = 1000000000)]
    pub max_cost_per_hour: f64,
    /// A named set of policies: `step`, `ecs`, `hpa` or `target`. Default: none.
    pub preset: Option<ScalingPreset>,
    /// Policies, beside those of the preset: tables with a `kind` of `step`, `target`, `proactive`, `schedule` or `predictive`.
    pub policies: Vec<ScalingPolicy>,
}

described!(ScalingConfig);

/// For how long earlier votes count, as the stabilization windows of Kubernetes' HorizontalPodAutoscaler.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Stabilization {
    /// Out goes no further than the lowest vote within this time; 0 is the latest vote only.
    #[serde(with = "seconds")]
    #[schema(value_type = f64, format = "seconds", maximum = 3600)]
    pub out: Duration,
    /// In goes no further than the highest vote within this time; 0 is the latest vote only.
    #[serde(rename = "in", with = "seconds")]
    #[schema(value_type = f64, format = "seconds", maximum = 3600)]
    pub scale_in: Duration,
}

impl ScalingConfig {
    /// All policies: those of the preset, and the pool's own.
    pub fn all_policies(&self) -> Vec<ScalingPolicy> {
        let preset = self.preset.map(ScalingPreset::policies).unwrap_or_default();
        preset.into_iter().chain(self.policies.iter().cloned()).collect()
    }

    /// The stabilization windows: of the pool's own and those of the preset the longer ones.
    pub fn windows(&self) -> Stabilization {
        let preset = self.preset.map(ScalingPreset::stabilization).unwrap_or_default();
        let Stabilization { out, scale_in } = self.stabilization;
        Stabilization { out: out.max(preset.out), scale_in: scale_in.max(preset.scale_in) }
    }

    /// For how long a person's decision holds the policies: the longest of their cooldowns, or [`PERSON_HOLD`] without any.
    pub fn person_hold(&self) -> Duration {
        let longest = |policy: &ScalingPolicy| policy.cooldowns().out.max(policy.cooldowns().scale_in);
        let longest = self.all_policies().iter().map(longest).max().unwrap_or_default();
        if longest.is_zero() { PERSON_HOLD } else { longest }
    }

    /// Says what is wrong with it, in words that begin with the setting's key in a pool: `scaling....`.
    pub fn validate(&self) -> Result<(), String> {
        schema::check(self).map_err(|words| format!("scaling.{words}"))?;
        let check = |(place, policy): (usize, &ScalingPolicy)| {
            policy.validate().map_err(|words| format!("scaling.policies[{place}].{words}"))
        };
        self.policies.iter().enumerate().try_for_each(check)
    }

    /// Says what of it contradicts itself or its pool: a mode without any policy, a schedule whose minimum is above the pool's `max_workers` (0 is no bound), or a policy that
    /// looks at the queue while the pool starts no agents for tasks.
    pub fn check_within(&self, max_workers: u32, on_demand: Option<&OnDemand>) -> Result<(), String> {
        if self.mode != ScalingMode::Off && self.preset.is_none() && self.policies.is_empty() {
            let mode = self.mode.as_str();
            return Err(format!(
                "scaling.mode is {mode}, and there is neither a scaling.preset nor one of scaling.policies"
            ));
        }
        for (place, policy) in self.policies.iter().enumerate() {
            match policy {
                ScalingPolicy::Schedule(schedule) if max_workers > 0 && schedule.min_workers > max_workers => {
                    let min = schedule.min_workers;
                    return Err(format!(
                        "scaling.policies[{place}].min_workers ({min}) is above max_workers ({max_workers})"
                    ));
                }
                _ if on_demand.is_none() && policy.uses_queue() => {
                    let why = "votes by the queue, and without on_demand the pool starts no agents for tasks";
                    return Err(format!("scaling.policies[{place}] ({}) {why}", policy.label()));
                }
                _ => {}
            }
        }
        match self.preset.filter(|preset| preset.policies().iter().any(ScalingPolicy::uses_queue)) {
            Some(preset) if on_demand.is_none() => Err(format!(
                "scaling.preset ({}) votes by the queue, and without on_demand the pool starts no agents for tasks",
                preset.as_str()
            )),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
