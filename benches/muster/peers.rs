//! Other task queues, beside Muster in the same run: where `MUSTER_BENCH_PYTHON` (default `python3`) has them installed.

use std::process::{Command, Stdio};

use anyhow::Context as _;
use serde_json::Value;

use crate::Round;
use crate::server::{Durability, Server};
use crate::sheet::Goal;

/// A peer: its name, its module, its script, and how many tasks it gets.
struct Peer {
    name: &'static str,
    module: &'static str,
    script: &'static str,
    tasks: usize,
}

const PEERS: [Peer; 2] = [
    Peer { name: "Dramatiq", module: "dramatiq", script: "dramatiq_peer.py", tasks: 4_000 },
    Peer { name: "Celery", module: "celery", script: "celery_peer.py", tasks: 1_000 },
];

/// No-op tasks through each peer, on a Redis without persistence as Muster's own.
pub(crate) fn peers(round: &mut Round<'_>) -> anyhow::Result<()> {
    const ROW: &str = "other queues, no-op tasks, same Redis settings";
    for peer in PEERS {
        if !peer.is_installed() {
            eprintln!("{} is not installed, and was not measured", peer.name);
            continue;
        }
        let server = Server::start(Durability::Process, &[])?;
        let figures = peer.measure(&server, round.sized(20, peer.tasks))?;
        server.stop()?;
        let lines = [("end_to_end", "/s"), ("drain", "/s"), ("p50", "ms"), ("p99", "ms")];
        for (what, unit) in lines {
            if let Some(value) = figures[what].as_f64() {
                round.add(ROW, &format!("{}: {}", peer.name, what.replace('_', " ")), unit, Goal::Shown, value);
            }
        }
    }
    Ok(())
}

impl Peer {
    fn is_installed(&self) -> bool {
        let import = format!("import {}, redis", self.module);
        let tried = Command::new(python()).args(["-c", &import]).stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    }

    fn measure(&self, server: &Server, tasks: usize) -> anyhow::Result<Value> {
        let script = format!("{}/benches/peers/{}", env!("CARGO_MANIFEST_DIR"), self.script);
        let mut command = Command::new(python());
        command.arg(script).arg(tasks.to_string()).env("PEER_SOCKET", server.redis());
        let output = command.env("PYTHONDONTWRITEBYTECODE", "1").output().with_context(|| self.name)?;
        anyhow::ensure!(output.status.success(), "{}: {}", self.name, String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).with_context(|| format!("{} said no JSON", self.name))
    }
}

fn python() -> String {
    std::env::var("MUSTER_BENCH_PYTHON").unwrap_or_else(|_| "python3".to_owned())
}
