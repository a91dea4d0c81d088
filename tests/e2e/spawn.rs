//! Spawns: where agents are placed, what is seen of them at once, what is refused, and how they end.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::harness::{Answer, BOUND, Muster, Options, developer, wait_until};

/// Two agents a worker, three workers.
const SMALL: &str = "[pools.small]\nrole_type = \"developer\"\nmax_agents = 2\nmax_workers = 3\n";

fn small() -> Muster {
    Muster::start(Options::config(SMALL))
}

fn running(answer: &Answer) -> String {
    assert_eq!((answer.status, answer.text("state")), (201, "idle"), "{answer:?}");
    answer.text("agent_id").to_owned()
}

/// Agents in each worker, fewest first.
fn loads(muster: &Muster, pool: &str) -> Vec<u64> {
    let processes = muster.get("/api/v1/agents/metrics/processes").body;
    let of_pool =
        processes["processes"].as_array().expect("workers").iter().filter(|worker| worker["pool_name"] == pool);
    let mut loads: Vec<u64> = of_pool.map(|worker| worker["agent_count"].as_u64().expect("a number")).collect();
    loads.sort_unstable();
    loads
}

/// The figures after 15 spawns, without any wait.
pub(crate) fn assert_fifteen(muster: &Muster) {
    let pool = muster.pool("developer_pool");
    let wanted = json!({
        "process_count": 2, "total_capacity": 20, "used_capacity": 15, "available_capacity": 5, "agent_count": 15,
        "utilization": 0.75, "active_worker_processes": 2, "total_workers_spawned": 2, "total_workers_terminated": 0,
    });
    for (figure, value) in wanted.as_object().expect("figures") {
        assert_eq!(&pool[figure], value, "{figure} of {pool}");
    }
    assert_eq!(loads(muster, "developer_pool"), [5, 10]);
    let summary = muster.get("/api/v1/agents/metrics/processes").body["summary"].clone();
    assert_eq!((&summary["total_processes"], &summary["used_capacity"]), (&json!(2), &json!(15)), "{summary}");
}

/// Fifteen spawns at once; their ids.
pub(crate) fn spawn_fifteen(muster: &Muster) -> BTreeSet<String> {
    std::thread::scope(|scope| {
        let spawns: Vec<_> = (0..15).map(|_| scope.spawn(|| running(&muster.spawn("developer_pool")))).collect();
        spawns.into_iter().map(|spawn| spawn.join().expect("an agent")).collect()
    })
}

#[test]
fn fifteen_spawns_at_once_make_two_workers() {
    let muster = Muster::start(Options::default());
    let agents = spawn_fifteen(&muster);
    assert_fifteen(&muster);
    assert_eq!(agents.len(), 15);
    muster.await_each_in_one_worker();
}

#[test]
fn fifteen_spawns_one_after_the_other_make_two_workers() {
    let muster = Muster::start(Options::default());
    for _ in 0..15 {
        running(&muster.spawn("developer_pool"));
    }
    assert_fifteen(&muster);
    let monitor = muster.get("/api/v1/agents/monitor/system").body;
    assert_eq!((&monitor["total_agents"], &monitor["successful_spawns"]), (&json!(15), &json!(15)), "{monitor}");
}

#[test]
fn five_spawns_into_workers_of_two_make_two_two_one() {
    let muster = small();
    muster.spawn_many("small", 5);
    assert_eq!(loads(&muster, "small"), [1, 2, 2]);
}

#[test]
fn what_was_answered_is_in_the_registry() {
    let muster = small();
    let mut redis = muster.redis();
    let mut keys =
        |pattern: &str| -> BTreeSet<String> { redis::cmd("KEYS").arg(pattern).query(&mut redis).expect("keys") };
    assert_eq!(keys("agent:*"), BTreeSet::new());
    for count in 1..=3_u64 {
        let answer = muster.spawn("small");
        // Each look comes right after the answer: nothing is waited for.
        let mut redis = muster.redis();
        let (agent, worker) = (running(&answer), answer.text("process_id").to_owned());
        let hash: std::collections::BTreeMap<String, String> =
            redis::cmd("HGETALL").arg(format!("agent:{agent}")).query(&mut redis).expect("a hash");
        for (field, value) in [
            ("process_id", worker.as_str()),
            ("pool_name", "small"),
            ("role_type", "developer"),
            ("project_id", "shop"),
            ("status", "idle"),
            ("epoch", "1"),
        ] {
            assert_eq!(hash.get(field).map(String::as_str), Some(value), "{field} of {hash:?}");
        }
        let pool: String =
            redis::cmd("HGET").arg(format!("process:{worker}")).arg("pool_name").query(&mut redis).expect("a worker");
        assert_eq!(pool, "small");
        let free: f64 = redis::cmd("ZSCORE").arg("pool:small:processes").arg(&worker).query(&mut redis).expect("slots");
        assert_eq!(free, f64::from(u32::from(count % 2 == 1)), "free slots after {count} spawns");
        for set in ["pool:small:agents".to_owned(), format!("pool:small:process:{worker}:agents")] {
            let is_member: bool = redis::cmd("SISMEMBER").arg(&set).arg(&agent).query(&mut redis).expect("an answer");
            assert!(is_member, "{agent} is in {set}");
        }
    }
    assert_eq!((keys("agent:*").len(), keys("process:*").len()), (3, 2));
    let leader: Option<String> =
        redis::cmd("GET").arg("supervisor:leader").query(&mut muster.redis()).expect("an answer");
    assert!(leader.is_some());
}

