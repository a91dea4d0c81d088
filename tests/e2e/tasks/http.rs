//! Tasks over HTTP: taken in, done, watched, called off and held up.

use std::path::Path;

use serde_json::{Value, json};

use crate::harness::{Answer, BOUND, Muster, Options, Stream, wait_until};

const TASKS: &str = "/api/v1/tasks";

/// Agents that say how far they are, and end a task when there is a file `go` in this folder. A task whose input has the word
/// `fail` fails for good.
pub(crate) fn patient(folder: &Path) -> Options {
    let go = folder.join("go").display().to_string();
    let script = r#"echo '{"type":"ready"}'
while read -r line; do
  case $line in
    *'"type":"task"'*)
      id=${line#*\"id\":\"}; id=${id%%\"*}
      echo "{\"type\":\"progress\",\"id\":\"$id\",\"message\":\"waiting\",\"percent\":40}"
      case $line in
        *fail*) echo "{\"type\":\"error\",\"id\":\"$id\",\"message\":\"as asked\",\"retryable\":false}"; continue ;;
      esac
      while [ ! -e "$GO" ]; do sleep 0.02; done
      echo "{\"type\":\"usage\",\"id\":\"$id\",\"input_tokens\":10,\"output_tokens\":5,\"cost_usd\":0.001}"
      echo "{\"type\":\"result\",\"id\":\"$id\",\"output\":{\"z\": 1.50, \"a\":[ ]}}" ;;
    *'"type":"stop"'*) exit 0 ;;
  esac
done"#;
    Options::config(format!(
        "[runtimes.patient]\nkind = \"exec\"\ncommand = [\"sh\", \"-c\", '''{script}''']\nenv = {{ GO = \"{go}\" }}\nstop_deadline = 0.5\n\
         [pools.slow]\nrole_type = \"developer\"\nruntime = \"patient\"\n"
    ))
}

/// A server with an agent of the pool `slow`, which waits for [`go`].
fn stage() -> (Muster, tempfile::TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let muster = Muster::start(patient(folder.path()));
    assert_eq!(muster.spawn("slow").status, 201);
    (muster, folder)
}

/// Lets the agents end their tasks.
pub(crate) fn go(folder: &Path) {
    std::fs::write(folder.join("go"), "").expect("a file");
}

fn submit(muster: &Muster, body: &Value) -> String {
    let answer = muster.post(TASKS, body);
    assert_eq!((answer.status, answer.text("state")), (202, "queued"), "{answer:?}");
    assert_eq!(answer.header("location"), Some(format!("{TASKS}/{}", answer.text("task_id")).as_str()));
    answer.text("task_id").to_owned()
}

fn task(muster: &Muster, id: &str, wait: u32) -> Value {
    let answer = muster.get(&format!("{TASKS}/{id}?wait={wait}"));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body
}

fn await_state(muster: &Muster, id: &str, state: &str) {
    wait_until(&format!("the task is {state}"), BOUND, || task(muster, id, 0)["state"] == state);
}

fn lines(muster: &Muster, body: impl Into<Vec<u8>>) -> Answer {
    muster.ask("POST", &format!("{TASKS}/bulk")).header("content-type", "application/x-ndjson").body(body).send()
}

fn events(muster: &Muster, id: &str, after: Option<&str>) -> Stream {
    let request = muster.ask("GET", &format!("{TASKS}/{id}/events"));
    after.into_iter().fold(request, |request, id| request.header("last-event-id", id)).stream()
}

#[test]
fn a_task_is_done_and_its_input_comes_back_byte_for_byte() {
    let muster = Muster::start(Options::default());
    assert_eq!(muster.spawn("developer_pool").status, 201);
    let input = "{\"b\": 1.50,\r\n  \"a\": 12345678901234567890123, \"b\": \"\\u00e4\\/\"}";
    let body = format!("{{\"pool_name\": \"developer_pool\", \"project_id\": \"shop\", \"input\": {input}}}");
    let answer = muster.ask("POST", &format!("{TASKS}?wait=20")).header("content-type", "application/json").body(body);
    let answer = answer.send();
    assert_eq!((answer.status, answer.text("state")), (200, "succeeded"), "{answer:?}");
    let id = answer.text("task_id");
    let raw = muster.get_text(&format!("{TASKS}/{id}"));
    assert!(raw.contains(&format!("\"input\":{input},")) && raw.contains(&format!("\"output\":{input},")), "{raw}");
    let done = &answer.body;
    assert_eq!(
        (&done["attempt"], &done["project_id"], &done["tenant"]),
        (&json!(1), &json!("shop"), &json!("default"))
    );
    assert_eq!(done["attempts"][0]["end"], "succeeded");
    assert!(
        done["agent_id"].is_string() && done["process_id"].is_string() && done["finished_at"].is_string(),
        "{done}"
    );
    assert!(done["wait_seconds"].as_f64() >= Some(0.0) && done["run_seconds"].as_f64() >= Some(0.0), "{done}");
    // Null is work too.
    let null = submit(&muster, &json!({"pool_name": "developer_pool", "input": null}));
    assert_eq!(task(&muster, &null, 20)["output"], json!(null));
    let unknown = muster.get(&format!("{TASKS}/019aa000-0000-7000-8000-000000000001"));
    assert_eq!((unknown.status, unknown.code()), (404, "unknown_task"));
}

