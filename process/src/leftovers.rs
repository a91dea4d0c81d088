//! Ending what dead workers left. One search serves all of them, so that the death of many workers costs no more looks at
//! every process than that of one.
//!
//! It speaks for what the proofs cannot: the trees of a worker whose parent was not this process. A program that clears its
//! environment is found by its limits ([`crate::tag`]); one that changes these too is not.

use std::collections::{HashMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout};
use nix::sys::signal::Signal;

use crate::init::PATIENCE_WITH_INITS;
use crate::mark::{descends_from_us, environment, is_mine, marks_in, may_be_ours, others, start_time};
use crate::pidfd::Pidfd;
use crate::tag::{Tag, is_init_name, limit_of, name_of};

/// How long a pass waits for the ends of those that it has struck.
const STRIKE: Duration = Duration::from_millis(50);

/// Passes in a row that must find nothing of a worker. One is not enough: in the middle of an exec a process shows no
/// environment.
const PROOF: u32 = 2;

/// A search for what these workers left.
#[derive(Debug, Default)]
pub struct LeftoverSearch {
    targets: HashMap<OsString, SearchTarget>,
}

/// What is known of a worker's birth, by which a mark that somebody has copied is told from one that was handed down. Without it every
/// mark counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lineage {
    /// When it began, in clock ticks since boot: what is older is none of its.
    pub born: Option<u64>,
    /// Whether it hands its mark down as a limit too ([`bear_limit`](crate::mark::bear_limit)): a process without one is none of its,
    /// whatever its environment says.
    pub limited: bool,
}

impl Lineage {
    /// Whether a process with the mark in its environment can be of this worker.
    fn admits(self, pid: u32) -> bool {
        // One that changed its user shows no limit; while its worker lives here, that is known by its parents.
        self.fits(start_time(pid), || limit_of(pid).is_some() || descends_from_us(pid))
    }

    fn fits(self, started: Option<u64>, comes_from_a_tree: impl FnOnce() -> bool) -> bool {
        let is_older = self.born.zip(started).is_some_and(|(born, started)| started < born);
        !is_older && (!self.limited || comes_from_a_tree())
    }
}

/// What is known of one worker.
#[derive(Debug)]
struct SearchTarget {
    tag: Tag,
    lineage: Lineage,
    since: Instant,
    empty_passes: u32,
    killed: HashSet<u32>,
}

/// What a pass over all processes came to.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct SearchPass {
    /// Workers of which nothing is left, and how many processes of each were killed. They are not searched for any more.
    pub clean: Vec<(OsString, usize)>,
    /// Whether anything of any worker was there.
    pub found: bool,
}

/// A process, and the worker that it is of.
type Leftover = (u32, OsString);

impl LeftoverSearch {
    /// Searches for this worker, which is dead, from now on.
    pub fn add(&mut self, worker: &OsStr, lineage: Lineage) {
        let fresh = || SearchTarget {
            tag: Tag::of(worker),
            lineage,
            since: Instant::now(),
            empty_passes: 0,
            killed: HashSet::new(),
        };
        self.targets.entry(worker.to_owned()).or_insert_with(fresh);
    }

    /// Searches for this worker no more.
    pub fn forget(&mut self, worker: &OsStr) {
        self.targets.remove(worker);
    }

    /// Stops everything of all these workers, and kills it. Reads every process, blocks for up to some 100 ms, and never kills
    /// this process. Inits of trees whose owner is dead are killing already, and struck only where they take long.
    ///
    /// Fails where the processes can't be read. Who can't look has seen nothing, which is not the same as that there is
    /// nothing: the proofs begin anew.
    pub fn pass(&mut self) -> io::Result<SearchPass> {
        let outcome = self.strike_all();
        if outcome.is_err() {
            self.targets.values_mut().for_each(|target| target.empty_passes = 0);
        }
        let (found, killed) = outcome?;
        Ok(self.conclude(&found, killed))
    }

    /// Counts the passes that found nothing of a worker, and takes out those of which that is proven.
    fn conclude(&mut self, found: &[Leftover], killed: Vec<Leftover>) -> SearchPass {
        for (pid, worker) in killed {
            if let Some(target) = self.targets.get_mut(&worker) {
                target.killed.insert(pid);
            }
        }
        let seen: HashSet<&OsStr> = found.iter().map(|(_, worker)| worker.as_os_str()).collect();
        for (worker, target) in &mut self.targets {
            target.empty_passes = if seen.contains(worker.as_os_str()) { 0 } else { target.empty_passes + 1 };
        }
        let clean = self.targets.extract_if(|_, target| target.empty_passes >= PROOF);
        SearchPass {
            clean: clean.map(|(worker, target)| (worker, target.killed.len())).collect(),
            found: !found.is_empty(),
        }
    }

    /// All that was found, and what of it was killed.
    fn strike_all(&self) -> io::Result<(Vec<Leftover>, Vec<Leftover>)> {
        let found = self.look()?;
        if found.is_empty() {
            return Ok((found, Vec::new()));
        }
        let not_spared =
            |found: Vec<Leftover>| found.into_iter().filter(|find| !self.is_spared(find)).collect::<Vec<_>>();
        self.strike(not_spared(found), Signal::SIGSTOP);
        // A stopped process forks no more, so what the second look finds is all that there is.
        let found = self.look()?;
        let struck = self.strike(not_spared(found.clone()), Signal::SIGKILL);
        let spared = found.iter().filter(|find| self.is_spared(find)).filter_map(|(pid, _)| Pidfd::open(*pid).ok());
        await_ends(&struck.iter().map(|(_, pidfd)| pidfd).chain(&spared.collect::<Vec<_>>()).collect::<Vec<_>>());
        Ok((found, struck.into_iter().map(|(find, _)| find).collect()))
    }

