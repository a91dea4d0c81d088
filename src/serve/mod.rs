//! The role `serve`: prepares the data folder, becomes the leader, runs the supervisor, and ends in order.
//!
//! | file | its part |
//! |---|---|
//! | `data_dir` | the data folder, its lock, the address file |
//! | `lead` | one life as the leader: store, registry, supervisor |
//! | `pause` | the pause between two lives |
//! | `engines` | which registry and which launcher, and why |
//! | `fallback` | a configured Redis that is done without, until it answers |
//! | `store` | which store |
//! | `watch` | what is looked at on the host: the log, the data folder, the database's file |
//! | `webhook_client` | messages to the webhook, over HTTP |
//! | `signals` | SIGINT, SIGTERM and SIGHUP |

mod data_dir;
mod engines;
mod fallback;
mod lead;
mod pause;
mod signals;
mod store;
mod watch;
mod webhook_client;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use muster_api::{ApiStage, ApiState};
use muster_config::Config;
use muster_process::Spawner;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::logging::LogQueue;
use data_dir::DataDir;
use lead::LeadOutcome;
use pause::Pauses;
use signals::Signals;

/// Threads of the master at the most: requests and keepers share them, and the database has its own.
const MOST_THREADS: usize = 4;

/// Why nobody is served before the supervisor leads.
const STARTING: &str = "the supervisor is starting: ask again in a moment";

/// What every part of the role needs.
struct ServeContext {
    config: Config,
    data_dir: Arc<DataDir>,
    state: Arc<ApiState>,
    signals: Signals,
    spawner: Spawner,
    started: Instant,
    /// Its log.
    log: LogQueue,
    /// The address in use, `host:port`.
    address: String,
    /// Why it could not begin to lead, as long as it does not.
    hindrance: Mutex<Option<String>>,
}

impl ServeContext {
    /// It is not leading yet, for what is known.
    fn starts(&self) -> ApiStage {
        let hindrance = self.hindrance.lock().unwrap_or_else(PoisonError::into_inner);
        match &*hindrance {
            None => waiting("starting", STARTING),
            Some(why) => {
                waiting("starting", &format!("the supervisor could not begin to lead, and tries again: {why}"))
            }
        }
    }

    fn note_hindrance(&self, why: Option<String>) {
        *self.hindrance.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }
}

/// Runs until it is told to end.
pub(crate) fn run(config: Config) -> anyhow::Result<()> {
    let started = Instant::now();
    let log = crate::logging::start(config.log_format, config.log_level.clone())?;
    for note in &config.notes {
        tracing::warn!("{note}");
    }
    if muster_process::identity::own().is_ok_and(|own| own.machine_id.is_none()) {
        tracing::info!(
            "this host has no /etc/machine-id, so it can't be told from others of its name: after it was restarted, its workers are \
             unreachable until `muster declare-dead`"
        );
    }
    // A thousand workers are some thousand open files, here and in the private Redis.
    if let Err(error) = muster_process::limits::raise_open_files() {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
    let spawner = Spawner::start().context("cannot start the thread that forks")?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(threads()).enable_all().build()?;
    let ended = runtime.block_on(serve(config, spawner, started, log.queue()));
    // What still runs is of no use to anybody: every worker is proven dead or left on purpose.
    runtime.shutdown_timeout(Duration::from_millis(100));
    ended
}

/// A thread for every two cores: the other half is for Redis, the workers and their agents. Measured on two cores, a second
/// thread makes a spawn take a fifth longer: what wakes up on another thread waits for it.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| (cores.get() / 2).clamp(1, MOST_THREADS))
}

async fn serve(config: Config, spawner: Spawner, started: Instant, log: LogQueue) -> anyhow::Result<()> {
    let data_dir = Arc::new(DataDir::open(&config.data_dir)?);
    let listener = TcpListener::bind(config.listen)
        .await
        .with_context(|| format!("cannot listen on {} (another program may use the port)", config.listen))?;
    let listen = listener.local_addr()?;
    let metrics = muster_api::install_metrics().context("cannot record metrics")?;
    let state = ApiState::new(state_config(&config, listen), Some(metrics));
    let closing = CancellationToken::new();
    let server = tokio::spawn(muster_api::serve(listener, state.clone(), closing.clone()));
    tracing::info!(address = %listen, data_dir = %config.data_dir.display(), "listening");
    let signals = Signals::listen(state.stop_requested())?;
    let context = ServeContext {
        config,
        data_dir,
        state,
        signals,
        spawner,
        started,
        log,
        address: listen.to_string(),
        hindrance: Mutex::default(),
    };
    let ended = live(&context).await;
    closing.cancel();
    server.await.context("the HTTP server failed")??;
    ended
}

