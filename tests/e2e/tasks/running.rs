//! Agents at work: results, errors, usage, cancellation, timeouts, one program per task.

use std::time::Duration;

use serde_json::json;

use super::{ends, python};
use crate::harness::faults::{lives, processes_with};
use crate::harness::{BOUND, Muster, Options, wait_until};

#[test]
fn an_agent_does_a_task_and_its_result_is_kept_as_it_is() {
    let muster = Muster::start(python(""));
    let early = muster.submit(&json!({"n": 1}));
    assert_eq!(muster.task(&early)["state"], "queued", "nobody is there");
    let agent = muster.spawn_many("p", 1).remove(0);
    let done = muster.finished(&early);
    assert_eq!(done["output"], json!({"did": {"n": 1}, "attempt": 1}), "{done}");
    assert_eq!((&done["state"], &done["agent_id"]), (&json!("succeeded"), &json!(agent)));
    let later = muster.submit(&json!({"usage": {"input_tokens": 10, "output_tokens": 5, "cost_usd": 0.25}}));
    let usage = muster.finished(&later)["usage"].clone();
    assert_eq!(usage, json!({"input_tokens": 10, "output_tokens": 5, "cost_usd": 0.25}));
}

#[test]
fn an_agent_with_work_is_busy_and_shows_how_far_it_is() {
    let muster = Muster::start(python(""));
    let agent = muster.spawn_many("p", 1).remove(0);
    let task = muster.submit(&json!({"hold": true, "progress": "reading"}));
    wait_until("its progress is seen", BOUND, || muster.task(&task)["progress"]["message"] == "reading");
    assert_eq!(muster.task(&task)["progress"]["percent"], 40.0);
    assert_eq!(muster.one_agent(&agent).state, "busy");
    let listed = muster.command(&["ps", "--pool", "p", "--json"]).expect(0).json();
    assert_eq!((&listed["items"][0]["agent_id"], &listed["items"][0]["state"]), (&json!(agent), &json!("busy")));
    assert_eq!(muster.get("/api/v1/agents/health").body["p"][0]["status"], "busy");
    let cancelled = muster.post(&format!("/api/v1/tasks/{task}/cancel?wait=20"), &json!({}));
    assert_eq!((cancelled.status, cancelled.text("state")), (200, "cancelled"), "{cancelled:?}");
    assert_eq!(muster.one_agent(&agent).state, "idle", "it stopped at a word, so it lives");
    assert_eq!(muster.one_agent(&agent).epoch, 1);
}

#[test]
fn an_agent_that_is_at_work_when_it_is_restarted_or_ended_is_treated_as_any_other() {
    let muster = Muster::start(python("tasks_per_agent = 2"));
    let agent = muster.spawn_many("p", 1).remove(0);
    let held = muster.submit(&json!({"hold": true}));
    wait_until("it runs", BOUND, || muster.task(&held)["state"] == "running");
    let again = muster.post(&format!("/api/v1/agents/{agent}/restart"), &json!({}));
    assert_eq!(again.status, 200, "it runs again, with or without work: {again:?}");
    assert_eq!(ends(&muster.task(&held)), ["interrupted"]);
    wait_until("it runs again", BOUND, || muster.task(&held)["state"] == "running");
    muster.command(&["terminate", "--pool", "p", "--json"]).expect(0);
    assert_eq!(muster.one_agent(&agent).state, "terminated");
    wait_until("it waits for another one", BOUND, || muster.task(&held)["state"] == "queued");
}

#[test]
fn an_error_is_tried_again_unless_the_agent_says_that_it_is_useless() {
    let muster = Muster::start(python("max_attempts = 3"));
    muster.spawn_many("p", 1);
    let dead = muster.finished(&muster.submit(&json!({"fail": "no model"})));
    assert_eq!((&dead["state"], ends(&dead)), (&json!("dead"), vec!["failed"; 3]), "{dead}");
    assert_eq!(dead["error"], json!({"code": "agent_error", "message": "no model"}));
    let failed = muster.finished(&muster.submit(&json!({"fail": "bad input", "retryable": false})));
    assert_eq!((&failed["state"], ends(&failed).len()), (&json!("failed"), 1));
    let listed = muster.get("/api/v1/tasks/dead?pool_name=p");
    assert_eq!(listed.body["items"][0]["task_id"], dead["task_id"], "{listed:?}");
    let redriven = muster.post("/api/v1/tasks/dead/redrive", &json!({"pool_name": "p"}));
    assert_eq!(redriven.body["redriven"], 1, "{redriven:?}");
    let id = dead["task_id"].as_str().expect("an id");
    wait_until("it died again", BOUND, || ends(&muster.task(id)).len() == 6 && muster.task(id)["state"] == "dead");
}

#[test]
fn a_program_that_dies_in_the_middle_costs_an_attempt_and_is_started_again() {
    let muster = Muster::start(python("max_attempts = 2\nrestart.max_restarts = 100\nrestart.backoff_min = 0.01"));
    muster.spawn_many("p", 1);
    let dead = muster.finished(&muster.submit(&json!({"exit": 3})));
    assert_eq!((&dead["state"], ends(&dead)), (&json!("dead"), vec!["agent_died"; 2]), "{dead}");
    let words = dead["attempts"][0].to_string();
    assert!(words.contains("exited with code 3") && words.contains("last words"), "{words}");
    assert_eq!(muster.finished(&muster.submit(&json!(1)))["state"], "succeeded");
}

