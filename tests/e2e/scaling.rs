//! A pool that grows and shrinks with its queue, with real programs.

use serde_json::{Value, json};

use crate::harness::{BOUND, Muster, Options, wait_until};

/// Programs of half a second, in workers of two.
const POOLS: &str = r#"
[runtimes.work]
kind = "exec"
mode = "oneshot"
command = ["sleep", "0.5"]
[pools.jobs]
role_type = "developer"
runtime = "work"
max_agents = 2
max_workers = 6
on_demand = {}
[pools.jobs.scaling]
mode = "on"
check_interval = 0.5
policies = [{ kind = "target", metric = "queue_per_worker", target = 4, cooldown_out = 0, cooldown_in = 1 }]
"#;

fn scale(muster: &Muster) -> Value {
    muster.get("/api/clusters/jobs").body
}

fn decisions(muster: &Muster) -> Vec<Value> {
    let scaling = muster.get("/api/v1/agents/pools/jobs/scaling").body;
    scaling["decisions"].as_array().cloned().unwrap_or_default()
}

fn submit(muster: &Muster, count: usize) {
    let lines: String = (0..count).map(|n| format!("{}\n", json!({"pool_name": "jobs", "input": n}))).collect();
    let bulk = muster.ask("POST", "/api/v1/tasks/bulk").header("content-type", "application/x-ndjson");
    assert_eq!(bulk.body(lines).send().status, 200);
}

/// All tasks, once each has ended.
fn ended(muster: &Muster, count: usize) -> Vec<Value> {
    let done = || muster.get("/api/v1/tasks?state=succeeded&limit=1000").body["items"].as_array().map_or(0, Vec::len);
    wait_until("all tasks are done", BOUND, || done() == count);
    muster.get("/api/v1/tasks?limit=1000").body["items"].as_array().cloned().unwrap_or_default()
}

fn assert_undisturbed(tasks: &[Value]) {
    let disturbed: Vec<&Value> =
        tasks.iter().filter(|task| task["state"] != "succeeded" || task["attempt"] != 1).collect();
    assert!(disturbed.is_empty(), "{disturbed:?}");
}

#[test]
fn workers_rise_with_the_load_and_fall_after_it_and_no_task_is_ended() {
    let muster = Muster::start(Options::config(POOLS));
    submit(&muster, 60);
    wait_until("it is as large as it may be", BOUND, || scale(&muster)["current_workers"] == 6);
    assert_undisturbed(&ended(&muster, 60));
    wait_until("nobody is left", BOUND, || {
        let now = scale(&muster);
        now["current_workers"] == 0 && now["status"] == "active"
    });
    wait_until("the last decision is carried out", BOUND, || {
        decisions(&muster).iter().all(|one| one["state"] != "pending")
    });
    let made = decisions(&muster);
    let any = |is: &dyn Fn(&Value) -> bool| made.iter().any(is);
    assert!(any(&|one| one["actor"] == "first_task" && one["to_workers"] == 1), "{made:?}");
    assert!(any(&|one| one["direction"] == "out" && one["inputs"]["votes"][0]["workers"].is_u64()), "{made:?}");
    assert!(any(&|one| one["direction"] == "in" && one["state"] == "done"), "{made:?}");
    let why = muster.command(&["why", "jobs"]);
    assert!(
        why.stdout.contains("0 are to be there") && why.stdout.contains("target queue_per_worker"),
        "{}",
        why.stdout
    );
    let what_if = muster.command(&["why", "jobs", "--if", "queue=15"]);
    assert!(what_if.stdout.starts_with("then: from 0 to 4 workers (8 slots)"), "{}", what_if.stdout);
    assert!(made.len() < 40, "one that holds is told once: {made:?}");
}

#[test]
fn a_master_that_is_killed_while_the_pool_grows_goes_on_where_it_was() {
    let mut muster = Muster::start(Options::config(POOLS));
    submit(&muster, 40);
    wait_until("it grows", BOUND, || scale(&muster)["target_workers"].as_u64().is_some_and(|target| target > 1));
    muster.kill9();
    muster.restart();
    assert_undisturbed(&ended(&muster, 40));
    wait_until("nobody is left", BOUND, || scale(&muster)["current_workers"] == 0);
    let made = decisions(&muster);
    let mut changes: Vec<&Value> = made.iter().filter(|one| !one["direction"].is_null()).collect();
    changes.reverse();
    for pair in changes.windows(2) {
        assert_eq!(pair[0]["to_workers"], pair[1]["from_workers"], "each goes on from the last: {changes:?}");
    }
}
