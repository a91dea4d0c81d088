//! What pools, workers and agents do and use, as it is measured.

use serde_json::{Value, json};
use sqlx::{Connection, Row};

use crate::harness::{BOUND, Muster, Options, wait_until};

/// A pool `busy` whose agents hold 64 MiB and work without a rest, through a child; and one, `once`, that starts a program for each task.
const POOLS: &str = r#"
[metrics]
interval = 1
[runtimes.busy]
kind = "exec"
command = ["sh", "-c", '''echo '{"type":"ready"}'; python3 -c "x = bytearray(64 << 20)
while True: pass" & wait''']
[pools.busy]
role_type = "developer"
runtime = "busy"
[runtimes.once]
kind = "exec"
mode = "oneshot"
command = ["python3", "-c", "import time; end = time.time() + 6\nwhile time.time() < end: pass"]
[pools.once]
role_type = "developer"
runtime = "once"
"#;

fn newest(muster: &Muster, pool: &str) -> Value {
    muster.get(&format!("/api/v1/agents/pools/{pool}/metrics?limit=1")).body[0].clone()
}

fn figure(value: &Value, name: &str) -> f64 {
    value[name].as_f64().unwrap_or(-1.0)
}

#[test]
fn what_trees_use_is_measured_whoever_started_it() {
    let muster = Muster::start(Options::config(POOLS));
    let agent = muster.spawn("busy").text("agent_id").to_owned();
    wait_until("a child's work is seen", BOUND, || figure(&newest(&muster, "busy"), "cpu_percent") > 20.0);
    let measured = newest(&muster, "busy");
    assert!(figure(&measured, "memory_bytes") > f64::from(64 << 20), "{measured}");
    assert!(figure(&measured, "cpu_usage") > 1.0 && figure(&measured, "memory_usage") > 0.0, "{measured}");
    assert_eq!((&measured["used_capacity"], &measured["active_agents"]), (&json!(1.0), &json!(1.0)), "{measured}");
    let of_agent = muster.get(&format!("/api/v1/agents/{agent}/metrics")).body[0].clone();
    assert!(figure(&of_agent, "memory_bytes") > f64::from(64 << 20), "{of_agent}");
    assert!(figure(&of_agent, "cpu_percent") > 10.0, "{of_agent}");
    let worker = muster.get("/api/v1/agents/metrics/processes").body["processes"][0]["process_id"].clone();
    let of_worker = muster.get(&format!("/api/v1/workers/{}/metrics", worker.as_str().expect("an id"))).body[0].clone();
    assert!(figure(&of_worker, "memory_bytes") >= figure(&of_agent, "memory_bytes"), "{of_worker}, {of_agent}");
}

#[test]
fn programs_of_single_tasks_are_measured_as_their_agents() {
    let muster = Muster::start(Options::config(POOLS));
    let agent = muster.spawn("once").text("agent_id").to_owned();
    let task = json!({"pool_name": "once", "input": {}});
    assert_eq!(muster.post("/api/v1/tasks", &task).status, 202);
    let of_agent = || muster.get(&format!("/api/v1/agents/{agent}/metrics")).body;
    wait_until("its program's work is seen", BOUND, || figure(&of_agent()[0], "cpu_percent") > 20.0);
    wait_until("the task is counted", BOUND, || figure(&newest(&muster, "once"), "executions") == 1.0);
    let measured = newest(&muster, "once");
    assert!(figure(&measured, "run_p50_seconds") > 5.0, "{measured}");
    let all = muster.get("/api/v1/agents/pools/once/metrics").body;
    let waits = all.as_array().into_iter().flatten().filter(|row| row["wait_p50_seconds"].is_f64()).count();
    assert_eq!(waits, 1, "it waited once: {all}");
    assert!(figure(&measured, "mean_response_seconds") > 5.0, "{measured}");
    assert_eq!((&measured["error_rate"], &measured["tasks_per_minute"].is_f64()), (&json!(0.0), &true), "{measured}");
}

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_kept_for_whoever_asks_the_database() {
    let mut muster = Muster::start(Options::config(POOLS));
    muster.spawn("once");
    wait_until("it is measured", BOUND, || figure(&newest(&muster, "once"), "idle_agents") == 1.0);
    let shown = || muster.get("/api/clusters/once/metrics?limit=3").body.as_array().map_or(0, Vec::len);
    wait_until("there are three measurements", BOUND, || shown() == 3);
    let series = muster.get("/api/v1/agents/metrics/timeseries?metric_type=utilization&pool_name=once").body;
    let points = series["points"].as_array().expect("points").clone();
    assert_eq!((&series["interval"], points.len()), (&json!("30s"), 121), "{series}");
    assert!(points[0]["value"].is_null() && points.iter().any(|point| point["value"] == 0.1), "{series}");
    let all = muster.get("/api/v1/agents/metrics/timeseries?metric_type=queue_depth&interval=auto").body;
    assert_eq!((&all["pool_name"], &all["metric_type"]), (&json!(null), &json!("queue_depth")));
    for (query, status) in [
        ("metric_type=cpu&time_range=7d&interval=30s", 422),
        ("metric_type=cpu&interval=2m", 422),
        ("metric_type=speed", 422),
        ("metric_type=cpu&pool_name=nobody", 404),
    ] {
        assert_eq!(muster.get(&format!("/api/v1/agents/metrics/timeseries?{query}")).status, status, "{query}");
    }
    assert_eq!(muster.get("/api/v1/agents/pools/nobody/metrics").status, 404);
    let table = muster.command(&["metrics", "once", "--limit", "3"]).expect(0);
    assert!(table.stdout.starts_with("UTC ") && table.stdout.lines().count() == 4, "{table:?}");
    muster.stop();
    let log = muster.log();
    assert!(log.contains("Metrics collector started (interval: 1s)"), "{log}");
    assert!(log.contains("Metrics collector stopped"), "{log}");
    let url = format!("sqlite:{}", muster.data_dir().join("muster.db").display());
    let mut database = sqlx::SqliteConnection::connect(&url).await.expect("the database");
    let rows = sqlx::query(
        "SELECT queue_length, cpu_usage, timestamp FROM cluster_metrics WHERE cluster_id = 'once' ORDER BY timestamp DESC",
    )
    .fetch_all(&mut database)
    .await
    .expect("rows");
    assert!(rows.len() > 1);
    assert_eq!(rows[0].get::<i64, _>(0), 0);
    assert!(rows[0].get::<f64, _>(1) >= 0.0);
    assert!(rows[0].get::<String, _>(2) > rows[1].get::<String, _>(2), "the newest first");
}

#[test]
fn nothing_is_measured_where_that_is_turned_off() {
    for variable in ["MUSTER_ENABLE_METRICS_COLLECTOR", "ENABLE_METRICS_COLLECTOR"] {
        let muster = Muster::start(Options::config("[metrics]\ninterval = 1\n").env(variable, "false"));
        muster.spawn("developer_pool");
        assert_eq!(muster.get("/api/v1/agents/pools/developer_pool/metrics").body, json!([]));
        assert!(!muster.log().contains("Metrics collector"), "{}", muster.log());
    }
}
