//! How many workers a pool has, and is to have.

use muster_domain::{HoldKind, Timestamp, Words};
use serde::Serialize;
use utoipa::ToSchema;

muster_domain::words! {
    /// What becomes of the number of a pool's workers.
    pub enum PoolStatus {
        /// It has as many workers as it is to have, or nobody says how many these are.
        Active = "active",
        /// Fewer are ready than it is to have.
        ScalingUp = "scaling_up",
        /// It has more than it is to have: the others end when they are empty.
        ScalingDown = "scaling_down",
        /// Its policies would have another number, and something holds them.
        Held = "held",
    }
}

/// How many workers a pool has, and is to have: part of whatever shows a pool.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = PoolScaleJson)]
pub struct ScaleView {
    /// `active`, `scaling_up` (fewer workers are ready than `target_workers`), `scaling_down` (it has more: the others end when they are
    /// empty) or `held` (its policies can't decide, or would have another number: `held` says why).
    #[schema(value_type = String, example = "active", extensions(("x-enum" = json!(PoolStatus::words()))))]
    pub status: PoolStatus,
    /// Workers that may have a process, without those that are interrupted.
    pub current_workers: u32,
    /// Workers that it is to have; null where nobody says how many: then they are started as agents need them.
    pub target_workers: Option<u32>,
    /// Workers that it has at the least.
    pub min_workers: u32,
    /// Workers that it may have at the most; 0 is no bound.
    pub max_workers: u32,
    /// 100 x busy slots / slots; 0 without slots.
    pub load_percentage: f64,
    /// Share of wanted workers that are ready and heard x share of agents that are not in quarantine, 0 to 1; 1 of an empty pool.
    pub health_score: f64,
    /// What holds its policies, where something does.
    #[schema(value_type = Option<String>, extensions(("x-enum" = json!(HoldKind::words()))))]
    pub held: Option<HoldKind>,
    /// Whether its policies only advise: what they decide is recorded, and changes nothing.
    pub advising: bool,
    /// When `target_workers` was changed last; null before the first time.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub last_scaled_at: Option<Timestamp>,
}
