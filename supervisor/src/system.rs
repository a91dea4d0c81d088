//! The handle's calls about the supervisor itself: its figures, and a check of the whole installation.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use muster_domain::{Command, Envelope, Executions, PoolName, ProcessId, WorkerState};
use muster_registry::CommandPost;

use crate::alerts::Alert;
use crate::handle::{Handle, read};
use crate::keeper::Keeper;
use crate::view::{CheckLine, HealthView, HeldPool, PoolView, ReachView, SystemView, WorkerView};

/// How long a probe is waited for, and the answer of a part of this supervisor.
const PATIENCE: Duration = Duration::from_secs(2);

/// Open files that a supervisor of some size needs: two connections and one hold a worker, and those of the callers.
const ENOUGH_FILES: u64 = 4_096;

impl Handle {
    /// What is known of the supervisor's health: nobody is asked, and nothing is waited for.
    pub fn health(&self) -> HealthView {
        HealthView {
            mode: self.facts.mode,
            mode_reason: self.facts.mode_reason.clone(),
            degraded: self.context.board.read(),
            alerts: self.context.alerts.firing(),
        }
    }

    /// The supervisor's figures, and whether the registry and the store answer. Within about 2 s, whatever is away.
    pub async fn system(&self) -> SystemView {
        let (registry, store) = (self.context.registry.ping(), self.context.store.ping());
        let ((pools, silent), registry, store) = tokio::join!(self.pools_in_time(), reach(registry), reach(store));
        // A database that was taken away, or written over, answers for as long as it is open.
        let store = self.context.board.store_broken().map_or(store, Err);
        let (spawns, spawns_succeeded, spawns_failed) = self.context.counters.read();
        let facts = &self.facts;
        let health = self.health();
        let uncounted = format!("pools: {} did not answer in time and are not counted", silent.join(", "));
        let uncounted = Some(uncounted).filter(|_| !silent.is_empty());
        SystemView {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            mode: health.mode,
            mode_reason: health.mode_reason,
            fence: self.context.fence,
            address: facts.address.clone(),
            leads_since: facts.leads_since,
            registry_address: facts.registry_address.clone(),
            registry: ReachView::new("registry", registry),
            store_description: self.context.store.describe(),
            store: ReachView::new("store", store),
            ownership: facts.ownership.clone(),
            data_dir: self.context.settings.data_dir.display().to_string(),
            uptime: facts.started.elapsed(),
            degraded: health.degraded.into_iter().chain(uncounted).collect(),
            paused: self.context.all_paused.load(Ordering::Relaxed),
            alerts_firing: health.alerts.len(),
            alerts: health.alerts,
            pools: u32::try_from(pools.len()).unwrap_or(u32::MAX),
            workers: pools.iter().map(|pool| pool.process_count).sum(),
            outdated_workers: pools.iter().map(|pool| pool.outdated_workers).sum(),
            agents: pools.iter().map(|pool| pool.agent_count).sum(),
            spawns,
            spawns_succeeded,
            spawns_failed,
            held_pools: pools.into_iter().filter(|pool| pool.holds.is_held()).map(HeldPool::from).collect(),
        }
    }

    /// The pools whose keepers answer in time, and the names of the others: a keeper may be in the middle of a commit.
    async fn pools_in_time(&self) -> (Vec<PoolView>, Vec<String>) {
        let asked = self.context.directory.all().into_iter().map(|(name, keeper)| async move {
            let view = tokio::time::timeout(PATIENCE, read(&keeper, Keeper::view_pool)).await;
            view.map_err(|_| name.to_string())
        });
        let (mut views, mut silent) = (Vec::new(), Vec::new());
        for answer in join_all(asked).await {
            match answer {
                // One that ends meanwhile is a pool that is gone.
                Ok(view) => views.extend(view),
                Err(name) => silent.push(name),
            }
        }
        (views, silent)
    }

    /// Attempts at tasks that are over, whichever supervisor led.
    pub async fn executions(&self) -> Executions {
        self.context.counters.executions(self.context.store.as_ref()).await
    }

    /// Says that the supervisor is less than it should be, for a reason that only its starter knows.
    pub fn degrade(&self, subject: &'static str, reason: String) {
        self.context.board.degrade(subject, reason);
    }

    /// Has the supervisor give up its lead, so that whoever started it starts it anew.
    pub fn start_over(&self) {
        self.context.fenced.cancel();
    }

