//! Workers that die, hang, or die again and again: their agents run elsewhere, once, and nobody else notices.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::faults::{self, kill9, lives, signal};
use crate::harness::{Muster, Options, wait_until};

const BOUND: Duration = Duration::from_secs(20);

/// Two agents a worker, and no bound on how often a worker may die.
const SMALL: &str = "
[pools.small]
role_type = \"developer\"
max_agents = 2
restart.max_restarts = 100
restart.backoff_min = 0.01
";

fn small() -> Muster {
    Muster::start(Options { config: SMALL.to_owned(), ..Options::default() })
}

/// Waits until all agents run, those of `moved` with a later epoch and elsewhere, the others as before.
fn await_moved(muster: &Muster, before: &[faults::Agent], moved: &[String]) {
    wait_until("the agents of the dead workers run elsewhere", BOUND, || {
        let now = muster.all_agents();
        before.iter().filter(|agent| moved.contains(&agent.process_id)).all(|old| {
            let new = now.iter().find(|new| new.id == old.id).expect("it is still known");
            new.state == "idle" && new.epoch > old.epoch && new.process_id != old.process_id
        })
    });
    for new in muster.all_agents() {
        let old = before.iter().find(|old| old.id == new.id).expect("known before");
        let epochs = u64::from(moved.contains(&old.process_id));
        assert_eq!((new.epoch, new.state.as_str()), (old.epoch + epochs, "idle"), "{new:?}");
        assert_eq!(epochs == 0, old.process_id == new.process_id, "who was not touched stays: {new:?}");
    }
    muster.await_each_in_one_worker();
}

#[test]
fn agents_of_a_killed_worker_run_elsewhere_and_others_are_not_touched() {
    let muster = small();
    muster.spawn_many("small", 6);
    let before = muster.all_agents();
    let victim = muster.all_workers().remove(0);
    kill9(victim.pid);
    await_moved(&muster, &before, &[victim.id]);
}

#[test]
fn a_worker_within_reach_is_not_declared_dead_and_one_that_has_ended_is_answered_as_it_ended() {
    let muster = small();
    muster.spawn_many("small", 2);
    let before = muster.all_agents();
    let worker = muster.all_workers().remove(0);
    let declare = |id: &str| muster.post(&format!("/api/v1/workers/{id}/declare-dead"), &json!({}));
    let refused = declare(&worker.id);
    assert_eq!((refused.status, refused.code()), (409, "worker_reachable"), "{refused:?}");
    for unknown in ["019aa000-0000-7000-8000-000000000001", "nobody"] {
        assert_eq!((declare(unknown).status, declare(unknown).code()), (404, "unknown_worker"));
    }
    kill9(worker.pid);
    await_moved(&muster, &before, std::slice::from_ref(&worker.id));
    let ended = declare(&worker.id);
    assert_eq!((ended.status, &ended.body["ending"]["cause"]["kind"]), (200, &json!("signaled")), "{ended:?}");
}

#[test]
fn a_worker_that_hangs_is_killed_before_its_agents_run_elsewhere() {
    let muster = small();
    muster.spawn_many("small", 6);
    let before = muster.all_agents();
    let victim = muster.all_workers().remove(1);
    // Judged is who was heard before: one lease of listening, and a beat.
    muster.await_beats(10);
    signal(victim.pid, libc::SIGSTOP);
    wait_until("the worker that hangs is dead", BOUND, || !lives(victim.pid));
    await_moved(&muster, &before, &[victim.id]);
}