/// Waits for the data folder, then leads until it is asked to end. One that was fenced off starts over as a standby.
async fn live(context: &ServeContext) -> anyhow::Result<()> {
    let (mut pauses, mut is_first, mut is_last) = (Pauses::default(), true, false);
    let ended = loop {
        // Also between two lives: whoever led meanwhile may have the folder.
        match enter(context, std::mem::take(&mut is_first)).await {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            Err(error) => break Err(error),
        }
        let begun = Instant::now();
        match lead::run(context).await {
            Ok(LeadOutcome::Asked) => break Ok(()),
            Ok(LeadOutcome::Hindered(why)) => {
                context.note_hindrance(Some(why));
                context.state.set(context.starts());
            }
            Ok(LeadOutcome::Fenced) => {
                context.state.set(waiting("starting", "this supervisor lost the lead and starts over"))
            }
            Err(error) => break Err(error),
        }
        if is_last {
            break Ok(());
        }
        // Told to stop between two lives it leads once more, if it may: else nobody would stop the workers.
        is_last = context.signals.stop_within(pauses.after(begun.elapsed())).await;
    };
    context.data_dir.remove_address();
    context.data_dir.unlock();
    ended
}

/// Takes the data folder, unless this process has it; whether it has it then. With SQLite nothing but its lock tells two leaders
/// apart, and they would take the lead from each other for ever: so whoever has another lock than the one that is there waits.
/// What hinders a first start is an error, for whoever started it to read; later it is told, and tried again.
async fn enter(context: &ServeContext, is_first: bool) -> anyhow::Result<bool> {
    if context.data_dir.was_taken() {
        // Where it can't be taken at all, as in a folder that is away, nobody else has it.
        if context.data_dir.keep_lock().unwrap_or(true) {
            return Ok(true);
        }
        context.data_dir.unlock();
    }
    if !stand_by(context, is_first).await? {
        return Ok(false);
    }
    match context.data_dir.write_address(&context.address) {
        // The look at the data folder tells it, and mends it.
        Err(error) if !is_first => tracing::warn!(error = format!("{error:#}"), "where the API is can't be written"),
        written => written?,
    }
    Ok(true)
}

/// Waits until no other supervisor holds the data folder; whether it is held then. The database is not touched before.
async fn stand_by(context: &ServeContext, mut is_first: bool) -> anyhow::Result<bool> {
    let mut told = None;
    loop {
        let hindrance = match context.data_dir.try_lock() {
            Ok(true) => {
                // No standby any more. A request to stop that one came before this, or is refused until it leads: otherwise
                // it would stop the agents of a supervisor that has just taken over.
                context.state.set(waiting("starting", STARTING));
                return Ok(!context.signals.stop.is_cancelled());
            }
            Ok(false) => None,
            Err(error) if is_first => return Err(error),
            Err(error) => Some(format!("{error:#}")),
        };
        is_first = false;
        let leader = context.data_dir.read_address().unwrap_or_default();
        if told.as_ref() != Some(&hindrance) {
            match &hindrance {
                None => tracing::info!(leader, "another supervisor has this data folder; standing by"),
                Some(error) => tracing::warn!(error, "the data folder can't be taken; trying again"),
            }
        }
        context.state.set(match &hindrance {
            None => ApiStage::Standby { leader },
            Some(why) => waiting("starting", &format!("the data folder can't be taken, which is tried again: {why}")),
        });
        told = Some(hindrance);
        if context.signals.stop_within(Duration::from_millis(50)).await {
            return Ok(false);
        }
    }
}

fn waiting(code: &'static str, reason: &str) -> ApiStage {
    ApiStage::Waiting { code, reason: reason.to_owned(), retry_after: Duration::from_secs(1) }
}

fn state_config(config: &Config, listen: std::net::SocketAddr) -> muster_api::ApiConfig {
    let key = |key: &muster_config::ConfiguredKey| muster_api::ApiKey { name: key.name.clone(), sha256: key.sha256 };
    muster_api::ApiConfig {
        known_hosts: config.api.hosts.clone(),
        keys: config.api.keys.iter().map(key).collect(),
        connections: most_connections(),
        give_back: muster_process::memory::give_back,
        ..muster_api::ApiConfig::new(listen, env!("CARGO_PKG_VERSION"))
    }
}

/// The most connections that pay: more of them are a mistake of a client, or an attack.
const MOST_CONNECTIONS: u64 = 32_768;

/// How many connections the API may have: a third of the open files. A connection that follows a log has a second one, and
/// the last third is the supervisor's own, for workers, Redis and the store.
fn most_connections() -> usize {
    use nix::sys::resource::{Resource, getrlimit};
    let limit = getrlimit(Resource::RLIMIT_NOFILE).map_or(1024, |(soft, _)| soft);
    (limit / 3).clamp(16, MOST_CONNECTIONS) as usize
}
