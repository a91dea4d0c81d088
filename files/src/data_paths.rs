//! What is where in the data folder, of that which agents can touch.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use muster_domain::{AgentId, ProcessId};

use crate::folder::{FileId, Folder};

/// Folders in the data folder, which are made again where they are missing.
pub const FOLDERS: [&str; 3] = [AGENT_FOLDERS, AGENT_LOGS, WORKER_LOGS];

const AGENT_FOLDERS: &str = "agents";
const AGENT_LOGS: &str = "logs/agents";
const WORKER_LOGS: &str = "logs/workers";

/// The place of a file or a folder in a data folder. Whether there is anything is another question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataPath {
    data_dir: PathBuf,
    folder: &'static str,
    name: String,
}

impl DataPath {
    /// The folder in which an agent's program starts.
    pub fn agent_folder(data_dir: &Path, agent: AgentId) -> Self {
        Self { data_dir: data_dir.to_owned(), folder: AGENT_FOLDERS, name: agent.to_string() }
    }

    /// What an agent printed.
    pub fn agent_log(data_dir: &Path, agent: AgentId) -> Self {
        Self { data_dir: data_dir.to_owned(), folder: AGENT_LOGS, name: format!("{agent}.log") }
    }

    /// What a worker said.
    pub fn worker_log(data_dir: &Path, worker: ProcessId) -> Self {
        Self { data_dir: data_dir.to_owned(), folder: WORKER_LOGS, name: format!("{worker}.log") }
    }

    /// Where the part of this log is that is older than the present one.
    pub fn older(&self) -> Self {
        Self { name: format!("{}.1", self.name), ..self.clone() }
    }

    /// All that an agent may have left: its folder, its log, and the older part of that.
    pub fn all_of_agent(data_dir: &Path, agent: AgentId) -> [Self; 3] {
        let log = Self::agent_log(data_dir, agent);
        [Self::agent_folder(data_dir, agent), log.older(), log]
    }

    /// Where it is, for people and for programs: whoever opens it goes another way.
    pub fn path(&self) -> PathBuf {
        self.data_dir.join(self.folder).join(&self.name)
    }