#[test]
fn bad_tasks_are_refused_and_change_nothing() {
    let muster = Muster::start(Options::default());
    let pool = "developer_pool";
    let past = "2020-01-01T00:00:00Z";
    let rows = [
        (json!({"pool_name": pool}), 422, "invalid_field"),
        (json!({"pool_name": pool, "input": 1, "check": 1}), 422, "invalid_field"),
        (json!({"pool_name": pool, "input": 1, "priority": 10}), 422, "invalid_field"),
        (json!({"pool_name": pool, "input": 1, "max_attempts": 0}), 422, "invalid_field"),
        (json!({"pool_name": pool, "input": 1, "timeout": 0}), 422, "invalid_field"),
        (json!({"pool_name": pool, "input": 1, "expires_at": past}), 422, "invalid_field"),
        (json!({"pool_name": pool, "input": 1, "tenant": ""}), 422, "invalid_field"),
        (json!({"pool_name": pool, "input": 1, "project_id": "x".repeat(129)}), 422, "invalid_field"),
        (json!({"pool_name": "nobody", "input": 1}), 404, "unknown_pool"),
        (
            json!({"pool_name": pool, "input": 1, "agent_id": "019aa000-0000-7000-8000-000000000001"}),
            404,
            "unknown_agent",
        ),
        (json!({"pool_name": pool, "input": "x".repeat(1024 * 1024)}), 413, "body_too_large"),
        (json!({"pool_name": pool, "input": "x".repeat(2 * 1024 * 1024)}), 413, "body_too_large"),
    ];
    for (body, status, code) in rows {
        let answer = muster.post(TASKS, &body);
        assert_eq!((answer.status, answer.code()), (status, code), "{answer:?}");
        assert!(status != 413 || answer.text("detail").contains("1048576"), "{answer:?}");
    }
    let list = muster.get(TASKS).body;
    assert_eq!(list["items"], json!([]), "nothing was taken in");
    let largest = submit(&muster, &json!({"pool_name": pool, "input": "x".repeat(1024 * 1024 - 2)}));
    assert_eq!(muster.spawn(pool).status, 201);
    assert_eq!(task(&muster, &largest, 20)["output"].as_str().map(str::len), Some(1024 * 1024 - 2));
}

#[test]
fn a_repeated_request_is_answered_for_the_same_task() {
    let muster = Muster::start(Options::default());
    let body = json!({"pool_name": "developer_pool", "input": 1});
    let ask = |key: &str, body: &Value| muster.ask("POST", TASKS).header("idempotency-key", key).json(body).send();
    let first = ask("k", &body);
    let again = ask("k", &body);
    assert_eq!((first.status, again.status), (202, 202));
    assert_eq!(first.text("task_id"), again.text("task_id"));
    assert_ne!(ask("l", &body).text("task_id"), first.text("task_id"));
    let reused = ask("k", &json!({"pool_name": "developer_pool", "input": 2}));
    assert_eq!((reused.status, reused.code()), (422, "key_reused"));
    let in_both = json!({"pool_name": "developer_pool", "input": 1, "idempotency_key": "both"});
    let differs = ask("k", &in_both);
    assert_eq!((differs.status, differs.text("field")), (422, "idempotency_key"), "{differs:?}");
    assert!(["\"k\"", "\"both\""].iter().all(|key| differs.text("detail").contains(key)), "{differs:?}");
    assert_eq!(ask("both", &in_both).text("task_id"), muster.post(TASKS, &in_both).text("task_id"));
    let line = "{\"pool_name\": \"developer_pool\", \"input\": 1, \"idempotency_key\": \"m\"}\n";
    let ids = |answer: &Answer| -> Vec<Value> {
        answer.body["items"].as_array().expect("items").iter().map(|item| item["task_id"].clone()).collect()
    };
    let lines_once = lines(&muster, line);
    assert_eq!(ids(&lines_once), ids(&lines(&muster, line)));
    let many = || {
        let request = muster.ask("POST", &format!("{TASKS}/bulk")).header("content-type", "application/x-ndjson");
        request
            .header("idempotency-key", "n")
            .body("{\"pool_name\": \"developer_pool\", \"input\": 1}\n".repeat(3))
            .send()
    };
    let (once, twice) = (many(), many());
    assert_eq!(once.body["accepted"], 3, "{once:?}");
    assert_eq!(ids(&once), ids(&twice));
    assert_eq!(muster.get(TASKS).body["items"].as_array().map(Vec::len), Some(7));
}

