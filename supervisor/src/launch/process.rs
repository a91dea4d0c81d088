//! Workers as OS processes that outlive their master: an own session, an own log file, no pipe to the master.
//!
//! A worker is this same binary (`/proc/self/exe`, so that a replaced file on disk does not mix versions), started as
//! `muster worker` with its orders on stdin: a sealed memory file, since they hold secrets. It bears the mark
//! `MUSTER_PROCESS_ID` in its environment, and so does everything that it owns ([`muster_process::mark`]).

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Seek, Write as _};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use muster_domain::{AgentId, LocalIdentity, ProbeAnswer, ProcessId, RuntimeProfile, WorkerIdentity, WorkerOrders};
use muster_files::DataPath;
use muster_process::probe_socket::{self, ProbeReply};
use muster_process::{
    Custody, ExitWatch, Lineage, Pidfd, Presence, ProcessExit, Program, Signal, Spawner, Stdio, identity, mark,
};
use muster_store::WorkerRow;
use tokio::sync::{Mutex, Semaphore};

use super::leftovers::LeftoverKiller;
use super::{
    Adoption, Death, LaunchError, Launched, Launcher, LookError, Proof, RunningWorker, Sent, WorkerProbe, last_words,
};
use crate::blocking;
use crate::logs::{AgentLog, FileLog};

/// How long the last words of a dead worker are waited for.
const LAST_WORDS_WITHIN: Duration = Duration::from_secs(1);

/// Variables of the master that a worker gets: what it needs itself, and what its programs inherit. Nothing else, since the
/// rest may be anybody's secrets.
const HANDED_ON: [&str; 17] = [
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LANGUAGE",
    "TZ",
    "TZDIR",
    "TMPDIR",
    // What this binary may need to start.
    "LD_LIBRARY_PATH",
    // Whom it trusts, with a Redis and in checks.
    "SSL_CERT_FILE",
    "SSL_CERT_DIR",
    "MUSTER_OWNERSHIP",
    "MUSTER_LOG_LEVEL",
    "MUSTER_LOG_FORMAT",
    "RUST_BACKTRACE",
    "RUST_LIB_BACKTRACE",
];

/// The word that makes this binary a template of workers.
pub const TEMPLATE: &str = "worker-template";

/// Starts worker processes.
pub struct ProcessLauncher {
    spawner: Spawner,
    data_dir: PathBuf,
    leftovers: LeftoverKiller,
}

impl ProcessLauncher {
    /// Workers write their own logs into this data folder. Must be called within a runtime.
    pub fn new(spawner: Spawner, data_dir: PathBuf) -> Self {
        Self { spawner, data_dir, leftovers: LeftoverKiller::start() }
    }

    /// The search for what dead workers left.
    pub(super) fn leftovers(&self) -> LeftoverKiller {
        self.leftovers.clone()
    }

    fn way_to(
        &self,
        id: ProcessId,
        pid: u32,
        pidfd: Arc<Pidfd>,
        lineage: Lineage,
        end: WorkerEndWatch,
    ) -> Arc<dyn RunningWorker> {
        let (log, leftovers) = (DataPath::worker_log(&self.data_dir, id), self.leftovers.clone());
        Arc::new(WorkerProcess { id, pid, pidfd, lineage, end: Mutex::new(end), log, leftovers })
    }

    /// The way to what is left of a worker whose own process is dead.
    fn way_to_leftovers(&self, row: &WorkerRow) -> Arc<dyn RunningWorker> {
        let (id, lineage) = (row.process_id, lineage_of(row));
        Arc::new(DeadWorker {
            id,
            lineage,
            log: DataPath::worker_log(&self.data_dir, id),
            leftovers: self.leftovers.clone(),
        })
    }
}

#[async_trait]
impl Launcher for ProcessLauncher {
    async fn launch(&self, orders: WorkerOrders) -> Result<Launched, LaunchError> {
        let (data_dir, told) = (self.data_dir.clone(), orders.clone());
        let program = aside(&blocking::STARTS, move || program(&data_dir, &told)).await;
        let program = program.map_err(|error| LaunchError(error.to_string()))?;
        let child = self.spawner.spawn(program).await.map_err(|error| LaunchError(error.to_string()))?;
        let owns = matches!(orders.profile, RuntimeProfile::Exec(_));
        let end = WorkerEndWatch { watch: Some(child.exit), exit: None, owns };
        let identity = child.identity.ok_or_else(|| LaunchError("nobody could tell it from another process".into()))?;
        let lineage = Lineage { born: Some(identity.start_time), limited: true };
        let process = self.way_to(orders.process_id, identity.pid, child.keeper.pidfd(), lineage, end);
        Ok(Launched { identity: identity.into(), process })
    }

    fn agent_log(&self, agent: AgentId) -> Box<dyn AgentLog> {
        Box::new(FileLog::new(DataPath::agent_log(&self.data_dir, agent)))
    }