#[test]
fn what_was_ended_is_out_of_the_registry() {
    let muster = small();
    let agent = running(&muster.spawn("small"));
    assert_eq!(muster.terminate(&agent).text("state"), "terminated");
    let mut redis = muster.redis();
    let there: bool = redis::cmd("EXISTS").arg(format!("agent:{agent}")).query(&mut redis).expect("an answer");
    let is_member: bool =
        redis::cmd("SISMEMBER").arg("pool:small:agents").arg(&agent).query(&mut redis).expect("an answer");
    assert!(!there && !is_member);
    // The mirror of free slots is for people: a taken slot is there before the answer, a free one follows it.
    let range = ["0", "-1", "WITHSCORES"];
    wait_until("its slot is free there too", BOUND, || {
        let free: Vec<(String, u64)> =
            redis::cmd("ZRANGE").arg("pool:small:processes").arg(&range).query(&mut redis).expect("slots");
        free.into_iter().map(|(_, free)| free).eq([2])
    });
}

#[test]
fn without_a_wait_the_intent_is_answered() {
    let muster = small();
    let answer = muster.post("/api/v1/agents/spawn?wait=0", &developer("small"));
    assert_eq!((answer.status, answer.text("state")), (202, "spawning"), "{answer:?}");
    let path = format!("/api/v1/agents/{}", answer.text("agent_id"));
    wait_until("it runs", BOUND, || muster.get(&path).text("state") == "idle");
    let pool = muster.pool("small");
    assert_eq!((&pool["agent_count"], &pool["used_capacity"]), (&json!(1), &json!(1)));
}

fn spawn_with_key(muster: &Muster, key: &str, body: &Value) -> Answer {
    muster.ask("POST", "/api/v1/agents/spawn").header("idempotency-key", key).json(body).send()
}

#[test]
fn a_repeated_request_is_answered_as_the_first() {
    let mut muster = small();
    let first = spawn_with_key(&muster, "k1", &developer("small"));
    let agent = running(&first);
    assert_eq!(running(&spawn_with_key(&muster, "k1", &developer("small"))), agent);
    let mut other = developer("small");
    other["project_id"] = json!("another");
    let refused = spawn_with_key(&muster, "k1", &other);
    assert_eq!((refused.status, refused.code()), (422, "key_reused"), "{refused:?}");
    assert_ne!(running(&spawn_with_key(&muster, "k2", &developer("small"))), agent);
    assert_eq!(muster.pool("small")["agent_count"], 2);
    let mut events = muster.ask("GET", "/api/v1/events").header("last-event-id", "0").stream();
    let told = events.events_until(|event| event.kind == "agent.started" && event.data["agent_id"] != agent);
    assert_eq!(
        told.iter().filter(|event| event.kind == "agent.spawned").count(),
        2,
        "no event tells of an agent that is not"
    );
    drop(events);
    // The keys are kept with the intents.
    muster.stop();
    muster.restart();
    assert_eq!(spawn_with_key(&muster, "k1", &developer("small")).text("agent_id"), agent);
    assert_eq!(muster.pool("small")["agent_count"], 2);
}

#[test]
fn a_request_repeated_at_the_same_time_makes_one_agent() {
    let muster = small();
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let asks: Vec<_> =
            (0..12).map(|_| scope.spawn(|| spawn_with_key(&muster, "same", &developer("small")))).collect();
        asks.into_iter().map(|ask| ask.join().expect("an answer")).collect()
    });
    let agents: BTreeSet<String> = answers.iter().map(running).collect();
    assert_eq!(agents.len(), 1);
    assert_eq!(muster.pool("small")["agent_count"], 1);
}

#[test]
fn a_repeated_request_is_answered_where_the_pool_is_full_by_now() {
    let muster = small();
    let agent = running(&spawn_with_key(&muster, "k1", &developer("small")));
    muster.spawn_many("small", 5);
    assert_eq!(spawn_with_key(&muster, "k2", &developer("small")).code(), "pool_full");
    assert_eq!(running(&spawn_with_key(&muster, "k1", &developer("small"))), agent);
    assert_eq!(muster.pool("small")["agent_count"], 6);
}

