//! Finding a program in a search path, as a shell does, and seeing beforehand whether it could be started.

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

use crate::program::{Program, SpawnError};

/// Where programs are looked for when nothing is said.
const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The path of a program: itself where it has a slash, else the first executable file of that name in `search_path`, or
/// in the system's folders where that is `None`.
///
/// # Errors
/// No folder has a file of that name.
pub fn find(program: &OsStr, search_path: Option<&OsStr>) -> Result<PathBuf, SpawnError> {
    if program.as_bytes().contains(&b'/') {
        return Ok(program.into());
    }
    let searched = search_path.unwrap_or(OsStr::new(DEFAULT_PATH));
    // An empty entry would be the current folder, which is nobody's intent.
    let folders = std::env::split_paths(searched).filter(|folder| !folder.as_os_str().is_empty());
    let mut files = folders.map(|folder| folder.join(program)).filter(|path| path.is_file());
    let first =
        files.next().ok_or_else(|| SpawnError::NotFound { program: program.into(), searched: searched.into() })?;
    // One that is there and not executable is named by the kernel's refusal, which is better than "not found".
    let path = if is_executable(&first) { first } else { files.find(|path| is_executable(path)).unwrap_or(first) };
    // The program starts in another folder, where a relative entry would mean another file.
    std::path::absolute(&path).map_err(|source| SpawnError::Exec { program: path, source })
}

/// Looks at a program without starting it: at its folder, and at the file that a start would run. What only the kernel can
/// say, e.g. that the interpreter of a script is missing, shows at the start.
///
/// # Errors
/// Those that a start would have now.
pub fn look(program: &Program) -> Result<(), SpawnError> {
    let path = locate(program)?;
    let folder = program.cwd.as_deref();
    folder.map_or(Ok(()), check_folder)?;
    // A relative path is one in the folder that the program starts in.
    let file = folder.map_or_else(|| path.clone(), |folder| folder.join(&path));
    check_file(&file).map_err(|source| SpawnError::Exec { program: path, source })
}

/// The file that a start of this program runs.
pub(crate) fn locate(program: &Program) -> Result<PathBuf, SpawnError> {
    let name = program.argv.first().filter(|name| !name.is_empty()).ok_or(SpawnError::Empty)?;
    match &program.file {
        Some(file) => Ok(file.clone()),
        None => find(name, program.search_path.as_deref()),
    }
}

/// Whether a program can start in this folder.
pub(crate) fn check_folder(folder: &Path) -> Result<(), SpawnError> {
    let is_folder = std::fs::metadata(folder).map(|found| found.is_dir());
    let entered = is_folder.and_then(|is_folder| match is_folder {
        true => Ok(access(folder, AccessFlags::X_OK)?),
        false => Err(Errno::ENOTDIR.into()),
    });
    entered.map_err(|source| SpawnError::Folder { folder: folder.into(), source })
}

/// What an exec would say of anything but an executable file.
fn check_file(path: &Path) -> io::Result<()> {
    match std::fs::metadata(path)?.is_file() {
        true => Ok(access(path, AccessFlags::X_OK)?),
        false => Err(Errno::EACCES.into()),
    }
}

fn is_executable(path: &Path) -> bool {
    access(path, AccessFlags::X_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn the_first_executable_file_is_found() {
        let folder = tempfile::tempdir().expect("a folder");
        for (name, mode) in [("a/tool", 0o644), ("b/tool", 0o755), ("c/tool", 0o755), ("a/data", 0o644)] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            std::fs::write(&path, "").expect("written");
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("set");
        }
        std::fs::create_dir(folder.path().join("a/sub")).expect("made");
        let path = ["a", "b", "", "c"].map(|name| if name.is_empty() { "".into() } else { folder.path().join(name) });
        let path = std::env::join_paths(path).expect("a path");
        let find = |program: &str| find(OsStr::new(program), Some(&path));
        assert_eq!(find("tool").expect("found"), folder.path().join("b/tool"));
        assert_eq!(find("data").expect("found"), folder.path().join("a/data"));
        assert_eq!(find("./tool").expect("as it is"), Path::new("./tool"));
        assert!(matches!(find("sub"), Err(SpawnError::NotFound { .. })));
        assert!(find("none").expect_err("nowhere").to_string().starts_with("\"none\" is not in PATH"));
    }

    #[test]
    fn without_a_path_the_system_is_searched() {
        assert!(find(OsStr::new("sh"), None).expect("a shell").is_absolute());
    }
}
