//! One supervisor of a test's own.

use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::{Value, json};

use super::{Answer, BOUND, Ended, Request, faults, leftovers, program, run, wait_until};

/// Clocks that make faults known within milliseconds, and still leave a busy machine its time.
const CLOCKS: [(&str, &str); 7] = [
    ("MUSTER_CLOCKS_HEARTBEAT", "0.1"),
    ("MUSTER_CLOCKS_STALE", "0.5"),
    ("MUSTER_CLOCKS_LEASE", "0.75"),
    ("MUSTER_CLOCKS_ORPHAN_AFTER", "30"),
    ("MUSTER_CLOCKS_PASS", "0.1"),
    ("MUSTER_CLOCKS_RESEND", "0.05"),
    ("MUSTER_CLOCKS_STOP_DEADLINE", "1"),
];

/// How long a supervisor may take to end in order: longer than the stop deadlines that the tests set.
const END: Duration = Duration::from_secs(30);

/// How to start a supervisor. The default: fast clocks, the default pools, a private Redis.
#[derive(Clone, Debug, Default)]
pub(crate) struct Options {
    /// The text of its muster.toml; empty is none.
    pub(crate) config: String,
    /// Variables of its environment, over the fast clocks.
    pub(crate) env: Vec<(String, String)>,
    /// Further arguments of `serve`.
    pub(crate) args: Vec<String>,
    /// Where it listens; empty is a free port of loopback.
    pub(crate) listen: String,
    /// Its data folder, where it is not to be one of its own.
    pub(crate) data_dir: Option<PathBuf>,
    /// What starts it, as `nohup` does: words before the program's own, which become the program.
    pub(crate) through: Vec<String>,
}

impl Options {
    /// With this muster.toml.
    pub(crate) fn config(text: impl Into<String>) -> Self {
        Self { config: text.into(), ..Self::default() }
    }

    /// With this variable too.
    pub(crate) fn env(mut self, name: &str, value: impl Into<String>) -> Self {
        self.env.push((name.to_owned(), value.into()));
        self
    }

    /// Started by this command, which becomes the program.
    pub(crate) fn through(mut self, words: &[&str]) -> Self {
        self.through = words.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// With this argument too.
    pub(crate) fn arg(mut self, argument: impl Into<String>) -> Self {
        self.args.push(argument.into());
        self
    }
}

/// The body of a wish for a developer.
pub(crate) fn developer(pool: &str) -> Value {
    json!({"project_id": "shop", "role_type": "developer", "pool_name": pool})
}

/// A supervisor in a folder of its own. Dropping it stops it and fails the test where a process stays behind.
pub(crate) struct Muster {
    pub(crate) options: Options,
    /// Shared with standbys: the last one looks at what is left, and removes it.
    folder: Arc<tempfile::TempDir>,
    data_dir: PathBuf,
    log_file: PathBuf,
    child: Option<Child>,
    address: String,
}

impl Muster {
    /// Starts one; returns when it is ready.
    pub(crate) fn start(options: Options) -> Self {
        let muster = Self::launch(options);
        muster.await_ready();
        muster
    }

    /// Starts one; returns when it listens, ready or not.
    pub(crate) fn launch(options: Options) -> Self {
        // A short path: sockets in it must stay below 108 bytes.
        let folder = tempfile::Builder::new().prefix("me").tempdir_in("/tmp").expect("a folder");
        let data_dir = options.data_dir.clone().unwrap_or_else(|| folder.path().join("d"));
        Self::launch_in(options, Arc::new(folder), data_dir)
    }

    /// Starts another one on the same data folder; returns when it listens.
    pub(crate) fn standby(&self) -> Self {
        Self::launch_in(self.options.clone(), Arc::clone(&self.folder), self.data_dir.clone())
    }

    fn launch_in(options: Options, folder: Arc<tempfile::TempDir>, data_dir: PathBuf) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let log_file = folder.path().join(format!("log-{number}"));
        let mut muster = Self { options, folder, data_dir, log_file, child: None, address: String::new() };
        muster.begin();
        muster
    }

