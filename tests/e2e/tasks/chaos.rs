//! Everything is killed at random while tasks are submitted and done. At the end each task that was acknowledged is done,
//! and its outcome is recorded once.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{ends, python};
use crate::harness::faults::kill9;
use crate::harness::{Muster, Request, wait_until};

/// For how long processes are killed.
const STORM: Duration = Duration::from_secs(12);
/// Tasks of one bulk request.
const BULK: usize = 25;

/// Random numbers of which a test can print the seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        // xorshift64*
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    }
}

#[test]
fn nothing_is_lost_or_doubled_while_everything_dies() {
    let seed = std::env::var("MUSTER_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| u64::from(std::process::id()) * 7_919 + 1);
    println!("MUSTER_SEED={seed} replays the order of the kills");
    let mut dice = Dice(seed);
    let more = "max_agents = 3\nmax_attempts = 1000\nretry.poison_bound = 1000\nretry.backoff_max = 0.2\n\
                restart.max_restarts = 100000\nrestart.backoff_min = 0.01\nrestart.backoff_max = 0.1";
    let mut muster = Muster::start(python(more));
    muster.spawn_many("p", 9);
    let (address, storm) = (std::sync::Mutex::new(muster.address()), AtomicBool::new(true));
    let accepted = std::thread::scope(|scope| {
        let submitter = scope.spawn(|| submit_while(&storm, || address.lock().expect("a lock").clone()));
        let until = Instant::now() + STORM;
        while Instant::now() < until {
            std::thread::sleep(Duration::from_millis(50 + dice.roll(300)));
            strike(&mut muster, &mut dice);
            *address.lock().expect("a lock") = muster.address();
        }
        storm.store(false, Ordering::Relaxed);
        submitter.join().expect("the submitter")
    });
    assert!(accepted.len() > 100, "the storm let some through: {}", accepted.len());
    settle(&muster, &accepted);
}

/// Kills one process: the master, which is started again; Redis; a worker; a program.
fn strike(muster: &mut Muster, dice: &mut Dice) {
    let victim = match dice.roll(10) {
        0 => {
            muster.kill9();
            return muster.restart();
        }
        1 => muster.redis_pid(),
        2..=5 => pick(&pids(&muster.get("/api/v1/agents/metrics/processes").body["processes"]), dice),
        _ => pick(&pids(&muster.get("/api/v1/agents?limit=100").body["items"]), dice),
    };
    // It may have ended by itself, and another process have its pid: only ours are killed.
    if let Some(pid) = victim.filter(|pid| is_ours(*pid, muster)) {
        kill9(pid);
    }
}

/// Whether a process was started by this supervisor or its workers: they hand on its folder.
fn is_ours(pid: u32, muster: &Muster) -> bool {
    let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
    String::from_utf8_lossy(&environment).contains(&muster.folder().display().to_string())
}

fn pick(pids: &[u32], dice: &mut Dice) -> Option<u32> {
    let count = u64::try_from(pids.len()).ok().filter(|count| *count > 0)?;
    pids.get(usize::try_from(dice.roll(count)).ok()?).copied()
}

fn pids(items: &Value) -> Vec<u32> {
    let items = items.as_array().into_iter().flatten();
    items.filter_map(|item| item["pid"].as_u64().and_then(|pid| pid.try_into().ok())).filter(|pid| *pid > 1).collect()
}

/// Submits while the storm goes on, alone and in bulk; answers with the ids that were acknowledged.
fn submit_while(storm: &AtomicBool, address: impl Fn() -> String) -> Vec<String> {
    let mut accepted = Vec::new();
    let mut turn = 0;
    while storm.load(Ordering::Relaxed) {
        turn += 1;
        let line = json!({"pool_name": "p", "input": {"n": turn}}).to_string();
        let (path, kind, body) = match turn % 5 {
            0 => ("/api/v1/tasks/bulk", "application/x-ndjson", format!("{line}\n").repeat(BULK)),
            _ => ("/api/v1/tasks", "application/json", line),
        };
        let request = Request::new(&address(), "POST", path).header("content-type", kind).body(body);
        // A connection that breaks tells nothing about the task; neither does a refusal leave one.
        if let Ok(answer) = request.try_send()
            && matches!(answer.status, 200 | 202)
        {
            accepted.extend(ids(&answer.body));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    accepted
}

/// The id of one task, or those of the items of a bulk answer that have one.
fn ids(body: &Value) -> Vec<String> {
    let items = body["items"].as_array().cloned().unwrap_or_else(|| vec![body.clone()]);
    items.iter().filter_map(|item| item["task_id"].as_str().map(str::to_owned)).collect()
}

/// All that was acknowledged is done, once; and what was not acknowledged but stored is done too.
fn settle(muster: &Muster, accepted: &[String]) {
    wait_until("everything is done", Duration::from_secs(120), || {
        let figures = muster.get("/api/metrics/queue").body;
        let pool = &figures["pools"]["p"];
        pool["depth"] == 0 && pool["delayed"] == 0 && pool["running"] == 0
    });
    for id in accepted {
        let task = muster.task(id);
        assert_eq!(task["state"], "succeeded", "{task}");
        assert_eq!(task["output"]["did"], task["input"], "{task}");
        let ends = ends(&task);
        assert_eq!(ends.iter().filter(|end| **end == "succeeded").count(), 1, "{task}");
        assert_eq!(ends.last(), Some(&"succeeded"), "{task}");
        assert!(task["attempt"].as_u64() >= Some(ends.len() as u64), "the numbers go on: {task}");
    }
    let unfinished = muster.get("/api/v1/tasks?pool_name=p&state=running&limit=10");
    assert_eq!(unfinished.body["items"], json!([]));
}
