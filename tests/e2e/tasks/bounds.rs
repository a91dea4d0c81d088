//! Bounds: budgets, quotas of tenants, waiting tasks; and the breaker of a pool.

use serde_json::json;

use super::{ends, python};
use crate::harness::{BOUND, Muster, Options, wait_until};

#[test]
fn a_budget_that_is_passed_stops_a_run_in_the_middle_and_refuses_new_work() {
    let budgets = "[[budgets]]\nscope = \"project\"\nname = \"shop\"\ntokens = 100\n";
    let mut options = python("");
    options.config.push_str(budgets);
    let mut muster = Muster::start(options);
    muster.spawn_many("p", 1);
    let small = json!({"input": {"usage": {"input_tokens": 60}}, "project_id": "shop"});
    assert_eq!(muster.finished(&muster.submit_with(&small))["state"], "succeeded");
    let held =
        muster.submit_with(&json!({"input": {"usage": {"output_tokens": 41}, "hold": true}, "project_id": "shop"}));
    let stopped = muster.finished(&held);
    assert_eq!(
        (&stopped["state"], &stopped["error"]["code"]),
        (&json!("failed"), &json!("budget_exceeded")),
        "{stopped}"
    );
    let refused = muster.post("/api/v1/tasks", &json!({"pool_name": "p", "input": 1, "project_id": "shop"}));
    assert_eq!((refused.status, refused.code()), (429, "budget_exceeded"), "{refused:?}");
    assert_eq!(muster.finished(&muster.submit(&json!(1)))["state"], "succeeded", "others go on");
    muster.kill9();
    muster.restart();
    let refused = muster.post("/api/v1/tasks", &json!({"pool_name": "p", "input": 1, "project_id": "shop"}));
    assert_eq!((refused.status, refused.code()), (429, "budget_exceeded"), "a new master knows the sums: {refused:?}");
    let sums = muster.get("/api/v1/usage?scope=project").body;
    assert_eq!(sums["items"][0]["name"], "shop", "{sums}");
    assert_eq!(sums["items"][0]["usage"], json!({"input_tokens": 60, "output_tokens": 41, "cost_usd": 0.0}), "{sums}");
    assert_eq!(sums["items"][0]["budget"]["tokens"], 100, "{sums}");
    assert_eq!(muster.get("/api/v1/usage?scope=planet").status, 422);
}

#[test]
fn a_tenant_keeps_to_its_limits() {
    let tenants = "[tenants.acme]\nmax_running = 1\nper_day = 3\n";
    let mut options = python("");
    options.config.push_str(tenants);
    let mut muster = Muster::start(options);
    muster.spawn_many("p", 3);
    let held: Vec<String> =
        (0..2).map(|_| muster.submit_with(&json!({"input": {"hold": true}, "tenant": "acme"}))).collect();
    wait_until("one runs", BOUND, || muster.task(&held[0])["state"] == "running");
    assert_eq!(muster.finished(&muster.submit(&json!("other")))["state"], "succeeded", "another tenant is not held up");
    assert_eq!(muster.task(&held[1])["state"], "queued", "one at a time");
    muster.kill9();
    muster.restart();
    let third = json!({"pool_name": "p", "input": 1, "tenant": "acme"});
    assert_eq!(muster.post("/api/v1/tasks", &third).status, 202);
    let refused = muster.post("/api/v1/tasks", &third);
    assert_eq!((refused.status, refused.code()), (429, "quota_exceeded"), "the day counts on: {refused:?}");
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    assert_eq!(muster.task(&held[1])["state"], "queued");
    let cancelled = muster.post(&format!("/api/v1/tasks/{}/cancel?wait=20", held[0]), &json!({}));
    assert_eq!(cancelled.text("state"), "cancelled", "{cancelled:?}");
    wait_until("the next one runs", BOUND, || muster.task(&held[1])["state"] == "running");
}

#[test]
fn a_queue_takes_no_more_than_it_may_hold() {
    let muster = Muster::start(python("max_queued = 2"));
    let first = muster.submit(&json!(1));
    muster.submit_with(&json!({"input": 2, "delay": 3600}));
    let refused = muster.post("/api/v1/tasks", &json!({"pool_name": "p", "input": 3}));
    assert_eq!((refused.status, refused.code()), (429, "queue_full"), "{refused:?}");
    muster.spawn_many("p", 1);
    assert_eq!(muster.finished(&first)["state"], "succeeded");
    muster.submit(&json!(3));
}

