//! What agents printed. A worker writes an agent's output to a file, line by line, and when the file is large it is
//! renamed to the same name with `.1` and a new one is begun.

mod follow;
mod tail;

pub(crate) use follow::follow;
pub(crate) use tail::{Tail, tail};

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Where the file before the current one is.
fn rotated(path: &Path) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(".1");
    name.into()
}

/// What tells one file from another, whatever it is called.
fn identity(file: &File) -> io::Result<(u64, u64)> {
    file.metadata().map(|data| (data.dev(), data.ino()))
}

/// Opens a file that may not be there.
fn open(path: &Path) -> io::Result<Option<File>> {
    match File::open(path) {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
