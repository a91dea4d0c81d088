//! A pool that grows with its queue.

use std::time::Duration;

use anyhow::Context as _;
use muster_domain::Timestamp;
use serde_json::{Value, json};

use crate::Round;
use crate::http::{ndjson, request};
use crate::server::{Durability, Server};
use crate::sheet::Goal;

const POOL: &str = "spike";

/// A thousand tasks of programs at once to a pool without workers, which is to have one for each ten of them.
pub(crate) fn spike(round: &mut Round<'_>) -> anyhow::Result<()> {
    const ROW: &str = "a spike of 1,000 tasks, ten a worker";
    let tasks = round.sized(40, 1_000);
    let file = "[runtimes.work]\nkind = 'exec'\nmode = 'oneshot'\ncommand = ['sleep', '30']\n";
    let mut server = Server::configured(Durability::Process, file)?;
    server.wait_ready()?;
    let policy = json!({"kind": "target", "metric": "queue_per_worker", "target": 10, "cooldown_out": 0});
    let scaling = json!({"mode": "on", "check_interval": 2, "policies": [policy]});
    server.pool_of(
        "work",
        POOL,
        0,
        &json!({"max_workers": 0, "max_agents": 10, "on_demand": {}, "scaling": scaling}),
    )?;
    let body: String = (0..tasks).map(|n| format!("{}\n", json!({"pool_name": POOL, "input": n}))).collect();
    let mut client = server.client()?;
    client.send(&ndjson("/api/v1/tasks/bulk", &body))?.of_status(200)?;
    let asked = Timestamp::now();
    let path = format!("/api/v1/agents/pools/{POOL}/scaling");
    let largest = |decisions: &Value| -> Option<Value> {
        let decisions = decisions["decisions"].as_array()?;
        let out = decisions.iter().filter(|one| one["actor"] == "policies" && one["direction"] == "out");
        out.filter(|one| one["ended_at"].is_string()).max_by_key(|one| one["to_workers"].as_u64()).cloned()
    };
    let decision = loop {
        let decisions = client.send(&request("GET", &path, ""))?.of_status(200)?;
        if let Some(decision) = largest(&decisions) {
            break decision;
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let moment = |key: &str| decision[key].as_str().and_then(|at| at.parse::<Timestamp>().ok()).context("a moment");
    let (checked, ready) = (moment("at")?, moment("ended_at")?);
    anyhow::ensure!(decision["state"] == "done", "{decision}");
    let seconds = |from: Timestamp, to: Timestamp| to.since(from).as_secs_f64();
    round.add(ROW, "workers", "", Goal::Shown, decision["to_workers"].as_f64().unwrap_or_default());
    round.add(ROW, "from the tasks to the check that sees them", "s", Goal::Shown, seconds(asked, checked));
    round.add(ROW, "from the check to the last worker ready", "s", Goal::AtMost(1.0), seconds(checked, ready));
    server.stop()
}
