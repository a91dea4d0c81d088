//! Pools made, changed and removed while they are used.

use std::path::Path;

use serde_json::json;

use crate::harness::faults::processes_with;
use crate::harness::{BOUND, Muster, Options, wait_until};

const POOLS: &str = "/api/v1/agents/pools";

#[test]
fn a_new_store_without_a_file_has_the_four_pools() {
    let muster = Muster::start(Options::default());
    let pools = muster.get(POOLS).body;
    let name = |pool: &serde_json::Value| {
        let text = |key: &str| pool[key].as_str().expect("a text").to_owned();
        format!("{}:{}", text("pool_name"), text("role_type"))
    };
    let mut names: Vec<String> = pools.as_array().expect("a list").iter().map(name).collect();
    names.sort();
    assert_eq!(
        names,
        [
            "business_analyst_pool:business_analyst",
            "developer_pool:developer",
            "team_leader_pool:team_leader",
            "tester_pool:tester"
        ]
    );
}

#[test]
fn a_pool_is_made_changed_and_removed() {
    let mut muster = Muster::start(Options::default());
    let body = json!({"role_type": "developer", "pool_name": "mine", "config": {"max_agents": 2, "max_workers": 1}});
    let made = muster.post(POOLS, &body);
    assert_eq!((made.status, &made.body["config"]["max_agents"]), (201, &json!(2)), "{made:?}");
    assert_eq!(muster.post(POOLS, &body).code(), "pool_exists");
    let agents = muster.spawn_many("mine", 2);
    assert_eq!(muster.spawn("mine").code(), "pool_full");
    let changed = muster.patch(&format!("{POOLS}/mine"), &json!({"config": {"max_workers": 2}}));
    assert_eq!((changed.status, &changed.body["config"]["max_workers"]), (200, &json!(2)), "{changed:?}");
    muster.spawn_many("mine", 1);
    // What was made and changed is remembered.
    muster.stop();
    muster.restart();
    assert_eq!(muster.pool("mine")["config"]["max_workers"], 2);
    wait_until("all run again", BOUND, || {
        muster.all_agents().iter().filter(|agent| agent.state == "idle").count() == 3
    });
    let removed = muster.delete(&format!("{POOLS}/mine"));
    assert_eq!(removed.status, 204, "{removed:?}");
    assert_eq!(muster.get(&format!("{POOLS}/mine")).code(), "unknown_pool");
    assert_eq!(muster.spawn("mine").code(), "unknown_pool");
    assert_eq!(muster.one_agent(&agents[0]).state, "terminated");
    assert_eq!(muster.all_workers().len(), 0, "its workers are gone with it");
    wait_until("the registry has forgotten it", BOUND, || {
        let left: Vec<String> = redis::cmd("KEYS").arg("pool:mine*").query(&mut muster.redis()).expect("keys");
        left.is_empty()
    });
    assert_eq!(muster.post(POOLS, &body).status, 201, "the name is free again");
}

#[test]
fn a_pool_that_can_not_be_is_refused() {
    let muster = Muster::start(Options::config("[pools.filed]\nrole_type = \"developer\"\n"));
    for (body, status, code) in [
        (json!({"role_type": "developer", "pool_name": "No Pool"}), 422, "invalid_field"),
        (json!({"role_type": "", "pool_name": "p"}), 422, "invalid_field"),
        (json!({"role_type": "developer", "pool_name": "p", "config": {"max_agents": 0}}), 422, "invalid_field"),
        (
            json!({"role_type": "developer", "pool_name": "p", "config": {"min_workers": 3, "max_workers": 2}}),
            422,
            "invalid_field",
        ),
        (json!({"role_type": "developer", "pool_name": "p", "runtime": "sh"}), 422, "unknown_runtime"),
        (json!({"role_type": "developer", "pool_name": "p", "config": {"launcher": "east"}}), 422, "unknown_launcher"),
        (json!({"role_type": "developer", "pool_name": "p", "command": ["sh"]}), 422, "invalid_field"),
        (json!({"role_type": "developer", "pool_name": "filed"}), 409, "pool_exists"),
    ] {
        let answer = muster.post(POOLS, &body);
        assert_eq!((answer.status, answer.code()), (status, code), "{body}: {answer:?}");
    }
    let changed = muster.patch(&format!("{POOLS}/filed"), &json!({"config": {"max_agents": 3}}));
    assert_eq!((changed.status, changed.code()), (409, "pool_of_file"), "{changed:?}");
    assert_eq!(muster.delete(&format!("{POOLS}/filed")).code(), "pool_of_file");
    assert_eq!(muster.delete(&format!("{POOLS}/nobody")).code(), "unknown_pool");
    muster.spawn_many("filed", 1);
}

