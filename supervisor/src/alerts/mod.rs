//! Alerts: what is wrong and needs a person, from when it begins until it is over.
//!
//! There is one alert at a time for a kind, a pool and a subject. While it lasts it is counted, not repeated. One that comes
//! back soon after its end is the same one, so that what flaps is one alert; its end is told only after that time.
//!
//! They are in memory: a new supervisor begins with an empty book and writes down what it sees.
//!
//! | file | what it does |
//! |---|---|
//! | `alert_table` | the alerts |
//! | `outbox` | messages that wait for the webhook, in order, and when each is sent again |
//! | `webhook` | writes, signs and sends them |

mod alert_table;
mod outbox;
#[cfg(test)]
mod tests;
mod webhook;

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use muster_domain::{AlertId, PoolName, Timestamp, Words};
use serde::Serialize;
use tokio::sync::Notify;
use utoipa::ToSchema;
use uuid::Uuid;

use alert_table::{AlertTable, Topic};
use outbox::{AfterFailure, WebhookDelivery, WebhookOutbox};
use webhook::AlertChange;

use crate::clock::{WallClock, now};
pub(crate) use webhook::run;
pub use webhook::{Webhook, WebhookClient, WebhookSecret};

/// Where alerts go, and when they are over.
pub struct AlertParts {
    /// An alert that comes back within this time after its end is the same one.
    pub min_interval: Duration,
    /// Who is told; none: they are only listed.
    pub webhook: Option<Webhook>,
}

/// Only listed, and a minute's interval.
impl Default for AlertParts {
    fn default() -> Self {
        Self { min_interval: Duration::from_secs(60), webhook: None }
    }
}

/// Something is or was wrong, and needs or needed a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = AlertJson)]
pub struct Alert {
    /// Its id; later alerts have later ones.
    #[schema(value_type = String, format = Uuid)]
    pub id: AlertId,
    /// What kind of thing.
    #[schema(value_type = String, extensions(("x-enum" = json!(AlertKind::words()))))]
    pub kind: AlertKind,
    /// The pool that it is about; null where it is about none.
    #[serde(rename = "pool_name")]
    #[schema(value_type = Option<String>)]
    pub pool: Option<PoolName>,
    /// What it is about, e.g. an agent or a part of the supervisor; empty where the pool says it all.
    pub subject: String,
    /// What is wrong, in words.
    // The latest ones.
    pub message: String,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    pub since: Timestamp,
    /// When it ended; null while it lasts.
    #[schema(value_type = Option<String>, format = DateTime)]
    pub until: Option<Timestamp>,
    /// How often it was noticed.
    pub count: u64,
}

muster_domain::words! {
    /// What kind of thing is wrong.
    pub enum AlertKind {
        /// A pool gives out no tasks, since too many failed.
        BreakerOpen = "breaker_open",
        /// Many of a pool's tasks fail.
        FailureRate = "failure_rate",
        /// An agent is quarantined and waits for a person.
        Quarantine = "quarantine",
        /// The supervisor is less than it should be.
        Degraded = "degraded",
        /// Tasks were given up.
        DeadLetter = "dead_letter",
        /// Several workers died within a minute.
        WorkersLost = "workers_lost",
        /// Workers or programs of a pool don't start.
        StartFailed = "start_failed",
        /// The store refuses what was seen of agents or tasks of a pool.
        Unstorable = "unstorable",
        /// Nobody can ask or end a worker, or see its end: its agents wait.
        WorkerUnreachable = "worker_unreachable",
        /// What is to start in a pool waits until workers with an older definition of its runtime are empty.
        OldRuntime = "old_runtime",
        /// What was decided about the workers of a pool was not carried out in time.
        ScalingFailed = "scaling_failed",
        /// Tasks of a pool could start, and there has been no room for them for a minute.
        NoCapacity = "no_capacity",
    }
}

/// The book of alerts and the deliveries about them.
pub(crate) struct Alerts {
    state: Mutex<AlertState>,
    wall: WallClock,
    changed: Notify,
}

struct AlertState {
    book: AlertTable,
    /// None without a webhook.
    outbox: Option<WebhookOutbox>,
}

impl Alerts {
    pub(crate) fn new(parts: &AlertParts, wall: WallClock) -> Self {
        let outbox = parts.webhook.as_ref().map(|_| WebhookOutbox::default());
        Self {
            state: Mutex::new(AlertState { book: AlertTable::new(parts.min_interval), outbox }),
            wall,
            changed: Notify::new(),
        }
    }

    /// Something is wrong. Said again while it lasts, it is counted.
    pub(crate) fn raise(&self, kind: AlertKind, pool: Option<&PoolName>, subject: &str, message: String) {
        let topic = topic(kind, pool, subject);
        let mut state = self.state();
        if let Some(alert) = state.book.raise(topic, message, self.wall.now()) {
            state.tell(AlertChange::Begun, &alert);
            drop(state);
            self.changed.notify_one();
        }
    }

    /// That is over. Where nothing was wrong nothing happens.
    pub(crate) fn clear(&self, kind: AlertKind, pool: Option<&PoolName>, subject: &str) {
        let was_there = self.state().book.clear(&topic(kind, pool, subject), self.wall.now(), now());
        if was_there {
            self.changed.notify_one();
        }
    }

    /// A pool is gone, and with it all that was wrong in it.
    pub(crate) fn clear_pool(&self, pool: &PoolName) {
        let was_there = self.state().book.clear_pool(pool, self.wall.now(), now());
        if was_there {
            self.changed.notify_one();
        }
    }

    /// All that are kept, the newest first.
    pub(crate) fn list(&self) -> Vec<Alert> {
        self.state().book.list()
    }

    /// Those that last, the newest first.
    pub(crate) fn firing(&self) -> Vec<Alert> {
        self.state().book.firing()
    }

    /// Closes what is over for good, and gives the next delivery to send.
    fn next_delivery(&self) -> Option<WebhookDelivery> {
        let mut state = self.state();
        for alert in state.book.settle(now()) {
            state.tell(AlertChange::Ended, &alert);
        }
        state.outbox.as_ref()?.next(now())
    }

    /// Waits until there may be something to do.
    async fn pause(&self) {
        let next = {
            let state = self.state();
            let due = state.outbox.as_ref().and_then(WebhookOutbox::due);
            due.into_iter().chain(state.book.settles_at()).min()
        };
        tokio::select! {
            biased;
            () = self.changed.notified() => {}
            () = webhook::until(next) => {}
        }
    }

    fn delivered(&self, delivery: Uuid) {
        if let Some(outbox) = &mut self.state().outbox {
            outbox.delivered(delivery);
        }
    }

    fn failed(&self, delivery: Uuid) -> AfterFailure {
        self.state().outbox.as_mut().map_or(AfterFailure::GivenUp, |outbox| outbox.failed(delivery, now()))
    }

    fn state(&self) -> MutexGuard<'_, AlertState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AlertState {
    fn tell(&mut self, news: AlertChange, alert: &Alert) {
        let Some(outbox) = &mut self.outbox else { return };
        if let Some(dropped) = outbox.push(webhook::delivery(news, alert), now()) {
            tracing::error!(
                alert.id = %dropped.alert,
                delivery.id = %dropped.delivery,
                "too much waits for the webhook: the oldest is dropped"
            );
        }
    }
}

fn topic(kind: AlertKind, pool: Option<&PoolName>, subject: &str) -> Topic {
    Topic { kind, pool: pool.cloned(), subject: subject.to_owned() }
}
