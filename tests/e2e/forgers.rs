//! Somebody who can write to Redis, but can't read the data folder, writes in Muster's name; and what people may see there.

use redis::ConnectionLike;
use serde_json::{Value, json};

use crate::harness::{BOUND, Muster, wait_until};
use crate::registry::patient;

/// Of each kind.
const FORGED: usize = 5_000;

fn forged_messages(muster: &Muster) -> u64 {
    let metrics = muster.get_text("/metrics");
    let line = metrics.lines().find_map(|line| line.strip_prefix("muster_registry_forged_messages_total "));
    line.and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn fence_of(muster: &Muster, worker: &str) -> u64 {
    let key = format!("process:{worker}");
    let picture: String = redis::cmd("HGET").arg(key).arg("picture").query(&mut muster.redis()).expect("a picture");
    serde_json::from_str::<Value>(&picture).expect("JSON")["fence"].as_u64().expect("a number")
}

#[test]
fn ten_thousand_forged_messages_change_nothing_and_are_counted() {
    let muster = Muster::start(patient());
    muster.spawn_many("developer_pool", 3);
    let (worker, agents) = (muster.all_workers().remove(0), muster.all_agents());
    let fence = fence_of(&muster, &worker.id);
    let some_id = &agents[0].id;
    let mut forged = redis::pipe();
    for n in 0..FORGED {
        let bodies = [json!({"type": "drain"}), json!({"type": "shutdown", "graceful": false})];
        let command = json!({"v": 1, "id": some_id, "fence": 9_000_000_000_000_000_000_u64, "command": bodies[n % 2]});
        let channel = format!("process:{}:commands", worker.id);
        forged.cmd("PUBLISH").arg(channel).arg(command.to_string()).ignore();
        let ending = json!({"cause": {"type": "exited", "code": 0}, "at": "2026-01-01T00:00:00Z", "last_output": ""});
        let body = json!({"type": "ended", "agent_id": agents[n % 3].id, "epoch": 1, "ready": true, "ending": ending});
        let report =
            json!({"v": 1, "process_id": worker.id, "pool_name": "developer_pool", "seq": n, "at": 0, "body": body});
        forged.cmd("XADD").arg("pool:developer_pool:reports").arg("*").arg("report").arg(report.to_string()).ignore();
    }
    forged.exec(&mut muster.redis()).expect("written");
    muster.spawn_many("developer_pool", 1);
    wait_until("all were counted", BOUND, || forged_messages(&muster) >= 2 * FORGED as u64);
    let after: Vec<_> =
        muster.all_agents().into_iter().filter(|agent| agents.iter().any(|a| a.id == agent.id)).collect();
    assert!(after.len() == 3 && after.iter().all(|agent| agent.epoch == 1 && agent.state == "idle"), "{after:?}");
    assert_eq!(fence_of(&muster, &worker.id), fence, "its highest fence is the leader's");
    let degraded = muster.get("/health").body["degraded"].to_string();
    assert!(degraded.contains("tampering: somebody else writes"), "{degraded}");
    assert_eq!(muster.all_workers().len(), 1);
}

#[test]
fn whoever_watches_a_pool_sees_its_commands_and_a_worker_is_counted_when_the_answer_comes() {
    let muster = Muster::start(patient());
    let mut connection = muster.redis();
    let mut watching = connection.as_pubsub();
    watching.set_read_timeout(Some(BOUND)).expect("a timeout");
    watching.subscribe("pool:developer_pool:commands").expect("subscribed");
    for count in 1..=10_u64 {
        let spawned = muster.spawn("developer_pool");
        assert_eq!(spawned.status, 201, "{spawned:?}");
        let worker = spawned.body["process_id"].as_str().expect("a worker");
        let held: Option<u64> = redis::cmd("HGET")
            .arg(format!("process:{worker}"))
            .arg("agent_count")
            .query(&mut muster.redis())
            .expect("one");
        assert_eq!(held, Some(count), "as soon as it was answered");
        let copy = loop {
            let message = watching.get_message().expect("a copy");
            let copy: Value = serde_json::from_str(&message.get_payload::<String>().expect("text")).expect("JSON");
            if copy["agent_id"] == spawned.body["agent_id"] {
                break copy;
            }
        };
        assert_eq!((&copy["command"], &copy["process_id"]), (&json!("spawn"), &json!(worker)));
        assert!(copy.get("v").is_none() && copy.get("project_id").is_none(), "{copy}");
    }
    drop(watching);
    assert!(connection.check_connection());
}
