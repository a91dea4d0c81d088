//! A Redis server of a test's own, on a socket in a temporary folder.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use muster_domain::RegistryTarget;
use muster_registry::redis::{RedisOptions, RedisRegistry};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use redis::aio::MultiplexedConnection;
use redis::{FromRedisValue, Pipeline};
use tempfile::TempDir;

/// How long calls of the tests' engines may take.
pub(crate) const TIMEOUT: Duration = Duration::from_millis(400);

/// A server that ends with the test, also where the test is killed.
pub(crate) struct RedisServer {
    folder: TempDir,
    arguments: Vec<String>,
    child: Option<Child>,
}

impl RedisServer {
    /// Starts an empty server, and returns when it answers.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// The same, with further arguments.
    pub(crate) fn start_with(arguments: &[&str]) -> Self {
        let arguments = arguments.iter().map(|argument| (*argument).to_owned()).collect();
        let mut server = Self { folder: TempDir::new().expect("a temporary folder"), arguments, child: None };
        server.start_again();
        server
    }

    /// Starts the server after [`RedisServer::kill`], empty again.
    pub(crate) fn start_again(&mut self) {
        let socket = self.socket();
        let _ = std::fs::remove_file(&socket);
        let mut command = Command::new("redis-server");
        command.args(["--port", "0", "--save", "", "--appendonly", "no", "--unixsocket"]).arg(&socket);
        command.args(&self.arguments);
        command.arg("--dir").arg(self.folder.path()).stdin(Stdio::null()).stdout(Stdio::null());
        // SAFETY: only a system call between fork and exec, and nothing that allocates.
        unsafe { command.pre_exec(|| Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?)) };
        match command.spawn() {
            Ok(child) => self.child = Some(child),
            Err(error) => panic!("these tests need a Redis server; apt-get install redis-server ({error})"),
        }
        let deadline = Instant::now() + Duration::from_secs(10);
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            assert!(Instant::now() < deadline, "the Redis server did not open {}", socket.display());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Ends the server at once, as a crash does.
    pub(crate) fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("a child of ours");
            child.wait().expect("a child of ours");
        }
    }

    /// Stops the server without closing a connection, as an overload does, or lets it go on.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().map(|child| i32::try_from(child.id()).expect("a pid"));
        kill(Pid::from_raw(pid.expect("a server that runs")), signal).expect("a child of ours");
    }

    pub(crate) fn target(&self, prefix: &str) -> RegistryTarget {
        RegistryTarget {
            url: format!("redis+unix://{}", self.socket().display()),
            prefix: prefix.to_owned(),
            roots: None,
        }
    }

    /// An engine on this server, with connections of its own.
    pub(crate) fn engine(&self) -> RedisRegistry {
        self.engine_with_prefix("")
    }

    pub(crate) fn engine_with_prefix(&self, prefix: &str) -> RedisRegistry {
        RedisRegistry::connect(&self.target(prefix), RedisOptions { timeout: TIMEOUT }).expect("an address")
    }

    /// What an operator's redis-cli would be answered.
    pub(crate) async fn ask<T: FromRedisValue>(&self, words: &[&str]) -> T {
        let mut command = redis::cmd(words[0]);
        for word in &words[1..] {
            command.arg(*word);
        }
        command.query_async(&mut self.client().await).await.unwrap_or_else(|error| panic!("{words:?}: {error}"))
    }

    pub(crate) async fn run(&self, pipeline: &Pipeline) {
        pipeline.exec_async(&mut self.client().await).await.expect("a pipeline");
    }

    /// All keys that match a pattern, sorted.
    pub(crate) async fn keys(&self, pattern: &str) -> Vec<String> {
        let mut keys: Vec<String> = self.ask(&["KEYS", pattern]).await;
        keys.sort();
        keys
    }

    pub(crate) async fn client(&self) -> MultiplexedConnection {
        let client = redis::Client::open(self.target("").url).expect("an address");
        client.get_multiplexed_async_connection().await.expect("the server answers")
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("r.sock")
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}
