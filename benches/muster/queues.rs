//! Long queues, durable queues, shared queues.

use std::time::Instant;

use serde_json::{Value, json};

use crate::Round;
use crate::family;
use crate::http::{Client, request};
use crate::postgres::Postgres;
use crate::server::{Durability, Server};
use crate::sheet::Goal;
use crate::spawning::POOL;
use crate::tasks::{crew, gate, queue, submit_bulk, submit_together, wait_done};

/// Tasks stored a second on PostgreSQL, which syncs every commit.
pub(crate) fn durable(round: &mut Round<'_>) -> anyhow::Result<()> {
    const ROW: &str = "durable submits a second on PostgreSQL, synchronous commit";
    let Some(postgres) = Postgres::start()? else {
        eprintln!("PostgreSQL is not installed, and was not measured");
        return Ok(());
    };
    let url = postgres.url();
    let mut server = Server::start(Durability::Process, &[("MUSTER_DATABASE_URL", &url)])?;
    // Nobody takes them: what is measured is the way into the store.
    server.pool(POOL, 0, &json!({}))?;
    let count = round.sized(50, 30_000_usize);
    let started = Instant::now();
    submit_together(&server, 64, count)?;
    let alone = count as f64 / started.elapsed().as_secs_f64();
    let (requests, lines) = round.sized((1, 50), (6, 10_000));
    let started = Instant::now();
    submit_bulk(&server, requests, lines)?;
    let bulk = (requests * lines) as f64 / started.elapsed().as_secs_f64();
    server.stop()?;
    round.add(ROW, "64 clients, one task a request", "/s", Goal::HereAtLeast(20_000.0), alone);
    round.add(ROW, "bulk requests of 10,000 lines", "/s", Goal::Shown, bulk);
    Ok(())
}

/// The speed with a million waiting tasks, beside that with a thousand.
pub(crate) fn million(round: &mut Round<'_>) -> anyhow::Result<()> {
    const ROW: &str = "1,000,000 waiting tasks";
    let (few, requests, lines) = round.sized((20, 1, 200), (1_000, 100, 10_000));
    let (submit_few, dispatch_few, _) = speeds(round, few, 1)?;
    let (submit_many, dispatch_many, resident) = speeds(round, lines, requests)?;
    round.add(ROW, "submit: / speed at 1,000", "x", Goal::AtLeast(0.8), submit_many / submit_few);
    round.add(ROW, "dispatch: / speed at 1,000", "x", Goal::AtLeast(0.8), dispatch_many / dispatch_few);
    round.add(ROW, "submits, 64 clients", "/s", Goal::Shown, submit_many);
    round.add(ROW, "tasks done", "/s", Goal::Shown, dispatch_many);
    round.add(ROW, "resident memory of the master", "MiB", Goal::AtMost(200.0), resident);
    Ok(())
}

/// Submits and tasks done a second while so many wait, and the master's memory then.
fn speeds(round: &Round<'_>, lines: usize, requests: usize) -> anyhow::Result<(f64, f64, f64)> {
    let server = crew(Durability::Process, round.sized(10, 100))?;
    gate(&server, "pause")?;
    submit_bulk(&server, requests, lines)?;
    let count = round.sized(20, 20_000_usize);
    let started = Instant::now();
    submit_together(&server, 64, count)?;
    let submits = count as f64 / started.elapsed().as_secs_f64();
    let resident = family::resident(server.pid())?;
    let mut client = server.client()?;
    let before = waiting(&mut client)?;
    gate(&server, "resume")?;
    let started = Instant::now();
    let wanted = before.saturating_sub(count as u64);
    while waiting(&mut client)? > wanted {
        std::thread::sleep(std::time::Duration::from_millis(1));
    }
    let done = (before - waiting(&mut client)?) as f64 / started.elapsed().as_secs_f64();
    let resident = resident.max(family::resident(server.pid())?);
    gate(&server, "pause")?;
    server.stop()?;
    Ok((submits, done, resident))
}

fn waiting(client: &mut Client) -> anyhow::Result<u64> {
    Ok(queue(client)?["depth"].as_u64().unwrap_or(u64::MAX))
}

/// One task of a tenant beside ten thousand of another: how many of these are started before it.
pub(crate) fn noisy(round: &mut Round<'_>) -> anyhow::Result<()> {
    const ROW: &str = "one task of a tenant beside 10,000 of another";
    let mut server = crew(Durability::Process, 1)?;
    gate(&server, "pause")?;
    let crowd = round.sized(50, 10_000);
    submit_bulk(&server, 1, crowd)?;
    let mut client = server.client()?;
    let body = json!({"pool_name": POOL, "input": 1, "tenant": "quiet"});
    let quiet = client.send(&request("POST", "/api/v1/tasks", &body.to_string()))?.of_status(202)?;
    gate(&server, "resume")?;
    wait_done(&mut server, crowd + 1)?;
    let path = format!("/api/v1/tasks/{}", quiet["task_id"].as_str().unwrap_or_default());
    let task = client.send(&request("GET", &path, ""))?.of_status(200)?;
    let page = client.send(&request("GET", "/api/v1/tasks?limit=50", ""))?.of_status(200)?;
    let started = |task: &Value| task["started_at"].as_str().map(str::to_owned);
    let before = page["items"].as_array().into_iter().flatten().filter(|other| started(other) < started(&task)).count();
    server.stop()?;
    // Two agents: a round gives one task to each tenant.
    round.add(ROW, "tasks started before it", "", Goal::AlwaysAtMost(2.0), before as f64);
    Ok(())
}
