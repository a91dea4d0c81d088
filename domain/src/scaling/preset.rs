//! Named sets of policies.

use std::time::Duration;

use utoipa::ToSchema;

use super::{Amount, ScalingPolicy, Stabilization, StepPolicy, TargetMetric, TargetPolicy};

crate::words! {
    /// A named set of policies; those that a pool names besides come on top.
    #[derive(ToSchema)]
    pub enum ScalingPreset {
        /// A queue above 10 or processors above 80%: 20% more workers. A queue below 2 and processors below 20%: 20% fewer. 300 s
        /// after a change before the next one.
        Step = "step",
        /// The bounds that services on Amazon ECS are often scaled by: processors above 90%, memory above 90% or a queue above 10: 20%
        /// more workers. A queue below 2 and processors below 20%: 20% fewer. 300 s after a change before the next one.
        Ecs = "ecs",
        /// As Kubernetes' HorizontalPodAutoscaler does by itself: processors at 80%, at once out, and in to the most that was
        /// asked for within the last 300 s.
        Hpa = "hpa",
        /// 10 waiting tasks for each worker; 30 s after a change before it goes out, 300 s before it goes in.
        Target = "target",
    }
}

impl ScalingPreset {
    /// Its policies.
    pub fn policies(self) -> Vec<ScalingPolicy> {
        let step = StepPolicy {
            queue_above: Some(10),
            queue_below: Some(2),
            cpu_below: Some(20.0),
            scale_in: Some(Amount::Percent(20)),
            ..StepPolicy::default()
        };
        let policy = match self {
            Self::Step => ScalingPolicy::Step(StepPolicy { cpu_above: Some(80.0), ..step }),
            Self::Ecs => ScalingPolicy::Step(StepPolicy { cpu_above: Some(90.0), memory_above: Some(90.0), ..step }),
            Self::Hpa => ScalingPolicy::Target(TargetPolicy {
                metric: TargetMetric::Cpu,
                target: Some(80.0),
                cooldown_out: Duration::ZERO,
                cooldown_in: Duration::ZERO,
                ..TargetPolicy::default()
            }),
            Self::Target => ScalingPolicy::Target(TargetPolicy { target: Some(10.0), ..TargetPolicy::default() }),
        };
        vec![policy]
    }

    /// Its stabilization windows; a longer one of the pool counts instead.
    pub const fn stabilization(self) -> Stabilization {
        let scale_in = match self {
            Self::Hpa => Duration::from_secs(300),
            Self::Step | Self::Ecs | Self::Target => Duration::ZERO,
        };
        Stabilization { out: Duration::ZERO, scale_in }
    }
}
