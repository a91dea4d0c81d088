//! The end of a supervisor, stage by stage: intake, agents asked, killed at their deadline, the private Redis last.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::harness::faults::{lives, processes_with, signal, take_the_lead_away};
use crate::harness::{Muster, Options, wait_until};

const BOUND: Duration = Duration::from_secs(20);

/// Agents that write a file when they are asked to end, and go on. They are ready when they can be asked.
struct Stubborn {
    muster: Muster,
    folder: tempfile::TempDir,
}

impl Stubborn {
    fn start(stop_deadline: f64) -> Self {
        let folder = tempfile::Builder::new().prefix("ms").tempdir_in("/tmp").expect("a folder");
        let path = folder.path().display();
        let config = format!(
            "[runtimes.stubborn]\nkind = \"exec\"\nstop_deadline = {stop_deadline}\n\
             command = [\"sh\", \"-c\", \"trap 'echo > {path}/asked-$MUSTER_AGENT_ID' TERM; echo '{{\\\"type\\\":\\\"ready\\\"}}'; while :; do sleep 0.05; done\", \"{path}\"]\n\
             [pools.stubborn]\nrole_type = \"developer\"\nruntime = \"stubborn\"\nmax_agents = 2\n"
        );
        let env = vec![("MUSTER_CLOCKS_STOP_DEADLINE".to_owned(), stop_deadline.to_string())];
        let muster = Muster::start(Options { config, env, ..Options::default() });
        muster.spawn_many("stubborn", 3);
        Self { muster, folder }
    }

    fn asked(&self) -> usize {
        std::fs::read_dir(self.folder.path()).expect("a folder").count()
    }

    /// How many agents' programs live. What a shell has just forked looks like it, and is not counted.
    fn programs(&self) -> usize {
        let found = processes_with(&self.folder.path().display().to_string());
        found.iter().filter(|one| found.iter().all(|other| other.pid != one.parent)).count()
    }
}

fn spawn_body(pool: &str) -> serde_json::Value {
    json!({"project_id": "p", "role_type": "developer", "pool_name": pool})
}

#[test]
fn it_ends_in_order() {
    let mut stage = Stubborn::start(1.5);
    let workers: Vec<u32> = stage.muster.all_workers().into_iter().map(|worker| worker.pid).collect();
    let redis = stage.muster.redis_pid().expect("a private Redis");
    let began = Instant::now();
    signal(stage.muster.pid(), libc::SIGTERM);
    wait_until("every agent is asked", BOUND, || stage.asked() == 3);
    assert_eq!(stage.programs(), 3, "asked, and not killed before the deadline");
    let refused = stage.muster.post("/api/v1/agents/spawn", &spawn_body("stubborn"));
    assert_eq!(refused.status, 503, "{refused:?}");
    wait_until("the workers are gone", BOUND, || {
        // In this order: a Redis seen dead after a worker was seen alive may have outlived it.
        let redis_lives = lives(redis);
        let worker_lives = workers.iter().any(|pid| lives(*pid));
        assert!(redis_lives || !worker_lives, "the private Redis ends last");
        !worker_lives
    });
    assert!(began.elapsed() >= Duration::from_millis(1_500), "they were given their time");
    assert_eq!(stage.programs(), 0);
    stage.muster.await_exit(0);
    assert!(!lives(redis));
    assert!(!stage.muster.data_dir().join("muster.addr").exists());
    // What was to run is to run: the next supervisor starts it again.
    stage.muster.restart();
    wait_until("all run again", BOUND, || {
        let agents = stage.muster.all_agents();
        agents.len() == 3 && agents.iter().all(|agent| (agent.state.as_str(), agent.epoch) == ("idle", 2))
    });
}

#[test]
fn a_second_signal_forces() {
    let mut stage = Stubborn::start(120.0);
    signal(stage.muster.pid(), libc::SIGTERM);
    wait_until("every agent is asked", BOUND, || stage.asked() == 3);
    signal(stage.muster.pid(), libc::SIGTERM);
    stage.muster.await_exit(0);
    assert_eq!(stage.programs(), 0);
}

#[test]
fn a_closed_terminal_ends_it_in_order_however_often_it_is_told() {
    let mut stage = Stubborn::start(1.5);
    let workers: Vec<u32> = stage.muster.all_workers().into_iter().map(|worker| worker.pid).collect();
    let began = Instant::now();
    signal(stage.muster.pid(), libc::SIGHUP);
    wait_until("every agent is asked", BOUND, || stage.asked() == 3);
    // From the kernel, after the shell's.
    signal(stage.muster.pid(), libc::SIGHUP);
    stage.muster.await_exit(0);
    assert!(began.elapsed() >= Duration::from_millis(1_500), "the second one does not hurry");
    assert_eq!((stage.programs(), workers.iter().any(|pid| lives(*pid))), (0, false), "nothing is left");
}

