//! The thread that forks and reaps.

use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout};
use tokio::sync::oneshot;

use crate::child::KillMethod;
use crate::fork::fork_into;
use crate::offspring::{ForkedChild, Offspring};
use crate::plan::{AlonePlan, BoundPlan, FreePlan, TreePlan};
use crate::program::SpawnError;
use crate::start_order::StartOrder;
use crate::sys;
use crate::table::{ChildKind, EndedChild, LeftBehind};
use crate::tag::Tag;
use crate::template::{TemplateOrder, Templates, WaitingCopy};
use crate::unproven::{OrphanAction, Unproven};
use crate::zygote::{WaitingInit, Zygote, begin_init};

/// Orphans that do not die are struck again after this time.
const STRIKE_AGAIN: Duration = Duration::from_millis(10);

/// Any child, for a wait.
const ANY: libc::pid_t = -1;

/// What this thread is asked for.
pub(crate) enum SpawnerRequest {
    /// A start that only it may make.
    Spawn { plan: AlonePlan, reply: oneshot::Sender<Result<ForkedChild, SpawnError>> },
    /// The end of all templates.
    EndTemplates { reply: oneshot::Sender<()> },
    /// A zygote.
    Zygote { reply: mpsc::Sender<io::Result<Zygote>> },
    /// The init of a tree, without a zygote.
    Tree { plan: TreePlan, reply: mpsc::Sender<Result<ForkedInit, SpawnError>> },
}

/// An init that is to be told what to start.
pub(crate) struct ForkedInit {
    child: ForkedChild,
    init: WaitingInit,
    order: StartOrder,
}

/// How others reach the thread. It ends only with the process.
#[derive(Clone, Debug)]
pub(crate) struct ThreadHandle {
    requests: mpsc::Sender<SpawnerRequest>,
    bell: Arc<OwnedFd>,
}

impl ThreadHandle {
    pub(crate) fn ask(&self, request: SpawnerRequest) -> io::Result<()> {
        self.requests.send(request).map_err(|_| gone())?;
        self.ring();
        Ok(())
    }

    /// Has it look at what there is.
    pub(crate) fn ring(&self) {
        ring(self.bell.as_raw_fd());
    }

    /// A new zygote.
    pub(crate) fn zygote(&self) -> io::Result<Zygote> {
        let (reply, answer) = mpsc::channel();
        self.ask(SpawnerRequest::Zygote { reply })?;
        answer.recv().map_err(|_| gone())?
    }

    /// The init of a tree, which nothing but this thread makes.
    pub(crate) fn make_tree(&self, plan: TreePlan) -> Result<ForkedChild, SpawnError> {
        let (reply, answer) = mpsc::channel();
        self.ask(SpawnerRequest::Tree { plan, reply }).map_err(SpawnError::Fork)?;
        let ForkedInit { child, init, order } = answer.recv().map_err(|_| SpawnError::Fork(gone()))??;
        // Here, and not there: somebody may have stopped it. On an error the child is dropped, and so killed.
        init.tell(&order).map_err(SpawnError::Fork)?;
        Ok(child)
    }
}

pub(crate) fn gone() -> io::Error {
    io::Error::other("the thread that forks is gone")
}

/// Rings a bell, also in a signal's handler.
pub(crate) fn ring(bell: RawFd) {
    let one = 1u64.to_ne_bytes();
    // SAFETY: eight bytes, as an eventfd wants. It fails only where the bell rings already.
    unsafe { libc::write(bell, one.as_ptr().cast(), one.len()) };
}

/// What the thread owns.
pub(crate) struct SpawnerThread {
    bell: Arc<OwnedFd>,
    requests: mpsc::Receiver<SpawnerRequest>,
    offspring: Arc<Mutex<Offspring>>,
    unproven: Unproven,
    templates: Templates,
}

