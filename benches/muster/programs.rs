//! Real programs as agents, beside a bare loop that starts the same ones and does nothing else.

use std::io::Read as _;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use anyhow::{Context as _, ensure};
use serde_json::json;

use crate::Round;
use crate::family;
use crate::http::{Client, request};
use crate::server::{Durability, Server, spawn_request};
use crate::sheet::{Goal, millis, percentile};
use crate::spawning::{POOL, Together, one_by_one, together};
use crate::tasks::{submit_lines, wait_done};

/// A program that says that it is ready and waits for a line, and one that ends at once.
const LIVES: &str = "sh";
const SAYS_READY: &str = r#"echo '{"type":"ready"}'; read -r line"#;
const ENDS: &str = "true";

/// Side by side, as many as a machine with two cores runs at once and a little more.
const CALLERS: usize = 16;

const SETTINGS: &str = r#"
[runtimes.lives]
kind = "exec"
command = ["sh", "-c", """echo '{"type":"ready"}'; read -r line"""]

[runtimes.ends]
kind = "exec"
mode = "oneshot"
command = ["true"]
"#;

/// Agents that are programs: how fast they start, and what stands beside each.
pub(crate) fn programs(round: &mut Round<'_>) -> anyhow::Result<()> {
    const ROW: &str = "spawns of a program (`sh`) into warm workers, until it is ready";
    let (warm_up, count) = round.sized((2, 8_usize), (20, 200));
    let many = round.sized(20, 1_000_usize);
    let (bare_start, bare_rate) = bare_starts(count, many)?;

    let mut server = Server::configured(Durability::Process, SETTINGS)?;
    let workers = (warm_up + count + many).div_ceil(10);
    server.pool_of("lives", POOL, u32::try_from(workers)?, &json!({}))?;
    let before = beside_programs(&server)?;
    let mut times = one_by_one(&server, warm_up, count)?;
    let kib = beside_programs(&server)?.saturating_sub(before) as f64 / (warm_up + count) as f64;
    let Together { rate, .. } = together(&server, CALLERS, many)?;
    server.stop()?;

    let p50 = percentile(&mut times, 0.5);
    round.add(ROW, "the program alone: p50", "ms", Goal::Shown, bare_start);
    round.add(ROW, "one client: p50", "ms", Goal::Shown, p50);
    round.add(ROW, "one client: p50 / the program alone", "x", Goal::AtMost(3.0), p50 / bare_start);
    round.add(ROW, "one client: p99", "ms", Goal::Shown, percentile(&mut times, 0.99));
    round.add(ROW, "the program alone, 16 threads", "/s", Goal::Shown, bare_rate);
    round.add(ROW, "16 clients", "/s", Goal::Shown, rate);
    round.add(ROW, "16 clients / the program alone", "x", Goal::AtLeast(0.5), rate / bare_rate);
    round.add(ROW, "PSS beside each program", "KiB", Goal::AtMost(150.0), kib);
    Ok(())
}

/// Tasks that start a program each.
pub(crate) fn oneshot(round: &mut Round<'_>) -> anyhow::Result<()> {
    const ROW: &str = "tasks that start a program each (`true`), 16 at a time";
    let count = round.sized(20, 2_000_usize);
    let bare = bare_runs(count)?;
    let xargs = xargs(count)?;

    let mut server = Server::configured(Durability::Process, SETTINGS)?;
    server.pool_of("ends", POOL, 2, &json!({"max_agents": CALLERS / 2}))?;
    let mut client = server.client()?;
    for _ in 0..CALLERS {
        client.send(&spawn_request(POOL))?.of_status(201)?;
    }
    let line = json!({"pool_name": POOL, "input": null}).to_string() + "\n";
    let before = cpu(&server);
    let started = Instant::now();
    submit_lines(&server, 1, &line.repeat(count))?;
    wait_done(&mut server, count)?;
    let rate = count as f64 / started.elapsed().as_secs_f64();
    let cost = (cpu(&server) - before) / count as f64;
    ensure!(succeeded(&mut client, count)?, "not all tasks succeeded");
    server.stop()?;

    round.add(ROW, "the program alone, 16 threads", "/s", Goal::Shown, bare);
    round.add(ROW, "xargs -P 16", "/s", Goal::Shown, xargs);
    round.add(ROW, "tasks", "/s", Goal::Shown, rate);
    round.add(ROW, "tasks / the program alone", "x", Goal::AtLeast(0.5), rate / bare);
    round.add(ROW, "tasks / xargs -P 16", "x", Goal::AtLeast(1.0), rate / xargs);
    round.add(ROW, "CPU of Muster and Redis for each", "ms", Goal::Shown, cost);
    Ok(())
}

