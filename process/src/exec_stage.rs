//! The last steps of a new process: from the fork to the program. Runs after a fork: no allocation, no lock, no panic, and nothing
//! of the C library.

use std::ffi::{c_char, c_int};
use std::os::fd::RawFd;

use crate::oom::{self, OomScore};
use crate::start_report::StartStep;
use crate::sys::{self, Errno, SignalMask};

/// All that those steps need, in memory that was made ready before the fork.
#[derive(Clone, Copy)]
pub(crate) struct ExecStage {
    pub(crate) path: *const c_char,
    pub(crate) argv: *const *const c_char,
    pub(crate) env: *const *const c_char,
    /// The folder to start in; null: the one that this process is in.
    pub(crate) folder: *const c_char,
    /// What becomes descriptors 0, 1 and 2; all are above 2, so that none overwrites another.
    pub(crate) stdio: [RawFd; 3],
    pub(crate) no_new_privileges: bool,
    /// The soft limit of open files, where it is not this process's.
    pub(crate) open_files: Option<u64>,
    /// How early the kernel is to end it for want of memory, where this process has another score.
    pub(crate) oom_score: Option<OomScore>,
}

impl ExecStage {
    /// Becomes the program, or reports why not and exits. `parent` is who must still be the parent.
    ///
    /// # Safety
    /// Only on the child's side of a fork, with all signals blocked and their handlers reset.
    pub(crate) unsafe fn become_program(&self, report: RawFd, parent: libc::pid_t) -> ! {
        let _ = sys::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as usize);
        // It may have died before that: then nobody will send the signal.
        if sys::parent_pid() != parent {
            sys::exit(127);
        }
        sys::begin_session();
        say(report, StartStep::Hello, 0);
        if let Some(score) = self.oom_score {
            let _ = sys::write_file(oom::FILE, score.text());
        }
        for (from, to) in self.stdio.into_iter().zip(0..) {
            or_fail(report, StartStep::Stdio, sys::duplicate(from, to, 0));
        }
        if !self.folder.is_null() {
            or_fail(report, StartStep::Folder, sys::enter_folder(self.folder));
        }
        if self.no_new_privileges {
            or_fail(report, StartStep::NoNewPrivileges, sys::prctl(libc::PR_SET_NO_NEW_PRIVS, 1));
        }
        close_others_on_exec();
        if let Some(soft) = self.open_files {
            or_fail(report, StartStep::OpenFiles, limit_open_files(soft));
        }
        sys::block(SignalMask::NONE);
        // SAFETY: lists that were made for this.
        let Err(error) = unsafe { sys::execute(self.path, self.argv, self.env) };
        fail(report, StartStep::Exec, error)
    }
}

/// What a step has come to; where it failed, that is reported and this process exits.
pub(crate) fn or_fail<T>(report: RawFd, step: StartStep, result: sys::Result<T>) -> T {
    match result {
        Ok(value) => value,
        Err(error) => fail(report, step, error),
    }
}

/// Reports an error, and exits.
pub(crate) fn fail(report: RawFd, step: StartStep, error: Errno) -> ! {
    say(report, step, error.into_raw());
    sys::exit(127)
}

fn say(report: RawFd, step: StartStep, errno: c_int) {
    // Where nobody listens any more, nobody needs to know.
    let _ = sys::send(report, &step.message(errno));
}

fn limit_open_files(soft: u64) -> sys::Result<usize> {
    let limit = sys::limit(libc::RLIMIT_NOFILE)?;
    sys::set_limit(libc::RLIMIT_NOFILE, libc::rlimit { rlim_cur: limit.rlim_max.min(soft), ..limit })
}

/// Descriptors that somebody opened without that flag must not reach the program either.
fn close_others_on_exec() {
    if sys::close_range(3, u32::MAX, libc::CLOSE_RANGE_CLOEXEC).is_err() {
        (3..descriptor_bound()).for_each(sys::close_on_exec);
    }
}

/// Closes the descriptors from `first` to before `end`.
pub(crate) fn close_between(first: RawFd, end: RawFd) {
    if first < end && sys::close_range(first as u32, end as u32 - 1, 0).is_err() {
        (first..end.min(descriptor_bound())).for_each(sys::close);
    }
}

/// Above the highest descriptor that can be open, for kernels without `close_range`.
fn descriptor_bound() -> RawFd {
    sys::limit(libc::RLIMIT_NOFILE).map_or(1 << 20, |limit| limit.rlim_cur.min(1 << 20) as RawFd)
}
