//! The thread that forks and reaps, and all that it owns.

use std::convert::Infallible;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use muster_domain::LocalIdentity;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use tokio::sync::oneshot;

use crate::child::{Custodian, ExitWatch, Grip};
use crate::fork::{Side, SignalsBlocked, clone_process};
use crate::identity;
use crate::init::Init;
use crate::ownership::Means;
use crate::pidfd::Pidfd;
use crate::plan::{Plan, Tree};
use crate::program::SpawnError;
use crate::stage::Stage;
use crate::strays::Strays;
use crate::table::{Kind, Leaves, Table, Ward};
use crate::unproven::{Blow, Unproven};

/// Strays that do not die are struck again after this time.
const STRIKE_AGAIN: Duration = Duration::from_millis(10);

/// A start that is asked for.
pub(crate) struct Request {
    pub(crate) plan: Plan,
    pub(crate) reply: oneshot::Sender<Result<Born, SpawnError>>,
}

/// What a fork made.
#[derive(Debug)]
pub(crate) struct Born {
    pub(crate) identity: LocalIdentity,
    pub(crate) keeper: Custodian,
    pub(crate) exit: ExitWatch,
}

/// What the thread owns. Forking and reaping alternate in it, so no pid can be reaped between a fork and its entry.
pub(crate) struct Keeper {
    bell: Arc<OwnedFd>,
    requests: mpsc::Receiver<Request>,
    table: Table,
    strays: Strays,
    unproven: Unproven,
}

impl Keeper {
    pub(crate) fn new(bell: Arc<OwnedFd>, requests: mpsc::Receiver<Request>) -> Self {
        Self { bell, requests, table: Table::default(), strays: Strays::new(), unproven: Unproven::default() }
    }

    pub(crate) fn run(mut self) {
        loop {
            let timeout = if self.unproven.is_empty() { Duration::MAX } else { STRIKE_AGAIN };
            self.wait(timeout);
            while let Ok(Request { plan, reply }) = self.requests.try_recv() {
                // Where nobody waits for it any more, what is born is dropped here, and so killed.
                let _ = reply.send(self.fork(plan));
            }
            self.reap();
            self.prove();
        }
    }

    fn wait(&self, timeout: Duration) {
        let timeout = PollTimeout::try_from(timeout).unwrap_or(PollTimeout::NONE);
        let mut polls = [PollFd::new(self.bell.as_fd(), PollFlags::POLLIN)];
        // An interruption is a SIGCHLD on this thread, for which there is work as well.
        let _ = nix::poll::poll(&mut polls, timeout);
        let mut count = [0u8; 8];
        let _ = nix::unistd::read(&self.bell, &mut count);
    }

    fn fork(&mut self, plan: Plan) -> Result<Born, SpawnError> {
        match plan {
            Plan::Free { mut command, tag } => {
                let failed = |source| SpawnError::Exec { program: "".into(), source };
                // Dropping the standard library's child neither kills nor reaps it.
                let pid = command.spawn().map_err(failed)?.id();
                // Not reaped yet, so the pid is still its own.
                let pidfd = Pidfd::open(pid).map_err(|source| SpawnError::Setup { step: "hold on to it", source })?;
                self.enter(pid, pidfd, Kind::Free(tag), Grip::Process)
            }
            Plan::Fork { stage, report, tree: None } => {
                let (own, report) = (std::process::id() as libc::pid_t, report.as_raw_fd());
                // SAFETY: the child goes straight to its program.
                let (pid, pidfd) = unsafe { fork(libc::SIGCHLD, || stage.become_program(report, own)) }?;
                self.enter(pid, pidfd, Kind::Child, Grip::Process)
            }
            Plan::Fork { stage, report, tree: Some(tree) } => self.fork_tree(&stage, &report, *tree),
        }
    }

