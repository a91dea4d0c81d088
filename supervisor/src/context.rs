//! What every part of the supervisor shares.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use muster_domain::{Clocks, Executions, Fence, PoolName, RegistryTarget, RuntimeProfile, Timestamp};
use muster_registry::{Bus, Registry};
use muster_store::{AgentRow, PoolRow, Store, StoreError, WorkerRow, Write, WriteOutcome};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::accounts::Accounts;
use crate::alerts::Alerts;
use crate::clock::{self, StepGauge, WallClock};
use crate::command_sender::CommandSender;
use crate::directory::{Directory, Mailbox};
use crate::error::SupervisorError;
use crate::events::RecentEvents;
use crate::health_board::HealthBoard;
use crate::heartbeat_reader::HeartbeatReader;
use crate::keeper::tasks::PoolTasksDeps;
use crate::keeper::{PoolAgentsDeps, PoolWorkersDeps};
use crate::launch::Launchers;
use crate::probes::Probes;
use crate::prometheus::{SpawnOutcome, families};
use crate::quotas::Quotas;
use crate::sampling::loads::LatestLoads;
use crate::sampling::recent::RecentUse;

/// What a supervisor and its workers go by.
#[derive(Clone)]
pub struct Settings {
    /// The durations in force.
    pub clocks: Clocks,
    /// What time it is for people.
    pub wall: WallClock,
    /// The runtime profiles, by name.
    pub profiles: BTreeMap<String, RuntimeProfile>,
    /// The skip phrase of pools that name none.
    pub skip_phrase: Option<String>,
    /// Where workers find the registry.
    pub worker_registry: RegistryTarget,
    /// The data folder.
    pub data_dir: PathBuf,
    /// How often metrics are stored; none where they are not collected.
    pub metrics_interval: Option<Duration>,
    /// Whether the policies of pools decide anything.
    pub autoscaler: bool,
    /// The file whose lock this process holds.
    pub lock_file: PathBuf,
}

impl Settings {
    /// For how long agents are placed by what was measured: until two looks in a row have not come. None where nothing is measured.
    pub(crate) fn loads_last(&self) -> Option<Duration> {
        self.metrics_interval.map(|interval| interval.saturating_mul(2))
    }
}

pub(crate) struct Context {
    pub(crate) fence: Fence,
    pub(crate) store: Arc<dyn Store>,
    pub(crate) registry: Arc<dyn Registry>,
    pub(crate) bus: Arc<dyn Bus>,
    pub(crate) launchers: Launchers,
    pub(crate) settings: Arc<Settings>,
    /// The clock as it was when this lead began.
    pub(crate) gauge: OnceLock<StepGauge>,
    pub(crate) messages: Messages,
    pub(crate) directory: Directory,
    pub(crate) limits: Limits,
    pub(crate) reporting: Reporting,
    /// Cancelled when another leader was met, or this one has ended: nothing is done under this fence any more.
    pub(crate) fenced: CancellationToken,
}

/// What goes to the workers and comes from them.
pub(crate) struct Messages {
    pub(crate) command_sender: Arc<CommandSender>,
    pub(crate) listener: HeartbeatReader,
    pub(crate) probes: Probes,
}

/// What may be used, and what was.
pub(crate) struct Limits {
    pub(crate) quotas: Arc<Quotas>,
    pub(crate) accounts: Arc<Accounts>,
}

/// What is said to people.
pub(crate) struct Reporting {
    pub(crate) health: Arc<HealthBoard>,
    pub(crate) alerts: Arc<Alerts>,
    pub(crate) counters: Arc<Counters>,
    /// What workers and agents have used lately.
    pub(crate) recent_use: RecentUse,
    /// What workers used at the latest look.
    pub(crate) loads: LatestLoads,
    /// Rises whenever there may be new events.
    pub(crate) events: watch::Sender<u64>,
    pub(crate) recent: RecentEvents,
}

impl Context {
    /// Commits a batch under this leader's fence, and keeps the health board true.
    pub(crate) async fn apply(&self, writes: &[Write]) -> Result<Vec<WriteOutcome>, SupervisorError> {
        if self.fenced.is_cancelled() {
            return Err(SupervisorError::unavailable("another supervisor leads".to_owned()));
        }
        let begun = clock::now();
        match self.store.apply(self.fence, writes).await {
            Ok(outcomes) => {
                self.reporting.health.commit_took(begun, clock::now());
                self.reporting.health.store_succeeded(writes);
                if writes.iter().any(|write| matches!(write, Write::Event(_))) {
                    self.reporting.events.send_modify(|count| *count += 1);
                }
                Ok(outcomes)
            }
            Err(error) => Err(self.writes_failed(writes, &error)),
        }
    }

    /// What the agents of a pool need.
    pub(crate) fn of_agents(&self) -> PoolAgentsDeps {
        PoolAgentsDeps {
            fence: self.fence,
            resend: self.settings.clocks.resend,
            counters: self.reporting.counters.clone(),
            alerts: self.reporting.alerts.clone(),
        }
    }

