//! What agents and workers leave in the data folder: an agent's folder and log, a worker's log. Removes it.
//!
//! Agents may run as the same user, so anything in the data folder may have been replaced by a link. No link in it is ever
//! followed: its folders are opened step by step without following any, and a link among what is removed is only unlinked.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use muster_domain::{AgentId, ProcessId};
use nix::libc::{O_CLOEXEC, O_DIRECTORY, O_NOFOLLOW};

/// Something that was left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Remain {
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
    const fn steps(self) -> &'static [&'static str] {
        match self {
            Self::AgentFolders => &["agents"],
            Self::AgentLogs => &["logs", "agents"],
            Self::WorkerLogs => &["logs", "workers"],
        }
    }

    fn open(self, data_dir: &Path) -> io::Result<Folder> {
        // The data folder itself may be a link: whoever configured it put it there.
        let mut folder = Folder::open(&data_dir.canonicalize()?)?;
        for step in self.steps() {
            folder = Folder::open(&folder.path(step))?;
        }
        Ok(folder)
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

/// What an agent may have left: its folder, its log, and the older one beside it.
pub(crate) fn of_agent(agent: AgentId) -> [Remain; 3] {
    [
        Remain { place: Place::AgentFolders, name: agent.to_string() },
        Remain { place: Place::AgentLogs, name: format!("{agent}.log") },
        Remain { place: Place::AgentLogs, name: format!("{agent}.log.1") },
    ]
}

/// What a worker may have left: its log.
pub(crate) fn of_worker(worker: ProcessId) -> Remain {
    Remain { place: Place::WorkerLogs, name: format!("{worker}.log") }
}

impl Remain {
    /// Removes it. That it is gone already is no error.
    pub(crate) fn remove(&self, data_dir: &Path) -> io::Result<()> {
        let removed = self.place.open(data_dir).and_then(|folder| {
            let path = folder.path(&self.name);
            // It follows no links either, also where one is put there while it works.
            if std::fs::symlink_metadata(&path)?.is_dir() {
                std::fs::remove_dir_all(&path)
            } else {
                std::fs::remove_file(&path)
            }
        });
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
    fn what_agents_and_workers_have_left_is_removed() {
        let (dir, link) = (data_dir(), tempfile::tempdir().expect("a folder"));
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
        // The data folder may be reached by a link.
        let data_dir = link.path().join("data");
        symlink(dir.path(), &data_dir).expect("a link");
        for remain in of_agent(agent).into_iter().chain([of_worker(worker)]) {
            assert!(remain.path(&data_dir).exists());
            remain.remove(&data_dir).expect("removed");
            assert!(!remain.path(&data_dir).exists());
            remain.remove(&data_dir).expect("twice is no error");
        }
        assert!(foreign.iter().all(|name| dir.path().join(name).exists()));
        of_worker(worker).remove(tempfile::tempdir().expect("a folder").path()).expect("there never was a log");
    }

    #[test]
    fn no_link_is_followed() {
        let (dir, elsewhere) = (data_dir(), data_dir());
        let (agent, other) = (AgentId::generate(), AgentId::generate());
        let treasure = elsewhere.path().join("treasure");
        fs::write(&treasure, "gold").expect("a file");
        // One agent's folder is a link, and there is one in the other's.
        symlink(elsewhere.path(), dir.path().join(format!("agents/{agent}"))).expect("a link");
        fs::create_dir(dir.path().join(format!("agents/{other}"))).expect("a folder");
        symlink(elsewhere.path(), dir.path().join(format!("agents/{other}/out"))).expect("a link");
        for remain in [of_agent(agent), of_agent(other)].concat() {
            remain.remove(dir.path()).expect("removed");
        }
        assert!(fs::read_dir(dir.path().join("agents")).expect("a folder").next().is_none());
        assert!(treasure.exists());

        // What should hold the folders is a link itself.
        fs::create_dir(elsewhere.path().join(format!("agents/{agent}"))).expect("a folder");
        fs::remove_dir(dir.path().join("agents")).expect("removed");
        symlink(elsewhere.path().join("agents"), dir.path().join("agents")).expect("a link");
        of_agent(agent)[0].remove(dir.path()).expect_err("a link");
        assert!(elsewhere.path().join(format!("agents/{agent}")).exists());
    }
}
