//! Who has the inits of trees made: by a zygote, or where there can be none by a fork of this process.

use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use std::{fmt, io};

use tracing::info;

use crate::offspring::{ForkedChild, Offspring};
use crate::plan::{BoundPlan, TreePlan};
use crate::program::SpawnError;
use crate::spawner_thread::ThreadHandle;
use crate::zygote::{Answer, Exchange, Newborn, PATIENCE, Zygote};

/// For so long others wait for a zygote that is busy with one order. A healthy one needs a thousandth of it.
const PROMPT: Duration = Duration::from_millis(500);

/// So often a tree is offered to a zygote: somebody may kill or stop one after the other.
const ZYGOTES: usize = 3;

/// Makes trees. There is one zygote, unless one does not answer: whoever waits for that goes on to do so, alone, and others have a new
/// one.
pub(crate) struct TreeMaker {
    thread: ThreadHandle,
    offspring: Arc<Mutex<Offspring>>,
    zygote: Mutex<Option<Zygote>>,
    /// The kernel does not let a zygote make inits.
    is_refused: AtomicBool,
}

impl fmt::Debug for TreeMaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TreeMaker")
            .field("zygote", &self.zygote)
            .field("is_refused", &self.is_refused)
            .finish_non_exhaustive()
    }
}

/// What became of an order for a tree.
enum TreeBirth {
    Born(ForkedChild),
    /// The zygote is gone, and has made nothing.
    NotBorn(TreePlan),
    /// No zygote can do it now: why.
    NoZygote(TreePlan, io::Error),
}

/// What became of it at the zygote.
enum Outcome {
    Made(u32),
    NotMade,
    NoZygote(io::Error),
    Failed(io::Error),
}

impl TreeMaker {
    pub(crate) fn new(thread: ThreadHandle, offspring: Arc<Mutex<Offspring>>) -> Self {
        Self { thread, offspring, zygote: Mutex::new(None), is_refused: AtomicBool::new(false) }
    }

    /// Makes a zygote where there is none that is fit.
    pub(crate) fn warm_up(&self) -> io::Result<()> {
        if !self.is_refused.load(Ordering::Relaxed) {
            let mut place = self.zygote();
            *place = Some(self.fit(place.take())?);
        }
        Ok(())
    }

    /// Makes a tree's init, which starts the program. May hold up its caller.
    pub(crate) fn make(&self, mut plan: TreePlan) -> Result<ForkedChild, SpawnError> {
        for _ in 0..ZYGOTES {
            if self.is_refused.load(Ordering::Relaxed) {
                break;
            }
            plan = match self.make_by_zygote(plan)? {
                TreeBirth::Born(born) => return Ok(born),
                TreeBirth::NotBorn(plan) => plan,
                TreeBirth::NoZygote(plan, why) => {
                    let born = self.thread.make_tree(plan)?;
                    self.note(&why);
                    return Ok(born);
                }
            };
        }
        self.thread.make_tree(plan)
    }

    fn make_by_zygote(&self, plan: TreePlan) -> Result<TreeBirth, SpawnError> {
        let BoundPlan { order, stdio: [stdin, stdout, stderr], report } = &plan.program;
        let attached = [stdin, stdout, stderr, report, &plan.init_lifeline].map(AsRawFd::as_raw_fd);
        let mut place = self.zygote();
        let zygote = match self.fit(place.take()) {
            Ok(zygote) => zygote,
            Err(error) => return Ok(TreeBirth::NoZygote(plan, error)),
        };
        let mut exchange = Exchange::new(zygote, order, attached);
        let newborn = Arc::clone(&exchange.zygote.newborn);
        self.offspring().expect(Arc::clone(&newborn));
        let (begun, mut place) = (Instant::now(), Some(place));
        let answer = exchange.go_on(begun + PROMPT).unwrap_or_else(|| {
            // One that hangs holds up others no longer.
            place = None;
            exchange.go_on(begun + PATIENCE).unwrap_or_else(|| Answer::Broken(io::ErrorKind::TimedOut.into()))
        });
        if matches!(answer, Answer::Broken(_)) {
            place = None;
        }
        let (outcome, zygote) = outcome(answer, exchange.zygote);
        let birth = self.enter(plan, outcome, &newborn);
        // Not before that: the next order has the same word for its newborn.
        if let Some(zygote) = zygote {
            // Where there is another by now, this one is dropped, and so killed.
            place.unwrap_or_else(|| self.zygote()).get_or_insert(zygote);
        }
        birth
    }