    async fn adopt(&self, row: &WorkerRow) -> Result<Adoption, LookError> {
        let id = row.process_id;
        let failed = |error: std::io::Error| LookError(format!("worker {id} can't be looked for: {error}"));
        let own = identity::own().map_err(failed)?;
        let identity = match &row.identity {
            // A task of this process, in an earlier life as the leader, which ended with all its tasks.
            Some(WorkerIdentity::Local(identity)) if *identity == own => {
                return Ok(Adoption::Ended(self.way_to_leftovers(row)));
            }
            Some(WorkerIdentity::Local(identity)) => Some(identity.clone()),
            // No process of any host: only its engine can say.
            Some(WorkerIdentity::Remote(_)) => return Ok(Adoption::Elsewhere),
            // Its master died between the fork and the row's update.
            None => find_by_mark(id).await.map_err(failed)?,
        };
        let presence = match &identity {
            Some(identity) => identity::find(identity).map_err(failed)?,
            None => Presence::Dead,
        };
        match (presence, identity) {
            (Presence::Alive(pidfd), Some(identity)) => {
                // One of an earlier version did not know its machine's.
                let identity = LocalIdentity { machine_id: own.machine_id, ..identity };
                let lineage = Lineage { born: Some(identity.start_time), limited: row.key.is_some() };
                let end = WorkerEndWatch { watch: None, exit: None, owns: true };
                let process = self.way_to(id, identity.pid, Arc::new(pidfd), lineage, end);
                Ok(Adoption::Alive(Launched { identity: identity.into(), process }))
            }
            (Presence::Elsewhere, _) => Ok(Adoption::Elsewhere),
            _ => Ok(Adoption::Ended(self.way_to_leftovers(row))),
        }
    }

    async fn marked(&self) -> Vec<ProcessId> {
        match aside(&blocking::LOOKS, mark::workers).await {
            Ok(ids) => ids.iter().filter_map(|id| id.to_str()?.parse().ok()).collect(),
            Err(error) => {
                tracing::warn!(%error, "the processes of this host can't be read for the marks of dead workers");
                Vec::new()
            }
        }
    }

    async fn sweep(&self, worker: &WorkerRow) {
        self.leftovers.end(worker.process_id, lineage_of(worker)).await;
    }

    /// Worker processes outlive every supervisor; what they are copied from does not.
    async fn leave(&self) {
        self.spawner.end_templates().await;
    }
}

struct WorkerProcess {
    id: ProcessId,
    pid: u32,
    pidfd: Arc<Pidfd>,
    lineage: Lineage,
    end: Mutex<WorkerEndWatch>,
    log: DataPath,
    leftovers: LeftoverKiller,
}

/// What a worker's end is, beside its own death.
struct WorkerEndWatch {
    /// Tells how it ended, where this process is its parent, and tells it when the last of its trees, which come to this process,
    /// is dead. An earlier master's worker has none; nor has one that this process started in a life as the leader that is over:
    /// what it leaves comes here and is killed by the spawner, but who was to be told of that is gone.
    watch: Option<ExitWatch>,
    /// How it ended, once that was told.
    exit: Option<ProcessExit>,
    /// Whether it owns processes: what it left is looked for by its mark.
    owns: bool,
}

impl WorkerProcess {
    fn signal(&self, signal: Signal) -> Sent {
        match self.pidfd.signal(signal) {
            Ok(()) => Sent::Delivered,
            Err(_) if self.pidfd.is_dead() => Sent::Gone,
            Err(error) => Sent::Unreachable(format!("{} can't be sent: {error}", signal.as_str())),
        }
    }
}

#[async_trait]
impl RunningWorker for WorkerProcess {
    async fn ask(&self) -> Sent {
        self.signal(Signal::SIGTERM)
    }

    async fn kill(&self) -> Sent {
        self.signal(Signal::SIGKILL)
    }

    async fn probe(&self, patience: Duration) -> WorkerProbe {
        let said = match probe_socket::ask(self.id, self.pid, patience).await {
            Ok(ProbeReply::Words(words)) => match serde_json::from_slice::<ProbeAnswer>(&words) {
                Ok(answer) if answer.process_id == self.id => WorkerProbe::Lives(answer),
                Ok(_) => WorkerProbe::Unasked("another worker answered".to_owned()),
                Err(error) => WorkerProbe::Unasked(format!("its answer is not understood ({error})")),
            },
            Ok(ProbeReply::Silence) => WorkerProbe::Silence,
            Ok(ProbeReply::NoSocket) => WorkerProbe::NoSocket,
            Err(error) => WorkerProbe::Unasked(error.to_string()),
        };
        // The pid may be another process's by now. Its death is told by its descriptor.
        if self.pidfd.is_dead() { WorkerProbe::NoSocket } else { said }
    }

