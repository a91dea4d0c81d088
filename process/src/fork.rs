//! Forking by the bare system call.
//!
//! `fork(3)` knows no namespaces and runs handlers of libraries. What runs in the child of [`clone_process`] may not
//! allocate, lock or panic: other threads of the parent may hold any lock, and they are not there to release it.

use std::convert::Infallible;
use std::io;
use std::os::fd::{FromRawFd, OwnedFd, RawFd};

use crate::pidfd::Pidfd;

/// Which side of a fork this is.
pub(crate) enum ForkSide {
    /// The new process.
    Child,
    /// The old one.
    Parent {
        /// The new one's pid, as the old one counts.
        pid: u32,
        /// A hold on it.
        pidfd: Pidfd,
    },
}

/// Forks with the flags of `clone`, among them the signal that the parent gets at the child's end.
///
/// # Safety
/// On the child's side nothing may be called but what is safe in a signal handler, and it must not return.
pub(crate) unsafe fn clone_process(flags: libc::c_int) -> io::Result<ForkSide> {
    let mut pidfd: RawFd = -1;
    let flags = (flags | libc::CLONE_PIDFD) as libc::c_ulong;
    let (none, place) = (0 as libc::c_ulong, &raw mut pidfd);
    // SAFETY: without CLONE_VM and with no stack it is a fork; the third argument is the place of the pidfd everywhere.
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, none, place, none, none) };
    match pid {
        0 => Ok(ForkSide::Child),
        // SAFETY: the kernel has just made this descriptor for us.
        1.. => Ok(ForkSide::Parent { pid: pid as u32, pidfd: Pidfd::from_fd(unsafe { OwnedFd::from_raw_fd(pidfd) }) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Forks with the flags of `clone` and all signals blocked; the child runs `child`.
///
/// # Safety
/// `child` may do only what is safe after a fork.
pub(crate) unsafe fn fork_into(flags: libc::c_int, child: impl FnOnce() -> Infallible) -> io::Result<(u32, Pidfd)> {
    let blocked = SignalsBlocked::all();
    // SAFETY: the child's side never returns, since there is no value that it could return.
    let side = unsafe { clone_process(flags) };
    if matches!(side, Ok(ForkSide::Child)) {
        child();
    }
    drop(blocked);
    match side? {
        ForkSide::Parent { pid, pidfd } => Ok((pid, pidfd)),
        ForkSide::Child => Err(io::ErrorKind::Other.into()),
    }
}

/// Blocks every signal of this thread until dropped, so that a fork meets no handler of its parent before it has
/// removed them.
pub(crate) struct SignalsBlocked(libc::sigset_t);

impl SignalsBlocked {
    pub(crate) fn all() -> Self {
        // SAFETY: sets that are filled before they are read.
        unsafe {
            let (mut all, mut before) = (std::mem::zeroed(), std::mem::zeroed());
            libc::sigfillset(&raw mut all);
            libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
            Self(before)
        }
    }
}

impl Drop for SignalsBlocked {
    fn drop(&mut self) {
        // SAFETY: the mask that was in force before.
        unsafe { libc::pthread_sigmask(libc::SIG_SETMASK, &raw const self.0, std::ptr::null_mut()) };
    }
}
