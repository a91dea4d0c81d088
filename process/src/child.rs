//! What a caller holds of a process that it started.

use std::fmt;
use std::future::Future;
use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use muster_domain::LocalIdentity;
use nix::sys::signal::Signal;
use tokio::sync::oneshot;

use crate::lifeline::Lifeline;
use crate::pidfd::Pidfd;
use crate::process_list::ProcessList;
use crate::tag::name_of;

/// A program that runs.
#[derive(Debug)]
pub struct Child {
    /// The program's pid, as this process counts.
    pub pid: u32,
    /// The process whose death means that all is over: the init of a tree, else the program itself.
    pub root: u32,
    /// Who that is, for whoever looks for it later; `None` for a tree, which is gone with this process.
    pub identity: Option<LocalIdentity>,
    /// This process's end of a piped stdin: nonblocking, closed on exec.
    pub stdin: Option<OwnedFd>,
    /// This process's end of a piped stdout: nonblocking, closed on exec.
    pub stdout: Option<OwnedFd>,
    /// This process's end of a piped stderr: nonblocking, closed on exec.
    pub stderr: Option<OwnedFd>,
    /// Ends it. Dropping the keeper of a tree kills the tree.
    pub keeper: ChildKiller,
    /// Tells its end.
    pub exit: ExitWatch,
}

/// How a program ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessExit {
    /// It exited with this code.
    Code(i32),
    /// This signal ended it.
    Signal(i32),
}

impl ProcessExit {
    /// From what `wait` says.
    pub(crate) fn from_raw(status: i32) -> Self {
        if libc::WIFEXITED(status) {
            Self::Code(libc::WEXITSTATUS(status))
        } else {
            Self::Signal(libc::WTERMSIG(status))
        }
    }

    /// The name of the signal, where one ended it and it has a name.
    pub fn signal_name(self) -> Option<&'static str> {
        match self {
            Self::Code(_) => None,
            Self::Signal(signal) => Signal::try_from(signal).ok().map(Signal::as_str),
        }
    }
}

impl fmt::Display for ProcessExit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal(signal) => match self.signal_name() {
                Some(name) => write!(f, "signal {signal} ({name})"),
                None => write!(f, "signal {signal}"),
            },
        }
    }
}

/// Resolves when it is over: for a tree, when the last process of it is proven dead. Cancel-safe when polled by
/// reference; once it has resolved it is not to be polled again.
#[derive(Debug)]
pub struct ExitWatch(pub(crate) oneshot::Receiver<ProcessExit>);

impl Future for ExitWatch {
    type Output = ProcessExit;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<ProcessExit> {
        match Pin::new(&mut self.0).poll(context) {
            Poll::Ready(Ok(exit)) => Poll::Ready(exit),
            // The spawner never ends while this process lives, so nobody drops the sender: there is no end to tell.
            Poll::Ready(Err(_)) | Poll::Pending => Poll::Pending,
        }
    }
}

/// Ends a process or a tree, through descriptors that can never mean another one.
#[derive(Debug)]
pub struct ChildKiller {
    pidfd: Arc<Pidfd>,
    /// The pid behind `pidfd`, for looking only.
    pid: u32,
    method: KillMethod,
    kill_on_drop: AtomicBool,
    kill_ordered: AtomicBool,
}

/// How to kill.
#[derive(Debug, Clone)]
pub(crate) enum KillMethod {
    /// One process: kill it.
    Process,
    /// The init of a pid namespace: kill it, and the kernel kills the rest.
    Namespace,
    /// The init of a tree without a namespace: tell it through the lifeline, since it must outlive what it kills.
    Subreaper(Arc<Lifeline>),
}

impl ChildKiller {
    /// Kills on drop until told otherwise, so that a start that nobody waits for any more leaves nothing.
    pub(crate) fn new(pidfd: Arc<Pidfd>, pid: u32, method: KillMethod) -> Self {
        let (kill_on_drop, kill_ordered) = (AtomicBool::new(true), AtomicBool::new(false));
        Self { pidfd, pid, method, kill_on_drop, kill_ordered }
    }

    /// From now on only a tree is killed on drop.
    pub(crate) fn settle(&self) {
        self.kill_on_drop.store(!matches!(self.method, KillMethod::Process), Ordering::Relaxed);
    }

    /// A hold on it that was opened before it could be reaped, so that it never means another process.
    pub fn pidfd(&self) -> Arc<Pidfd> {
        Arc::clone(&self.pidfd)
    }

    /// Asks it to end: SIGTERM (and SIGCONT, so that a stopped one hears it) to every process of the tree, or to the
    /// child. Without effect on what has ended.
    pub fn ask(&self) {
        // An init forwards SIGTERM, to each with SIGCONT.
        let _ = self.pidfd.signal(Signal::SIGTERM);
        let _ = self.pidfd.signal(Signal::SIGCONT);
    }

    /// Kills it now, a tree with all its processes. Idempotent; the exit watch tells when it is done.
    pub fn kill(&self) {
        let again = self.kill_ordered.swap(true, Ordering::Relaxed);
        match &self.method {
            KillMethod::Subreaper(lifeline) if !again => {
                lifeline.cut();
                // A stopped init would not notice.
                let _ = self.pidfd.signal(Signal::SIGCONT);
            }
            // Its init was told before, and somebody waits: the spawner takes over from it.
            KillMethod::Process | KillMethod::Namespace | KillMethod::Subreaper(_) => {
                let _ = self.pidfd.signal(Signal::SIGKILL);
            }
        }
    }

    /// Why it is not gone though it was killed, for people; `None` where nothing holds it. Reads `/proc`.
    pub fn stuck(&self) -> Option<String> {
        if !self.kill_ordered.load(Ordering::Relaxed) || self.pidfd.is_dead() {
            return None;
        }
        let mut processes = ProcessList::take().ok()?;
        processes.mark_tree(self.pid);
        let stuck: Vec<String> = processes
            .marked()
            .filter(|entry| entry.state == b'D')
            .map(|entry| format!("process {} ({}) is in uninterruptible sleep", entry.pid, name_for_people(entry.pid)))
            .collect();
        (!stuck.is_empty()).then(|| stuck.join(", "))
    }
}

fn name_for_people(pid: u32) -> String {
    match name_of(pid) {
        name if name.is_empty() => "?".into(),
        name => String::from_utf8_lossy(&name).into_owned(),
    }
}

impl Drop for ChildKiller {
    fn drop(&mut self) {
        if self.kill_on_drop.load(Ordering::Relaxed) && !self.kill_ordered.load(Ordering::Relaxed) {
            self.kill();
        }
    }
}
