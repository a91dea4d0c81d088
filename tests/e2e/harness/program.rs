//! The program as a command that ends.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::wait_until;

/// How long a command may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a command ended, and what it printed.
#[derive(Debug)]
pub(crate) struct Ended {
    /// None where a signal ended it.
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// What it printed, as JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("no JSON ({error}): {self:?}"))
    }

    /// Fails the test unless it ended with this code.
    #[track_caller]
    pub(crate) fn expect(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        self
    }
}

/// The program, deaf to what the environment of the tests says about Muster and Redis, in `folder`.
pub(super) fn command(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_muster"));
    for (name, _) in std::env::vars_os() {
        let text = name.to_string_lossy();
        if ["MUSTER_", "REDIS_", "PGBOUNCER_"].iter().any(|prefix| text.starts_with(prefix)) {
            command.env_remove(&name);
        }
    }
    command.current_dir(folder).env("TMPDIR", folder).stdin(Stdio::null());
    command
}

/// Runs the program in `folder` until it ends by itself.
pub(crate) fn run(folder: &Path, arguments: &[&str], env: &[(&str, &str)]) -> Ended {
    let mut command = command(folder);
    command.args(arguments).envs(env.iter().copied());
    // Into files: a pipe that nobody empties would hold it up.
    let (stdout, stderr) = (capture(), capture());
    command.stdout(stdout.try_clone().expect("a file")).stderr(stderr.try_clone().expect("a file"));
    let mut child = command.spawn().expect("the program starts");
    let mut status = None;
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        wait_until(&format!("`muster {}` ends", arguments.join(" ")), PATIENCE, || {
            status = child.try_wait().expect("a child of ours");
            status.is_some()
        });
    }));
    if let Err(panic) = ended {
        drop(child.kill());
        drop(child.wait());
        eprintln!("{}{}", content(stdout), content(stderr));
        std::panic::resume_unwind(panic);
    }
    Ended { code: status.and_then(|status| status.code()), stdout: content(stdout), stderr: content(stderr) }
}

fn capture() -> std::fs::File {
    tempfile::tempfile().expect("a file")
}

fn content(mut file: std::fs::File) -> String {
    use std::io::{Read, Seek};
    let mut bytes = Vec::new();
    file.rewind().and_then(|()| file.read_to_end(&mut bytes)).expect("a file that can be read");
    String::from_utf8_lossy(&bytes).into_owned()
}