    fn enter(&self, plan: TreePlan, outcome: Outcome, newborn: &Arc<Newborn>) -> Result<TreeBirth, SpawnError> {
        let mut offspring = self.offspring();
        let Outcome::Made(pid) = outcome else {
            offspring.give_up(newborn);
            return match outcome {
                Outcome::Failed(error) => Err(SpawnError::Fork(error)),
                Outcome::NoZygote(why) => Ok(TreeBirth::NoZygote(plan, why)),
                Outcome::NotMade | Outcome::Made(_) => Ok(TreeBirth::NotBorn(plan)),
            };
        };
        let TreePlan { program, means, lifeline, init_lifeline } = plan;
        // The init has these now. With them closed there is room to hold on to it.
        drop((program, init_lifeline));
        let born = offspring.enter_tree(pid, means, lifeline, Some(newborn));
        if offspring.has_ended() {
            self.thread.ring();
        }
        born.map(TreeBirth::Born)
    }

    /// This zygote, or a new one where there is none, it is dead, or programs would inherit from it what this process had before.
    fn fit(&self, zygote: Option<Zygote>) -> io::Result<Zygote> {
        let is_fit = |zygote: &mut Zygote| zygote.lives() && zygote.is_like_its_parent();
        zygote.and_then(|mut zygote| is_fit(&mut zygote).then_some(zygote)).map_or_else(|| self.thread.zygote(), Ok)
    }

    /// A tree was made without a zygote. Where that is how it has to be here, nothing else is tried any more.
    fn note(&self, why: &io::Error) {
        if is_forbidden(why) && !self.is_refused.swap(true, Ordering::Relaxed) {
            info!(error = %why, "this host does not let one process make the inits of all trees; each is forked, which takes longer");
            *self.zygote() = None;
        }
    }

    fn zygote(&self) -> MutexGuard<'_, Option<Zygote>> {
        self.zygote.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn offspring(&self) -> MutexGuard<'_, Offspring> {
        self.offspring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What an answer means, and the zygote where it is to be used again.
fn outcome(answer: Answer, zygote: Zygote) -> (Outcome, Option<Zygote>) {
    match answer {
        Answer::Made(pid) => (Outcome::Made(pid), Some(zygote)),
        // One that has no room may have got limits of its own, of which this process knows nothing: the next has this process's.
        Answer::Refused(error) if matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENOMEM)) => {
            (Outcome::Failed(error), None)
        }
        Answer::Refused(error) if is_forbidden(&error) => (Outcome::NoZygote(error), Some(zygote)),
        Answer::Refused(error) => (Outcome::Failed(error), Some(zygote)),
        Answer::Unsent(error) => (Outcome::NoZygote(error), Some(zygote)),
        Answer::Broken(error) => {
            let newborn = Arc::clone(&zygote.newborn);
            // Dead, it makes nothing any more, and what the kernel has told by now is all that it has made: nothing depends on the
            // zygote after that. Of one that can't be killed nobody knows; what it may make yet ends with its lifeline.
            let is_dead = zygote.end();
            let outcome = match newborn.pid() {
                Some(pid) => Outcome::Made(pid),
                None if is_dead => Outcome::NotMade,
                None => Outcome::Failed(hangs(&error)),
            };
            (outcome, None)
        }
    }
}

/// Whether the kernel, or a filter of system calls, refuses something that a fork may do without.
fn is_forbidden(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EPERM | libc::EACCES | libc::ENOSYS | libc::EINVAL))
}

fn hangs(error: &io::Error) -> io::Error {
    io::Error::new(
        error.kind(),
        format!("the process that makes inits, muster-zygote, hangs and can't be killed ({error})"),
    )
}
