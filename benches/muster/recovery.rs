//! A worker dies or hangs: how long until its ten agents run in another one.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use nix::sys::signal::Signal;
use serde_json::{Value, json};

use crate::Round;
use crate::family;
use crate::http::{Client, request};
use crate::server::{Durability, PATIENCE, Server, spawn_request};
use crate::sheet::{Goal, millis, percentile};
use crate::spawning::{POOL, together};

const AGENTS: usize = 10;

/// Between two looks at the agents: what the figures may be too high by, and what the looking costs.
const LOOK: Duration = Duration::from_micros(500);

/// SIGKILL of a worker until its 10 agents run elsewhere.
pub(crate) fn killed(round: &mut Round<'_>) -> anyhow::Result<()> {
    const ROW: &str = "SIGKILL of a worker until its 10 agents run elsewhere";
    let workers = round.sized(1, 10);
    let mut server = Server::start(Durability::Process, &[])?;
    // Each has a pool of its own: no worker waits in reserve, and no agent is restarted twice.
    let mut times = Vec::new();
    for worker in 0..workers {
        let pool = populate(&mut server, worker)?;
        times.push(recover(&server, &pool, Signal::SIGKILL)?);
    }
    server.stop()?;
    let p50 = percentile(&mut times, 0.5);
    round.add(ROW, "p50", "ms", Goal::HereAtMost(40.0), p50);
    // 40 ms where a bare death is known in 0.06 ms and a bare worker starts in 1.5 ms.
    round.add(ROW, "p50 / start of a bare worker", "x", Goal::AtMost(25.0), p50 / round.limits.start);
    round.add(ROW, "longest", "ms", Goal::Shown, percentile(&mut times, 1.0));
    Ok(())
}

/// SIGSTOP of a worker until its 10 agents run elsewhere.
pub(crate) fn hung(round: &mut Round<'_>) -> anyhow::Result<()> {
    const ROW: &str = "SIGSTOP of a worker until its 10 agents run elsewhere";
    const STALE: f64 = 1500.0;
    let clocks = [
        ("MUSTER_CLOCKS_HEARTBEAT", "0.5"),
        ("MUSTER_CLOCKS_STALE", "1.5"),
        ("MUSTER_CLOCKS_LEASE", "2"),
        ("MUSTER_CLOCKS_ORPHAN_AFTER", "30"),
    ];
    let hangs = round.sized(1, 5);
    let mut server = Server::start(Durability::Process, &clocks)?;
    // Where most workers fall silent at once none is judged: those that hang must be few.
    let pools: Vec<String> = (0..hangs * 3).map(|worker| populate(&mut server, worker)).collect::<Result<_, _>>()?;
    // Nor is any judged by a supervisor that has listened for less than a lease.
    std::thread::sleep(Duration::from_secs(2));
    let mut times = Vec::new();
    for pool in &pools[..hangs] {
        times.push(recover(&server, pool, Signal::SIGSTOP)?);
    }
    server.stop()?;
    round.add(
        ROW,
        "longest, with a staleness bound of 1,500 ms",
        "ms",
        Goal::AlwaysAtMost(STALE + 100.0),
        percentile(&mut times, 1.0),
    );
    round.add(ROW, "p50", "ms", Goal::Shown, percentile(&mut times, 0.5));
    Ok(())
}

/// Everything is killed at once, Redis too; another server starts on what is on the disk.
pub(crate) fn restored(round: &mut Round<'_>) -> anyhow::Result<()> {
    const ROW: &str = "10,000 echo agents, after everything was killed";
    let agents = round.sized(30, 10_000);
    let mut server = Server::start(Durability::Process, &[])?;
    server.pool(POOL, 0, &json!({}))?;
    let started = Instant::now();
    together(&server, 64, agents)?;
    let made = started.elapsed().as_secs_f64();
    let started = Instant::now();
    server.start_after_kill(Durability::Process)?;
    server.wait_ready()?;
    let ready = started.elapsed().as_secs_f64();
    let answer = server.client()?.send(&spawn_request(POOL))?.status;
    ensure!(answer < 300, "it says that it is ready, and answers a spawn with {answer}");
    let mut client = server.client()?;
    let coming = request("GET", &format!("/api/v1/agents?pool_name={POOL}&state=spawning&limit=1"), "");
    server.wait_pool(POOL, |pool| pool["agent_count"] == agents + 1 && pool["pending_agents"] == 0)?;
    while client.send(&coming)?.of_status(200)?["items"].as_array().is_none_or(|items| !items.is_empty()) {
        ensure!(started.elapsed() < PATIENCE, "not all agents run again");
        std::thread::sleep(Duration::from_millis(10));
    }
    let restored = started.elapsed().as_secs_f64();
    server.stop()?;
    round.add(ROW, "until they were made", "s", Goal::Shown, made);
    round.add(ROW, "until a server is ready, and takes a spawn", "s", Goal::Shown, ready);
    round.add(ROW, "until all run again", "s", Goal::Shown, restored);
    round.add(ROW, "until all run again / until they were made", "x", Goal::AtMost(1.5), restored / made);
    Ok(())
}

/// Makes a pool with one worker, and fills it.
fn populate(server: &mut Server, number: usize) -> anyhow::Result<String> {
    let pool = format!("pool_{number}");
    server.pool(&pool, 0, &json!({}))?;
    let mut client = server.client()?;
    for _ in 0..AGENTS {
        client.send(&spawn_request(&pool))?.of_status(201)?;
    }
    Ok(pool)
}

fn recover(server: &Server, pool: &str, signal: Signal) -> anyhow::Result<f64> {
    let mut client = server.client()?;
    let (worker, pid) = worker_of(&mut client, pool)?;
    let started = Instant::now();
    family::signal(pid, signal);
    while !runs_elsewhere(&mut client, pool, &worker)? {
        if started.elapsed() > PATIENCE {
            bail!("the agents of {worker} do not come back");
        }
        std::thread::sleep(LOOK);
    }
    Ok(millis(started.elapsed()))
}

fn worker_of(client: &mut Client, pool: &str) -> anyhow::Result<(String, u32)> {
    let list = client.send(&request("GET", "/api/v1/agents/metrics/processes", ""))?.of_status(200)?;
    let workers = list["processes"].as_array().context("a list of workers")?;
    let worker = workers.iter().find(|worker| worker["pool_name"] == pool).context("its worker")?;
    let id = worker["process_id"].as_str().context("an id")?;
    let pid = worker["pid"].as_u64().and_then(|pid| u32::try_from(pid).ok()).context("a pid")?;
    Ok((id.to_owned(), pid))
}

fn runs_elsewhere(client: &mut Client, pool: &str, worker: &str) -> anyhow::Result<bool> {
    let list =
        client.send(&request("GET", &format!("/api/v1/agents?pool_name={pool}&limit=100"), ""))?.of_status(200)?;
    let agents = list["items"].as_array().context("a list of agents")?;
    let running = agents.iter().filter(|agent| agent["state"] == "idle" && agent["process_id"] != worker);
    let running: HashSet<&str> = running.filter_map(|agent: &Value| agent["agent_id"].as_str()).collect();
    Ok(running.len() == AGENTS)
}
