//! What a new process says on its way to its program.
//!
//! A pair of packet sockets. The new process says hello, which the kernel stamps with its pid *as the receiver counts*,
//! whatever namespace it is in. Then either a failure follows, or the exec closes the socket.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, OwnedFd};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::lifeline::socket_pair;

/// The steps that are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum StartStep {
    Hello,
    Maps,
    Signals,
    Fork,
    Stdio,
    Folder,
    NoNewPrivileges,
    OpenFiles,
    Exec,
}

impl StartStep {
    const ALL: [Self; 9] = [
        Self::Hello,
        Self::Maps,
        Self::Signals,
        Self::Fork,
        Self::Stdio,
        Self::Folder,
        Self::NoNewPrivileges,
        Self::OpenFiles,
        Self::Exec,
    ];

    /// The step and an errno.
    pub(crate) fn message(self, errno: i32) -> [u8; 5] {
        let [a, b, c, d] = errno.to_ne_bytes();
        [self as u8, a, b, c, d]
    }

    fn parse(message: [u8; 5]) -> Option<(Self, i32)> {
        let [step, a, b, c, d] = message;
        let step = Self::ALL.into_iter().find(|known| *known as u8 == step)?;
        Some((step, i32::from_ne_bytes([a, b, c, d])))
    }

    /// What was being done, for people.
    pub(crate) const fn doing(self) -> &'static str {
        match self {
            Self::Hello => "start",
            Self::Maps => "map its user into a user namespace",
            Self::Signals => "watch signals",
            Self::Fork => "fork the program",
            Self::Stdio => "set up its standard descriptors",
            Self::Folder => "enter its folder",
            Self::NoNewPrivileges => "renounce new privileges",
            Self::OpenFiles => "set its limit of open files",
            Self::Exec => "run the program",
        }
    }
}

/// How a start went.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum StartOutcome {
    /// The program runs, with this pid.
    Runs(u32),
    /// A step failed with this errno.
    Failed(StartStep, i32),
    /// It died without a word.
    Silent,
}

/// The receiving end.
#[derive(Debug)]
pub(crate) struct StartReport(OwnedFd);

impl StartReport {
    /// The receiver, and the end for the new process, closed on exec.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (receiver, sender) = socket_pair(libc::SOCK_SEQPACKET)?;
        let on: libc::c_int = 1;
        let (fd, length) = (receiver.as_raw_fd(), mem::size_of_val(&on) as libc::socklen_t);
        // SAFETY: a descriptor that we hold; an int as this option and the next call want it.
        let done = unsafe {
            libc::setsockopt(fd, libc::SOL_SOCKET, libc::SO_PASSCRED, (&raw const on).cast(), length) == 0
                && libc::fcntl(fd, libc::F_SETFL, libc::O_RDWR | libc::O_NONBLOCK) == 0
        };
        if done { Ok((Self(receiver), sender)) } else { Err(io::Error::last_os_error()) }
    }

    /// Listens until the program runs or failed to.
    pub(crate) async fn wait(self) -> io::Result<StartOutcome> {
        // SAFETY: the descriptor is owned by what is registered, and so open for as long.
        let socket = unsafe { AsyncFd::register_with_interest(self.0, Interest::READABLE) }?;
        let mut outcome = StartOutcome::Silent;
        loop {
            let message = socket.async_io(Interest::READABLE, receive).await?;
            match message {
                Some((StartStep::Hello, _, pid)) => outcome = StartOutcome::Runs(pid),
                Some((step, errno, _)) => return Ok(StartOutcome::Failed(step, errno)),
                None => return Ok(outcome),
            }
        }
    }
}

/// Room for one control message with a `ucred`, aligned as such a message must be.
#[repr(C, align(8))]
struct ControlMessage([u8; 64]);

/// One message with the pid of its sender; `None` at the end.
fn receive(socket: &OwnedFd) -> io::Result<Option<(StartStep, i32, u32)>> {
    let (mut message, mut control) = ([0u8; 5], ControlMessage([0; 64]));
    let mut part = libc::iovec { iov_base: message.as_mut_ptr().cast(), iov_len: message.len() };
    // SAFETY: zeroes are a valid header; its pointers are to the locals above, with their lengths.
    let (read, pid) = unsafe {
        let mut header: libc::msghdr = mem::zeroed();
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.0.as_mut_ptr().cast();
        header.msg_controllen = control.0.len() as _;
        let read = libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_CMSG_CLOEXEC);
        (read, if read > 0 { sender(&header) } else { 0 })
    };
    match read {
        0 => Ok(None),
        5 => Ok(StartStep::parse(message).map(|(step, errno)| (step, errno, pid))),
        1.. => Err(io::Error::new(io::ErrorKind::InvalidData, "a message of a wrong length")),
        _ => match io::Error::last_os_error() {
            // The sender was killed with something unread: the end too.
            error if error.raw_os_error() == Some(libc::ECONNRESET) => Ok(None),
            error => Err(error),
        },
    }
}

/// The pid of the sender, as this process counts.
unsafe fn sender(header: &libc::msghdr) -> u32 {
    // SAFETY: the header was filled by recvmsg; the type of the message says what it holds.
    unsafe {
        let first = libc::CMSG_FIRSTHDR(header);
        if first.is_null() || (*first).cmsg_type != libc::SCM_CREDENTIALS {
            return 0;
        }
        let credentials: libc::ucred = std::ptr::read_unaligned(libc::CMSG_DATA(first).cast());
        credentials.pid as u32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_read_back() {
        for step in StartStep::ALL {
            assert_eq!(StartStep::parse(step.message(-7)), Some((step, -7)));
        }
        assert_eq!(StartStep::parse([99, 0, 0, 0, 0]), None);
    }
}
