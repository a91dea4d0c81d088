//! Carries messages about alerts to the webhook, over HTTP. The client blocks, so each call has a thread of its own.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use muster_cli::is_loopback;
use muster_config::{AlertsConfig, WebhookConfig, presentable_webhook};
use muster_supervisor::{AlertParts, Webhook, WebhookClient, WebhookSecret};
use tokio::sync::Mutex;
use ureq::Agent;

/// How long a call may take, with everything: less than the supervisor waits for it, so that no two calls run at a time.
const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// What the supervisor is to do with alerts.
pub(super) fn alert_parts(config: &AlertsConfig) -> AlertParts {
    let webhook = config.webhook.as_ref().map(|webhook| {
        tracing::info!(webhook = presentable_webhook(&webhook.url), "alerts are told to a webhook");
        Webhook {
            client: Arc::new(HttpWebhookClient::new(webhook)),
            secret: WebhookSecret::new(webhook.secret.clone()),
        }
    });
    AlertParts { min_interval: config.min_interval, webhook }
}

/// Posts to one URL.
struct HttpWebhookClient {
    agent: Agent,
    url: String,
    /// One call at a time: a host that does not answer takes no more than one of the threads for such work.
    line: Arc<Mutex<()>>,
}

impl HttpWebhookClient {
    fn new(webhook: &WebhookConfig) -> Self {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(CALL_TIMEOUT))
            .user_agent(concat!("muster/", env!("CARGO_PKG_VERSION")));
        // A proxy of the environment is for other hosts.
        if is_loopback(&webhook.url) {
            config = config.proxy(None);
        }
        Self { agent: config.build().new_agent(), url: webhook.url.clone(), line: Arc::default() }
    }
}

#[async_trait]
impl WebhookClient for HttpWebhookClient {
    async fn post(&self, headers: &[(&'static str, String)], body: String) -> Result<u16, String> {
        let mut request = self.agent.post(&self.url).header("content-type", "application/json");
        for (name, value) in headers {
            request = request.header(*name, value);
        }
        // The next call waits for the end of this one, whatever the supervisor does meanwhile.
        let place = self.line.clone().lock_owned().await;
        let call = tokio::task::spawn_blocking(move || {
            let answer = request.send(body).map(|answer| answer.status().as_u16());
            drop(place);
            answer
        });
        let answer = call.await.map_err(|_| "the call was given up in a shutdown".to_owned())?;
        answer.map_err(describe)
    }
}

/// In words without the URL, which may hold secrets.
fn describe(error: ureq::Error) -> String {
    match error {
        ureq::Error::BadUri(_) => "its URL is not understood".to_owned(),
        other => other.to_string(),
    }
}

/// The server that tests of commands have.
#[cfg(test)]
#[path = "../../cli/src/client/fake_tests.rs"]
mod fake_tests;

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::fake_tests::FakeServer;
    use super::*;

    fn client(url: &str) -> HttpWebhookClient {
        HttpWebhookClient::new(&WebhookConfig { url: format!("{url}/hook?k=s3cret"), secret: "x".to_owned() })
    }

    #[tokio::test]
    async fn a_delivery_is_posted_with_its_headers_and_the_status_comes_back() {
        let server = FakeServer::start(vec![(204, ""), (500, "no"), (307, "")]);
        let client = client(&server.url());
        let headers = [("X-Muster-Signature", "sha256=ab".to_owned())];
        let post = || client.post(&headers, r#"{"a": 1}"#.to_owned());
        assert_eq!([post().await, post().await, post().await], [Ok(204), Ok(500), Ok(307)]);
        let request = server.requests().remove(0);
        assert_eq!((request.line.as_str(), request.body.as_str()), ("POST /hook?k=s3cret HTTP/1.1", r#"{"a": 1}"#));
        let head = request.head.to_ascii_lowercase();
        for header in ["content-type: application/json", "x-muster-signature: sha256=ab", "user-agent: muster/"] {
            assert!(head.contains(header), "{head}");
        }
    }

    #[tokio::test]
    async fn who_is_not_there_is_told_without_the_url() {
        let closed = TcpListener::bind("127.0.0.1:0").expect("a free port").local_addr().expect("its address");
        let reason = client(&format!("http://{closed}")).post(&[], String::new()).await.expect_err("nobody listens");
        assert!(reason.to_ascii_lowercase().contains("refused") && !reason.contains("s3cret"), "{reason}");
    }
}
