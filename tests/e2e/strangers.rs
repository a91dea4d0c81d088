//! Somebody else writes to Muster's Redis.

use crate::harness::{BOUND, Muster, wait_until};
use crate::registry::{is_whole, patient};

/// One key of each kind that there is, beside those that fade by themselves.
fn keys(muster: &Muster) -> Vec<String> {
    let worker = muster.all_workers().remove(0).id;
    let agent = muster.all_agents().remove(0).id;
    vec![
        "supervisor:generation".to_owned(),
        "supervisor:leader".to_owned(),
        format!("supervisor:condemned:{worker}"),
        format!("process:{worker}"),
        format!("agent:{agent}"),
        "pool:developer_pool:agents".to_owned(),
        format!("pool:developer_pool:process:{worker}:agents"),
        "pool:developer_pool:processes".to_owned(),
        "pool:developer_pool:reports".to_owned(),
        "pool:tester_pool:reports".to_owned(),
    ]
}

fn is_tampered(muster: &Muster) -> bool {
    let degraded = muster.get("/health").body["degraded"].clone();
    degraded.as_array().is_some_and(|all| all.iter().any(|what| what.as_str().unwrap_or("").starts_with("tampering")))
}

#[test]
fn a_key_that_somebody_spoils_heals_while_agents_are_spawned() {
    let muster = Muster::start(patient());
    muster.spawn_many("developer_pool", 3);
    wait_until("the registry is whole", BOUND, || is_whole(&muster));
    let before: Vec<u32> = muster.all_workers().into_iter().map(|worker| worker.pid).collect();
    for key in keys(&muster) {
        let mut spoil = redis::pipe();
        spoil.cmd("DEL").arg(&key).cmd("RPUSH").arg(&key).arg("mine");
        spoil.exec(&mut muster.redis()).expect("spoilt");
        assert_eq!(muster.spawn("developer_pool").status, 201, "with {key} spoilt");
        wait_until(&format!("the registry is whole after {key} was spoilt"), BOUND, || is_whole(&muster));
    }
    wait_until("it is said", BOUND, || is_tampered(&muster));
    assert!(muster.get_text("/metrics").contains("muster_registry_replaced_keys_total"));
    let alive = muster.all_workers();
    assert!(before.iter().all(|pid| alive.iter().any(|worker| worker.pid == *pid)), "no worker was given up");
    assert!(muster.all_agents().iter().all(|agent| agent.epoch == 1), "and no agent restarted");
}

#[test]
fn a_generation_that_is_garbage_is_a_flush() {
    let muster = Muster::start(patient());
    muster.spawn_many("developer_pool", 3);
    redis::cmd("SET").arg("supervisor:generation").arg("garbage").exec(&mut muster.redis()).expect("spoilt");
    wait_until("there is another one", BOUND, || {
        let text: String = redis::cmd("GET").arg("supervisor:generation").query(&mut muster.redis()).expect("one");
        text != "garbage"
    });
    muster.spawn_many("developer_pool", 1);
    wait_until("the registry is whole", BOUND, || is_whole(&muster));
}
