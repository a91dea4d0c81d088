//! A disk that can be filled.

use std::io::Write;
use std::path::Path;

/// A small file system of its own, unmounted with the test.
pub(crate) struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    pub(crate) fn mount() -> Result<Self, std::io::Error> {
        let folder = tempfile::Builder::new().prefix("md").tempdir_in("/tmp")?;
        let path = std::ffi::CString::new(folder.path().to_str().expect("text")).expect("no NUL");
        let (kind, size) = (c"tmpfs".as_ptr(), c"size=8m".as_ptr());
        // SAFETY: strings that end with a NUL.
        match unsafe { libc::mount(kind, path.as_ptr(), kind, 0, size.cast()) } {
            0 => Ok(Self(folder)),
            _ => Err(std::io::Error::last_os_error()),
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    /// Takes all the space that is left, that which was given back since the last time included.
    pub(crate) fn fill(&self) {
        let path = self.path().join("filler");
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).expect("a file");
        for size in [1 << 16, 1 << 10, 1] {
            while file.write_all(&vec![0; size]).is_ok() {}
        }
    }

    pub(crate) fn free(&self) {
        std::fs::remove_file(self.path().join("filler")).expect("there is one");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let path = std::ffi::CString::new(self.path().to_str().expect("text")).expect("no NUL");
        // SAFETY: a string that ends with a NUL.
        unsafe { libc::umount2(path.as_ptr(), libc::MNT_DETACH) };
    }
}
