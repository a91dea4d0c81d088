//! The queues in figures.

use std::collections::BTreeMap;

use axum::Json;
use muster_domain::Timestamp;
use muster_supervisor::QueueView;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::routes;

use super::Routes;
use crate::principal::Leader;
use crate::problem::Problem;

pub(super) fn routes() -> Routes {
    Routes::new().routes(routes!(queue))
}

/// The queues of all pools.
#[derive(Debug, Serialize, ToSchema)]
struct QueuesJson {
    /// Tasks that wait and may start.
    queue_depth: u64,
    /// Tasks that wait for their time.
    delay_queue_depth: u64,
    /// Tasks that were given up, and are kept for a person.
    dead_letter_depth: u64,
    #[schema(value_type = String, format = DateTime)]
    timestamp: Timestamp,
    /// The same by pool.
    pools: BTreeMap<String, QueueView>,
}

impl QueuesJson {
    fn new(queues: Vec<QueueView>, now: Timestamp) -> Self {
        let sum = |figure: fn(&QueueView) -> u64| queues.iter().map(figure).sum();
        Self {
            queue_depth: sum(|queue| queue.depth),
            delay_queue_depth: sum(|queue| queue.delayed),
            dead_letter_depth: sum(|queue| queue.dead),
            timestamp: now,
            pools: queues.into_iter().map(|queue| (queue.pool_name.to_string(), queue)).collect(),
        }
    }
}

/// Shows what waits, what runs and how fast it goes, by pool
#[utoipa::path(get, path = "/api/metrics/queue", tag = "watching", responses(
    (status = 200, description = "The figures", body = QueuesJson),
))]
async fn queue(Leader(caller): Leader) -> Result<Json<QueuesJson>, Problem> {
    Ok(Json(QueuesJson::new(caller.pools()?.queues().await?, Timestamp::now())))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::routes::tests::queue;

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
