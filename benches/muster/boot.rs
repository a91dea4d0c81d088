//! `muster serve` in an empty folder, until its first spawn is answered.

use std::time::{Duration, Instant};

use anyhow::bail;

use crate::Round;
use crate::server::{Durability, PATIENCE, Server, spawn_request};
use crate::sheet::{Goal, millis};

/// From the start of the process to the first 201.
pub(crate) fn boot(round: &mut Round<'_>) -> anyhow::Result<()> {
    const ROW: &str = "muster serve until the first spawn is answered";
    for durability in Durability::BOTH {
        let started = Instant::now();
        let server = Server::begin(durability, &[])?;
        let mut client = server.client()?;
        let spawn = spawn_request("developer_pool");
        loop {
            match client.send(&spawn)? {
                // It listens before it leads, and says so.
                answer if answer.status == 503 => std::thread::sleep(Duration::from_micros(200)),
                answer => break drop(answer.of_status(201)?),
            }
            if started.elapsed() > PATIENCE {
                bail!("it does not lead");
            }
        }
        let took = millis(started.elapsed());
        server.stop()?;
        round.add(ROW, durability.word(), "ms", Goal::HereAtMost(130.0).under(durability), took);
    }
    Ok(())
}