#[test]
fn lines_answer_for_themselves_and_lists_have_pages() {
    let muster = Muster::start(Options::default());
    let body = "{\"pool_name\": \"developer_pool\", \"input\": 1, \"project_id\": \"shop\"}\n\n{\"pool_name\": \"nobody\", \
                \"input\": 1}\n{\n{\"pool_name\": \"tester_pool\", \"input\": 2, \"tenant\": \"t\"}";
    let answer = lines(&muster, body);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!((&answer.body["accepted"], &answer.body["refused"]), (&json!(2), &json!(2)));
    let items = answer.body["items"].as_array().expect("items");
    let brief: Vec<_> = items.iter().map(|item| (&item["line"], item["code"].as_str())).collect();
    let expected =
        [(&json!(1), None), (&json!(3), Some("unknown_pool")), (&json!(4), Some("invalid_json")), (&json!(5), None)];
    assert_eq!(brief, expected);
    let many = lines(&muster, "{\"pool_name\": \"tester_pool\", \"input\": 3}\n".repeat(10_001));
    assert_eq!((many.status, many.code()), (422, "wrong_line_count"));
    let json = muster.post(&format!("{TASKS}/bulk"), &json!({"pool_name": "tester_pool", "input": 3}));
    assert_eq!((json.status, json.code()), (415, "not_ndjson"));
    assert_eq!(
        lines(&muster, "{\"pool_name\": \"tester_pool\", \"input\": 3}\n".repeat(10_000)).body["accepted"],
        10_000
    );

    let list = |query: &str| muster.get(&format!("{TASKS}?{query}"));
    let shop = list("project_id=shop").body;
    assert_eq!((&shop["items"][0]["task_id"], shop["items"].as_array().map(Vec::len)), (&items[0]["task_id"], Some(1)));
    assert!(shop["items"][0].get("input").is_none(), "{shop}");
    assert_eq!(list("tenant=t&full=true").body["items"][0]["input"], 2);
    let page = list("pool_name=tester_pool&state=queued&limit=1000").body;
    let next = page["next_cursor"].as_str().expect("more");
    assert_eq!(page["items"].as_array().map(Vec::len), Some(1_000));
    let after = list(&format!("pool_name=tester_pool&limit=1&cursor={next}")).body;
    assert!(after["items"][0]["task_id"].as_str() > Some(next), "{after}");
    let newest = list("order=desc&limit=1").body;
    let turned = newest["next_cursor"].as_str().expect("more");
    let before = list(&format!("order=desc&limit=1&cursor={turned}")).body;
    assert!(newest["items"][0]["task_id"].as_str() > before["items"][0]["task_id"].as_str(), "{newest} {before}");
    assert_eq!(list("order=desc&state=queued,dead&tenant=t").body["items"][0]["task_id"], items[3]["task_id"]);
    assert_eq!(list("order=up").code(), "invalid_parameter");
    // By how an id begins: of many that were made together one, in both directions, and in pages.
    for order in ["asc", "desc"] {
        let whole = list(&format!("id_prefix={next}&order={order}")).body;
        assert_eq!((&whole["items"][0]["task_id"], whole["items"].as_array().map(Vec::len)), (&json!(next), Some(1)));
        let minute = list(&format!("id_prefix={}&order={order}&limit=2", &next[..8])).body;
        let cursor = minute["next_cursor"].as_str().expect("more");
        let more = list(&format!("id_prefix={}&order={order}&limit=2&cursor={cursor}", &next[..8])).body;
        assert!(
            more["items"].as_array().is_some_and(|items| items.len() == 2 && items[0] != minute["items"][1]),
            "{more}"
        );
    }
    assert_eq!(list("id_prefix=01234567").body, json!({"items": [], "next_cursor": null}));
    assert_eq!(list("id_prefix=0123").code(), "invalid_parameter");
    assert_eq!(list("pool_name=team_leader_pool").body["items"], json!([]));
    assert_eq!(list("pool_name=nobody").code(), "unknown_pool");
    let queue = muster.get("/api/metrics/queue").body;
    assert_eq!((&queue["queue_depth"], &queue["pools"]["tester_pool"]["depth"]), (&json!(10_002), &json!(10_001)));
    let metrics = muster.get("/metrics").body;
    let metrics = metrics.as_str().expect("text");
    assert!(metrics.contains("\nmuster_queue_tasks{pool=\"tester_pool\",state=\"ready\"} 10001\n"), "{metrics}");
}