#[test]
fn a_full_pool_refuses_and_says_when_to_come_back() {
    let muster = small();
    let agents = muster.spawn_many("small", 6);
    let refused = muster.spawn("small");
    assert_eq!((refused.status, refused.code()), (429, "pool_full"), "{refused:?}");
    assert!(refused.header("retry-after").is_some_and(|after| after.parse::<u32>().is_ok()), "{refused:?}");
    assert_eq!(muster.pool("small")["agent_count"], 6, "nothing was stored of it");
    // A slot is free at once when its agent is gone.
    let mut last = agents[3].clone();
    for _ in 0..5 {
        let ended = muster.terminate(&last);
        assert_eq!((ended.status, ended.text("state")), (200, "terminated"), "{ended:?}");
        assert_eq!(muster.pool("small")["available_capacity"], 1);
        last = running(&muster.spawn("small"));
    }
    assert_eq!(loads(&muster, "small"), [2, 2, 2]);
}

#[test]
fn what_is_not_there_and_what_does_not_fit_is_refused() {
    let muster = small();
    let unknown = muster.spawn("nobody");
    assert_eq!((unknown.status, unknown.code()), (404, "unknown_pool"));
    let mut body = developer("small");
    body["role_type"] = json!("tester");
    let wrong = muster.post("/api/v1/agents/spawn", &body);
    assert_eq!((wrong.status, wrong.code()), (409, "wrong_role"));
    let nobody = "00000000-0000-7000-8000-000000000000";
    let answer = muster.terminate(nobody);
    assert_eq!((answer.status, answer.code()), (404, "unknown_agent"));
    let answer = muster.post(&format!("/api/v1/agents/{nobody}/restart"), &json!({}));
    assert_eq!((answer.status, answer.code()), (404, "unknown_agent"));
    let agent = running(&muster.spawn("small"));
    let answer = muster.post("/api/v1/agents/terminate", &json!({"agent_id": agent, "pool_name": "developer_pool"}));
    assert_eq!(answer.status, 404, "an agent of another pool is not touched: {answer:?}");
    assert_eq!(muster.one_agent(&agent).state, "idle");
}

#[test]
fn ending_twice_is_no_error_and_restarting_then_is() {
    let muster = small();
    let agent = running(&muster.spawn("small"));
    let answers: Vec<Answer> = std::thread::scope(|scope| {
        let asks: Vec<_> = (0..4).map(|_| scope.spawn(|| muster.terminate(&agent))).collect();
        asks.into_iter().map(|ask| ask.join().expect("an answer")).chain([muster.terminate(&agent)]).collect()
    });
    for answer in answers {
        assert_eq!((answer.status, answer.text("state")), (200, "terminated"), "{answer:?}");
    }
    let answer = muster.post(&format!("/api/v1/agents/{agent}/restart"), &json!({}));
    assert_eq!((answer.status, answer.code()), (409, "wrong_state"), "{answer:?}");
}

#[test]
fn each_restart_has_a_later_epoch() {
    let muster = small();
    let agent = running(&muster.spawn("small"));
    for epoch in 2..=4_u64 {
        let answer = muster.post(&format!("/api/v1/agents/{agent}/restart"), &json!({}));
        assert_eq!(
            (answer.status, answer.text("state"), &answer.body["epoch"]),
            (200, "idle", &json!(epoch)),
            "{answer:?}"
        );
    }
    assert_eq!(muster.pool("small")["used_capacity"], 1);
    muster.await_each_in_one_worker();
}

#[test]
fn in_bulk_each_item_answers_for_itself() {
    let muster = small();
    let items = json!({"items": [developer("small"), developer("nobody"), {"pool_name": 7}, developer("small")]});
    let answer = muster.post("/api/v1/agents/bulk/spawn", &items);
    assert_eq!((&answer.body["succeeded"], &answer.body["failed"]), (&json!(2), &json!(2)), "{answer:?}");
    let statuses: Vec<&Value> =
        answer.body["items"].as_array().expect("items").iter().map(|item| &item["status"]).collect();
    assert_eq!(statuses, [201, 404, 422, 201]);
    let agent = |index: usize| answer.body["items"][index]["agent"]["agent_id"].clone();
    let items = json!({"items": [{"agent_id": agent(0)}, {"agent_id": agent(3)}]});
    let restarted = muster.post("/api/v1/agents/bulk/restart", &items);
    assert_eq!(
        (&restarted.body["succeeded"], &restarted.body["items"][0]["agent"]["epoch"]),
        (&json!(2), &json!(2)),
        "{restarted:?}"
    );
    let items =
        json!({"items": [{"agent_id": agent(0)}, {"agent_id": "x"}, {"agent_id": agent(3), "graceful": false}]});
    let ended = muster.post("/api/v1/agents/bulk/terminate", &items);
    assert_eq!((&ended.body["succeeded"], &ended.body["failed"]), (&json!(2), &json!(1)), "{ended:?}");
    assert_eq!(ended.body["items"][0]["terminated"]["state"], "terminated");
    assert_eq!(muster.pool("small")["agent_count"], 0);
}
