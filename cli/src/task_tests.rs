//! Commands about tasks as people type them, against a server that answers what it is told to.

use serde_json::{Value, json};

use super::tests::{moment, run};
use super::*;

const ID: &str = "019aa000-0000-7000-8000-000000000001";
const TAKEN: &str = r#"{"task_id": "019aa000-0000-7000-8000-000000000001", "state": "queued",
    "created_at": "2025-11-21T03:20:00Z"}"#;
const UNKNOWN: &str = r#"{"code": "unknown_task", "detail": "there is no task of this id"}"#;

fn task() -> Value {
    json!({"task_id": ID, "pool_name": "developer_pool", "project_id": "shop", "tenant": "default", "state": "failed",
        "halting": null, "attempt": 2, "max_attempts": 3, "attempts_spent": 1, "agent_id": "a1", "process_id": "w1", "priority": 5,
        "created_at": "2025-11-21T03:20:00Z", "started_at": "2025-11-21T03:20:10Z",
        "finished_at": "2025-11-21T03:20:12Z", "not_before": null, "expires_at": null, "wait_seconds": 0.25,
        "run_seconds": 2.0, "error": {"code": "agent_error", "message": "no such file"}, "progress": null,
        "usage": {"input_tokens": 10, "output_tokens": 5, "cost_usd": 0.0015}, "attempts": []})
}

#[test]
fn wrong_usage_of_tasks_is_refused() {
    let words = [
        "submit",
        "submit hello",
        "submit --pool p",
        "submit --pool p x --priority 10",
        "submit --pool p x --max-attempts 0",
        "submit --pool p x --not-before soon",
        "submit --pool p x --delay 1 --not-before 2026-01-31T09:00:00Z",
        "submit --pool p x --ndjson f",
        "submit --ndjson f --wait",
        "submit --pool p --wait hello",
        "submit --pool p hello --raw",
        "submit --pool p hello --wait --raw --json",
        "check --wait 5",
        "check --pool p --wait soon",
        "tasks --state asleep",
        "tasks --state queued,asleep",
        "tasks --limit 0",
        "task 019a",
        "cancel",
        "pause",
        "pause p --all",
        "resume",
        "drain",
        "redrive --pool p 019aa000-0000-7000-8000-000000000001",
    ];
    for words in words {
        let error = Cli::try_parse_from(["muster"].into_iter().chain(words.split(' '))).expect_err(words);
        assert_eq!(error.exit_code(), 2, "{error}");
    }
    let last = Cli::try_parse_from(["muster", "cancel", "--wait", ID]).expect_err("it is taken for the seconds");
    assert!(last.to_string().contains("a number of seconds is expected; without one this option comes last"), "{last}");
}

