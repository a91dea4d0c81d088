//! Target tracking: so many workers that a figure meets its target.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;
use utoipa::ToSchema;

use crate::time::seconds;
use crate::{described, number, schema};

crate::words! {
    /// Which figure a [`TargetPolicy`] keeps at its target.
    #[derive(ToSchema)]
    pub enum TargetMetric {
        /// Waiting tasks that a free slot would start now, for each worker.
        QueuePerWorker = "queue_per_worker",
        /// Busy slots in percent of all (`load_percentage`).
        Utilization = "utilization",
        /// What the pool's processes use of the host's processors, in percent.
        Cpu = "cpu",
    }
}

/// Keeps a figure at its target by the formula of Kubernetes' HorizontalPodAutoscaler: workers x figure / target, rounded up; a figure
/// within a tenth of its target changes nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, SmartDefault, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct TargetPolicy {
    /// Which figure: `queue_per_worker`, `utilization` or `cpu`.
    #[default(TargetMetric::QueuePerWorker)]
    pub metric: TargetMetric,
    /// What it is to be: tasks, or percent. Default: 10 tasks; 70% of the slots; for `cpu` the band from `in_below` to `out_above`.
    #[serde(with = "number::optional")]
    #[schema(exclusive_minimum = 0)]
    pub target: Option<f64>,
    /// For `cpu` without a target: above this it goes out in proportion, in percent. Default: 70.
    #[serde(with = "number::optional")]
    #[schema(exclusive_minimum = 0, maximum = 100)]
    pub out_above: Option<f64>,
    /// For `cpu` without a target: below this it goes in in proportion, in percent. Default: 30.
    #[serde(with = "number::optional")]
    #[schema(exclusive_minimum = 0, maximum = 100)]
    pub in_below: Option<f64>,
    /// The time after any change of the pool before this policy votes out.
    #[serde(with = "seconds")]
    #[schema(value_type = f64, format = "seconds")]
    #[default(Duration::from_secs(30))]
    pub cooldown_out: Duration,
    /// The time after any change of the pool before it votes in.
    #[serde(with = "seconds")]
    #[schema(value_type = f64, format = "seconds")]
    #[default(Duration::from_secs(300))]
    pub cooldown_in: Duration,
}

described!(TargetPolicy);

/// Where a figure is to be.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Aim {
    /// At this, within a tenth of it.
    At(f64),
    /// Anywhere between these.
    Between {
        /// Below this there are too many workers.
        in_below: f64,
        /// Above this there are too few.
        out_above: f64,
    },
}

impl TargetPolicy {
    /// Where its figure is to be, defaults included.
    pub fn aim(&self) -> Aim {
        match (self.target, self.metric) {
            (Some(target), _) => Aim::At(target),
            (None, TargetMetric::QueuePerWorker) => Aim::At(10.0),
            (None, TargetMetric::Utilization) => Aim::At(70.0),
            (None, TargetMetric::Cpu) => {
                Aim::Between { in_below: self.in_below.unwrap_or(30.0), out_above: self.out_above.unwrap_or(70.0) }
            }
        }
    }

    /// Says what is wrong with it, in words that begin with the field.
    pub(super) fn validate(&self) -> Result<(), String> {
        schema::check(self)?;
        let band = [("out_above", self.out_above), ("in_below", self.in_below)];
        let set = band.iter().find(|(_, bound)| bound.is_some()).map(|(field, _)| field);
        match (set, self.metric) {
            (Some(field), TargetMetric::QueuePerWorker | TargetMetric::Utilization) => {
                return Err(format!("{field} is for the metric cpu, not for {}", self.metric.as_str()));
            }
            (Some(field), TargetMetric::Cpu) if self.target.is_some() => {
                return Err(format!("{field} and target exclude each other"));
            }
            _ => {}
        }
        match self.aim() {
            Aim::At(target) if target > 100.0 && self.metric != TargetMetric::QueuePerWorker => {
                Err(format!("target must be at most 100 percent, not {target}"))
            }
            Aim::Between { in_below, out_above } if in_below >= out_above => {
                Err(format!("in_below ({in_below}) is not below out_above ({out_above})"))
            }
            _ => Ok(()),
        }
    }
}
