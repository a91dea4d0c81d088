//! What to start, and why it could not be.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

/// A program to start. It inherits nothing but limits (in a tree with the soft one of open files that [`limits`](crate::limits)
/// has), umask and user: its environment and descriptors are given here.
#[derive(Debug)]
pub struct Program {
    /// The file to run, where it is not the one that the first word of `argv` names.
    pub file: Option<PathBuf>,
    /// The command line; the first word is the program, looked up in `search_path` where it has no slash.
    pub argv: Vec<OsString>,
    /// The whole environment.
    pub env: Vec<(OsString, OsString)>,
    /// The folder to start in; `None`: this process's.
    pub cwd: Option<PathBuf>,
    /// Descriptor 0.
    pub stdin: Stdio,
    /// Descriptor 1.
    pub stdout: Stdio,
    /// Descriptor 2.
    pub stderr: Stdio,
    /// Who dies with whom.
    pub custody: Custody,
    /// Whether set-user-id programs may give it more rights than this process has. Without effect for a free one, which
    /// keeps what this process has, and in a user namespace, where there are none to be had.
    pub allow_new_privileges: bool,
    /// A `PATH` (folders with `:` between them) in which the program is looked up, by this process; `None`: the
    /// system's default.
    pub search_path: Option<OsString>,
    /// For a free one that bears a worker's mark: the command line by which its file becomes a [template](crate::template) of such
    /// programs. Then this one may be a copy of that, with the same environment. `None`: it is started.
    pub template: Option<Vec<OsString>>,
}

impl Program {
    /// A program with an empty environment, nothing on its descriptors and no new privileges.
    pub fn new(argv: impl IntoIterator<Item = impl Into<OsString>>, custody: Custody) -> Self {
        Self {
            file: None,
            argv: argv.into_iter().map(Into::into).collect(),
            env: Vec::new(),
            cwd: None,
            stdin: Stdio::Null,
            stdout: Stdio::Null,
            stderr: Stdio::Null,
            custody,
            allow_new_privileges: false,
            search_path: None,
            template: None,
        }
    }
}

/// What stands behind a standard descriptor of a program.
#[derive(Debug)]
pub enum Stdio {
    /// `/dev/null`.
    Null,
    /// A pipe, whose other end is in the [`Child`](crate::Child).
    Pipe,
    /// This one.
    Fd(OwnedFd),
}

/// Who dies with whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Custody {
    /// The program and all its descendants, even detached ones, are one thing, which dies with this process.
    Tree,
    /// One process that dies with this process; what it starts itself is its own affair.
    Child,
    /// One process that outlives this process. It calls [`detach`](crate::detach) first, to have its own session.
    Free,
}

/// Why a program was not started. Nothing of it is left when this is returned.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// There is no program in the command line.
    #[error("the command line is empty")]
    Empty,
    /// A NUL byte, which no command line, environment or path can hold.
    #[error("{what} contains a NUL byte: {text:?}")]
    NulByte {
        /// Where it is.
        what: &'static str,
        /// The text.
        text: OsString,
    },
    /// No folder of the search path has it.
    #[error("{program:?} is not in PATH")]
    NotFound {
        /// The program's name.
        program: OsString,
        /// Where it was looked for.
        searched: OsString,
    },
    /// The kernel does not run it.
    #[error("cannot run {}: {source}{}", .program.display(), hint(.program, .source))]
    Exec {
        /// The program's path.
        program: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The folder to start in cannot be entered.
    #[error("cannot start in {}: {source}", .folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// No process could be made for it.
    #[error("cannot fork: {}{}", .0, hint_of_room(.0))]
    Fork(#[source] io::Error),
    /// Something that it needs could not be set up.
    #[error("cannot {step}: {source}{}", hint_of_room(.source))]
    Setup {
        /// What was being done.
        step: &'static str,
        /// What the kernel said.
        source: io::Error,
    },
    /// It was killed before its program ran.
    #[error("it was killed before its program ran")]
    Killed,
}

/// The same of what the host has no more of.
fn hint_of_room(source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::EAGAIN) => {
            " (the host gives no more processes: raise the limit of processes, `ulimit -u` or pids.max of the cgroup)"
        }
        Some(libc::EMFILE | libc::ENFILE) => " (no more open files: raise the limit, `ulimit -n`)",
        Some(libc::ENOMEM) => " (the host has no memory left)",
        _ => "",
    }
}

/// What a bare errno hides from people.
fn hint(program: &std::path::Path, source: &io::Error) -> &'static str {
    match source.raw_os_error() {
        Some(libc::ENOENT) if program.exists() => " (the interpreter in its first line is missing)",
        Some(libc::ENOEXEC) => " (a script needs a first line such as #!/bin/sh)",
        Some(libc::EACCES) if program.is_file() => " (is it executable?)",
        // A free one is forked and run in one step.
        _ => hint_of_room(source),
    }
}
