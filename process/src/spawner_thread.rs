//! The thread that forks and reaps, and all that it owns.

use std::convert::Infallible;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::Duration;

use muster_domain::LocalIdentity;
use nix::poll::{PollFd, PollFlags, PollTimeout};
use tokio::sync::oneshot;

use crate::child::{ChildKiller, ExitWatch, KillMethod};
use crate::exec_stage::{ExecStage, reset_signal_handlers};
use crate::fork::{ForkSide, SignalsBlocked, clone_process};
use crate::identity;
use crate::init::Init;
use crate::orphans::Orphans;
use crate::ownership::Means;
use crate::pidfd::Pidfd;
use crate::plan::{SpawnPlan, Tree};
use crate::program::SpawnError;
use crate::table::{ChildEntry, ChildKind, ChildTable, LeftBehind};
use crate::unproven::{OrphanAction, Unproven};

/// Orphans that do not die are struck again after this time.
const STRIKE_AGAIN: Duration = Duration::from_millis(10);

/// A start that is asked for.
pub(crate) struct SpawnRequestMessage {
    pub(crate) plan: SpawnPlan,
    pub(crate) reply: oneshot::Sender<Result<ForkedChild, SpawnError>>,
}

/// What a fork made.
#[derive(Debug)]
pub(crate) struct ForkedChild {
    pub(crate) identity: LocalIdentity,
    pub(crate) keeper: ChildKiller,
    pub(crate) exit: ExitWatch,
}

/// What the thread owns. Forking and reaping alternate in it, so no pid can be reaped between a fork and its entry.
pub(crate) struct SpawnerThread {
    bell: Arc<OwnedFd>,
    requests: mpsc::Receiver<SpawnRequestMessage>,
    table: ChildTable,
    orphans: Orphans,
    unproven: Unproven,
}

impl SpawnerThread {
    pub(crate) fn new(bell: Arc<OwnedFd>, requests: mpsc::Receiver<SpawnRequestMessage>) -> Self {
        Self { bell, requests, table: ChildTable::default(), orphans: Orphans::new(), unproven: Unproven::default() }
    }

    pub(crate) fn run(mut self) {
        loop {
            let timeout = if self.unproven.is_empty() { Duration::MAX } else { STRIKE_AGAIN };
            self.wait(timeout);
            while let Ok(SpawnRequestMessage { plan, reply }) = self.requests.try_recv() {
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

    fn fork(&mut self, plan: SpawnPlan) -> Result<ForkedChild, SpawnError> {
        match plan {
            SpawnPlan::Free { mut command, tag } => {
                let failed = |source| SpawnError::Exec { program: "".into(), source };
                // Dropping the standard library's child neither kills nor reaps it.
                let pid = command.spawn().map_err(failed)?.id();
                // Not reaped yet, so the pid is still its own.
                let pidfd = Pidfd::open(pid).map_err(|source| SpawnError::Setup { step: "hold on to it", source })?;
                self.enter(pid, pidfd, ChildKind::Free(tag), KillMethod::Process)
            }
            SpawnPlan::Fork { stage, report, tree: None } => {
                let (own, report) = (std::process::id() as libc::pid_t, report.as_raw_fd());
                let become_program = || {
                    // SAFETY: this is the child's side of a fork, and goes straight to its program.
                    unsafe {
                        reset_signal_handlers();
                        stage.become_program(report, own)
                    }
                };
                // SAFETY: as above.
                let (pid, pidfd) = unsafe { fork(libc::SIGCHLD, become_program) }?;
                self.enter(pid, pidfd, ChildKind::Child, KillMethod::Process)
            }
            SpawnPlan::Fork { stage, report, tree: Some(tree) } => self.fork_tree(&stage, &report, *tree),
        }
    }

    fn fork_tree(&mut self, stage: &ExecStage, report: &OwnedFd, tree: Tree) -> Result<ForkedChild, SpawnError> {
        let Tree { means, maps, lifeline, init_lifeline, name, limit } = tree;
        let (report, init_lifeline) = (report.as_raw_fd(), init_lifeline);
        let [stdin, stdout, stderr] = stage.stdio.each_ref().map(AsRawFd::as_raw_fd);
        let mut keep = [stdin, stdout, stderr, report, init_lifeline.as_raw_fd()];
        keep.sort_unstable();
        let maps = maps.as_ref();
        let init = Init {
            stage,
            means,
            maps,
            lifeline: init_lifeline.as_raw_fd(),
            report,
            keep,
            name: &name,
            limit,
            title: title(),
        };
        // SAFETY: an init does only what is safe after a fork.
        let (pid, pidfd) = unsafe { fork(libc::SIGCHLD | means.clone_flags(), || init.run()) }?;
        let lifeline = Arc::new(lifeline);
        let (kind, method) = match means {
            Means::PidNamespace { .. } => (ChildKind::Namespace(lifeline), KillMethod::Namespace),
            Means::BestEffort => (ChildKind::Subreaper(Arc::clone(&lifeline)), KillMethod::Subreaper(lifeline)),
        };
        self.enter(pid, pidfd, kind, method)
    }

    /// Enters a new child, which is not reaped before this returns.
    fn enter(
        &mut self,
        pid: u32,
        pidfd: Pidfd,
        kind: ChildKind,
        method: KillMethod,
    ) -> Result<ForkedChild, SpawnError> {
        let (exit, watch) = oneshot::channel();
        self.table.add(pid, ChildEntry { kind, exit });
        let keeper = ChildKiller::new(Arc::new(pidfd), pid, method);
        // On an error the keeper is dropped, which kills the child.
        let identity = identity::of(pid).map_err(|source| SpawnError::Setup { step: "identify it", source })?;
        Ok(ForkedChild { identity, keeper, exit: ExitWatch(watch) })
    }

    fn reap(&mut self) {
        loop {
            let mut status = 0;
            // SAFETY: the only wait for any child in this process.
            let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
            if pid <= 0 {
                return;
            }
            // `None` is a orphan's zombie: it has no one else.
            match self.table.remove(pid as u32, status) {
                Some(ended) if ended.leaves != LeftBehind::Nothing => self.unproven.add(ended),
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
        let Ok(orphans) = self.orphans.find(|pid| self.table.has(pid)) else { return };
        match self.unproven.judge(&orphans) {
            OrphanAction::Strike(orphans) => self.orphans.kill(&orphans),
            OrphanAction::StrikeThoroughly { spared } => self.orphans.kill_thoroughly(self.table.pids().chain(spared)),
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
    if matches!(side, Ok(ForkSide::Child)) {
        child();
    }
    drop(blocked);
    match side.map_err(SpawnError::Fork)? {
        ForkSide::Parent { pid, pidfd } => Ok((pid, pidfd)),
        ForkSide::Child => Err(SpawnError::Killed),
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
