//! The host, as a test needs it: short of files, or with a clock that is not its own.

use std::path::PathBuf;

/// Bounds the open files of another process to as many as it has: not one more. Gives what the bound was.
pub(crate) fn leave_no_files(pid: u32) -> libc::rlimit {
    let before = files(pid, None);
    let open = std::fs::read_dir(format!("/proc/{pid}/fd")).expect("a process of ours").count();
    files(pid, Some(libc::rlimit { rlim_cur: open as u64, ..before }))
}

/// Leaves another process no file, whatever it closes: those with small numbers are open for as long as it lives.
pub(crate) fn take_files(pid: u32) -> libc::rlimit {
    let before = files(pid, None);
    files(pid, Some(libc::rlimit { rlim_cur: 3, ..before }));
    before
}

/// Sets the bound again.
pub(crate) fn give_files(pid: u32, before: libc::rlimit) {
    files(pid, Some(before));
}

fn files(pid: u32, new: Option<libc::rlimit>) -> libc::rlimit {
    let mut old = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    let new = new.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: both point to values of ours, or nowhere.
    unsafe { libc::prlimit(pid.cast_signed(), libc::RLIMIT_NOFILE, new, &raw mut old) };
    old
}

/// libfaketime, where it is installed (`apt-get install faketime`): what is started with it has a clock that the test sets.
pub(crate) fn faketime() -> Option<PathBuf> {
    let folders = std::fs::read_dir("/usr/lib").ok()?.flatten().map(|entry| entry.path());
    let all = folders.chain(["/usr/lib".into(), "/usr/local/lib".into()]);
    all.map(|folder| folder.join("faketime").join("libfaketimeMT.so.1")).find(|path| path.is_file())
}
