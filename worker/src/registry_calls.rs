//! The calls to the registry: one at a time, polled by the loop and never awaited in it, so that a registry that
//! hangs holds up nothing but itself.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use muster_domain::{Heartbeat, HeartbeatReply, ProcessId, Report};
use muster_registry::{AgentNews, Bus, Registry, RegistryError, WrittenState};

type PendingCall<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The calls under way.
///
/// A beat and a report both say what the registry holds of this worker ([`Known`]), and reports must not overtake each
/// other: so there is one call at a time, and it owns `known` meanwhile. The test of the subscription is another
/// matter, and goes beside it.
pub(crate) struct RegistryCalls {
    registry: Arc<dyn Registry>,
    bus: Arc<dyn Bus>,
    known: Option<WrittenState>,
    call: Option<PendingCall<(WrittenState, CallOutcome)>>,
    check: Option<PendingCall<Result<(), RegistryError>>>,
}

/// What became of a call.
pub(crate) enum CallOutcome {
    /// Of a heartbeat.
    Beat(Result<HeartbeatReply, RegistryError>),
    /// Of reports.
    Reports(Vec<Report>, Result<(), RegistryError>),
    /// Of the test of the subscription.
    Check(Result<(), RegistryError>),
}

impl RegistryCalls {
    pub(crate) fn new(registry: Arc<dyn Registry>, bus: Arc<dyn Bus>) -> Self {
        Self { registry, bus, known: Some(WrittenState::default()), call: None, check: None }
    }

    /// Whether a beat or reports can be sent.
    pub(crate) const fn is_free(&self) -> bool {
        self.known.is_some()
    }

    /// Sends a heartbeat. Only when free.
    pub(crate) fn beat(&mut self, beat: Heartbeat) {
        let Some(mut known) = self.known.take() else { return };
        let registry = Arc::clone(&self.registry);
        self.call = Some(Box::pin(async move {
            let answer = registry.beat(&beat, &mut known).await;
            (known, CallOutcome::Beat(answer))
        }));
    }

    /// Sends reports, with what they say of agents. Only when free.
    pub(crate) fn report(&mut self, reports: Vec<Report>, agents: AgentNews) {
        let Some(mut known) = self.known.take() else { return };
        let bus = Arc::clone(&self.bus);
        self.call = Some(Box::pin(async move {
            let result = bus.report(&reports, &agents, &mut known).await;
            (known, CallOutcome::Reports(reports, result))
        }));
    }

    /// Tests the subscription, unless such a test is under way.
    pub(crate) fn check(&mut self, worker: ProcessId) {
        if self.check.is_none() {
            let bus = Arc::clone(&self.bus);
            self.check = Some(Box::pin(async move { bus.check_commands(worker).await }));
        }
    }

    /// Waits for the next call to land; for ever where none is under way. Cancel-safe.
    pub(crate) async fn next_outcome(&mut self) -> CallOutcome {
        let outcome = tokio::select! {
            (known, outcome) = fly(&mut self.call) => {
                self.known = Some(known);
                outcome
            }
            result = fly(&mut self.check) => CallOutcome::Check(result),
        };
        match outcome {
            CallOutcome::Check(_) => self.check = None,
            CallOutcome::Beat(_) | CallOutcome::Reports(..) => self.call = None,
        }
        outcome
    }
}

async fn fly<T>(flight: &mut Option<PendingCall<T>>) -> T {
    match flight {
        Some(flight) => flight.as_mut().await,
        None => std::future::pending().await,
    }
}
