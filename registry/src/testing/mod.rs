//! The memory engine with faults, for tests of those who use the registry.
//!
//! A [`FaultyRegistry`] without a fault is the memory engine, and passes the same conformance suite. Whoever stands on the other
//! side in a test, or looks at the content, asks [`memory`](FaultyRegistry::memory), which no fault is between.

mod bus;
mod registry;

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use muster_domain::ProcessId;

use crate::memory::MemoryRegistry;
use crate::{CommandDelivery, RegistryError};

/// How long a slow call takes.
const SLOW: Duration = Duration::from_millis(100);

/// A registry that fails when the test wants. Clones share the content and the faults. Calls are named as the methods of
/// [`Registry`](crate::Registry) and [`Bus`](crate::Bus) are; the free slots that go out with `send` are `mirror`.
#[derive(Clone, Default)]
pub struct FaultyRegistry {
    memory: MemoryRegistry,
    faults: Arc<Mutex<RegistryFaults>>,
}

/// What is wrong with it now, and what was asked of it so far.
#[derive(Default)]
struct RegistryFaults {
    away: bool,
    /// Reads are answered, and say that writes are refused.
    read_only: bool,
    /// Commands are taken and not delivered.
    drops_commands: bool,
    forgets_slowly: bool,
    /// Calls that do not answer.
    failing: HashSet<&'static str>,
    /// Calls that are answered with a refusal.
    refused: HashSet<&'static str>,
    /// A call that panics, once.
    breaking: Option<&'static str>,
    calls: HashMap<&'static str, u64>,
}

impl FaultyRegistry {
    /// In front of this content.
    pub fn new(memory: MemoryRegistry) -> Self {
        Self { memory, faults: Arc::default() }
    }

    /// The content, without the faults.
    pub const fn memory(&self) -> &MemoryRegistry {
        &self.memory
    }

    /// From now on nothing answers.
    pub fn leave(&self) {
        self.faults().away = true;
    }

    /// It answers again.
    pub fn come_back(&self) {
        self.faults().away = false;
    }

    /// Whether it says of itself that it takes no writes.
    pub fn refuse_writes(&self, refuses: bool) {
        self.faults().read_only = refuses;
    }

    /// Whether commands are lost on their way.
    pub fn drop_commands(&self, drops: bool) {
        self.faults().drops_commands = drops;
    }

    /// From now on it takes a while to forget a worker.
    pub fn forget_slowly(&self) {
        self.faults().forgets_slowly = true;
    }

    /// From now on this call does not answer.
    pub fn fail(&self, call: &'static str) {
        self.faults().failing.insert(call);
    }

    /// From now on this call is answered with a refusal.
    pub fn refuse(&self, call: &'static str) {
        self.faults().refused.insert(call);
    }

    /// No single call fails any more.
    pub fn mend(&self) {
        let mut faults = self.faults();
        faults.refused.clear();
        faults.failing.clear();
    }

    /// The next call of this panics: a bug of the caller, as its other parts see it.
    pub fn break_once(&self, call: &'static str) {
        self.faults().breaking = Some(call);
    }

    /// How often this was called, failures included.
    pub fn calls(&self, call: &'static str) -> u64 {
        self.faults().calls.get(call).copied().unwrap_or(0)
    }

    /// Puts something into a worker's subscription, as an engine does that had lost its connection.
    pub fn delivery(&self, worker: ProcessId, delivery: CommandDelivery) {
        self.memory.put(worker, delivery);
    }

    /// Whether this call goes through.
    fn admit(&self, call: &'static str) -> Result<(), RegistryError> {
        let mut faults = self.faults();
        *faults.calls.entry(call).or_default() += 1;
        let breaks = faults.breaking.take_if(|broken| *broken == call).is_some();
        let failing = faults.failing.contains(call);
        let refused = faults.refused.contains(call);
        let away = faults.away;
        drop(faults);
        assert!(!breaks, "{call} breaks, as the test wants it");
        match (failing, refused, away) {
            (true, ..) => Err(RegistryError::Unavailable(format!("{call} fails"))),
            (_, true, _) => Err(RegistryError::Refused(format!("no right to {call}"))),
            (.., true) => Err(RegistryError::Unavailable("no connection".to_owned())),
            (false, false, false) => Ok(()),
        }
    }

    fn faults(&self) -> MutexGuard<'_, RegistryFaults> {
        self.faults.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
