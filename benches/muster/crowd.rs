//! Ten thousand agents in a thousand workers: what they take while they do nothing but live.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::json;

use crate::Round;
use crate::family;
use crate::server::{Durability, Server};
use crate::sheet::{Goal, millis, percentile};
use crate::spawning::{POOL, together};

const ROW: &str = "10,000 echo agents in 1,000 workers";

/// Heartbeats each second, then each two seconds as by default, then each ten.
pub(crate) fn crowd(round: &mut Round<'_>) -> anyhow::Result<()> {
    let agents = round.sized(30, 10_000);
    lively(round, agents)?;
    resting(round, agents, &[], "heartbeats at 2 s: the whole system", Goal::HereAtMost(15.0))?;
    measured(round, agents)?;
    let clocks = [("MUSTER_CLOCKS_HEARTBEAT", "10"), ("MUSTER_CLOCKS_STALE", "30"), ("MUSTER_CLOCKS_LEASE", "45")];
    resting(round, agents, &clocks, "heartbeats at 10 s: the whole system", Goal::HereAtMost(10.0))
}

fn lively(round: &mut Round<'_>, agents: usize) -> anyhow::Result<()> {
    let window = Duration::from_secs_f64(round.sized(0.2, 15.0));
    let (server, took) = gather(agents, &[("MUSTER_CLOCKS_HEARTBEAT", "1")])?;
    round.add(ROW, "until all run", "s", Goal::Shown, took.as_secs_f64());
    let family = family::members(server.pid());
    let redis = *family.iter().find(|pid| family::is_redis(**pid)).context("its Redis")?;
    let own: Vec<u32> = family.iter().copied().filter(|pid| *pid != redis).collect();
    // Beside the workers there are the master and the workers' template.
    ensure!(own.len() == agents / 10 + 2, "{} processes beside Redis", own.len());
    rest(round, 3.0);
    let [load, all] = shares_of_a_core([&[redis], &family], window);
    let calls = client_calls(&server.redis(), window / 3)?;
    let kib = own.iter().map(|pid| family::memory(*pid)).sum::<anyhow::Result<u64>>()?;
    let mib = kib as f64 / 1024.0;
    round.add(ROW, "PSS of the master and the workers", "MiB", Goal::AtMost(600.0), mib);
    let least = 0.25 * own.len() as f64;
    round.add(ROW, "PSS / 0.25 MiB for a minimal worker", "x", Goal::Shown, mib / least);
    round.add(ROW, "heartbeats at 1 s: Redis", "% core", Goal::HereAtMost(10.0), load);
    round.add(ROW, "heartbeats at 1 s: calls of clients to Redis", "/s", Goal::AtMost(2000.0), calls);
    round.add(ROW, "heartbeats at 1 s: the whole system", "% core", Goal::Shown, all);
    health(round, &server)?;
    finish(server, agents)
}

/// All agents in one answer, and a page of them: the median time, and the length.
fn health(round: &mut Round<'_>, server: &Server) -> anyhow::Result<()> {
    let count = round.sized(1, 20);
    for (what, query) in [("all", ""), ("a page of 100", "?limit=100")] {
        let get = crate::http::request("GET", &format!("/api/v1/agents/health{query}"), "");
        let (mut client, mut times, mut length) = (server.client()?, Vec::new(), 0);
        for _ in 0..count {
            let begun = Instant::now();
            length = client.send(&get)?.text()?.len();
            times.push(millis(begun.elapsed()));
        }
        let p50 = percentile(&mut times, 0.5);
        round.add(ROW, &format!("GET /agents/health, {what}: p50"), "ms", Goal::Shown, p50);
        round.add(ROW, &format!("GET /agents/health, {what}"), "KiB", Goal::Shown, length as f64 / 1024.0);
    }
    Ok(())
}

fn resting(
    round: &mut Round<'_>,
    agents: usize,
    clocks: &[(&str, &str)],
    what: &str,
    goal: Goal,
) -> anyhow::Result<()> {
    // Whole heartbeats, so that each worker has as many in the window as the others.
    let window = Duration::from_secs_f64(round.sized(0.2, 20.0));
    let (server, _) = gather(agents, clocks)?;
    let family = family::members(server.pid());
    rest(round, 5.0);
    let [load] = shares_of_a_core([&family], window);
    round.add(ROW, what, "% core", goal, load);
    finish(server, agents)
}

