//! Finding what a dead worker may have left, by its mark: a variable in the environment of all that it owns, and for
//! inits, whose environment only root may read, a part of its id in their name.
//!
//! A sweep proves nothing against a program that clears its environment. It speaks for what the proofs cannot: the trees
//! of a worker whose parent was not this process. All calls here read every process, and block.

use std::collections::HashSet;
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::Signal;

use crate::init::PATIENCE_WITH_INITS;
use crate::pidfd::Pidfd;
use crate::tag::{Tag, is_init_name, name_of};

/// The variable that marks a worker and all that it owns with the worker's id.
pub const WORKER: &str = "MUSTER_PROCESS_ID";

/// How long a sweep strikes before it says that something does not die.
const PATIENCE: Duration = Duration::from_secs(2);

/// How often an environment that is empty is read.
const READ_AGAIN: usize = 3;

/// What a sweep did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "what is not clean is not dead"]
pub struct Sweep {
    /// How many processes it killed.
    pub killed: usize,
    /// Whether two passes in a row found nothing; else something of it does not die, or could not be looked for.
    pub clean: bool,
}

/// The processes but this one that were started with this worker's mark in their environment, and whose environment
/// this user may read. Zombies have none. Fails where the processes can't be read.
pub fn marked(worker: &OsStr) -> io::Result<Vec<u32>> {
    let mark = Mark::of(worker);
    find(|pid| Ok(mark.is_in(&environment(pid)?)))
}

/// The ids of all workers whose mark any process but this one bears in its environment.
pub fn workers() -> io::Result<HashSet<OsString>> {
    let mut found = HashSet::new();
    for pid in others()? {
        found.extend(marks_in(&environment(pid)?).map(OsStr::to_owned));
    }
    Ok(found)
}

/// Stops everything of this worker, kills it, and looks again until two passes find nothing, or for two seconds. Never
/// kills this process. Inits of trees whose owner is dead are killing already, and struck only where they take long.
pub fn sweep(worker: &OsStr) -> Sweep {
    let mark = Mark::of(worker);
    let begun = Instant::now();
    sweep_by(PATIENCE, || mark.strike_all(begun.elapsed() < PATIENCE_WITH_INITS))
}

/// What one pass over all processes came to.
struct Pass {
    killed: Vec<u32>,
    /// Whether it found anything.
    found: bool,
}

/// Makes passes until two in a row find nothing. One is not enough: in the middle of an exec a process shows no
/// environment. A pass that fails has seen nothing, which is not the same as that there is nothing.
fn sweep_by(patience: Duration, mut pass: impl FnMut() -> io::Result<Pass>) -> Sweep {
    let (mut killed, begun, mut empty_passes) = (HashSet::new(), Instant::now(), 0);
    loop {
        match pass() {
            Ok(Pass { found: false, .. }) => empty_passes += 1,
            Ok(pass) => {
                empty_passes = 0;
                killed.extend(pass.killed);
            }
            Err(_) => empty_passes = 0,
        }
        let clean = empty_passes == 2;
        if clean || begun.elapsed() > patience {
            return Sweep { killed: killed.len(), clean };
        }
    }
}

/// What the processes of one worker bear.
struct Mark {
    id: OsString,
    tag: Tag,
}

impl Mark {
    fn of(worker: &OsStr) -> Self {
        Self { id: worker.to_owned(), tag: Tag::of(worker) }
    }

    fn is_in(&self, environment: &[u8]) -> bool {
        marks_in(environment).any(|id| id == self.id)
    }

    /// Whether this process is of the worker: by its environment, or, unless that says something else, as a living init
    /// of this user with the worker's name.
    fn is_borne_by(&self, pid: u32) -> io::Result<bool> {
        let environment = environment(pid)?;
        if marks_in(&environment).next().is_some() {
            return Ok(self.is_in(&environment));
        }
        Ok(Tag::in_name(&name_of(pid)) == Some(self.tag) && lives_as_ours(pid))
    }

    fn strike_all(&self, spare_inits: bool) -> io::Result<Pass> {
        let find = || -> io::Result<(Vec<u32>, Vec<u32>)> {
            let found = find(|pid| self.is_borne_by(pid))?;
            Ok(found.into_iter().partition(|pid| spare_inits && is_init_name(&name_of(*pid))))
        };
        // A stopped process forks no more, so what the second look finds is all that there is.
        let (_, found) = find()?;
        self.strike(&found, Signal::SIGSTOP);
        let (inits, found) = find()?;
        let struck = self.strike(&found, Signal::SIGKILL);
        if let Some(init) = inits.first().and_then(|pid| Pidfd::open(*pid).ok()) {
            await_end(&init);
        }
        struck.iter().for_each(|(_, pidfd)| await_end(pidfd));
        let killed = struck.into_iter().map(|(pid, _)| pid).collect();
        Ok(Pass { killed, found: !found.is_empty() || !inits.is_empty() })
    }

