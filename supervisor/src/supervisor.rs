//! One life as the leader: from the start, which makes a model of what the store and the hosts say, to the shutdown.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use muster_domain::budget::Budgets;
use muster_domain::{
    EventDraft, EventKind, Fence, Intent, PoolName, PoolSpec, ProcessId, RuntimeProfile, Tenants, Timestamp,
};
use muster_registry::{Bus, LeaderMirror, Registry};
use muster_store::{AgentRow, PoolRow, Store, WorkerRow, Write};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::accounts::Accounts;
use crate::alerts::{self, AlertParts, Alerts, Webhook};
use crate::autoscaler;
use crate::bootstrap;
use crate::command_sender::CommandSender;
use crate::context::{Context, Limits, Messages, Reporting, Settings};
use crate::directory::Directory;
use crate::error::SupervisorError;
use crate::events::RecentEvents;
use crate::handle::{Handle, StopWish};
use crate::health_board::HealthBoard;
use crate::heartbeat_reader::{HeartbeatLoop, HeartbeatReader};
use crate::host::{self, HostCheck};
use crate::keeper::FoundWorker;
use crate::keeper::mailbox::KeeperMessage;
use crate::launch::{Adoption, Launchers};
use crate::lifetime::Lifetime;
use crate::pools::open;
use crate::probes::Probes;
use crate::quotas::Quotas;
use crate::sampling::collector as metrics_collector;
use crate::sampling::loads::LatestLoads;
use crate::sampling::recent::RecentUse;
use crate::task_set::TaskSet;
use crate::view::Mode;
use crate::{leadership, pruner, report_reader, sweeper};

/// What a supervisor is made of.
pub struct Parts {
    /// The fence under which it leads.
    pub fence: Fence,
    /// The truth.
    pub store: Arc<dyn Store>,
    /// What is seen.
    pub registry: Arc<dyn Registry>,
    /// The way of commands to workers and of reports back.
    pub bus: Arc<dyn Bus>,
    /// The hands.
    pub launchers: Launchers,
    /// What it goes by, and its workers.
    pub settings: Settings,
    /// The pools of the configuration. A store without any pool gets the default ones where there are none.
    pub file_pools: Vec<PoolSpec>,
    /// What tenants may do.
    pub tenants: Tenants,
    /// What may be used.
    pub budgets: Budgets,
    /// Where alerts go.
    pub alerts: AlertParts,
    /// What is looked at beside it.
    pub host: Vec<Arc<dyn HostCheck>>,
    /// What it says about itself.
    pub facts: SupervisorFacts,
}

/// What a supervisor says about itself.
#[derive(Clone, Debug)]
pub struct SupervisorFacts {
    /// How it runs.
    pub mode: Mode,
    /// Why it runs so.
    pub mode_reason: String,
    /// Its HTTP address.
    pub address: String,
    /// Where the registry is, without secrets.
    pub registry_address: Option<String>,
    /// How process trees are owned.
    pub ownership: String,
    /// Whether that proves anything against a program that hides.
    pub ownership_proves: bool,
    /// Since when it leads.
    pub leads_since: Timestamp,
    /// When this process began.
    pub started: Instant,
}

/// A supervisor that leads.
pub struct Supervisor {
    handle: Handle,
    task_set: TaskSet,
    wish: watch::Receiver<Option<StopWish>>,
}

/// Why a supervisor's lead ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeadEnd {
    /// Somebody asked it to stop.
    Asked(StopWish),
    /// Another one leads, or a part of it failed: it must not go on.
    Fenced,
}

