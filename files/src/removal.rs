//! A whole folder goes, however deep it is.
//!
//! A walk into the depth would cost a descriptor and a piece of stack for each level, and an agent can make a hundred
//! thousand levels. So folders that are found further down are moved up first, beside those that are to go anyway: at no time
//! is anything looked at that is deeper than two levels.

use std::ffi::{OsStr, OsString};
use std::io;

use crate::folder::Folder;

impl Folder {
    /// Removes what is here under this name, with all that is in it. No link is followed. That it is gone already is no error.
    pub fn remove(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        let name = name.as_ref();
        let top = match self.open_up(name) {
            Ok(top) => top,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            // A link or a file.
            Err(_) => return self.unlink(name),
        };
        let mut moved = 0;
        while empty_once(&top, |found| {
            let inner = top.open_up(found)?;
            while empty_once(&inner, |deeper| move_up(&inner, deeper, &top, &mut moved))? {}
            top.remove_empty(found)
        })? {}
        self.remove_empty(name)
    }

    /// Opens a folder here, also where its owner has closed it.
    fn open_up(&self, name: &OsStr) -> io::Result<Self> {
        match self.inner(name) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                self.unlock(name)?;
                self.inner(name)
            }
            // One that can be read need not be one in which something may be removed.
            Ok(folder) => self.unlock(name).map(|()| folder),
            failed => failed,
        }
    }
}

/// Removes what is in a folder, and does with each folder in it as it is told. Whether there was anything.
fn empty_once(folder: &Folder, mut with_folder: impl FnMut(&OsStr) -> io::Result<()>) -> io::Result<bool> {
    let mut any = false;
    for entry in folder.entries()? {
        let entry = entry?;
        any = true;
        match entry.file_type()?.is_dir() {
            true => with_folder(&entry.file_name())?,
            false => folder.unlink(entry.file_name())?,
        }
    }
    Ok(any)
}

/// Moves a folder to where the others are, under a name that nothing has there.
fn move_up(from: &Folder, name: &OsStr, top: &Folder, moved: &mut u64) -> io::Result<()> {
    // Its parent changes, which is written in it.
    from.unlock(name)?;
    loop {
        *moved += 1;
        match from.move_out(name, top, &OsString::from(format!("to-be-removed-{moved}"))) {
            Err(error) if matches!(error.kind(), io::ErrorKind::NotADirectory | io::ErrorKind::DirectoryNotEmpty) => {}
            moved => return moved,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    #[test]
    fn a_folder_goes_with_all_that_is_in_it_and_nothing_else_does() {
        let (dir, elsewhere) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        fs::write(elsewhere.path().join("gold"), "mine").expect("a file");
        let root = Folder::open(dir.path()).expect("opened");
        let agent = dir.path().join("agent");
        // The names that the removal uses may be taken, by a file and by a folder with something in it.
        fs::create_dir_all(agent.join("src/deep/deeper")).expect("folders");
        fs::create_dir_all(agent.join("to-be-removed-2/x/y")).expect("folders");
        for name in ["file", "src/file", "src/deep/deeper/file", "to-be-removed-1"] {
            fs::write(agent.join(name), "text").expect("a file");
        }
        for name in ["link", "src/link", "src/deep/link"] {
            symlink(elsewhere.path(), agent.join(name)).expect("a link");
        }
        fs::set_permissions(agent.join("src/deep"), fs::Permissions::from_mode(0o000)).expect("closed");
        fs::set_permissions(agent.join("src"), fs::Permissions::from_mode(0o500)).expect("closed");
        root.remove("agent").expect("removed");
        root.remove("agent").expect("twice is no error");
        assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 0);
        symlink(elsewhere.path(), dir.path().join("agent")).expect("a link");
        root.remove("agent").expect("removed");
        assert_eq!(fs::read_to_string(elsewhere.path().join("gold")).expect("still there"), "mine");
        assert!(!dir.path().join("agent").is_symlink());
    }

    #[test]
    fn depth_costs_nothing() {
        let dir = tempfile::tempdir().expect("a folder");
        let root = Folder::open(dir.path()).expect("opened");
        let mut at = root.make("agent").expect("made");
        // Deeper than any path is long, and than a process has descriptors by default.
        for _ in 0..5_000 {
            at = at.make("d").expect("made");
        }
        drop(at);
        root.remove("agent").expect("removed");
        assert_eq!(fs::read_dir(dir.path()).expect("a folder").count(), 0);
    }
}
