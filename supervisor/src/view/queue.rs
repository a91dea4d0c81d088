//! Queues in figures.

use std::time::Duration;

use muster_domain::PoolName;
use serde::Serialize;
use utoipa::ToSchema;

use super::number::optional_seconds;
use super::pool::Holds;

/// The queue of a pool.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = QueueJson)]
pub struct QueueView {
    /// The pool.
    #[serde(skip)]
    pub pool_name: PoolName,
    /// What holds its tasks up.
    #[serde(flatten)]
    pub holds: Holds,
    /// Tasks that wait and may start.
    pub depth: u64,
    /// Tasks that wait for their time.
    pub delayed: u64,
    /// Tasks that were given up, and are kept for a person.
    pub dead: u64,
    /// Tasks that run.
    pub running: u64,
    /// For how long the oldest task that may start has been waiting; null where none is.
    #[serde(rename = "oldest_wait_seconds", serialize_with = "optional_seconds")]
    #[schema(value_type = Option<f64>)]
    pub oldest_wait: Option<Duration>,
    /// Tasks taken in per second, over the last minute.
    pub rate_in: f64,
    /// Tasks ended per second, over the last minute.
    pub rate_out: f64,
    /// How long tasks waited for their first agent: half of them less than this; null where none got one lately.
    #[serde(rename = "wait_p50_seconds", serialize_with = "optional_seconds")]
    #[schema(value_type = Option<f64>)]
    pub wait_p50: Option<Duration>,
    /// The same: 99 of 100 less than this.
    #[serde(rename = "wait_p99_seconds", serialize_with = "optional_seconds")]
    #[schema(value_type = Option<f64>)]
    pub wait_p99: Option<Duration>,
    /// How long attempts took: half of them less than this; null where none ended lately.
    #[serde(rename = "run_p50_seconds", serialize_with = "optional_seconds")]
    #[schema(value_type = Option<f64>)]
    pub run_p50: Option<Duration>,
    /// The same: 99 of 100 less than this.
    #[serde(rename = "run_p99_seconds", serialize_with = "optional_seconds")]
    #[schema(value_type = Option<f64>)]
    pub run_p99: Option<Duration>,
}
