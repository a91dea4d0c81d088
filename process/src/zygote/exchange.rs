//! An order on its way to a zygote, and the answer.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, RawFd};
use std::time::{Duration, Instant};

use super::{ATTACHED, Attachment, Zygote};
use crate::start_order::StartOrder;

/// So soon it is tried again to send what found no memory.
const NO_MEMORY_PAUSE: Duration = Duration::from_millis(2);

/// What a zygote answers.
#[derive(Debug)]
pub(crate) enum Answer {
    /// It has made an init with this pid.
    Made(u32),
    /// It has made none: why.
    Refused(io::Error),
    /// Nothing of the order could be sent, so the zygote is as it was.
    Unsent(io::Error),
    /// It is not to be used any more, and may have made an init.
    Broken(io::Error),
}

/// An order that a zygote works on.
pub(crate) struct Exchange<'a> {
    pub(crate) zygote: Zygote,
    sending: Sending<'a>,
}

impl<'a> Exchange<'a> {
    /// The descriptors go with the order's first byte.
    pub(crate) fn new(zygote: Zygote, order: &'a StartOrder, attached: [RawFd; ATTACHED]) -> Self {
        zygote.newborn.reset();
        Self { zygote, sending: Sending { order, attached: Some(attached), sent: 0 } }
    }

    /// Goes on until there is an answer; `None` where there is none by then.
    pub(crate) fn go_on(&mut self, until: Instant) -> Option<Answer> {
        let socket = self.zygote.socket.as_raw_fd();
        match self.sending.go_on(socket, until).and_then(|()| receive_answer(socket, until)) {
            Ok(answer) => Some(answer),
            Err(Setback::Late) => None,
            Err(Setback::Unsent(error)) => Some(Answer::Unsent(error)),
            Err(Setback::Broken(error)) => Some(Answer::Broken(error)),
        }
    }
}

/// Sends an order alone to who has its descriptors.
pub(super) fn send(order: &StartOrder, socket: RawFd, until: Instant) -> io::Result<()> {
    let mut sending = Sending { order, attached: None, sent: 0 };
    sending.go_on(socket, until).map_err(|setback| match setback {
        Setback::Late => io::ErrorKind::TimedOut.into(),
        Setback::Unsent(error) | Setback::Broken(error) => error,
    })
}

/// An order of which a part may have been sent.
struct Sending<'a> {
    order: &'a StartOrder,
    attached: Option<[RawFd; ATTACHED]>,
    sent: usize,
}

impl Sending<'_> {
    fn go_on(&mut self, socket: RawFd, until: Instant) -> Result<(), Setback> {
        while self.sent < self.order.header().length {
            match self.send_some(socket) {
                Ok(done) => self.sent += done,
                Err(error) => match SendFailure::of(&error, self.sent) {
                    SendFailure::Interrupted => {}
                    SendFailure::Full => wait_for(socket, libc::POLLOUT, until)?,
                    SendFailure::NoMemory => pause(until)?,
                    SendFailure::Unsent => return Err(Setback::Unsent(error)),
                    SendFailure::Broken => return Err(Setback::Broken(error)),
                },
            }
        }
        Ok(())
    }

    fn send_some(&self, socket: RawFd) -> io::Result<usize> {
        let (start, length) = (self.order.as_ptr(), self.order.header().length);
        let mut control = Attachment([0; 64]);
        // SAFETY: the rest of the block; and a header whose pointers are to locals, with their lengths. What is sent may have
        // bytes between its fields that were never written, which is nobody's concern but the kernel's.
        let done = unsafe {
            let place = start.add(self.sent).cast_mut().cast();
            let mut part = libc::iovec { iov_base: place, iov_len: length - self.sent };
            let mut header: libc::msghdr = mem::zeroed();
            (header.msg_iov, header.msg_iovlen) = (&raw mut part, 1);
            if let Some(attached) = self.attached.filter(|_| self.sent == 0) {
                attach(&mut header, &mut control, attached);
            }
            libc::sendmsg(socket, &raw const header, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT)
        };
        usize::try_from(done).map_err(|_| io::Error::last_os_error())
    }
}

