//! The password of the private Redis. It is made once and stays in the server's folder, so that workers that outlive their
//! master reconnect to the next server with what they know. It is on no command line, where every user of the host could
//! read it.

use std::fs::File;
use std::io::{self, Read, Seek, Write};
use std::os::fd::OwnedFd;
use std::path::Path;
use std::time::{Duration, SystemTime};

use muster_domain::ProcessId;
use muster_files::Folder;
use uuid::Uuid;

/// Its file in the server's folder, and what is written before it is renamed to that, so that nobody reads half of it.
const FILE: &str = "password";
const DRAFT: &str = ".password";
/// Hexadecimal digits of a password.
const LENGTH: usize = 64;

/// The password, and since when there is one.
pub(super) struct Secret {
    pub(super) text: String,
    since: SystemTime,
}

impl Secret {
    /// Reads it; makes another where there is none, or none that could be one.
    pub(super) fn keep(folder: &Path) -> io::Result<Self> {
        if let Some(kept) = read(folder)? {
            return Ok(kept);
        }
        let text = format!("{}{}", Uuid::new_v4().simple(), Uuid::new_v4().simple());
        write(folder, &text)?;
        Ok(Self { text, since: SystemTime::now() })
    }

    /// Writes it again where it was taken away or changed: workers and this process know it by now.
    pub(super) fn put_back(&self, folder: &Path) -> io::Result<()> {
        match read(folder)? {
            Some(kept) if kept.text == self.text => Ok(()),
            _ => write(folder, &self.text),
        }
    }

    /// Whether this worker was started before there was a password. Its id says when it was made.
    pub(super) fn is_later_than(&self, worker: ProcessId) -> bool {
        let Some(made) = worker.as_uuid().get_timestamp() else { return false };
        let (seconds, nanos) = made.to_unix();
        SystemTime::UNIX_EPOCH + Duration::new(seconds, nanos) < self.since
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

/// What is in the file, where that can be a password.
fn read(folder: &Path) -> io::Result<Option<Secret>> {
    let Some(file) = Folder::open(folder)?.read(FILE)? else { return Ok(None) };
    let since = file.metadata()?.modified()?;
    let mut bytes = Vec::new();
    file.take(LENGTH as u64 + 1).read_to_end(&mut bytes)?;
    let text = String::from_utf8(bytes).ok().filter(|text| is_password(text));
    Ok(text.map(|text| Secret { text, since }))
}

fn write(folder: &Path, text: &str) -> io::Result<()> {
    let folder = Folder::open(folder)?;
    folder.unlink(DRAFT)?;
    let mut file = folder.append(DRAFT)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    folder.rename(DRAFT, FILE)
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
        let first = Secret::keep(folder.path()).expect("made");
        assert!(is_password(&first.text));
        assert_eq!(std::fs::metadata(&path).expect("a file").permissions().mode() & 0o777, 0o600);
        let again = Secret::keep(folder.path()).expect("read");
        assert_eq!(again.text, first.text);
        let before = ProcessId::from_uuid(Uuid::new_v7(uuid::Timestamp::from_unix(uuid::NoContext, 1_000, 0)));
        assert!(again.is_later_than(before));
        std::fs::remove_file(&path).expect("removed");
        first.put_back(folder.path()).expect("written");
        assert_eq!(Secret::keep(folder.path()).expect("read").text, first.text);
        std::fs::write(&path, "short").expect("written");
        let second = Secret::keep(folder.path()).expect("made anew").text;
        assert!(is_password(&second) && second != first.text);
    }
}