impl Supervisor {
    /// Reads the truth, finds the workers that live, and starts a keeper for every pool.
    ///
    /// In a box, as what ends it is: whoever awaits the future itself compiles all that it starts.
    pub fn start(parts: Parts) -> BoxFuture<'static, Result<Self, SupervisorError>> {
        Box::pin(Self::begin(parts))
    }

    async fn begin(parts: Parts) -> Result<Self, SupervisorError> {
        let (told, health_events) = mpsc::unbounded_channel();
        let mut task_set = TaskSet::default();
        let fenced = CancellationToken::new();
        let command_sender =
            CommandSender::start(parts.registry.clone(), parts.bus.clone(), fenced.clone(), &mut task_set);
        let context = Arc::new(make_context(&parts, command_sender, fenced, told));
        let facts = Arc::new(parts.facts);
        let lifetime = Lifetime::begin(&context).await?;
        bootstrap::bootstrap_pools(&context, &parts.file_pools).await?;
        open_pools(&context, facts.mode).await?;
        let mirror = mirror_of(&facts, context.fence);
        task_set.spawn("events", write_events(context.clone(), health_events));
        task_set.spawn("listener", listen(context.clone()));
        task_set.spawn("report reader", report_reader::run(context.clone()));
        task_set.spawn("leadership", leadership::run(context.clone(), mirror));
        task_set.spawn("lifetime", lifetime.run(context.clone()));
        task_set.spawn("pruner", pruner::run(context.clone()));
        if let Some(interval) = context.settings.metrics_interval {
            task_set.spawn("metrics collector", metrics_collector::run(context.clone(), interval));
        }
        if context.settings.autoscaler {
            task_set.spawn("autoscaler", autoscaler::run(context.clone()));
        }
        task_set.spawn("alerts", tell_alerts(context.clone(), parts.alerts.webhook));
        task_set.spawn("sweeper", sweeper::run(context.clone()));
        task_set.spawn("host", host::watch(context.clone(), parts.host));
        task_set.spawn("registry clearing", bootstrap::clear_registry(context.clone()));
        if !facts.ownership_proves {
            context.reporting.health.degrade("ownership", facts.ownership.clone());
        }
        if let Some(warning) = context.store.warning() {
            context.reporting.health.degrade("database", warning);
        }
        let (stop, wish) = watch::channel(None);
        let handle = Handle { context, facts, stop, closing: CancellationToken::new() };
        Ok(Self { handle, task_set, wish })
    }

    /// The way to ask it.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Resolves when it is to end: somebody asked, another one leads, or one of its own tasks is gone.
    pub async fn ended(&mut self) -> LeadEnd {
        tokio::select! {
            // First: tasks that end because of it are no news.
            biased;
            () = self.handle.context.fenced.cancelled() => LeadEnd::Fenced,
            leaver = self.task_set.leaver() => {
                tracing::error!(task = leaver.name, how = leaver.how, "a task of this supervisor is gone; it gives up its lead");
                self.handle.context.fenced.cancel();
                LeadEnd::Fenced
            }
            wish = self.wish.wait_for(Option::is_some) => {
                let wish = wish.ok().and_then(|wish| *wish).unwrap_or(StopWish { keep_workers: false });
                LeadEnd::Asked(wish)
            }
        }
    }

    /// Ends it in order: intake, then workers (asked, killed when `hurry` says so or their time is over), then its own
    /// parts, then the lead. Whoever leads next finds nothing open.
    pub fn shut_down(self, end: LeadEnd, hurry: CancellationToken) -> BoxFuture<'static, ()> {
        Box::pin(self.finish(end, hurry))
    }

    async fn finish(self, end: LeadEnd, hurry: CancellationToken) {
        let context = self.handle.context.clone();
        self.handle.closing.cancel();
        if let LeadEnd::Asked(StopWish { keep_workers: false }) = end {
            stop_workers(&context, hurry.clone()).await;
        }
        // From here on nobody acts under this fence, so that whoever leads next is alone.
        context.fenced.cancel();
        self.task_set.dismiss().await;
        if matches!(end, LeadEnd::Asked(_)) {
            // Nobody else leads yet whose word it could contradict.
            tokio::select! {
                biased;
                () = context.messages.command_sender.flush() => {}
                () = hurry.cancelled() => {}
            }
        }
        leave_workers(&context, end, hurry).await;
        // Where another one leads this changes nothing; where a part of this one failed, nobody need wait for the lease.
        let failed = match tokio::time::timeout(GRACE, context.store.resign(context.fence)).await {
            Ok(resigned) => resigned.err().map(|error| error.to_string()),
            Err(_) => Some("the store does not answer".to_owned()),
        };
        if let Some(error) = failed {
            tracing::warn!(error, "the lead was not given back; the next supervisor waits for the lease");
        }
        tracing::info!("the supervisor has ended");
    }
}