    /// Starts the program once more, and finds out where it listens.
    fn begin(&mut self) {
        let mut command = program::command_through(&self.options.through, self.folder.path());
        let listen = Some(self.options.listen.as_str()).filter(|listen| !listen.is_empty()).unwrap_or("127.0.0.1:0");
        command.arg("serve").arg("--data-dir").arg(&self.data_dir).args(["--listen", listen]);
        if !self.options.config.is_empty() {
            std::fs::write(self.config_file(), &self.options.config).expect("a file");
            command.arg("--config").arg(self.config_file());
        }
        let env = self.options.env.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        command.args(&self.options.args).envs(CLOCKS).envs(env);
        let log = std::fs::OpenOptions::new().create(true).append(true).open(&self.log_file).expect("a log");
        let before = self.log().len();
        command.stdout(log.try_clone().expect("a log")).stderr(log);
        // SAFETY: only system calls between fork and exec.
        unsafe {
            command.pre_exec(|| {
                // Whoever runs the tests may ignore it, as nohup does.
                libc::signal(libc::SIGHUP, libc::SIG_DFL);
                // A run of the tests that is killed leaves no master; the workers see to themselves.
                match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                }
            });
        }
        let mut child = command.spawn().expect("the program starts");
        let mut address = None;
        wait_until("the server listens", BOUND, || {
            // The end first: what it said before is in the log then.
            let ended = child.try_wait().expect("a child of ours");
            let log = self.log();
            address = log[before..]
                .split("listening address=")
                .nth(1)
                .and_then(|rest| rest.split(' ').next())
                .map(str::to_owned);
            assert!(address.is_some() || ended.is_none(), "the server ended ({ended:?}):\n{log}");
            address.is_some()
        });
        self.child = Some(child);
        self.address = address.unwrap_or_default();
    }

    /// Waits until it leads.
    pub(crate) fn await_ready(&self) {
        wait_until("the server is ready", BOUND, || self.get("/ready").status == 200);
    }

    /// Starts it again on the same data folder, after it ended; returns when it is ready.
    pub(crate) fn restart(&mut self) {
        assert!(self.child.is_none(), "it still runs");
        self.begin();
        self.await_ready();
    }

    /// `host:port` of its API.
    pub(crate) fn address(&self) -> String {
        self.address.clone()
    }

    /// Its data folder.
    pub(crate) fn data_dir(&self) -> &Path {
        &self.data_dir
    }

    /// The folder around it, which is gone after the test.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn config_file(&self) -> PathBuf {
        self.folder.path().join("muster.toml")
    }

    /// The master's pid; 0 where none runs.
    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().map_or(0, Child::id)
    }

    /// What it logged so far, over all its starts.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(&self.log_file).unwrap_or_default()
    }

    /// A request to it.
    pub(crate) fn ask(&self, method: &str, path: &str) -> Request {
        Request::new(&self.address, method, path)
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path).send()
    }

    /// The body of an answer as it came.
    pub(crate) fn get_text(&self, path: &str) -> String {
        self.ask("GET", path).send_for_text()
    }

    pub(crate) fn post(&self, path: &str, body: &Value) -> Answer {
        self.ask("POST", path).json(body).send()
    }

    pub(crate) fn patch(&self, path: &str, body: &Value) -> Answer {
        self.ask("PATCH", path).json(body).send()
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.ask("DELETE", path).send()
    }

    /// Asks for an agent of the role developer in a pool.
    pub(crate) fn spawn(&self, pool: &str) -> Answer {
        self.post("/api/v1/agents/spawn", &developer(pool))
    }

    /// Ends an agent, and waits until it is gone.
    pub(crate) fn terminate(&self, agent: &str) -> Answer {
        self.post("/api/v1/agents/terminate", &json!({"agent_id": agent}))
    }

    /// A pool's figures.
    pub(crate) fn pool(&self, name: &str) -> Value {
        let answer = self.get(&format!("/api/v1/agents/pools/{name}"));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.body
    }

    /// Runs a command of the program for this server, which it finds by the data folder.
    pub(crate) fn command(&self, arguments: &[&str]) -> Ended {
        let data_dir = self.data_dir.display().to_string();
        run(self.folder.path(), &[&["--data-dir", &data_dir], arguments].concat(), &[])
    }

    /// A connection to its Redis.
    pub(crate) fn redis(&self) -> redis::Connection {
        let configured = self.options.env.iter().find(|(name, _)| name == "MUSTER_REDIS_URL");
        let url = configured.map_or_else(|| self.private_redis(), |(_, url)| url.clone());
        redis::Client::open(url).and_then(|client| client.get_connection()).expect("Redis answers")
    }

    /// The address of its private Redis, password included.
    pub(crate) fn private_redis(&self) -> String {
        let folder = self.data_dir.join("redis");
        let password = std::fs::read_to_string(folder.join("password")).expect("a password");
        format!("redis+unix://{}?user=default&pass={password}", folder.join("redis.sock").display())
    }

    /// Ends the master as a crash does.
    pub(crate) fn kill9(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().and_then(|()| child.wait()).expect("a child of ours");
        }
    }

    /// Lets the master stand still.
    pub(crate) fn sigstop(&self) {
        faults::signal(self.pid(), libc::SIGSTOP);
    }

    /// Lets it go on.
    pub(crate) fn sigcont(&self) {
        faults::signal(self.pid(), libc::SIGCONT);
    }

    /// Stops it in order.
    pub(crate) fn stop(&mut self) {
        faults::signal(self.pid(), libc::SIGTERM);
        self.await_exit(0);
    }

    /// Waits until it has ended by itself, with this exit code.
    pub(crate) fn await_exit(&mut self, code: i32) {
        let child = self.child.as_mut().expect("it runs");
        let mut status = None;
        wait_until("the server has ended", END, || {
            status = child.try_wait().expect("a child of ours");
            status.is_some()
        });
        self.child = None;
        assert_eq!(status.and_then(|status| status.code()), Some(code), "{}", self.log());
    }

    /// Ends the master whatever happens; whether it ended in order.
    fn end(&mut self) -> bool {
        let Some(mut child) = self.child.take() else { return true };
        faults::signal(child.id(), libc::SIGTERM);
        faults::signal(child.id(), libc::SIGCONT);
        let until = std::time::Instant::now() + END;
        while std::time::Instant::now() < until {
            if let Some(status) = child.try_wait().expect("a child of ours") {
                return status.success();
            }
            std::thread::sleep(super::LOOK);
        }
        drop(child.kill());
        drop(child.wait());
        false
    }
}

impl Drop for Muster {
    fn drop(&mut self) {
        let failed = std::thread::panicking();
        let in_order = self.end();
        if failed || !in_order {
            eprintln!("the server's log:\n{}", self.log());
        }
        // Another one on this folder still runs, and may have taken over the workers.
        if Arc::strong_count(&self.folder) > 1 {
            return;
        }
        let mut marks = leftovers::workers_of(&self.data_dir);
        marks.extend([self.folder.path().display().to_string(), self.data_dir.display().to_string()]);
        let left = leftovers::find(&marks);
        left.iter().for_each(|left| faults::kill9(left.pid));
        if !failed {
            assert!(in_order, "the server did not end in order");
            assert!(left.is_empty(), "processes stay behind: {left:#?}");
        }
    }
}
