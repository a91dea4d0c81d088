//! Opening beneath a folder without following any link.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat, openat2};
use nix::sys::stat::Mode;

/// Whether this kernel, or what filters its calls, knows `openat2`.
static ONE_CALL: AtomicBool = AtomicBool::new(true);

/// How often a race within the kernel is tried again.
const ATTEMPTS: usize = 8;

/// Opens `path` beneath `folder`. Every component of it is a name.
pub(crate) fn open(folder: BorrowedFd<'_>, path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
    if ONE_CALL.load(Ordering::Relaxed) {
        match in_one_call(folder, path, flags) {
            // Kernels before 5.6, and filters of system calls from before it.
            Err(Errno::ENOSYS | Errno::EPERM) => {}
            opened => return Ok(opened?),
        }
        let opened = step_by_step(folder, path, flags);
        // Where this works too, it was not the file that was refused.
        if opened.is_ok() {
            ONE_CALL.store(false, Ordering::Relaxed);
        }
        return opened;
    }
    step_by_step(folder, path, flags)
}

fn in_one_call(folder: BorrowedFd<'_>, path: &Path, flags: OFlag) -> Result<OwnedFd, Errno> {
    let how = OpenHow::new()
        .flags(flags | OFlag::O_CLOEXEC)
        .mode(mode_of(flags))
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_SYMLINKS);
    let mut last = Errno::EAGAIN;
    for _ in 0..ATTEMPTS {
        match openat2(folder, path, how) {
            Err(error @ (Errno::EAGAIN | Errno::EINTR)) => last = error,
            opened => return opened,
        }
    }
    Err(last)
}

/// The same by a call for each component.
pub(crate) fn step_by_step(folder: BorrowedFd<'_>, path: &Path, flags: OFlag) -> io::Result<OwnedFd> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => names.push(name),
            _ => return Err(Errno::EXDEV.into()),
        }
    }
    let (last, above) = names.split_last().ok_or(Errno::ENOENT)?;
    let mut inner: Option<OwnedFd> = None;
    for step in above {
        let at = inner.as_ref().map_or(folder, AsFd::as_fd);
        let through = OFlag::O_PATH | OFlag::O_DIRECTORY | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let next = openat(at, *step, through, Mode::empty())?;
        inner = Some(next);
    }
    let at = inner.as_ref().map_or(folder, AsFd::as_fd);
    Ok(openat(at, *last, flags | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC, mode_of(flags))?)
}

/// A mode is only for what is made, which is for nobody but its owner.
fn mode_of(flags: OFlag) -> Mode {
    if flags.contains(OFlag::O_CREAT) { Mode::S_IRUSR | Mode::S_IWUSR } else { Mode::empty() }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    /// Both ways, so that the one for old kernels is tried on every kernel.
    fn both_ways(folder: &Path, path: &str, flags: OFlag) -> [io::Result<OwnedFd>; 2] {
        let root = fs::File::open(folder).expect("a folder");
        let (root, path) = (root.as_fd(), Path::new(path));
        [in_one_call(root, path, flags).map_err(io::Error::from), step_by_step(root, path, flags)]
    }

    #[test]
    fn what_is_beneath_is_opened_and_no_link_is_followed_in_either_way() {
        let (dir, elsewhere) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        fs::create_dir_all(dir.path().join("a/b")).expect("folders");
        fs::write(dir.path().join("a/b/file"), "mine").expect("a file");
        fs::write(elsewhere.path().join("file"), "gold").expect("a file");
        symlink(elsewhere.path(), dir.path().join("a/away")).expect("a link");
        symlink("b", dir.path().join("a/beside")).expect("a link");
        symlink(elsewhere.path().join("file"), dir.path().join("a/b/link")).expect("a link");
        let read = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
        let absolute = elsewhere.path().join("file").display().to_string();
        let rows = [
            ("a/b/file", true),
            ("a/b/none", false),
            ("a/b/link", false),
            ("a/away/file", false),
            ("a/beside/file", false),
            ("../x", false),
            ("a/../../x", false),
            (absolute.as_str(), false),
        ];
        for (path, is_opened) in rows {
            for (way, opened) in both_ways(dir.path(), path, read).into_iter().enumerate() {
                assert_eq!(opened.is_ok(), is_opened, "{path} in way {way}: {opened:?}");
            }
        }
    }

    #[test]
    fn a_file_is_made_for_nobody_but_its_owner_in_either_way() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().expect("a folder");
        let make = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL;
        let root = fs::File::open(dir.path()).expect("a folder");
        drop(in_one_call(root.as_fd(), Path::new("one"), make).expect("made"));
        drop(step_by_step(root.as_fd(), Path::new("two"), make).expect("made"));
        for name in ["one", "two"] {
            let mode = fs::metadata(dir.path().join(name)).expect("a file").permissions().mode();
            assert_eq!(mode & 0o777, 0o600, "{name}");
        }
    }
}
