//! Who a worker is for whoever runs it: a process of a host, or something that a worker engine runs elsewhere.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What tells one worker from every other for whoever runs it.
///
/// It is written without a tag, so that a local one is written as it always was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum WorkerIdentity {
    /// A process of a host.
    Local(LocalIdentity),
    /// Something that a worker engine runs, e.g. a container of a cluster.
    Remote(RemoteIdentity),
}

/// What tells one process from every other, over reboots, pid namespaces and reused pids.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalIdentity {
    /// The host's name.
    pub host: String,
    /// The host's own number over its boots (machine-id(5)): hosts may have the same name. None where the host has none, and in what
    /// was written before this was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub machine_id: Option<String>,
    /// The kernel's boot id: another one of the same host means that every process of it is dead.
    pub boot_id: String,
    /// The inode of the pid namespace in which `pid` counts.
    pub pid_namespace: u64,
    /// The pid.
    pub pid: u32,
    /// The start time in clock ticks since boot (field 22 of `/proc/PID/stat`): a reused pid has another.
    pub start_time: u64,
}

/// What tells one worker from every other that a worker engine runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteIdentity {
    /// The engine's name, e.g. of a cluster: only that engine can be asked for it.
    pub engine: String,
    /// The engine's own word for it. It is never used for another one.
    pub handle: String,
}

impl WorkerIdentity {
    /// The process, of a local one.
    pub const fn as_local(&self) -> Option<&LocalIdentity> {
        match self {
            Self::Local(local) => Some(local),
            Self::Remote(_) => None,
        }
    }

    /// The pid, of a local one.
    pub fn pid(&self) -> Option<u32> {
        self.as_local().map(|local| local.pid)
    }

    /// Where it runs, for people: its host, or its engine.
    pub fn host(&self) -> &str {
        match self {
            Self::Local(local) => &local.host,
            Self::Remote(remote) => &remote.engine,
        }
    }
}

impl fmt::Display for WorkerIdentity {
    /// What goes behind the worker's name.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(local) => write!(f, "pid {} of the host {}", local.pid, local.host),
            Self::Remote(remote) => write!(f, "{} of the engine {}", remote.handle, remote.engine),
        }
    }
}

impl From<LocalIdentity> for WorkerIdentity {
    fn from(local: LocalIdentity) -> Self {
        Self::Local(local)
    }
}

impl From<RemoteIdentity> for WorkerIdentity {
    fn from(remote: RemoteIdentity) -> Self {
        Self::Remote(remote)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As every version before the engines wrote it, in heartbeats and in the store.
    const OLD: &str =
        r#"{"host":"h","boot_id":"b","pid_namespace":4026531836,"pid":4000000000,"start_time":18446744073709551615}"#;

    fn local() -> LocalIdentity {
        let (host, boot_id) = ("h".to_owned(), "b".to_owned());
        let (pid, start_time) = (4_000_000_000, u64::MAX);
        LocalIdentity { host, machine_id: None, boot_id, pid_namespace: 4_026_531_836, pid, start_time }
    }

    #[test]
    fn a_local_one_is_written_as_it_always_was() {
        let identity = WorkerIdentity::from(local());
        assert_eq!(serde_json::to_string(&identity).expect("text"), OLD);
        assert_eq!(serde_json::from_str::<WorkerIdentity>(OLD).expect("an identity"), identity);
        let value = serde_json::from_str::<serde_json::Value>(OLD).expect("a value");
        assert_eq!(serde_json::from_value::<WorkerIdentity>(value).expect("an identity"), identity);
        assert_eq!((identity.pid(), identity.host()), (Some(4_000_000_000), "h"));
    }

    #[test]
    fn what_a_later_version_adds_is_passed_over() {
        let local = LocalIdentity { machine_id: Some("m".to_owned()), ..local() };
        let text = serde_json::to_string(&local).expect("text");
        assert_eq!(serde_json::from_str::<WorkerIdentity>(&text).expect("an identity"), local.into());
        let later = OLD.replace('{', r#"{"rack":"7","#);
        assert_eq!(serde_json::from_str::<WorkerIdentity>(&later).expect("an identity"), self::local().into());
        let remote = r#"{"engine":"east","handle":"task/7","zone":"a"}"#;
        assert!(matches!(serde_json::from_str(remote), Ok(WorkerIdentity::Remote(_))));
    }

    #[test]
    fn a_remote_one_is_no_local_one() {
        let remote = RemoteIdentity { engine: "east".to_owned(), handle: "task/7".to_owned() };
        let identity = WorkerIdentity::from(remote);
        let text = serde_json::to_string(&identity).expect("text");
        assert_eq!(text, r#"{"engine":"east","handle":"task/7"}"#);
        assert_eq!(serde_json::from_str::<WorkerIdentity>(&text).expect("an identity"), identity);
        assert_eq!((identity.pid(), identity.as_local(), identity.host()), (None, None, "east"));
        assert_eq!(identity.to_string(), "task/7 of the engine east");
        assert!(serde_json::from_str::<WorkerIdentity>(r#"{"engine":"east"}"#).is_err());
    }
}
