//! What a worker is told at its birth, by its parent and over no network: it holds secrets and command lines.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::{Clocks, Fence, PoolName, ProcessId, RuntimeProfile, WorkerKey};

/// Everything that a worker knows. It has no store and reads no configuration.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WorkerOrders {
    /// Who it is.
    pub process_id: ProcessId,
    /// Its pool.
    pub pool_name: PoolName,
    /// Agents that it may hold.
    pub capacity: u32,
    /// The fence of the leader that started it.
    pub fence: Fence,
    /// What its messages, and those to it, are signed with.
    pub key: WorkerKey,
    /// Where the registry is.
    pub registry: RegistryTarget,
    /// Under it: `agents/ID` is an agent's folder, `logs/agents/ID.log` what it printed.
    pub data_dir: PathBuf,
    /// The file whose lock every leader holds; where nobody does, the worker is an orphan.
    pub lock_file: PathBuf,
    /// What its agents run.
    pub profile: RuntimeProfile,
    /// The durations in force.
    pub clocks: Clocks,
    /// The soft limit of open files that programs start with; where it is missing, the worker's own.
    #[serde(default)]
    pub open_files: Option<u64>,
}

/// Where a registry is.
#[derive(Clone, Serialize, Deserialize)]
pub struct RegistryTarget {
    /// A Redis URL; it may hold a password.
    pub url: String,
    /// Put before every key and channel.
    pub prefix: String,
    /// Certificates (PEM) that vouch for the server instead of the public ones; only for `rediss`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub roots: Option<String>,
}

/// Without the password.
impl fmt::Debug for RegistryTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryTarget").field("url", &redact_url(&self.url)).field("prefix", &self.prefix).finish()
    }
}

/// A URL as it may be shown: user name and password become `***`, also where a unix socket's URL has them in its query.
pub fn redact_url(url: &str) -> String {
    let (url, query) = url.split_once('?').unwrap_or((url, ""));
    let is_secret = |part: &&str| part.starts_with("pass=") || part.starts_with("user=");
    let shown: Vec<&str> = query.split('&').filter(|part| !part.is_empty() && !is_secret(part)).collect();
    let mut text = redact_authority(url);
    if !shown.is_empty() {
        text.push('?');
        text.push_str(&shown.join("&"));
    }
    text
}

fn redact_authority(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..authority].rfind('@') {
        Some(at) => format!("{scheme}://***@{}", &rest[at + 1..]),
        None => url.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        let target =
            RegistryTarget { url: "redis://me:s3c@ret@host:6379/0".to_owned(), prefix: String::new(), roots: None };
        let shown = format!("{target:?}");
        assert!(shown.contains("redis://***@host:6379/0") && !shown.contains("s3c"), "{shown}");
        assert_eq!(redact_url("redis+unix:///tmp/a@b.sock"), "redis+unix:///tmp/a@b.sock");
        assert_eq!(redact_url("no url"), "no url");
        assert_eq!(redact_url("unix:///a.sock?user=me&db=2&pass=s3c"), "unix:///a.sock?db=2");
        assert_eq!(redact_url("postgresql://me:s3c@h/d?host=/tmp"), "postgresql://***@h/d?host=/tmp");
    }
}
