//! The password of the private Redis. It is made once and stays in the server's folder, so that workers that outlive their
//! master reconnect to the next server with what they know. It is on no command line, where every user of the host could
//! read it.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::Path;

use muster_domain::ProcessId;
use muster_files::Folder;
use uuid::Uuid;

/// Its file in the server's folder.
const FILE: &str = "password";
/// The workers that lived when it was made, a line each.
const OLDER: &str = "password.older";
/// Hexadecimal digits of a password.
const LENGTH: usize = 64;
/// Bytes of the list that are read.
const MOST_OLDER: usize = 1024 * 1024;

/// The password, and who does not know it.
pub(super) struct RedisPassword {
    pub(super) text: String,
    /// Workers that lived when it was made. By their ids, since a clock that is set back tells nothing of what came first.
    older: HashSet<ProcessId>,
}

impl RedisPassword {
    /// Reads it; `None` where there is none, or none that could be one.
    pub(super) fn read(folder: &Path) -> io::Result<Option<Self>> {
        let folder = Folder::open(folder)?;
        let Some(text) = read(&folder, FILE, LENGTH)?.filter(|text| is_password(text)) else { return Ok(None) };
        let older = read(&folder, OLDER, MOST_OLDER)?.unwrap_or_default();
        Ok(Some(Self { text, older: older.lines().filter_map(|line| line.parse().ok()).collect() }))
    }

    /// Makes one. These workers live, and don't know it.
    pub(super) fn make(folder: &Path, older: Vec<ProcessId>) -> io::Result<Self> {
        let text = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        let made = Self { text, older: older.into_iter().collect() };
        made.write(folder)?;
        Ok(made)
    }

    /// Writes it again where it was taken away or changed: workers and this process know it by now. Returns whether it was.
    pub(super) fn put_back(&self, folder: &Path) -> io::Result<bool> {
        match Self::read(folder)? {
            Some(kept) if kept.text == self.text && kept.older == self.older => Ok(false),
            _ => self.write(folder).map(|()| true),
        }
    }

    fn write(&self, folder: &Path) -> io::Result<()> {
        let list: String = self.older.iter().map(|id| format!("{id}\n")).collect();
        let folder = Folder::open(folder)?;
        // First: a password without its list would keep them out.
        folder.write(OLDER, list.as_bytes())?;
        folder.write(FILE, self.text.as_bytes())
    }

    /// Whether there were workers before it was made.
    pub(super) fn has_older(&self) -> bool {
        !self.older.is_empty()
    }

    /// Whether this worker was started before there was a password.
    pub(super) fn is_later_than(&self, worker: ProcessId) -> bool {
        self.older.contains(&worker)
    }

    /// The lines of the server's configuration that ask for it, as a file in memory for its stdin. An open server takes any
    /// password and none.
    pub(super) fn rules(&self, open: bool) -> io::Result<OwnedFd> {
        let password = if open { "nopass".to_owned() } else { format!(">{}", self.text) };
        let fd = nix::sys::memfd::memfd_create("muster-redis", nix::sys::memfd::MFdFlags::MFD_CLOEXEC)?;
        let mut file = File::from(fd);
        writeln!(file, "user default on {password} ~* &* +@all")?;
        file.rewind()?;
        Ok(file.into())
    }
}

/// What is in a file, up to this length and a byte more; `None` also where something else was put into its place.
fn read(folder: &Folder, name: &str, most: usize) -> io::Result<Option<String>> {
    let opened = match folder.read(name) {
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            tracing::warn!(%error, "a file of the private Redis is made anew");
            None
        }
        opened => opened?,
    };
    let Some(file) = opened else { return Ok(None) };
    let mut bytes = Vec::new();
    file.take(most as u64 + 1).read_to_end(&mut bytes)?;
    Ok(String::from_utf8(bytes).ok())
}

fn is_password(text: &str) -> bool {
    text.len() == LENGTH && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_stays_the_same_and_is_for_its_owner_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join(FILE);
        let kept = || RedisPassword::read(folder.path()).expect("read").map(|secret| secret.text);
        assert_eq!(kept(), None);
        let first = RedisPassword::make(folder.path(), vec![ProcessId::generate()]).expect("made");
        assert!(is_password(&first.text));
        assert_eq!(std::fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
        assert_eq!(kept().as_ref(), Some(&first.text));
        std::fs::remove_file(&path).expect("removed");
        assert!(first.put_back(folder.path()).expect("written"));
        assert!(!first.put_back(folder.path()).expect("looked at"));
        assert_eq!(kept().as_ref(), Some(&first.text));
        let something_else: [fn(&Path); 3] = [
            |path| std::fs::create_dir_all(path.join("inner")).expect("a folder"),
            |path| nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO"),
            |path| std::os::unix::fs::symlink("/etc/passwd", path).expect("a link"),
        ];
        for put in something_else {
            for name in [FILE, OLDER] {
                let path = folder.path().join(name);
                std::fs::remove_file(&path).expect("removed");
                put(&path);
                assert!(first.put_back(folder.path()).expect("written"));
                assert_eq!(kept().as_ref(), Some(&first.text));
            }
        }
        for wrong in ["short".to_owned(), format!("{}x", first.text)] {
            std::fs::write(&path, wrong).expect("written");
            assert_eq!(kept(), None, "another one is to be made");
        }
    }

    /// Whatever the clock says, and whatever the file's time is.
    #[test]
    fn who_lived_before_it_is_told_by_a_list() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |seconds| ProcessId::from_uuid(Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, seconds, 0)));
        let (before, after_a_step_back) = (at(4_000_000_000), at(1_000));
        let made = RedisPassword::make(folder.path(), vec![before]).expect("made");
        let read = RedisPassword::read(folder.path()).expect("read").expect("a password");
        for secret in [made, read] {
            assert!(secret.has_older() && secret.is_later_than(before) && !secret.is_later_than(after_a_step_back));
        }
        let next = RedisPassword::make(folder.path(), Vec::new()).expect("made anew");
        assert!(!next.has_older(), "the list goes with its password");
    }
}