fn make_context(
    parts: &Parts,
    command_sender: CommandSender,
    fenced: CancellationToken,
    told: mpsc::UnboundedSender<EventDraft>,
) -> Context {
    let alerts = Arc::new(Alerts::new(&parts.alerts, parts.settings.wall.clone()));
    Context {
        fence: parts.fence,
        store: parts.store.clone(),
        registry: parts.registry.clone(),
        bus: parts.bus.clone(),
        launchers: parts.launchers.clone(),
        settings: Arc::new(parts.settings.clone()),
        gauge: OnceLock::new(),
        messages: Messages {
            command_sender: Arc::new(command_sender),
            listener: HeartbeatReader::default(),
            probes: Probes::default(),
        },
        directory: Directory::default(),
        limits: Limits {
            quotas: Arc::new(Quotas::new(parts.tenants.clone())),
            accounts: Arc::new(Accounts::new(parts.budgets.clone())),
        },
        reporting: Reporting {
            health: Arc::new(HealthBoard::new(told, alerts.clone(), parts.settings.wall.clone())),
            alerts,
            counters: Arc::default(),
            recent_use: RecentUse::default(),
            loads: LatestLoads::default(),
            events: watch::Sender::new(0),
            recent: RecentEvents::default(),
        },
        fenced,
    }
}

async fn open_pools(context: &Arc<Context>, mode: Mode) -> Result<(), SupervisorError> {
    let failed = |error| context.store_failed(&error);
    let pools: Vec<PoolRow> = context.store.pools().await.map_err(failed)?;
    context.limits.accounts.load(context.store.as_ref()).await.map_err(failed)?;
    // Kept for the time when the store is away.
    context.reporting.counters.executions(context.store.as_ref()).await;
    context.directory.all_paused.store(context.store.all_paused().await.map_err(failed)?, Ordering::Relaxed);
    let mut workers: HashMap<PoolName, Vec<FoundWorker>> = HashMap::new();
    for found in find_workers(context, context.store.open_workers().await.map_err(failed)?).await {
        workers.entry(found.row.pool_name.clone()).or_default().push(found);
    }
    let mut agents: HashMap<PoolName, Vec<_>> = HashMap::new();
    for row in context.store.live_agents().await.map_err(failed)? {
        agents.entry(row.spec.pool_name.clone()).or_default().push(row);
    }
    let (adopted, again) = to_restore(&workers, &agents);
    for pool in pools {
        let name = pool.spec.pool_name.clone();
        let (workers, agents) = (workers.remove(&name).unwrap_or_default(), agents.remove(&name).unwrap_or_default());
        tracing::info!(
            pool.name = %name,
            pool.role = pool.spec.role_type,
            mode = mode.as_str(),
            runtime = pool.spec.runtime,
            max_agents = pool.spec.config.max_agents,
            workers = workers.len(),
            "pool"
        );
        open(context, pool, agents, workers);
    }
    tracing::info!("agents to restore: {adopted} run still and are adopted, {again} are started again");
    Ok(())
}

/// What the former supervisor left: how many agents run still, and how many are to be started again.
fn to_restore(
    workers: &HashMap<PoolName, Vec<FoundWorker>>,
    agents: &HashMap<PoolName, Vec<AgentRow>>,
) -> (usize, usize) {
    let lives = |found: &&FoundWorker| !matches!(found.adoption, Ok(Adoption::Ended(_)));
    let held: HashSet<ProcessId> = workers.values().flatten().filter(lives).map(|found| found.row.process_id).collect();
    let is_held = |row: &&AgentRow| row.assignment.as_ref().is_some_and(|place| held.contains(&place.process_id));
    let rows = || agents.values().flatten();
    let adopted = rows().filter(is_held).count();
    // One in quarantine waits for a person.
    let again = rows().filter(|row| row.intent == Intent::Run && row.final_state.is_none() && !is_held(row)).count();
    (adopted, again)
}