    fn look(&self) -> io::Result<Vec<Leftover>> {
        let mut found = Vec::new();
        for pid in others()? {
            found.extend(self.owner(pid)?.map(|worker| (pid, worker)));
        }
        Ok(found)
    }

    /// The worker of this search that a process is of: by its environment; unless that says something else, as an init with the
    /// worker's name, or by the limit that it was born with.
    fn owner(&self, pid: u32) -> io::Result<Option<OsString>> {
        let environment = environment(pid)?;
        let worker = if marks_in(&environment).next().is_some() {
            let is_of = |worker: &&OsStr| self.targets.get(*worker).is_some_and(|target| target.lineage.admits(pid));
            marks_in(&environment).find(is_of).map(OsStr::to_owned)
        } else {
            // An init never changes its user.
            let name = Tag::in_name(&name_of(pid)).filter(|_| is_mine(pid) == Some(true));
            let limit = limit_of(pid);
            let is_of = |tag: Tag| name == Some(tag) || limit == Some(tag.limit());
            self.targets.iter().find(|(_, target)| is_of(target.tag)).map(|(worker, _)| worker.clone())
        };
        Ok(worker.filter(|_| may_be_ours(pid)))
    }

    fn is_spared(&self, (pid, worker): &Leftover) -> bool {
        let is_young = self.targets.get(worker).is_some_and(|target| target.since.elapsed() < PATIENCE_WITH_INITS);
        is_young && is_init_name(&name_of(*pid))
    }

    /// Signals those that, once held, still are of their worker: a reused pid is not.
    fn strike(&self, found: Vec<Leftover>, signal: Signal) -> Vec<(Leftover, Pidfd)> {
        let held = found.into_iter().filter_map(|find| Some((Pidfd::open(find.0).ok()?, find)));
        let is_same = |(pid, worker): &Leftover| self.owner(*pid).is_ok_and(|owner| owner.as_ref() == Some(worker));
        let struck = held.filter(|(pidfd, find)| is_same(find) && pidfd.signal(signal).is_ok());
        struck.map(|(pidfd, find)| (find, pidfd)).collect()
    }
}

/// Waits until all have ended, but not for long.
fn await_ends(pidfds: &[&Pidfd]) {
    let until = Instant::now() + STRIKE;
    for pidfd in pidfds {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
        let _ = nix::poll::poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], timeout);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(workers: &[&str]) -> LeftoverSearch {
        let mut search = LeftoverSearch::default();
        workers.iter().for_each(|worker| search.add(OsStr::new(worker), Lineage::default()));
        search
    }

    fn find(pid: u32, worker: &str) -> Leftover {
        (pid, worker.into())
    }

    #[test]
    fn a_mark_that_was_copied_counts_for_nothing() {
        let (unknown, born) = (Lineage::default(), Lineage { born: Some(10), limited: false });
        let limited = Lineage { limited: true, ..born };
        let rows = [
            (unknown, Some(1), false, true),
            (born, Some(9), true, false),
            (born, Some(10), false, true),
            (born, None, false, true),
            (limited, Some(11), false, false),
            (limited, Some(11), true, true),
            (limited, Some(9), true, false),
        ];
        for (lineage, started, comes_from_a_tree, fits) in rows {
            assert_eq!(
                lineage.fits(started, || comes_from_a_tree),
                fits,
                "{lineage:?} {started:?} {comes_from_a_tree}"
            );
        }
    }

    #[test]
    fn two_empty_passes_in_a_row_are_the_proof() {
        let mut search = search(&["a", "b"]);
        let found = [find(7, "a")];
        assert_eq!(search.conclude(&found, found.to_vec()), SearchPass { clean: Vec::new(), found: true });
        // Nothing was there of the other, twice.
        let pass = search.conclude(&found, found.to_vec());
        assert_eq!(pass, SearchPass { clean: vec![("b".into(), 0)], found: true });
        assert_eq!(search.conclude(&[], Vec::new()).clean, []);
        assert_eq!(search.conclude(&found, Vec::new()).clean, [], "it came back");
        assert_eq!(search.conclude(&[], Vec::new()).clean, []);
        assert_eq!(search.conclude(&[], Vec::new()).clean, [("a".into(), 1)]);
        assert!(search.targets.is_empty());
    }

    #[test]
    fn who_is_added_twice_is_searched_for_once_and_who_is_forgotten_is_not() {
        let mut search = search(&["a", "b"]);
        assert_eq!(search.conclude(&[], Vec::new()).clean, []);
        search.add(OsStr::new("a"), Lineage::default());
        search.forget(OsStr::new("b"));
        assert_eq!(search.conclude(&[], Vec::new()).clean, [("a".into(), 0)], "its first pass still counts");
        assert_eq!(search.conclude(&[find(7, "b")], Vec::new()).clean, []);
    }
}
