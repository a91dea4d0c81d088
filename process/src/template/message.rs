//! What goes between this process and a template: an order with four descriptors one way, words of four bytes the other.

use std::io;
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

/// Descriptors that go with an order: stdin, stdout, stderr, and where the copy hears that it may begin.
pub(super) const ATTACHED: usize = 4;

/// Room for one control message with those descriptors, aligned as such a message must be.
#[repr(C, align(8))]
struct DescriptorRoom([u8; 64]);

impl DescriptorRoom {
    const ROOM: usize = unsafe { libc::CMSG_SPACE((ATTACHED * size_of::<RawFd>()) as u32) } as usize;
}

const _: () = assert!(DescriptorRoom::ROOM <= size_of::<DescriptorRoom>());

/// What came within the time.
pub(super) enum Received {
    /// A word.
    Word(i32),
    /// Nothing.
    Nothing,
    /// Nothing, and nothing will come any more.
    End,
}

/// Waits for a word.
pub(super) fn receive_word(socket: &OwnedFd, patience: Duration) -> Received {
    let until = Instant::now() + patience;
    loop {
        let mut word = [0u8; 4];
        // SAFETY: a buffer of that length.
        match unsafe { libc::recv(socket.as_raw_fd(), word.as_mut_ptr().cast(), 4, libc::MSG_DONTWAIT) } {
            4 => return Received::Word(i32::from_ne_bytes(word)),
            0.. => return Received::End,
            _ => match io::Error::last_os_error().kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock => {
                    // Rounded up, so that the last millisecond is not spent in turning.
                    let rest = until.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000);
                    if rest == 0 {
                        return Received::Nothing;
                    }
                    let mut poll = libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 };
                    // SAFETY: one valid pollfd. What it says is found out by the next attempt.
                    unsafe { libc::poll(&raw mut poll, 1, rest as libc::c_int) };
                }
                _ => return Received::End,
            },
        }
    }
}

/// Sends an order, as one packet. Never waits.
pub(super) fn send_order(socket: &OwnedFd, order: &[u8], attached: [RawFd; ATTACHED]) -> io::Result<()> {
    let mut control = DescriptorRoom([0; 64]);
    // SAFETY: a header whose pointers are to locals, with their lengths; there is room for these descriptors.
    let sent = unsafe {
        let mut part = libc::iovec { iov_base: order.as_ptr().cast_mut().cast(), iov_len: order.len() };
        let mut header = header_of(&mut part, &mut control);
        let first = libc::CMSG_FIRSTHDR(&raw const header);
        (*first).cmsg_level = libc::SOL_SOCKET;
        (*first).cmsg_type = libc::SCM_RIGHTS;
        (*first).cmsg_len = libc::CMSG_LEN((ATTACHED * size_of::<RawFd>()) as u32) as _;
        libc::CMSG_DATA(first).cast::<[RawFd; ATTACHED]>().write_unaligned(attached);
        libc::sendmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT)
    };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Waits for an order, and returns its length and its descriptors; `None` where nobody can send one any more. One whose descriptors did
/// not all come is an error.
pub(super) fn receive_order(socket: RawFd, order: &mut [u8]) -> io::Result<Option<(usize, [OwnedFd; ATTACHED])>> {
    let mut control = DescriptorRoom([0; 64]);
    // SAFETY: a header whose pointers are to locals, with their lengths. The descriptors are ours.
    unsafe {
        let mut part = libc::iovec { iov_base: order.as_mut_ptr().cast(), iov_len: order.len() };
        let mut header = header_of(&mut part, &mut control);
        let received = loop {
            let received = libc::recvmsg(socket, &raw mut header, libc::MSG_CMSG_CLOEXEC);
            if received >= 0 || io::Error::last_os_error().kind() != io::ErrorKind::Interrupted {
                break received;
            }
        };
        let length = usize::try_from(received).map_err(|_| io::Error::last_os_error())?;
        if length == 0 {
            return Ok(None);
        }
        let first = libc::CMSG_FIRSTHDR(&raw const header);
        let whole = libc::CMSG_LEN((ATTACHED * size_of::<RawFd>()) as u32) as usize;
        if first.is_null() || (*first).cmsg_type != libc::SCM_RIGHTS || (*first).cmsg_len as usize != whole {
            return Err(io::ErrorKind::InvalidData.into());
        }
        let fds = libc::CMSG_DATA(first).cast::<[RawFd; ATTACHED]>().read_unaligned();
        Ok(Some((length, fds.map(|fd| OwnedFd::from_raw_fd(fd)))))
    }
}

fn header_of(part: &mut libc::iovec, control: &mut DescriptorRoom) -> libc::msghdr {
    // SAFETY: all zeroes is a header of nothing.
    let mut header: libc::msghdr = unsafe { mem::zeroed() };
    (header.msg_iov, header.msg_iovlen) = (&raw mut *part, 1);
    (header.msg_control, header.msg_controllen) = (control.0.as_mut_ptr().cast(), DescriptorRoom::ROOM as _);
    header
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::Read;

    use super::*;
    use crate::lifeline::socket_pair;

    #[test]
    fn an_order_arrives_with_its_descriptors_and_words_come_back() {
        let (ours, theirs) = socket_pair(libc::SOCK_SEQPACKET).expect("a pair");
        assert!(matches!(receive_word(&ours, Duration::ZERO), Received::Nothing));
        let (reader, writer) = io::pipe().expect("a pipe");
        send_order(&ours, b"order", [writer.as_raw_fd(); ATTACHED]).expect("sent");
        drop(writer);
        let mut order = [0; 64];
        let (length, attached) = receive_order(theirs.as_raw_fd(), &mut order).expect("received").expect("an order");
        assert_eq!(&order[..length], b"order");
        drop(attached);
        let mut rest = Vec::new();
        File::from(OwnedFd::from(reader)).read_to_end(&mut rest).expect("no other writer is left");
        crate::sys::send(theirs.as_raw_fd(), &7i32.to_ne_bytes()).expect("said");
        assert!(matches!(receive_word(&ours, Duration::from_secs(10)), Received::Word(7)));
        drop(theirs);
        assert!(matches!(receive_word(&ours, Duration::from_secs(10)), Received::End));
    }

    #[test]
    fn the_end_of_all_orders_is_told_from_an_order_without_descriptors() {
        let (ours, theirs) = socket_pair(libc::SOCK_SEQPACKET).expect("a pair");
        crate::sys::send(ours.as_raw_fd(), b"x").expect("sent");
        assert!(receive_order(theirs.as_raw_fd(), &mut [0; 64]).is_err());
        drop(ours);
        assert!(receive_order(theirs.as_raw_fd(), &mut [0; 64]).expect("the end").is_none());
    }
}
