//! What a program prints during one tenant's task is never shown with another's.

use serde_json::{Value, json};

use super::python;
use crate::harness::Muster;

const SECRET: &str = "the card of acme is 4111";

/// Has acme's task print its secret, then globex's do this, and answers with all that is shown of globex's.
fn after_acme(muster: &Muster, fields: Value) -> String {
    let acme = muster.finished(&muster.submit_with(&json!({"tenant": "acme", "input": {"print": SECRET}})));
    assert_eq!(acme["state"], "succeeded", "{acme}");
    let mut body = json!({"tenant": "globex"});
    body.as_object_mut().expect("an object").extend(fields.as_object().expect("an object").clone());
    let id = muster.submit_with(&body);
    let task = muster.finished(&id);
    assert_eq!((&task["state"], &task["tenant"]), (&json!("dead"), &json!("globex")), "{task}");
    let page = muster.command(&["task", &id]).expect(0).stdout;
    let list = muster.command(&["tasks", "--json"]).expect(0).stdout;
    let alerts = muster.get_text("/api/v1/alerts");
    [task.to_string(), page, list, alerts, muster.log()].concat()
}

#[test]
fn a_tenant_never_sees_what_was_printed_for_another() {
    let muster = Muster::start(python("max_attempts = 1\nrestart.max_restarts = 100\nrestart.backoff_min = 0.01"));
    let agent = muster.spawn_many("p", 1).remove(0);
    // What it prints in the first moments may be about the task before.
    for (fields, own) in [
        (json!({"input": {"fail": "no"}}), None),
        (json!({"input": {"before": 0.5, "print": "my own words", "fail": "no"}}), Some("my own words")),
        (json!({"input": {"before": 0.5, "exit": 3}}), Some("last words")),
        (json!({"input": {"hang": true}, "timeout": 0.3}), None),
    ] {
        let shown = after_acme(&muster, fields.clone());
        assert!(!shown.contains("4111"), "{fields}: {shown}");
        assert!(own.is_none_or(|own| shown.contains(own)), "{fields}: {shown}");
    }
    let log = muster.get_text(&format!("/api/v1/agents/{agent}/logs"));
    assert!(log.contains(SECRET), "who runs the agents sees all of their logs: {log}");
}

#[test]
fn of_several_tasks_at_once_each_shows_only_lines_that_name_it() {
    let muster = Muster::start(python("max_attempts = 1\ntasks_per_agent = 2"));
    muster.spawn_many("p", 1);
    muster.finished(&muster.submit_with(&json!({"tenant": "acme", "input": {"print": SECRET}})));
    let globex = json!({"print": "whose is this", "note": "mine", "fail": "no"});
    let task = muster.finished(&muster.submit_with(&json!({"tenant": "globex", "input": globex})));
    let words = task["attempts"][0]["last_output"].as_str().expect("the line that names it");
    assert!(words.contains("mine") && words.lines().count() == 1, "{words}");
}