/// The median time of a start, one after the other, and how many start in a second from several threads.
fn bare_starts(count: usize, many: usize) -> anyhow::Result<(f64, f64)> {
    let mut times = Vec::with_capacity(count);
    for _ in 0..count {
        let started = Instant::now();
        let ready = Ready::start()?;
        times.push(millis(started.elapsed()));
        drop(ready);
    }
    let (begun, started) = (AtomicUsize::new(0), Instant::now());
    let start_some = || {
        let mut ready = Vec::new();
        while begun.fetch_add(1, Ordering::Relaxed) < many {
            ready.push(Ready::start());
        }
        (Instant::now(), ready)
    };
    let ended = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CALLERS).map(|_| scope.spawn(start_some)).collect();
        threads.into_iter().filter_map(|thread| thread.join().ok()).collect::<Vec<_>>()
    });
    let last = ended.iter().map(|(at, _)| *at).max().context("a thread")?;
    ended.into_iter().flat_map(|(_, ready)| ready).collect::<anyhow::Result<Vec<_>>>()?;
    Ok((percentile(&mut times, 0.5), many as f64 / (last - started).as_secs_f64()))
}

/// A program that is ready. Dropping it ends it.
struct Ready(Child);

impl Ready {
    fn start() -> anyhow::Result<Self> {
        let mut command = Command::new(LIVES);
        command.args(["-c", SAYS_READY]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut ready = Self(command.spawn()?);
        let mut first = [0];
        ready.0.stdout.as_mut().context("its stdout")?.read_exact(&mut first)?;
        Ok(ready)
    }
}

impl Drop for Ready {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// How many run to their end in a second, from several threads.
fn bare_runs(count: usize) -> anyhow::Result<f64> {
    let (begun, started) = (AtomicUsize::new(0), Instant::now());
    std::thread::scope(|scope| {
        let run_some = || -> std::io::Result<()> {
            while begun.fetch_add(1, Ordering::Relaxed) < count {
                let mut command = Command::new(ENDS);
                command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status()?;
            }
            Ok(())
        };
        let threads: Vec<_> = (0..CALLERS).map(|_| scope.spawn(run_some)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or(Ok(())))
    })?;
    Ok(count as f64 / started.elapsed().as_secs_f64())
}

fn xargs(count: usize) -> anyhow::Result<f64> {
    let started = Instant::now();
    let line = format!("seq {count} | xargs -P {CALLERS} -n 1 {ENDS}");
    ensure!(Command::new("sh").args(["-c", &line]).status()?.success(), "xargs fails");
    Ok(count as f64 / started.elapsed().as_secs_f64())
}

/// Memory of all that Muster runs but the programs and Redis, in KiB.
fn beside_programs(server: &Server) -> anyhow::Result<u64> {
    let own = family::members(server.pid());
    let own = own.into_iter().filter(|pid| !family::is_redis(*pid) && !family::is_named(*pid, LIVES));
    family::memory_of(own)
}

/// What Muster and its Redis have run so far, in ms.
fn cpu(server: &Server) -> f64 {
    family::members(server.pid()).into_iter().map(|pid| millis(family::cpu(pid))).sum()
}

fn succeeded(client: &mut Client, count: usize) -> anyhow::Result<bool> {
    let failed = client.send(&request("GET", "/api/v1/tasks?state=failed,dead&limit=1", ""))?.of_status(200)?;
    let system = client.send(&request("GET", "/api/v1/agents/monitor/system", ""))?.of_status(200)?;
    let none = failed["items"].as_array().is_some_and(Vec::is_empty);
    Ok(none && system["total_executions"].as_u64() >= Some(count as u64))
}
