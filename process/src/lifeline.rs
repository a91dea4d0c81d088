//! The lifeline between an init and its parent: a pair of sockets.
//!
//! Up it carries the raw wait status of the program, four bytes, once. Down it carries nothing but its end: cut on
//! purpose, or closed by the kernel with this process.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// The parent's end.
#[derive(Debug)]
pub(crate) struct Lifeline(OwnedFd);

impl Lifeline {
    /// Both ends, the parent's and the init's, closed on exec.
    pub(crate) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (parent, init) = socket_pair(libc::SOCK_STREAM)?;
        Ok((Self(parent), init))
    }

    /// Tells the init to kill its tree and end. Its last word can still be read.
    pub(crate) fn cut(&self) {
        // SAFETY: a descriptor that we hold. It fails only where the other end is gone, which is what is wanted.
        unsafe { libc::shutdown(self.0.as_raw_fd(), libc::SHUT_WR) };
    }

    /// The raw wait status of the program, where the init sent it. Does not wait.
    pub(crate) fn status(&self) -> Option<i32> {
        let mut bytes = [0u8; 4];
        // SAFETY: a descriptor that we hold, and a buffer of that length.
        let read = unsafe { libc::recv(self.0.as_raw_fd(), bytes.as_mut_ptr().cast(), 4, libc::MSG_DONTWAIT) };
        (read == 4).then(|| i32::from_ne_bytes(bytes))
    }
}

/// A pair of unix sockets, closed on exec.
pub(crate) fn socket_pair(kind: libc::c_int) -> io::Result<(OwnedFd, OwnedFd)> {
    let mut fds = [-1; 2];
    // SAFETY: an array of two.
    if unsafe { libc::socketpair(libc::AF_UNIX, kind | libc::SOCK_CLOEXEC, 0, fds.as_mut_ptr()) } < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: both were just made and are owned by nobody else.
    Ok(unsafe { (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1])) })
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn the_last_word_is_heard_after_the_cut_and_the_end() {
        let (lifeline, init) = Lifeline::pair().expect("a pair");
        let mut init = UnixStream::from(init);
        assert_eq!(lifeline.status(), None);
        lifeline.cut();
        assert_eq!(init.read(&mut [0]).expect("the end"), 0);
        init.write_all(&42i32.to_ne_bytes()).expect("said");
        drop(init);
        assert_eq!(lifeline.status(), Some(42));
        assert_eq!(lifeline.status(), None);
        lifeline.cut();
    }
}
