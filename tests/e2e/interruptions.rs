//! The capacity under a worker is taken away, with real programs.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::harness::faults::kill9;
use crate::harness::{BOUND, Muster, Options, wait_until};

/// A pool of one worker of two agents, whose program hangs the first time for each task and answers from then on.
fn hangs_once(folder: &Path) -> String {
    let script =
        r#"mark="$1/$(cat | tr -dc a-z)"; if [ -e "$mark" ]; then echo done; else touch "$mark"; exec sleep 4321; fi"#;
    format!(
        "[runtimes.work]\nkind = \"exec\"\nmode = \"oneshot\"\ncommand = ['sh', '-c', '{script}', 'sh', '{}']\n\
         [pools.jobs]\nrole_type = \"developer\"\nruntime = \"work\"\nmax_agents = 2\nmax_workers = 1\non_demand = {{}}\n\
         [pools.jobs.retry]\npoison_bound = 0\n",
        folder.display()
    )
}

fn submit(muster: &Muster, input: &str) -> String {
    let asked = muster.post("/api/v1/tasks", &json!({"pool_name": "jobs", "input": input, "max_attempts": 1}));
    asked.text("task_id").to_owned()
}

fn task(muster: &Muster, id: &str) -> Value {
    muster.get(&format!("/api/v1/tasks/{id}")).body
}

fn wait_state(muster: &Muster, id: &str, state: &str) {
    wait_until(&format!("{id} is {state}"), BOUND, || task(muster, id)["state"] == state);
}

/// The worker of two tasks that hang.
fn busy(muster: &Muster, folder: &Path) -> (Vec<String>, String) {
    let tasks: Vec<String> = ["a", "b"].iter().map(|input| submit(muster, input)).collect();
    tasks.iter().for_each(|id| wait_state(muster, id, "running"));
    wait_until("both programs hang", BOUND, || folder.read_dir().expect("a folder").count() == 2);
    (tasks, muster.all_workers()[0].id.clone())
}

fn assert_preempted(muster: &Muster, tasks: &[String]) {
    for id in tasks {
        wait_state(muster, id, "succeeded");
        let task = task(muster, id);
        let ends: Vec<&Value> = task["attempts"].as_array().expect("attempts").iter().map(|one| &one["end"]).collect();
        assert_eq!(ends, ["preempted", "succeeded"], "{task}");
    }
}

#[test]
fn a_worker_uses_its_notice_and_its_tasks_go_on_elsewhere() {
    let folder = tempfile::tempdir().expect("a folder");
    let muster = Muster::start(Options::config(hangs_once(folder.path())));
    let (tasks, worker) = busy(&muster, folder.path());
    let asked = Instant::now();
    let said = muster.command(&["interrupt", &worker, "--in", "6s"]).expect(0);
    assert!(said.stdout.contains(&worker), "{said:?}");
    wait_until("another is ready", BOUND, || muster.pool("jobs")["active_worker_processes"] == 2);
    assert!(asked.elapsed() < Duration::from_secs(6), "it is started at once: {:?}", asked.elapsed());
    let listed = muster.command(&["ps", "--workers"]).expect(0);
    assert!(listed.stdout.contains("ready, interrupted until"), "{listed:?}");
    assert!(tasks.iter().all(|id| task(&muster, id)["attempt"] == 1), "they have the whole notice");
    assert_preempted(&muster, &tasks);
    assert!(asked.elapsed() >= Duration::from_secs(6), "not before its end: {:?}", asked.elapsed());
    wait_until("it has ended", BOUND, || muster.pool("jobs")["process_count"] == 1);
    let ended = muster.command(&["ps", "--workers", "--all"]).expect(0);
    assert!(ended.stdout.contains("was interrupted: the capacity under it was taken away"), "{ended:?}");
    let again = muster.command(&["interrupt", &worker]);
    assert!(again.code != Some(0) && again.stderr.contains("has ended"), "{again:?}");
}

#[test]
fn a_worker_that_dies_within_its_notice_costs_its_tasks_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut muster = Muster::start(Options::config(hangs_once(folder.path())));
    let (tasks, worker) = busy(&muster, folder.path());
    let noticed = muster.post(&format!("/api/v1/workers/{worker}/interrupt"), &json!({"notice": 600}));
    assert_eq!(noticed.status, 200, "{noticed:?}");
    let deadline = noticed.body["interruption"]["deadline"].clone();
    // The next supervisor knows of it.
    muster.kill9();
    muster.restart();
    let workers = muster.get("/api/v1/agents/metrics/processes").body["processes"].clone();
    let workers = workers.as_array().expect("a list");
    let known = workers.iter().find(|one| one["process_id"] == worker.as_str()).expect("it is there still");
    assert_eq!(known["interruption"]["deadline"], deadline);
    let pid = known["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).expect("a pid");
    kill9(pid);
    assert_preempted(&muster, &tasks);
}

/// Two base workers and two of spot, of one agent each.
const TIERS: &str = r#"
[pools.jobs]
role_type = "developer"
max_agents = 1
[pools.jobs.tiers]
spot_share = 0.5
base = { min_workers = 1, max_workers = 2, price_per_hour = 0.8 }
spot = { max_workers = 2, price_per_hour = 0.24, instance_types = ["c6g.xlarge", "m6g.xlarge"] }
burst = { max_workers = 1, price_per_hour = 1.2 }
"#;

fn tiers_of(muster: &Muster) -> Vec<String> {
    let workers = muster.get("/api/v1/agents/metrics/processes").body["processes"].clone();
    let open = workers.as_array().into_iter().flatten().filter(|worker| worker["interruption"].is_null());
    let mut tiers: Vec<String> = open.filter_map(|worker| worker["tier"].as_str().map(str::to_owned)).collect();
    tiers.sort();
    tiers
}

#[test]
fn a_spot_worker_that_goes_has_one_of_another_type_and_then_of_another_tier_in_its_place() {
    let muster = Muster::start(Options::config(TIERS));
    muster.spawn_many("jobs", 3);
    assert_eq!(tiers_of(&muster), ["base", "base", "spot"]);
    let cost = muster.pool("jobs")["cost_per_hour"].as_f64().expect("a price");
    assert!((cost - 1.84).abs() < 1e-9, "{cost}");
    let take_spot = || {
        let workers = muster.get("/api/v1/agents/metrics/processes").body["processes"].clone();
        let mut all = workers.as_array().expect("a list").iter();
        let spot = all.find(|one| one["tier"] == "spot" && one["interruption"].is_null()).expect("a spot worker");
        let path = format!("/api/v1/workers/{}/interrupt", spot["process_id"].as_str().expect("an id"));
        assert_eq!(muster.post(&path, &json!({})).status, 200);
    };
    take_spot();
    wait_until("another spot worker is there", BOUND, || tiers_of(&muster) == ["base", "base", "spot"]);
    wait_until("the first has ended", BOUND, || muster.pool("jobs")["process_count"] == 3);
    take_spot();
    wait_until("burst stands in", BOUND, || tiers_of(&muster) == ["base", "base", "burst"]);
    let refused = muster.patch("/api/v1/agents/pools/jobs", &json!({"config": {"tiers": null}}));
    assert_eq!(refused.code(), "pool_of_file", "{refused:?}");
}
