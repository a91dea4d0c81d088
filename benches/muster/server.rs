//! A real `muster serve` in a folder of its own, with its private Redis, and nothing left of it afterwards.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use nix::sys::prctl;
use nix::sys::signal::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::family;
use crate::http::{Client, request};

/// Longer than anything here takes that works.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// What an acknowledged spawn survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durability {
    Process,
    Full,
}

impl Durability {
    pub(crate) const BOTH: [Self; 2] = [Self::Process, Self::Full];

    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Process => "process",
            Self::Full => "full",
        }
    }
}

/// A server that runs. Dropping it ends it, and everything that it started.
pub(crate) struct Server {
    child: Child,
    folder: TempDir,
    /// Where its API is.
    pub(crate) address: String,
}

impl Server {
    /// Starts one and waits for its address, not until it leads.
    pub(crate) fn begin(durability: Durability, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        Self::begin_in(tempfile::Builder::new().prefix("muster-bench-").tempdir()?, durability, settings)
    }

    /// Starts one with this file of settings, and waits until it leads.
    pub(crate) fn configured(durability: Durability, file: &str) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("muster-bench-").tempdir()?;
        std::fs::write(folder.path().join("muster.toml"), file)?;
        Self::begin_in(folder, durability, &[])?.led()
    }

    fn begin_in(folder: TempDir, durability: Durability, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        let child = serve(folder.path(), durability, settings)?;
        let mut server = Self { child, folder, address: String::new() };
        server.read_address()?;
        Ok(server)
    }

    /// Kills it with everything that it started, its Redis too, and starts another in the same folder; returns when that has
    /// its address.
    pub(crate) fn start_after_kill(&mut self, durability: Durability) -> anyhow::Result<()> {
        let family = family::members(self.pid());
        std::fs::remove_file(self.data().join("muster.addr"))?;
        family.iter().for_each(|pid| family::signal(*pid, Signal::SIGKILL));
        self.child.wait()?;
        let left = family::wait_gone(&family, PATIENCE);
        ensure!(left.is_empty(), "{} processes do not die", left.len());
        self.child = serve(self.folder.path(), durability, &[])?;
        self.read_address()
    }

    fn read_address(&mut self) -> anyhow::Result<()> {
        let file = self.data().join("muster.addr");
        self.address = self.wait(Duration::from_micros(100), || std::fs::read_to_string(&file).ok())?;
        Ok(())
    }

    /// Starts one and waits until it leads.
    pub(crate) fn start(durability: Durability, settings: &[(&str, &str)]) -> anyhow::Result<Self> {
        Self::begin(durability, settings)?.led()
    }

    fn led(mut self) -> anyhow::Result<Self> {
        self.wait_ready()?;
        self.open_redis()?;
        Ok(self)
    }

    /// Waits until it says that it is ready.
    pub(crate) fn wait_ready(&mut self) -> anyhow::Result<()> {
        let mut client = self.client()?;
        let ready = request("GET", "/ready", "");
        self.wait(Duration::from_millis(1), || client.send(&ready).ok().filter(|answer| answer.status == 200)).map(drop)
    }

    fn wait<T>(&mut self, pause: Duration, mut seen: impl FnMut() -> Option<T>) -> anyhow::Result<T> {
        let until = Instant::now() + PATIENCE;
        loop {
            if let Some(value) = seen() {
                return Ok(value);
            }
            if let Some(end) = self.child.try_wait()? {
                bail!("muster serve ended with {end}: {}", self.log());
            }
            if Instant::now() > until {
                bail!("nothing came for {PATIENCE:?}: {}", self.log());
            }
            std::thread::sleep(pause);
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.folder.path().join("serve.log")).unwrap_or_default()
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Lets everybody into the private Redis: bare clients and peers come without a password.
    fn open_redis(&self) -> anyhow::Result<()> {
        let password = std::fs::read_to_string(self.data().join("redis/password"))?;
        let url = format!("redis+unix://{}?user=default&pass={password}", self.redis().display());
        let mut redis = redis::Client::open(url)?.get_connection()?;
        Ok(redis::cmd("ACL").arg(&["SETUSER", "default", "nopass"]).exec(&mut redis)?)
    }

    /// The socket of the private Redis.
    pub(crate) fn redis(&self) -> PathBuf {
        self.data().join("redis/redis.sock")
    }

    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        Client::connect(&self.address)
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Makes a pool without a bound on its workers and whose idle agents stay, and waits for the workers asked for.
    pub(crate) fn pool(&mut self, name: &str, min_workers: u32, more: &Value) -> anyhow::Result<()> {
        self.pool_of("echo", name, min_workers, more)
    }

    /// The same of this runtime.
    pub(crate) fn pool_of(&mut self, runtime: &str, name: &str, min_workers: u32, more: &Value) -> anyhow::Result<()> {
        let mut config =
            json!({"max_workers": 0, "min_workers": min_workers, "max_idle_time": 86400, "worker_idle_timeout": 86400});
        for (key, value) in more.as_object().into_iter().flatten() {
            config[key] = value.clone();
        }
        let body =
            json!({"role_type": "developer", "pool_name": name, "runtime": runtime, "config": config}).to_string();
        let mut client = self.client()?;
        client.send(&request("POST", "/api/v1/agents/pools", &body))?.of_status(201)?;
        self.wait_pool(name, |pool| pool["active_worker_processes"].as_u64() >= Some(min_workers.into()))
    }

    /// Waits until a pool reads like this.
    pub(crate) fn wait_pool(&mut self, name: &str, is_so: impl Fn(&Value) -> bool) -> anyhow::Result<()> {
        let mut client = self.client()?;
        let get = request("GET", &format!("/api/v1/agents/pools/{name}"), "");
        self.wait(Duration::from_millis(5), || {
            client.send(&get).ok().and_then(|answer| answer.of_status(200).ok()).filter(&is_so)
        })
        .with_context(|| format!("the pool {name}"))
        .map(drop)
    }

    /// Ends it as a person would, and checks that nothing stays behind.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        self.end()
    }

    fn end(&mut self) -> anyhow::Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        let family = family::members(self.pid());
        family::signal(self.pid(), Signal::SIGTERM);
        let slow = !family::wait_gone(&[self.pid()], PATIENCE).is_empty();
        if slow {
            family::signal(self.pid(), Signal::SIGKILL);
        }
        self.child.wait()?;
        let left = family::wait_gone(&family, Duration::from_secs(2));
        for pid in &left {
            family::signal(*pid, Signal::SIGKILL);
        }
        if slow || !left.is_empty() {
            bail!("muster serve did not end in order; {} processes stayed: {}", left.len(), self.log());
        }
        Ok(())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("{error:#}");
        }
    }
}

/// The process of a server in this folder.
fn serve(folder: &Path, durability: Durability, settings: &[(&str, &str)]) -> anyhow::Result<Child> {
    let log = File::options().create(true).append(true).open(folder.join("serve.log"))?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(folder.join("data"));
    command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command.env("MUSTER_DURABILITY", durability.word()).envs(settings.iter().copied());
    command.current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    // SAFETY: one system call between fork and exec. A server ends in order when this process does, however it does.
    unsafe { command.pre_exec(|| prctl::set_pdeathsig(Signal::SIGTERM).map_err(Into::into)) };
    command.spawn().context("muster does not start")
}

/// The request of one spawn.
pub(crate) fn spawn_request(pool: &str) -> Vec<u8> {
    let body = json!({"project_id": "bench", "role_type": "developer", "pool_name": pool});
    request("POST", "/api/v1/agents/spawn", &body.to_string())
}
