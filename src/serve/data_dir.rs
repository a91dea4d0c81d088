//! The data folder: only its owner may look into it, one supervisor at a time leads in it, and a file in it says where.

use std::fs::Metadata;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use anyhow::{Context as _, bail};
use muster_files::{FOLDERS, FileId, Folder};
use muster_process::DataLock;
use nix::unistd::{Uid, User, geteuid};

/// The file that says where the API is.
const ADDRESS: &str = "muster.addr";

/// An opened data folder.
pub(crate) struct DataDir {
    folder: PathBuf,
    /// Which folder that is.
    id: Mutex<FileId>,
    /// The locks that this process holds: more than one where the file of the first was taken away.
    locks: Mutex<Vec<DataLock>>,
}

impl DataDir {
    /// Makes the folder where it is missing, and closes it to others.
    pub(crate) fn open(folder: &Path) -> anyhow::Result<Self> {
        let words = || format!("cannot make the data folder {}", folder.display());
        check_owner(folder, geteuid())?;
        std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).with_context(words)?;
        std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o700)).with_context(words)?;
        let id = Mutex::new(FileId::from(&folder.metadata().with_context(words)?));
        let data_dir = Self { folder: folder.to_owned(), id, locks: Mutex::default() };
        data_dir.make_folders()?;
        Ok(data_dir)
    }

    /// Makes what is missing of the folders in it.
    pub(crate) fn make_folders(&self) -> anyhow::Result<()> {
        for inner in FOLDERS {
            let made = Folder::open(&self.folder).and_then(|folder| folder.make(inner));
            made.with_context(|| format!("cannot make the folder {}", self.folder.join(inner).display()))?;
        }
        Ok(())
    }

    /// The file whose lock the leader holds.
    pub(crate) fn lock_file(&self) -> PathBuf {
        self.folder.join("muster.lock")
    }

    /// Takes the folder, unless another supervisor has it; whether it has.
    pub(crate) fn try_lock(&self) -> anyhow::Result<bool> {
        let path = self.lock_file();
        let taken = DataLock::acquire(&path).with_context(|| format!("cannot lock {}", path.display()))?;
        let is_taken = taken.is_some();
        self.locks().extend(taken);
        Ok(is_taken)
    }

    /// Whether it was taken, and not given back: whatever became of the file since.
    pub(crate) fn was_taken(&self) -> bool {
        !self.locks().is_empty()
    }

    /// Gives it back.
    pub(crate) fn unlock(&self) {
        self.locks().clear();
    }

    /// Makes again what was removed under this leader, whose API is at `address`. An error says what can't be.
    pub(crate) fn mend(&self, address: &str) -> anyhow::Result<()> {
        let path = self.folder.display();
        match self.folder.metadata() {
            Ok(found) if FileId::from(&found) == *self.id() => {}
            Ok(found) => self.settle_in(&found)?,
            Err(error) => bail!(
                "{path} is away ({error}): put it back, or where it is lost make an empty one; without it no log is written \
                 and no worker starts"
            ),
        }
        self.make_folders()?;
        // First: where another one has the lock, the address is that one's to write.
        if !self.keep_lock()? {
            bail!(
                "{} was removed, and another server has made and locked it: stop one of the two",
                self.lock_file().display()
            );
        }
        if self.read_address().as_deref() != Some(address) {
            self.write_address(address)?;
        }
        Ok(())
    }

    /// Takes the lock anew where its file was removed; whether this process has the one that others look for.
    pub(crate) fn keep_lock(&self) -> anyhow::Result<bool> {
        Ok(self.holds_its_lock()? || self.try_lock()?)
    }

    /// Another folder is in its place by now. All that is in it beside a database is made again, and a database of SQLite is looked
    /// for by itself.
    fn settle_in(&self, found: &Metadata) -> anyhow::Result<()> {
        let path = self.folder.display();
        check_owner(&self.folder, geteuid())?;
        std::fs::set_permissions(&self.folder, std::fs::Permissions::from_mode(0o700))
            .with_context(|| format!("cannot close the data folder {path} to others"))?;
        *self.id() = FileId::from(found);
        tracing::warn!("another folder is at {path} by now, and is used from here on");
        Ok(())
    }

    fn id(&self) -> MutexGuard<'_, FileId> {
        self.id.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether whoever looks for the lock finds one of ours.
    fn holds_its_lock(&self) -> anyhow::Result<bool> {
        let path = self.lock_file();
        let found = self.locks().iter().map(|lock| lock.is_at(&path)).collect::<Result<Vec<_>, _>>();
        Ok(found.with_context(|| format!("cannot look at {}", path.display()))?.contains(&true))
    }

    fn locks(&self) -> MutexGuard<'_, Vec<DataLock>> {
        self.locks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says where the API is.
    pub(crate) fn write_address(&self, address: &str) -> anyhow::Result<()> {
        let written = Folder::open(&self.folder).and_then(|folder| folder.write(ADDRESS, address.as_bytes()));
        written.with_context(|| format!("cannot write {}", self.folder.join(ADDRESS).display()))
    }

    /// Where the leader's API is, if one wrote it.
    pub(crate) fn read_address(&self) -> Option<String> {
        let file = Folder::open(&self.folder).and_then(|folder| folder.read(ADDRESS)).ok()??;
        std::io::read_to_string(file).ok().map(|text| text.trim().to_owned())
    }

    /// The API is gone. The address of another one that has taken the folder stays.
    pub(crate) fn remove_address(&self) {
        if !self.keep_lock().unwrap_or(false) {
            return;
        }
        if let Err(error) = Folder::open(&self.folder).and_then(|folder| folder.unlink(ADDRESS)) {
            tracing::debug!(%error, "the address file stays");
        }
    }
}

