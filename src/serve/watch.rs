//! What is looked at on the host beside the supervisor's own work: its log, the data folder, and the file of the database.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use muster_config::Database;
use muster_files::FileId;
use muster_store::sqlite::log_of;
use muster_supervisor::{DATA_FOLDER, DATABASE_FILE, HostCheck};

use super::ServeContext;
use super::data_dir::DataDir;
use crate::logging::{LogQueue, LogTrouble};

/// A line that is not taken within this time is not read.
const PATIENCE: Duration = Duration::from_secs(2);

/// All of it, from when the store is open on.
pub(super) fn checks(context: &ServeContext) -> Vec<Arc<dyn HostCheck>> {
    let folder = DataFolder { data_dir: context.data_dir.clone(), address: context.address.clone() };
    let mut checks: Vec<Arc<dyn HostCheck>> = vec![Arc::new(TheLog(context.log.clone())), Arc::new(folder)];
    if let Database::Sqlite(path) = &context.config.database {
        checks.push(Arc::new(DatabaseFile::opened(path)));
    }
    checks
}

/// Whether anybody takes what is logged.
struct TheLog(LogQueue);

impl HostCheck for TheLog {
    fn subject(&self) -> &'static str {
        "log"
    }

    fn look(&self) -> Option<String> {
        // Without numbers, which would rise and be news each time; the log itself tells them as soon as it can.
        Some(match self.0.trouble(PATIENCE)? {
            LogTrouble::Stuck(_) => {
                "nobody reads stderr, and the log waits for it: read it, or send it to a file".to_owned()
            }
            LogTrouble::Loss(loss) => match loss.error {
                None => "stderr is not read fast enough, and lines of the log are lost: read it, or send it to a file"
                    .to_owned(),
                Some(error) => format!("stderr can't be written, and lines of the log are lost: {error}"),
            },
        })
    }
}

/// What is in the data folder beside the database: made again where it was removed.
struct DataFolder {
    data_dir: Arc<DataDir>,
    address: String,
}

impl HostCheck for DataFolder {
    fn subject(&self) -> &'static str {
        DATA_FOLDER
    }

    fn look(&self) -> Option<String> {
        self.data_dir.mend(&self.address).err().map(|error| format!("{error:#}"))
    }
}

/// The file that SQLite has open, and the log beside it, which holds what was committed last. Both are written on when
/// somebody has removed them, and what is in them then is lost with this process.
struct DatabaseFile {
    /// The file and its log.
    files: Vec<(PathBuf, FileId)>,
    /// What is in the file is looked at through this one.
    held: Option<&'static File>,
}

impl DatabaseFile {
    /// Which files those at this path are, now that they are open.
    fn opened(path: &Path) -> Self {
        let present = [path.to_owned(), log_of(path)].into_iter();
        let files: Vec<_> = present.filter_map(|path| id_at(&path).map(|id| (path, id))).collect();
        let held = files.first().and_then(|(path, id)| hold(path, *id));
        Self { files, held }
    }
}

/// Opens a file once, for as long as this process lives. POSIX drops all locks of a process on a file when any of its descriptors
/// of it is closed, and without SQLite's another program that ends takes itself for the last one, and removes the log.
fn hold(path: &Path, id: FileId) -> Option<&'static File> {
    static HELD: Mutex<Vec<(FileId, &'static File)>> = Mutex::new(Vec::new());
    let mut held = HELD.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, file)) = held.iter().find(|(known, _)| *known == id) {
        return Some(file);
    }
    let file: &'static File = Box::leak(Box::new(File::open(path).ok()?));
    held.push((id, file));
    Some(file)
}

impl HostCheck for DatabaseFile {
    fn subject(&self) -> &'static str {
        DATABASE_FILE
    }

    fn look(&self) -> Option<String> {
        if let Some((path, _)) = self.files.iter().find(|(path, id)| id_at(path) != Some(*id)) {
            let path = path.display();
            return Some(format!(
                "{path} was removed, moved or replaced while it is in use: put the same file back. Nothing new is taken until \
                 then, since all that is changed now is lost when the server ends; agents that run go on"
            ));
        }
        self.held.filter(|file| !is_database(file))?;
        let (path, _) = self.files.first()?;
        let path = path.display();
        Some(format!(
            "{path} was overwritten while it is in use, and is no database any more: end the server and put a good copy of it \
             back. Nothing new is taken until then, since all that is changed now is lost; agents that run go on"
        ))
    }
}

/// Whether a file begins as each database of SQLite does. Where that can't be read, it is not judged.
fn is_database(file: &File) -> bool {
    const MAGIC: &[u8; 16] = b"SQLite format 3\0";
    let mut head = [0; MAGIC.len()];
    match file.read_at(&mut head, 0) {
        Ok(count) => head[..count] == MAGIC[..],
        Err(_) => true,
    }
}

fn id_at(path: &Path) -> Option<FileId> {
    path.metadata().ok().map(|found| FileId::from(&found))
}
