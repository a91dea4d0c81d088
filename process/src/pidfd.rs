//! A hold on one process that can never come to mean another.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use nix::sys::signal::Signal;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A descriptor of a process.
#[derive(Debug)]
pub struct Pidfd(OwnedFd);

impl Pidfd {
    /// Opens it. The pid may have been reused before: compare the start time *after* opening, as
    /// [`identity::find`](crate::identity::find) does. `ESRCH` where there is no such process.
    pub fn open(pid: u32) -> io::Result<Self> {
        // SAFETY: a plain system call; the descriptor that it returns is ours.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid as libc::pid_t, 0) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just made, owned by nobody else.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd as RawFd) }))
    }

    /// Takes over a descriptor that `clone` made.
    pub(crate) fn from_fd(fd: OwnedFd) -> Self {
        Self(fd)
    }

    /// Sends a signal. `ESRCH` where the process was reaped.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        // SAFETY: a plain system call on a descriptor that we hold; no siginfo.
        let done = unsafe {
            libc::syscall(libc::SYS_pidfd_send_signal, self.0.as_raw_fd(), signal as i32, std::ptr::null::<u8>(), 0)
        };
        if done < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Whether the process has ended. A zombie has.
    pub fn is_dead(&self) -> bool {
        self.wait_dead(Duration::ZERO)
    }

    /// Waits for that so long at the most, and blocks its thread; whether the process has ended. A signal may end the wait.
    pub(crate) fn wait_dead(&self, patience: Duration) -> bool {
        let mut poll = libc::pollfd { fd: self.0.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        let patience = libc::c_int::try_from(patience.as_millis()).unwrap_or(libc::c_int::MAX);
        // SAFETY: one valid pollfd.
        unsafe { libc::poll(&raw mut poll, 1, patience) > 0 }
    }

    /// Waits until the process has ended; reaping it stays with its parent. Cancel-safe, and several may wait. Needs a
    /// tokio runtime with IO.
    pub async fn dead(&self) -> io::Result<()> {
        // A descriptor of its own, since one can be registered only once.
        // SAFETY: the descriptor is owned by what is registered, and so open for as long.
        let watched = unsafe { AsyncFd::register_with_interest(self.0.try_clone()?, Interest::READABLE) }?;
        watched.readable().await?.retain_ready();
        Ok(())
    }
}

impl AsFd for Pidfd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsRawFd for Pidfd {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}