    /// Signals those that, once held, still are of the worker: a reused pid is not.
    fn strike(&self, pids: &[u32], signal: Signal) -> Vec<(u32, Pidfd)> {
        let held = pids.iter().filter_map(|pid| Some((*pid, Pidfd::open(*pid).ok()?)));
        held.filter(|(pid, pidfd)| self.is_borne_by(*pid).unwrap_or(false) && pidfd.signal(signal).is_ok()).collect()
    }
}

/// The worker that a process of this name comes from, where it tells: an init by the name, any other by its environment.
pub(crate) fn origin(pid: u32, name: &[u8]) -> Option<Tag> {
    Tag::in_name(name).or_else(|| marks_in(&environment(pid).ok()?).next().map(Tag::of))
}

/// The processes but this one for which `is_wanted` holds.
fn find(is_wanted: impl Fn(u32) -> io::Result<bool>) -> io::Result<Vec<u32>> {
    let mut found = Vec::new();
    for pid in others()? {
        if is_wanted(pid)? {
            found.push(pid);
        }
    }
    Ok(found)
}

/// Every process but this one.
fn others() -> io::Result<Vec<u32>> {
    let own = std::process::id();
    let mut pids = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let pid: Option<u32> = entry?.file_name().to_str().and_then(|name| name.parse().ok());
        pids.extend(pid.filter(|pid| *pid != own));
    }
    Ok(pids)
}

fn await_end(pidfd: &Pidfd) {
    let timeout = PollTimeout::try_from(Duration::from_millis(50)).unwrap_or(PollTimeout::ZERO);
    let _ = nix::poll::poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], timeout);
}

/// The workers' ids in an environment.
fn marks_in(environment: &[u8]) -> impl Iterator<Item = &OsStr> {
    let variables = environment.split(|byte| *byte == 0);
    variables.filter_map(|variable| variable.strip_prefix(WORKER.as_bytes())?.strip_prefix(b"=")).map(OsStr::from_bytes)
}

/// A process's environment, empty where there is none or this user may not read it. In the middle of an exec it is empty
/// too, for a moment, so an empty one is read again.
fn environment(pid: u32) -> io::Result<Vec<u8>> {
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

/// Whether a process lives, and is this user's: anybody can call a process as he likes.
fn lives_as_ours(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let field = |name: &str| status.lines().find_map(|line| line.strip_prefix(name)?.split_ascii_whitespace().next());
    let lives = field("State:").is_some_and(|state| !matches!(state, "Z" | "X"));
    lives && field("Uid:").and_then(|user| user.parse().ok()) == Some(nix::unistd::geteuid().as_raw())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge(patience: Duration, passes: &[io::Result<bool>]) -> (Sweep, usize) {
        let mut next = 0;
        let sweep = sweep_by(patience, || {
            let pass = passes.get(next).or(passes.last()).expect("a pass");
            next += 1;
            match pass {
                Ok(found) => Ok(Pass { killed: if *found { vec![7] } else { Vec::new() }, found: *found }),
                Err(error) => Err(error.kind().into()),
            }
        });
        (sweep, next)
    }

    const LONG: Duration = Duration::from_secs(600);

    #[test]
    fn two_empty_passes_in_a_row_are_clean() {
        let blind = || Err(io::ErrorKind::Other.into());
        assert_eq!(judge(LONG, &[Ok(false)]), (Sweep { killed: 0, clean: true }, 2));
        let passes = [Ok(true), Ok(false), Ok(true), Ok(false), Ok(false)];
        assert_eq!(judge(LONG, &passes), (Sweep { killed: 1, clean: true }, 5));
        let passes = [Ok(false), blind(), Ok(false), Ok(false)];
        assert_eq!(judge(LONG, &passes), (Sweep { killed: 0, clean: true }, 4), "who can't look sees nothing");
    }

    #[test]
    fn what_is_left_when_the_time_is_over_is_not_clean() {
        let none = Duration::ZERO;
        assert_eq!(judge(none, &[Ok(true)]).0, Sweep { killed: 1, clean: false });
        assert_eq!(judge(none, &[Ok(false), Ok(true)]).0, Sweep { killed: 0, clean: false }, "one pass is not enough");
        assert_eq!(judge(none, &[Err(io::ErrorKind::Other.into())]).0, Sweep { killed: 0, clean: false });
    }

    #[test]
    fn the_whole_variable_counts() {
        let environment = b"PATH=/bin\0MUSTER_PROCESS_ID=a-1\0MUSTER_PROCESS_IDS=a-2\0XMUSTER_PROCESS_ID=a-3\0";
        assert!(marks_in(environment).eq([OsStr::new("a-1")]));
        assert!(Mark::of(OsStr::new("a-1")).is_in(environment) && !Mark::of(OsStr::new("a-")).is_in(environment));
    }
}
