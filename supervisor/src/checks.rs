//! A check of the whole installation.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use muster_domain::{Command, Envelope, ProcessId};
use muster_registry::CommandDelivery;

use crate::probes::PATIENCE;
use crate::system::System;
use crate::view::{CheckLine, WorkerView};
use crate::workers::Workers;

/// Open files that a supervisor of some size needs: two connections and one hold a worker, and those of the callers.
const ENOUGH_FILES: u64 = 4_096;

impl System {
    /// Checks the whole installation, one line a part.
    pub async fn check(&self) -> Vec<CheckLine> {
        let mut lines = vec![check_open_files(), self.check_ownership()];
        lines.push(self.check_registry().await);
        lines.push(self.check_round_trip().await);
        lines.push(self.check_store().await);
        lines.push(self.check_data_folder());
        lines.push(self.check_leader().await);
        let workers = Workers { context: self.handle.context.clone(), principal: self.principal.clone() };
        let found = workers.list(None).await.unwrap_or_default();
        lines.extend(join_all(found.into_iter().map(|worker| check_worker(&workers, worker))).await);
        lines
    }

    fn check_ownership(&self) -> CheckLine {
        let detail = self.handle.facts.ownership.clone();
        CheckLine { name: "ownership".to_owned(), ok: true, took: Duration::ZERO, detail, remedy: None }
    }

    async fn check_registry(&self) -> CheckLine {
        let begun = Instant::now();
        let result = self.handle.context.registry.examine().await;
        let result = result.map(|()| "it answers, and gives every right that is needed".to_owned());
        let remedy = "start Redis, correct redis.url, or give its user the rights that are named";
        line("registry", begun, result.map_err(|error| error.to_string()), remedy)
    }

    /// Subscribes as a worker would, sends itself a command and waits for it.
    async fn check_round_trip(&self) -> CheckLine {
        let begun = Instant::now();
        let result = tokio::time::timeout(PATIENCE, self.round_trip()).await;
        let result = result.unwrap_or_else(|_| Err(format!("no message came within {} s", PATIENCE.as_secs())));
        line("pub/sub", begun, result, "see that nothing between here and Redis drops idle connections")
    }

    async fn round_trip(&self) -> Result<String, String> {
        let me = ProcessId::generate();
        let mut commands = self.handle.context.bus.commands(me).await.map_err(|error| error.to_string())?;
        let envelope = Envelope::new(self.handle.context.fence, Command::Probe);
        let begun = Instant::now();
        self.handle.context.bus.send(&[], &[(me, envelope.clone())]).await.map_err(|error| error.to_string())?;
        while let Some(delivery) = commands.recv().await {
            if matches!(&delivery, CommandDelivery::Command(heard) if heard.id == envelope.id) {
                return Ok(format!("a message came back after {:.2} ms", begun.elapsed().as_secs_f64() * 1e3));
            }
        }
        Err("the subscription ended".to_owned())
    }

    async fn check_store(&self) -> CheckLine {
        let begun = Instant::now();
        if let Some(broken) = self.handle.context.reporting.health.store_broken() {
            return line("store", begun, Err(broken), "do what is said there: nothing new is taken until then");
        }
        let result = self.handle.context.store.ping().await.map(|_| self.handle.context.store.describe());
        match (result, self.handle.context.store.warning()) {
            (Ok(_), Some(warning)) => {
                let remedy = "make a database with ENCODING 'UTF8' and move the data there with pg_dump";
                line("store", begun, Err(warning), remedy)
            }
            (result, _) => {
                let result = result.map_err(|error| error.to_string());
                line("store", begun, result, "see that the database runs and its disk has room")
            }
        }
    }

    fn check_data_folder(&self) -> CheckLine {
        let found = self
            .handle
            .context
            .reporting
            .health
            .folder_broken()
            .map_or(Ok(self.handle.context.settings.data_dir.display().to_string()), Err);
        line("data folder", Instant::now(), found, "do what is said there: no worker starts until then")
    }

    async fn check_leader(&self) -> CheckLine {
        let begun = Instant::now();
        let renewed =
            self.handle.context.store.renew(self.handle.context.fence, self.handle.context.settings.clocks.lease).await;
        let words = || format!("this supervisor leads with fence {}", self.handle.context.fence);
        line(
            "leader",
            begun,
            renewed.map(|()| words()).map_err(|error| error.to_string()),
            "ask the supervisor that leads",
        )
    }
}

async fn check_worker(workers: &Workers, worker: WorkerView) -> CheckLine {
    let begun = Instant::now();
    let answer = workers.probe(worker.process_id).await.map(|_| format!("{} answers commands", worker.pool_name));
    let name = format!("worker {}", worker.process_id);
    line(
        &name,
        begun,
        answer,
        "its log is in the data folder under logs/workers; a worker that hangs is replaced by itself",
    )
}

fn check_open_files() -> CheckLine {
    let begun = Instant::now();
    let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE);
    let result = match limit {
        Ok((soft, _)) if soft >= ENOUGH_FILES => Ok(format!("{soft} files may be open")),
        Ok((soft, hard)) => Err(format!("only {soft} files may be open (the hard limit is {hard})")),
        Err(error) => Err(error.to_string()),
    };
    line("open files", begun, result, "raise the limit: ulimit -n 20000, or LimitNOFILE= of the service")
}

fn line(name: &str, begun: Instant, result: Result<String, String>, remedy: &str) -> CheckLine {
    let (name, took, ok) = (name.to_owned(), begun.elapsed(), result.is_ok());
    let remedy = (!ok).then(|| remedy.to_owned());
    let detail = match result {
        Ok(detail) | Err(detail) => detail,
    };
    CheckLine { name, ok, took, detail, remedy }
}
