//! A worker's subscription, on a connection of its own.
//!
//! The client library's automatic resubscription gives up after some attempts, and an idle subscriber would then be
//! deaf without an error. So one task per subscription owns the connection, reconnects for ever, and says
//! [`CommandDelivery::Resubscribed`] after it. It ends when the engine or the receiver is dropped.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use redis::Client;
use redis::aio::{PubSubSink, PubSubStream};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::oneshot;
use tokio::time::sleep;

use super::backoff::Backoff;
use super::command_connection::{late, within};
use super::tampering::TamperingLog;
use crate::command_filter::{CommandFilter, FilterRefusal};
use crate::{CommandDelivery, CommandStream, RegistryError};

/// Where the outcome of a check goes.
type CheckReply = oneshot::Sender<Result<(), RegistryError>>;

/// The engine's end of a subscription.
pub(super) struct Subscription {
    checks: UnboundedSender<CheckReply>,
    limit: Duration,
}

impl Subscription {
    /// Subscribes to this channel. Resolves when the server has confirmed it.
    pub(super) async fn stand(
        client: Client,
        channel: String,
        guard: CommandVerifier,
        limit: Duration,
    ) -> Result<(CommandStream, Self), RegistryError> {
        let line = SubscribedConnection::connect(&client, &channel, limit).await?;
        let (deliveries, stream) = unbounded_channel();
        let (checks, asked) = unbounded_channel();
        let listener = SubscriptionTask { client, channel, guard, limit, deliveries, asked, unanswered: Vec::new() };
        tokio::spawn(listener.run(line));
        Ok((stream, Self { checks, limit }))
    }

    /// Whether somebody still listens.
    pub(super) fn is_wanted(&self) -> bool {
        !self.checks.is_closed()
    }

    /// Tests that the subscription stands, and has it renewed where it does not.
    pub(super) fn check(&self) -> impl Future<Output = Result<(), RegistryError>> + use<> {
        let (reply, answer) = oneshot::channel();
        let asked = self.checks.send(reply);
        let limit = self.limit;
        async move {
            let nobody = || RegistryError::Unexpected("nobody receives the commands any more".to_owned());
            asked.map_err(|_| nobody())?;
            match tokio::time::timeout(limit, answer).await {
                Ok(Ok(outcome)) => outcome,
                Ok(Err(_)) => Err(nobody()),
                Err(_) => Err(late(limit)),
            }
        }
    }
}

/// Keeps from the worker what nobody of us wrote, so that it does not even wake for it.
pub(super) struct CommandVerifier {
    pub(super) filter: CommandFilter,
    pub(super) tampering_log: Arc<TamperingLog>,
}

impl CommandVerifier {
    fn admit(&mut self, channel: &str, message: &[u8]) -> Option<CommandDelivery> {
        match self.filter.admit(message) {
            Ok(delivery) => Some(delivery),
            Err(FilterRefusal::Repeated) => None,
            Err(FilterRefusal::Forged) => {
                self.tampering_log.forged(channel);
                None
            }
        }
    }
}

/// A connection that is subscribed.
struct SubscribedConnection {
    sink: PubSubSink,
    messages: PubSubStream,
}

impl SubscribedConnection {
    async fn connect(client: &Client, channel: &str, limit: Duration) -> Result<Self, RegistryError> {
        let subscribed = async {
            let (mut sink, messages) = client.get_async_pubsub().await?.split();
            sink.subscribe(channel).await?;
            Ok(Self { sink, messages })
        };
        within(limit, subscribed).await
    }
}

/// The task behind a subscription.
struct SubscriptionTask {
    client: Client,
    channel: String,
    guard: CommandVerifier,
    limit: Duration,
    deliveries: UnboundedSender<CommandDelivery>,
    asked: UnboundedReceiver<CheckReply>,
    /// Checks that found the line broken; answered by the first attempt to renew it.
    unanswered: Vec<CheckReply>,
}

/// Why listening ended.
enum ReceiveEnd {
    /// The connection is of no more use.
    Broken(String),
    /// Nobody listens any more.
    Unwanted,
}

impl SubscriptionTask {
    async fn run(mut self, mut line: SubscribedConnection) {
        loop {
            let ReceiveEnd::Broken(why) = self.listen(&mut line).await else { return };
            tracing::warn!("the subscription to commands broke and is being renewed: {why}");
            // Closed before another is opened: the server counts connections.
            drop(line);
            let Some(renewed) = self.renew().await else { return };
            line = renewed;
            tracing::info!("the subscription to commands stands again");
            if self.deliveries.send(CommandDelivery::Resubscribed).is_err() {
                return;
            }
        }
    }

    async fn listen(&mut self, line: &mut SubscribedConnection) -> ReceiveEnd {
        loop {
            tokio::select! {
                message = line.messages.next() => {
                    let Some(message) = message else { return ReceiveEnd::Broken("it was closed".to_owned()) };
                    let delivery = self.guard.admit(&self.channel, message.get_payload_bytes());
                    if delivery.is_some_and(|delivery| self.deliveries.send(delivery).is_err()) {
                        return ReceiveEnd::Unwanted;
                    }
                }
                check = self.asked.recv() => {
                    let Some(reply) = check else { return ReceiveEnd::Unwanted };
                    // Half of the caller's time, so that the other half is left for renewing.
                    match within(self.limit / 2, line.sink.ping::<redis::Value>()).await {
                        // It is no matter if the asker is gone.
                        Ok(_) => drop(reply.send(Ok(()))),
                        Err(error) => {
                            self.unanswered.push(reply);
                            return ReceiveEnd::Broken(error.to_string());
                        }
                    }
                }
                () = self.deliveries.closed() => return ReceiveEnd::Unwanted,
            }
        }
    }

    /// Connects until it succeeds; `None` when nobody wants it any more. A check is an attempt at once.
    async fn renew(&mut self) -> Option<SubscribedConnection> {
        let mut backoff = Backoff::new();
        loop {
            let attempt = SubscribedConnection::connect(&self.client, &self.channel, self.limit);
            let error = tokio::select! {
                outcome = attempt => match outcome {
                    Ok(line) => {
                        self.unanswered.drain(..).for_each(|reply| drop(reply.send(Ok(()))));
                        return Some(line);
                    }
                    Err(error) => error.to_string(),
                },
                () = self.deliveries.closed() => return None,
            };
            let unavailable = || Err(RegistryError::Unavailable(error.clone()));
            self.unanswered.drain(..).for_each(|reply| drop(reply.send(unavailable())));
            tokio::select! {
                () = sleep(backoff.wait()) => {}
                check = self.asked.recv() => self.unanswered.push(check?),
                () = self.deliveries.closed() => return None,
            }
        }
    }
}