#[test]
fn a_hangup_that_was_ignored_at_the_start_stays_ignored_and_ends_no_worker() {
    let muster = Muster::start(Options::default().through(&["nohup"]));
    muster.spawn_many("developer_pool", 1);
    let worker = muster.all_workers().remove(0);
    signal(worker.pid, libc::SIGHUP);
    let log = muster.data_dir().join(format!("logs/workers/{}.log", worker.id));
    wait_until("the worker has heard it", BOUND, || {
        std::fs::read_to_string(&log).is_ok_and(|log| log.contains("SIGHUP changes nothing"))
    });
    signal(muster.pid(), libc::SIGHUP);
    let status = std::fs::read_to_string(format!("/proc/{}/status", muster.pid())).expect("it lives");
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).expect("a line").trim();
    assert_eq!(u64::from_str_radix(ignored, 16).expect("a number") & 1, 1, "it handles no SIGHUP");
    assert!(lives(worker.pid));
}

#[test]
fn the_time_of_a_stop_is_bounded_by_the_deadline() {
    let mut stage = Stubborn::start(0.5);
    let began = Instant::now();
    signal(stage.muster.pid(), libc::SIGINT);
    stage.muster.await_exit(0);
    // The deadline, the workers' last words, and much for a busy machine.
    assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    assert_eq!(stage.programs(), 0);
}

/// Opens a stream and returns it after its head was read.
fn open_stream(address: &str, path: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(BOUND)).expect("a timeout");
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n\r\n").expect("asked");
    let mut head = [0; 12];
    stream.read_exact(&mut head).expect("a status line");
    assert_eq!(&head, b"HTTP/1.1 200", "{path}");
    stream
}

#[test]
fn open_streams_end_with_it() {
    let mut muster = Muster::start(Options::default());
    let agent = muster.spawn_many("developer_pool", 1).remove(0);
    let address = muster.address();
    let mut streams = vec![open_stream(&address, "/api/v1/events")];
    streams.push(open_stream(&address, &format!("/api/v1/agents/{agent}/logs?follow=true")));
    let idle = TcpStream::connect(&address).expect("a connection on which nothing is asked");
    signal(muster.pid(), libc::SIGTERM);
    muster.await_exit(0);
    for mut stream in streams {
        let mut rest = Vec::new();
        stream.read_to_end(&mut rest).expect("the stream ends, and is not cut off");
    }
    drop(idle);
}

#[test]
fn a_worker_that_is_told_to_end_drains_and_its_agents_run_elsewhere() {
    let muster = Muster::start(Options::default());
    muster.spawn_many("developer_pool", 3);
    let worker = muster.all_workers().remove(0);
    signal(worker.pid, libc::SIGTERM);
    wait_until("it is gone", BOUND, || !lives(worker.pid));
    wait_until("its agents run elsewhere", BOUND, || {
        muster
            .all_agents()
            .iter()
            .all(|agent| agent.state == "idle" && agent.epoch > 1 && agent.process_id != worker.id)
    });
    muster.await_each_in_one_worker();
}

#[test]
fn a_stop_between_two_leads_ends_the_workers_too() {
    let config =
        "[clocks]\nheartbeat = 0.2\nstale = 1\nlease = 1\n[pools.small]\nrole_type = \"developer\"\nmax_agents = 2\n";
    let mut muster = Muster::start(Options::config(config));
    muster.spawn_many("small", 3);
    let workers: Vec<u32> = muster.all_workers().into_iter().map(|worker| worker.pid).collect();
    let fence = |muster: &Muster| muster.get("/api/v1/system/status").body["fence"].as_u64();
    // Each lead that is lost soon is followed by a longer pause: the last of these by two seconds.
    for _ in 0..3 {
        let before = fence(&muster).expect("it leads");
        take_the_lead_away(&muster);
        wait_until("it leads again", BOUND, || fence(&muster).is_some_and(|fence| fence > before));
    }
    take_the_lead_away(&muster);
    wait_until("it pauses", BOUND, || muster.log().matches("the supervisor has ended").count() == 4);
    assert!(workers.iter().all(|worker| lives(*worker)), "worker processes outlive a lead");
    signal(muster.pid(), libc::SIGTERM);
    muster.await_exit(0);
    assert!(!workers.iter().any(|worker| lives(*worker)), "a stop ends them");
}
