//! The process that makes the inits.
//!
//! A fork copies the page tables of whoever forks, and makes all its memory copy-on-write: for a worker with a few MiB that is most
//! of what a start costs, twice, since an init forks again. So the spawner's thread forks once, when its first tree is asked for: a
//! process that lets go of all memory but what its few functions need. This *zygote* is told on a socket what to start. It makes
//! inits that share its memory, each with a stack of its own, as children of the spawner's thread (`CLONE_PARENT`): that one reaps
//! them, they die with it, and nothing depends on the zygote once they are made.
//!
//! Where an init may not share memory ([`Means::shares_memory`](crate::ownership::Means::shares_memory)) it is forked from the
//! zygote, which has little to copy.
//!
//! What programs inherit they have from the zygote, and so from this process as it was when the zygote was made. Where that has changed
//! the zygote makes way for another: limits and priority are compared at every order, cgroup, umask and the score of the OOM killer once a
//! second ([`Inherited`]). User, groups, mounts, processors and the folder where none is said are not: a worker does not change its own,
//! and a change from outside reaches its next zygote only.
//!
//! Where the kernel or a filter of system calls refuses what a zygote does, or there is no room to tell it anything, an init is forked from
//! this process ([`begin_init`]) as a zygote is: it lets go of its memory, and then makes nothing but itself.

mod exchange;
mod inherited;
mod memory;
mod newborn;
mod process;
mod region;

use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::fork::fork_into;
use crate::lifeline::socket_pair;
use crate::oom::OomScores;
use crate::ownership::{Maps, Means};
use crate::pidfd::Pidfd;
use crate::start_order::StartOrder;
pub(crate) use exchange::{Answer, Exchange};
pub(crate) use inherited::{Inherited, Look};
use memory::Needless;
pub(crate) use memory::title;
pub(crate) use newborn::Newborn;
pub(crate) use process::NAME;
use process::{Role, ZygoteProcess};

/// For so long the zygote may take over one init before it is given up.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3);

/// Descriptors that go with an order: stdin, stdout, stderr, where the start is told, and the lifeline.
pub(crate) const ATTACHED: usize = 5;

/// Room for one control message with those descriptors, aligned as such a message must be.
#[repr(C, align(8))]
struct Attachment([u8; 64]);

impl Attachment {
    const ROOM: usize = unsafe { libc::CMSG_SPACE((ATTACHED * size_of::<RawFd>()) as u32) } as usize;
}

/// A zygote, as this process holds it. Dropping it kills it; what it made lives on.
#[derive(Debug)]
pub(crate) struct Zygote {
    socket: OwnedFd,
    pub(crate) pid: u32,
    pidfd: Pidfd,
    /// Who is made by its last order.
    pub(crate) newborn: Arc<Newborn>,
    inherited: Inherited,
    looked: Look,
}

impl Zygote {
    /// Makes one, as a child of this thread, which has to live as long as what is to be made.
    pub(crate) fn start() -> io::Result<Self> {
        let (socket, theirs) = socket_pair(libc::SOCK_STREAM)?;
        let newborn = Arc::new(Newborn::new()?);
        let inherited = Inherited::now();
        let stack = 0u8;
        let role = Role::Zygote { newborn: newborn.place() };
        let process = prepare((&raw const stack).addr(), &theirs, role)?;
        // SAFETY: the zygote's process does only what is safe after a fork.
        let (pid, pidfd) = unsafe { fork_into(libc::SIGCHLD, || process.run()) }?;
        Ok(Self { socket, pid, pidfd, newborn, inherited, looked: Look::now() })
    }

    /// Whether it can be told anything.
    pub(crate) fn lives(&self) -> bool {
        !self.pidfd.is_dead()
    }

    /// Whether programs would inherit from it what they would from this process.
    pub(crate) fn is_like_its_parent(&mut self) -> bool {
        self.inherited.is_current(&mut self.looked)
    }

    /// Kills it, and says whether it is dead.
    pub(crate) fn end(self) -> bool {
        let _ = self.pidfd.signal(Signal::SIGKILL);
        let until = Instant::now() + PATIENCE;
        let mut poll = libc::pollfd { fd: self.pidfd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        loop {
            let rest = until.saturating_duration_since(Instant::now()).as_millis() as libc::c_int;
            // SAFETY: one valid pollfd.
            match unsafe { libc::poll(&raw mut poll, 1, rest) } {
                0 => return false,
                1.. => return true,
                _ if Instant::now() >= until => return false,
                _ => {}
            }
        }
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        let _ = self.pidfd.signal(Signal::SIGKILL);
    }
}

/// An init that was forked, and waits for its order.
#[derive(Debug)]
pub(crate) struct WaitingInit(OwnedFd);

impl WaitingInit {
    /// Tells it what to start. Where that fails it ends.
    pub(crate) fn tell(self, order: &StartOrder) -> io::Result<()> {
        exchange::send(order, self.0.as_raw_fd(), Instant::now() + PATIENCE)
    }
}

/// Forks an init from this process, as a child of this thread. It has these descriptors from the fork.
pub(crate) fn begin_init(means: Means, attached: [RawFd; ATTACHED]) -> io::Result<(u32, WaitingInit)> {
    let (socket, theirs) = socket_pair(libc::SOCK_STREAM)?;
    let stack = 0u8;
    let process = prepare((&raw const stack).addr(), &theirs, Role::Init { attached })?;
    // SAFETY: as a zygote's.
    let (pid, _) = unsafe { fork_into(libc::SIGCHLD | means.clone_flags(), || process.run()) }?;
    Ok((pid, WaitingInit(socket)))
}

/// All that the new process needs. It goes on using the stack with this address in it.
fn prepare(stack: usize, socket: &OwnedFd, role: Role) -> io::Result<ZygoteProcess> {
    Ok(ZygoteProcess {
        socket: socket.as_raw_fd(),
        parent: std::process::id() as libc::pid_t,
        maps: Maps::own(),
        title: title(),
        needless: Needless::find(stack)?,
        page: crate::memory::page_size(),
        oom: OomScores::now(),
        priority: inherited::priority(),
        role,
    })
}
