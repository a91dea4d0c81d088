//! A look into a pipe, by either of its ends.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};

/// Bytes that were written and not read yet.
pub fn unread(pipe: BorrowedFd<'_>) -> io::Result<u64> {
    let mut count: libc::c_int = 0;
    // SAFETY: the call writes one int, and nothing else.
    let done = unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &raw mut count) };
    if done < 0 { Err(io::Error::last_os_error()) } else { Ok(u64::try_from(count).unwrap_or_default()) }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::fd::AsFd;

    use super::*;

    #[test]
    fn both_ends_show_what_was_not_read() {
        let (mut reader, mut writer) = io::pipe().expect("a pipe");
        writer.write_all(b"hello").expect("room");
        reader.read_exact(&mut [0; 2]).expect("two bytes");
        assert_eq!(unread(reader.as_fd()).expect("a count"), 3);
        assert_eq!(unread(writer.as_fd()).expect("a count"), 3);
    }
}
