//! The children of this process, as those share them who make them and who reap them.

use std::io;
use std::sync::Arc;

use muster_domain::LocalIdentity;
use tokio::sync::oneshot;

use crate::child::{ChildKiller, ExitWatch, KillMethod};
use crate::identity;
use crate::lifeline::Lifeline;
use crate::orphans::Orphans;
use crate::ownership::Means;
use crate::pidfd::Pidfd;
use crate::program::SpawnError;
use crate::sys;
use crate::table::{ChildEntry, ChildKind, ChildTable, EndedChild};
use crate::tag::name_of;
use crate::zygote::{NAME, Newborn};

/// What a fork made.
#[derive(Debug)]
pub(crate) struct ForkedChild {
    pub(crate) pid: u32,
    /// `None` for a tree.
    pub(crate) identity: Option<LocalIdentity>,
    pub(crate) keeper: ChildKiller,
    pub(crate) exit: ExitWatch,
}

/// All children. Whoever enters or reaps one holds all of this meanwhile, so no pid can be reaped between what this process forks and its
/// entry. What a zygote makes is waited for without it, so that nothing else waits for a zygote: such an init may end before it is entered.
/// It is known by what the kernel has told of it ([`Newborn`]), and its end is kept for whoever enters it.
pub(crate) struct Offspring {
    table: ChildTable,
    orphans: Orphans,
    expected: Vec<Expected>,
    /// Children that had ended when they were entered.
    ended: Vec<EndedChild>,
}

/// An init that a zygote was told to make.
struct Expected {
    newborn: Arc<Newborn>,
    /// It was reaped before it was entered: its status, and a hold on it.
    end: Option<(i32, io::Result<Pidfd>)>,
}

impl Expected {
    /// Whether it is this process. Reaped, its pid may be another's.
    fn is(&self, pid: u32) -> bool {
        self.end.is_none() && self.newborn.pid() == Some(pid)
    }
}

impl Offspring {
    pub(crate) fn new() -> Self {
        Self { table: ChildTable::default(), orphans: Orphans::new(), expected: Vec::new(), ended: Vec::new() }
    }

    /// From now on what this tells of is no orphan, until it is entered or given up.
    pub(crate) fn expect(&mut self, newborn: Arc<Newborn>) {
        self.expected.push(Expected { newborn, end: None });
    }

    /// No init comes by this.
    pub(crate) fn give_up(&mut self, newborn: &Arc<Newborn>) {
        self.take_expected(newborn);
    }

    /// Enters the init of a tree, which may have ended before where it was expected.
    pub(crate) fn enter_tree(
        &mut self,
        pid: u32,
        means: Means,
        lifeline: Lifeline,
        newborn: Option<&Arc<Newborn>>,
    ) -> Result<ForkedChild, SpawnError> {
        let lifeline = Arc::new(lifeline);
        let (kind, method) = match means {
            Means::PidNamespace { .. } => (ChildKind::Namespace(lifeline), KillMethod::Namespace),
            Means::BestEffort => (ChildKind::Subreaper(Arc::clone(&lifeline)), KillMethod::Subreaper(lifeline)),
        };
        let end = newborn.and_then(|newborn| self.take_expected(newborn));
        let Some((status, pidfd)) = end else { return self.enter(pid, kind, method) };
        let (exit, watch) = oneshot::channel();
        self.ended.push(ChildEntry { kind, exit }.end(status));
        let keeper = ChildKiller::new(Arc::new(pidfd.map_err(cannot_hold)?), pid, method);
        Ok(ForkedChild { pid, identity: None, keeper, exit: ExitWatch(watch) })
    }

    fn take_expected(&mut self, newborn: &Arc<Newborn>) -> Option<(i32, io::Result<Pidfd>)> {
        let index = self.expected.iter().position(|expected| Arc::ptr_eq(&expected.newborn, newborn))?;
        self.expected.swap_remove(index).end
    }

    /// Enters a new child. Where it can't be held on to it is killed, and what it leaves is killed as any other child's.
    pub(crate) fn enter(&mut self, pid: u32, kind: ChildKind, method: KillMethod) -> Result<ForkedChild, SpawnError> {
        let (exit, watch) = oneshot::channel();
        let is_tree = matches!(kind, ChildKind::Namespace(_) | ChildKind::Subreaper(_));
        self.table.add(pid, ChildEntry { kind, exit });
        // Not reaped yet, so the pid is still its own.
        let pidfd = Pidfd::open(pid).map_err(|source| {
            sys::kill(pid as libc::pid_t, libc::SIGKILL);
            cannot_hold(source)
        })?;
        let keeper = ChildKiller::new(Arc::new(pidfd), pid, method);
        // On an error the keeper is dropped, which kills the child.
        let identify = || identity::of(pid).map_err(|source| SpawnError::Setup { step: "identify it", source });
        let identity = (!is_tree).then(identify).transpose()?;
        Ok(ForkedChild { pid, identity, keeper, exit: ExitWatch(watch) })
    }

    /// Enters a child for whose end nobody waits.
    pub(crate) fn enter_unwatched(&mut self, pid: u32) {
        let (exit, _) = oneshot::channel();
        self.table.add(pid, ChildEntry { kind: ChildKind::Child, exit });
    }

    /// Whether a child may end before it is entered.
    pub(crate) fn expects_any(&self) -> bool {
        !self.expected.is_empty()
    }

    /// A hold on a zombie that is about to be reaped and was not entered yet, while its pid is its own.
    pub(crate) fn hold(&self, pid: u32) -> Option<io::Result<Pidfd>> {
        (!self.table.has(pid) && self.is_newborn(pid)).then(|| Pidfd::open(pid))
    }

