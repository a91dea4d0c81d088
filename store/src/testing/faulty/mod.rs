//! A store that fails when the test wants, in front of any engine.

mod metrics;
mod poison;
mod queue;
mod store;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use muster_domain::Fence;

use crate::{Store, StoreError, Write, WriteOutcome};
use poison::Poison;

/// What becomes of a commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Commit {
    /// It goes through.
    Pass,
    /// The store is away, and nothing is changed.
    Refuse,
    /// The store answers that a statement failed, and nothing is changed.
    Fail,
    /// It goes through, and the caller is told that the store is away.
    Lie,
}

type Judge = Box<dyn FnMut(&[Write]) -> Commit + Send>;
type Pace = Box<dyn FnMut() -> Option<Duration> + Send>;

/// A store that fails on demand. Without a fault it is the engine behind it.
pub struct FaultyStore {
    inner: Arc<dyn Store>,
    faults: Mutex<StoreFaults>,
}

/// What is wrong with it now.
#[derive(Default)]
struct StoreFaults {
    judge: Option<Judge>,
    poison: Vec<Poison>,
    /// How long the next answer takes.
    pace: Option<Pace>,
    away: bool,
    /// Calls that were tried while it was away.
    tried: u32,
    /// Whether workers are as an earlier version made them: without keys.
    keyless: bool,
    /// Reads of inputs that fail, and how long the others take.
    hidden_inputs: u32,
    inputs_take: Duration,
}

impl FaultyStore {
    /// In front of this engine.
    pub fn new(inner: Arc<dyn Store>) -> Self {
        Self { inner, faults: Mutex::default() }
    }

    /// The engine, without the faults.
    pub fn inner(&self) -> &dyn Store {
        &*self.inner
    }

    /// From now on each commit is judged so.
    pub fn judge(&self, judge: impl FnMut(&[Write]) -> Commit + Send + 'static) {
        self.faults().judge = Some(Box::new(judge));
    }

    /// The next commit with a write like this has this end, all others go through. A batch is counted once.
    pub fn once(&self, like: impl Fn(&Write) -> bool + Send + 'static, end: Commit) {
        let mut done = false;
        self.judge(move |writes| {
            if done || !writes.iter().any(&like) {
                return Commit::Pass;
            }
            done = true;
            end
        });
    }

    /// From now on writes like this have a value that the store never takes. What is about many tasks is asked for each of
    /// them, as a write of its own.
    pub fn poison(&self, like: impl FnMut(&Write) -> bool + Send + 'static) {
        self.faults().poison.push(Box::new(like));
    }

    /// Away: neither reads nor writes.
    pub fn leave(&self) {
        self.faults().away = true;
        self.judge(|_| Commit::Refuse);
    }

    /// All is well again, but for what takes its time.
    pub fn heal(&self) {
        let mut faults = self.faults();
        (faults.away, faults.judge) = (false, None);
        faults.poison.clear();
    }

    /// How often somebody has tried to read or write while it was away.
    pub fn times_tried(&self) -> u32 {
        self.faults().tried
    }

    /// From now on each answer takes so long, and a commit takes it twice: before it and after it. Where that is no time at
    /// all, the others have their turn all the same; where it is none, they have not.
    pub fn pace(&self, pace: impl FnMut() -> Option<Duration> + Send + 'static) {
        self.faults().pace = Some(Box::new(pace));
    }

    /// From now on the workers that are there have no keys, as those of an earlier version.
    pub fn forget_keys(&self) {
        self.faults().keyless = true;
    }

    /// The next so many reads of inputs fail.
    pub fn fail_inputs(&self, times: u32) {
        self.faults().hidden_inputs = times;
    }

    /// From now on reads of inputs take so long, in milliseconds.
    pub fn slow_inputs(&self, millis: u32) {
        self.faults().inputs_take = Duration::from_millis(millis.into());
    }

    /// Whether it answers, in its time.
    async fn answer(&self) -> Result<(), StoreError> {
        self.take_time().await;
        self.see()
    }

    fn see(&self) -> Result<(), StoreError> {
        let mut faults = self.faults();
        faults.tried += u32::from(faults.away);
        if faults.away { Err(away()) } else { Ok(()) }
    }

    async fn take_time(&self) {
        let pause = self.faults().pace.as_mut().and_then(|pace| pace());
        match pause {
            None => {}
            Some(Duration::ZERO) => tokio::task::yield_now().await,
            Some(pause) => tokio::time::sleep(pause).await,
        }
    }

    async fn commit(&self, fence: Fence, writes: &[Write]) -> Result<Vec<WriteOutcome>, StoreError> {
        let judge = |faults: &mut StoreFaults| faults.judge.as_mut().map_or(Commit::Pass, |judge| judge(writes));
        let end = judge(&mut self.faults());
        match end {
            Commit::Pass => self.commit_unless_poisoned(fence, writes).await,
            Commit::Refuse => self.see().and(Err(away())),
            Commit::Fail => Err(StoreError::Failed("something is broken".into())),
            Commit::Lie => {
                self.commit_unless_poisoned(fence, writes).await?;
                Err(away())
            }
        }
    }

    async fn commit_unless_poisoned(&self, fence: Fence, writes: &[Write]) -> Result<Vec<WriteOutcome>, StoreError> {
        let sifted = poison::sift(writes, &mut self.faults().poison);
        let Some(sifted) = sifted else { return self.inner.apply(fence, writes).await };
        let outcomes = self.inner.apply(fence, &sifted.taken).await?;
        Ok(sifted.told(outcomes))
    }

    fn faults(&self) -> MutexGuard<'_, StoreFaults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn away() -> StoreError {
    StoreError::Unavailable("the disk is full".into())
}
