//! The data folder's lock.
//!
//! An open-file-description lock: it belongs to the open file and not to the process, so it is not lost when some other
//! part of the process closes the same file, and it ends with the last descriptor of it. That is this process's only
//! one: it is closed on exec, and an init closes it before it does anything else. (Should this process be killed between the
//! fork of an init and that, the lock ends some microseconds after it.)

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

/// The lock, held until dropped or until this process ends, however it does.
#[derive(Debug)]
pub struct DataLock {
    file: File,
}

impl DataLock {
    /// Takes the lock, making the file (mode 0600) where it is missing; `None` where somebody holds it. Does not wait.
    pub fn acquire(path: &Path) -> io::Result<Option<Self>> {
        // std opens with O_CLOEXEC.
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
        let mut request = whole_file(libc::F_WRLCK);
        // SAFETY: a valid descriptor and a valid flock.
        if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_SETLK, &raw mut request) } == 0 {
            return Ok(Some(Self { file }));
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EAGAIN | libc::EACCES) => Ok(None),
            _ => Err(error),
        }
    }
}

impl Drop for DataLock {
    /// Closing alone would leave it to an init that was forked in this moment and has not closed its copy yet.
    fn drop(&mut self) {
        let mut request = whole_file(libc::F_UNLCK);
        // SAFETY: a valid descriptor and a valid flock.
        unsafe { libc::fcntl(self.file.as_raw_fd(), libc::F_OFD_SETLK, &raw mut request) };
    }
}

/// Whether somebody, this process included, holds the lock. Does not take it, and makes no file.
pub fn is_held(path: &Path) -> io::Result<bool> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    let mut request = whole_file(libc::F_WRLCK);
    // SAFETY: a valid descriptor and a valid flock.
    if unsafe { libc::fcntl(file.as_raw_fd(), libc::F_OFD_GETLK, &raw mut request) } != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(request.l_type != libc::F_UNLCK as libc::c_short)
}

fn whole_file(kind: libc::c_int) -> libc::flock {
    // SAFETY: all zeroes is a valid flock, and l_pid must be 0 for this kind of lock.
    let mut request: libc::flock = unsafe { std::mem::zeroed() };
    request.l_type = kind as libc::c_short;
    request.l_whence = libc::SEEK_SET as libc::c_short;
    request
}
