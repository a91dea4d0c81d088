//! The data folder's lock.
//!
//! An open-file-description lock: it belongs to the open file and not to the process, so it is not lost when some other
//! part of the process closes the same file, and it ends with the last descriptor of it. That is this process's only
//! one: it is closed on exec, and an init closes it before it does anything else. (Should this process be killed between the
//! fork of an init and that, the lock ends some microseconds after it.)

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

/// The lock, held until dropped or until this process ends, however it does.
#[derive(Debug)]
pub struct DataLock {
    file: File,
}

impl DataLock {
    /// Takes the lock, making the file (mode 0600) where it is missing; `None` where somebody holds it. Does not wait.
    pub fn acquire(path: &Path) -> io::Result<Option<Self>> {
        let file = open(path, OpenOptions::new().write(true).create(true).truncate(false).mode(0o600))?;
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

impl DataLock {
    /// Whether the file whose lock this is still is the one at this path. Where it is not, another process may take a lock there.
    pub fn is_at(&self, path: &Path) -> io::Result<bool> {
        let own = self.file.metadata()?;
        match path.symlink_metadata() {
            Ok(found) => Ok((own.dev(), own.ino()) == (found.dev(), found.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
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
    let file = match open(path, &mut OpenOptions::new()) {
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

/// Opens a regular file, and waits for nothing: an agent may have put a FIFO in its place. std opens with O_CLOEXEC.
fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let file = options.read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOFOLLOW).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::new(io::ErrorKind::InvalidData, "it is no file: somebody has replaced it")),
    }
}

fn whole_file(kind: libc::c_int) -> libc::flock {
    // SAFETY: all zeroes is a valid flock, and l_pid must be 0 for this kind of lock.
    let mut request: libc::flock = unsafe { std::mem::zeroed() };
    request.l_type = kind as libc::c_short;
    request.l_whence = libc::SEEK_SET as libc::c_short;
    request
}