#[test]
fn a_tenant_has_its_limits() {
    let muster = Muster::start(Options::config("[tenants.acme]\nper_day = 2\n"));
    let work = json!({"pool_name": "developer_pool", "input": 1, "tenant": "acme"});
    let left =
        |answer: &Answer| answer.header("ratelimit").map(|text| text.split(";t=").next().expect("text").to_owned());
    let first = muster.post(TASKS, &work);
    assert_eq!((first.status, left(&first).as_deref()), (202, Some("\"per_day\";r=1")), "{first:?}");
    assert_eq!(muster.post(TASKS, &work).status, 202);
    let refused = muster.post(TASKS, &work);
    assert_eq!((refused.status, refused.code()), (429, "quota_exceeded"), "{refused:?}");
    assert_eq!(left(&refused).as_deref(), Some("\"per_day\";r=0"));
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    let quota = muster.get("/api/v1/quota?tenant=acme").body;
    assert_eq!((&quota["limits"]["per_day"], &quota["left"]["today"]), (&json!(2), &json!(0)), "{quota}");
    let free = muster.post(TASKS, &json!({"pool_name": "developer_pool", "input": 1}));
    assert_eq!((free.status, left(&free)), (202, None), "{free:?}");
    assert_eq!(muster.get("/api/v1/quota").body["left"]["today"], json!(null));
    assert_eq!(muster.get("/api/v1/quota?tenant=").code(), "invalid_field");
}

#[test]
fn a_task_is_followed_to_its_end_and_again_from_the_middle() {
    let (muster, folder) = stage();
    let id = submit(&muster, &json!({"pool_name": "slow", "input": "work"}));
    let mut stream = events(&muster, &id, None);
    let begun = stream.events_until(|event| event.kind == "progress");
    let running = begun.iter().rfind(|event| event.kind == "running").expect("it ran before it said how far it is");
    assert_eq!(running.data["state"], "running");
    let progress = begun.last().expect("progress");
    assert_eq!((progress.id.as_str(), &progress.data), ("", &json!({"message": "waiting", "percent": 40.0})));
    drop(stream);
    assert_eq!(task(&muster, &id, 0)["progress"]["percent"], 40.0);
    let mut resumed = events(&muster, &id, Some(&running.id));
    go(folder.path());
    let rest = resumed.events_until(|event| event.kind == "succeeded");
    let seen: u64 = running.id.parse().expect("a number");
    let versions: Vec<u64> = rest.iter().filter_map(|event| event.id.parse().ok()).collect();
    assert!(versions.iter().all(|version| *version > seen), "what was seen is not told again: {versions:?}");
    let last = rest.last().expect("its end");
    assert_eq!(last.data["output"], json!({"z": 1.5, "a": []}));
    assert_eq!(last.data["usage"], json!({"input_tokens": 10, "output_tokens": 5, "cost_usd": 0.001}));
    assert_eq!(resumed.line(), None, "the stream is over");
    let over = muster.ask("GET", &format!("{TASKS}/{id}/events")).header("last-event-id", &last.id).send();
    assert_eq!(over.status, 204, "{over:?}");
    assert_eq!(events(&muster, &id, None).event().kind, "succeeded");
    let unknown = muster.get(&format!("{TASKS}/nobody/events"));
    assert_eq!((unknown.status, unknown.code()), (404, "unknown_task"));
}

