//! The program as a command that ends.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::Value;

use super::{faults, wait_until};

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
    command_through(&[], folder)
}

/// The same, started by a command that becomes the program.
pub(super) fn command_through(words: &[String], folder: &Path) -> Command {
    const PROGRAM: &str = env!("CARGO_BIN_EXE_muster");
    let mut command = Command::new(words.first().map_or(PROGRAM, String::as_str));
    if !words.is_empty() {
        command.args(&words[1..]).arg(PROGRAM);
    }
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
    Running::start(folder, arguments, env).end()
}

/// A command that is under way. Dropping it kills it.
pub(crate) struct Running {
    child: Child,
    words: String,
    stdout: File,
    stderr: File,
}

impl Running {
    /// Starts the program in `folder`.
    pub(crate) fn start(folder: &Path, arguments: &[&str], env: &[(&str, &str)]) -> Self {
        let mut command = command(folder);
        command.args(arguments).envs(env.iter().copied());
        // Into files: a pipe that nobody empties would hold it up.
        let (stdout, stderr) = (capture(), capture());
        command.stdout(stdout.try_clone().expect("a file")).stderr(stderr.try_clone().expect("a file"));
        let child = command.spawn().expect("the program starts");
        Self { child, words: arguments.join(" "), stdout, stderr }
    }

    /// What it printed so far.
    pub(crate) fn stdout(&self) -> String {
        content(&self.stdout)
    }

    /// What it said on stderr so far.
    pub(crate) fn stderr(&self) -> String {
        content(&self.stderr)
    }

    /// Sends it what Ctrl-C does.
    pub(crate) fn interrupt(&self) {
        faults::signal(self.child.id(), libc::SIGINT);
    }

    /// Waits until it ends by itself.
    pub(crate) fn end(mut self) -> Ended {
        let mut status = None;
        wait_until(&format!("`muster {}` ends", self.words), PATIENCE, || {
            status = self.child.try_wait().expect("a child of ours");
            status.is_some()
        });
        let (stdout, stderr) = (content(&self.stdout), content(&self.stderr));
        Ended { code: status.and_then(|status| status.code()), stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}{}", content(&self.stdout), content(&self.stderr));
        }
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn capture() -> File {
    tempfile::tempfile().expect("a file")
}

/// From its beginning, wherever the program writes in it: both have one offset.
fn content(file: &File) -> String {
    let length = file.metadata().expect("a file").len();
    let mut bytes = vec![0; usize::try_from(length).expect("a short text")];
    file.read_exact_at(&mut bytes, 0).expect("a file that can be read");
    String::from_utf8_lossy(&bytes).into_owned()
}
