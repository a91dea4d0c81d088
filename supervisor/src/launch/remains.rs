//! What agents and workers leave in the data folder: an agent's folder and log, a worker's log. Finds what is old, and removes
//! it.
//!
//! Agents may run as the same user, so anything in the data folder may have been replaced by a link. No link is ever followed:
//! the folders that are looked into are opened step by step without following any, and a link among what is removed is only
//! unlinked.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use muster_domain::{AgentId, ProcessId};
use nix::libc::{O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW};

/// Whose something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Owner {
    Agent(AgentId),
    Worker(ProcessId),
}

/// Something that was left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remain {
    pub(crate) owner: Owner,
    place: Place,
    name: String,
}

/// A folder of the data folder in which something may be left.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    AgentFolders,
    AgentLogs,
    WorkerLogs,
}

impl Place {
    const ALL: [Self; 3] = [Self::AgentFolders, Self::AgentLogs, Self::WorkerLogs];

    const fn steps(self) -> &'static [&'static str] {
        match self {
            Self::AgentFolders => &["agents"],
            Self::AgentLogs => &["logs", "agents"],
            Self::WorkerLogs => &["logs", "workers"],
        }
    }

    /// Whose an entry of this name is; `None` for what Muster has not made.
    fn owner(self, name: &str) -> Option<Owner> {
        match self {
            Self::AgentFolders => name.parse().ok().map(Owner::Agent),
            // `ID.log`, and `ID.log.1` beside it.
            Self::AgentLogs => name.split('.').next()?.parse().ok().map(Owner::Agent),
            Self::WorkerLogs => name.split('.').next()?.parse().ok().map(Owner::Worker),
        }
    }

    fn open(self, data_dir: &Path) -> io::Result<Folder> {
        let mut folder = Folder::open(data_dir)?;
        for step in self.steps() {
            folder = Folder::open(&folder.path(step))?;
        }
        Ok(folder)
    }

    fn old(self, data_dir: &Path, kept: Duration) -> io::Result<Vec<Remain>> {
        let folder = self.open(data_dir)?;
        let entries = std::fs::read_dir(folder.path("."))?;
        let old = entries.filter_map(|entry| {
            let entry = entry.ok()?;
            // Of a link this is the link's own age.
            let age = entry.metadata().ok()?.modified().ok()?.elapsed().ok()?;
            let name = entry.file_name().into_string().ok()?;
            let owner = self.owner(&name)?;
            (age > kept).then_some(Remain { owner, place: self, name })
        });
        Ok(old.collect())
    }
}

/// An open folder. What is named under it is there, whatever its path leads to by now.
struct Folder(File);

impl Folder {
    /// Fails where the last step is a link.
    fn open(path: &Path) -> io::Result<Self> {
        let flags = O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
        OpenOptions::new().read(true).custom_flags(flags).open(path).map(Self)
    }

    fn path(&self, name: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{name}", self.0.as_raw_fd()))
    }
}

/// What was not changed for `kept`. A folder that is missing, or that is a link, holds nothing of ours.
pub(crate) fn old(data_dir: &Path, kept: Duration) -> Vec<Remain> {
    Place::ALL.into_iter().flat_map(|place| place.old(data_dir, kept).unwrap_or_default()).collect()
}

impl Remain {
    /// Removes it. That it is gone already is no error.
    pub(crate) fn remove(&self, data_dir: &Path) -> io::Result<()> {
        let folder = self.place.open(data_dir)?;
        let path = folder.path(&self.name);
        let removed = match std::fs::symlink_metadata(&path) {
            // It follows no links either, also where one is put there while it works.
            Ok(found) if found.is_dir() => std::fs::remove_dir_all(&path),
            Ok(_) => std::fs::remove_file(&path),
            Err(error) => Err(error),
        };
        match removed {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Where it is, for people.
    pub(crate) fn path(&self, data_dir: &Path) -> PathBuf {
        self.place.steps().iter().fold(data_dir.to_owned(), |path, step| path.join(step)).join(&self.name)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn data_dir() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a folder");
        for inner in ["agents", "logs/agents", "logs/workers"] {
            fs::create_dir_all(dir.path().join(inner)).expect("a folder");
        }
        dir
    }

    #[test]
    fn what_agents_and_workers_have_left_is_found_and_removed() {
        let dir = data_dir();
        let (agent, worker) = (AgentId::generate(), ProcessId::generate());
        fs::create_dir_all(dir.path().join(format!("agents/{agent}/src/deep"))).expect("a folder");
        fs::write(dir.path().join(format!("agents/{agent}/src/main.py")), "pass").expect("a file");
        fs::write(dir.path().join(format!("logs/agents/{agent}.log")), "out hello").expect("a log");
        fs::write(dir.path().join(format!("logs/agents/{agent}.log.1")), "out hello").expect("a log");
        fs::write(dir.path().join(format!("logs/workers/{worker}.log")), "hello").expect("a log");
        let foreign = ["agents/notes", "logs/agents/notes.txt", "logs/workers/x.log", "muster.db"];
        for name in foreign {
            fs::write(dir.path().join(name), "mine").expect("a file of somebody else");
        }
        assert_eq!(old(dir.path(), Duration::from_secs(3_600)), []);
        let found = old(dir.path(), Duration::ZERO);
        let of_worker = found.iter().filter(|remain| remain.owner == Owner::Worker(worker)).count();
        assert_eq!((found.len(), of_worker), (4, 1), "{found:?}");
        for remain in &found {
            assert!(remain.path(dir.path()).exists());
            remain.remove(dir.path()).expect("removed");
            assert!(!remain.path(dir.path()).exists());
            remain.remove(dir.path()).expect("twice is no error");
        }
        assert!(foreign.iter().all(|name| dir.path().join(name).exists()));
    }

    #[test]
    fn no_link_is_followed() {
        let (dir, elsewhere) = (data_dir(), data_dir());
        let agent = AgentId::generate();
        let treasure = elsewhere.path().join("treasure");
        fs::write(&treasure, "gold").expect("a file");
        // The agent's folder is a link, and there is one in a folder.
        symlink(elsewhere.path(), dir.path().join(format!("agents/{agent}"))).expect("a link");
        let other = dir.path().join(format!("agents/{}", AgentId::generate()));
        fs::create_dir(&other).expect("a folder");
        symlink(elsewhere.path(), other.join("out")).expect("a link");
        for remain in old(dir.path(), Duration::ZERO) {
            remain.remove(dir.path()).expect("removed");
        }
        assert!(fs::read_dir(dir.path().join("agents")).expect("a folder").next().is_none());
        assert!(treasure.exists());

        // What should hold the folders is a link itself.
        fs::create_dir(elsewhere.path().join(format!("agents/{agent}"))).expect("a folder");
        let remain = old(elsewhere.path(), Duration::ZERO).remove(0);
        fs::remove_dir(dir.path().join("agents")).expect("removed");
        symlink(elsewhere.path().join("agents"), dir.path().join("agents")).expect("a link");
        assert_eq!(old(dir.path(), Duration::ZERO), []);
        remain.remove(dir.path()).expect_err("a link");
        assert!(elsewhere.path().join(format!("agents/{agent}")).exists());
    }
}