#[test]
fn a_task_is_sent_as_it_is_written() {
    let ran = run(r#"submit --pool p {"b":1.50,"a":2}"#, vec![(202, TAKEN)]);
    assert_eq!((ran.lines(), ran.text()), (vec!["POST /api/v1/tasks"], format!("{ID}\n").as_str()));
    assert_eq!(ran.requests[0].body, r#"{"pool_name":"p","input":{"b":1.50,"a":2}}"#);
    let ran = run("submit --pool p hello", vec![(202, TAKEN)]);
    assert_eq!(ran.body(0), json!({"pool_name": "p", "input": "hello"}));
    let words = "submit --pool p -p shop --agent 019aa000-0000-7000-8000-000000000002 --priority 9 --max-attempts 3 \
                 --timeout 1.5 --delay 2 --expires-at 2026-01-31T10:00:00+01:00 --tenant t --key k-1 --json -5";
    let ran = run(words, vec![(202, TAKEN)]);
    let expected = json!({"pool_name": "p", "project_id": "shop", "agent_id": "019aa000-0000-7000-8000-000000000002",
        "priority": 9, "max_attempts": 3, "timeout": 1.5, "delay": 2.0, "expires_at": "2026-01-31T09:00:00.000Z",
        "tenant": "t", "input": -5});
    assert_eq!(ran.body(0), expected);
    assert!(ran.requests[0].head.contains("idempotency-key: k-1"), "{}", ran.requests[0].head);
    assert_eq!(serde_json::from_str::<Value>(ran.text()).expect("JSON")["state"], "queued");
    let full = r#"{"code": "queue_full", "detail": "p has 10 waiting tasks"}"#;
    assert_eq!(run("submit --pool p 1", vec![(429, full)]).code(), 1);
}

#[test]
fn who_waits_gets_the_output() {
    let running = r#"{"state": "running", "output": null}"#;
    let done = r#"{"state": "succeeded", "output": {"z":  1.50, "a": 12345678901234567890123}}"#;
    let ran = run("submit --pool p 1 --wait", vec![(202, TAKEN), (200, running), (200, done)]);
    // It may be queued at first, and then it is to be said soon what it waits for.
    let read = |wait| format!("GET /api/v1/tasks/{ID}?wait={wait}");
    assert_eq!(ran.lines(), ["POST /api/v1/tasks", &read(2), &read(10)]);
    assert_eq!((ran.text(), ran.code()), ("{\"z\":  1.50, \"a\": 12345678901234567890123}\n", 0));

    let text = r#"{"state": "succeeded", "output": "a poem"}"#;
    assert_eq!(run("submit --pool p 1 --wait", vec![(202, TAKEN), (200, text)]).text(), "\"a poem\"\n");
    assert_eq!(run("submit --pool p 1 --raw --wait", vec![(202, TAKEN), (200, text)]).text(), "a poem\n");

    let failed = r#"{"state": "failed", "output": null, "error": {"code": "timeout", "message": "took too long"}}"#;
    let ran = run("submit --pool p 1 --wait 5 --json", vec![(202, TAKEN), (200, failed)]);
    assert_eq!(ran.code(), 1);
    assert!(ran.text().contains("\"state\": \"failed\""), "{}", ran.text());
    let failure = ran.result.as_ref().ok().and_then(|done| done.failure.as_ref()).expect("a failure");
    assert_eq!(failure.to_string(), format!("task {ID} is failed: took too long (timeout)"));

    let ran = run("submit --pool p 1 --wait 0", vec![(202, TAKEN), (200, running)]);
    let failure = ran.result.as_ref().ok().and_then(|done| done.failure.as_ref()).expect("a failure");
    assert!(failure.to_string().ends_with("goes on") && ran.code() == 1, "{failure}");

    let gone = run("submit --pool p 1 --wait", vec![(202, TAKEN)]);
    let failure = gone.result.as_ref().expect_err("the server has gone");
    assert_eq!(failure.code(), 3);
    assert!(failure.to_string().starts_with(&format!("task {ID} was taken in, and then: ")), "{failure}");
}

#[test]
fn a_check_of_a_pool_is_a_table_and_fails_where_something_is_not_reached() {
    let found = |ok: bool, error: &str| {
        let reached = r#""registry": {"ok": true, "ms": 0.21, "error": null}"#;
        let broker = format!(r#""broker": {{"ok": {ok}, "ms": 12.04, "error": {error}}}"#);
        let output = format!(r#"{{"success": {ok}, "skipped": true, "connectivity": {{{reached}, {broker}}}}}"#);
        &*format!(r#"{{"state": "succeeded", "output": {output}}}"#).leak()
    };
    let ran = run("check --pool p", vec![(202, TAKEN), (200, found(true, "null"))]);
    assert_eq!(ran.body(0), json!({"pool_name": "p", "check": true}));
    assert_eq!(ran.lines()[1..], [format!("GET /api/v1/tasks/{ID}?wait=2")]);
    let table = "NAME      OK     MS  WHAT                             ERROR
\
                 broker    yes  12.0  the worker reaches a dependency
\
                 registry  yes   0.2  the worker reaches the registry
";
    assert_eq!(ran.text(), table);
    assert_eq!(ran.code(), 0);

    let refused = found(false, r#""rabbit:5672: Connection refused""#);
    let ran = run("check --pool p --wait 5", vec![(202, TAKEN), (200, refused)]);
    let row = "broker    NO   12.0  the worker reaches a dependency  rabbit:5672: Connection refused\n";
    assert!(ran.text().contains(row), "{}", ran.text());
    let failure = ran.result.as_ref().ok().and_then(|done| done.failure.as_ref()).expect("a failure");
    assert_eq!((ran.code(), failure.to_string().as_str()), (1, "1 of 2 failed"));
    let ran = run("check --pool p --json", vec![(202, TAKEN), (200, refused)]);
    let printed: Value = serde_json::from_str(ran.text()).expect("JSON");
    assert_eq!((&printed["output"]["success"], ran.code()), (&json!(false), 1));
}

#[test]
fn a_check_that_nobody_answers_is_called_off() {
    let queued = r#"{"state": "queued", "output": null}"#;
    let ran = run("check --pool p --wait 0", vec![(202, TAKEN), (200, queued), (200, queued)]);
    assert_eq!(ran.lines()[2], format!("POST /api/v1/tasks/{ID}/cancel"));
    let failure = ran.result.as_ref().ok().and_then(|done| done.failure.as_ref()).expect("a failure");
    assert!(failure.to_string().starts_with(&format!("no answer within 0 s: task {ID} was queued")), "{failure}");
    assert_eq!((ran.code(), ran.text()), (1, ""));
}

#[test]
fn lines_are_read_from_a_file() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let file = folder.path().join("tasks.ndjson");
    std::fs::write(&file, "{\"input\": 1}\n{\"input\": 2, \"priority\": 1}\n").expect("written");
    let answer = r#"{"items": [{"line": 1, "task_id": "a"}, {"line": 2, "code": "x", "detail": "no"}]}"#;
    let words = format!("submit --pool p --priority 7 --key k --ndjson {}", file.display());
    let ran = run(&words, vec![(200, answer)]);
    assert_eq!((ran.lines(), ran.code()), (vec!["POST /api/v1/tasks/bulk"], 1));
    let expected = "{\"input\": 1,\"pool_name\":\"p\",\"priority\":7,\"idempotency_key\":\"k/1\"}\n\
                    {\"input\": 2, \"priority\": 1,\"pool_name\":\"p\",\"idempotency_key\":\"k/2\"}\n";
    assert_eq!(ran.requests[0].body, expected);
    assert!(ran.requests[0].head.contains("content-type: application/x-ndjson"), "{}", ran.requests[0].head);
    assert_eq!(run("submit --ndjson /nowhere/x", Vec::new()).code(), 2);
    assert_eq!(run("submit --ndjson /dev/null", Vec::new()).code(), 1);
}

#[test]
fn tasks_are_a_table() {
    let expected = "\
TASK                                  POOL            PROJECT  TENANT   STATE   ATTEMPT  PRIORITY  AGE  WAITED   RAN  WHY
019aa000-0000-7000-8000-000000000001  developer_pool  shop     default  failed        2         5   5m   250ms  2.0s  no such file
";
    assert_eq!(tasks::tasks_table(&[task()], moment()), expected);
    let page = r#"{"items": [1, 2], "next_cursor": "c"}"#;
    let ran = run("tasks --pool p -p shop --tenant t --state dead,failed --limit 2 --json", vec![(200, page)]);
    let of = "pool_name=p&project_id=shop&tenant=t&state=dead%2Cfailed&order=desc&limit=2";
    assert_eq!(ran.lines(), [format!("GET /api/v1/tasks?{of}")]);
    let oldest = run("tasks --oldest --state dead --state failed --limit 2", vec![(200, r#"{"items": []}"#)]);
    assert_eq!(oldest.lines(), ["GET /api/v1/tasks?state=dead%2Cfailed&order=asc&limit=2"]);
    let printed: Value = serde_json::from_str(ran.text()).expect("JSON");
    assert_eq!(printed, json!({"items": [1, 2], "next_cursor": "c"}));
}

#[test]
fn a_task_is_a_page() {
    let mut task = task();
    task["input"] = json!({"n": 1});
    task["attempts"] = json!([{"number": 1, "end": "agent_died", "started_at": "2025-11-21T03:20:01Z",
        "ended_at": "2025-11-21T03:20:02.500Z", "agent_id": "a0", "message": "exited with code 3",
        "last_output": "reading\u{1b}[2J\nno such file\n"}, {"number": 2, "end": "failed", "agent_id": "a1"}]);
    let text = task.to_string();
    let work = serde_json::from_str(&text).expect("a task");
    let expected = "\
task       019aa000-0000-7000-8000-000000000001
pool       developer_pool
project    shop
tenant     default
state      failed (no such file, agent_error)
attempt    2 (1 of 3 spent)
agent      a1
worker     w1
priority   5
asked for  2025-11-21T03:20:00Z
started    2025-11-21T03:20:10Z
finished   2025-11-21T03:20:12Z
waited     250ms
ran        2.0s
used       10 tokens in, 5 out, 0.0015 USD
input      {\"n\":1}
output     -

ATTEMPT  END         TOOK  AGENT  WHY
      1  agent_died  1.5s  a0     exited with code 3
      2  failed         -  a1

attempt 1 printed last:
    reading\u{fffd}[2J
    no such file
";
    assert_eq!(task::page(&task, &work), expected);
    task["redrives"] = json!(1);
    assert!(task::page(&task, &work).contains("\nattempt    2 (1 of 3 spent since it was sent again)\n"));
    let ran = run(&format!("task {ID} --json"), vec![(200, r#"{"output": 1.50, "state": "succeeded"}"#)]);
    assert_eq!(ran.lines(), [format!("GET /api/v1/tasks/{ID}")]);
    assert_eq!(ran.text(), "{\n  \"output\": 1.50,\n  \"state\": \"succeeded\"\n}\n");
    assert_eq!(run(&format!("task {ID}"), vec![(404, UNKNOWN)]).code(), 4);
}

#[test]
fn states_say_what_there_is_to_say() {
    let rows = [
        (json!({"state": "queued", "not_before": "T"}), "queued (not before T)"),
        (json!({"state": "queued"}), "queued"),
        (json!({"state": "running", "progress": {"message": "reading", "percent": 40.0}}), "running (40% reading)"),
        (json!({"state": "running", "progress": {"message": "", "percent": null}}), "running"),
        (
            json!({"state": "running", "halting": "cancelled", "progress": {"message": "x"}}),
            "running (being stopped: cancelled)",
        ),
        (json!({"state": "dead", "error": {"code": "poison", "message": "5 died"}}), "dead (5 died, poison)"),
        (json!({"state": "succeeded", "error": null}), "succeeded"),
    ];
    for (task, expected) in rows {
        assert_eq!(task::state(&task), expected);
    }
}

#[test]
fn the_beginning_of_an_id_is_enough_where_it_fits_one_task() {
    let one = r#"{"items": [{"task_id": "019aa000-0000-7000-8000-000000000001"}], "next_cursor": null}"#;
    let gone = r#"{"task_id": "019aa000-0000-7000-8000-000000000001", "state": "cancelled"}"#;
    let asked = "GET /api/v1/tasks?id_prefix=019aa000-0&limit=6";
    let ran = run("cancel 019AA000-0", vec![(200, one), (200, gone)]);
    assert_eq!(ran.lines(), [asked, &format!("POST /api/v1/tasks/{ID}/cancel?wait=0")]);
    let ran = run("redrive 019aa00000", vec![(200, one), (200, gone)]);
    assert_eq!(ran.lines()[1], format!("POST /api/v1/tasks/{ID}/retry"), "{:?}", ran.lines());
    let several: Vec<Value> =
        (1..=6).map(|n| json!({"task_id": format!("019aa000-0000-7000-8000-00000000000{n}")})).collect();
    let several = json!({"items": several, "next_cursor": null}).to_string().leak();
    let ran = run("task 019aa000", vec![(200, several)]);
    let failure = ran.result.as_ref().expect_err("which?").to_string();
    assert!(failure.starts_with("several tasks have an id that begins with 019aa000"), "{failure}");
    assert!(failure.ends_with("000000000005, ...") && ran.code() == 2, "{failure}");
    assert_eq!(run("task 019aa000", vec![(200, r#"{"items": []}"#)]).code(), 4);
}

#[test]
fn a_task_that_fails_is_followed_to_exit_code_1() {
    let stream = "id: 2\nevent: dead\ndata: {\"state\": \"dead\", \"error\": null}\n\n";
    let ran = run(&format!("task {ID} -f"), vec![(200, stream)]);
    assert_eq!((ran.lines(), ran.code()), (vec![format!("GET /api/v1/tasks/{ID}/events").as_str()], 1));
}

#[test]
fn tasks_are_called_off_and_sent_again() {
    const ONE: &str = r#"{"task_id": "t", "state": "running", "halting": "cancelled"}"#;
    const CANCELLED: &str = r#"{"task_id": "t", "state": "cancelled"}"#;
    const SUCCEEDED: &str = r#"{"task_id": "t", "state": "succeeded"}"#;
    let asks = |wait: &str| format!("POST /api/v1/tasks/{ID}/cancel?wait={wait}");
    for words in ["", " --wait 0"] {
        let ran = run(&format!("cancel {ID}{words}"), vec![(200, ONE)]);
        assert_eq!((ran.lines(), ran.code()), (vec![asks("0").as_str()], 0));
        assert!(ran.text().contains("running") && ran.text().contains("cancelled"), "{}", ran.text());
    }
    let ran = run(&format!("cancel {ID} --wait"), vec![(200, ONE), (200, CANCELLED)]);
    assert_eq!((ran.lines(), ran.code()), (vec![asks("60").as_str(); 2], 0));
    let over = run(&format!("cancel {ID} --wait"), vec![(200, SUCCEEDED)]);
    assert_eq!((over.requests.len(), over.code()), (1, 0));
    let ran = run(&format!("cancel {ID} --wait 0.001"), vec![(200, ONE)]);
    let failure = ran.result.as_ref().ok().and_then(|done| done.failure.as_ref()).expect("a failure");
    assert!(failure.to_string().starts_with("task t has not stopped yet") && ran.code() == 1, "{failure}");
    assert_eq!(run(&format!("cancel {ID}"), vec![(404, UNKNOWN)]).code(), 4);

    let ran = run(&format!("redrive {ID}"), vec![(200, ONE)]);
    assert_eq!(ran.lines(), [format!("POST /api/v1/tasks/{ID}/retry")]);
    let ran = run("redrive --pool p", vec![(200, r#"{"redriven": 3}"#)]);
    assert_eq!((ran.lines(), ran.body(0)), (vec!["POST /api/v1/tasks/dead/redrive"], json!({"pool_name": "p"})));
    assert_eq!(ran.text(), "3 tasks wait again\n");
    let ran = run("redrive", vec![(200, r#"{"redriven": 1}"#)]);
    assert_eq!((ran.body(0), ran.text()), (json!({}), "1 task waits again\n"));
}

#[test]
fn work_is_held_up_and_goes_on() {
    const POOL: &str = r#"{"pool_name": "p", "paused": true, "intake_closed": false}"#;
    let ran = run("pause p", vec![(200, POOL)]);
    assert_eq!(ran.lines(), ["POST /api/v1/agents/pools/p/pause"]);
    assert!(ran.text().trim_end().ends_with("paused"), "{}", ran.text());
    let ran = run("drain p --hand-back", vec![(200, r#"{"pool_name": "p", "paused": true, "intake_closed": true}"#)]);
    assert_eq!((ran.lines(), ran.body(0)), (vec!["POST /api/v1/agents/pools/p/drain"], json!({"hand_back": true})));
    assert!(ran.text().trim_end().ends_with("drained"), "{}", ran.text());
    assert_eq!(run("resume p", vec![(200, POOL)]).lines(), ["POST /api/v1/agents/pools/p/resume"]);
    let refused = run("pause p --hand-back", Vec::new());
    let failure = refused.result.as_ref().expect_err("a pause of a pool hands nothing back");
    assert!(failure.to_string().contains("`muster drain p --hand-back`") && failure.code() == 2, "{failure}");
    for words in ["drain --all", "drain p --all"] {
        let refused = run(words, Vec::new());
        let failure = refused.result.as_ref().expect_err("of one pool only");
        assert!(failure.to_string().contains("`muster pause --all`") && failure.code() == 2, "{failure}");
    }
    let ran = run("pause --all --hand-back", vec![(200, "{}")]);
    assert_eq!((ran.lines(), ran.body(0)), (vec!["POST /api/v1/system/pause"], json!({"hand_back": true})));
    assert_eq!(ran.text(), "the system is paused: tasks are taken in and wait\n");
    let ran = run("resume --all", vec![(200, "{}")]);
    assert_eq!((ran.lines(), ran.text()), (vec!["POST /api/v1/system/resume"], "the system is resumed\n"));
}

#[test]
fn a_pool_is_told_how_to_treat_its_tasks() {
    let words = "pools set p --tasks-per-agent 2 --on-demand 5 --max-queued 100 --max-attempts 4 --task-timeout 1.5";
    let expected = json!({"config": {"tasks_per_agent": 2, "on_demand": {"max_agents": 5}, "max_queued": 100,
        "max_attempts": 4, "task_timeout": 1.5}});
    assert_eq!(run(words, vec![(200, "{}")]).body(0), expected);
    let none = run("pools set p --no-on-demand", vec![(200, "{}")]);
    assert_eq!(none.body(0), json!({"config": {"on_demand": null}}));
    let both = Cli::try_parse_from("muster pools set p --on-demand 1 --no-on-demand".split(' '));
    assert_eq!(both.expect_err("both").exit_code(), 2);
}

#[test]
fn queues_are_a_table() {
    let answer = json!({"queue_depth": 3, "pools": {
        "a": {"depth": 3, "delayed": 2, "running": 4, "dead": 1, "oldest_wait_seconds": 1.5, "rate_in": 2.5,
            "rate_out": 10.0, "wait_p50_seconds": 0.25, "wait_p99_seconds": 2.0, "run_p50_seconds": null,
            "run_p99_seconds": null},
        "b": {}}});
    let expected = "\
POOL  WAITING  DELAYED  RUNNING  DEAD  OLDEST  IN/S  OUT/S  WAIT P50/P99  RUN P50/P99
a           3        2        4     1    1.5s   2.5   10.0  250ms / 2.0s            -
b           -        -        -     -       -     -      -             -            -
";
    assert_eq!(queue::queues(&answer), expected);
    assert_eq!(run("queue --json", vec![(200, "{}")]).lines(), ["GET /api/metrics/queue"]);
}
