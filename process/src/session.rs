//! What a process has from whoever started it: a terminal's session, and signals that it is to ignore.

use std::io;
use std::ptr;

use nix::sys::signal::Signal;

/// Gives this process a session of its own, so that no terminal's signal reaches it. To be called first by a program
/// in [`Custody::Free`](crate::Custody::Free); without effect in one that leads its session.
pub fn detach() -> io::Result<()> {
    match nix::unistd::setsid() {
        Ok(_) | Err(nix::errno::Errno::EPERM) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// Whether this process ignores a signal: one that was ignored when it started (by `nohup`) is meant to stay so, and to be
/// asked for before anything handles it.
pub fn ignores(signal: Signal) -> io::Result<bool> {
    // SAFETY: all zeroes is a valid action, and no new one is set.
    unsafe {
        let mut now: libc::sigaction = std::mem::zeroed();
        match libc::sigaction(signal as libc::c_int, ptr::null(), &raw mut now) {
            0 => Ok(now.sa_sigaction == libc::SIG_IGN),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_ignored_is_said_to_be() {
        // Rust's runtime does so at the start of every program.
        assert!(ignores(Signal::SIGPIPE).expect("asked"));
        assert!(!ignores(Signal::SIGWINCH).expect("asked"));
        crate::Spawner::start().expect("a spawner");
        assert!(ignores(Signal::SIGXFSZ).expect("asked"), "a full file is an error");
    }
}
