//! The supervisor itself, and how it is.

use std::time::Duration;

use muster_domain::{Fence, PoolName, Timestamp, Words};
use serde::Serialize;
use utoipa::ToSchema;

use super::number::{millis, optional_millis, seconds};
use super::pool::{Holds, PoolView};
use crate::alerts::Alert;

muster_domain::words! {
    /// How the supervisor runs.
    pub enum Mode {
        /// Worker processes on Redis.
        MultiProcess = "multi-process",
        /// Everything in one process, with the in-memory registry.
        SingleProcess = "single-process",
    }
}

/// How the supervisor is, as far as it is known without asking.
#[derive(Clone, Debug)]
pub struct HealthView {
    /// How it runs.
    pub mode: Mode,
    /// Why it runs so, in words.
    pub mode_reason: String,
    /// Every way in which it is less than it should be, in words. Empty is healthy.
    pub degraded: Vec<String>,
    /// Alerts that last, the newest first.
    pub alerts: Vec<Alert>,
    /// What runs beside the pools.
    pub runs: BesidesView,
}

/// What runs beside the pools, where the configuration wants it: part of whatever shows the supervisor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = BesidesJson)]
pub struct BesidesView {
    /// Whether pools, workers and agents are measured (`metrics.enabled`).
    pub metrics_collector: bool,
    /// Whether the policies of pools decide anything (`autoscaler.enabled`).
    pub autoscaler: bool,
}

/// Everything about the supervisor.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = StatusJson)]
pub struct SystemView {
    /// The program's version.
    pub version: String,
    /// How it runs.
    #[schema(value_type = String, extensions(("x-enum" = json!(Mode::words()))))]
    pub mode: Mode,
    /// Why it runs so, in words.
    pub mode_reason: String,
    /// The number of its leadership.
    #[schema(value_type = u64)]
    pub fence: Fence,
    /// Its HTTP address.
    pub address: String,
    /// Since when it leads.
    #[schema(value_type = String, format = DateTime)]
    pub leads_since: Timestamp,
    /// Since when this process runs.
    #[serde(rename = "uptime_seconds", serialize_with = "seconds")]
    #[schema(value_type = f64)]
    pub uptime: Duration,
    /// For `redis-cli`: a URL without secrets or a socket's path; null in memory.
    pub registry_address: Option<String>,
    /// Whether the registry answers.
    pub registry: ReachView,
    /// The store, in words.
    pub store_description: String,
    /// Whether the store answers.
    pub store: ReachView,
    /// What runs beside the pools.
    #[serde(flatten)]
    pub runs: BesidesView,
    /// How process trees are owned.
    pub ownership: String,
    /// Where everything is written.
    pub data_dir: String,
    /// Every way in which it is less than it should be. Empty is healthy.
    pub degraded: Vec<String>,
    /// Whether the tasks of all pools wait until it is resumed.
    pub paused: bool,
    /// Alerts that last.
    pub alerts_firing: usize,
    /// They, the newest first.
    pub alerts: Vec<Alert>,
    /// The pools whose tasks are held up, but for a pause of all pools.
    pub held_pools: Vec<HeldPool>,
    /// Pools.
    pub pools: u32,
    /// Workers.
    pub workers: u32,
    /// Of these, the ones that start programs by an older definition of their runtime: they are replaced as their agents end.
    pub outdated_workers: u32,
    /// Agents.
    pub agents: u32,
    /// Agents asked for since this supervisor leads.
    pub spawns: u64,
    /// Of these, those that ran.
    pub spawns_succeeded: u64,
    /// Of these, those whose program failed at its first start.
    pub spawns_failed: u64,
}

/// A pool whose tasks are held up.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = HeldPoolJson)]
pub struct HeldPool {
    /// The pool.
    #[schema(value_type = String)]
    pub pool_name: PoolName,
    /// What holds them up.
    #[serde(flatten)]
    pub holds: Holds,
}

impl From<PoolView> for HeldPool {
    fn from(pool: PoolView) -> Self {
        Self { pool_name: pool.pool_name, holds: pool.holds }
    }
}

/// Whether something answers.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
#[schema(as = ReachJson)]
pub struct ReachView {
    /// `registry`, `store`, `canary:` and a pool, or `supervisor` where none answers.
    pub name: String,
    /// Whether it does.
    pub ok: bool,
    /// How long the answer took, in milliseconds.
    #[serde(rename = "took_ms", serialize_with = "optional_millis")]
    #[schema(value_type = Option<f64>)]
    pub took: Option<Duration>,
    /// What happened, where it does not answer.
    pub error: Option<String>,
}

impl ReachView {
    /// What was asked, and after which time it answered or why it did not.
    pub fn new(name: impl Into<String>, result: Result<Duration, String>) -> Self {
        let (ok, name) = (result.is_ok(), name.into());
        match result {
            Ok(took) => Self { name, ok, took: Some(took), error: None },
            Err(error) => Self { name, ok, took: None, error: Some(error) },
        }
    }
}

/// One line of a check of the whole installation.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = CheckLineJson)]
pub struct CheckLine {
    /// What was checked.
    pub name: String,
    /// Whether it is as it should be.
    pub ok: bool,
    /// How long it took, in milliseconds.
    #[serde(rename = "took_ms", serialize_with = "millis")]
    #[schema(value_type = f64)]
    pub took: Duration,
    /// What was found.
    pub detail: String,
    /// What to do about it, where it is not ok.
    pub remedy: Option<String>,
}
