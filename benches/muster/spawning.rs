//! Spawns: one at a time, many at a time, with and without a worker that waits for them.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use serde_json::json;
use tokio::task::JoinSet;

use crate::Round;
use crate::http::SharedClient;
use crate::server::{Durability, Server, spawn_request};
use crate::sheet::{Goal, millis, percentile};

pub(crate) const POOL: &str = "bench_pool";

/// POST spawn into a warm worker, one client.
pub(crate) fn warm(round: &mut Round<'_>) -> anyhow::Result<()> {
    const ROW: &str = "POST spawn into a warm worker, one client";
    let (warm_up, count) = round.sized((5, 5_usize), (50, 500));
    for durability in Durability::BOTH {
        let mut server = Server::start(durability, &[])?;
        server.pool(POOL, usize::div_ceil(warm_up + count, 10) as u32, &json!({}))?;
        let mut times = one_by_one(&server, warm_up, count)?;
        server.stop()?;
        let (p50, p99) = (percentile(&mut times, 0.5), percentile(&mut times, 0.99));
        let limits = round.limits.spawn(durability);
        let word = durability.word();
        round.add(ROW, &format!("{word}: p50"), "ms", Goal::HereAtMost(0.5).under(durability), p50);
        round.add(
            ROW,
            &format!("{word}: p50 / sum of the limits"),
            "x",
            Goal::AtMost(3.0).under(durability),
            p50 / limits,
        );
        round.add(ROW, &format!("{word}: p99"), "ms", Goal::HereAtMost(3.0).under(durability), p99);
    }
    Ok(())
}

pub(crate) fn one_by_one(server: &Server, warm_up: usize, count: usize) -> anyhow::Result<Vec<f64>> {
    let mut client = server.client()?;
    let spawn = spawn_request(POOL);
    let mut times = Vec::with_capacity(count);
    for turn in 0..warm_up + count {
        let started = Instant::now();
        client.send(&spawn)?.of_status(201)?;
        if turn >= warm_up {
            times.push(millis(started.elapsed()));
        }
    }
    Ok(times)
}

/// Spawns a second, 16 clients, slots free.
pub(crate) fn sixteen(round: &mut Round<'_>) -> anyhow::Result<()> {
    const ROW: &str = "spawns a second, 16 clients, slots free";
    let count = round.sized(30, 3000_usize);
    for durability in Durability::BOTH {
        let mut server = Server::start(durability, &[])?;
        server.pool(POOL, count.div_ceil(10) as u32, &json!({}))?;
        let Together { rate, mut times } = together(&server, 16, count)?;
        server.stop()?;
        let goal = Goal::HereAtLeast(4600.0).under(durability);
        round.add(ROW, durability.word(), "/s", goal, rate);
        // How many of the limits' bare spawns, one after the other, fit into the time of one.
        let ratio = rate * round.limits.spawn(durability) / 1e3;
        round.add(ROW, &format!("{}: / one client at the limits", durability.word()), "x", Goal::Shown, ratio);
        let (p50, p99) = (percentile(&mut times, 0.5), percentile(&mut times, 0.99));
        round.add(ROW, &format!("{}: p50", durability.word()), "ms", Goal::Shown, p50);
        round.add(ROW, &format!("{}: p99", durability.word()), "ms", Goal::Shown, p99);
        round.add(
            ROW,
            &format!("{}: p99 / p50", durability.word()),
            "x",
            Goal::AtMost(4.0).under(durability),
            p99 / p50,
        );
    }
    Ok(())
}

/// Spawns a second, 64 clients, workers started as needed.
pub(crate) fn growing(round: &mut Round<'_>) -> anyhow::Result<()> {
    const ROW: &str = "spawns a second, 64 clients, workers started as needed";
    let count = round.sized(30, 3000_usize);
    for durability in Durability::BOTH {
        let mut server = Server::start(durability, &[])?;
        server.pool(POOL, 0, &json!({}))?;
        let Together { rate, .. } = together(&server, 64, count)?;
        server.wait_pool(POOL, |pool| pool["agent_count"] == count)?;
        server.stop()?;
        let word = durability.word();
        round.add(ROW, word, "/s", Goal::HereAtLeast(3000.0).under(durability), rate);
        let allowed = round.limits.starts_per_second * 10.0;
        round.add(
            ROW,
            &format!("{word}: / bare worker starts"),
            "x",
            Goal::AtLeast(0.3).under(durability),
            rate / allowed,
        );
    }
    Ok(())
}

/// What came of many spawns by several clients at once.
pub(crate) struct Together {
    /// In a second.
    pub(crate) rate: f64,
    /// What each took, in ms.
    pub(crate) times: Vec<f64>,
}

pub(crate) fn together(server: &Server, clients: usize, count: usize) -> anyhow::Result<Together> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut connected = Vec::new();
        for _ in 0..clients {
            connected.push(SharedClient::connect(&server.address).await?);
        }
        let begun = Arc::new(AtomicUsize::new(0));
        let started = Instant::now();
        let mut tasks = JoinSet::new();
        for mut client in connected {
            let (begun, spawn) = (begun.clone(), spawn_request(POOL));
            tasks.spawn(async move {
                let mut times = Vec::new();
                while begun.fetch_add(1, Ordering::Relaxed) < count {
                    let sent = Instant::now();
                    client.send(&spawn).await?.of_status(201)?;
                    times.push(millis(sent.elapsed()));
                }
                anyhow::Ok(times)
            });
        }
        let mut times = Vec::with_capacity(count);
        while let Some(ended) = tasks.join_next().await {
            times.extend(ended??);
        }
        Ok(Together { rate: count as f64 / started.elapsed().as_secs_f64(), times })
    })
}

/// First spawn of a pool (worker started).
pub(crate) fn first(round: &mut Round<'_>) -> anyhow::Result<()> {
    const ROW: &str = "first spawn of a pool (worker started)";
    let pools = round.sized(2, 30);
    for durability in Durability::BOTH {
        let mut server = Server::start(durability, &[])?;
        let mut client = server.client()?;
        let mut times = Vec::new();
        for pool in 0..pools {
            let name = format!("pool_{pool}");
            server.pool(&name, 0, &json!({}))?;
            let spawn = spawn_request(&name);
            let started = Instant::now();
            client.send(&spawn)?.of_status(201)?;
            times.push(millis(started.elapsed()));
        }
        server.stop()?;
        let p50 = percentile(&mut times, 0.5);
        let word = durability.word();
        round.add(ROW, &format!("{word}: p50"), "ms", Goal::HereAtMost(8.0).under(durability), p50);
        // 8 ms where a bare worker starts in 1.5 ms.
        round.add(
            ROW,
            &format!("{word}: p50 / start of a bare worker"),
            "x",
            Goal::AtMost(5.3).under(durability),
            p50 / round.limits.start,
        );
    }
    Ok(())
}
