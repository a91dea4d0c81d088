//! What has been decided for a pool before, as far as it bears on the next decision.

use std::time::Duration;

use muster_domain::Timestamp;
use muster_domain::scaling::Direction;
use serde::{Deserialize, Serialize};

use super::Decision;
use super::forecast::DemandHistory;

/// The time over which changes of direction are counted, and the longest stabilization window.
const HOUR: Duration = Duration::from_secs(3_600);

/// What was before. Lists are in the order of time.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ScalingHistory {
    /// Changes of the pool: those of the last hour, and the one before them.
    pub moves: Vec<Move>,
    /// What was recommended at earlier checks, within the longest stabilization window.
    pub recommendations: Vec<Recommendation>,
    /// Until when a person's decision holds the policies.
    pub person_until: Option<Timestamp>,
    /// The pool's demand, hour by hour.
    pub demand: DemandHistory,
}

/// One change of a pool's workers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Move {
    /// When it was decided.
    pub at: Timestamp,
    /// Which policy decided it, or `bounds`, `person`, `spawn` or `first_task`.
    pub by: String,
    /// Whether policies voted for it. What was needed at once, or a person has said, is none of their changes: it begins no cooldown on
    /// the way out, and counts to no budget of theirs.
    pub voted: bool,
    /// So many workers there were to be.
    pub from: u32,
    /// So many there are to be since.
    pub to: u32,
}

impl Move {
    /// Which way; none where nothing changed.
    pub fn direction(&self) -> Option<Direction> {
        Direction::between(self.from, self.to)
    }
}

/// What the votes of one check recommended, before any bound or cooldown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recommendation {
    /// When.
    pub at: Timestamp,
    /// So many workers.
    pub workers: u32,
}

impl ScalingHistory {
    /// The last change before `now`. One that lies ahead was written before the clock was put back, and says nothing.
    pub fn last_move(&self, now: Timestamp) -> Option<&Move> {
        self.moves.iter().rev().find(|change| change.at <= now && change.direction().is_some())
    }

    /// The last change before `now` that policies voted for.
    pub fn last_voted(&self, now: Timestamp) -> Option<&Move> {
        self.moves.iter().rev().find(|change| change.voted && change.at <= now && change.direction().is_some())
    }

    /// How often policies have changed the direction within the hour before `now`.
    pub fn direction_changes(&self, now: Timestamp) -> u32 {
        let past = self.moves.iter().filter(|change| change.voted && change.at <= now);
        let moves: Vec<(Timestamp, Direction)> =
            past.filter_map(|change| Some((change.at, change.direction()?))).collect();
        let changed = |pair: &&[(Timestamp, Direction)]| pair[0].1 != pair[1].1 && now.since(pair[1].0) < HOUR;
        moves.windows(2).filter(changed).count() as u32
    }

    /// The least and the most that was recommended within these windows before `now`, with what is recommended now.
    pub fn recommended_within(&self, out: Duration, scale_in: Duration, latest: u32, now: Timestamp) -> (u32, u32) {
        let within = |window: Duration| {
            let recent = move |earlier: &&Recommendation| earlier.at <= now && now.since(earlier.at) < window;
            self.recommendations.iter().filter(recent).map(|earlier| earlier.workers)
        };
        (within(out).fold(latest, u32::min), within(scale_in).fold(latest, u32::max))
    }

    /// Remembers a decision that was made at `now` where so many workers were to be there, and forgets what no longer counts.
    pub fn record(&mut self, decision: &Decision, from: u32, now: Timestamp) {
        self.recommend(decision.recommended, now);
        if decision.target != from {
            let voted = decision.decided_by.is_some();
            let by = decision.decided_by.clone().unwrap_or_else(|| "bounds".to_owned());
            self.add(Move { at: now, by, voted, from, to: decision.target });
        }
    }

    /// Remembers what was recommended at `now`, whatever came of it, and forgets what no longer counts.
    pub fn recommend(&mut self, workers: u32, now: Timestamp) {
        self.recommendations.retain(|earlier| now.since(earlier.at) < HOUR);
        self.recommendations.push(Recommendation { at: now, workers });
    }

    /// Remembers a change of the pool, and forgets those before the last one that is over an hour older.
    pub fn add(&mut self, change: Move) {
        let old = self.moves.iter().take_while(|earlier| change.at.since(earlier.at) >= HOUR).count();
        self.moves.drain(..old.saturating_sub(1));
        self.moves.push(change);
    }
}