#[test]
fn several_workers_die_at_once() {
    let muster = small();
    muster.spawn_many("small", 8);
    let before = muster.all_agents();
    let victims = muster.all_workers();
    assert_eq!(victims.len(), 4);
    victims.iter().for_each(|victim| kill9(victim.pid));
    let moved: Vec<String> = victims.iter().map(|victim| victim.id.clone()).collect();
    await_moved(&muster, &before, &moved);
    let log = muster.log();
    await_kept(&muster, &victims);
    for victim in victims {
        let said = format!(
            "worker {} of pool small (pid {}) was ended by signal 9 (SIGKILL); it said nothing",
            victim.id, victim.pid
        );
        let line = log.lines().find(|line| line.contains(&said)).unwrap_or_else(|| panic!("no {said:?} in {log}"));
        assert!(line.contains(" WARN ") && line.contains("; its 2 agents are started again"), "{line}");
    }
    let alerts = muster.get("/api/v1/alerts").body;
    let lost = alerts.as_array().expect("a list").iter().find(|alert| alert["kind"] == "workers_lost");
    let lost = lost.unwrap_or_else(|| panic!("no alert of the four: {alerts}"));
    let message = lost["message"].as_str().expect("a text");
    assert!(message.starts_with("4 workers were lost within a minute") && message.contains("signal 9"), "{message}");
    assert_eq!(lost["until"], serde_json::Value::Null, "{lost}");
}

/// How each of them ended is in the store, and shown.
fn await_kept(muster: &Muster, victims: &[faults::Worker]) {
    let ended = || muster.get("/api/v1/agents/metrics/processes/ended?pool_name=small").body;
    let is_kept = |page: &Value| page["items"].as_array().is_some_and(|items| items.len() == victims.len());
    wait_until("how they ended is kept", BOUND, || is_kept(&ended()));
    for item in ended()["items"].as_array().expect("a list") {
        let victim = victims.iter().find(|victim| item["process_id"] == json!(victim.id)).expect("one of them");
        assert_eq!((&item["pid"], &item["status"]), (&json!(victim.pid), &json!("lost")), "{item}");
        assert_eq!(item["ending"]["cause"], json!({"kind": "signaled", "signal": 9, "name": "SIGKILL"}));
        assert_eq!(item["ending"]["follows"], "its 2 agents are started again");
    }
    let listed = muster.command(&["ps", "-w", "-a"]).expect(0).stdout;
    for victim in victims {
        let row = listed.lines().find(|line| line.starts_with(&victim.id)).unwrap_or_else(|| panic!("{listed}"));
        assert!(row.ends_with("was ended by signal 9 (SIGKILL); its 2 agents are started again"), "{row}");
    }
    assert!(!muster.command(&["ps", "-w"]).expect(0).stdout.contains(&victims[0].id), "it is no worker any more");
}

#[test]
fn a_worker_that_dies_while_it_starts_is_replaced() {
    let muster = small();
    let spawns = std::thread::scope(|scope| {
        let spawns = scope.spawn(|| muster.spawn_many("small", 2));
        let mut victim = None;
        wait_until("a worker starts", BOUND, || {
            victim = faults::processes_with(" --pool small ").into_iter().find(|p| p.parent == muster.pid());
            victim.is_some()
        });
        kill9(victim.expect("found").pid);
        spawns.join().expect("the spawns were answered")
    });
    wait_until("both run", BOUND, || muster.all_agents().iter().filter(|agent| agent.state == "idle").count() == 2);
    assert_eq!(muster.all_agents().len(), spawns.len());
    muster.await_each_in_one_worker();
}

#[test]
fn agents_whose_workers_die_again_and_again_are_quarantined_until_a_person_releases_them() {
    let config = "[pools.small]\nrole_type = \"developer\"\nmax_agents = 2\nrestart.max_restarts = 3\nrestart.backoff_min = 0.01\n";
    let muster = Muster::start(Options { config: config.to_owned(), ..Options::default() });
    let agent = muster.spawn_many("small", 1).remove(0);
    for epoch in 1..=4 {
        wait_until("it runs again", BOUND, || {
            let seen = muster.one_agent(&agent);
            (seen.state.as_str(), seen.epoch) == ("idle", epoch)
        });
        let place = muster.one_agent(&agent).process_id;
        let worker = muster.all_workers().into_iter().find(|worker| worker.id == place).expect("its worker");
        kill9(worker.pid);
    }
    wait_until("it is quarantined", BOUND, || muster.one_agent(&agent).state == "quarantined");
    let answer = muster.post(&format!("/api/v1/agents/{agent}/restart"), &serde_json::json!({}));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!((muster.one_agent(&agent).state.as_str(), muster.one_agent(&agent).epoch), ("idle", 5));
}
