//! An open folder, and what is done in it.

use std::ffi::OsStr;
use std::fs::{File, ReadDir};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, renameat};
use nix::sys::stat::{Mode, mkdirat};
use nix::unistd::{UnlinkatFlags, unlinkat};

use crate::beneath;

/// What tells one file from another, whatever it is called and wherever it was moved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileId {
    device: u64,
    inode: u64,
}

impl FileId {
    /// Of an open file.
    pub fn of(file: &File) -> io::Result<Self> {
        Ok(Self::from(&file.metadata()?))
    }
}

impl From<&std::fs::Metadata> for FileId {
    fn from(data: &std::fs::Metadata) -> Self {
        Self { device: data.dev(), inode: data.ino() }
    }
}

/// An open folder. What is named under it is in it, whatever its path leads to by now.
#[derive(Debug)]
pub struct Folder(File);

impl Folder {
    /// Opens a folder by its path, over whatever links.
    pub fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlag::O_DIRECTORY | OFlag::O_RDONLY | OFlag::O_CLOEXEC;
        Ok(Self(nix::fcntl::open(path, flags, Mode::empty())?.into()))
    }

    /// Opens a folder beneath this one.
    pub fn inner(&self, path: impl AsRef<Path>) -> io::Result<Self> {
        self.beneath(path.as_ref(), OFlag::O_DIRECTORY | OFlag::O_RDONLY).map(Self)
    }

    /// The same; makes what is missing of it, for nobody but its owner.
    pub fn make(&self, path: impl AsRef<Path>) -> io::Result<Self> {
        let path = path.as_ref();
        match self.inner(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            opened => return opened,
        }
        let mut at = None;
        for step in path.iter() {
            let above = at.as_ref().unwrap_or(self);
            match mkdirat(above.fd(), step, Mode::S_IRWXU) {
                Ok(()) | Err(Errno::EEXIST) => at = Some(above.inner(step)?),
                Err(error) => return Err(error.into()),
            }
        }
        at.ok_or_else(|| Errno::ENOENT.into())
    }

    /// Opens a regular file for reading; `None` where there is none.
    pub fn read(&self, path: impl AsRef<Path>) -> io::Result<Option<File>> {
        match self.regular(path.as_ref(), OFlag::O_RDONLY) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// Opens a regular file for appending, and makes it where it is missing, for nobody but its owner. One that has another name
    /// too is as good as a link: what is written would be found in whatever file somebody gave this name.
    pub fn append(&self, path: impl AsRef<Path>) -> io::Result<File> {
        let path = path.as_ref();
        let file = self.regular(path, OFlag::O_WRONLY | OFlag::O_APPEND | OFlag::O_CREAT)?;
        // Of the open file: what its name leads to from here on does not matter.
        match file.metadata()?.nlink() {
            0 | 1 => Ok(file),
            _ => Err(replaced(format!("{} is a file with another name too: somebody has linked it", path.display()))),
        }
    }

    fn regular(&self, path: &Path, flags: OFlag) -> io::Result<File> {
        let named = |error: io::Error| match error.raw_os_error() {
            Some(code) if code == Errno::ELOOP as i32 => not_regular(path, "a link"),
            Some(code) if code == Errno::EISDIR as i32 => not_regular(path, "a folder"),
            // A FIFO without a reader, or a socket.
            Some(code) if code == Errno::ENXIO as i32 => not_regular(path, "a FIFO or a socket"),
            _ => error,
        };
        let file = self.beneath(path, flags | OFlag::O_NONBLOCK | OFlag::O_NOCTTY).map_err(named)?;
        only_regular(file, path)
    }

    /// What is at a name, itself and not what it may link to; `None` where nothing is.
    pub fn id_of(&self, path: impl AsRef<Path>) -> io::Result<Option<FileId>> {
        match self.beneath(path.as_ref(), OFlag::O_PATH | OFlag::O_NOFOLLOW) {
            Ok(found) => FileId::of(&found).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes a small file whole, for nobody but its owner: a reader finds the old text or the new one, also after a crash. What
    /// somebody has put into its place that is no file is removed.
    pub fn write(&self, name: &str, text: &[u8]) -> io::Result<()> {
        let draft = format!(".{name}");
        self.remove(&draft)?;
        let mut file = self.append(&draft)?;
        file.write_all(text)?;
        file.sync_all()?;
        match self.rename(&draft, name) {
            Err(error) if error.kind() == io::ErrorKind::IsADirectory => {
                self.remove(name)?;
                self.rename(&draft, name)
            }
            done => done,
        }
    }

    /// Gives what is here under one name another one here.
    pub fn rename(&self, from: impl AsRef<OsStr>, to: impl AsRef<OsStr>) -> io::Result<()> {
        self.move_out(from.as_ref(), self, to.as_ref())
    }

    /// Moves what is here into another folder.
    pub(crate) fn move_out(&self, name: &OsStr, to: &Self, new: &OsStr) -> io::Result<()> {
        Ok(renameat(self.fd(), name, to.fd(), new)?)
    }

    /// Removes a file, or a link, or whatever is no folder. That it is gone already is no error.
    pub fn unlink(&self, name: impl AsRef<OsStr>) -> io::Result<()> {
        self.unlink_as(name.as_ref(), UnlinkatFlags::NoRemoveDir)
    }

    /// Removes an empty folder. That it is gone already is no error.
    pub(crate) fn remove_empty(&self, name: &OsStr) -> io::Result<()> {
        self.unlink_as(name, UnlinkatFlags::RemoveDir)
    }

    fn unlink_as(&self, name: &OsStr, flags: UnlinkatFlags) -> io::Result<()> {
        match unlinkat(self.fd(), name, flags) {
            Ok(()) | Err(Errno::ENOENT) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// What is in it.
    pub(crate) fn entries(&self) -> io::Result<ReadDir> {
        std::fs::read_dir(self.own_path())
    }

    /// Lets its owner do everything in a folder beneath this one.
    pub(crate) fn unlock(&self, name: &OsStr) -> io::Result<()> {
        let found = self.beneath(name.as_ref(), OFlag::O_PATH | OFlag::O_DIRECTORY)?;
        std::fs::set_permissions(Self(found).own_path(), std::fs::Permissions::from_mode(0o700))
    }

    /// A path that leads to it as long as it is open.
    fn own_path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }

    fn beneath(&self, path: &Path, flags: OFlag) -> io::Result<File> {
        beneath::open(self.fd(), path, flags).map(File::from)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

fn only_regular(file: File, path: &Path) -> io::Result<File> {
    let kind = file.metadata()?.file_type();
    match kind.is_file() {
        true => Ok(file),
        false if kind.is_dir() => Err(not_regular(path, "a folder")),
        false if kind.is_fifo() => Err(not_regular(path, "a FIFO")),
        false => Err(not_regular(path, "a device")),
    }
}

/// Reads a file that people put where it was looked for, and may have linked. It is a regular one all the same: nothing else is waited
/// for.
pub fn read_found(path: &Path) -> io::Result<Vec<u8>> {
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let file: File = nix::fcntl::open(path, flags, Mode::empty())?.into();
    let mut bytes = Vec::new();
    only_regular(file, path)?.read_to_end(&mut bytes).map(|_| bytes)
}

fn not_regular(path: &Path, what: &str) -> io::Error {
    let words = format!("{} is {what} and no file: somebody has replaced it", path.display());
    replaced(words)
}

/// What is there is not what was made there; the kind tells callers that they may put it out of the way.
fn replaced(words: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, words)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn only_a_regular_file_is_opened_and_nothing_else_holds_anybody() {
        let dir = tempfile::tempdir().expect("a folder");
        let at = |name: &str| dir.path().join(name);
        nix::unistd::mkfifo(&at("fifo"), Mode::S_IRWXU).expect("a FIFO");
        fs::create_dir(at("folder")).expect("a folder");
        symlink("/dev/null", at("link")).expect("a link");
        let _socket = UnixListener::bind(at("socket")).expect("a socket");
        let folder = Folder::open(dir.path()).expect("opened");
        for name in ["fifo", "folder", "link", "socket"] {
            let words = folder.read(name).expect_err("no file").to_string();
            assert!(words.contains("no file"), "{name}: {words}");
            assert!(folder.append(name).is_err(), "{name}");
        }
        fs::write(at("gold"), "gold").expect("a file");
        fs::hard_link(at("gold"), at("second name")).expect("a hard link");
        let words = folder.append("second name").expect_err("not its own file").to_string();
        assert!(words.contains("another name too"), "{words}");
        fs::remove_file(at("second name")).expect("removed");
        drop(folder.append("gold").expect("its only name"));
        assert!(folder.read("none").expect("nothing there").is_none());
        folder.append("new").expect("made").write_all(b"words").expect("written");
        let mut text = String::new();
        folder.read("new").expect("opened").expect("there").read_to_string(&mut text).expect("read");
        assert_eq!(text, "words");
    }

    #[test]
    fn a_file_is_written_whole_whatever_is_in_its_place() {
        let (dir, elsewhere) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let folder = Folder::open(dir.path()).expect("opened");
        let gold = elsewhere.path().join("gold");
        fs::write(&gold, "gold").expect("a file");
        let at = |name: &str| dir.path().join(name);
        type Put<'a> = &'a dyn Fn(&Path);
        let put: [Put<'_>; 5] = [
            &|_| {},
            &|path| fs::write(path, "another text").expect("a file"),
            &|path| fs::create_dir_all(path.join("with/more")).expect("folders"),
            &|path| nix::unistd::mkfifo(path, Mode::S_IRWXU).expect("a FIFO"),
            &|path| symlink(&gold, path).expect("a link"),
        ];
        for (number, put) in put.into_iter().enumerate() {
            for place in ["file", ".file"] {
                let _ = folder.remove("file");
                put(&at(place));
                folder.write("file", b"text").unwrap_or_else(|error| panic!("{number}, {place}: {error}"));
                assert_eq!(fs::read_to_string(at("file")).expect("read"), "text", "{number}, {place}");
                assert!(!at(".file").exists(), "{number}, {place}");
            }
        }
        assert_eq!(fs::read_to_string(gold).expect("read"), "gold");
    }

    #[test]
    fn folders_are_made_and_none_through_a_link() {
        let (dir, elsewhere) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let folder = Folder::open(dir.path()).expect("opened");
        for _ in 0..2 {
            folder.make("logs/agents").expect("made").append("a.log").expect("a file");
        }
        let mode = fs::metadata(dir.path().join("logs/agents")).expect("made").permissions().mode();
        assert_eq!(mode & 0o777, 0o700);
        symlink(elsewhere.path(), dir.path().join("away")).expect("a link");
        assert!(folder.make("away/agents").is_err());
        assert_eq!(fs::read_dir(elsewhere.path()).expect("a folder").count(), 0);
    }

    #[test]
    fn a_folder_that_was_moved_is_still_the_same() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::create_dir(dir.path().join("a")).expect("a folder");
        let root = Folder::open(dir.path()).expect("opened");
        let inner = root.inner("a").expect("opened");
        let before = root.id_of("a").expect("asked");
        root.rename("a", "b").expect("moved");
        inner.append("file").expect("made");
        assert!(dir.path().join("b/file").exists());
        assert_eq!((root.id_of("a").expect("asked"), root.id_of("b").expect("asked")), (None, before));
    }
}
