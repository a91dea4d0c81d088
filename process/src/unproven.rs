//! Children that ended, and whose end is not told while something that they left may live.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use tracing::warn;

use crate::init::PATIENCE_WITH_INITS;
use crate::mark;
use crate::table::EndedChild;
use crate::tag::{Tag, is_init_name, name_of};

/// Every so many passes everything below a orphan is stopped before it is killed. The passes between are cheap, and enough
/// for all but those who fork faster than they are killed.
const THOROUGH_EVERY: u32 = 16;

/// After this time one that still lives is worth a line in the log.
const STUBBORN: Duration = Duration::from_secs(5);

/// The children whose end waits for the proof.
#[derive(Default)]
pub(crate) struct Unproven {
    ended: Vec<EndedChild>,
    /// How often orphans were struck.
    passes: u32,
    /// Orphans that the log has told of.
    told: HashSet<u32>,
}

/// What is to be done to the orphans.
pub(crate) enum OrphanAction {
    /// Kill these.
    Strike(Vec<u32>),
    /// Stop all orphans and what is below them, then kill all, but for these.
    StrikeThoroughly { spared: Vec<u32> },
}

/// A process that somebody left here.
struct Orphan {
    pid: u32,
    is_init: bool,
    /// The worker that left it; `None` where nobody can tell, and where it is none of those that wait.
    worker: Option<Tag>,
    /// Since when it may be here.
    since: Instant,
}

impl Unproven {
    pub(crate) fn is_empty(&self) -> bool {
        self.ended.is_empty()
    }

    pub(crate) fn add(&mut self, ended: EndedChild) {
        self.ended.push(ended);
    }

    /// Tells the ends in whose way none of these orphans is, and says what is to be done to them.
    pub(crate) fn judge(&mut self, orphans: &[u32]) -> OrphanAction {
        let orphans = self.sort(orphans);
        self.tell_proven(&orphans);
        self.tell_of_stubborn(&orphans);
        self.passes = if orphans.is_empty() { 0 } else { self.passes + 1 };
        let is_spared = |orphan: &Orphan| orphan.is_init && orphan.since.elapsed() < PATIENCE_WITH_INITS;
        let (spared, struck): (Vec<Orphan>, Vec<Orphan>) = orphans.into_iter().partition(is_spared);
        let pids = |orphans: Vec<Orphan>| orphans.into_iter().map(|orphan| orphan.pid).collect();
        if !struck.is_empty() && self.passes.is_multiple_of(THOROUGH_EVERY) {
            OrphanAction::StrikeThoroughly { spared: pids(spared) }
        } else {
            OrphanAction::Strike(pids(struck))
        }
    }

    fn sort(&self, orphans: &[u32]) -> Vec<Orphan> {
        let newest = self.ended.iter().map(|ended| ended.since).max().unwrap_or_else(Instant::now);
        let since: HashMap<Tag, Instant> =
            self.ended.iter().filter_map(|end| Some((end.worker()?, end.since))).collect();
        let sort = |pid: &u32| {
            let name = name_of(*pid);
            let worker = mark::origin(*pid, &name).filter(|tag| since.contains_key(tag));
            let since = worker.and_then(|tag| since.get(&tag).copied()).unwrap_or(newest);
            Orphan { pid: *pid, is_init: is_init_name(&name), worker, since }
        };
        orphans.iter().map(sort).collect()
    }

    /// One that can't die holds up the end of its own worker. One of which nobody can tell whose it is holds up all.
    fn tell_proven(&mut self, orphans: &[Orphan]) {
        let workers: HashSet<Option<Tag>> = orphans.iter().map(|orphan| orphan.worker).collect();
        let is_proven = |ended: &mut EndedChild| match ended.worker() {
            Some(tag) => !workers.contains(&Some(tag)) && !workers.contains(&None),
            None => workers.is_empty(),
        };
        self.ended.extract_if(.., is_proven).for_each(EndedChild::tell);
    }

    fn tell_of_stubborn(&mut self, orphans: &[Orphan]) {
        self.told.retain(|pid| orphans.iter().any(|orphan| orphan.pid == *pid));
        let stubborn = orphans.iter().filter(|orphan| orphan.since.elapsed() > STUBBORN);
        let new: Vec<u32> = stubborn.map(|orphan| orphan.pid).filter(|pid| self.told.insert(*pid)).collect();
        if !new.is_empty() {
            warn!(process.ids = ?new, "processes that a dead one left here do not die; its end is not told before");
        }
    }
}