/// Refuses a folder of somebody else, which only its owner may close to others. Root may use any.
fn check_owner(folder: &Path, me: Uid) -> anyhow::Result<()> {
    // One that is not there has no owner yet, and one that can't be looked at is told by the attempt to make it.
    let Ok(owner) = folder.metadata().map(|data| Uid::from_raw(data.uid())) else { return Ok(()) };
    if owner != me && !me.is_root() {
        bail!(
            "the data folder {} belongs to {}, and this is {}: start Muster as its owner, or name another folder with \
             --data-dir or MUSTER_DATA_DIR",
            folder.display(),
            name_of(owner),
            name_of(me)
        );
    }
    Ok(())
}

fn name_of(user: Uid) -> String {
    match User::from_uid(user) {
        Ok(Some(known)) => format!("the user {}", known.name),
        _ => format!("the user with the id {user}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_lost_the_lock_to_another_one_leaves_the_address_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let [first, second] = [(), ()].map(|()| DataDir::open(folder.path()).expect("a folder of ours"));
        assert!(first.try_lock().expect("asked"));
        first.mend("first").expect("all is well");
        std::fs::remove_file(first.lock_file()).expect("removed");
        assert!(second.try_lock().expect("asked"), "nobody has the file that is made now");
        second.mend("second").expect("all is well");
        let words = first.mend("first").expect_err("another one has it").to_string();
        assert!(words.contains("another server has made and locked it"), "{words}");
        first.remove_address();
        assert_eq!(first.read_address().as_deref(), Some("second"));
        assert!(!first.keep_lock().expect("asked") && second.keep_lock().expect("asked"));
        first.unlock();
        assert!(second.keep_lock().expect("asked"), "what the first gave back was another file's");
        second.unlock();
        assert!(first.keep_lock().expect("asked"), "it is free by now");
        second.remove_address();
        assert!(first.read_address().is_some());
        first.remove_address();
        assert_eq!(first.read_address(), None);
    }

    #[test]
    fn the_folder_of_another_user_is_refused_with_both_names() {
        let folder = tempfile::tempdir().expect("a folder");
        let me = geteuid();
        assert!(check_owner(folder.path(), me).is_ok());
        assert!(check_owner(&folder.path().join("none"), me).is_ok());
        let other = Uid::from_raw(me.as_raw() + 54_321);
        let words = check_owner(folder.path(), other).expect_err("somebody else").to_string();
        let expected = format!("the data folder {} belongs to {}", folder.path().display(), name_of(me));
        assert!(words.starts_with(&expected), "{words}");
        assert!(words.contains(&format!("id {other}")) && words.contains("--data-dir"), "{words}");
    }
}
