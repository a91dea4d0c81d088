//! What became of a pool's votes, in one word.

use std::str::FromStr;

use utoipa::ToSchema;

use crate::Words;

crate::words! {
    /// Why a pool's target stays, or goes less far than it was voted.
    #[derive(PartialOrd, Ord, ToSchema)]
    pub enum HoldKind {
        /// The votes are for what there is.
        NothingToChange = "nothing_to_change",
        /// A figure is near enough to its target.
        WithinTolerance = "within_tolerance",
        /// The last change of the pool was a short time ago.
        Cooldown = "cooldown",
        /// A vote of the stabilization window was for less change.
        Stabilization = "stabilization",
        /// A figure that a policy needs is missing.
        MissingMetric = "missing_metric",
        /// Nothing was measured, or too long ago.
        NoPicture = "no_picture",
        /// There are as few workers as there may be.
        MinWorkers = "min_workers",
        /// There are as many workers as there may be.
        MaxWorkers = "max_workers",
        /// One step goes no further.
        MaxChange = "max_change",
        /// Busy agents, and those that a person spawned, need these workers.
        Needed = "needed",
        /// There are workers for all agents that the pool may start for tasks.
        OnDemand = "on_demand",
        /// More workers would cost more than is allowed.
        Cost = "cost",
        /// The host has hardly any memory left.
        HostMemory = "host_memory",
        /// The direction has changed too often within an hour.
        FlapBudget = "flap_budget",
        /// The last decision is not carried out yet.
        NotCarriedOut = "not_carried_out",
        /// A person has paused the pool.
        Paused = "paused",
        /// Tasks wait since too many of them fail.
        Breaker = "breaker",
        /// The pool is being removed.
        Draining = "draining",
        /// A person has said how many workers there are to be.
        Person = "person",
    }
}

impl HoldKind {
    /// Whether somebody may want to know that it holds the pool: not that there is nothing to do, or only for a moment.
    pub const fn is_told(self) -> bool {
        match self {
            Self::NothingToChange
            | Self::WithinTolerance
            | Self::Cooldown
            | Self::Stabilization
            | Self::MinWorkers
            | Self::MaxChange
            | Self::Needed
            | Self::NotCarriedOut
            | Self::Draining => false,
            Self::MissingMetric
            | Self::NoPicture
            | Self::MaxWorkers
            | Self::OnDemand
            | Self::Cost
            | Self::HostMemory
            | Self::FlapBudget
            | Self::Paused
            | Self::Breaker
            | Self::Person => true,
        }
    }
}

impl FromStr for HoldKind {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::of_word(text).ok_or_else(|| format!("nothing that holds a pool: {text:?}"))
    }
}

crate::words! {
    /// Which way a pool goes.
    #[derive(ToSchema)]
    pub enum Direction {
        /// More workers.
        Out = "out",
        /// Fewer workers.
        In = "in",
    }
}

impl Direction {
    /// From so many workers to so many; none where that is the same.
    pub fn between(from: u32, to: u32) -> Option<Self> {
        match to.cmp(&from) {
            std::cmp::Ordering::Greater => Some(Self::Out),
            std::cmp::Ordering::Less => Some(Self::In),
            std::cmp::Ordering::Equal => None,
        }
    }
}
