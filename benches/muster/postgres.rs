//! A PostgreSQL in a folder of its own, as it is configured by default: every commit is synced.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, geteuid};
use tempfile::TempDir;

use crate::server::PATIENCE;

/// A server that runs. Dropping it ends it.
pub(crate) struct Postgres {
    folder: TempDir,
    user: Option<User>,
    server: Option<Child>,
}

impl Postgres {
    /// Starts one; none where it is not installed.
    pub(crate) fn start() -> anyhow::Result<Option<Self>> {
        if binary("initdb").is_none() {
            return Ok(None);
        }
        let folder = tempfile::Builder::new().prefix("mpg").tempdir_in("/tmp")?;
        // It refuses root.
        let user = if geteuid().is_root() { User::from_name("postgres")? } else { None };
        if let Some(user) = &user {
            chown(folder.path(), Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
        }
        let mut postgres = Self { folder, user, server: None };
        let mut initdb = postgres.command("initdb")?;
        initdb.arg("-D").arg(postgres.data()).args(["-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync"]);
        let made = initdb.stdin(Stdio::null()).output()?;
        anyhow::ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let mut serve = postgres.command("postgres")?;
        serve.arg("-D").arg(postgres.data()).arg("-k").arg(postgres.folder.path()).args(["-c", "listen_addresses="]);
        // SAFETY: one system call between fork and exec. It ends when this process does, however it does.
        unsafe { serve.pre_exec(|| prctl::set_pdeathsig(Signal::SIGQUIT).map_err(Into::into)) };
        postgres.server = Some(serve.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?);
        postgres.await_ready()?;
        Ok(Some(postgres))
    }

    pub(crate) fn url(&self) -> String {
        format!("postgresql://postgres@localhost/postgres?host={}", self.folder.path().display())
    }

    fn await_ready(&self) -> anyhow::Result<()> {
        let until = Instant::now() + PATIENCE;
        loop {
            let mut ask = self.command("pg_isready")?;
            ask.arg("-h").arg(self.folder.path()).stdout(Stdio::null()).stderr(Stdio::null());
            if ask.status()?.success() {
                return Ok(());
            }
            if Instant::now() > until {
                bail!("PostgreSQL does not take connections");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    fn command(&self, program: &str) -> anyhow::Result<Command> {
        let mut command = Command::new(binary(program).with_context(|| format!("there is no {program}"))?);
        if let Some(user) = &self.user {
            command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
        }
        command.current_dir("/");
        Ok(command)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        if let Ok(pid) = i32::try_from(server.id()) {
            let _ = kill(Pid::from_raw(pid), Signal::SIGQUIT);
        }
        let _ = server.wait();
    }
}

fn binary(name: &str) -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    versions.map(|version| version.path().join("bin").join(name)).filter(|path| path.exists()).max()
}