    fn fork_tree(&mut self, stage: &Stage, report: &OwnedFd, tree: Tree) -> Result<Born, SpawnError> {
        let Tree { means, maps, cord, init_cord, name, limit } = tree;
        let (report, init_cord) = (report.as_raw_fd(), init_cord);
        let [stdin, stdout, stderr] = stage.stdio.each_ref().map(AsRawFd::as_raw_fd);
        let mut keep = [stdin, stdout, stderr, report, init_cord.as_raw_fd()];
        keep.sort_unstable();
        let maps = maps.as_ref();
        let init =
            Init { stage, means, maps, cord: init_cord.as_raw_fd(), report, keep, name: &name, limit, title: title() };
        // SAFETY: an init does only what is safe after a fork.
        let (pid, pidfd) = unsafe { fork(libc::SIGCHLD | means.clone_flags(), || init.run()) }?;
        let cord = Arc::new(cord);
        let (kind, grip) = match means {
            Means::PidNamespace { .. } => (Kind::Namespace(cord), Grip::Namespace),
            Means::BestEffort => (Kind::Subreaper(Arc::clone(&cord)), Grip::Subreaper(cord)),
        };
        self.enter(pid, pidfd, kind, grip)
    }

    /// Enters a new child, which is not reaped before this returns.
    fn enter(&mut self, pid: u32, pidfd: Pidfd, kind: Kind, grip: Grip) -> Result<Born, SpawnError> {
        let (exit, watch) = oneshot::channel();
        self.table.add(pid, Ward { kind, exit });
        let keeper = Custodian::new(Arc::new(pidfd), pid, grip);
        // On an error the keeper is dropped, which kills the child.
        let identity = identity::of(pid).map_err(|source| SpawnError::Setup { step: "identify it", source })?;
        Ok(Born { identity, keeper, exit: ExitWatch(watch) })
    }

    fn reap(&mut self) {
        loop {
            let mut status = 0;
            // SAFETY: the only wait for any child in this process.
            let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
            if pid <= 0 {
                return;
            }
            // `None` is a stray's zombie: it has no one else.
            match self.table.remove(pid as u32, status) {
                Some(ended) if ended.leaves != Leaves::Nothing => self.unproven.add(ended),
                Some(ended) => ended.tell(),
                None => {}
            }
        }
    }

    /// Tells the ends that are proven now, and strikes what is in the way of the proof.
    fn prove(&mut self) {
        if self.unproven.is_empty() {
            return;
        }
        // Where nobody can look, nothing is proven; it is tried again in a moment.
        let Ok(strays) = self.strays.find(|pid| self.table.has(pid)) else { return };
        match self.unproven.judge(&strays) {
            Blow::Strike(strays) => self.strays.kill(&strays),
            Blow::StrikeThoroughly { spared } => self.strays.kill_thoroughly(self.table.pids().chain(spared)),
        }
    }
}

/// Forks with all signals blocked; the child runs `child`.
///
/// # Safety
/// `child` may do only what is safe after a fork.
unsafe fn fork(flags: libc::c_int, child: impl FnOnce() -> Infallible) -> Result<(u32, Pidfd), SpawnError> {
    let blocked = SignalsBlocked::all();
    // SAFETY: the child's side never returns, since there is no value that it could return.
    let side = unsafe { clone_process(flags) };
    if matches!(side, Ok(Side::Child)) {
        child();
    }
    drop(blocked);
    match side.map_err(SpawnError::Fork)? {
        Side::Parent { pid, pidfd } => Ok((pid, pidfd)),
        Side::Child => Err(SpawnError::Killed),
    }
}

/// Where the kernel reads this process's command line from its memory.
fn title() -> Option<(usize, usize)> {
    static TITLE: OnceLock<Option<(usize, usize)>> = OnceLock::new();
    *TITLE.get_or_init(|| {
        let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
        // arg_start and arg_end are fields 48 and 49; the first after the name is 3.
        let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(45);
        let (start, end): (usize, usize) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        (start != 0 && start < end).then_some((start, end))
    })
}