/// Agents that write a file when they are asked to end, and then do.
fn polite(folder: &Path) -> Options {
    let path = folder.display();
    Options::config(format!(
        "[runtimes.polite]\nkind = \"exec\"\n\
         command = [\"sh\", \"-c\", '''trap \"echo > {path}/asked-$MUSTER_AGENT_ID; exit 0\" TERM\n\
         echo '{{\"type\":\"ready\"}}'; while :; do sleep 0.05; done''', \"{path}\"]\n"
    ))
}

#[test]
fn its_agents_are_asked_to_end_or_killed() {
    let folder = tempfile::Builder::new().prefix("mp").tempdir_in("/tmp").expect("a folder");
    let muster = Muster::start(polite(folder.path()));
    let asked = || std::fs::read_dir(folder.path()).expect("a folder").count();
    let make = |name: &str| {
        let body = json!({"role_type": "developer", "pool_name": name, "runtime": "polite"});
        assert_eq!(muster.post(POOLS, &body).status, 201);
        muster.spawn_many(name, 2);
    };
    make("killed");
    let removed = muster.delete(&format!("{POOLS}/killed?graceful=false"));
    assert_eq!((removed.status, asked()), (204, 0), "{removed:?}");
    make("asked");
    let removed = muster.delete(&format!("{POOLS}/asked"));
    assert_eq!((removed.status, asked()), (204, 2), "{removed:?}");
    let left = processes_with(&folder.path().display().to_string());
    assert!(left.is_empty(), "{left:?}");
}

#[test]
fn a_pool_taken_out_of_the_file_is_drained() {
    let mut muster =
        Muster::start(Options::config("[pools.a]\nrole_type = \"developer\"\n[pools.b]\nrole_type = \"developer\"\n"));
    let (kept, gone) = (muster.spawn_many("a", 1).remove(0), muster.spawn_many("b", 1).remove(0));
    muster.stop();
    muster.options.config = "[pools.a]\nrole_type = \"developer\"\nmax_agents = 3\n".to_owned();
    muster.restart();
    wait_until("it is gone", BOUND, || muster.get(&format!("{POOLS}/b")).status == 404);
    assert_eq!(muster.one_agent(&gone).state, "terminated");
    wait_until("the other one runs again", BOUND, || muster.one_agent(&kept).state == "idle");
    assert_eq!(muster.pool("a")["config"]["max_agents"], 3, "the file's change is in force");
}

#[test]
fn a_pool_is_scaled_by_hand() {
    let muster = Muster::start(Options::default());
    let ready = |count: u64| {
        wait_until("the workers are there", BOUND, || {
            let pool = muster.pool("tester_pool");
            (&pool["process_count"], &pool["active_worker_processes"]) == (&json!(count), &json!(count))
        });
    };
    let scaled = muster.command(&["scale", "tester_pool", "3"]).expect(0);
    assert!(scaled.stdout.contains("of 3 workers"), "{scaled:?}");
    ready(3);
    let cluster = muster.get("/api/clusters/tester_pool").body;
    assert_eq!((&cluster["id"], &cluster["status"]), (&json!("tester_pool"), &json!("active")), "{cluster}");
    assert_eq!((&cluster["current_workers"], &cluster["target_workers"]), (&json!(3), &json!(3)), "{cluster}");
    assert_eq!((&cluster["load_percentage"], &cluster["health_score"]), (&json!(0.0), &json!(1.0)), "{cluster}");
    let refused = muster.post("/api/clusters/tester_pool/scale", &json!({"target_workers": 21}));
    assert_eq!(refused.status, 422, "{refused:?}");
    assert!(
        refused.body.to_string().contains("target_workers is 0 (min_workers) to 20 (max_workers), not 21"),
        "{refused:?}"
    );
    assert_eq!(muster.post("/api/v1/agents/pools/tester_pool/scale", &json!({})).status, 422);
    let shown = muster.post("/api/v1/agents/pools/tester_pool/scale", &json!({"target_workers": 1})).body;
    assert_eq!((&shown["target_workers"], &shown["pool_name"]), (&json!(1), &json!("tester_pool")), "{shown}");
    ready(1);
    let released = muster.command(&["scale", "tester_pool", "--release"]).expect(0);
    assert!(released.stdout.contains("more are started as agents need them"), "{released:?}");
    assert_eq!(muster.pool("tester_pool")["target_workers"], json!(null));
    let mut stream = muster.ask("GET", "/api/v1/events").header("last-event-id", "1").stream();
    let events = stream.events_until(|event| event.data["reason"].as_str().is_some_and(|why| why.contains("releases")));
    let scaled: Vec<&str> = events
        .iter()
        .filter(|event| event.kind == "pool.scaled")
        .filter_map(|event| event.data["reason"].as_str())
        .collect();
    let expected = [
        "a person wants 3 workers",
        "a person wants 1 worker",
        "a person releases it: workers are started as agents need them",
    ];
    assert_eq!(scaled, expected);
}