/// Looks for the processes behind the open rows, all at once.
async fn find_workers(context: &Arc<Context>, rows: Vec<WorkerRow>) -> Vec<FoundWorker> {
    let searches = rows.into_iter().map(|row| async move {
        let adoption = context.launchers.find(&row).await;
        if let Err(error) = &adoption {
            tracing::error!(process.id = %row.process_id, %error, "a worker can't be looked for; it is tried again");
        }
        FoundWorker { row, adoption }
    });
    futures_util::future::join_all(searches).await
}

fn mirror_of(facts: &SupervisorFacts, fence: Fence) -> LeaderMirror {
    let host = nix::unistd::gethostname().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    LeaderMirror { fence, address: facts.address.clone(), host, pid: std::process::id(), since: facts.leads_since }
}

async fn listen(context: Arc<Context>) {
    let (listener, registry) = (context.messages.listener.clone(), context.registry.clone());
    HeartbeatLoop::new(listener, registry, context.settings.clocks.clone(), context.settings.wall.clone())
        .run(context)
        .await;
}

async fn tell_alerts(context: Arc<Context>, webhook: Option<Webhook>) {
    let alerts = context.reporting.alerts.clone();
    let told = move |away| match away {
        Some(reason) => context.reporting.health.degrade("webhook", reason),
        None => context.reporting.health.recover("webhook"),
    };
    alerts::run(alerts, webhook, told).await;
}

/// Writes what the health board tells, where the store can take it.
async fn write_events(context: Arc<Context>, mut events: mpsc::UnboundedReceiver<EventDraft>) {
    let mut next = Some(EventDraft {
        at: context.settings.wall.now(),
        kind: EventKind::SupervisorLeads,
        pool_name: None,
        agent_id: None,
        process_id: None,
        reason: format!("fence {}", context.fence),
    });
    while let Some(event) = next {
        // A failure is on the board already; an event about it can't be stored where nothing can.
        let _ = context.store.apply(context.fence, &[Write::Event(event)]).await;
        context.reporting.events.send_modify(|count| *count += 1);
        next = events.recv().await;
    }
}

/// The last words of a worker, after its agents' deadlines.
const GRACE: Duration = Duration::from_secs(5);

async fn stop_workers(context: &Arc<Context>, hurry: CancellationToken) {
    let mut ends = Vec::new();
    for (_, keeper) in context.directory.all() {
        let (reply, end) = oneshot::channel();
        if keeper.send(KeeperMessage::StopAll { reply }).is_ok() {
            ends.push(end);
        }
    }
    tracing::info!(pools = ends.len(), "stopping the workers");
    let all = futures_util::future::join_all(ends);
    tokio::pin!(all);
    let deadline = longest_stop(context).saturating_add(GRACE);
    tokio::select! {
        biased;
        _ = &mut all => return,
        () = hurry.cancelled() => tracing::warn!("told to hurry: the workers are killed"),
        () = tokio::time::sleep(deadline) => tracing::warn!("the workers' time is over; they are killed"),
    }
    for (_, keeper) in context.directory.all() {
        drop(keeper.send(KeeperMessage::KillAll));
    }
    if tokio::time::timeout(GRACE, all).await.is_err() {
        tracing::error!("some workers could not be proven dead; the next supervisor looks for them");
    }
}

/// Workers that are tasks of this process end before the next life begins, which would find them and start their agents
/// anew. A process that ends is not held up for long: what it owns dies with it.
async fn leave_workers(context: &Context, end: LeadEnd, hurry: CancellationToken) {
    tokio::select! {
        biased;
        () = context.launchers.leave() => {}
        () = tokio::time::sleep(GRACE), if end != LeadEnd::Fenced => {}
        // The process ends then, and does not lead again.
        () = hurry.cancelled() => {}
    }
}

fn longest_stop(context: &Context) -> Duration {
    let exec = |profile: &RuntimeProfile| match profile {
        RuntimeProfile::Exec(exec) => exec.stop_deadline,
        RuntimeProfile::Echo => Duration::ZERO,
    };
    context.settings.profiles.values().map(exec).fold(context.settings.clocks.stop_deadline, Duration::max)
}
