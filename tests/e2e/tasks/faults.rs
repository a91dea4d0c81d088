//! Something dies or is away in the middle of a task's life.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{ends, python};
use crate::harness::disk::SmallDisk;
use crate::harness::faults::{Postgres, RedisServer, kill9};
use crate::harness::{BOUND, Muster, Options, wait_until};

fn await_running(muster: &Muster, id: &str) {
    wait_until("it runs", BOUND, || muster.task(id)["state"] == "running");
}

/// Work that goes on until the test ends it.
struct Work(tempfile::TempDir);

impl Work {
    fn new() -> Self {
        Self(tempfile::tempdir().expect("a folder"))
    }

    /// The input of its task.
    fn input(&self) -> Value {
        json!({"until": self.0.path().join("end"), "then": self.0.path().join("ended")})
    }

    /// Lets it end, and returns when its agent has answered.
    fn end(&self) {
        std::fs::write(self.0.path().join("end"), "").expect("a file");
        wait_until("its agent has answered", BOUND, || self.0.path().join("ended").exists());
    }
}

#[test]
fn a_worker_that_dies_costs_no_attempt() {
    let muster = Muster::start(python("max_attempts = 1\nrestart.max_restarts = 100\nrestart.backoff_min = 0.01"));
    muster.spawn_many("p", 1);
    let task = muster.submit(&json!({"sleep": 2}));
    await_running(&muster, &task);
    kill9(muster.all_workers().remove(0).pid);
    let done = muster.finished(&task);
    assert_eq!((&done["state"], ends(&done)), (&json!("succeeded"), vec!["worker_lost", "succeeded"]), "{done}");
}

#[test]
fn a_task_whose_workers_die_is_quarantined_and_others_go_on() {
    let more =
        "retry.poison_bound = 2\nretry.backoff_max = 0.1\nrestart.max_restarts = 100\nrestart.backoff_min = 0.01";
    let muster = Muster::start(python(more));
    muster.spawn_many("p", 1);
    let poison = muster.submit(&json!({"hold": true}));
    for attempt in 1..=3 {
        wait_until("it runs", BOUND, || {
            let task = muster.task(&poison);
            task["state"] == "running" && task["attempt"] == attempt
        });
        kill9(muster.all_workers().remove(0).pid);
    }
    let dead = muster.finished(&poison);
    assert_eq!((&dead["state"], &dead["error"]["code"]), (&json!("dead"), &json!("poison")), "{dead}");
    assert_eq!(muster.finished(&muster.submit(&json!(1)))["state"], "succeeded");
}

#[test]
fn a_new_master_adopts_running_tasks() {
    let mut muster = Muster::start(python(""));
    muster.spawn_many("p", 2);
    let works = [Work::new(), Work::new()];
    let [short, long] = [&works[0], &works[1]].map(|work| muster.submit(&work.input()));
    let waiting = muster.submit(&json!("third"));
    await_running(&muster, &short);
    await_running(&muster, &long);
    muster.kill9();
    // While nobody leads.
    works[0].end();
    muster.restart();
    works[1].end();
    for id in [&short, &long, &waiting] {
        let done = muster.finished(id);
        assert_eq!((&done["state"], ends(&done)), (&json!("succeeded"), vec!["succeeded"]), "once and no more: {done}");
    }
}

#[test]
fn a_cancellation_holds_over_the_death_of_the_master() {
    let mut muster = Muster::start(python(""));
    muster.spawn_many("p", 1);
    let task = muster.submit(&json!({"hang": true}));
    await_running(&muster, &task);
    let told = muster.post(&format!("/api/v1/tasks/{task}/cancel"), &json!({}));
    assert_eq!(told.text("halting"), "cancelled", "{told:?}");
    muster.kill9();
    muster.restart();
    assert_eq!(muster.finished(&task)["state"], "cancelled");
}

#[test]
fn tasks_that_are_taken_in_while_redis_is_away_run_when_it_is_back() {
    let mut redis = RedisServer::start();
    let muster = Muster::start(python("").env("MUSTER_REDIS_URL", redis.url()));
    muster.spawn_many("p", 2);
    let work = Work::new();
    let running = muster.submit(&work.input());
    await_running(&muster, &running);
    redis.stop();
    let tasks: Vec<String> = (0..5).map(|n| muster.submit(&json!(n))).collect();
    work.end();
    redis.resume();
    for id in tasks.iter().chain([&running]) {
        let done = muster.finished(id);
        assert_eq!((&done["state"], ends(&done)), (&json!("succeeded"), vec!["succeeded"]), "{done}");
    }
}

