//! Tasks: submitted over HTTP, done by echo agents in worker processes, their results in the store.

use std::ops::Add as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::Round;
use crate::http::{Client, SharedClient, ndjson, request};
use crate::server::{Durability, PATIENCE, Server, spawn_request};
use crate::sheet::{Goal, millis, percentile};
use crate::spawning::POOL;

/// Workers of the pool, and agents of each.
const WORKERS: u32 = 2;
const AGENTS: u32 = 100;
/// Lines of one bulk request.
const LINES: usize = 10_000;

/// Tasks a second, end to end, each in a request of its own.
pub(crate) fn tasks(round: &mut Round<'_>) -> anyhow::Result<()> {
    const ROW: &str = "no-op tasks a second, end to end, 64 clients";
    let count = round.sized(50, 40_000_usize);
    for durability in Durability::BOTH {
        let mut server = crew(durability, AGENTS)?;
        let started = Instant::now();
        submit_together(&server, 64, count)?;
        wait_done(&mut server, count)?;
        let rate = count as f64 / started.elapsed().as_secs_f64();
        server.stop()?;
        let goal = Goal::HereAtLeast(8_000.0).under(durability);
        round.add(ROW, durability.word(), "/s", goal, rate);
        let alone = rate * (2.0 * round.limits.commit(durability) + round.limits.round_trip) / 1e3;
        round.add(ROW, &format!("{}: / one after the other at the limits", durability.word()), "x", Goal::Shown, alone);
    }
    Ok(())
}

/// Tasks a second by bulk requests: how fast they are taken in, and how fast they are done.
pub(crate) fn bulk(round: &mut Round<'_>) -> anyhow::Result<()> {
    const ROW: &str = "tasks a second by bulk requests of 10,000 lines";
    let (requests, lines) = round.sized((1, 50), (6, LINES));
    let mut server = crew(Durability::Process, AGENTS)?;
    let started = Instant::now();
    submit_bulk(&server, requests, lines)?;
    let taken = started.elapsed();
    wait_done(&mut server, requests * lines)?;
    let done = started.elapsed();
    server.stop()?;
    let per_second = |time: Duration| (requests * lines) as f64 / time.as_secs_f64();
    round.add(ROW, "taken in", "/s", Goal::HereAtLeast(15_000.0), per_second(taken));
    round.add(ROW, "done", "/s", Goal::Shown, per_second(done));
    Ok(())
}

/// How fast a long queue is worked off.
pub(crate) fn drain(round: &mut Round<'_>) -> anyhow::Result<()> {
    const ROW: &str = "drain of 100,000 waiting tasks";
    let rate = drained(round, &body().to_string().add("\n").repeat(round.sized(100, LINES)))?;
    round.add(ROW, "tasks done", "/s", Goal::HereAtLeast(10_000.0), rate);
    let of_tenant = |n| json!({"pool_name": POOL, "input": {"n": 1}, "tenant": format!("tenant-{n}")}).to_string();
    let of_many: String = (0..round.sized(100, LINES)).map(|n| of_tenant(n).add("\n")).collect();
    let rate = drained(round, &of_many)?;
    round.add(ROW, "tasks done, of 10,000 tenants", "/s", Goal::HereAtLeast(10_000.0), rate);
    Ok(())
}

/// How fast ten times these lines are worked off.
fn drained(round: &Round<'_>, lines: &str) -> anyhow::Result<f64> {
    let requests = round.sized(1, 10);
    let count = requests * lines.lines().count();
    let mut server = crew(Durability::Process, AGENTS)?;
    gate(&server, "pause")?;
    submit_lines(&server, requests, lines)?;
    let started = Instant::now();
    gate(&server, "resume")?;
    wait_done(&mut server, count)?;
    let rate = count as f64 / started.elapsed().as_secs_f64();
    server.stop()?;
    Ok(rate)
}

/// From the request to the answer that has the result, on an idle system.
pub(crate) fn latency(round: &mut Round<'_>) -> anyhow::Result<()> {
    const ROW: &str = "submit to result visible, one client, idle system";
    let (warm_up, count) = round.sized((2, 5_usize), (100, 1_000));
    let server = crew(Durability::Process, 10)?;
    let mut client = server.client()?;
    let submit = request("POST", "/api/v1/tasks?wait=10", &body().to_string());
    let mut times = Vec::with_capacity(count);
    for turn in 0..warm_up + count {
        let started = Instant::now();
        let task = client.send(&submit)?.of_status(200)?;
        if turn >= warm_up {
            times.push(millis(started.elapsed()));
        }
        anyhow::ensure!(task["state"] == "succeeded", "{task}");
    }
    server.stop()?;
    let limits = round.limits.http + 2.0 * round.limits.commit(Durability::Process) + round.limits.round_trip;
    let p50 = percentile(&mut times, 0.5);
    round.add(ROW, "p50", "ms", Goal::HereAtMost(1.1), p50);
    round.add(ROW, "p50 / sum of the limits", "x", Goal::Shown, p50 / limits);
    round.add(ROW, "p99", "ms", Goal::HereAtMost(5.0), percentile(&mut times, 0.99));
    Ok(())
}

