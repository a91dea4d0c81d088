//! A runtime whose definition changes while its workers stay: the old ones are shown, get no more agents, and give way.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::faults::{kill9, lives};
use crate::harness::{Muster, Options, wait_until};

const BOUND: Duration = Duration::from_secs(20);

/// A pool `p` of one worker at the most, whose agents say this word when they start.
fn saying(word: &str) -> String {
    format!(
        "[runtimes.script]\nkind = \"exec\"\nenv = {{ WORD = \"{word}\" }}\n\
         command = [\"sh\", \"-c\", '''echo the word is $WORD; echo '{{\"type\":\"ready\"}}'; exec cat''']\n\
         [pools.p]\nrole_type = \"developer\"\nruntime = \"script\"\nmax_workers = 1\nmax_agents = 2\nmin_workers = 1\n"
    )
}

/// Starts the server anew with another configuration; its workers stay.
fn reconfigure(muster: &mut Muster, config: String) {
    let answer = muster.post("/api/v1/system/stop", &json!({"keep_workers": true}));
    assert_eq!(answer.status, 202, "{answer:?}");
    muster.await_exit(0);
    muster.options.config = config;
    muster.restart();
}

fn said(muster: &Muster, agent: &str) -> String {
    muster.get(&format!("/api/v1/agents/{agent}/logs?tail=1000")).body.as_str().unwrap_or_default().to_owned()
}

/// The alert that the workers of before leave no room.
fn alert(muster: &Muster) -> Value {
    let alerts = muster.get("/api/v1/alerts").body;
    let found = alerts.as_array().expect("a list").iter().find(|alert| alert["kind"] == "old_runtime");
    found.cloned().unwrap_or_default()
}

fn agent(muster: &Muster, agent: &str) -> Value {
    muster.get(&format!("/api/v1/agents/{agent}")).body
}

#[test]
fn a_changed_program_starts_with_the_next_start_of_an_agent() {
    let mut muster = Muster::start(Options::config(saying("old")));
    let agents = muster.spawn_many("p", 2);
    reconfigure(&mut muster, saying("new"));
    let old = muster.all_workers().remove(0);
    let listed = muster.command(&["ps", "-w"]).expect(0).stdout;
    assert!(listed.contains("ready, old runtime"), "{listed}");
    let status = muster.command(&["status"]).expect(0).stdout;
    assert!(status.contains("1 (1 with an older definition of their runtime"), "{status}");
    assert!(muster.log().contains("starts programs by an older definition of the runtime script"), "{}", muster.log());

    // The one worker that the pool may have still has an agent: what was restarted waits, and says for what.
    let restarted = muster.post(&format!("/api/v1/agents/{}/restart?wait=0.2", agents[0]), &json!({}));
    assert_eq!(restarted.status, 202, "{restarted:?}");
    wait_until("it says what it waits for", BOUND, || {
        let waits = agent(&muster, &agents[0]);
        waits["reason"].as_str().is_some_and(|reason| reason.contains("1 worker with an older one must be empty first"))
    });
    assert_eq!(muster.pool("p")["lacks"], "old_runtime");
    wait_until("it is an alert", BOUND, || alert(&muster)["until"].is_null() && !alert(&muster).is_null());
    assert!(alert(&muster)["message"].as_str().is_some_and(|words| words.contains("muster restart")));
    let health = muster.get("/health").body;
    assert_eq!(health["alerts"], json!([{"kind": "old_runtime", "pool_name": "p"}]), "{health}");
    let status = muster.command(&["status"]).expect(0).stdout;
    assert!(status.contains("1 worker with an older one must be empty first"), "{status}");
    let refused = muster.spawn("p");
    assert_eq!((refused.status, refused.code()), (429, "pool_full"), "{refused:?}");
    assert!(refused.text("detail").contains("1 worker with an older definition"), "{refused:?}");

    // With its last agent the old worker gives way, though it is the minimum of the pool.
    muster.post(&format!("/api/v1/agents/{}/restart?wait=20", agents[1]), &json!({}));
    wait_until("both run", BOUND, || agents.iter().all(|id| agent(&muster, id)["state"] == "idle"));
    for id in &agents {
        wait_until("the new program has started", BOUND, || said(&muster, id).contains("the word is new"));
    }
    wait_until("the alert is over", BOUND, || alert(&muster)["until"].is_string());
    let workers = muster.all_workers();
    assert!(workers.len() == 1 && workers[0].id != old.id, "{workers:?}");
    assert_eq!(muster.get("/api/v1/system/status").body["outdated_workers"], 0);

    // What did not change is not replaced.
    reconfigure(&mut muster, saying("new"));
    assert_eq!(muster.all_workers()[0].id, workers[0].id);
    assert_eq!(muster.get("/api/v1/system/status").body["outdated_workers"], 0);
}

#[test]
fn a_dead_worker_is_not_warned_of_as_an_older_one() {
    let mut muster = Muster::start(Options::config(saying("old")));
    muster.spawn("p");
    let workers: Vec<u32> = muster.all_workers().into_iter().map(|worker| worker.pid).collect();
    muster.kill9();
    workers.iter().for_each(|pid| kill9(*pid));
    wait_until("all are dead", BOUND, || !workers.iter().any(|pid| lives(*pid)));
    muster.options.config = saying("new");
    muster.restart();
    wait_until("the agent runs again", BOUND, || muster.all_agents().iter().any(|agent| agent.state == "idle"));
    assert!(!muster.log().contains("older definition"), "{}", muster.log());
}

#[test]
fn a_changed_program_per_task_starts_with_the_next_task() {
    let config = |word: &str| {
        format!(
            "[runtimes.say]\nkind = \"exec\"\nmode = \"oneshot\"\ncommand = [\"echo\", \"{word}\"]\n\
             [pools.p]\nrole_type = \"developer\"\nruntime = \"say\"\nmax_workers = 1\non_demand = {{ max_agents = 1 }}\n"
        )
    };
    let ask = |muster: &Muster| {
        let task = muster.post("/api/v1/tasks", &json!({"pool_name": "p", "input": "x"})).text("task_id").to_owned();
        muster.get(&format!("/api/v1/tasks/{task}?wait=20")).body["output"].to_string()
    };
    let mut muster = Muster::start(Options::config(config("old")));
    assert!(ask(&muster).contains("old"));
    reconfigure(&mut muster, config("new"));
    wait_until("the agent has moved", BOUND, || muster.get("/api/v1/system/status").body["outdated_workers"] == 0);
    assert!(ask(&muster).contains("new"));
}