#[test]
fn a_task_is_called_off_and_another_is_sent_again() {
    let (muster, folder) = stage();
    let work = json!({"pool_name": "slow", "input": "work"});
    let first = submit(&muster, &work);
    await_state(&muster, &first, "running");
    let second = submit(&muster, &work);
    let cancel = |id: &str, wait: u32| muster.post(&format!("{TASKS}/{id}/cancel?wait={wait}"), &json!({}));
    let waiting = cancel(&second, 0);
    assert_eq!((waiting.status, waiting.text("state")), (200, "cancelled"), "nothing ran: {waiting:?}");
    // The agent does not heed it: its work has stopped when its processes are gone.
    let running = cancel(&first, 20);
    assert_eq!((running.status, running.text("state")), (200, "cancelled"), "{running:?}");
    assert_eq!(running.body["attempts"][0]["end"], "cancelled", "{running:?}");
    assert_eq!(cancel(&first, 0).text("state"), "cancelled", "twice is no error");

    let failing = submit(&muster, &json!({"pool_name": "slow", "input": "fail"}));
    let failed = task(&muster, &failing, 20);
    assert_eq!((&failed["state"], &failed["error"]["message"]), (&json!("failed"), &json!("as asked")), "{failed}");
    assert_eq!((&failed["attempts"][0]["end"], &failed["attempts"][0]["retryable"]), (&json!("failed"), &json!(false)));
    let retry = |id: &str| muster.post(&format!("{TASKS}/{id}/retry"), &json!({}));
    let again = retry(&failing);
    assert_eq!((again.status, again.text("task_id")), (200, failing.as_str()), "{again:?}");
    wait_until("it fails once more", BOUND, || task(&muster, &failing, 0)["attempt"] == 2);
    go(folder.path());
    let wrong = retry(&first);
    assert_eq!((wrong.status, wrong.code(), wrong.text("task_id")), (409, "wrong_state", first.as_str()), "{wrong:?}");
    assert_eq!(muster.get(&format!("{TASKS}/dead?pool_name=slow")).body["items"], json!([]));
    assert_eq!(
        muster.post(&format!("{TASKS}/dead/redrive"), &json!({"pool_name": "slow"})).body,
        json!({"redriven": 0})
    );
    assert_eq!(muster.post(&format!("{TASKS}/dead/redrive"), &json!({"pool_name": "nobody"})).code(), "unknown_pool");
}

#[test]
fn work_is_held_up_and_goes_on() {
    let muster = Muster::start(Options::default());
    let pool = "developer_pool";
    assert_eq!(muster.spawn(pool).status, 201);
    let hold = |verb: &str| muster.post(&format!("/api/v1/agents/pools/{pool}/{verb}"), &json!({}));
    let held = |answer: &Answer| (answer.status, answer.body["paused"].clone(), answer.body["intake_closed"].clone());
    assert_eq!(held(&hold("pause")), (200, json!(true), json!(false)));
    let work = json!({"pool_name": pool, "input": 1});
    let first = submit(&muster, &work);
    assert_eq!(task(&muster, &first, 0)["state"], "queued");
    let drained = hold("drain");
    assert_eq!(held(&drained), (200, json!(true), json!(true)));
    assert_eq!((&drained.body["draining"], &drained.body["being_removed"]), (&json!(true), &json!(false)));
    let refused = muster.post(TASKS, &work);
    assert_eq!((refused.status, refused.code()), (503, "intake_closed"), "{refused:?}");
    assert!(refused.header("retry-after").is_some(), "{refused:?}");
    assert_eq!(muster.get(&format!("/api/v1/agents/pools/{pool}")).body["intake_closed"], true);
    assert_eq!(held(&hold("resume")), (200, json!(false), json!(false)));
    assert_eq!(task(&muster, &first, 20)["state"], "succeeded");

    let system = |verb: &str| muster.post(&format!("/api/v1/system/{verb}"), &json!({}));
    assert_eq!((system("pause").status, &muster.get("/api/v1/system/status").body["paused"]), (200, &json!(true)));
    let second = submit(&muster, &work);
    assert_eq!(task(&muster, &second, 0)["state"], "queued");
    assert_eq!(system("resume").body["paused"], false);
    assert_eq!(task(&muster, &second, 20)["state"], "succeeded");
    for path in ["/api/v1/agents/pools/nobody/pause", "/api/v1/agents/pools/nobody/drain"] {
        assert_eq!(muster.post(path, &json!({})).code(), "unknown_pool");
    }
    assert_eq!(muster.post("/api/v1/system/pause", &json!({"handback": true})).code(), "invalid_field");
}
