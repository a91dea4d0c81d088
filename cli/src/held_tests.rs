//! What commands say of pools whose tasks are held up, and of alerts.

use serde_json::{Value, json};

use super::tests::run;
use super::*;

const OPEN: &str = r#"{"state": "open", "reason": "too many", "next_probe_at": "2025-11-21T03:20:30Z"}"#;

#[test]
fn all_that_holds_a_pool_up_is_said() {
    let rows = [
        (json!({}), ""),
        (json!({"draining": false, "paused": false, "breaker": {"state": "closed"}}), ""),
        (json!({"breaker": {"state": "off"}}), ""),
        (json!({"breaker": {"state": "open"}}), "breaker open"),
        (json!({"breaker": {"state": "half_open"}, "paused": true}), "paused, breaker half open"),
        (json!({"draining": true, "paused": true, "intake_closed": true}), "drained"),
        (json!({"paused": true, "all_paused": true}), "all paused, paused"),
        (json!({"draining": true, "being_removed": true, "intake_closed": false}), "being removed"),
        (json!({"lacks": "agents_failing"}), "agents failing"),
        (json!({"lacks": "target_workers"}), "scaled, and full"),
        (json!({"lacks": "old_runtime"}), "workers of an old runtime"),
        (json!({"lacks": "no_agent", "breaker": {"state": "closed"}}), "no agent"),
    ];
    for (pool, expected) in rows {
        assert_eq!(pools::holds(&pool), expected, "{pool}");
        let queue = json!({"pools": {"p": pool.clone()}});
        for table in [queue::queues(&queue), pools::pools_table(&[pool])] {
            let row = table.lines().nth(1).expect("a row");
            assert!(if expected.is_empty() { row.ends_with('-') } else { row.ends_with(expected) }, "{table}");
        }
    }
}

#[test]
fn alerts_are_a_table() {
    let alerts = json!([
        {"kind": "breaker_open", "pool_name": "p", "subject": "", "message": "too many", "until": null,
            "since": "2025-11-21T03:20:00Z", "count": 2},
        {"kind": "degraded", "pool_name": null, "subject": "store", "message": "disk full", "count": 1,
            "since": "2025-11-21T03:10:00Z", "until": "2025-11-21T03:11:00Z"}]);
    let expected = "\
SINCE                 STATE    KIND          POOL  ABOUT  MESSAGE
2025-11-21T03:20:00Z  firing   breaker_open  p     -      too many
2025-11-21T03:10:00Z  cleared  degraded      -     store  disk full
";
    assert_eq!(alerts::alerts_table(&alerts), expected);
    let ran = run("alerts", vec![(200, "[]")]);
    assert_eq!((ran.lines(), ran.text()), (vec!["GET /api/v1/alerts"], "SINCE  STATE  KIND  POOL  ABOUT  MESSAGE\n"));
    let ran = run("alerts --json", vec![(200, r#"[{"kind": "degraded"}]"#)]);
    assert_eq!(serde_json::from_str::<Value>(ran.text()).expect("JSON"), json!([{"kind": "degraded"}]));
}

#[test]
fn a_status_names_the_pools_that_are_held_up() {
    let breaker: Value = serde_json::from_str(OPEN).expect("JSON");
    let held =
        json!([{"pool_name": "a", "paused": true, "intake_closed": true}, {"pool_name": "b", "breaker": breaker}]);
    let page = status::page(&json!({"alerts_firing": 2, "held_pools": held}));
    assert!(page.contains("\nalerts       2 firing; `muster alerts` lists them\n"), "{page}");
    assert!(page.contains("\nheld         a: drained; b: breaker open\n"), "{page}");
    let alerts = json!([{"kind": "quarantine", "pool_name": "a", "message": "an agent ended 6 times"},
        {"kind": "degraded", "pool_name": null, "message": "the disk is full"}]);
    let page = status::page(&json!({"alerts": alerts, "degraded": ["store: the disk is full"]}));
    assert!(page.contains("quarantine  a     an agent ended 6 times\n"), "{page}");
    assert_eq!(page.matches("the disk is full").count(), 1, "{page}");
    let page = status::page(&json!({"alerts_firing": 0, "held_pools": []}));
    assert!(page.contains("\nalerts       none\n") && !page.contains("held "), "{page}");
}

#[test]
fn a_redrive_says_where_tasks_wait_all_the_same() {
    let queues = format!(
        r#"{{"pools": {{"a": {{"depth": 3, "delayed": 0, "breaker": {OPEN}}},
            "b": {{"depth": 0, "delayed": 1, "paused": true}},
            "idle": {{"depth": 0, "delayed": 0, "paused": true}},
            "well": {{"depth": 1, "delayed": 0, "breaker": {{"state": "closed"}}}}}}}}"#
    )
    .leak();
    let all = run("redrive", vec![(200, r#"{"redriven": 3}"#), (200, queues)]);
    assert_eq!(all.lines(), ["POST /api/v1/tasks/dead/redrive", "GET /api/metrics/queue"]);
    let expected = "3 tasks wait again\n\
                    the tasks of a wait: breaker open (a task is tried at 2025-11-21T03:20:30Z)\n\
                    the tasks of b wait: paused\n";
    assert_eq!(all.text(), expected);
    let one = run("redrive --pool b", vec![(200, r#"{"redriven": 1}"#), (200, queues)]);
    assert_eq!(one.text(), "1 task waits again\nthe tasks of b wait: paused\n");
    let none = run("redrive", vec![(200, r#"{"redriven": 0}"#), (200, queues)]);
    assert_eq!((none.lines().len(), none.text()), (1, "0 tasks wait again\n"));
    let json = run("redrive --json", vec![(200, r#"{"redriven": 1}"#)]);
    assert_eq!((json.lines().len(), json.code()), (1, 0));
}

#[test]
fn a_queued_task_says_what_it_waits_for() {
    let waiting =
        |code: &str| json!({"state": "queued", "waiting_for": {"code": code, "message": "X"}, "not_before": "T"});
    assert_eq!(task::state(&waiting("paused")), "queued (waits for X)");
    assert_eq!(task::state(&waiting("not_before")), "queued (not before T)");
    let table = tasks::tasks_table(&[waiting("paused")], muster_domain::Timestamp::from_millis(0));
    assert!(table.trim_end().ends_with("waits for X"), "{table}");
}
