//! PostgreSQL and PgBouncer on unix sockets in a temp folder. They end with the last test that uses them, also when it
//! panics, and with this process however it ends.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Weak, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, geteuid};
use sqlx::postgres::PgConnectOptions;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection};

const MISSING: &str = "is missing: run `apt-get install postgresql pgbouncer`";

/// Who runs the servers: they refuse root.
#[derive(Clone, Copy)]
struct Account(Option<(u32, u32)>);

impl Account {
    fn find() -> Self {
        if !geteuid().is_root() {
            return Self(None);
        }
        let user = User::from_name("postgres").ok().flatten();
        let user = user.unwrap_or_else(|| panic!("the user postgres {MISSING}"));
        Self(Some((user.uid.as_raw(), user.gid.as_raw())))
    }

    fn command(self, program: &Path) -> Command {
        let mut command = Command::new(program);
        if let Some((uid, gid)) = self.0 {
            command.uid(uid).gid(gid);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command
    }
}

/// A child that ends with its owner.
struct Process {
    pid: u32,
    stop: mpsc::Sender<()>,
    thread: Option<JoinHandle<()>>,
}

impl Process {
    /// The parent-death signal comes when the forking thread ends, and a test's thread ends with its test; so the child is
    /// forked by a thread of its own, which waits for its end. `last` is the signal that ends it.
    fn start(mut command: Command, log: &Path, last: Signal) -> Self {
        command.stderr(std::fs::File::create(log).expect("a log file"));
        // SAFETY: prctl is async-signal-safe, and nothing else happens between fork and exec.
        unsafe {
            command.pre_exec(|| nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(Into::into));
        }
        let (stop, stopped) = mpsc::channel();
        let (started, start) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            let mut child = command.spawn().expect("a server starts");
            let _ = started.send(child.id());
            let _ = stopped.recv();
            let _ = kill(Pid::from_raw(child.id().cast_signed()), last);
            let _ = child.wait();
        });
        let pid = start.recv().expect("a server starts");
        Self { pid, stop, thread: Some(thread) }
    }

    /// Stops it and all its children where they are, or lets them go on.
    fn hang(&self, hangs: bool) {
        let signal = if hangs { Signal::SIGSTOP } else { Signal::SIGCONT };
        let children = std::fs::read_to_string(format!("/proc/{0}/task/{0}/children", self.pid)).unwrap_or_default();
        let children = children.split_whitespace().filter_map(|pid| pid.parse::<i32>().ok());
        for pid in std::iter::once(self.pid.cast_signed()).chain(children) {
            let _ = kill(Pid::from_raw(pid), signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // One that stands still would not end.
        self.hang(false);
        let _ = self.stop.send(());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A PostgreSQL server.
pub(crate) struct Postgres {
    process: Mutex<Option<Process>>,
    folder: tempfile::TempDir,
    account: Account,
    databases: AtomicU32,
}

impl Postgres {
    pub(crate) async fn start() -> Self {
        let account = Account::find();
        let folder = tempfile::Builder::new().prefix("muster-pg-").tempdir().expect("a temp folder");
        if let Some((uid, gid)) = account.0 {
            chown(folder.path(), Some(uid), Some(gid)).expect("the folder is given away");
        }
        let mut initdb = account.command(&binary("initdb"));
        initdb.arg("-D").arg(folder.path().join("data")).args([
            "-U",
            "postgres",
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-sync",
        ]);
        let made = initdb.stderr(Stdio::piped()).output().expect("initdb runs");
        assert!(made.status.success(), "initdb failed: {}", String::from_utf8_lossy(&made.stderr));
        let server = Self { process: Mutex::new(None), folder, account, databases: AtomicU32::new(0) };
        server.resume().await;
        server
    }

    /// Starts the server, for the first time or after [`Self::stop`], and waits until it answers.
    pub(crate) async fn resume(&self) {
        let folder = self.folder.path();
        let mut command = self.account.command(&binary("postgres"));
        command.arg("-D").arg(folder.join("data")).arg("-k").arg(folder);
        command.args(["-c", "listen_addresses=", "-c", "fsync=off", "-c", "max_connections=300"]);
        let log = folder.join("postgres.log");
        // PostgreSQL's "at once": it kills its own children then.
        let process = Process::start(command, &log, Signal::SIGQUIT);
        *self.process.lock().expect("no panic before") = Some(process);
        let url = self.url("postgres");
        wait_until(&log, || async { PgConnection::connect(&url).await.is_ok() }).await;
    }

    /// Stands still without an answer, or goes on.
    pub(crate) fn hang(&self, hangs: bool) {
        if let Some(process) = &*self.process.lock().expect("no panic before") {
            process.hang(hangs);
        }
    }

    pub(crate) fn stop(&self) {
        *self.process.lock().expect("no panic before") = None;
    }

    fn url(&self, database: &str) -> String {
        format!("postgresql://postgres@localhost/{database}?host={}", self.folder.path().display())
    }

    pub(crate) async fn make_database(&self) -> String {
        self.make_database_of("").await
    }

    /// A database with other options than the usual ones.
    async fn make_database_of(&self, options: &str) -> String {
        let name = format!("test_{}", self.databases.fetch_add(1, Ordering::Relaxed));
        let mut connection = PgConnection::connect(&self.url("postgres")).await.expect("the server answers");
        connection.execute(AssertSqlSafe(format!("CREATE DATABASE {name} {options}"))).await.expect("a database");
        self.url(&name)
    }
}

/// Both servers.
pub(crate) struct Servers {
    // Fields are dropped in this order.
    _pgbouncer: Process,
    postgres: Postgres,
}

impl Servers {
    /// The ones that other tests use at this moment, or new ones.
    pub(crate) async fn shared() -> Arc<Self> {
        static SHARED: tokio::sync::Mutex<Weak<Servers>> = tokio::sync::Mutex::const_new(Weak::new());
        let mut shared = SHARED.lock().await;
        if let Some(servers) = shared.upgrade() {
            return servers;
        }
        let servers = Arc::new(Self::start().await);
        *shared = Arc::downgrade(&servers);
        servers
    }

    async fn start() -> Self {
        let postgres = Postgres::start().await;
        let folder = postgres.folder.path();
        let config = folder.join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host={0} user=postgres\n[pgbouncer]\nlisten_addr =\nunix_socket_dir = {0}\nlisten_port = 6432\n\
             auth_type = any\npool_mode = transaction\ndefault_pool_size = 4\nmax_client_conn = 500\n",
            folder.display()
        );
        std::fs::write(&config, text).expect("a configuration");
        let mut command = postgres.account.command(&find(&["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"]));
        command.arg("-q").arg(&config);
        let log = folder.join("pgbouncer.log");
        // It leaves SIGQUIT as it was inherited: ignored, where the tests run in a shell's background.
        let pgbouncer = Process::start(command, &log, Signal::SIGKILL);
        let servers = Self { _pgbouncer: pgbouncer, postgres };
        let url = servers.through_pgbouncer(&servers.postgres.url("postgres"));
        // The bouncer refuses this parameter, which the library sends unless told otherwise.
        let options: PgConnectOptions = url.parse().expect("a URL");
        let options = options.extra_float_digits(None);
        wait_until(&log, || async { PgConnection::connect_with(&options).await.is_ok() }).await;
        servers
    }

    pub(crate) async fn make_database(&self) -> String {
        self.postgres.make_database().await
    }

    /// A database with other options than the usual ones.
    pub(crate) async fn make_database_of(&self, options: &str) -> String {
        self.postgres.make_database_of(options).await
    }

    /// The URL of the same database through PgBouncer.
    pub(crate) fn through_pgbouncer(&self, direct: &str) -> String {
        direct.replacen("@localhost/", "@localhost:6432/", 1)
    }
}

fn binary(name: &str) -> PathBuf {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = versions.map(|v| v.path().join("bin").join(name)).filter(|p| p.exists()).collect();
    found.sort();
    found.pop().unwrap_or_else(|| panic!("/usr/lib/postgresql/*/bin/{name} {MISSING}"))
}

fn find(places: &[&str]) -> PathBuf {
    let found = places.iter().map(PathBuf::from).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{} {MISSING}", places[0]))
}

async fn wait_until<F: Future<Output = bool>>(log: &Path, condition: impl Fn() -> F) {
    for _ in 0..1_000 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("a server does not answer: {}", std::fs::read_to_string(log).unwrap_or_default());
}