    /// What the workers of a pool need.
    pub(crate) fn of_workers(&self, keeper: Mailbox) -> PoolWorkersDeps {
        PoolWorkersDeps {
            fence: self.fence,
            settings: self.settings.clone(),
            launchers: self.launchers.clone(),
            alerts: self.reporting.alerts.clone(),
            bus: self.bus.clone(),
            listener: self.messages.listener.clone(),
            command_sender: self.messages.command_sender.clone(),
            health: self.reporting.health.clone(),
            fenced: self.fenced.clone(),
            keeper,
        }
    }

    /// What the tasks of a pool need.
    pub(crate) fn of_tasks(&self) -> PoolTasksDeps {
        PoolTasksDeps {
            store: self.store.clone(),
            quotas: self.limits.quotas.clone(),
            accounts: self.limits.accounts.clone(),
            alerts: self.reporting.alerts.clone(),
            all_paused: self.directory.all_paused.clone(),
            fence: self.fence,
            resend: self.settings.clocks.resend,
            pass: self.settings.clocks.pass,
        }
    }

    /// Lets nothing have ended after this moment.
    pub(crate) async fn bring_back(&self, to: Timestamp) -> Result<(), SupervisorError> {
        self.store.bring_back(self.fence, to).await.map_err(|error| self.store_failed(&error))
    }

    /// Something could not be read.
    pub(crate) fn store_failed(&self, error: &StoreError) -> SupervisorError {
        self.writes_failed(&[], error)
    }

    fn writes_failed(&self, writes: &[Write], error: &StoreError) -> SupervisorError {
        match error {
            StoreError::Fenced { .. } => {
                tracing::error!(%error, "this supervisor is fenced off and changes nothing any more");
                self.fenced.cancel();
            }
            // The store is well: it is what it was asked to keep that it can't.
            StoreError::Refused(why) => return SupervisorError::unstorable(why),
            _ => self.reporting.health.store_failed(writes, error, clock::now()),
        }
        SupervisorError::unavailable(error.to_string())
    }

    pub(crate) async fn pool(&self, pool: &PoolName) -> Result<Option<PoolRow>, SupervisorError> {
        let rows = self.store.pools().await.map_err(|error| self.store_failed(&error))?;
        Ok(rows.into_iter().find(|row| row.spec.pool_name == *pool))
    }

    pub(crate) async fn live_agents(&self, pool: &PoolName) -> Result<Vec<AgentRow>, SupervisorError> {
        let rows = self.store.live_agents().await.map_err(|error| self.store_failed(&error))?;
        Ok(rows.into_iter().filter(|row| row.spec.pool_name == *pool).collect())
    }

    pub(crate) async fn open_workers(&self, pool: &PoolName) -> Result<Vec<WorkerRow>, SupervisorError> {
        let rows = self.store.open_workers().await.map_err(|error| self.store_failed(&error))?;
        Ok(rows.into_iter().filter(|row| row.pool_name == *pool).collect())
    }
}

impl SupervisorError {
    /// Something is away; callers may try again soon.
    pub(crate) const fn unavailable(what: String) -> Self {
        Self::Unavailable { what, retry_after: Duration::from_secs(1), by_hand: false }
    }

    /// Something is away until a person brings it back. Callers may ask again all the same, and are told when that was done.
    pub(crate) const fn unavailable_until_mended(what: String) -> Self {
        Self::Unavailable { what, retry_after: Duration::from_secs(1), by_hand: true }
    }

    /// A value of the request can't be stored, now or later.
    pub(crate) fn unstorable(why: &dyn std::fmt::Display) -> Self {
        Self::Invalid(format!("a value of this can't be stored ({why})"))
    }
}

/// What is counted for people: spawns since this supervisor leads, and attempts at tasks.
// Spawns are counted twice, since two readers count from two beginnings: the API's figures are since this supervisor leads, and end
// with its lead; those of `/metrics` are since the process began, and a scraper takes a fall for a new process.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    spawns: AtomicU64,
    succeeded: AtomicU64,
    failed: AtomicU64,
    /// Attempts at tasks, as the store said them last.
    executions: Mutex<Executions>,
}

impl Counters {
    pub(crate) fn spawn_asked(&self) {
        metrics::counter!(families::SPAWN_REQUESTS.name).increment(1);
        self.spawns.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn spawn_succeeded(&self) {
        metrics::counter!(families::SPAWNS.name, "outcome" => SpawnOutcome::Succeeded.as_str()).increment(1);
        self.succeeded.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn spawn_failed(&self) {
        metrics::counter!(families::SPAWNS.name, "outcome" => SpawnOutcome::Failed.as_str()).increment(1);
        self.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Attempts at tasks that are over, since the store was made. Where it does not answer: as it said them last.
    pub(crate) async fn executions(&self, store: &dyn Store) -> Executions {
        let read = store.executions().await;
        let mut known = self.executions.lock().unwrap_or_else(PoisonError::into_inner);
        *known = read.unwrap_or(*known);
        *known
    }

    /// Asked for, succeeded, failed.
    pub(crate) fn read(&self) -> (u64, u64, u64) {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.spawns), read(&self.succeeded), read(&self.failed))
    }
}
