//! Whom alerts are told: `[alerts]`.

use std::fmt;
use std::time::Duration;

use muster_domain::described;
use muster_domain::orders::redact_url;
use muster_domain::time::seconds;
use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;
use ureq::http::Uri;
use utoipa::ToSchema;

use super::reader::Reader;
use super::sources::Sources;

/// What `[alerts]` says.
#[derive(Clone, Debug, Serialize, Deserialize, SmartDefault, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AlertsSection {
    /// URL that is told (POST) when an alert begins and when it ends; needs a secret.
    #[schema(format = "URL")]
    webhook: Option<String>,
    /// File with the secret that signs what the webhook gets.
    #[schema(format = "path")]
    secret_file: Option<String>,
    /// Name of a variable with that secret, instead of the file; not `MUSTER_...`.
    secret_env: Option<String>,
    /// An alert that comes back within this time is the same one, and its end is told only after it.
    #[serde(with = "seconds")]
    #[schema(value_type = f64, format = "seconds")]
    #[default(Duration::from_secs(60))]
    min_interval: Duration,
}

described!(AlertsSection);

/// What happens to alerts.
#[derive(Clone, Debug)]
pub struct AlertsConfig {
    /// An alert that comes back within this time after its end is the same one.
    pub min_interval: Duration,
    /// Who is told.
    pub webhook: Option<WebhookConfig>,
}

/// A webhook.
#[derive(Clone)]
pub struct WebhookConfig {
    /// Its address. Whoever knows it may post there, so it is never printed whole.
    pub url: String,
    /// What deliveries to it are signed with.
    pub secret: String,
}

impl fmt::Debug for WebhookConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookConfig").field("url", &presentable_webhook(&self.url)).finish_non_exhaustive()
    }
}

/// Reads `[alerts]`.
pub(super) fn read(reader: &mut Reader<'_>, sources: &Sources<'_>) -> AlertsConfig {
    let AlertsSection { webhook: url, secret_file, secret_env, min_interval } = reader.section("alerts");
    let secret = read_secret(secret_file, secret_env, reader, sources);
    let Some(url) = url else { return AlertsConfig { min_interval, webhook: None } };
    reader.show("alerts.webhook", presentable_webhook(&url));
    if !is_http(&url) {
        reader.refuse("alerts.webhook", "https://HOST/PATH or http://HOST/PATH is expected");
    }
    if reader.origin_is_default("alerts.secret_file") && reader.origin_is_default("alerts.secret_env") {
        let message = "alerts.secret_file or alerts.secret_env is missing: what is sent there is signed";
        reader.refuse("alerts.webhook", message);
    }
    AlertsConfig { min_interval, webhook: secret.map(|secret| WebhookConfig { url, secret }) }
}

/// The secret, where one is named and can be read; else the mistake is noted.
fn read_secret(
    file: Option<String>,
    variable: Option<String>,
    reader: &mut Reader<'_>,
    sources: &Sources<'_>,
) -> Option<String> {
    let (key, found) = match (reader.path("alerts.secret_file", file), variable) {
        (None, None) => return None,
        (Some(_), Some(_)) => ("alerts.secret_env", Err("alerts.secret_file names the secret already".to_owned())),
        (Some(path), None) => {
            let text = std::fs::read_to_string(&path);
            ("alerts.secret_file", text.map_err(|error| format!("{} can't be read: {error}", path.display())))
        }
        (None, Some(name)) => ("alerts.secret_env", secret_variable(&name, sources)),
    };
    // Editors end a file with a line break, and it is no part of the secret.
    match found.map(|text| text.trim().to_owned()) {
        Ok(secret) if !secret.is_empty() => return Some(secret),
        Ok(_) => reader.refuse(key, "the secret is empty"),
        Err(message) => reader.refuse(key, message),
    }
    None
}

fn secret_variable(name: &str, sources: &Sources<'_>) -> Result<String, String> {
    if name.starts_with("MUSTER_") {
        return Err(format!("{name} would be taken for a setting; a name without MUSTER_ is expected"));
    }
    let found = sources.variable(name).map(|(secret, _)| secret);
    found.ok_or_else(|| format!("the variable {name} is not set"))
}