    /// What needs a person, or did: the alerts that are kept, the newest first.
    pub fn alerts(&self) -> Vec<Alert> {
        self.context.alerts.list()
    }

    /// Sends a probe to one worker of each pool that has a ready one, and waits for its answer.
    pub async fn canaries(&self) -> Vec<(PoolName, Result<Duration, String>)> {
        let mut workers = self.workers(None).await.unwrap_or_default();
        workers.retain(|worker| worker.status == WorkerState::Ready);
        workers.sort_by(|a, b| a.pool_name.cmp(&b.pool_name));
        workers.dedup_by(|a, b| a.pool_name == b.pool_name);
        let probes = workers.into_iter().map(|worker| async move {
            let answer = self.probe(worker.process_id).await;
            (worker.pool_name, answer)
        });
        join_all(probes).await
    }

    async fn probe(&self, worker: ProcessId) -> Result<Duration, String> {
        self.context.probes.send(self.context.bus.as_ref(), self.context.fence, worker, PATIENCE).await
    }

    /// Checks the whole installation, one line a part.
    pub async fn check(&self) -> Vec<CheckLine> {
        let mut lines = vec![check_open_files(), self.check_ownership()];
        lines.push(self.check_registry().await);
        lines.push(self.check_round_trip().await);
        lines.push(self.check_store().await);
        lines.push(self.check_data_folder());
        lines.push(self.check_leader().await);
        let workers = self.workers(None).await.unwrap_or_default();
        lines.extend(join_all(workers.into_iter().map(|worker| self.check_worker(worker))).await);
        lines
    }

    fn check_ownership(&self) -> CheckLine {
        let detail = self.facts.ownership.clone();
        CheckLine { name: "ownership".to_owned(), ok: true, took: Duration::ZERO, detail, remedy: None }
    }

    async fn check_registry(&self) -> CheckLine {
        let begun = Instant::now();
        let result = self
            .context
            .registry
            .examine()
            .await
            .map(|()| "it answers, and gives every right that is needed".to_owned());
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
        let mut commands = self.context.bus.commands(me).await.map_err(|error| error.to_string())?;
        let envelope = Envelope::new(self.context.fence, Command::Probe);
        let begun = Instant::now();
        self.context.bus.send(&[], &[(me, envelope.clone())]).await.map_err(|error| error.to_string())?;
        while let Some(post) = commands.recv().await {
            if matches!(&post, CommandPost::Command(heard) if heard.id == envelope.id) {
                return Ok(format!("a message came back after {:.2} ms", begun.elapsed().as_secs_f64() * 1e3));
            }
        }
        Err("the subscription ended".to_owned())
    }

    async fn check_store(&self) -> CheckLine {
        let begun = Instant::now();
        if let Some(broken) = self.context.board.store_broken() {
            return line("store", begun, Err(broken), "do what is said there: nothing new is taken until then");
        }
        let result = self.context.store.ping().await.map(|_| self.context.store.describe());
        match (result, self.context.store.warning()) {
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
        let found =
            self.context.board.folder_broken().map_or(Ok(self.context.settings.data_dir.display().to_string()), Err);
        line("data folder", Instant::now(), found, "do what is said there: no worker starts until then")
    }

    async fn check_leader(&self) -> CheckLine {
        let begun = Instant::now();
        let renewed = self.context.store.renew(self.context.fence, self.context.settings.clocks.lease).await;
        let words = || format!("this supervisor leads with fence {}", self.context.fence);
        line(
            "leader",
            begun,
            renewed.map(|()| words()).map_err(|error| error.to_string()),
            "ask the supervisor that leads",
        )
    }

    async fn check_worker(&self, worker: WorkerView) -> CheckLine {
        let begun = Instant::now();
        let answer = self.probe(worker.process_id).await.map(|_| format!("{} answers commands", worker.pool_name));
        let name = format!("worker {}", worker.process_id);
        line(
            &name,
            begun,
            answer,
            "its log is in the data folder under logs/workers; a worker that hangs is replaced by itself",
        )
    }
}

/// Whether something answers in time.
async fn reach<E: std::fmt::Display>(ping: impl Future<Output = Result<Duration, E>>) -> Result<Duration, String> {
    match tokio::time::timeout(PATIENCE, ping).await {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(_) => Err(format!("no answer within {} s", PATIENCE.as_secs())),
    }
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

async fn join_all<T>(tasks: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    futures_util::future::join_all(tasks).await
}
