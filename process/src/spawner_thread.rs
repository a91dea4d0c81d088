//! The thread that forks and reaps.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout};
use tokio::sync::oneshot;

use crate::child::KillMethod;
use crate::fork::fork_into;
use crate::offspring::{ForkedChild, Offspring};
use crate::plan::{AlonePlan, BoundPlan};
use crate::program::SpawnError;
use crate::sys;
use crate::table::{ChildKind, ChildTable, LeftBehind};
use crate::unproven::{OrphanAction, Unproven};

/// Orphans that do not die are struck again after this time.
const STRIKE_AGAIN: Duration = Duration::from_millis(10);

/// What this thread is asked for.
pub(crate) enum SpawnerRequest {
    /// A start that only it may make.
    Spawn { plan: AlonePlan, reply: oneshot::Sender<Result<ForkedChild, SpawnError>> },
    /// A zygote, where there is none.
    Zygote { reply: mpsc::Sender<io::Result<()>> },
}

/// What the thread owns.
pub(crate) struct SpawnerThread {
    bell: Arc<OwnedFd>,
    requests: mpsc::Receiver<SpawnerRequest>,
    offspring: Arc<Mutex<Offspring>>,
    unproven: Unproven,
}

impl SpawnerThread {
    pub(crate) fn new(
        bell: Arc<OwnedFd>,
        requests: mpsc::Receiver<SpawnerRequest>,
        offspring: Arc<Mutex<Offspring>>,
    ) -> Self {
        Self { bell, requests, offspring, unproven: Unproven::default() }
    }

    pub(crate) fn run(mut self) {
        let offspring = Arc::clone(&self.offspring);
        loop {
            let timeout = if self.unproven.is_empty() { Duration::MAX } else { STRIKE_AGAIN };
            self.wait(timeout);
            // Nobody panics while holding it; and were it so, children have to be reaped all the same.
            let mut offspring = offspring.lock().unwrap_or_else(PoisonError::into_inner);
            while let Ok(request) = self.requests.try_recv() {
                // Where nobody waits for it any more, what is born is dropped here, and so killed.
                match request {
                    SpawnerRequest::Spawn { plan, reply } => _ = reply.send(fork_by(&mut offspring, plan)),
                    SpawnerRequest::Zygote { reply } => _ = reply.send(offspring.have_zygote()),
                }
            }
            self.reap(&mut offspring.table);
            self.prove(&offspring);
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

    fn reap(&mut self, table: &mut ChildTable) {
        loop {
            let mut status = 0;
            // SAFETY: the only wait for any child in this process.
            let pid = unsafe { libc::waitpid(-1, &raw mut status, libc::WNOHANG) };
            if pid <= 0 {
                return;
            }
            // `None` is a orphan's zombie: it has no one else.
            match table.remove(pid as u32, status) {
                Some(ended) if ended.leaves != LeftBehind::Nothing => self.unproven.add(ended),
                Some(ended) => ended.tell(),
                None => {}
            }
        }
    }

    /// Tells the ends that are proven now, and strikes what is in the way of the proof.
    fn prove(&mut self, offspring: &Offspring) {
        if self.unproven.is_empty() {
            return;
        }
        // Where nobody can look, nothing is proven; it is tried again in a moment.
        let Offspring { table, orphans: finder, .. } = offspring;
        let Ok(orphans) = finder.find(|pid| table.has(pid)) else { return };
        match self.unproven.judge(&orphans) {
            OrphanAction::Strike(orphans) => finder.kill(&orphans),
            OrphanAction::StrikeThoroughly { spared } => finder.kill_thoroughly(table.pids().chain(spared)),
        }
    }
}

/// Forks what only the thread that reaps may fork.
fn fork_by(offspring: &mut Offspring, plan: AlonePlan) -> Result<ForkedChild, SpawnError> {
    match plan {
        AlonePlan::Free { mut command, tag } => {
            let failed = |source| SpawnError::Exec { program: "".into(), source };
            // Dropping the standard library's child neither kills nor reaps it.
            let pid = command.spawn().map_err(failed)?.id();
            offspring.enter(pid, ChildKind::Free(tag), KillMethod::Process)
        }
        AlonePlan::Child(BoundPlan { mut order, stdio, report }) => {
            let stage = order.stage(stdio.each_ref().map(AsRawFd::as_raw_fd));
            let (own, report) = (std::process::id() as libc::pid_t, report.as_raw_fd());
            let become_program = || {
                sys::reset_signal_actions();
                // SAFETY: this is the child's side of a fork, and goes straight to its program.
                unsafe { stage.become_program(report, own) }
            };
            // SAFETY: as above.
            let (pid, _) = unsafe { fork_into(become_program) }.map_err(SpawnError::Fork)?;
            offspring.enter(pid, ChildKind::Child, KillMethod::Process)
        }
    }
}