fn receive_answer(socket: RawFd, until: Instant) -> Result<Answer, Setback> {
    loop {
        wait_for(socket, libc::POLLIN, until)?;
        let mut answer = [0u8; 4];
        // SAFETY: a buffer of that length.
        match unsafe { libc::recv(socket, answer.as_mut_ptr().cast(), 4, libc::MSG_DONTWAIT) } {
            4 => return Ok(answer_of(i32::from_ne_bytes(answer))),
            0.. => return Err(Setback::Broken(io::ErrorKind::UnexpectedEof.into())),
            _ => match io::Error::last_os_error() {
                error if matches!(error.kind(), io::ErrorKind::Interrupted | io::ErrorKind::WouldBlock) => {}
                error => return Err(Setback::Broken(error)),
            },
        }
    }
}

/// Waits until the socket can be used so.
fn wait_for(socket: RawFd, event: libc::c_short, until: Instant) -> Result<(), Setback> {
    let mut poll = libc::pollfd { fd: socket, events: event, revents: 0 };
    loop {
        // Rounded up, so that the last millisecond is not spent in turning.
        let rest = until.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000) as libc::c_int;
        // SAFETY: one valid pollfd.
        match unsafe { libc::poll(&raw mut poll, 1, rest) } {
            0 => return Err(Setback::Late),
            1.. => return Ok(()),
            _ => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error if error.kind() == io::ErrorKind::OutOfMemory => pause(until)?,
                error => return Err(Setback::Broken(error)),
            },
        }
    }
}

/// Why there is no answer.
enum Setback {
    Late,
    Unsent(io::Error),
    Broken(io::Error),
}

/// What it means that a piece of an order could not be sent.
#[derive(Debug, PartialEq, Eq)]
enum SendFailure {
    Interrupted,
    /// The zygote has yet to read what was sent.
    Full,
    /// The zygote has a part of the order, and gets the rest when there is memory.
    NoMemory,
    /// The zygote is well, and knows nothing of the order.
    Unsent,
    /// The zygote is dead, or can't be told the rest.
    Broken,
}

impl SendFailure {
    fn of(error: &io::Error, sent: usize) -> Self {
        match error.raw_os_error() {
            Some(libc::EINTR) => Self::Interrupted,
            Some(libc::EAGAIN) => Self::Full,
            Some(libc::ENOMEM | libc::ENOBUFS) if sent > 0 => Self::NoMemory,
            // The third: this user has too many descriptors under way in sockets, which need not be ours.
            Some(libc::ENOMEM | libc::ENOBUFS | libc::ETOOMANYREFS | libc::EMFILE | libc::ENFILE) if sent == 0 => {
                Self::Unsent
            }
            _ => Self::Broken,
        }
    }
}

fn pause(until: Instant) -> Result<(), Setback> {
    if Instant::now() >= until {
        return Err(Setback::Late);
    }
    std::thread::sleep(NO_MEMORY_PAUSE);
    Ok(())
}

fn answer_of(word: i32) -> Answer {
    match word {
        pid @ 1.. => Answer::Made(pid as u32),
        errno => Answer::Refused(io::Error::from_raw_os_error(-errno)),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_wrong_with_a_zygote_condemns_it() {
        for (errno, at_first, later) in [
            (libc::EINTR, SendFailure::Interrupted, SendFailure::Interrupted),
            (libc::EAGAIN, SendFailure::Full, SendFailure::Full),
            (libc::ENOMEM, SendFailure::Unsent, SendFailure::NoMemory),
            (libc::ENOBUFS, SendFailure::Unsent, SendFailure::NoMemory),
            (libc::ETOOMANYREFS, SendFailure::Unsent, SendFailure::Broken),
            (libc::EMFILE, SendFailure::Unsent, SendFailure::Broken),
            (libc::EPIPE, SendFailure::Broken, SendFailure::Broken),
            (libc::ECONNRESET, SendFailure::Broken, SendFailure::Broken),
        ] {
            let error = io::Error::from_raw_os_error(errno);
            assert_eq!((SendFailure::of(&error, 0), SendFailure::of(&error, 1)), (at_first, later), "{error}");
        }
    }
}