#[test]
fn what_does_not_heed_a_cancellation_is_killed_with_its_whole_tree() {
    let muster = Muster::start(python(""));
    let agent = muster.spawn_many("p", 1).remove(0);
    let task = muster.submit(&json!({"child": true, "hang": true}));
    let pid = muster.one_agent(&agent).pid.expect("a program");
    wait_until("it works", BOUND, || muster.task(&task)["state"] == "running");
    wait_until("its child runs", BOUND, || processes_with("sleep 1000").iter().any(|process| process.pid != pid));
    let told = muster.post(&format!("/api/v1/tasks/{task}/cancel"), &json!({}));
    assert_eq!(
        (told.text("state"), told.text("halting")),
        ("running", "cancelled"),
        "not before it has stopped: {told:?}"
    );
    let ended = muster.finished(&task);
    assert_eq!((&ended["state"], ends(&ended)), (&json!("cancelled"), vec!["cancelled"]), "{ended}");
    assert!(!lives(pid), "its program is gone when that is said");
    wait_until("the agent runs again", BOUND, || muster.one_agent(&agent).state == "idle");
    assert_eq!(muster.finished(&muster.submit(&json!(1)))["state"], "succeeded");
}

#[test]
fn a_timeout_ends_an_attempt() {
    let muster = Muster::start(python("max_attempts = 1"));
    muster.spawn_many("p", 1);
    let late = muster.finished(&muster.submit_with(&json!({"input": {"hang": true}, "timeout": 0.3})));
    assert_eq!((&late["state"], &late["error"]["code"]), (&json!("dead"), &json!("timeout")), "{late}");
    assert_eq!(muster.finished(&muster.submit(&json!(1)))["state"], "succeeded");
}

/// Any command line works off a queue, and nobody spawns it.
#[test]
fn a_command_line_is_an_agent_on_demand() {
    let config = "[runtimes.count]\nkind = \"exec\"\ncommand = [\"sh\", \"-c\", '''read line; echo \"$line:$MUSTER_TASK_ID\"; \
                  test \"$line\" != bad || { echo wrong >&2; exit 4; }''']\nmode = \"oneshot\"\n\
                  [pools.p]\nrole_type = \"counter\"\nruntime = \"count\"\nmax_attempts = 1\nbreaker.enabled = false\n\
                  on_demand = { max_agents = 2 }\nmax_idle_time = 1\n";
    let muster = Muster::start(Options::config(config));
    let tasks: Vec<String> = (0..6).map(|n| muster.submit(&json!(format!("line {n}")))).collect();
    for (n, id) in tasks.iter().enumerate() {
        let done = muster.finished(id);
        assert_eq!(done["output"], json!(format!("line {n}:{id}")), "{done}");
    }
    let bad = muster.finished(&muster.submit(&json!("bad")));
    assert_eq!(bad["state"], "dead", "{bad}");
    assert!(bad["error"]["message"].as_str().is_some_and(|words| words.contains("code 4")), "{bad}");
    assert!(bad["attempts"][0]["last_output"].as_str().is_some_and(|words| words.contains("wrong")), "{bad}");
    assert!(muster.all_agents().len() <= 2);
    wait_until("nobody is left", Duration::from_secs(20), || muster.all_agents().is_empty());
}

#[test]
fn an_agent_that_keeps_ids_apart_has_several_tasks() {
    let muster = Muster::start(python("tasks_per_agent = 3"));
    muster.spawn_many("p", 1);
    let held: Vec<String> = (0..3).map(|_| muster.submit(&json!({"hold": true}))).collect();
    let fourth = muster.submit(&json!(4));
    wait_until("three run", BOUND, || held.iter().all(|id| muster.task(id)["state"] == "running"));
    assert_eq!(muster.task(&fourth)["state"], "queued");
    let cancelled = muster.post(&format!("/api/v1/tasks/{}/cancel?wait=20", held[1]), &json!({}));
    assert_eq!(cancelled.text("state"), "cancelled", "{cancelled:?}");
    assert_eq!(muster.finished(&fourth)["state"], "succeeded", "the room was given on");
    assert_eq!(muster.task(&held[0])["state"], "running");
}

#[test]
fn an_output_that_is_no_text_is_made_one_and_that_is_said() {
    let config = "[runtimes.r]\nkind = \"exec\"\nmode = \"oneshot\"\ncommand = [\"printf\", '\\377 and \\303\\244']\n\
                  [pools.p]\nrole_type = \"developer\"\nruntime = \"r\"\n";
    let muster = Muster::start(Options::config(config));
    muster.spawn_many("p", 1);
    let task = muster.submit(&json!(null));
    assert_eq!(muster.finished(&task)["output"], "\u{fffd} and \u{e4}");
    let logs = std::fs::read_dir(muster.data_dir().join("logs/workers")).expect("a folder");
    let logs = logs.flatten().filter_map(|log| std::fs::read_to_string(log.path()).ok()).collect::<String>();
    let said: Vec<&str> = logs.lines().filter(|line| line.contains("is no UTF-8")).collect();
    assert!(matches!(said[..], [line] if line.contains(&task)), "{logs}");
}
