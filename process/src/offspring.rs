//! The children of this process, as those share them who make them and who reap them.

use std::os::fd::{AsRawFd, RawFd};
use std::sync::Arc;
use std::{fmt, io};

use muster_domain::LocalIdentity;
use tokio::sync::oneshot;

use crate::child::{ChildKiller, ExitWatch, KillMethod};
use crate::identity;
use crate::orphans::Orphans;
use crate::ownership::Means;
use crate::pidfd::Pidfd;
use crate::plan::{BoundPlan, TreePlan};
use crate::program::SpawnError;
use crate::start_order::StartOrder;
use crate::sys;
use crate::table::{ChildEntry, ChildKind, ChildTable};
use crate::zygote::{ATTACHED, Zygote};

/// What a fork made.
#[derive(Debug)]
pub(crate) struct ForkedChild {
    pub(crate) pid: u32,
    /// `None` for a tree.
    pub(crate) identity: Option<LocalIdentity>,
    pub(crate) keeper: ChildKiller,
    pub(crate) exit: ExitWatch,
}

/// All children, and who makes inits. Whoever makes or reaps a child holds all of this meanwhile, so no pid can be reaped between a
/// child's birth and its entry.
pub(crate) struct Offspring {
    pub(crate) table: ChildTable,
    pub(crate) orphans: Orphans,
    zygote: Option<Zygote>,
}

impl fmt::Debug for Offspring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Offspring").field("zygote", &self.zygote).finish_non_exhaustive()
    }
}

/// What became of an order for a tree.
pub(crate) enum TreeBirth {
    Born(ForkedChild),
    /// There is no zygote that could make it: here is the order back.
    NoZygote(TreePlan),
}

impl Offspring {
    pub(crate) fn new() -> Self {
        Self { table: ChildTable::default(), orphans: Orphans::new(), zygote: None }
    }

    /// Makes a zygote where there is none, or somebody has killed it. Only for the thread that reaps: a zygote, and what it makes, dies
    /// with the thread that forked it.
    pub(crate) fn have_zygote(&mut self) -> io::Result<()> {
        if !self.zygote.as_ref().is_some_and(Zygote::lives) {
            let zygote = Zygote::start()?;
            // Nobody waits for its end.
            let (exit, _) = oneshot::channel();
            self.table.add(zygote.pid, ChildEntry { kind: ChildKind::Child, exit });
            self.zygote = Some(zygote);
        }
        Ok(())
    }

    /// Has a tree's init made.
    pub(crate) fn make_tree(&mut self, plan: TreePlan) -> Result<TreeBirth, SpawnError> {
        let BoundPlan { order, stdio: [stdin, stdout, stderr], report } = &plan.program;
        let attached = [stdin, stdout, stderr, report, &plan.init_lifeline].map(AsRawFd::as_raw_fd);
        let Some(pid) = self.make_init(order, attached).map_err(SpawnError::Fork)? else {
            return Ok(TreeBirth::NoZygote(plan));
        };
        let TreePlan { program, means, lifeline, init_lifeline } = plan;
        // The init has these now. With them closed there is room to hold on to it.
        drop((program, init_lifeline));
        let lifeline = Arc::new(lifeline);
        let (kind, method) = match means {
            Means::PidNamespace { .. } => (ChildKind::Namespace(lifeline), KillMethod::Namespace),
            Means::BestEffort => (ChildKind::Subreaper(Arc::clone(&lifeline)), KillMethod::Subreaper(lifeline)),
        };
        self.enter(pid, kind, method).map(TreeBirth::Born)
    }

    /// The pid of an init that the zygote has made; `None` where there is no zygote that can.
    fn make_init(&mut self, order: &StartOrder, attached: [RawFd; ATTACHED]) -> io::Result<Option<u32>> {
        let Some(zygote) = self.zygote.take_if(|zygote| zygote.lives()) else { return Ok(None) };
        match zygote.make_init(order, attached) {
            Ok(made) => {
                // One that has no room may have got limits of its own, of which this process knows nothing: the next has this process's.
                let has_room = |error: &io::Error| !matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENOMEM));
                self.zygote = made.as_ref().err().is_none_or(has_room).then_some(zygote);
                made.map(Some)
            }
            Err(error) => {
                let is_dead = zygote.end();
                // What it has made and not told of ends with its lifeline, and its program may have begun: then it is not begun again.
                // Who can't look does not know that there is none.
                let has_made_one = self.orphans.find(|pid| self.table.has(pid)).map_or(true, |found| !found.is_empty());
                if is_dead && !has_made_one { Ok(None) } else { Err(zygote_failed(&error)) }
            }
        }
    }

    /// Enters a new child. Where it can't be held on to it is killed, and what it leaves is killed as any other child's.
    pub(crate) fn enter(&mut self, pid: u32, kind: ChildKind, method: KillMethod) -> Result<ForkedChild, SpawnError> {
        let (exit, watch) = oneshot::channel();
        let is_tree = matches!(kind, ChildKind::Namespace(_) | ChildKind::Subreaper(_));
        self.table.add(pid, ChildEntry { kind, exit });
        // Not reaped yet, so the pid is still its own.
        let pidfd = Pidfd::open(pid).map_err(|source| {
            sys::kill(pid as libc::pid_t, libc::SIGKILL);
            SpawnError::Setup { step: "hold on to it", source }
        })?;
        let keeper = ChildKiller::new(Arc::new(pidfd), pid, method);
        // On an error the keeper is dropped, which kills the child.
        let identify = || identity::of(pid).map_err(|source| SpawnError::Setup { step: "identify it", source });
        let identity = (!is_tree).then(identify).transpose()?;
        Ok(ForkedChild { pid, identity, keeper, exit: ExitWatch(watch) })
    }
}

/// Why a zygote did not do it, for people.
fn zygote_failed(error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("the process that makes inits, muster-zygote, was killed or hangs ({error})"))
}
