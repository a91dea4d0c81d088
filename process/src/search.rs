//! Finding a program in a search path, as a shell does.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use crate::program::SpawnError;

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
    let found: Vec<PathBuf> = folders.map(|folder| folder.join(program)).filter(|path| path.is_file()).collect();
    // One that is there and not executable is named by the kernel's refusal, which is better than "not found".
    let path = found.iter().find(|path| is_executable(path)).or(found.first());
    let path = path.ok_or_else(|| SpawnError::NotFound { program: program.into(), searched: searched.into() })?;
    // The program starts in another folder, where a relative entry would mean another file.
    std::path::absolute(path).map_err(|source| SpawnError::Exec { program: OsString::from(path).into(), source })
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
        assert!(find("none").expect_err("nowhere").to_string().starts_with("\"none\" was not found in"));
    }

    #[test]
    fn without_a_path_the_system_is_searched() {
        assert!(find(OsStr::new("sh"), None).expect("a shell").is_absolute());
    }
}
