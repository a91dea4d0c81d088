//! The vote of target tracking, by the formula of Kubernetes' HorizontalPodAutoscaler.

use muster_domain::scaling::{Aim, HoldKind, TargetMetric, TargetPolicy};

use super::Picture;
use super::vote::Opinion;

/// How far a figure may be from its target, as a share of it, before anything changes: the HPA's default.
const TOLERANCE: f64 = 0.1;

/// So many workers that the figure meets its target: workers x figure / target, rounded up.
pub(super) fn opinion(policy: &TargetPolicy, picture: &Picture) -> Opinion {
    let current = picture.workers.current;
    let name = policy.metric.as_str();
    let Some(value) = value(policy.metric, picture) else { return Opinion::missing(current, name) };
    let unit = if policy.metric == TargetMetric::QueuePerWorker { "" } else { "%" };
    let said = format!("{name} is {value:.1}{unit}");
    let opinion = match policy.aim() {
        Aim::At(target) if current == 0 => from_nothing(policy.metric, picture, target, said),
        Aim::At(target) => {
            let words = format!("{said}, and the target is {target}{unit}");
            // A little more for what floats leave over.
            if (value / target - 1.0).abs() <= TOLERANCE + 1e-9 {
                Opinion::holds(current, HoldKind::WithinTolerance, words)
            } else {
                Opinion::wants(proportional(current, value / target), words)
            }
        }
        Aim::Between { in_below, out_above } => {
            let above = value > out_above;
            let (bound, word) = if above { (out_above, "above") } else { (in_below, "below") };
            if !above && value >= in_below {
                let words = format!("{said}, between {in_below}% and {out_above}%");
                Opinion::holds(current, HoldKind::WithinTolerance, words)
            } else {
                Opinion::wants(proportional(current, value / bound), format!("{said}, {word} {bound}%"))
            }
        }
    };
    if policy.metric == TargetMetric::QueuePerWorker { opinion.within_queue_bound(picture) } else { opinion }
}

/// Nothing is in proportion to no workers: for waiting tasks as many as they need are wanted, else none.
fn from_nothing(metric: TargetMetric, picture: &Picture, target: f64, said: String) -> Opinion {
    match metric {
        TargetMetric::QueuePerWorker => {
            let queue = picture.queue.unwrap_or_default();
            let words = format!("{queue} tasks wait, there is no worker, and the target is {target}");
            Opinion::wants(proportional(1, f64::from(queue) / target), words)
        }
        TargetMetric::Utilization | TargetMetric::Cpu => Opinion::wants(0, format!("{said}, and there is no worker")),
    }
}

/// The figure, for each worker or in percent.
fn value(metric: TargetMetric, picture: &Picture) -> Option<f64> {
    let current = picture.workers.current;
    match metric {
        TargetMetric::QueuePerWorker => picture.queue.map(|queue| f64::from(queue) / f64::from(current.max(1))),
        TargetMetric::Utilization => match picture.slots? {
            // All of them are starting: nothing is known of what they will do.
            slots if slots.all == 0 && current > 0 => None,
            slots => Some(100.0 * f64::from(slots.busy) / f64::from(slots.all.max(1))),
        },
        TargetMetric::Cpu => picture.cpu,
    }
}

/// Workers x ratio, rounded up, but not for what floats leave over.
fn proportional(workers: u32, ratio: f64) -> u32 {
    // A float that is too great becomes the greatest number.
    (f64::from(workers) * ratio - 1e-9).ceil().max(0.0) as u32
}