fn is_http(url: &str) -> bool {
    let Ok(uri) = url.parse::<Uri>() else { return false };
    matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some_and(|host| !host.is_empty())
}

/// Scheme and host: the path of a webhook is often its password.
pub fn presentable_webhook(url: &str) -> String {
    let url = redact_url(url);
    let Some((scheme, rest)) = url.split_once("://") else { return "***".to_owned() };
    match rest.find(['/', '?', '#']) {
        Some(end) if rest.len() > end + 1 => format!("{scheme}://{}/***", &rest[..end]),
        _ => url,
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{TestFolder, mistake_of};
    use super::*;

    const FILE: &str = "[alerts]\nwebhook = 'https://u:s3cret@hooks.example/T0/s3cret?k=s3cret'\n\
                        secret_file = 'hook.key'\nmin_interval = 5\n";

    #[test]
    fn a_webhook_has_a_secret_and_neither_is_shown() {
        let place = TestFolder::with_file(FILE);
        place.write("hook.key", "s3cret-key\n");
        let config = place.load();
        let webhook = config.alerts.webhook.clone().expect("a webhook");
        assert_eq!(webhook.url, "https://u:s3cret@hooks.example/T0/s3cret?k=s3cret");
        assert_eq!(webhook.secret, "s3cret-key");
        assert_eq!(config.alerts.min_interval, Duration::from_secs(5));
        for shown in [format!("{config:?}"), format!("{:?}", config.rows()), config.to_json().to_string()] {
            assert!(!shown.contains("s3cret"), "{shown}");
            assert!(shown.contains("https://***@hooks.example/***"), "{shown}");
        }
        let place = TestFolder::with_file(&FILE.replace("secret_file = 'hook.key'", "secret_env = 'HOOK_KEY'"));
        let by_variable = place.env("HOOK_KEY", "s3cret-key").load();
        assert_eq!(by_variable.alerts.webhook.expect("a webhook").secret, webhook.secret);
    }

    #[test]
    fn without_a_webhook_alerts_are_only_listed() {
        let alerts = TestFolder::with_file("").load().alerts;
        assert!(alerts.webhook.is_none());
        assert_eq!(alerts.min_interval, Duration::from_secs(60));
    }

    #[test]
    fn mistakes_name_their_key() {
        let cases = [
            (
                "[alerts]\nwebhook = 'https://x/y'",
                "muster.toml:2: alerts.webhook: alerts.secret_file or alerts.secret_env is missing: what is sent there is signed",
            ),
            (
                "[alerts]\nwebhook = 'ftp://x/y'\nsecret_env = 'HOME'",
                "muster.toml:2: alerts.webhook: https://HOST/PATH or http://HOST/PATH is expected",
            ),
            (
                "[alerts]\nwebhook = 'https://'\nsecret_env = 'HOME'",
                "muster.toml:2: alerts.webhook: https://HOST/PATH or http://HOST/PATH is expected",
            ),
            (
                "[alerts]\nsecret_env = 'MUSTER_KEY'",
                "muster.toml:2: alerts.secret_env: MUSTER_KEY would be taken for a setting; a name without MUSTER_ is expected",
            ),
            ("[alerts]\nsecret_env = 'NO_KEY'", "muster.toml:2: alerts.secret_env: the variable NO_KEY is not set"),
            (
                "[alerts]\nsecret_env = 'HOME'\nsecret_file = 'x'",
                "muster.toml:2: alerts.secret_env: alerts.secret_file names the secret already",
            ),
            ("[alerts]\nsecret_file = '/dev/null'", "muster.toml:2: alerts.secret_file: the secret is empty"),
            (
                "[alerts]\nmin_interval = 1e10",
                "muster.toml:2: alerts.min_interval: min_interval must be at most 1000000000 s, not 10000000000 s",
            ),
            (
                "[alerts]\nwebhok = 'x'",
                "muster.toml:2: alerts.webhok: there is no such key; the nearest is alerts.webhook",
            ),
        ];
        for (file, expected) in cases {
            assert_eq!(mistake_of(file), expected, "{file}");
        }
        let gone = mistake_of("[alerts]\nsecret_file = 'no.key'");
        assert!(gone.starts_with("muster.toml:2: alerts.secret_file: no.key can't be read: "), "{gone}");
    }
}
