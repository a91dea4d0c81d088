//! From the votes of a pool's policies to one decision: the highest vote wins, so out needs one and in needs all.

use std::cmp::Ordering;

use muster_domain::scaling::HoldKind;
use muster_domain::{ScalingConfig, Timestamp, counted};

use super::decision::highest;
use super::limits::Course;
use super::standing::{Limit, standing};
use super::{Decision, Outcome, Picture, ScalingHistory, Vote, vote};

/// How many workers a pool is to have from `now` on, and why. The mode of the configuration is not looked at: whether the decision acts is
/// for whoever asks.
pub fn decide(config: &ScalingConfig, picture: &Picture, history: &ScalingHistory, now: Timestamp) -> Decision {
    let votes = vote::all(config, picture, history, now);
    let current = picture.workers.current;
    let recommended = winner(&votes, current, |vote| vote.wanted);
    let mut course = Course::new(current, winner(&votes, current, |vote| vote.workers));
    let hold = standing(config, picture, history, now);
    match &hold {
        Some(hold) if !may_take_back(hold, picture) => course.stay(hold.clone()),
        Some(_) | None => {
            course.stabilize(config, history, recommended, now);
            course.begin(picture);
            course.keep_direction(history, now);
            course.bound_change(config.max_change);
            course.bound_cost(config, picture);
        }
    }
    if let Some(hold) = &hold {
        course.only_take_back(picture.progress.drains, hold);
    }
    course.bound_workers(picture);
    course.enforce(picture, hold.as_ref());
    conclude(picture, recommended, votes, course)
}

/// The highest vote. One that only adds stands against fewer workers, but is no vote for that.
fn winner(votes: &[Vote], current: u32, workers: impl Fn(&Vote) -> Option<u32>) -> u32 {
    let most = |adds_only: bool| votes.iter().filter(|vote| vote.adds_only == adds_only).filter_map(&workers).max();
    most(false).unwrap_or(current).max(most(true).unwrap_or(0))
}

/// While the last decision is being carried out, workers that leave may be taken back.
fn may_take_back(hold: &Limit, picture: &Picture) -> bool {
    hold.kind == HoldKind::NotCarriedOut && picture.progress.drains > 0
}

fn conclude(picture: &Picture, recommended: u32, votes: Vec<Vote>, course: Course) -> Decision {
    let Course { current, target, limit, cause } = course;
    let outcome = match target.cmp(&current) {
        Ordering::Greater => Outcome::Out,
        Ordering::Less => Outcome::In,
        Ordering::Equal => {
            Outcome::Hold(limit.as_ref().map_or_else(|| why_nothing(&votes, current, recommended), |limit| limit.kind))
        }
    };
    let take_back = if outcome == Outcome::Out { picture.progress.drains.min(target - current) } else { 0 };
    let decided_by = highest(&votes).filter(|_| cause.is_none()).map(|vote| vote.policy.clone());
    let why = cause.unwrap_or_else(|| because(&votes, outcome, limit.as_ref()));
    let all = format!("{} ({})", counted(target.into(), "worker"), counted(picture.workers.slots(target), "slot"));
    let change = match outcome {
        Outcome::Out | Outcome::In => format!("from {current} to {all}"),
        Outcome::Hold(_) => format!("stays at {all}"),
    };
    let back = match take_back {
        0 => String::new(),
        1 => "; 1 worker that was leaving is taken back".to_owned(),
        more => format!("; {more} workers that were leaving are taken back"),
    };
    let limit = limit.map(|limit| limit.kind).filter(|_| outcome.hold().is_none());
    let reason = format!("{change}: {why}{back}");
    Decision { target, outcome, limit, recommended, take_back, decided_by, votes, reason }
}

/// Why the votes themselves come to what there is.
fn why_nothing(votes: &[Vote], current: u32, recommended: u32) -> HoldKind {
    let held = |kind: HoldKind| votes.iter().any(|vote| vote.held == Some(kind));
    let cools = held(HoldKind::Cooldown) && recommended != current;
    let kinds = [HoldKind::MissingMetric, HoldKind::OnDemand, HoldKind::WithinTolerance];
    match kinds.into_iter().find(|kind| held(*kind)) {
        _ if cools => HoldKind::Cooldown,
        Some(kind) => kind,
        None => HoldKind::NothingToChange,
    }
}

/// The decisive vote in words, and what bound it.
fn because(votes: &[Vote], outcome: Outcome, limit: Option<&Limit>) -> String {
    let decisive = match outcome.hold() {
        // What is held is told by whoever is held by that.
        Some(kind) => votes.iter().find(|vote| vote.held == Some(kind)).or_else(|| highest(votes)),
        None => highest(votes),
    };
    let vote = decisive.map(|vote| format!("{}: {}", vote.policy, vote.reason));
    match (vote, limit) {
        (Some(vote), Some(limit)) => format!("{} ({vote})", limit.words),
        (None, Some(limit)) => limit.words.clone(),
        (Some(vote), None) => vote,
        (None, None) => "no policy has an opinion".to_owned(),
    }
}

#[cfg(test)]
mod tests;
