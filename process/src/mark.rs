//! Finding what a dead worker may have left, by its mark: a variable in the environment of all that it owns, and for
//! inits, whose environment only root may read, a part of its id in their name. A process of another user has no mark that counts.
//!
//! All calls here read every process, and block. [`LeftoverSearch`](crate::LeftoverSearch) ends what they find.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::unix::ffi::{OsStrExt, OsStringExt};

use crate::process_list::Stat;
use crate::tag::{Tag, take_limit};

/// The variable that marks a worker and all that it owns with the worker's id.
pub const WORKER: &str = "MUSTER_PROCESS_ID";

/// How often an environment that is empty is read.
const READ_AGAIN: usize = 3;

/// Makes this process, which is that worker, hand its mark down as a limit too. For its environment may be copied by anybody.
pub fn bear_limit(worker: &OsStr) {
    take_limit(Tag::of(worker).limit());
}

/// Whether a process was started with this among its arguments.
pub fn has_argument(pid: u32, argument: &OsStr) -> bool {
    let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    line.split(|byte| *byte == 0).any(|one| one == argument.as_bytes())
}

/// The processes but this one that were started with this worker's mark in their environment, and whose environment
/// this user may read. Zombies have none. Fails where the processes can't be read.
pub fn marked(worker: &OsStr) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for pid in others()? {
        if marks_in(&environment(pid)?).any(|id| id == worker) && may_be_ours(pid) {
            found.push(pid);
        }
    }
    Ok(found)
}

/// The ids of all workers whose mark any process but this one bears in its environment.
pub fn workers() -> io::Result<HashSet<OsString>> {
    let mut found = HashSet::new();
    for pid in others()? {
        let environment = environment(pid)?;
        if marks_in(&environment).next().is_some() && may_be_ours(pid) {
            found.extend(marks_in(&environment).map(OsStr::to_owned));
        }
    }
    Ok(found)
}

/// A variable of a process's environment as it was started; none where it has none, or this user may not read it.
pub fn variable(pid: u32, name: &str) -> Option<OsString> {
    let environment = environment(pid).ok()?;
    let value = |variable: &[u8]| Some(variable.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?.to_vec());
    environment.split(|byte| *byte == 0).find_map(value).map(OsString::from_vec)
}

/// The worker that a process of this name comes from, where it tells: an init by the name, any other by its environment.
pub(crate) fn origin(pid: u32, name: &[u8]) -> Option<Tag> {
    Tag::in_name(name).or_else(|| marks_in(&environment(pid).ok()?).next().map(Tag::of))
}

/// Every process but this one.
pub(crate) fn others() -> io::Result<Vec<u32>> {
    let own = std::process::id();
    let mut pids = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let pid: Option<u32> = entry?.file_name().to_str().and_then(|name| name.parse().ok());
        pids.extend(pid.filter(|pid| *pid != own));
    }
    Ok(pids)
}

/// The workers' ids in an environment.
pub(crate) fn marks_in(environment: &[u8]) -> impl Iterator<Item = &OsStr> {
    let variables = environment.split(|byte| *byte == 0);
    variables.filter_map(|variable| variable.strip_prefix(WORKER.as_bytes())?.strip_prefix(b"=")).map(OsStr::from_bytes)
}

/// A process's environment, empty where there is none or this user may not read it. In the middle of an exec it is empty
/// too, for a moment, so an empty one is read again.
pub(crate) fn environment(pid: u32) -> io::Result<Vec<u8>> {
    for _ in 0..READ_AGAIN {
        match std::fs::read(format!("/proc/{pid}/environ")) {
            Ok(environment) if environment.is_empty() => std::thread::yield_now(),
            Err(error) if is_nothing_to_see(&error) => break,
            result => return result,
        }
    }
    Ok(Vec::new())
}

/// The process is gone, or another user's, or an init. Everything else, as too many open files, is a failure to look.
fn is_nothing_to_see(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOENT | libc::ESRCH | libc::EACCES | libc::EPERM))
}

/// Whether a process that bears a mark may bear it rightly: it lives, and is this user's, or comes from this process. Anybody can
/// mark and call his processes as he likes, and whoever may kill any (root) must not take them for its own, nor wait for
/// their end.
pub(crate) fn may_be_ours(pid: u32) -> bool {
    is_mine(pid).is_some_and(|is_mine| is_mine || descends_from_us(pid))
}

/// Whether a process that lives is this user's; `None` where it does not live.
pub(crate) fn is_mine(pid: u32) -> Option<bool> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.split_ascii_whitespace().next());
    let lives = field("State:").is_some_and(|state| !matches!(state, "Z" | "X"));
    let user = field("Uid:").and_then(|user| user.parse().ok());
    lives.then(|| user == Some(nix::unistd::geteuid().as_raw()))
}

/// When a process began, in clock ticks since boot; `None` where there is none.
pub(crate) fn start_time(pid: u32) -> Option<u64> {
    Some(stat(pid)?.start_time)
}

fn stat(pid: u32) -> Option<Stat> {
    Stat::parse(&std::fs::read(format!("/proc/{pid}/stat")).ok()?)
}

/// Programs may change their user, and stay what they are.
pub(crate) fn descends_from_us(pid: u32) -> bool {
    /// No chain of parents is longer.
    const LONGEST: usize = 1_024;
    let own = std::process::id();
    let parent = |pid: &u32| Some(stat(*pid)?.parent);
    std::iter::successors(Some(pid), parent).take(LONGEST).any(|pid| pid == own)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_variable_counts() {
        let environment = b"PATH=/bin\0MUSTER_PROCESS_ID=a-1\0MUSTER_PROCESS_IDS=a-2\0XMUSTER_PROCESS_ID=a-3\0";
        assert!(marks_in(environment).eq([OsStr::new("a-1")]));
    }
}
