//! What holds a pool whatever its policies vote.

use muster_domain::scaling::HoldKind;
use muster_domain::{ScalingConfig, Timestamp};

use super::{Picture, ScalingHistory};

/// A hold, or a bound that was met, with its words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) kind: HoldKind,
    pub(super) words: String,
}

impl Limit {
    pub(super) fn new(kind: HoldKind, words: impl Into<String>) -> Self {
        Self { kind, words: words.into() }
    }

    /// Whether `max_workers` and `min_workers` are kept nevertheless: a person's pause is none of their affair, but nothing is let go of
    /// by figures that are missing, or while the last decision is carried out.
    pub(super) const fn keeps_bounds(&self) -> bool {
        matches!(self.kind, HoldKind::Paused | HoldKind::Breaker | HoldKind::Person)
    }
}

/// Why policies hold; of several reasons the first.
pub(super) fn standing(
    config: &ScalingConfig,
    picture: &Picture,
    history: &ScalingHistory,
    now: Timestamp,
) -> Option<Limit> {
    let holds = picture.holds;
    let person = history.person_until.filter(|until| *until > now);
    let limit = match () {
        () if holds.draining => Limit::new(HoldKind::Draining, "the pool is being removed"),
        () if holds.paused => Limit::new(HoldKind::Paused, "the pool is paused"),
        () if holds.breaker => Limit::new(HoldKind::Breaker, "tasks wait since too many of them fail"),
        () if person.is_some() => {
            let until = person.map(|until| until.to_string()).unwrap_or_default();
            Limit::new(HoldKind::Person, format!("a person has decided, and policies wait until {until}"))
        }
        () if picture.age.is_none() => Limit::new(HoldKind::NoPicture, "nothing could be measured"),
        () if !picture.is_fresh(config.check_interval) => {
            let age = picture.age.unwrap_or_default().as_secs_f64();
            Limit::new(HoldKind::NoPicture, format!("the latest figures are {age:.0} s old, more than two checks"))
        }
        () if picture.progress.unfinished => {
            let (starting, drains) = (picture.workers.starting, picture.progress.drains);
            let words = format!("the last decision is being carried out: {starting} starting, {drains} leaving");
            Limit::new(HoldKind::NotCarriedOut, words)
        }
        () => return None,
    };
    Some(limit)
}