impl SpawnerThread {
    /// What the thread is to run, and how it is reached.
    pub(crate) fn new(bell: Arc<OwnedFd>, offspring: Arc<Mutex<Offspring>>) -> (Self, ThreadHandle) {
        let (requests, received) = mpsc::channel();
        let handle = ThreadHandle { requests, bell: Arc::clone(&bell) };
        (
            Self {
                bell,
                requests: received,
                offspring,
                unproven: Unproven::default(),
                templates: Templates::default(),
            },
            handle,
        )
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
                    SpawnerRequest::Spawn { plan, reply } => {
                        let (born, wanted) = fork_by(&mut offspring, &mut self.templates, plan);
                        let _ = reply.send(born);
                        // Behind the one that is waited for.
                        self.templates.prepare(wanted, &mut offspring);
                    }
                    SpawnerRequest::EndTemplates { reply } => {
                        self.templates.end();
                        let _ = reply.send(());
                    }
                    SpawnerRequest::Zygote { reply } => _ = reply.send(fork_zygote(&mut offspring)),
                    SpawnerRequest::Tree { plan, reply } => _ = reply.send(fork_init(&mut offspring, plan)),
                }
            }
            self.reap(&mut offspring);
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

    fn reap(&mut self, offspring: &mut Offspring) {
        offspring.take_ended().into_iter().for_each(|ended| self.take_leave(ended));
        loop {
            // Whoever is not entered yet has to be held on to before its pid can be another's: it is looked who is next, and no other is
            // reaped then.
            let next = if offspring.expects_any() { next_zombie() } else { Some(ANY) };
            let Some(next) = next else { return };
            let hold = offspring.hold(next as u32);
            let mut status = 0;
            // SAFETY: the only wait for any child in this process.
            let pid = unsafe { libc::waitpid(next, &raw mut status, libc::WNOHANG) };
            if pid <= 0 {
                return;
            }
            if let Some(ended) = offspring.reaped(pid as u32, status, hold) {
                self.take_leave(ended);
            }
        }
    }

    /// Tells an end, or keeps it until it is proven.
    fn take_leave(&mut self, ended: EndedChild) {
        if ended.leaves == LeftBehind::Nothing { ended.tell() } else { self.unproven.add(ended) }
    }

    /// Tells the ends that are proven now, and strikes what is in the way of the proof.
    fn prove(&mut self, offspring: &Offspring) {
        if self.unproven.is_empty() {
            return;
        }
        // Where nobody can look, nothing is proven; it is tried again in a moment.
        let Ok(orphans) = offspring.find_orphans() else { return };
        match self.unproven.judge(&orphans) {
            OrphanAction::Strike(orphans) => offspring.kill(orphans),
            OrphanAction::StrikeThoroughly { spared } => offspring.kill_thoroughly(&spared),
        }
    }
}

/// A zygote, entered. It dies with this thread, and so does what it makes.
fn fork_zygote(offspring: &mut Offspring) -> io::Result<Zygote> {
    let zygote = Zygote::start()?;
    offspring.enter_unwatched(zygote.pid);
    Ok(zygote)
}

/// Forks the init of a tree, as a zygote would make it.
fn fork_init(offspring: &mut Offspring, plan: TreePlan) -> Result<ForkedInit, SpawnError> {
    let TreePlan { program: BoundPlan { order, stdio, report }, means, lifeline, init_lifeline } = plan;
    let [stdin, stdout, stderr] = &stdio;
    let attached = [stdin, stdout, stderr, &report, &init_lifeline].map(AsRawFd::as_raw_fd);
    let (pid, init) = begin_init(means, attached).map_err(SpawnError::Fork)?;
    let child = offspring.enter_tree(pid, means, lifeline, None)?;
    Ok(ForkedInit { child, init, order })
}

/// Forks what only the thread that reaps may fork. Says what template there might be for the next of its kind.
fn fork_by(
    offspring: &mut Offspring,
    templates: &mut Templates,
    plan: AlonePlan,
) -> (Result<ForkedChild, SpawnError>, Option<TemplateOrder>) {
    match plan {
        AlonePlan::Free(plan) => match templates.copy(&plan) {
            Some(copy) => (enter_copy(offspring, copy, plan.tag), None),
            None => {
                let wanted = TemplateOrder::of(&plan);
                (start_free(offspring, *plan), wanted)
            }
        },
        AlonePlan::Child(plan) => (fork_child(offspring, plan), None),
    }
}

/// A copy that is entered may begin. Where it can't be entered it ends.
fn enter_copy(offspring: &mut Offspring, copy: WaitingCopy, tag: Option<Tag>) -> Result<ForkedChild, SpawnError> {
    let entered = offspring.enter(copy.pid, ChildKind::Free(tag), KillMethod::Process)?;
    // One that has ended by now is told of by its end.
    let _ = copy.begin();
    Ok(entered)
}

fn start_free(offspring: &mut Offspring, plan: FreePlan) -> Result<ForkedChild, SpawnError> {
    let failed = |source| SpawnError::Exec { program: "".into(), source };
    let tag = plan.tag;
    // Dropping the standard library's child neither kills nor reaps it.
    let pid = plan.into_command().spawn().map_err(failed)?.id();
    offspring.enter(pid, ChildKind::Free(tag), KillMethod::Process)
}

fn fork_child(offspring: &mut Offspring, plan: BoundPlan) -> Result<ForkedChild, SpawnError> {
    let BoundPlan { mut order, stdio, report } = plan;
    let stage = order.stage(stdio.each_ref().map(AsRawFd::as_raw_fd));
    let (own, report) = (std::process::id() as libc::pid_t, report.as_raw_fd());
    let become_program = || {
        sys::reset_signal_actions();
        // SAFETY: this is the child's side of a fork, and goes straight to its program.
        unsafe { stage.become_program(report, own) }
    };
    // SAFETY: as above.
    let (pid, _) = unsafe { fork_into(libc::SIGCHLD, become_program) }.map_err(SpawnError::Fork)?;
    offspring.enter(pid, ChildKind::Child, KillMethod::Process)
}

/// The child that a wait would reap next.
fn next_zombie() -> Option<libc::pid_t> {
    // SAFETY: zeroes are a valid struct to fill. Where there is none, its pid stays zero.
    let pid = unsafe {
        let mut info: libc::siginfo_t = std::mem::zeroed();
        let how = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
        if libc::waitid(libc::P_ALL, 0, &raw mut info, how) == 0 { info.si_pid() } else { 0 }
    };
    (pid > 0).then_some(pid)
}
