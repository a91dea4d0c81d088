//! Agents and workers that have nothing to do end by themselves, and free what they held.

use serde_json::json;

use crate::harness::{BOUND, Muster, Options, developer, wait_until};

#[test]
fn an_agent_that_is_idle_too_long_ends_for_good() {
    let mut muster = Muster::start(Options::default());
    let mut body = developer("developer_pool");
    body["max_idle_time"] = json!(1);
    let answer = muster.post("/api/v1/agents/spawn", &body);
    assert_eq!(answer.status, 201, "{answer:?}");
    let (idle, stays) = (answer.text("agent_id").to_owned(), muster.spawn_many("developer_pool", 1).remove(0));
    wait_until("it ends", BOUND, || muster.one_agent(&idle).state == "terminated");
    let pool = muster.pool("developer_pool");
    assert_eq!((&pool["used_capacity"], &pool["agent_count"]), (&json!(1), &json!(1)), "its slot is free: {pool}");
    assert_eq!(muster.one_agent(&stays).state, "idle");
    // It stays ended over a restart.
    muster.stop();
    muster.restart();
    wait_until("the other one runs again", BOUND, || muster.one_agent(&stays).state == "idle");
    assert_eq!((muster.one_agent(&idle).state.as_str(), muster.one_agent(&idle).epoch), ("terminated", 1));
}

#[test]
fn an_empty_worker_ends() {
    let muster = Muster::start(Options::config(
        "[pools.p]\nrole_type = \"developer\"\nmax_agents = 2\nworker_idle_timeout = 0.3\n",
    ));
    let agents = muster.spawn_many("p", 3);
    let half_full = muster.one_agent(&agents[2]).process_id;
    muster.terminate(&agents[2]);
    wait_until("the empty one is gone", BOUND, || muster.pool("p")["process_count"] == 1);
    assert!(muster.all_workers().iter().all(|worker| worker.id != half_full), "the full one stays");
    let pool = muster.pool("p");
    assert_eq!((&pool["total_workers_terminated"], &pool["agent_count"]), (&json!(1), &json!(2)), "{pool}");
    wait_until("the registry has forgotten it", BOUND, || {
        let there: bool =
            redis::cmd("EXISTS").arg(format!("process:{half_full}")).query(&mut muster.redis()).expect("an answer");
        !there
    });
    agents.iter().for_each(|agent| drop(muster.terminate(agent)));
    wait_until("nothing is left", BOUND, || muster.pool("p")["process_count"] == 0);
    muster.spawn_many("p", 1);
}

#[test]
fn as_many_workers_as_wanted_stay_ready() {
    let config = "[pools.p]\nrole_type = \"developer\"\nmax_agents = 1\nmin_workers = 1\nworker_idle_timeout = 0.2\n";
    let muster = Muster::start(Options::config(config));
    wait_until("one is ready before anybody asks", BOUND, || muster.pool("p")["active_worker_processes"] == 1);
    let agents = muster.spawn_many("p", 3);
    agents.iter().for_each(|agent| drop(muster.terminate(agent)));
    wait_until("the others end", BOUND, || muster.pool("p")["process_count"] == 1);
    let last = muster.all_workers().remove(0);
    // Many times the idle timeout, by the worker's own heart.
    muster.await_beats(20);
    assert_eq!(muster.all_workers().into_iter().map(|worker| worker.id).collect::<Vec<_>>(), [last.id]);
    assert_eq!(muster.pool("p")["total_workers_terminated"], 2);
}