    async fn dead(&self) -> Death {
        if let Err(error) = self.pidfd.dead().await {
            tracing::error!(process.id = %self.id, %error, "a worker's death can't be waited for; it is looked for instead");
            while !self.pidfd.is_dead() {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        let mut end = self.end.lock().await;
        if let Some(watch) = &mut end.watch {
            end.exit = Some(watch.await);
            end.watch = None;
        }
        if end.owns {
            self.leftovers.end(self.id, self.lineage).await;
        }
        let (exit, log) = (end.exit, self.log.clone());
        Death { proof: Proof::ProcessTable, exit, last_words: take_last_words(log).await }
    }
}

/// What a dead worker said last, if the disk answers soon: its agents wait. A log in which nothing was said helps nobody, and goes.
async fn take_last_words(log: DataPath) -> String {
    let read = blocking::run(&blocking::LAST_WORDS, move || {
        let words = last_words::read(&log);
        if words.is_empty() {
            remove_empty(&log);
        }
        words
    });
    // An error means that the process is ending.
    tokio::time::timeout(LAST_WORDS_WITHIN, read).await.map(Result::unwrap_or_default).unwrap_or_default()
}

fn remove_empty(log: &DataPath) {
    let is_empty =
        log.read().is_ok_and(|file| file.and_then(|file| file.metadata().ok()).is_some_and(|data| data.len() == 0));
    if is_empty && let Err(error) = log.remove() {
        tracing::debug!(%error, "an empty log stays");
    }
}

/// A worker whose process is dead: what is left to wait for is the end of all that it owned.
struct DeadWorker {
    id: ProcessId,
    lineage: Lineage,
    log: DataPath,
    leftovers: LeftoverKiller,
}

#[async_trait]
impl RunningWorker for DeadWorker {
    async fn ask(&self) -> Sent {
        Sent::Gone
    }

    async fn kill(&self) -> Sent {
        Sent::Gone
    }

    async fn dead(&self) -> Death {
        self.leftovers.end(self.id, self.lineage).await;
        Death { last_words: take_last_words(self.log.clone()).await, ..Death::proven(Proof::ProcessTable) }
    }

    async fn probe(&self, _patience: Duration) -> WorkerProbe {
        WorkerProbe::NoSocket
    }
}

/// What tells the processes of a worker from others that bear its mark. Those that have no key are of a version whose trees may have
/// no limit.
fn lineage_of(row: &WorkerRow) -> Lineage {
    let boot = identity::own().ok().map(|own| own.boot_id);
    let identity = row.identity.as_ref().and_then(WorkerIdentity::as_local);
    let of_this_boot = identity.filter(|identity| Some(&identity.boot_id) == boot.as_ref());
    Lineage { born: of_this_boot.map(|identity| identity.start_time), limited: row.key.is_some() }
}

/// A worker is the oldest process that bears its mark, and was started as this worker: what it owns came later, and does not name it.
async fn find_by_mark(id: ProcessId) -> std::io::Result<Option<LocalIdentity>> {
    let find = move || {
        let name = OsString::from(id.to_string());
        let marked = mark::marked(&name)?;
        Ok(marked.into_iter().filter(|pid| mark::has_argument(*pid, &name)).collect::<Vec<_>>())
    };
    let marked = aside(&blocking::LOOKS, find).await?;
    let identities = marked.into_iter().filter_map(|pid| identity::of(pid).ok());
    Ok(identities.min_by_key(|found| (found.start_time, found.pid)))
}

async fn aside<T: Send + 'static>(
    kind: &'static Semaphore,
    read: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    blocking::run(kind, read).await.map_err(std::io::Error::other)?
}

/// The program of a worker.
fn program(data_dir: &Path, orders: &WorkerOrders) -> std::io::Result<Program> {
    let id = orders.process_id.to_string();
    let place = DataPath::worker_log(data_dir, orders.process_id);
    let named =
        |error: std::io::Error| std::io::Error::new(error.kind(), format!("{}: {error}", place.path().display()));
    let log = place.append().map_err(named)?;
    let stdout = Stdio::Fd(OwnedFd::from(log.try_clone()?));
    let argv = ["muster", "worker", "--pool", orders.pool_name.as_str(), "--id", &id];
    let env = std::env::vars_os()
        .filter(|(name, _)| is_handed_on(name, &orders.profile))
        .chain([(OsString::from(mark::WORKER), OsString::from(&id))])
        .collect();
    Ok(Program {
        file: Some(PathBuf::from("/proc/self/exe")),
        env,
        stdin: Stdio::Fd(orders_file(orders)?),
        stdout,
        stderr: Stdio::Fd(OwnedFd::from(log)),
        template: Some(["muster", TEMPLATE].map(OsString::from).to_vec()),
        ..Program::new(argv, Custody::Free)
    })
}

/// Whether a worker of this profile gets the variable.
fn is_handed_on(name: &OsStr, profile: &RuntimeProfile) -> bool {
    let is_passed = match profile {
        RuntimeProfile::Echo => false,
        RuntimeProfile::Exec(exec) => exec.pass_env.iter().any(|passed| name == passed.as_str()),
    };
    is_passed || HANDED_ON.iter().any(|known| name == *known) || name.as_encoded_bytes().starts_with(b"LC_")
}

fn orders_file(orders: &WorkerOrders) -> std::io::Result<OwnedFd> {
    let fd = nix::sys::memfd::memfd_create("muster-orders", nix::sys::memfd::MFdFlags::MFD_CLOEXEC)?;
    let mut file = File::from(fd);
    // At once: a writer of JSON writes word by word.
    file.write_all(&serde_json::to_vec(orders)?)?;
    file.rewind()?;
    Ok(file.into())
}