/// A server with a pool whose agents wait for tasks.
pub(crate) fn crew(durability: Durability, agents: u32) -> anyhow::Result<Server> {
    let mut server = Server::start(durability, &[])?;
    server.pool(POOL, WORKERS, &json!({"max_agents": agents}))?;
    let mut client = server.client()?;
    let spawn = spawn_request(POOL);
    for _ in 0..WORKERS * agents {
        client.send(&spawn)?.of_status(201)?;
    }
    Ok(server)
}

fn body() -> Value {
    json!({"pool_name": POOL, "input": {"n": 1}})
}

/// Submits so many tasks, each in a request of its own.
pub(crate) fn submit_together(server: &Server, clients: usize, count: usize) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let begun = Arc::new(AtomicUsize::new(0));
        let mut callers = JoinSet::new();
        for _ in 0..clients {
            let mut client = SharedClient::connect(&server.address).await?;
            let (begun, submit) = (begun.clone(), request("POST", "/api/v1/tasks", &body().to_string()));
            callers.spawn(async move {
                while begun.fetch_add(1, Ordering::Relaxed) < count {
                    client.send(&submit).await?.of_status(202)?;
                }
                anyhow::Ok(())
            });
        }
        while let Some(ended) = callers.join_next().await {
            ended??;
        }
        Ok(())
    })
}

/// Submits so many requests of so many lines, two at a time.
pub(crate) fn submit_bulk(server: &Server, requests: usize, lines: usize) -> anyhow::Result<()> {
    submit_lines(server, requests, &format!("{}\n", body()).repeat(lines))
}

/// Submits these lines so many times, in requests of their own, two at a time.
pub(crate) fn submit_lines(server: &Server, requests: usize, lines: &str) -> anyhow::Result<()> {
    let (post, lines) = (ndjson("/api/v1/tasks/bulk", lines), lines.lines().count());
    let send = |count: usize| {
        let mut client = server.client()?;
        for _ in 0..count {
            let answer = client.send(&post)?.of_status(200)?;
            anyhow::ensure!(answer["accepted"] == lines, "{} were taken in", answer["accepted"]);
        }
        anyhow::Ok(())
    };
    std::thread::scope(|scope| {
        let first = scope.spawn(|| send(requests.div_ceil(2)));
        send(requests / 2)?;
        first.join().map_err(|_| anyhow::anyhow!("a client panicked"))?
    })
}

pub(crate) fn gate(server: &Server, how: &str) -> anyhow::Result<()> {
    let post = request("POST", &format!("/api/v1/agents/pools/{POOL}/{how}"), "");
    server.client()?.send(&post)?.of_status(200).map(drop)
}

/// Waits until no task waits or runs, and checks that each of them is done.
pub(crate) fn wait_done(server: &mut Server, count: usize) -> anyhow::Result<()> {
    let mut client = server.client()?;
    let until = Instant::now() + PATIENCE;
    loop {
        let queue = queue(&mut client)?;
        if queue["depth"] == 0 && queue["running"] == 0 && queue["delayed"] == 0 {
            break;
        }
        if Instant::now() > until {
            bail!("the tasks were never done: {queue}");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    let done = succeeded(&mut client)?;
    anyhow::ensure!(done == count as u64, "{done} of {count} tasks succeeded");
    Ok(())
}

pub(crate) fn queue(client: &mut Client) -> anyhow::Result<Value> {
    let figures = client.send(&request("GET", "/api/metrics/queue", ""))?.of_status(200)?;
    Ok(figures["pools"][POOL].clone())
}

/// Attempts that succeeded, by the server's own count.
fn succeeded(client: &mut Client) -> anyhow::Result<u64> {
    let page = client.send(&request("GET", "/metrics", ""))?.text()?;
    let series = format!("muster_task_attempts_total{{pool=\"{POOL}\",outcome=\"succeeded\"}} ");
    let line = page.lines().find(|line| line.starts_with(&series));
    let value = line.and_then(|line| line.rsplit(' ').next()).context("no task was counted")?;
    Ok(value.parse::<f64>()? as u64)
}
