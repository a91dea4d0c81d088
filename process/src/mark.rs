//! Finding processes by a variable in their environment: what a dead worker may have left behind.
//!
//! A sweep proves nothing, since a program can clear its environment. It catches what the proofs cannot speak for: the
//! trees of a worker whose parent was not this process. Both calls read every process, and block.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::Signal;
use std::os::fd::AsFd;

use crate::init::{PATIENCE_WITH_INITS, is_init};
use crate::pidfd::Pidfd;

/// After this time what is still there is taken for unkillable, for now.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often an environment that is empty is read.
const READ_AGAIN: usize = 3;

/// The processes but this one that were started with `name=value` in their environment, and whose environment this
/// user may read. Zombies have none.
pub fn marked(name: &OsStr, value: &OsStr) -> Vec<u32> {
    let mark = [name.as_bytes(), b"=", value.as_bytes()].concat();
    others().filter(|pid| carries(*pid, &mark)).collect()
}

/// Every process but this one.
fn others() -> impl Iterator<Item = u32> {
    let own = std::process::id();
    let processes = std::fs::read_dir("/proc").into_iter().flatten();
    processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).filter(move |pid| *pid != own)
}

/// The values that this variable has in any process but this one.
pub fn values(name: &OsStr) -> HashSet<OsString> {
    let prefix = [name.as_bytes(), b"="].concat();
    let mut found = HashSet::new();
    for pid in others() {
        let environment = environment(pid);
        let values = environment.split(|byte| *byte == 0).filter_map(|variable| variable.strip_prefix(&prefix[..]));
        found.extend(values.map(|value| OsStr::from_bytes(value).to_owned()));
    }
    found
}

/// Stops all such processes, kills all, and looks again until two passes find none (or what is left has not died within
/// two seconds). Says how many it killed. Never kills this process. Inits of trees whose owner is dead are killing
/// already, and struck only where they take long.
pub fn kill_marked(name: &OsStr, value: &OsStr) -> usize {
    let mark = [name.as_bytes(), b"=", value.as_bytes()].concat();
    let (mut killed, begun, mut empty_passes) = (HashSet::new(), Instant::now(), 0);
    loop {
        let spare_inits = begun.elapsed() < PATIENCE_WITH_INITS;
        let find = || marked(name, value).into_iter().partition(|pid| spare_inits && is_init(*pid));
        // A stopped process forks no more, so what the second look finds is all that there is.
        let (_, found): (Vec<u32>, Vec<u32>) = find();
        strike(found, &mark, Signal::SIGSTOP);
        let (inits, found): (Vec<u32>, Vec<u32>) = find();
        let struck = strike(found, &mark, Signal::SIGKILL);
        // In the middle of an exec a process shows no environment, so one pass may miss it.
        empty_passes = if struck.is_empty() && inits.is_empty() { empty_passes + 1 } else { 0 };
        if empty_passes == 2 || begun.elapsed() > PATIENCE {
            return killed.len();
        }
        if let Some(init) = inits.first().and_then(|pid| Pidfd::open(*pid).ok()) {
            await_end(&init);
        }
        for (pid, pidfd) in struck {
            killed.insert(pid);
            await_end(&pidfd);
        }
    }
}

/// Signals those that, once held, still carry the mark: a reused pid does not.
fn strike(pids: Vec<u32>, mark: &[u8], signal: Signal) -> Vec<(u32, Pidfd)> {
    let held = pids.into_iter().filter_map(|pid| Some((pid, Pidfd::open(pid).ok()?)));
    held.filter(|(pid, pidfd)| carries(*pid, mark) && pidfd.signal(signal).is_ok()).collect()
}

fn await_end(pidfd: &Pidfd) {
    let timeout = PollTimeout::try_from(Duration::from_millis(50)).unwrap_or(PollTimeout::ZERO);
    let _ = nix::poll::poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], timeout);
}

fn carries(pid: u32, mark: &[u8]) -> bool {
    environment(pid).split(|byte| *byte == 0).any(|variable| variable == mark)
}

/// A process's environment, empty where it cannot be read. In the middle of an exec it is empty too, for a moment, so an
/// empty one is read again.
fn environment(pid: u32) -> Vec<u8> {
    let read = || std::fs::read(format!("/proc/{pid}/environ"));
    for _ in 0..READ_AGAIN {
        match read() {
            Ok(environment) if environment.is_empty() => std::thread::yield_now(),
            result => return result.unwrap_or_default(),
        }
    }
    Vec::new()
}