    /// A child was reaped. `None` where nobody is to be told: it was an orphan, or has yet to be entered.
    pub(crate) fn reaped(&mut self, pid: u32, status: i32, hold: Option<io::Result<Pidfd>>) -> Option<EndedChild> {
        if let Some(pidfd) = hold
            && let Some(expected) = self.expected.iter_mut().find(|expected| expected.is(pid))
        {
            expected.end = Some((status, pidfd));
            return None;
        }
        self.table.remove(pid, status)
    }

    /// Whether there is somebody whose end nobody has looked at.
    pub(crate) fn has_ended(&self) -> bool {
        !self.ended.is_empty()
    }

    /// Those that were reaped before they were entered, and are entered by now.
    pub(crate) fn take_ended(&mut self) -> Vec<EndedChild> {
        std::mem::take(&mut self.ended)
    }

    /// The orphans there are.
    pub(crate) fn find_orphans(&self) -> io::Result<Vec<u32>> {
        self.orphans.find(|pid| self.is_ours(pid))
    }

    /// Kills these orphans, but for those that may be no orphans.
    pub(crate) fn kill(&self, mut orphans: Vec<u32>) {
        orphans.retain(|pid| !self.may_be_newborn(*pid));
        self.orphans.kill(&orphans);
    }

    /// Stops and kills all orphans but these, and all that is below them.
    pub(crate) fn kill_thoroughly(&self, spared: &[u32]) {
        self.orphans.kill_thoroughly(|pid| spared.contains(&pid) || self.may_be_newborn(pid) || self.table.has(pid));
    }

    fn is_ours(&self, pid: u32) -> bool {
        self.table.has(pid) || self.is_newborn(pid)
    }

    fn is_newborn(&self, pid: u32) -> bool {
        self.expected.iter().any(|expected| expected.is(pid))
    }

    /// There is a moment in which a child can be seen and the kernel has not told yet whose it is. It has not run then, and so it has
    /// the zygote's name. An orphan that has taken that name counts as an orphan, but is not killed while an init is being made. The
    /// name is asked first: who has another one by then was told of before.
    fn may_be_newborn(&self, pid: u32) -> bool {
        self.expects_any() && (name_of(pid) == NAME.to_bytes() || self.is_newborn(pid))
    }
}

fn cannot_hold(source: io::Error) -> SpawnError {
    SpawnError::Setup { step: "hold on to it", source }
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};
    use std::time::{Duration, Instant};

    use super::*;
    use crate::child::ProcessExit;

    /// A child with the name that one has who was just made.
    fn child(folder: &tempfile::TempDir) -> Child {
        let program = folder.path().join("muster-zygote");
        std::fs::copy("/bin/sleep", &program).expect("copied");
        let child = Command::new(program).arg("1000").spawn().expect("it starts");
        let until = Instant::now() + Duration::from_secs(20);
        while name_of(child.id()) != NAME.to_bytes() {
            assert!(Instant::now() < until);
            std::thread::yield_now();
        }
        child
    }

    fn dies(pidfd: &Pidfd) -> bool {
        let until = Instant::now() + Duration::from_secs(20);
        while !pidfd.is_dead() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        pidfd.is_dead()
    }

    #[test]
    fn who_may_be_about_to_be_entered_is_in_the_way_of_a_proof_and_is_not_killed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (mut offspring, mut child) = (Offspring::new(), child(&folder));
        let (pid, pidfd) = (child.id(), Pidfd::open(child.id()).expect("it lives"));
        // What there was before is inherited; only this one is asked about.
        offspring.orphans = Orphans::without_inherited();
        let newborn = Arc::new(Newborn::of(0).expect("memory"));
        offspring.expect(Arc::clone(&newborn));
        assert!(offspring.find_orphans().expect("a list").contains(&pid) && offspring.may_be_newborn(pid));
        offspring.kill(vec![pid]);
        std::thread::sleep(Duration::from_millis(20));
        assert!(!pidfd.is_dead());
        offspring.give_up(&newborn);
        offspring.kill(vec![pid]);
        assert!(dies(&pidfd));
        let _ = child.wait();
    }

    #[test]
    fn an_init_that_ends_before_its_entry_is_told_of_after_it() {
        let (mut offspring, pid) = (Offspring::new(), 1_000_000_007);
        let newborn = Arc::new(Newborn::of(pid).expect("memory"));
        assert!(offspring.hold(pid).is_none() && !offspring.is_ours(pid));
        offspring.expect(Arc::clone(&newborn));
        assert!(offspring.hold(pid).is_some() && offspring.is_ours(pid));
        // Some process that is dead by then, as an init would be.
        let mut other = Command::new("sleep").arg("1000").spawn().expect("it starts");
        let hold = Pidfd::open(other.id());
        let _ = other.kill().and_then(|()| other.wait());
        assert!(offspring.reaped(pid, 0, Some(hold)).is_none());
        assert!(!offspring.is_ours(pid), "its pid may be another's by now");
        assert!(offspring.take_ended().is_empty());
        let (lifeline, init) = Lifeline::pair().expect("a pair");
        std::io::Write::write_all(&mut std::os::unix::net::UnixStream::from(init), &(7i32 << 8).to_ne_bytes())
            .expect("said");
        let means = Means::PidNamespace { user_namespace: false, private_proc: false };
        let mut entered = offspring.enter_tree(pid, means, lifeline, Some(&newborn)).expect("entered");
        let [ended] = <[EndedChild; 1]>::try_from(offspring.take_ended()).ok().expect("one");
        ended.tell();
        assert_eq!(entered.exit.0.try_recv(), Ok(ProcessExit::Code(7)));
    }
}