#[test]
fn a_hundred_thousand_waiting_tasks_survive_a_restart() {
    let mut muster = Muster::start(Options::config("[pools.p]\nrole_type = \"developer\"\nmax_agents = 100\n"));
    let lines = "{\"pool_name\":\"p\",\"input\":1}\n".repeat(10_000);
    for _ in 0..10 {
        let bulk = muster.ask("POST", "/api/v1/tasks/bulk").header("content-type", "application/x-ndjson");
        let answer = bulk.body(lines.clone()).send();
        assert_eq!((answer.status, &answer.body["accepted"]), (200, &json!(10_000)));
    }
    muster.kill9();
    let began = Instant::now();
    muster.restart();
    let depth = || muster.get("/api/metrics/queue").body["queue_depth"].clone();
    wait_until("all are there", BOUND, || depth() == 100_000);
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    muster.spawn_many("p", 100);
    wait_until("all are done", Duration::from_secs(120), || depth() == 0);
    let listed = muster.get("/api/v1/tasks?pool_name=p&state=succeeded&limit=1000");
    assert_eq!(listed.body["items"].as_array().map(Vec::len), Some(1000));
}

#[test]
fn a_full_disk_refuses_new_tasks_and_loses_no_end() {
    let disk = match SmallDisk::mount() {
        Ok(disk) => disk,
        Err(error) => return eprintln!("skipped: a file system can be mounted by root only ({error})"),
    };
    let muster = Muster::start(Options { data_dir: Some(disk.path().join("d")), ..python("") });
    muster.spawn_many("p", 2);
    let works = [Work::new(), Work::new()];
    let running: Vec<String> = works.iter().map(|work| muster.submit(&work.input())).collect();
    running.iter().for_each(|id| await_running(&muster, id));
    // Space inside of the database's files may serve some more, and its log, begun anew, gives some back.
    let mut taken = Vec::new();
    let long = json!({"pool_name": "p", "input": "x".repeat(50_000)});
    wait_until("a task is refused", BOUND, || {
        disk.fill();
        let answer = muster.post("/api/v1/tasks", &long);
        match answer.status {
            202 => taken.push(answer.text("task_id").to_owned()),
            _ => assert_eq!(answer.status, 503, "{answer:?}"),
        }
        answer.status == 503
    });
    // While nothing can be stored.
    works.iter().for_each(Work::end);
    disk.free();
    for id in running.iter().chain(&taken) {
        let done = muster.finished(id);
        assert_eq!((&done["state"], ends(&done)), (&json!("succeeded"), vec!["succeeded"]), "{done}");
    }
    let listed = muster.get("/api/v1/tasks?pool_name=p&limit=1000").body;
    let count = listed["items"].as_array().map(Vec::len);
    assert_eq!(count, Some(running.len() + taken.len()), "what was refused is not there");
}

#[test]
fn postgres_may_go_and_come_back_in_the_middle_of_tasks() {
    let mut postgres = Postgres::start();
    let muster = Muster::start(python("").env("MUSTER_DATABASE_URL", postgres.url()));
    muster.spawn_many("p", 2);
    let mut taken: Vec<String> = (0..4).map(|n| muster.submit(&json!({"sleep": 0.2, "n": n}))).collect();
    for _ in 0..3 {
        let work = Work::new();
        let running = muster.submit(&work.input());
        await_running(&muster, &running);
        postgres.stop();
        let refused = muster.post("/api/v1/tasks", &json!({"pool_name": "p", "input": 1}));
        assert_eq!(refused.status, 503, "{refused:?}");
        work.end();
        postgres.resume();
        wait_until("tasks are taken in again", BOUND, || {
            let answer = muster.post("/api/v1/tasks", &json!({"pool_name": "p", "input": 2}));
            taken.extend((answer.status == 202).then(|| answer.text("task_id").to_owned()));
            answer.status == 202
        });
        taken.push(running);
    }
    for id in &taken {
        let done = muster.finished(id);
        assert_eq!((&done["state"], ends(&done)), (&json!("succeeded"), vec!["succeeded"]), "{done}");
    }
}
