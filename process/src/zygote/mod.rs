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
//! What programs inherit (limits, umask, user, mounts, cgroup, priority, the folder where none is said) they have from the zygote, and so from
//! this process as it was when the zygote was made: what is changed of this process later reaches none of them.

mod memory;
mod process;
mod region;

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use crate::fork::fork_into;
use crate::lifeline::socket_pair;
use crate::ownership::Maps;
use crate::pidfd::Pidfd;
use crate::start_order::StartOrder;
use memory::{Needless, title};
use process::ZygoteProcess;

/// For so long the zygote may take over one init before it is given up: the thread that waits for it reaps nothing meanwhile.
const PATIENCE: Duration = Duration::from_secs(3);

/// Descriptors that go with an order: stdin, stdout, stderr, where the start is told, and the lifeline.
pub(crate) const ATTACHED: usize = 5;

/// Room for one control message with those descriptors, aligned as such a message must be.
#[repr(C, align(8))]
struct Attachment([u8; 64]);

impl Attachment {
    const ROOM: usize = unsafe { libc::CMSG_SPACE((ATTACHED * size_of::<RawFd>()) as u32) } as usize;
}

/// A zygote, as the thread that forked it holds it. Dropping it kills it; what it made lives on.
#[derive(Debug)]
pub(crate) struct Zygote {
    socket: OwnedFd,
    pub(crate) pid: u32,
    pidfd: Pidfd,
}

impl Zygote {
    /// Makes one, as a child of this thread, which has to live as long as what is to be made.
    pub(crate) fn start() -> io::Result<Self> {
        let (socket, theirs) = socket_pair(libc::SOCK_STREAM)?;
        let stack = 0u8;
        let process = ZygoteProcess {
            socket: theirs.as_raw_fd(),
            parent: std::process::id() as libc::pid_t,
            maps: Maps::own(),
            title: title(),
            needless: Needless::find((&raw const stack).addr())?,
            page: crate::memory::page_size(),
        };
        // SAFETY: the zygote's process does only what is safe after a fork.
        let (pid, pidfd) = unsafe { fork_into(|| process.run()) }?;
        Ok(Self { socket, pid, pidfd })
    }

    /// Whether it can be told anything.
    pub(crate) fn lives(&self) -> bool {
        !self.pidfd.is_dead()
    }

    /// Has it make an init, and returns its pid. The outer error is the zygote's own, which is not to be used any more: it may have
    /// made one. The inner one is why there is none.
    pub(crate) fn make_init(&self, order: &StartOrder, attached: [RawFd; ATTACHED]) -> io::Result<io::Result<u32>> {
        let until = Instant::now() + PATIENCE;
        self.send(order, attached, until)?;
        self.ready(libc::POLLIN, until)?;
        let mut answer = [0u8; 4];
        // SAFETY: a buffer of that length.
        let read = unsafe { libc::recv(self.socket.as_raw_fd(), answer.as_mut_ptr().cast(), 4, libc::MSG_DONTWAIT) };
        match (read, i32::from_ne_bytes(answer)) {
            (4, pid @ 1..) => Ok(Ok(pid as u32)),
            (4, errno) => Ok(Err(io::Error::from_raw_os_error(-errno))),
            _ => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Kills it, and says whether it is dead.
    pub(crate) fn end(self) -> bool {
        let _ = self.pidfd.signal(Signal::SIGKILL);
        let mut poll = libc::pollfd { fd: self.pidfd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid pollfd.
        unsafe { libc::poll(&raw mut poll, 1, PATIENCE.as_millis() as libc::c_int) > 0 }
    }

    /// Sends the whole order, and the descriptors with its first byte.
    fn send(&self, order: &StartOrder, attached: [RawFd; ATTACHED], until: Instant) -> io::Result<()> {
        let (start, length) = (order.as_ptr(), order.header().length);
        let mut control = Attachment([0; 64]);
        let mut sent = 0;
        while sent < length {
            // SAFETY: the rest of the block; and a header whose pointers are to locals, with their lengths. What is sent may have
            // bytes between its fields that were never written, which is nobody's concern but the kernel's.
            let done = unsafe {
                let mut part = libc::iovec { iov_base: start.add(sent).cast_mut().cast(), iov_len: length - sent };
                let mut header: libc::msghdr = mem::zeroed();
                (header.msg_iov, header.msg_iovlen) = (&raw mut part, 1);
                if sent == 0 {
                    attach(&mut header, &mut control, attached);
                }
                libc::sendmsg(self.socket.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT)
            };
            match usize::try_from(done) {
                Ok(done) => sent += done,
                Err(_) => match io::Error::last_os_error() {
                    error if error.kind() == io::ErrorKind::WouldBlock => self.ready(libc::POLLOUT, until)?,
                    error => return Err(error),
                },
            }
        }
        Ok(())
    }

    /// Waits until the socket can be used so.
    fn ready(&self, event: libc::c_short, until: Instant) -> io::Result<()> {
        let mut poll = libc::pollfd { fd: self.socket.as_raw_fd(), events: event, revents: 0 };
        loop {
            let rest = until.saturating_duration_since(Instant::now()).as_millis() as libc::c_int;
            // SAFETY: one valid pollfd.
            match unsafe { libc::poll(&raw mut poll, 1, rest) } {
                0 => return Err(io::ErrorKind::TimedOut.into()),
                1.. => return Ok(()),
                _ => match io::Error::last_os_error() {
                    error if error.kind() == io::ErrorKind::Interrupted => {}
                    error => return Err(error),
                },
            }
        }
    }
}

impl Drop for Zygote {
    fn drop(&mut self) {
        let _ = self.pidfd.signal(Signal::SIGKILL);
    }
}

/// Attaches descriptors to a message.
///
/// # Safety
/// The control message lives as long as the header is used.
unsafe fn attach(header: &mut libc::msghdr, control: &mut Attachment, attached: [RawFd; ATTACHED]) {
    (header.msg_control, header.msg_controllen) = (control.0.as_mut_ptr().cast(), Attachment::ROOM as _);
    // SAFETY: there is room for these descriptors.
    unsafe {
        let first = libc::CMSG_FIRSTHDR(header);
        (*first).cmsg_level = libc::SOL_SOCKET;
        (*first).cmsg_type = libc::SCM_RIGHTS;
        (*first).cmsg_len = libc::CMSG_LEN((ATTACHED * size_of::<RawFd>()) as u32) as _;
        libc::CMSG_DATA(first).cast::<[RawFd; ATTACHED]>().write_unaligned(attached);
    }
}