    /// Opens it for reading, a regular file; `None` where there is none.
    pub fn read(&self) -> io::Result<Option<File>> {
        match self.above() {
            Ok(folder) => folder.read(&self.name),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Opens it for appending. Makes it, and the folders above it, where they are missing; what somebody has put into its
    /// place that is no file is removed, and a file that has another name too is put aside as the older part: it may be in a
    /// backup of the folder.
    pub fn append(&self) -> io::Result<File> {
        let folder = self.make_above()?;
        match folder.append(&self.name) {
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                match self.read() {
                    Ok(Some(_)) => self.rotate()?,
                    _ => folder.remove(&self.name)?,
                }
                folder.append(&self.name)
            }
            opened => opened,
        }
    }

    /// Makes it as a folder, where it is missing; its path.
    pub fn make(&self) -> io::Result<PathBuf> {
        self.make_above()?.make(&self.name)?;
        Ok(self.path())
    }

    /// What is there now, itself and not what it may link to.
    pub fn id(&self) -> io::Result<Option<FileId>> {
        match self.above() {
            Ok(folder) => folder.id_of(&self.name),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Puts what is there aside as the older part. That nothing is there is no error.
    pub fn rotate(&self) -> io::Result<()> {
        let older = self.older();
        match self.above().and_then(|folder| folder.rename(&self.name, &older.name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            done => done?,
        }
        // Between two names of one file a rename does nothing.
        match self.id()? {
            Some(id) if older.id()? == Some(id) => self.remove(),
            _ => Ok(()),
        }
    }

    /// Removes what is there, a folder with all that is in it. That nothing is there is no error.
    pub fn remove(&self) -> io::Result<()> {
        match self.above().and_then(|folder| folder.remove(&self.name)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            done => done,
        }
    }

    fn above(&self) -> io::Result<Folder> {
        Folder::open(&self.data_dir)?.inner(self.folder)
    }

    /// The data folder itself is nobody's to make anew: a store without its data would be taken for an empty one.
    fn make_above(&self) -> io::Result<Folder> {
        Folder::open(&self.data_dir)?.make(self.folder)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Write;
    use std::os::unix::fs::symlink;

    use super::*;

    fn data_dir() -> tempfile::TempDir {
        let dir = tempfile::tempdir().expect("a folder");
        for inner in FOLDERS {
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
        for place in
            DataPath::all_of_agent(&data_dir, agent).into_iter().chain([DataPath::worker_log(&data_dir, worker)])
        {
            assert!(place.path().exists());
            place.remove().expect("removed");
            assert!(!place.path().exists());
            place.remove().expect("twice is no error");
        }
        assert!(foreign.iter().all(|name| dir.path().join(name).exists()));
        let empty = tempfile::tempdir().expect("a folder");
        DataPath::worker_log(empty.path(), worker).remove().expect("there never was a log");
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
        symlink(&treasure, dir.path().join(format!("agents/{other}/link"))).expect("a link");
        for agent in [agent, other] {
            DataPath::agent_folder(dir.path(), agent).remove().expect("removed");
        }
        assert!(fs::read_dir(dir.path().join("agents")).expect("a folder").next().is_none());
        // The folder of all agents is a link itself.
        fs::create_dir(elsewhere.path().join(format!("agents/{agent}"))).expect("a folder");
        fs::remove_dir(dir.path().join("agents")).expect("removed");
        symlink(elsewhere.path().join("agents"), dir.path().join("agents")).expect("a link");
        let place = DataPath::agent_folder(dir.path(), agent);
        assert!(place.remove().is_err() && place.make().is_err());
        assert!(elsewhere.path().join(format!("agents/{agent}")).exists() && treasure.exists());
    }

    #[test]
    fn a_log_that_is_linked_to_its_older_part_is_put_aside_all_the_same() {
        let (dir, agent) = (tempfile::tempdir().expect("a folder"), AgentId::generate());
        let log = DataPath::agent_log(dir.path(), agent);
        log.append().expect("made with its folders").write_all(b"words").expect("written");
        fs::hard_link(log.path(), log.older().path()).expect("a link");
        log.rotate().expect("put aside");
        assert!(log.read().expect("asked").is_none());
        assert_eq!(fs::read_to_string(log.older().path()).expect("its words"), "words");
    }

    #[test]
    fn a_log_that_was_replaced_is_one_again() {
        let (dir, agent) = (tempfile::tempdir().expect("a folder"), AgentId::generate());
        let log = DataPath::agent_log(dir.path(), agent);
        assert!(log.read().expect("asked").is_none() && log.id().expect("asked").is_none());
        log.rotate().expect("nothing to put aside");
        let treasure = dir.path().join("treasure");
        fs::write(&treasure, "gold").expect("a file");
        drop(log.append().expect("made with its folders"));
        let replace: [(bool, &dyn Fn()); 3] = [
            (false, &|| symlink(&treasure, log.path()).expect("a link")),
            (false, &|| fs::create_dir_all(log.path().join("x")).expect("a folder")),
            (true, &|| fs::hard_link(&treasure, log.path()).expect("a hard link")),
        ];
        for (is_read, replace) in replace {
            fs::remove_file(log.path()).expect("removed");
            replace();
            assert_eq!(log.read().is_ok(), is_read);
            log.append().expect("a file again").write_all(b"words").expect("written");
            assert_eq!(fs::read_to_string(log.path()).expect("its words"), "words");
        }
        assert_eq!(fs::read_to_string(&treasure).expect("still there"), "gold");
        log.rotate().expect("put aside");
        assert!(log.read().expect("asked").is_none() && log.older().read().expect("asked").is_some());
    }
}
