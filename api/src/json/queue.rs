//! Queues in figures.

use std::collections::BTreeMap;
use std::time::Duration;

use muster_domain::Timestamp;
use muster_supervisor::{Percentiles, QueueView};
use serde::Serialize;
use utoipa::ToSchema;

use super::holds::HoldsJson;

/// The queues of all pools.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct QueuesJson {
    /// Tasks that wait and may start.
    queue_depth: u64,
    /// Tasks that wait for their time.
    delay_queue_depth: u64,
    /// Tasks that were given up, and are kept for a person.
    dead_letter_depth: u64,
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    /// The same by pool.
    pools: BTreeMap<String, QueueJson>,
}

/// The queue of a pool.
#[derive(Debug, Serialize, ToSchema)]
struct QueueJson {
    #[serde(flatten)]
    holds: HoldsJson,
    /// Tasks that wait and may start.
    depth: u64,
    /// Tasks that wait for their time.
    delayed: u64,
    /// Tasks that were given up, and are kept for a person.
    dead: u64,
    /// Tasks that run.
    running: u64,
    /// For how long the oldest task that may start has been waiting; null where none is.
    oldest_wait_seconds: Option<f64>,
    /// Tasks taken in per second, over the last minute.
    rate_in: f64,
    /// Tasks ended per second, over the last minute.
    rate_out: f64,
    /// How long tasks waited for their first agent: half of them less than this; null where none got one lately.
    wait_p50_seconds: Option<f64>,
    /// The same: 99 of 100 less than this.
    wait_p99_seconds: Option<f64>,
    /// How long attempts took: half of them less than this; null where none ended lately.
    run_p50_seconds: Option<f64>,
    /// The same: 99 of 100 less than this.
    run_p99_seconds: Option<f64>,
}

impl QueuesJson {
    pub(crate) fn new(queues: Vec<QueueView>, now: Timestamp) -> Self {
        let sum = |figure: fn(&QueueView) -> u64| queues.iter().map(figure).sum();
        Self {
            queue_depth: sum(|queue| queue.depth),
            delay_queue_depth: sum(|queue| queue.delayed),
            dead_letter_depth: sum(|queue| queue.dead),
            timestamp: now,
            pools: queues.into_iter().map(|queue| (queue.pool_name.to_string(), queue.into())).collect(),
        }
    }
}

impl From<QueueView> for QueueJson {
    fn from(view: QueueView) -> Self {
        let figure = |times: Option<Percentiles>, which: fn(Percentiles) -> Duration| {
            times.map(|times| which(times).as_secs_f64())
        };
        Self {
            holds: view.holds.into(),
            depth: view.depth,
            delayed: view.delayed,
            dead: view.dead,
            running: view.running,
            oldest_wait_seconds: view.oldest_wait.map(|wait| wait.as_secs_f64()),
            rate_in: view.rate_in,
            rate_out: view.rate_out,
            wait_p50_seconds: figure(view.wait, |times| times.p50),
            wait_p99_seconds: figure(view.wait, |times| times.p99),
            run_p50_seconds: figure(view.run, |times| times.p50),
            run_p99_seconds: figure(view.run, |times| times.p99),
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use muster_supervisor::Holds;
    use serde_json::json;

    use super::*;
    use crate::json::breaker::tests::open;
    use crate::json::pools::tests::holds;

    pub(crate) fn queue(name: &str) -> QueueView {
        QueueView {
            pool_name: name.parse().expect("a name"),
            holds: Holds { breaker: open(), ..holds() },
            depth: 3,
            delayed: 2,
            dead: 1,
            running: 4,
            oldest_wait: Some(Duration::from_millis(1500)),
            rate_in: 2.5,
            rate_out: 0.0,
            wait: Some(Percentiles { p50: Duration::from_millis(250), p99: Duration::from_secs(2) }),
            run: None,
        }
    }

    #[test]
    fn the_queues_are_summed_up() {
        let json = serde_json::to_value(QueuesJson::new(vec![queue("a"), queue("b")], Timestamp::from_millis(0)))
            .expect("an object");
        let breaker = json!({"state": "open", "reason": "too many", "since": "1970-01-01T00:00:00.000Z",
            "next_probe_at": "1970-01-01T00:00:30.000Z"});
        let pool = json!({"draining": false, "being_removed": false, "paused": true, "all_paused": false, "intake_closed": false,
            "breaker": breaker, "lacks": null, "depth": 3, "delayed": 2, "dead": 1, "running": 4, "oldest_wait_seconds": 1.5,
            "rate_in": 2.5, "rate_out": 0.0, "wait_p50_seconds": 0.25, "wait_p99_seconds": 2.0,
            "run_p50_seconds": null, "run_p99_seconds": null});
        let expected = json!({"queue_depth": 6, "delay_queue_depth": 4, "dead_letter_depth": 2,
            "timestamp": "1970-01-01T00:00:00.000Z", "pools": {"a": pool, "b": pool}});
        assert_eq!(json, expected);
    }
}