#[test]
fn tasks_wait_while_too_many_fail_and_go_on_when_a_probe_succeeds() {
    let config = "[runtimes.picky]\nkind = \"exec\"\nmode = \"oneshot\"\n\
                  command = [\"sh\", \"-c\", \"test -e ok\"]\ncwd = \".\"\n\
                  [pools.p]\nrole_type = \"developer\"\nruntime = \"picky\"\nmax_attempts = 1\n\
                  breaker.least = 5\nbreaker.window = 60\nbreaker.pause = 0.5\n";
    let muster = Muster::start(Options::config(config));
    muster.spawn_many("p", 1);
    let doomed: Vec<String> = (0..5).map(|n| muster.submit(&json!(n))).collect();
    doomed.iter().for_each(|id| assert_eq!(muster.finished(id)["state"], "dead"));
    let alerts = || muster.get("/api/v1/alerts").body.to_string();
    wait_until("the breaker is open, and an alert says so", BOUND, || alerts().contains("breaker_open"));
    std::fs::write(muster.folder().join("ok"), "").expect("a file");
    let waiting: Vec<String> = (0..3).map(|n| muster.submit(&json!(n))).collect();
    for id in &waiting {
        let done = muster.finished(id);
        assert_eq!(
            (&done["state"], ends(&done).len()),
            (&json!("succeeded"), 1),
            "it waited, and did not fail: {done}"
        );
    }
}

/// A typing mistake in a command must not fill the store with agents.
#[test]
fn agents_on_demand_that_do_not_start_are_not_made_for_ever() {
    let config = "[runtimes.none]\nkind = \"exec\"\ncommand = [\"/no/such/program\"]\n\
                  [pools.p]\nrole_type = \"developer\"\nruntime = \"none\"\non_demand = { max_agents = 3 }\n";
    let muster = Muster::start(Options::config(config));
    let waiting = muster.submit(&json!(1));
    let made = || muster.get("/api/v1/agents?limit=1000").body["items"].as_array().map_or(0, Vec::len);
    let begun = std::time::Instant::now();
    wait_until("four were tried", BOUND, || made() >= 4);
    // The waits between them double from 0.2 s on: 1.4 s, of which the first look may have missed a little.
    assert!(begun.elapsed() >= std::time::Duration::from_secs(1), "four were made in {:?}", begun.elapsed());
    assert_eq!(muster.task(&waiting)["state"], "queued", "it waits for the configuration to be mended");
    wait_until("it is said that they fail", BOUND, || {
        muster.get("/api/metrics/queue").body["pools"]["p"]["lacks"] == "agents_failing"
    });
}

#[test]
fn a_pause_holds_tasks_and_a_drain_takes_none() {
    let mut muster = Muster::start(python(""));
    muster.spawn_many("p", 1);
    let running = muster.submit(&json!({"sleep": 0.5}));
    let pause = |muster: &Muster, what: &str| muster.post(&format!("/api/v1/agents/pools/p/{what}"), &json!({}));
    assert_eq!(pause(&muster, "pause").body["paused"], true);
    let waiting = muster.submit(&json!(1));
    assert_eq!(muster.finished(&running)["state"], "succeeded", "what runs goes on");
    muster.kill9();
    muster.restart();
    assert_eq!(
        (muster.pool("p")["paused"].clone(), muster.task(&waiting)["state"].clone()),
        (json!(true), json!("queued"))
    );
    assert_eq!(pause(&muster, "resume").body["paused"], false);
    assert_eq!(muster.finished(&waiting)["state"], "succeeded");
    let held = muster.submit(&json!({"hold": true}));
    wait_until("it runs", BOUND, || muster.task(&held)["state"] == "running");
    let drained = muster.post("/api/v1/agents/pools/p/drain", &json!({"hand_back": true}));
    assert_eq!(drained.body["intake_closed"], true, "{drained:?}");
    let refused = muster.post("/api/v1/tasks", &json!({"pool_name": "p", "input": 1}));
    assert_eq!((refused.status, refused.code()), (503, "intake_closed"), "{refused:?}");
    wait_until("it is handed back", BOUND, || muster.task(&held)["state"] == "queued");
    assert_eq!(ends(&muster.task(&held)), ["handed_back"]);
    pause(&muster, "resume");
    wait_until("it runs again", BOUND, || muster.task(&held)["state"] == "running");
}
