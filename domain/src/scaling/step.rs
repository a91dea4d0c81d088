//! Steps: so much more or less when a figure passes a bound.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;
use utoipa::ToSchema;

use super::Amount;
use crate::time::seconds;
use crate::{described, number, schema};

/// Steps by bounds, as AWS's step scaling takes them: out when any `above` holds, in when all `below` that are set hold. A bound that is
/// left out is no condition.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SmartDefault, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct StepPolicy {
    /// Out when more tasks wait than this. Tasks count that a free slot would start now.
    pub queue_above: Option<u32>,
    /// Out when the pool's processes use more than this share of the host's processors, in percent.
    #[serde(with = "number::optional")]
    #[schema(minimum = 0, maximum = 100)]
    pub cpu_above: Option<f64>,
    /// Out when they use more than this share of the host's memory, in percent.
    #[serde(with = "number::optional")]
    #[schema(minimum = 0, maximum = 100)]
    pub memory_above: Option<f64>,
    /// How far out: `"20%"` of the workers, rounded up, or a number of workers.
    #[default(Amount::Percent(20))]
    pub out: Amount,
    /// In only when fewer tasks wait than this.
    pub queue_below: Option<u32>,
    /// In only when they use less than this share of the host's processors, in percent.
    #[serde(with = "number::optional")]
    #[schema(minimum = 0, maximum = 100)]
    pub cpu_below: Option<f64>,
    /// In only when they use less than this share of the host's memory, in percent.
    #[serde(with = "number::optional")]
    #[schema(minimum = 0, maximum = 100)]
    pub memory_below: Option<f64>,
    /// How far in: `"20%"` of the workers, what stays rounded down, or a number of workers. Default: this policy never votes in.
    #[serde(rename = "in")]
    pub scale_in: Option<Amount>,
    /// The time after any change of the pool before this policy votes for another one.
    #[serde(with = "seconds")]
    #[schema(value_type = f64, format = "seconds")]
    #[default(Duration::from_secs(300))]
    pub cooldown: Duration,
    /// Larger steps out for longer queues; of those that are exceeded the highest counts.
    pub thresholds: Vec<QueueStep>,
}

described!(StepPolicy);

/// One step out by the length of the queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub struct QueueStep {
    /// It counts when more tasks wait than this.
    pub queue_above: u32,
    /// How far out.
    pub out: Amount,
}

impl StepPolicy {
    /// Whether what the pool's processes use is one of its figures.
    pub fn uses_processes(&self) -> bool {
        [self.cpu_above, self.cpu_below, self.memory_above, self.memory_below].iter().any(Option::is_some)
    }

    /// Whether the queue is one of its figures.
    pub fn uses_queue(&self) -> bool {
        self.queue_above.is_some() || self.queue_below.is_some() || !self.thresholds.is_empty()
    }

    /// Of the larger steps the highest that so many tasks exceed.
    pub fn threshold(&self, queue: u32) -> Option<QueueStep> {
        let exceeded = self.thresholds.iter().filter(|step| queue > step.queue_above);
        exceeded.max_by_key(|step| step.queue_above).copied()
    }

    /// Says what is wrong with it, in words that begin with the field.
    pub(super) fn validate(&self) -> Result<(), String> {
        schema::check(self)?;
        let has_above = self.queue_above.is_some() || self.cpu_above.is_some() || self.memory_above.is_some();
        let has_below = self.queue_below.is_some() || self.cpu_below.is_some() || self.memory_below.is_some();
        if !has_above && !has_below && self.thresholds.is_empty() {
            return Err("queue_above is missing, and so is every other bound: this policy would never vote".to_owned());
        }
        if self.scale_in.is_some() && !has_below {
            return Err("in needs at least one of queue_below, cpu_below and memory_below".to_owned());
        }
        let counts = (self.queue_below.map(f64::from), self.queue_above.map(f64::from));
        let pairs = [
            ("queue", counts),
            ("cpu", (self.cpu_below, self.cpu_above)),
            ("memory", (self.memory_below, self.memory_above)),
        ];
        for (figure, (below, above)) in pairs {
            if let (Some(below), Some(above)) = (below, above)
                && below > above
            {
                return Err(format!("{figure}_below ({below}) is above {figure}_above ({above})"));
            }
        }
        Ok(())
    }
}
