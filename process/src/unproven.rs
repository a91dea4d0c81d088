//! Children that ended, and whose end is not told while something that they left may live.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use tracing::warn;

use crate::init::PATIENCE_WITH_INITS;
use crate::mark;
use crate::table::Ended;
use crate::tag::{Tag, is_init_name, name_of};

/// Every so many passes everything below a stray is stopped before it is killed. The passes between are cheap, and enough
/// for all but those who fork faster than they are killed.
const THOROUGH_EVERY: u32 = 16;

/// After this time one that still lives is worth a line in the log.
const STUBBORN: Duration = Duration::from_secs(5);

/// The children whose end waits for the proof.
#[derive(Default)]
pub(crate) struct Unproven {
    ended: Vec<Ended>,
    /// How often strays were struck.
    passes: u32,
    /// Strays that the log has told of.
    told: HashSet<u32>,
}

/// What is to be done to the strays.
pub(crate) enum Blow {
    /// Kill these.
    Strike(Vec<u32>),
    /// Stop all strays and what is below them, then kill all, but for these.
    StrikeThoroughly { spared: Vec<u32> },
}

/// A process that somebody left here.
struct Stray {
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

    pub(crate) fn add(&mut self, ended: Ended) {
        self.ended.push(ended);
    }

    /// Tells the ends in whose way none of these strays is, and says what is to be done to them.
    pub(crate) fn judge(&mut self, strays: &[u32]) -> Blow {
        let strays = self.sort(strays);
        self.tell_proven(&strays);
        self.tell_of_stubborn(&strays);
        self.passes = if strays.is_empty() { 0 } else { self.passes + 1 };
        let is_spared = |stray: &Stray| stray.is_init && stray.since.elapsed() < PATIENCE_WITH_INITS;
        let (spared, struck): (Vec<Stray>, Vec<Stray>) = strays.into_iter().partition(is_spared);
        let pids = |strays: Vec<Stray>| strays.into_iter().map(|stray| stray.pid).collect();
        if !struck.is_empty() && self.passes.is_multiple_of(THOROUGH_EVERY) {
            Blow::StrikeThoroughly { spared: pids(spared) }
        } else {
            Blow::Strike(pids(struck))
        }
    }

    fn sort(&self, strays: &[u32]) -> Vec<Stray> {
        let newest = self.ended.iter().map(|ended| ended.since).max().unwrap_or_else(Instant::now);
        let since: HashMap<Tag, Instant> =
            self.ended.iter().filter_map(|end| Some((end.worker()?, end.since))).collect();
        let sort = |pid: &u32| {
            let name = name_of(*pid);
            let worker = mark::origin(*pid, &name).filter(|tag| since.contains_key(tag));
            let since = worker.and_then(|tag| since.get(&tag).copied()).unwrap_or(newest);
            Stray { pid: *pid, is_init: is_init_name(&name), worker, since }
        };
        strays.iter().map(sort).collect()
    }

    /// One that can't die holds up the end of its own worker. One of which nobody can tell whose it is holds up all.
    fn tell_proven(&mut self, strays: &[Stray]) {
        let workers: HashSet<Option<Tag>> = strays.iter().map(|stray| stray.worker).collect();
        let is_proven = |ended: &mut Ended| match ended.worker() {
            Some(tag) => !workers.contains(&Some(tag)) && !workers.contains(&None),
            None => workers.is_empty(),
        };
        self.ended.extract_if(.., is_proven).for_each(Ended::tell);
    }

    fn tell_of_stubborn(&mut self, strays: &[Stray]) {
        self.told.retain(|pid| strays.iter().any(|stray| stray.pid == *pid));
        let stubborn = strays.iter().filter(|stray| stray.since.elapsed() > STUBBORN);
        let new: Vec<u32> = stubborn.map(|stray| stray.pid).filter(|pid| self.told.insert(*pid)).collect();
        if !new.is_empty() {
            warn!(process.ids = ?new, "processes that a dead one left here do not die; its end is not told before");
        }
    }
}
