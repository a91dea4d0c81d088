//! The handle: the way to a supervisor. What somebody asks stands on a [`Caller`]; here is only what nobody asks.

use std::sync::Arc;

use muster_domain::Principal;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::caller::Caller;
use crate::context::Context;
use crate::directory::read;
use crate::keeper::Keeper;
use crate::supervisor::SupervisorFacts;
use crate::view::{BesidesView, HealthView};

/// Cloneable; every clone speaks with the same supervisor. When the supervisor has ended, calls fail with
/// [`SupervisorError::Stopping`](crate::SupervisorError::Stopping).
#[derive(Clone)]
pub struct Handle {
    pub(crate) context: Arc<Context>,
    pub(crate) facts: Arc<SupervisorFacts>,
    pub(crate) stop: watch::Sender<Option<StopWish>>,
    pub(crate) closing: CancellationToken,
}

/// How the supervisor was asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StopWish {
    /// Whether the workers are left for the next supervisor.
    pub keep_workers: bool,
}

impl Handle {
    /// The supervisor for this principal.
    pub fn by(&self, principal: Principal) -> Caller {
        Caller::new(self.clone(), principal)
    }

    /// What is known of the supervisor's health, which anybody may know: nobody is asked, and nothing is waited for.
    pub fn health(&self) -> HealthView {
        HealthView {
            mode: self.facts.mode,
            mode_reason: self.facts.mode_reason.clone(),
            degraded: self.context.reporting.health.read(),
            alerts: self.context.reporting.alerts.firing(),
            runs: BesidesView {
                metrics_collector: self.context.settings.metrics_interval.is_some(),
                autoscaler: self.context.settings.autoscaler,
            },
        }
    }

    /// Resolves when every pool's keeper has answered.
    pub async fn answered(&self) {
        for (_, keeper) in self.context.directory.all() {
            // One that ends meanwhile is a pool that is gone.
            drop(read(&keeper, Keeper::view_pool).await);
        }
    }

    /// Says that the supervisor is less than it should be, for a reason that only its starter knows.
    pub fn degrade(&self, subject: &'static str, reason: String) {
        self.context.reporting.health.degrade(subject, reason);
    }

    /// Has the supervisor give up its lead, so that whoever started it starts it anew.
    pub fn start_over(&self) {
        self.context.fenced.cancel();
    }

    /// Has the supervisor stop, since its process is told to, and returns at once. The first wish counts.
    pub fn stop(&self, keep_workers: bool) {
        self.stop.send_if_modified(|wish| match wish {
            Some(_) => false,
            None => wish.replace(StopWish { keep_workers }).is_none(),
        });
    }
}
