//! From what to start to all that a fork needs: everything that can fail or allocate is done here, by the caller.

use std::ffi::{CString, OsStr, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::Command;

use crate::lifeline::Lifeline;
use crate::limits;
use crate::mark;
use crate::ownership::Means;
use crate::program::{Custody, Program, SpawnError, Stdio};
use crate::search;
use crate::start_order::{ExecRules, LONGEST, StartOrder, TreeOrder};
use crate::start_report::StartReport;
use crate::tag::{InitName, Tag};

/// What is to be started.
pub(crate) enum SpawnPlan {
    /// A tree, whose init the zygote makes.
    Tree(TreePlan),
    /// One that the thread that reaps forks.
    Alone(AlonePlan),
}

/// A program without an init.
pub(crate) enum AlonePlan {
    /// One that dies with this process.
    Child(BoundPlan),
    /// A free one, started as fast as can be: the standard library's way shares memory with the new process until its
    /// exec, and copies no page table.
    Free(Box<FreePlan>),
}

/// What the start of a free one needs.
pub(crate) struct FreePlan {
    pub(crate) file: PathBuf,
    pub(crate) argv: Vec<OsString>,
    pub(crate) env: Vec<(OsString, OsString)>,
    pub(crate) cwd: Option<PathBuf>,
    pub(crate) stdio: [OwnedFd; 3],
    /// The worker that it is, by the mark in its environment.
    pub(crate) tag: Option<Tag>,
    /// The command line of a template of it.
    pub(crate) template: Option<Vec<OsString>>,
}

impl FreePlan {
    /// The same for the standard library.
    pub(crate) fn into_command(self) -> Command {
        let [stdin, stdout, stderr] = self.stdio;
        let mut command = Command::new(self.file);
        let mut words = self.argv.into_iter();
        if let Some(name) = words.next() {
            command.arg0(name);
        }
        command.args(words).env_clear().envs(self.env).stdin(stdin).stdout(stdout).stderr(stderr);
        if let Some(cwd) = self.cwd {
            command.current_dir(cwd);
        }
        command
    }
}

/// What the start of one that dies with this process needs.
pub(crate) struct BoundPlan {
    pub(crate) order: StartOrder,
    /// What becomes its descriptors 0, 1 and 2.
    pub(crate) stdio: [OwnedFd; 3],
    /// The end of the start report's socket for the new process.
    pub(crate) report: OwnedFd,
}

/// What a tree needs in addition.
pub(crate) struct TreePlan {
    pub(crate) program: BoundPlan,
    pub(crate) means: Means,
    /// This process's end of the lifeline.
    pub(crate) lifeline: Lifeline,
    pub(crate) init_lifeline: OwnedFd,
}

/// What the caller keeps.
#[derive(Debug)]
pub(crate) struct CallerEnds {
    /// This process's ends of stdin, stdout and stderr.
    pub(crate) pipes: [Option<OwnedFd>; 3],
    /// `None` for a free one, whose start is told by its fork.
    pub(crate) start_report: Option<StartReport>,
    pub(crate) program: PathBuf,
    pub(crate) cwd: Option<PathBuf>,
}

/// Prepares a start.
pub(crate) fn prepare(program: Program, means: Means) -> Result<(SpawnPlan, CallerEnds), SpawnError> {
    let path = search::locate(&program)?;
    let setup = |step| move |source| SpawnError::Setup { step, source };
    let Program {
        file: _,
        argv,
        env,
        cwd,
        stdin,
        stdout,
        stderr,
        custody,
        allow_new_privileges,
        search_path: _,
        template,
    } = program;
    // What bears a worker's mark is that worker, or an agent's program, whose init is to bear it too.
    let tag = env.iter().find(|(name, _)| name == mark::WORKER).map(|(_, worker)| Tag::of(worker));
    let (stdin, stdin_end) = connect(stdin, 0).map_err(setup("set up its stdin"))?;
    let (stdout, stdout_end) = connect(stdout, 1).map_err(setup("set up its stdout"))?;
    let (stderr, stderr_end) = connect(stderr, 2).map_err(setup("set up its stderr"))?;
    let (stdio, pipes) = ([stdin, stdout, stderr], [stdin_end, stdout_end, stderr_end]);
    let mut ends = CallerEnds { pipes, start_report: None, program: path, cwd };
    if custody == Custody::Free {
        if argv.is_empty() {
            return Err(SpawnError::Empty);
        }
        // The standard library does not say which step failed.
        ends.cwd.as_deref().map_or(Ok(()), search::check_folder)?;
        let (file, cwd) = (ends.program.clone(), ends.cwd.clone());
        let plan = FreePlan { file, argv, env, cwd, stdio, tag, template };
        return Ok((SpawnPlan::Alone(AlonePlan::Free(Box::new(plan))), ends));
    }
    let path = c_string("the program's path", ends.program.as_os_str())?;
    let folder = ends.cwd.as_deref().map(|cwd| c_string("the folder's path", cwd.as_os_str())).transpose()?;
    let words = argv.iter().map(|word| c_string("the command line", word)).collect::<Result<Vec<_>, _>>()?;
    let variables = env.iter().map(variable).collect::<Result<Vec<_>, _>>()?;
    let is_tree = custody == Custody::Tree;
    let rules =
        ExecRules { no_new_privileges: !allow_new_privileges, open_files: limits::for_programs().filter(|_| is_tree) };
    let tree = is_tree.then(|| TreeOrder { means, name: InitName::of(tag), limit: tag.map(Tag::limit) });
    let order = StartOrder::new(&path, folder.as_ref(), [&words, &variables], &rules, tree);
    if order.header().length > LONGEST {
        let source = io::Error::from_raw_os_error(libc::E2BIG);
        return Err(SpawnError::Exec { program: ends.program, source });
    }
    let socket = setup("make a socket");
    let (start_report, report) = StartReport::pair().map_err(&socket)?;
    ends.start_report = Some(start_report);
    let report = above_stdio(report).map_err(&socket)?;
    let program = BoundPlan { order, stdio, report };
    if !is_tree {
        return Ok((SpawnPlan::Alone(AlonePlan::Child(program)), ends));
    }
    let (lifeline, init_lifeline) = Lifeline::pair().map_err(&socket)?;
    Ok((SpawnPlan::Tree(TreePlan { program, means, lifeline, init_lifeline }), ends))
}

/// The program's end and this process's end of a standard descriptor.
fn connect(stdio: Stdio, number: i32) -> io::Result<(OwnedFd, Option<OwnedFd>)> {
    match stdio {
        Stdio::Null => {
            let null = File::options().read(number == 0).write(number != 0).open("/dev/null")?;
            Ok((above_stdio(null.into())?, None))
        }
        Stdio::Fd(fd) => Ok((above_stdio(fd)?, None)),
        Stdio::Pipe => {
            let (reader, writer) = io::pipe()?;
            let (reader, writer) = (OwnedFd::from(reader), OwnedFd::from(writer));
            let (theirs, ours) = if number == 0 { (reader, writer) } else { (writer, reader) };
            nix::fcntl::fcntl(&ours, nix::fcntl::FcntlArg::F_SETFL(nix::fcntl::OFlag::O_NONBLOCK))?;
            Ok((above_stdio(theirs)?, Some(ours)))
        }
    }
}

/// The same file behind a descriptor above 2, closed on exec: what becomes 0, 1 or 2 must not be one of them.
fn above_stdio(fd: OwnedFd) -> io::Result<OwnedFd> {
    if fd.as_raw_fd() > 2 {
        return Ok(fd);
    }
    let above = nix::fcntl::fcntl(&fd, nix::fcntl::FcntlArg::F_DUPFD_CLOEXEC(3))?;
    // SAFETY: just made, owned by nobody else.
    Ok(unsafe { OwnedFd::from_raw_fd(above) })
}

fn variable((name, value): &(OsString, OsString)) -> Result<CString, SpawnError> {
    let mut text = name.clone();
    text.push("=");
    text.push(value);
    c_string("the environment", &text)
}

fn c_string(what: &'static str, text: &OsStr) -> Result<CString, SpawnError> {
    CString::new(text.as_bytes()).map_err(|_| SpawnError::NulByte { what, text: text.into() })
}
