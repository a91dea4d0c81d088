//! Tells a webhook when an alert begins and when it ends: one message at a time, signed, and sent again until it arrives.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use hmac::{Hmac, KeyInit, Mac};
use serde::Serialize;
use sha2::Sha256;
use tokio::time::Instant;
use uuid::Uuid;

use super::outbox::{AfterFailure, WebhookDelivery};
use super::{Alert, Alerts};

/// How long one delivery may take.
const CALL_LIMIT: Duration = Duration::from_secs(15);

/// The header with the signature of the body: `sha256=` and the HMAC in hex.
const SIGNATURE: &str = "X-Muster-Signature";
/// The header with the id of the delivery: the same when a message is sent again.
const DELIVERY: &str = "X-Muster-Delivery";

/// Where alerts are told. The supervisor knows no HTTP: it writes and signs messages, and a client carries them.
pub struct Webhook {
    /// Who carries them.
    pub client: Arc<dyn WebhookClient>,
    /// What they are signed with.
    pub secret: WebhookSecret,
}

/// Carries messages to the webhook.
#[async_trait]
pub trait WebhookClient: Send + Sync {
    /// Sends a POST with this JSON and these headers. The status of the answer, or what went wrong in words without
    /// secrets. A call that is given up may go on behind the scenes for a while.
    async fn post(&self, headers: &[(&'static str, String)], body: String) -> Result<u16, String>;
}

/// A secret that is not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret(String);

impl WebhookSecret {
    /// This secret.
    pub fn new(secret: String) -> Self {
        Self(secret)
    }
}

impl fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(***)")
    }
}

/// What happened to an alert.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) enum AlertChange {
    #[serde(rename = "alert.begun")]
    Begun,
    #[serde(rename = "alert.ended")]
    Ended,
}

#[derive(Serialize)]
struct WebhookBody<'a> {
    event: AlertChange,
    alert: &'a Alert,
}

/// The message that tells this.
pub(super) fn delivery(event: AlertChange, alert: &Alert) -> WebhookDelivery {
    let body = WebhookBody { event, alert };
    // Words, numbers and ids always have a JSON.
    let body = serde_json::to_string(&body).unwrap_or_default();
    WebhookDelivery { delivery: Uuid::now_v7(), alert: alert.id, body }
}

/// Closes alerts in time and sends what is to be told, for ever. `told` hears when the webhook is away, and why, and when it
/// is not.
pub(crate) async fn run(alerts: Arc<Alerts>, webhook: Option<Webhook>, told: impl Fn(Option<String>)) {
    loop {
        let delivery = alerts.next_delivery();
        match (&webhook, delivery) {
            (Some(webhook), Some(delivery)) => told(webhook.deliver(&alerts, delivery).await.err()),
            _ => alerts.pause().await,
        }
    }
}

impl Webhook {
    async fn deliver(&self, alerts: &Alerts, message: WebhookDelivery) -> Result<(), String> {
        let delivery = message.delivery;
        let sent = self.send(message).await;
        match &sent {
            Ok(()) => alerts.delivered(delivery),
            Err(reason) => match alerts.failed(delivery) {
                AfterFailure::Again(_) => {
                    tracing::debug!(delivery.id = %delivery, reason, "an alert did not reach the webhook")
                }
                AfterFailure::GivenUp => {
                    tracing::error!(delivery.id = %delivery, reason, "an alert did not reach the webhook for a day; it is given up");
                }
            },
        }
        sent
    }

    async fn send(&self, delivery: WebhookDelivery) -> Result<(), String> {
        let headers =
            [(SIGNATURE, sign(&self.secret, delivery.body.as_bytes())), (DELIVERY, delivery.delivery.to_string())];
        let call = self.client.post(&headers, delivery.body);
        match tokio::time::timeout(CALL_LIMIT, call).await {
            Ok(Ok(200..=299)) => Ok(()),
            Ok(Ok(status)) => Err(format!("it answered {status}")),
            Ok(Err(reason)) => Err(reason),
            Err(_) => Err(format!("it did not answer within {} s", CALL_LIMIT.as_secs())),
        }
    }
}

/// The signature of a body.
fn sign(secret: &WebhookSecret, body: &[u8]) -> String {
    // An HMAC takes a key of any length.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.0.as_bytes()) else { return String::new() };
    mac.update(body);
    let digits: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256={digits}")
}

/// Waits until this moment, for ever where there is none.
pub(super) async fn until(moment: Option<std::time::Instant>) {
    match moment {
        Some(moment) => tokio::time::sleep_until(Instant::from_std(moment)).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use muster_domain::{AlertId, Timestamp};

    use super::*;
    use crate::alerts::AlertKind;

    /// The second case of RFC 4231.
    #[test]
    fn a_signature_is_the_hmac_of_the_body() {
        let signature = sign(&WebhookSecret::new("Jefe".to_owned()), b"what do ya want for nothing?");
        assert_eq!(signature, "sha256=5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    }

    #[test]
    fn a_delivery_tells_all_about_its_alert() {
        let alert = Alert {
            id: AlertId::generate(),
            kind: AlertKind::BreakerOpen,
            pool: Some("coders".parse().expect("a name")),
            subject: "coders".to_owned(),
            message: "3 of 20 failed".to_owned(),
            since: Timestamp::from_millis(0),
            until: None,
            count: 2,
        };
        let delivery = delivery(AlertChange::Begun, &alert);
        let json: serde_json::Value = serde_json::from_str(&delivery.body).expect("JSON");
        let expected = serde_json::json!({
            "event": "alert.begun",
            "alert": {
                "id": alert.id, "kind": "breaker_open", "pool_name": "coders", "subject": "coders",
                "message": "3 of 20 failed", "since": "1970-01-01T00:00:00.000Z", "until": null, "count": 2,
            },
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn a_secret_is_not_printed() {
        assert_eq!(format!("{:?}", WebhookSecret::new("s3cret".to_owned())), "Secret(***)");
    }
}
