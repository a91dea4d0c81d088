//! The last steps of a new process: from the fork to the program. Runs after a fork: no allocation, no lock, no panic.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::ptr;

use crate::start_report::StartStep;

/// All that those steps need, prepared before the fork.
pub(crate) struct ExecStage {
    pub(crate) path: CString,
    pub(crate) argv: CStringList,
    pub(crate) env: CStringList,
    pub(crate) cwd: Option<CString>,
    /// What becomes descriptors 0, 1 and 2; all are above 2, so that none overwrites another.
    pub(crate) stdio: [OwnedFd; 3],
    pub(crate) no_new_privileges: bool,
    /// The soft limit of open files, where it is not this process's.
    pub(crate) open_files: Option<u64>,
}

/// A list of strings as `execve` wants it.
pub(crate) struct CStringList {
    _words: Vec<CString>,
    pointers: Vec<*const libc::c_char>,
}

// SAFETY: the pointers point into the strings beside them, whose bytes do not move with the struct.
unsafe impl Send for CStringList {}

impl CStringList {
    pub(crate) fn new(words: Vec<CString>) -> Self {
        let pointers = words.iter().map(|word| word.as_ptr()).chain([ptr::null()]).collect();
        Self { _words: words, pointers }
    }
}

impl ExecStage {
    /// Becomes the program, or reports why not and exits. `parent` is who must still be the parent.
    ///
    /// # Safety
    /// Only on the child's side of a fork, with all signals blocked and their handlers reset: an init has done that for its program.
    pub(crate) unsafe fn become_program(&self, report: RawFd, parent: libc::pid_t) -> ! {
        // SAFETY: system calls that are safe after a fork, on memory that the parent prepared.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            // It may have died before that: then nobody will send the signal.
            if libc::getppid() != parent {
                libc::_exit(127);
            }
            libc::setsid();
            send(report, StartStep::Hello, 0);
            for (from, to) in self.stdio.iter().zip(0..) {
                if libc::dup2(from.as_raw_fd(), to) < 0 {
                    fail(report, StartStep::Stdio);
                }
            }
            if self.cwd.as_deref().is_some_and(|cwd: &CStr| libc::chdir(cwd.as_ptr()) < 0) {
                fail(report, StartStep::Folder);
            }
            if self.no_new_privileges && libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 {
                fail(report, StartStep::NoNewPrivileges);
            }
            close_others_on_exec();
            if self.open_files.is_some_and(|soft| !limit_open_files(soft)) {
                fail(report, StartStep::OpenFiles);
            }
            unblock_signals();
            libc::execve(self.path.as_ptr(), self.argv.pointers.as_ptr(), self.env.pointers.as_ptr());
            fail(report, StartStep::Exec)
        }
    }
}

/// Reports the error of the last system call, and exits.
///
/// # Safety
/// As [`ExecStage::become_program`].
pub(crate) unsafe fn fail(report: RawFd, step: StartStep) -> ! {
    // SAFETY: errno is this thread's own.
    unsafe {
        send(report, step, *libc::__errno_location());
        libc::_exit(127)
    }
}

unsafe fn send(report: RawFd, step: StartStep, errno: i32) {
    let message = step.message(errno);
    // SAFETY: a buffer of that length. Where nobody listens any more, nobody needs to know.
    unsafe { libc::send(report, message.as_ptr().cast(), message.len(), libc::MSG_NOSIGNAL) };
}

/// Handlers of the parent must not run here, and what it ignores (Rust ignores SIGPIPE) would stay ignored over exec.
///
/// # Safety
/// Only on the child's side of a fork.
pub(crate) unsafe fn reset_signal_handlers() {
    // All zeroes is the default action with nothing masked. The bare call, since the C library hides two signals, which
    // a careless parent may have let this process ignore.
    let (default, mask_size) = ([0u64; 8], 8);
    for signal in 1..65 {
        // SAFETY: a buffer larger than the kernel's struct. Where there is no other action it fails, which is right too.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), ptr::null_mut::<u8>(), mask_size) };
    }
}

unsafe fn unblock_signals() {
    // SAFETY: an empty set.
    unsafe {
        let mut none: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
}

unsafe fn limit_open_files(soft: u64) -> bool {
    // SAFETY: a valid struct to fill, and to read.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) < 0 {
            return false;
        }
        limit.rlim_cur = limit.rlim_max.min(soft);
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) == 0
    }
}

/// Descriptors that somebody opened without that flag must not reach the program either.
unsafe fn close_others_on_exec() {
    // SAFETY: flags of descriptors of this process alone, which is about to exec.
    unsafe {
        if libc::syscall(libc::SYS_close_range, 3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) < 0 {
            for fd in 3..descriptor_bound() {
                libc::fcntl(fd, libc::F_SETFD, libc::FD_CLOEXEC);
            }
        }
    }
}

/// Closes the descriptors from `first` to before `end`.
///
/// # Safety
/// Only on the child's side of a fork.
pub(crate) unsafe fn close_range(first: RawFd, end: RawFd) {
    if first >= end {
        return;
    }
    // SAFETY: descriptors of this process alone.
    unsafe {
        if libc::syscall(libc::SYS_close_range, first as u32, end as u32 - 1, 0) < 0 {
            (first..end.min(descriptor_bound())).for_each(|fd| _ = libc::close(fd));
        }
    }
}

/// Above the highest descriptor that can be open, for kernels without `close_range`.
unsafe fn descriptor_bound() -> RawFd {
    // SAFETY: a valid struct to fill.
    unsafe {
        let mut limit: libc::rlimit = std::mem::zeroed();
        libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit);
        limit.rlim_cur.min(1 << 20) as RawFd
    }
}
