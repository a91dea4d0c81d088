//! The template's own side, and the first steps of its copies.

use std::ffi::{CStr, c_char};
use std::io::{self, Read as _};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::ptr;

use super::message::{ATTACHED, receive_order};
use super::{MARK, TITLE, UNMARKED};
use crate::mark;
use crate::sys;
use crate::zygote::title;

/// Where a template's orders come from: its stdin.
const SOCKET: RawFd = 0;

/// The option of `prctl` that says where the kernel keeps this thread's number for the C library, which `libc` does not have.
const PR_GET_TID_ADDRESS: libc::c_int = 40;

unsafe extern "C" {
    /// The variables of this process, ended by a null.
    static environ: *const *mut c_char;
}

/// Places in the memory of a template that its copies change.
struct Places {
    /// The command line, as the kernel shows it.
    title: (usize, usize),
    /// The variable that becomes the mark.
    mark: *mut u8,
    /// The number of the only thread, as the C library knows it.
    thread: *mut libc::pid_t,
}

/// Makes copies of this process for its parent, which it was started by as a [template](super). Returns in each copy, which is from then on what
/// the order says; in the template itself it returns an error or never. `parent` is the pid of who started it.
///
/// # Errors
/// Where it was not started so, where it has more than one thread, or where the kernel does not tell what has to be known for it.
pub fn serve(parent: u32) -> io::Result<()> {
    sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as usize).map_err(failed)?;
    if sys::parent_pid() != parent.cast_signed() {
        return Err(io::ErrorKind::NotConnected.into());
    }
    // Others would not be in a copy, and what they hold would stay held there.
    if std::fs::read_dir("/proc/self/task")?.count() != 1 {
        return Err(io::ErrorKind::Unsupported.into());
    }
    let places = Places::find()?;
    // Without what only makes room.
    let title: Vec<u8> = std::env::args_os().take(2).flat_map(|word| [word.as_bytes(), b"\0"].concat()).collect();
    places.entitle(&title);
    say(0)?;
    let mut order = [0; MARK + TITLE];
    loop {
        let Some((length, attached)) = receive_order(SOCKET, &mut order)? else { sys::exit(0) };
        let Some((mark, title)) = order.get(..length).and_then(|order| order.split_at_checked(MARK)) else {
            return Err(io::ErrorKind::InvalidData.into());
        };
        // SAFETY: there is one thread, which is here.
        match unsafe { places.fork() } {
            Ok(0) => return places.become_copy(mark, title, attached),
            Ok(pid) => say(pid)?,
            Err(error) => say(-error.raw_os_error().unwrap_or(libc::EIO))?,
        }
    }
}

fn failed(error: sys::Errno) -> io::Error {
    io::Error::from_raw_os_error(error.into_raw())
}

fn say(word: i32) -> io::Result<()> {
    sys::send(SOCKET, &word.to_ne_bytes()).map(drop).map_err(failed)
}

impl Places {
    fn find() -> io::Result<Self> {
        let unknown = || io::Error::from(io::ErrorKind::Unsupported);
        let title = title().filter(|(_, bytes)| *bytes >= TITLE).ok_or_else(unknown)?;
        let mut thread: *mut libc::pid_t = ptr::null_mut();
        // SAFETY: it writes an address to the place that it is given.
        let asked = unsafe { libc::prctl(PR_GET_TID_ADDRESS, &raw mut thread) };
        // SAFETY: where the kernel says so it writes there at the thread's end, so it is memory of the C library's.
        let is_known = asked == 0 && !thread.is_null() && unsafe { thread.read() } == sys::own_pid();
        let mark = unmarked().ok_or_else(unknown)?;
        if is_known { Ok(Self { title, mark, thread }) } else { Err(unknown()) }
    }

    /// Forks a sibling. Returns zero in it.
    ///
    /// # Safety
    /// This process has one thread, which holds no lock.
    unsafe fn fork(&self) -> io::Result<libc::pid_t> {
        let (flags, none) = (libc::CLONE_PARENT | libc::SIGCHLD, 0 as libc::c_ulong);
        // As the C library's own fork does it: it knows the new thread by its number.
        let flags = (flags | libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID) as libc::c_ulong;
        // SAFETY: with no stack and without CLONE_VM it is a fork. The order of the kernel's last two arguments is x86's own.
        #[cfg(target_arch = "x86_64")]
        let pid = unsafe { libc::syscall(libc::SYS_clone, flags, none, none, self.thread, none) };
        // SAFETY: as above.
        #[cfg(target_arch = "aarch64")]
        let pid = unsafe { libc::syscall(libc::SYS_clone, flags, none, none, none, self.thread) };
        if pid < 0 { Err(io::Error::last_os_error()) } else { Ok(pid as libc::pid_t) }
    }

    /// Makes of this process, which was just forked, what the order says. It ends where it may not begin.
    fn become_copy(&self, mark: &[u8], title: &[u8], attached: [OwnedFd; ATTACHED]) -> io::Result<()> {
        // SAFETY: the variable has the length of a mark, and nobody else is there who could read it.
        unsafe {
            ptr::copy_nonoverlapping(mark::WORKER.as_ptr(), self.mark, mark::WORKER.len());
            ptr::copy_nonoverlapping(mark.as_ptr(), self.mark.add(mark::WORKER.len() + 1), mark.len().min(MARK));
        }
        self.entitle(title);
        let [stdin, stdout, stderr, go] = attached;
        for (number, fd) in [stdin, stdout, stderr].into_iter().enumerate() {
            sys::duplicate(fd.as_raw_fd(), number as RawFd, 0).map_err(failed)?;
        }
        // At its end nobody knows of this process, so there is nothing for it to do.
        if std::fs::File::from(go).read(&mut [0])? == 0 {
            sys::exit(1);
        }
        Ok(())
    }

    fn entitle(&self, title: &[u8]) {
        let (start, bytes) = self.title;
        let area = ptr::with_exposed_provenance_mut::<u8>(start);
        // SAFETY: the area of the command line is writable, and so long.
        unsafe {
            ptr::write_bytes(area, 0, bytes);
            ptr::copy_nonoverlapping(title.as_ptr(), area, title.len().min(bytes));
        }
    }
}

/// The variable that stands where the mark is to be.
fn unmarked() -> Option<*mut u8> {
    // SAFETY: the list ends with a null, and each of it is a string. Nobody changes it meanwhile: there is one thread.
    unsafe {
        let mut place = environ;
        while !place.is_null() && !(*place).is_null() {
            let variable = CStr::from_ptr(*place).to_bytes();
            let value = variable.strip_prefix(UNMARKED.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
            if value.is_some_and(|value| value.len() == MARK) {
                return Some((*place).cast());
            }
            place = place.add(1);
        }
    }
    None
}
