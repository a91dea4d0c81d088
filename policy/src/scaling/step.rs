//! The vote of a step policy: so much more or less when a figure passes a bound.

use muster_domain::scaling::StepPolicy;

use super::Picture;
use super::vote::Opinion;

/// A figure and its bounds.
struct Bounded {
    name: &'static str,
    unit: &'static str,
    value: Option<f64>,
    above: Option<f64>,
    below: Option<f64>,
}

impl Bounded {
    const fn is_set(&self) -> bool {
        self.above.is_some() || self.below.is_some()
    }

    fn is_above(&self) -> bool {
        matches!((self.value, self.above), (Some(value), Some(bound)) if value > bound)
    }

    fn is_below(&self) -> bool {
        matches!((self.value, self.below), (Some(value), Some(bound)) if value < bound)
    }

    fn words(&self) -> String {
        let Self { name, unit, value, above, below } = self;
        let value = value.unwrap_or_default();
        match (above, below) {
            (Some(bound), _) if self.is_above() => format!("{name} {value:.0}{unit} is above {bound}{unit}"),
            (_, Some(bound)) if self.is_below() => format!("{name} {value:.0}{unit} is below {bound}{unit}"),
            _ => format!("{name} {value:.0}{unit}"),
        }
    }
}

fn joined<'a>(figures: impl Iterator<Item = &'a Bounded>, word: &str) -> String {
    figures.map(Bounded::words).collect::<Vec<_>>().join(word)
}

/// Out when any figure is above its bound, in when all that have a lower one are below it.
pub(super) fn opinion(policy: &StepPolicy, picture: &Picture) -> Opinion {
    let current = picture.workers.current;
    let figures = bounded(policy, picture);
    let out = [by_machine(policy, picture, &figures), by_queue(policy, picture, &figures[0])];
    if let Some(out) =
        out.into_iter().flatten().reduce(|one, other| if other.wanted > one.wanted { other } else { one })
    {
        return out;
    }
    let missing = figures.iter().find(|figure| figure.is_set() && figure.value.is_none());
    if let Some(missing) = missing {
        return Opinion::missing(current, missing.name);
    }
    if !policy.thresholds.is_empty() && picture.queue.is_none() {
        return Opinion::missing(current, "queue");
    }
    let Some(amount) = policy.scale_in else {
        return Opinion::abstains("no bound is passed, and it never votes in".to_owned());
    };
    let lower = || figures.iter().filter(|figure| figure.below.is_some());
    if lower().all(Bounded::is_below) {
        return Opinion::wants(amount.taken_from(current), format!("{}: {amount} fewer", joined(lower(), " and ")));
    }
    let words = joined(figures.iter().filter(|figure| figure.is_set()), " and ");
    Opinion::wants(current, format!("{words}: no step"))
}

fn bounded(policy: &StepPolicy, picture: &Picture) -> [Bounded; 3] {
    let count = |count: Option<u32>| count.map(f64::from);
    let (above, below) = (count(policy.queue_above), count(policy.queue_below));
    [
        Bounded { name: "queue", unit: "", value: count(picture.queue), above, below },
        Bounded { name: "cpu", unit: "%", value: picture.cpu, above: policy.cpu_above, below: policy.cpu_below },
        Bounded {
            name: "memory",
            unit: "%",
            value: picture.memory,
            above: policy.memory_above,
            below: policy.memory_below,
        },
    ]
}

/// Out for processors and memory.
fn by_machine(policy: &StepPolicy, picture: &Picture, figures: &[Bounded; 3]) -> Option<Opinion> {
    let above = || figures[1..].iter().filter(|figure| figure.is_above());
    above().next()?;
    let words = format!("{}: {} more", joined(above(), " and "), policy.out);
    Some(Opinion::wants(policy.out.added_to(picture.workers.current), words))
}

/// Out for waiting tasks: the plain step or the threshold, whichever goes further.
fn by_queue(policy: &StepPolicy, picture: &Picture, queue: &Bounded) -> Option<Opinion> {
    let current = picture.workers.current;
    let plain = queue
        .is_above()
        .then(|| Opinion::wants(policy.out.added_to(current), format!("{}: {} more", queue.words(), policy.out)));
    let threshold = picture.queue.and_then(|tasks| Some((tasks, policy.threshold(tasks)?))).map(|(tasks, step)| {
        let words = format!("queue {tasks} is above {}: {} more", step.queue_above, step.out);
        Opinion::wants(step.out.added_to(current), words)
    });
    let further = [threshold, plain].into_iter().flatten().max_by_key(|opinion| opinion.wanted)?;
    Some(further.within_queue_bound(picture))
}
