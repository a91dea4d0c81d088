//! A pool that grows and shrinks with its queue, with real programs.

use std::time::{Duration, Instant};

use muster_domain::Timestamp;
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
    ended_within(muster, count, BOUND)
}

fn ended_within(muster: &Muster, count: usize, bound: Duration) -> Vec<Value> {
    let done = || muster.get("/api/v1/tasks?state=succeeded&limit=1000").body["items"].as_array().map_or(0, Vec::len);
    wait_until("all tasks are done", bound, || done() == count);
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

#[test]
fn two_pools_that_grow_on_one_host_keep_their_own_bounds_and_all_their_tasks() {
    let (runtimes, pool) = POOLS.split_at(POOLS.find("[pools").expect("a pool"));
    let muster =
        Muster::start(Options::config(format!("{runtimes}{pool}{}", pool.replace("pools.jobs", "pools.more"))));
    let lines =
        |pool: &str| (0..40).map(|n| format!("{}\n", json!({"pool_name": pool, "input": n}))).collect::<String>();
    let bulk = muster.ask("POST", "/api/v1/tasks/bulk").header("content-type", "application/x-ndjson");
    assert_eq!(bulk.body(lines("jobs") + &lines("more")).send().status, 200);
    let workers = |pool: &str| muster.get(&format!("/api/clusters/{pool}")).body["current_workers"].as_u64();
    let mut most = [0, 0];
    let done = || muster.get("/api/v1/tasks?state=succeeded&limit=1000").body["items"].as_array().map_or(0, Vec::len);
    wait_until("all tasks are done", BOUND, || {
        for (most, pool) in most.iter_mut().zip(["jobs", "more"]) {
            *most = workers(pool).map_or(*most, |now| now.max(*most));
        }
        done() == 80
    });
    assert_eq!(most, [6, 6], "each up to its own bound");
    assert_undisturbed(&ended(&muster, 80));
    wait_until("nobody is left", BOUND, || workers("jobs") == Some(0) && workers("more") == Some(0));
}

/// A pool that follows a load in steps, so many times slower. Its file is the server's and the simulator's.
fn replayed(slower: u64) -> String {
    format!(
        r#"
[runtimes.work]
kind = "exec"
mode = "oneshot"
command = ["sleep", "{slower}"]
[pools.jobs]
role_type = "developer"
runtime = "work"
max_agents = 2
max_workers = 8
on_demand = {{}}
[pools.jobs.scaling]
mode = "on"
check_interval = {slower}
policies = [{{ kind = "target", metric = "queue_per_worker", target = 4, cooldown_out = {slower}, cooldown_in = {} }}]
[pools.jobs.tiers]
base = {{ max_workers = 8, price_per_hour = 1, start_time = 0.1 }}
"#,
        3 * slower
    )
}

/// When how many tasks come, in seconds from the first.
const STEPS: [(u64, usize); 3] = [(0, 24), (7, 40), (14, 30)];

/// What a live run came to.
struct LiveRun {
    waits: Vec<f64>,
    /// Of all workers, until the last task was done.
    worker_seconds: f64,
    mean_run: f64,
    /// How long after a check the first task came, in seconds.
    phase: f64,
}

/// Gives a server the load, so many times slower, and waits for its end.
fn run_live(muster: &Muster, slower: u64) -> LiveRun {
    let begun = Instant::now();
    for (at, count) in STEPS {
        std::thread::sleep(Duration::from_secs(at * slower).saturating_sub(begun.elapsed()));
        submit(muster, count);
    }
    let count: usize = STEPS.iter().map(|(_, count)| count).sum();
    let tasks = ended_within(muster, count, BOUND * slower as u32);
    assert_undisturbed(&tasks);
    let moment = |value: &Value| value.as_str().and_then(|at| at.parse::<Timestamp>().ok()).expect("a moment");
    let seconds = |from: Timestamp, to: Timestamp| to.since(from).as_secs_f64();
    let last = tasks.iter().map(|task| moment(&task["finished_at"])).max().expect("tasks");
    let waits = tasks.iter().map(|task| seconds(moment(&task["created_at"]), moment(&task["started_at"]))).collect();
    let run: f64 = tasks.iter().map(|task| seconds(moment(&task["started_at"]), moment(&task["finished_at"]))).sum();
    let listed = |path: &str, key: &str| muster.get(path).body[key].as_array().cloned().unwrap_or_default();
    let ended = listed("/api/v1/agents/metrics/processes/ended?limit=1000", "items");
    let all = listed("/api/v1/agents/metrics/processes", "processes").into_iter().chain(ended);
    let lives = all.map(|worker| {
        let end = if worker["ended_at"].is_string() { moment(&worker["ended_at"]).min(last) } else { last };
        seconds(moment(&worker["started_at"]), end)
    });
    let first = tasks.iter().map(|task| moment(&task["created_at"])).min().expect("tasks");
    let checked =
        decisions(muster).into_iter().find(|one| one["actor"] == "policies").expect("a decision of the policies");
    let until_check = seconds(first, moment(&checked["at"])) % slower as f64;
    // The simulator knows tenths of a second: what comes right after a check does not come with it.
    let phase = (slower as f64 - until_check).clamp(0.1, slower as f64 - 0.1);
    LiveRun { waits, worker_seconds: lives.sum(), mean_run: run / count as f64, phase }
}

fn p95(mut waits: Vec<f64>) -> f64 {
    waits.sort_by(f64::total_cmp);
    waits[(waits.len() * 95).div_ceil(100) - 1]
}

/// The same load in virtual time: the wait of 95% of the tasks, and the seconds of all workers.
fn replay(muster: &Muster, live: &LiveRun, slower: u64) -> (f64, f64) {
    let LiveRun { mean_run, phase, .. } = live;
    let row = |(at, count): &(u64, usize)| format!("{},{mean_run},{count}\n", (at * slower) as f64 + phase);
    let rows: String = STEPS.iter().map(row).collect();
    let trace = muster.folder().join("trace.csv");
    // It begins with a check.
    std::fs::write(&trace, format!("at,run_seconds,count\n0,{mean_run},0\n{rows}")).expect("a trace");
    let config = muster.folder().join("muster.toml");
    let paths = [config.display().to_string(), trace.display().to_string()];
    let told = muster.command(&["simulate", "--config", &paths[0], "--trace", &paths[1], "--json"]).expect(0);
    let report: Value = serde_json::from_str(&told.stdout).expect("JSON");
    let simulated = &report["simulations"][0];
    let hours: f64 =
        simulated["tiers"].as_array().expect("tiers").iter().filter_map(|of| of["worker_hours"].as_f64()).sum();
    (simulated["wait"]["p95_seconds"].as_f64().expect("a wait"), hours * 3_600.0)
}

/// What really came, and what the simulator says of the same load, are within a fifth of each other.
fn assert_replayed(slower: u64) {
    let muster = Muster::start(Options::config(replayed(slower)));
    let live = run_live(&muster, slower);
    let (wait, worker_seconds) = replay(&muster, &live, slower);
    let live_wait = p95(live.waits);
    let told = format!(
        "wait p95 {live_wait:.2} s live and {wait:.2} s simulated; worker-seconds {:.1} and {worker_seconds:.1}",
        live.worker_seconds
    );
    eprintln!("{told}");
    let is_near = |live: f64, simulated: f64| (simulated / live - 1.0).abs() <= 0.2;
    assert!(is_near(live_wait, wait) && is_near(live.worker_seconds, worker_seconds), "{told}");
}

#[test]
fn the_simulator_replays_a_live_run() {
    assert_replayed(2);
}

/// `make scaling-run`.
#[test]
#[ignore = "five minutes"]
fn the_simulator_replays_a_live_run_of_five_minutes() {
    assert_replayed(17);
}
