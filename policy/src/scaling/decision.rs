//! What is decided for a pool, and why.

use muster_domain::scaling::HoldKind;
use serde::{Deserialize, Serialize};

use super::Vote;

/// What a check decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Decision {
    /// So many workers are to be there from now on.
    pub target: u32,
    /// Which way that is, or why it is what there was.
    pub outcome: Outcome,
    /// Why a change goes less far than it was voted.
    pub limit: Option<HoldKind>,
    /// What the votes ask for before cooldowns, windows and bounds: to be remembered for the stabilization windows.
    pub recommended: u32,
    /// Of the workers that are added those that were leaving, and are taken back.
    pub take_back: u32,
    /// The policy whose vote was decisive, the highest; none where a bound decided, or nobody has an opinion.
    pub decided_by: Option<String>,
    /// The vote of each policy.
    pub votes: Vec<Vote>,
    /// Why, in words for people, with the figures.
    pub reason: String,
}

/// Which way a decision goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", content = "hold", rename_all = "lowercase")]
pub enum Outcome {
    /// More workers.
    Out,
    /// Fewer workers.
    In,
    /// As many as before.
    Hold(HoldKind),
}

impl Outcome {
    /// `out`, `in` or `hold`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Out => "out",
            Self::In => "in",
            Self::Hold(_) => "hold",
        }
    }

    /// Why nothing changes, where nothing does.
    pub const fn hold(self) -> Option<HoldKind> {
        match self {
            Self::Hold(kind) => Some(kind),
            Self::Out | Self::In => None,
        }
    }
}

/// The highest vote; of several the first that is one of its figures and not of a cooldown.
pub(super) fn highest(votes: &[Vote]) -> Option<&Vote> {
    let voted = votes.iter().rev().filter(|vote| vote.workers.is_some());
    voted.max_by_key(|vote| (vote.workers, vote.held.is_none()))
}
