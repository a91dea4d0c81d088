//! Tests of the way to a worker and back: a probe goes out as a command, and its report is waited for.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use muster_domain::{Command, CommandId, Envelope, Fence, ProcessId};
use muster_registry::Bus;
use tokio::sync::oneshot;

use crate::clock;

/// How long a probe is waited for, and the answer of a part of this supervisor.
pub(crate) const PATIENCE: Duration = Duration::from_secs(2);

#[derive(Default)]
pub(crate) struct Probes(Mutex<HashMap<CommandId, oneshot::Sender<()>>>);

impl Probes {
    /// Sends a probe to a worker and waits for its answer, at most `patience`.
    pub(crate) async fn send(
        &self,
        bus: &dyn Bus,
        fence: Fence,
        worker: ProcessId,
        patience: Duration,
    ) -> Result<Duration, String> {
        let envelope = Envelope::new(fence, Command::Probe);
        let id = envelope.id;
        let (answer, answered) = oneshot::channel();
        self.waiting().insert(id, answer);
        let begun = clock::now();
        let sent = bus.send(&[], &[(worker, envelope)]).await;
        let result = match sent {
            Err(error) => Err(error.to_string()),
            Ok(()) => match tokio::time::timeout(patience, answered).await {
                Ok(Ok(())) => Ok(clock::now().saturating_duration_since(begun)),
                _ => Err(format!("worker {worker} did not answer within {} s", patience.as_secs_f64())),
            },
        };
        self.waiting().remove(&id);
        result
    }

    pub(crate) fn answer(&self, id: CommandId) {
        if let Some(answer) = self.waiting().remove(&id) {
            // The asker may have given up.
            let _ = answer.send(());
        }
    }

    fn waiting(&self) -> MutexGuard<'_, HashMap<CommandId, oneshot::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
