//! Subscriptions of workers: who hears which commands.

use muster_domain::{Envelope, ProcessId};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::{CommandDelivery, CommandStream, wire};

/// All subscriptions that stand.
#[derive(Default)]
pub(super) struct Subscriptions {
    subscriptions: Vec<WorkerSubscription>,
}

struct WorkerSubscription {
    worker: ProcessId,
    sender: UnboundedSender<CommandDelivery>,
}

impl Subscriptions {
    /// A new subscription; it hears what is sent from now on.
    pub(super) fn subscribe(&mut self, worker: ProcessId) -> CommandStream {
        let (sender, receiver) = unbounded_channel();
        self.subscriptions.push(WorkerSubscription { worker, sender });
        receiver
    }

    /// Whether somebody still listens for this worker.
    pub(super) fn is_subscribed(&mut self, worker: ProcessId) -> bool {
        self.subscriptions.retain(|subscription| !subscription.sender.is_closed());
        self.subscriptions.iter().any(|subscription| subscription.worker == worker)
    }

    /// Sends to one worker.
    pub(super) fn send(&mut self, worker: ProcessId, envelope: &Envelope) {
        self.put(worker, || match wire::is_understood(envelope.v) {
            true => CommandDelivery::Command(Box::new(envelope.clone())),
            false => CommandDelivery::Unreadable(wire::unknown_version(envelope.v)),
        });
    }

    /// Puts a delivery into each of a worker's subscriptions, and drops those to which nobody listens any more.
    pub(super) fn put(&mut self, worker: ProcessId, delivery: impl Fn() -> CommandDelivery) {
        self.subscriptions
            .retain(|subscription| subscription.worker != worker || subscription.sender.send(delivery()).is_ok());
    }
}