/// What the metrics collector takes, by the difference to a server without it.
fn measured(round: &mut Round<'_>, agents: usize) -> anyhow::Result<()> {
    let (window, interval) = (Duration::from_secs_f64(round.sized(0.2, 20.0)), 1.0);
    let share = |variables: &[(&str, &str)]| {
        let (server, _) = gather(agents, variables)?;
        let master = server.pid();
        rest(round, 5.0);
        let [load] = shares_of_a_core([&[master]], window);
        finish(server, agents)?;
        anyhow::Ok(load)
    };
    let with = share(&[("MUSTER_METRICS_INTERVAL", "1")])?;
    let without = share(&[("MUSTER_ENABLE_METRICS_COLLECTOR", "false")])?;
    let per_round = (with - without).max(0.0) / 100.0 * interval;
    round.add(ROW, "a round of the metrics collector", "ms", Goal::Shown, per_round * 1e3);
    round.add(ROW, "metrics each 30 s", "% core", Goal::AtMost(5.0), per_round / 30.0 * 100.0);
    Ok(())
}

fn gather(agents: usize, clocks: &[(&str, &str)]) -> anyhow::Result<(Server, Duration)> {
    let mut server = Server::start(Durability::Process, clocks)?;
    server.pool(POOL, 0, &json!({}))?;
    let started = Instant::now();
    together(&server, 64, agents)?;
    let took = started.elapsed();
    Ok((server, took))
}

/// All still run, and then nothing is left.
fn finish(mut server: Server, agents: usize) -> anyhow::Result<()> {
    server.wait_pool(POOL, |pool| pool["agent_count"] == agents && pool["process_count"] == agents / 10)?;
    let path = format!("/api/v1/agents?pool_name={POOL}&state=spawning&limit=1");
    let spawning = server.client()?.send(&crate::http::request("GET", &path, ""))?.of_status(200)?;
    ensure!(spawning["items"].as_array().is_some_and(Vec::is_empty), "not all run: {spawning}");
    server.stop()
}

/// Lets what follows from the spawns settle.
fn rest(round: &Round<'_>, seconds: f64) {
    std::thread::sleep(Duration::from_secs_f64(round.sized(0.0, seconds)));
}

/// What each of these groups of processes runs within a time, in percent of one core.
fn shares_of_a_core<const N: usize>(groups: [&[u32]; N], time: Duration) -> [f64; N] {
    let ran = || groups.map(|pids| pids.iter().map(|pid| family::cpu(*pid)).sum::<Duration>());
    let (before, started) = (ran(), Instant::now());
    std::thread::sleep(time);
    let (after, elapsed) = (ran(), started.elapsed());
    std::array::from_fn(|group| {
        after[group].saturating_sub(before[group]).as_secs_f64() / elapsed.as_secs_f64() * 100.0
    })
}

/// Calls that clients make in a second; what scripts call is not among them. Redis counts both alike, so they are
/// watched one by one.
fn client_calls(socket: &Path, time: Duration) -> anyhow::Result<f64> {
    let mut stream = UnixStream::connect(socket)?;
    stream.set_read_timeout(Some(Duration::from_millis(50)))?;
    stream.write_all(b"MONITOR\r\n")?;
    let mut reader = BufReader::with_capacity(1 << 20, stream);
    let (mut calls, started) = (0_u64, Instant::now());
    let mut line = Vec::new();
    while started.elapsed() < time {
        match reader.read_until(b'\n', &mut line) {
            Ok(0) => anyhow::bail!("Redis closed the connection"),
            Ok(_) => {
                // +1763700000.123456 [0 unix:/path] "EVALSHA" ...; a script's calls have [0 lua].
                let head = String::from_utf8_lossy(&line[..line.len().min(64)]).into_owned();
                calls += u64::from(head.contains(" [") && !head.contains(" lua] "));
                line.clear();
            }
            // Nothing came meanwhile; half a line stays for the next look.
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(calls as f64 / started.elapsed().as_secs_f64())
}
