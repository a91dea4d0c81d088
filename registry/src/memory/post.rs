//! Subscriptions of workers: who hears which commands.

use muster_domain::{Envelope, PoolName, ProcessId};
use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};

use crate::{CommandPost, CommandStream, wire};

/// All subscriptions that stand.
#[derive(Default)]
pub(super) struct Post {
    subscriptions: Vec<Subscription>,
}

struct Subscription {
    worker: ProcessId,
    pool: PoolName,
    sender: UnboundedSender<CommandPost>,
}

impl Post {
    /// A new subscription; it hears what is sent from now on.
    pub(super) fn subscribe(&mut self, worker: ProcessId, pool: &PoolName) -> CommandStream {
        let (sender, receiver) = unbounded_channel();
        self.subscriptions.push(Subscription { worker, pool: pool.clone(), sender });
        receiver
    }

    /// Whether somebody still listens for this worker.
    pub(super) fn is_subscribed(&mut self, worker: ProcessId) -> bool {
        self.subscriptions.retain(|subscription| !subscription.sender.is_closed());
        self.subscriptions.iter().any(|subscription| subscription.worker == worker)
    }

    /// Sends to one worker.
    pub(super) fn send(&mut self, worker: ProcessId, envelope: &Envelope) {
        self.deliver(envelope, |subscription| subscription.worker == worker);
    }

    /// Sends to all workers of a pool.
    pub(super) fn send_to_pool(&mut self, pool: &PoolName, envelope: &Envelope) {
        self.deliver(envelope, |subscription| subscription.pool == *pool);
    }

    /// Delivers to those who listen, and drops the subscriptions of those who do not any more.
    fn deliver(&mut self, envelope: &Envelope, is_meant: impl Fn(&Subscription) -> bool) {
        let understood = wire::is_understood(envelope.v);
        self.subscriptions.retain(|subscription| {
            if !is_meant(subscription) {
                return true;
            }
            let post = if understood {
                CommandPost::Command(Box::new(envelope.clone()))
            } else {
                CommandPost::Unreadable(wire::unknown_version(envelope.v))
            };
            subscription.sender.send(post).is_ok()
        });
    }
}
